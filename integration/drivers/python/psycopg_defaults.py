"""psycopg 3 as it comes: it prepares by name what it has run five times. With more connections than
there are servers, all at once."""

import datetime
import decimal
import threading
import uuid

import psycopg
from psycopg.types.json import Jsonb
from psycopg_pool import ConnectionPool

CONNECTIONS = 6


def at_once(work, **options):
    """Runs `work(connection, number)` on connections of their own."""
    failures = []

    def run(number):
        try:
            with psycopg.connect("", **options) as connection:
                work(connection, number)
        except BaseException as failure:
            failures.append((work.__name__, options, number, failure))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures


def transactions(connection, number):
    count = "select count(*) from notes where owner = %s"
    before = connection.execute(count, (number,)).fetchone()[0]
    connection.commit()
    for round_ in range(1, 21):
        with connection.transaction():
            connection.execute("insert into notes values (%s, %s)", (number, f"note {round_}"))
            with connection.transaction():
                assert connection.execute(count, (number,)).fetchone() == (before + round_,)
        connection.rollback()


def errors(connection, number):
    for round_ in range(12):
        value = connection.execute("select 100 / %s::int", (round_ + 1,)).fetchone()[0]
        assert value == 100 // (round_ + 1), value
        try:
            connection.execute("select 1 / (%s::int - %s::int)", (number, number))
            raise AssertionError("no error")
        except psycopg.errors.DivisionByZero:
            pass
        try:
            connection.execute("select 1")
            raise AssertionError("the transaction has failed")
        except psycopg.errors.InFailedSqlTransaction:
            connection.rollback()


def many(connection, number):
    with connection.cursor() as cursor:
        for _ in range(3):
            rows = [(number, f"many {n}") for n in range(50)]
            cursor.executemany("insert into notes values (%s, %s) returning body", rows, returning=True)
            bodies = []
            while True:
                bodies.append(cursor.fetchone()[0])
                if not cursor.nextset():
                    break
            assert bodies == [body for _, body in rows], bodies
            connection.commit()


def pipelines(connection, number):
    for _ in range(8):
        with connection.pipeline():
            cursors = [connection.execute("select %s::int + %s::int", (number, n)) for n in range(20)]
            assert [cursor.fetchone()[0] for cursor in cursors] == [number + n for n in range(20)]
        connection.commit()
        try:
            with connection.pipeline():
                connection.execute("select %s::text", ("before",))
                connection.execute("select 1 / %s::int", (0,))
                connection.execute("select %s::text", ("behind",))
            raise AssertionError("no error")
        except psycopg.errors.DivisionByZero:
            connection.rollback()


def cursors(connection, number):
    for _ in range(7):
        with connection.cursor(name="server_side") as cursor:
            cursor.itersize = 7
            cursor.execute("select generate_series(1, %s)", (100 + number,))
            assert sum(row[0] for row in cursor) == sum(range(101 + number))
        connection.commit()


def copies(connection, number):
    with connection.cursor() as cursor:
        with cursor.copy("copy notes from stdin") as copy:
            for n in range(500):
                copy.write_row((-1 - number, f"copied {n}"))
        with cursor.copy("copy (select * from notes where owner = %s) to stdout", (-1 - number,)) as copy:
            assert sum(1 for _ in copy.rows()) == 500
    connection.rollback()


VALUES = [
    1, 2**40, -1.5, decimal.Decimal("12.340"), "Grüße, 世界", b"\x00\xff", True, None,
    datetime.date(2024, 2, 29), datetime.timedelta(days=2, seconds=3), uuid.UUID(int=7),
    datetime.datetime(2024, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc), [1, 2, None],
]


def types(connection, number):
    for is_binary in (False, True) * 4:
        cursor = connection.cursor(binary=is_binary)
        places = ", ".join(["%s"] * len(VALUES))
        row = cursor.execute(f"select {places}", VALUES).fetchone()
        assert list(row) == VALUES, row
        row = cursor.execute("select %s, %b", (Jsonb({"k": [number]}), number)).fetchone()
        assert row == ({"k": [number]}, number), row
    connection.rollback()


def changes(connection, number):
    """Columns come and go beneath what is prepared."""
    connection.autocommit = True
    table = f"changing_{number}"
    connection.execute(f"drop table if exists {table}")
    connection.execute(f"create table {table} (x int)")
    connection.execute(f"insert into {table} values (1)")
    row = (1,)
    for round_ in range(6):
        for _ in range(7):
            cursor = connection.execute(f"select * from {table}")
            assert cursor.fetchone() == row and len(cursor.description) == len(row), row
        column = f"alter table {table} add column c{round_} text default '{round_}'"
        row += (str(round_),)
        if round_ % 2 == 0:
            # It gives up all that it has prepared.
            connection.execute(column)
            continue
        with psycopg.connect("", autocommit=True) as other:
            other.execute(column)
        try:
            assert connection.execute(f"select * from {table}").fetchone() == row, row
        except psycopg.errors.FeatureNotSupported as failure:
            assert "cached plan must not change result type" in str(failure), failure
        # As it says itself: this is what there is to be done about it.
        connection.execute("deallocate all")
        connection._prepared.clear()


def evictions(connection, number):
    connection.prepared_max = 3
    for round_ in range(10):
        for column in range(6):
            sql = f"select %s::int + {column}"
            assert connection.execute(sql, (number,)).fetchone() == (number + column,)
        connection.commit()
    connection.autocommit = True
    for clean in ("deallocate all", "discard all"):
        connection.execute(clean)
        for _ in range(7):
            assert connection.execute("select %s::int + 1", (number,)).fetchone() == (number + 1,)


def notifications():
    with psycopg.connect("", autocommit=True) as listener, psycopg.connect("", autocommit=True) as other:
        listener.execute("listen news")
        for n in range(7):
            other.execute("select pg_notify('news', %s)", (f"number {n}",))
        heard = [notify.payload for notify in listener.notifies(timeout=20, stop_after=7)]
        assert heard == [f"number {n}" for n in range(7)], heard


def pool():
    def reset(connection):
        connection.autocommit = True
        connection.execute("discard all")
        connection.autocommit = False

    # It would not notice that its statements are gone.
    size = {"min_size": CONNECTIONS, "max_size": CONNECTIONS}
    with ConnectionPool("", **size, reset=reset, kwargs={"prepare_threshold": None}) as pool:
        failures = []

        def run(number):
            try:
                for _ in range(10):
                    with pool.connection() as connection:
                        connection.execute("set statement_timeout = '10s'")
                        row = connection.execute("select %s::text", (str(number),)).fetchone()
                        assert row == (str(number),), row
            except BaseException as failure:
                failures.append(failure)

        threads = [threading.Thread(target=run, args=(number,)) for number in range(CONNECTIONS * 2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures, failures


with psycopg.connect("", autocommit=True) as connection:
    connection.execute("create table notes (owner int, body text)")
for options in ({}, {"prepare_threshold": 0}):
    for work in (transactions, errors, many, pipelines, cursors, copies, types, evictions, changes):
        at_once(work, **options)
notifications()
pool()
print("done")
