// The console with JDBC, which was told nothing about it: in each of its ways to ask, what it prepares by name,
// by portals, and in transactions of its own.

import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.ResultSetMetaData;
import java.sql.SQLException;
import java.sql.Statement;
import java.sql.Types;
import java.util.Properties;

public class Console {
    static Connection connect(String mode) throws SQLException {
        String url = "jdbc:postgresql://" + System.getenv("PGHOST") + ":" + System.getenv("PGPORT") + "/pgweir";
        Properties properties = new Properties();
        properties.setProperty("user", System.getenv("PGUSER"));
        properties.setProperty("password", System.getenv("PGPASSWORD"));
        properties.setProperty("preferQueryMode", mode);
        return DriverManager.getConnection(url, properties);
    }

    static void check(boolean holds, Object what) {
        if (!holds) throw new AssertionError(String.valueOf(what));
    }

    static int rows(ResultSet result) throws SQLException {
        int rows = 0;
        while (result.next()) rows++;
        return rows;
    }

    static void look(Statement statement) throws SQLException {
        try (ResultSet result = statement.executeQuery("SHOW POOLS")) {
            ResultSetMetaData columns = result.getMetaData();
            check(columns.getColumnName(3).equals("cl_active"), columns.getColumnName(3));
            check(columns.getColumnType(3) == Types.INTEGER, columns.getColumnTypeName(3));
            check(rows(result) > 0, "pools");
        }
        try {
            statement.executeQuery("SHOW nosuch");
            throw new AssertionError("no error");
        } catch (SQLException failure) {
            check("42601".equals(failure.getSQLState()), failure);
        }
    }

    static void change(Statement statement) throws SQLException {
        statement.execute("PAUSE app");
        statement.execute("RESUME app");
        check(statement.executeUpdate("RELOAD") == 0, "nothing is counted");
    }

    // It prepares by name what it has run five times, and reads that in binary.
    static void lookAgain(Connection connection) throws SQLException {
        try (PreparedStatement statement = connection.prepareStatement("SHOW DATABASES")) {
            for (int time = 0; time < 8; time++) {
                try (ResultSet result = statement.executeQuery()) {
                    check(result.next() && result.getInt("pool_size") == 6, "in round " + time);
                    check(result.getString("name").equals("app"), result.getString("name"));
                }
            }
        }
    }

    static void lookBit(Connection connection) throws SQLException {
        connection.setAutoCommit(false);
        try (Statement statement = connection.createStatement()) {
            statement.setFetchSize(2);
            try (ResultSet result = statement.executeQuery("SHOW LISTS")) {
                check(rows(result) == 14, "all of them");
            }
        }
        connection.rollback();
        connection.setAutoCommit(true);
    }

    public static void main(String[] arguments) throws Exception {
        for (String mode : new String[] {"simple", "extended", "extendedForPrepared", "extendedCacheEverything"}) {
            try (Connection connection = connect(mode); Statement statement = connection.createStatement()) {
                check(connection.isValid(5), mode);
                look(statement);
                change(statement);
                lookAgain(connection);
                lookBit(connection);
            }
        }
        System.out.println("done");
    }
}
