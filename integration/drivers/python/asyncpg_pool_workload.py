"""asyncpg with its pool, which has more connections than there are servers. It prepares in one round trip
and executes in the next."""

import asyncio
import os

import asyncpg

SERVERS = int(os.environ["PROXY_POOL_SIZE"])


async def worker(pool, number):
    for round_ in range(20):
        token = f"w{number}-{round_}"
        async with pool.acquire() as connection:
            assert await connection.fetchval("select $1::text", token) == token
            async with connection.transaction():
                await connection.execute("select set_config('own.token', $1, true)", token)
                value = await connection.fetchval("select current_setting('own.token')")
                assert value == token, (value, token)
            try:
                await connection.fetchval("select 1 / $1::int", 0)
                raise AssertionError("no error")
            except asyncpg.DivisionByZeroError:
                pass


async def copies(pool):
    async with pool.acquire() as connection:
        await connection.execute("create table copied_async (n int, body text)")
        records = [(number, f"row {number}") for number in range(5000)]
        await connection.copy_records_to_table("copied_async", records=records)
        chunks = []

        async def keep(chunk):
            chunks.append(chunk)

        await connection.copy_from_query("select * from copied_async", output=keep)
        assert b"".join(chunks).count(b"\n") == 5000


async def cancels(pool):
    async with pool.acquire() as connection:
        try:
            # asyncpg cancels the query when its own timeout passes.
            await connection.execute("select pg_sleep(30)", timeout=0.3)
            raise AssertionError("not cancelled")
        except asyncio.TimeoutError:
            pass
        assert await connection.fetchval("select 1") == 1


async def cursors(pool):
    async with pool.acquire() as connection:
        async with connection.transaction():
            total = 0
            async for record in connection.cursor("select generate_series(1, 100)", prefetch=7):
                total += record[0]
            assert total == 5050


async def notifications():
    listener, sender = await asyncpg.connect(), await asyncpg.connect()
    heard, done = [], asyncio.Event()

    def take(_connection, _pid, channel, payload):
        heard.append((channel, payload))
        if payload == "99":
            done.set()

    await listener.add_listener("drivers_async", take)
    for number in range(100):
        await sender.execute("select pg_notify('drivers_async', $1)", str(number))
    await asyncio.wait_for(done.wait(), 20)
    assert heard == [("drivers_async", str(number)) for number in range(100)], heard
    await listener.remove_listener("drivers_async", take)
    await sender.close()
    await listener.close()


async def main():
    await notifications()
    for cache in (0, 100):
        size = SERVERS * 2
        async with asyncpg.create_pool(
            min_size=size, max_size=size, statement_cache_size=cache
        ) as pool:
            await asyncio.gather(*(worker(pool, number) for number in range(SERVERS * 4)))
            await cancels(pool)
            await cursors(pool)
            if cache == 0:
                await copies(pool)


asyncio.run(main())
print("done")
