"""asyncpg as it comes: it prepares all that it runs, by name, and keeps a hundred. With more
connections than there are servers, all at once."""

import asyncio
import datetime
import decimal
import uuid

import asyncpg

CONNECTIONS = 6


async def transactions(connection, number):
    count = "select count(*) from notes where owner = $1"
    before = await connection.fetchval(count, number)
    for round_ in range(1, 21):
        async with connection.transaction():
            await connection.execute("insert into notes values ($1, $2)", number, f"note {round_}")
            async with connection.transaction():
                assert await connection.fetchval(count, number) == before + round_
    statement = await connection.prepare("select $1::int * 2")
    for round_ in range(10):
        assert await statement.fetchval(round_) == round_ * 2
        async with connection.transaction():
            assert await statement.fetchval(number) == number * 2


async def errors(connection, number):
    for round_ in range(10):
        assert await connection.fetchval("select 100 / $1::int", round_ + 1) == 100 // (round_ + 1)
        try:
            await connection.fetchval("select 100 / $1::int", 0)
            raise AssertionError("no error")
        except asyncpg.DivisionByZeroError:
            pass
        try:
            async with connection.transaction():
                await connection.execute("insert into notes values ($1, $2)", number, "lost")
                await connection.execute("insert into missing values (1)")
            raise AssertionError("no error")
        except asyncpg.UndefinedTableError:
            pass
    assert await connection.fetchval("select count(*) from notes where body = 'lost'") == 0


async def many(connection, number):
    for _ in range(3):
        rows = [(number, f"many {n}") for n in range(100)]
        await connection.executemany("insert into notes values ($1, $2)", rows)
        rows = await connection.fetchmany("select $1::int + 1", [(n,) for n in range(20)])
        assert [row[0] for row in rows] == list(range(1, 21)), rows


async def cursors(connection, number):
    for _ in range(5):
        async with connection.transaction():
            total = 0
            sql = "select generate_series(1, $1::int)"
            async for record in connection.cursor(sql, 100 + number, prefetch=7):
                total += record[0]
            assert total == sum(range(101 + number)), total


async def copies(connection, number):
    records = [(-1 - number, f"copied {n}") for n in range(500)]
    await connection.copy_records_to_table("notes", records=records)
    chunks = []

    async def keep(chunk):
        chunks.append(chunk)

    await connection.copy_from_query("select * from notes where owner = $1", -1 - number, output=keep)
    assert b"".join(chunks).count(b"\n") == 500


VALUES = [
    ("int4", 1), ("int8", 2**40), ("float8", -1.5), ("numeric", decimal.Decimal("12.340")),
    ("text", "Grüße, 世界"), ("bytea", b"\x00\xff"), ("bool", True), ("text", None),
    ("date", datetime.date(2024, 2, 29)), ("interval", datetime.timedelta(days=2, seconds=3)),
    ("uuid", uuid.UUID(int=7)), ("int4[]", [1, 2, None]), ("text[]", ["a", "b,c"]),
    ("timestamptz", datetime.datetime(2024, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)),
    ("mood", "fine"), ("pair", (1, "one")), ("jsonb", '{"k": [1]}'),
]


async def types(connection, number):
    for _ in range(3):
        for kind, value in VALUES:
            # Of its own types a driver asks the catalog, in the middle of anything.
            got = await connection.fetchval(f"select $1::{kind}", value)
            assert got == value, (kind, got)


async def changes(connection, number):
    """Columns come beneath what is prepared: it prepares again by itself."""
    table = f"changing_{number}"
    await connection.execute(f"drop table if exists {table}")
    await connection.execute(f"create table {table} (x int)")
    await connection.execute(f"insert into {table} values (1)")
    row = (1,)
    other = await asyncpg.connect()
    for round_ in range(5):
        for _ in range(4):
            assert tuple(await connection.fetchrow(f"select * from {table}")) == row, row
        by = connection if round_ % 2 else other
        await by.execute(f"alter table {table} add column c{round_} text default '{round_}'")
        row += (str(round_),)
    await other.close()


async def notifications():
    listener, other = await asyncpg.connect(), await asyncpg.connect()
    heard = asyncio.Queue()
    await listener.add_listener("news", lambda *message: heard.put_nowait(message[3]))
    for n in range(7):
        await other.execute("select pg_notify('news', $1)", f"number {n}")
    for n in range(7):
        assert await asyncio.wait_for(heard.get(), 20) == f"number {n}"
    await listener.close()
    await other.close()


async def pooled(pool, number, work):
    # Released, a connection is reset: it closes, unlistens, unlocks and resets all.
    async with pool.acquire() as connection:
        await work(connection, number)


async def main():
    connection = await asyncpg.connect()
    await connection.execute("create table notes (owner int, body text)")
    await connection.execute("create type mood as enum ('fine', 'bad')")
    await connection.execute("create type pair as (a int, b text)")
    await connection.close()
    size = {"min_size": CONNECTIONS, "max_size": CONNECTIONS}
    for options in ({}, {"statement_cache_size": 0}, {"max_cached_statement_lifetime": 1}):
        async with asyncpg.create_pool(**size, **options) as pool:
            for work in (transactions, errors, many, cursors, copies, types, changes):
                await asyncio.gather(*(pooled(pool, n, work) for n in range(CONNECTIONS * 2)))
                if work is copies:
                    await pool.execute("delete from notes where owner < 0")
    await notifications()


asyncio.run(main())
print("done")
