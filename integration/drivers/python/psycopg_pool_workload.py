"""psycopg 3 with psycopg_pool: what an application does, with more connections than servers."""

import os
import threading
import time

import psycopg
from psycopg_pool import ConnectionPool

SERVERS = int(os.environ["PROXY_POOL_SIZE"])


def worker(pool, number, failures):
    try:
        for round_ in range(20):
            token = f"w{number}-{round_}"
            with pool.connection() as connection:
                row = connection.execute("select %s::text", (token,)).fetchone()
                assert row == (token,), (row, token)
                with connection.transaction():
                    connection.execute("select set_config('own.token', %s, true)", (token,))
                    row = connection.execute("select current_setting('own.token')").fetchone()
                    assert row == (token,), (row, token)
            with pool.connection() as connection:
                try:
                    connection.execute("select 1 / %s::int", (0,))
                    raise AssertionError("no error")
                except psycopg.errors.DivisionByZero:
                    connection.rollback()
    except BaseException as failure:
        failures.append(failure)
        raise


def run_workers(count, **options):
    failures = []
    with ConnectionPool("", min_size=count, max_size=count, kwargs=options) as pool:
        pool.wait(20)
        threads = [
            threading.Thread(target=worker, args=(pool, number, failures))
            for number in range(count)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not failures, failures


def copies():
    with psycopg.connect("", prepare_threshold=None) as connection:
        connection.execute("create table copied (n int, body text)")
        with connection.cursor() as cursor:
            with cursor.copy("copy copied from stdin") as copy:
                for number in range(5000):
                    copy.write_row((number, f"row {number}"))
            with cursor.copy("copy (select * from copied order by n) to stdout") as copy:
                rows = list(copy.rows())
        assert len(rows) == 5000 and rows[-1] == ("4999", "row 4999"), rows[-1]
        connection.commit()
        try:
            with connection.cursor().copy("copy copied from stdin") as copy:
                copy.write("not a number\n")
            raise AssertionError("no error")
        except psycopg.errors.InvalidTextRepresentation:
            connection.rollback()
        assert connection.execute("select count(*) from copied").fetchone() == (5000,)


def cancels():
    with psycopg.connect("", prepare_threshold=None, autocommit=True) as connection:
        stop = threading.Event()

        def keep_cancelling():
            # The query may not have begun at the first.
            while not stop.is_set():
                connection.cancel()
                time.sleep(0.05)

        thread = threading.Thread(target=keep_cancelling)
        thread.start()
        try:
            connection.execute("select pg_sleep(30)")
            raise AssertionError("not cancelled")
        except psycopg.errors.QueryCanceled:
            pass
        finally:
            stop.set()
            thread.join()
        assert connection.execute("select 1").fetchone() == (1,)


def pipelines_and_cursors():
    with psycopg.connect("", prepare_threshold=None) as connection:
        with connection.pipeline():
            cursors = [connection.execute("select %s::int", (n,)) for n in range(50)]
            assert [cursor.fetchone()[0] for cursor in cursors] == list(range(50))
        with connection.cursor(name="server_side") as cursor:
            cursor.itersize = 7
            cursor.execute("select generate_series(1, 100)")
            assert sum(row[0] for row in cursor) == 5050
        notices = []
        connection.add_notice_handler(lambda notice: notices.append(notice.message_primary))
        connection.execute("do $$ begin raise notice 'heard'; end $$")
        assert notices == ["heard"], notices


def notifications():
    with psycopg.connect("", autocommit=True) as listener, psycopg.connect("", autocommit=True) as sender:
        listener.execute("listen drivers")
        for number in range(100):
            sender.execute("select pg_notify('drivers', %s)", (str(number),))
        heard = [notify.payload for notify in listener.notifies(timeout=20, stop_after=100)]
        assert heard == [str(number) for number in range(100)], heard
        listener.execute("notify drivers, 'own'")
        own = next(listener.notifies(timeout=20))
        assert (own.payload, own.pid) == ("own", listener.info.backend_pid), own


notifications()
run_workers(SERVERS * 2, prepare_threshold=None)
run_workers(SERVERS * 2)
run_workers(SERVERS * 2, prepare_threshold=0)
copies()
cancels()
pipelines_and_cursors()
print("done")
