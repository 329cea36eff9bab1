// JDBC as it comes: it prepares by name what it has run five times, and reads by portals where it is told
// how many rows to fetch. More connections than there are servers, all at once.

import java.io.StringReader;
import java.io.StringWriter;
import java.math.BigDecimal;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.sql.Statement;
import java.sql.Timestamp;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import java.util.UUID;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.postgresql.PGConnection;
import org.postgresql.PGNotification;

public class Defaults {
    static final int CONNECTIONS = 6;

    interface Work {
        void run(Connection connection, int number) throws Exception;
    }

    static Connection connect(String... options) throws SQLException {
        String url = "jdbc:postgresql://" + System.getenv("PGHOST") + ":" + System.getenv("PGPORT") + "/"
            + System.getenv("PGDATABASE");
        Properties properties = new Properties();
        properties.setProperty("user", System.getenv("PGUSER"));
        properties.setProperty("password", System.getenv("PGPASSWORD"));
        for (String option : options) {
            properties.setProperty(option.split("=")[0], option.split("=")[1]);
        }
        return DriverManager.getConnection(url, properties);
    }

    static void check(boolean holds, Object what) {
        if (!holds) throw new AssertionError(String.valueOf(what));
    }

    static void expect(String state, Callable<?> failing) throws Exception {
        try {
            failing.call();
        } catch (SQLException failure) {
            check(state.equals(failure.getSQLState()), failure);
            return;
        }
        throw new AssertionError("no " + state);
    }

    static int number(PreparedStatement statement, int value) throws SQLException {
        statement.setInt(1, value);
        try (ResultSet rows = statement.executeQuery()) {
            rows.next();
            return rows.getInt(1);
        }
    }

    static void transactions(Connection connection, int number) throws Exception {
        connection.setAutoCommit(false);
        try (PreparedStatement insert = connection.prepareStatement("insert into notes values (?, ?)");
            PreparedStatement count =
                connection.prepareStatement("select count(*) from notes where owner = ?")) {
            int before = number(count, number);
            for (int round = 1; round <= 20; round++) {
                insert.setInt(1, number);
                insert.setString(2, "note " + round);
                check(insert.executeUpdate() == 1, "one row");
                Savepoint savepoint = connection.setSavepoint();
                insert.executeUpdate();
                connection.rollback(savepoint);
                check(number(count, number) == before + round, round);
                connection.commit();
            }
        }
    }

    static void errors(Connection connection, int number) throws Exception {
        try (PreparedStatement divide = connection.prepareStatement("select 100 / ?::int")) {
            for (int round = 1; round <= 10; round++) {
                check(number(divide, round) == 100 / round, round);
                expect("22012", () -> number(divide, 0));
                connection.setAutoCommit(false);
                expect("22012", () -> number(divide, 0));
                expect("25P02", () -> number(divide, 1));
                connection.rollback();
                connection.setAutoCommit(true);
            }
        }
    }

    static void many(Connection connection, int number) throws Exception {
        String sql = "insert into notes values (?, ?) returning body";
        try (PreparedStatement insert =
                connection.prepareStatement(sql, Statement.RETURN_GENERATED_KEYS)) {
            for (int round = 0; round < 7; round++) {
                for (int n = 0; n < 50; n++) {
                    insert.setInt(1, number);
                    insert.setString(2, "many " + n);
                    insert.addBatch();
                }
                check(insert.executeBatch().length == 50, "fifty");
            }
        }
    }

    static void cursors(Connection connection, int number) throws Exception {
        connection.setAutoCommit(false);
        try (PreparedStatement series =
                connection.prepareStatement("select n from generate_series(1, ?) n")) {
            series.setFetchSize(7);
            for (int round = 0; round < 8; round++) {
                series.setInt(1, 100 + number);
                int seen = 0;
                try (ResultSet rows = series.executeQuery()) {
                    while (rows.next()) seen++;
                }
                check(seen == 100 + number, seen);
                connection.commit();
            }
        }
    }

    static void copies(Connection connection, int number) throws Exception {
        connection.setAutoCommit(false);
        StringBuilder lines = new StringBuilder();
        for (int n = 0; n < 500; n++) lines.append(-1 - number).append("\tcopied\n");
        var copies = connection.unwrap(PGConnection.class).getCopyAPI();
        check(copies.copyIn("copy notes from stdin", new StringReader(lines.toString())) == 500, "in");
        StringWriter out = new StringWriter();
        String mine = "copy (select * from notes where owner = " + (-1 - number) + ") to stdout";
        check(copies.copyOut(mine, out) == 500, "out");
        connection.rollback();
    }

    static void types(Connection connection, int number) throws Exception {
        String sql = "select ?::int, ?::int8, ?::numeric, ?::text, ?::bytea, ?::bool, ?::uuid, ?::timestamptz, ?::int[]";
        try (PreparedStatement statement = connection.prepareStatement(sql)) {
            // From the fifth on in binary, as far as the driver knows how.
            for (int round = 0; round < 8; round++) {
                Timestamp when = Timestamp.valueOf("2024-01-02 03:04:05.678");
                Object[] values = {
                    number, 1L << 40, new BigDecimal("12.340"), "Grüße, 世界", new byte[] {0, -1}, true,
                    new UUID(0, 7), when, connection.createArrayOf("int4", new Integer[] {1, 2, null}),
                };
                for (int at = 0; at < values.length; at++) statement.setObject(at + 1, values[at]);
                try (ResultSet rows = statement.executeQuery()) {
                    rows.next();
                    for (int at : new int[] {0, 1, 2, 3, 5, 6, 7}) {
                        check(values[at].equals(rows.getObject(at + 1)), rows.getObject(at + 1));
                    }
                    check(rows.getBytes(5)[1] == -1, "bytes");
                    check(((Object[]) rows.getArray(9).getArray()).length == 3, "array");
                }
            }
        }
    }

    static void cleaned(Connection connection, int number) throws Exception {
        try (PreparedStatement plus = connection.prepareStatement("select ?::int + 1");
            Statement statement = connection.createStatement()) {
            for (String clean : new String[] {"select 1", "deallocate all", "discard all"}) {
                statement.execute(clean);
                for (int round = 0; round < 8; round++) check(number(plus, round) == round + 1, clean);
            }
            for (int column = 0; column < 300; column++) {
                // More than it keeps: it closes the oldest.
                try (PreparedStatement other = connection.prepareStatement("select ?::int + " + column)) {
                    for (int round = 0; round < 6; round++) check(number(other, round) == round + column, column);
                }
            }
        }
    }

    static void notifications() throws Exception {
        try (Connection listener = connect(); Connection other = connect()) {
            listener.createStatement().execute("listen news");
            PreparedStatement notify = other.prepareStatement("select pg_notify('news', ?)");
            for (int n = 0; n < 7; n++) {
                notify.setString(1, "number " + n);
                notify.execute();
            }
            List<String> heard = new ArrayList<>();
            while (heard.size() < 7) {
                PGNotification[] came = listener.unwrap(PGConnection.class).getNotifications(20_000);
                check(came != null && came.length > 0, heard);
                for (PGNotification notification : came) heard.add(notification.getParameter());
            }
            for (int n = 0; n < 7; n++) check(heard.get(n).equals("number " + n), heard);
        }
    }

    /** Columns come beneath what is prepared: one failure at most, and it goes on. */
    static void changes(Connection connection, int number) throws Exception {
        String table = "changing_" + number;
        try (Statement statement = connection.createStatement(); Connection other = connect();
            Statement others = other.createStatement()) {
            statement.execute("drop table if exists " + table);
            statement.execute("create table " + table + " (x int)");
            statement.execute("insert into " + table + " values (1)");
            try (PreparedStatement select = connection.prepareStatement("select * from " + table)) {
                for (int round = 0; round < 5; round++) {
                    int failures = 0;
                    for (int at = 0; at < 8; at++) {
                        try (ResultSet rows = select.executeQuery()) {
                            rows.next();
                            check(rows.getMetaData().getColumnCount() == round + 1, round);
                            check(rows.getInt(1) == 1, round);
                        } catch (SQLException failure) {
                            check("0A000".equals(failure.getSQLState()), failure);
                            failures++;
                        }
                    }
                    check(failures <= 1, failures);
                    String column = "alter table " + table + " add column c" + round + " text default 'x'";
                    (round % 2 == 0 ? others : statement).execute(column);
                }
            }
        }
    }

    static void atOnce(Work work, String... options) throws Exception {
        ExecutorService threads = Executors.newFixedThreadPool(CONNECTIONS);
        List<Future<?>> all = new ArrayList<>();
        for (int at = 0; at < CONNECTIONS; at++) {
            int number = at;
            all.add(threads.submit(() -> {
                try (Connection connection = connect(options)) {
                    work.run(connection, number);
                }
                return null;
            }));
        }
        threads.shutdown();
        for (Future<?> one : all) one.get();
    }

    public static void main(String[] arguments) throws Exception {
        try (Connection connection = connect(); Statement statement = connection.createStatement()) {
            statement.execute("create table notes (owner int, body text)");
        }
        Work[] works = {
            Defaults::transactions, Defaults::errors, Defaults::many, Defaults::cursors,
            Defaults::copies, Defaults::types, Defaults::cleaned, Defaults::changes,
        };
        for (Work work : works) {
            atOnce(work);
            atOnce(work, "prepareThreshold=1");
        }
        // With a savepoint before each statement.
        atOnce(Defaults::transactions, "autosave=always");
        notifications();
        System.out.println("done");
    }
}
