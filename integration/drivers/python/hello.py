"""What an application does first, with psycopg and asyncpg, on the DATABASE_URL of its environment."""

import asyncio
import os

import asyncpg
import psycopg

DSN = os.environ["DATABASE_URL"]


def with_psycopg() -> str:
    with psycopg.connect(DSN) as connection:
        with connection.cursor() as cursor:
            cursor.execute("create temporary table hello (n int, t text) on commit drop")
            with cursor.copy("copy hello from stdin") as copy:
                for n in range(1000):
                    copy.write_row((n, f"text {n}"))
            cursor.execute("select count(*), max(t) from hello where n >= %s", (10,))
            assert cursor.fetchone() == (990, "text 999")
        connection.rollback()
        try:
            connection.execute("select 1 / 0")
            raise AssertionError("a division by zero went well")
        except psycopg.errors.DivisionByZero:
            connection.rollback()
        assert connection.execute("select 'after an error'").fetchone() == ("after an error",)
    return f"psycopg {psycopg.__version__}"


async def with_asyncpg() -> str:
    connection = await asyncpg.connect(DSN, statement_cache_size=0)
    try:
        async with connection.transaction():
            rows = await connection.fetch("select n, $1::text as t from generate_series(1, 100) n", "é")
        assert [tuple(row) for row in rows] == [(n, "é") for n in range(1, 101)]
    finally:
        await connection.close()
    return f"asyncpg {asyncpg.__version__}"


print("drivers:", with_psycopg() + ",", asyncio.run(with_asyncpg()))
