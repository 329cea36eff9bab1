"""The console with drivers that were told nothing about it: transactions of their own, statements that they
prepare, and what their pools say to a connection that comes back."""

import asyncio

import asyncpg
import psycopg
from psycopg_pool import ConnectionPool

IDLE = psycopg.pq.TransactionStatus.IDLE
INTRANS = psycopg.pq.TransactionStatus.INTRANS


def psycopg_by_default():
    with psycopg.connect(dbname="pgweir") as connection:
        status = lambda: connection.info.transaction_status
        for prepare in (None, True, True):
            rows = connection.execute("SHOW POOLS", prepare=prepare).fetchall()
            assert rows and status() == INTRANS, status()
        connection.commit()
        assert status() == IDLE
        connection.execute("SET default_pool_size = 7")
        connection.rollback()
        settings = connection.execute("SHOW SETTINGS").fetchall()
        # Nothing undoes what an operator has set.
        assert any(row[:2] == ("default_pool_size", "7") for row in settings)
        try:
            connection.execute("SHOW nosuch")
            raise AssertionError("no error")
        except psycopg.errors.SyntaxError:
            connection.rollback()
        with connection.transaction():
            connection.execute("RELOAD")
        assert status() == IDLE
    with psycopg.connect(dbname="pgweir", prepare_threshold=1) as connection:
        for _ in range(5):
            assert connection.execute("/* who */ SHOW LISTS; -- all").fetchall()


def psycopg_in_a_pipeline():
    with psycopg.connect(dbname="pgweir") as connection:
        with connection.pipeline():
            cursors = [connection.execute("SHOW LISTS") for _ in range(5)]
            assert all(cursor.fetchall() for cursor in cursors)


def psycopg_with_its_pool():
    with ConnectionPool("dbname=pgweir", min_size=1, max_size=2) as pool:
        for _ in range(3):
            with pool.connection() as connection:
                assert connection.execute("SHOW DATABASES").fetchall()


async def asyncpg_with_its_pool():
    async with asyncpg.create_pool(database="pgweir", min_size=1, max_size=2) as pool:
        for _ in range(3):
            async with pool.acquire() as connection:
                assert await connection.fetch("SHOW POOLS")
                async with connection.transaction():
                    assert await connection.fetch("SHOW LISTS")
                    cursor = await connection.cursor("SHOW SETTINGS")
                    first = await cursor.fetch(2)
                    assert len(first) == 2 and len(await cursor.fetch(3)) == 3
                assert await connection.execute("RELOAD") == "RELOAD"


psycopg_by_default()
psycopg_in_a_pipeline()
psycopg_with_its_pool()
asyncio.run(asyncpg_with_its_pool())
print("done")
