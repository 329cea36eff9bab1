//! `[proxy]`: who may log in, how many clients, how long they may take.

use super::{COUNT, Kind, Opt, SECONDS, TEXT, count, option};

pub(super) const AUTH: &[Opt] = &[
    option(
        "auth_type",
        Kind::Choice(&["scram-sha-256", "md5", "plain", "trust"]),
        "\"scram-sha-256\"",
        "How clients prove who they are. `scram-sha-256` needs plain or SCRAM secrets. `md5` also \
         uses SCRAM for users whose secret is a SCRAM secret. `plain` sends passwords in clear \
         text. `trust` asks for none: anybody who can connect is any user.",
    )
    .not_as_in_pgbouncer("\"md5\""),
    option(
        "auth_file",
        TEXT,
        "\"\"",
        "A file of users in PgBouncer's format, one `\"user\" \"secret\"` per line, beside those \
         in `[users]`. A secret is plain, `md5...` or `SCRAM-SHA-256$...`. A relative path starts \
         at this file's directory. `\"\"` is none.",
    ),
    option(
        "admin_users",
        Kind::List,
        "[]",
        "Users that may do everything on the console, which is the database `pgweir`, and \
         `pgbouncer` as well.",
    ),
    option("stats_users", Kind::List, "[]", "Users that may look at the console."),
    option(
        "scram_iterations",
        count(1, 10_000_000),
        "4096",
        "The cost of SCRAM secrets that are made from plain passwords.",
    ),
];

pub(super) const LIMITS: &[Opt] = &[
    option(
        "max_client_conn",
        count(1, 1_000_000),
        "1000",
        "Clients at most; the next one is refused. Each needs a file descriptor.",
    )
    .not_as_in_pgbouncer("100"),
    option(
        "max_db_client_connections",
        COUNT,
        "0",
        "Clients of one database at most. 0: no limit but `max_client_conn`.",
    ),
    option(
        "max_user_client_connections",
        COUNT,
        "0",
        "Clients of one user at most. 0: no limit but `max_client_conn`.",
    ),
    option(
        "max_cancels",
        count(1, 100_000),
        "100",
        "Cancel requests under way at once. A cancel never takes a client's or a query's place.",
    )
    .ours(),
    option(
        "max_packet_size",
        Kind::Size { least: 1 << 10, most: i32::MAX.cast_unsigned() },
        "2147483647",
        "The longest message that is passed on: one query or one row.",
    ),
    option(
        "max_prepared_statements",
        COUNT,
        "200",
        "Statements that a server has prepared for clients, in transaction and statement mode. The one \
         that was not used for longest makes room. 0: a client that has prepared a statement keeps \
         its server.",
    ),
    option(
        "max_client_prepared_statements",
        count(1, 1_000_000),
        "10000",
        "Statements that one client may have at once; the next is refused.",
    )
    .ours(),
    option(
        "prepared_statement_memory",
        Kind::Size { least: 1 << 20, most: i32::MAX.cast_unsigned() },
        "\"256MB\"",
        "Memory for the texts of prepared statements, over all clients. Clients that have the same \
         share it. What does not fit is refused.",
    )
    .ours(),
    option(
        "ignore_startup_parameters",
        Kind::List,
        "[]",
        "Startup parameters that are accepted and dropped, such as `[\"search_path\"]`.",
    ),
];

pub(super) const TIMES: &[Opt] = &[
    option(
        "query_wait_timeout",
        SECONDS,
        "\"10s\"",
        "How long a query waits for a server before its client gets an error. 0: for ever.",
    )
    .not_as_in_pgbouncer("\"120s\""),
    option(
        "query_wait_notify",
        SECONDS,
        "\"5s\"",
        "After how long a waiting client gets a notice that it waits. 0: never.",
    ),
    option(
        "query_timeout",
        SECONDS,
        "0",
        "The longest a query may run before it is cancelled and its client is closed; the server \
         is cleaned and used again. 0: no limit. Let Postgres' `statement_timeout` fire first: it \
         is kinder.",
    ),
    option(
        "transaction_timeout",
        SECONDS,
        "0",
        "The longest a transaction may take before it is rolled back and its client is closed; the \
         server is cleaned and used again. 0: no limit.",
    ),
    option(
        "idle_transaction_timeout",
        SECONDS,
        "0",
        "How long a client may be idle in a transaction, holding a server, before it is closed. \
         The transaction is rolled back and the server used again. 0: no limit.",
    ),
    option(
        "client_idle_timeout",
        SECONDS,
        "0",
        "How long a client may be idle outside a transaction. 0: for ever. Idle clients hold no \
         server; keep it longer than the idle time of the application's own pool.",
    ),
    option("client_login_timeout", SECONDS, "\"60s\"", "How long a login may take. 0: no limit."),
    option(
        "client_write_timeout",
        SECONDS,
        "\"5min\"",
        "How long a client may read nothing of what it is sent before it is closed. What it runs \
         is cancelled, and the server cleaned and used again. 0: for ever.",
    )
    .ours(),
    option(
        "cancel_wait_timeout",
        SECONDS,
        "\"10s\"",
        "How long a cancel request may take to reach Postgres, and then to be taken. If it may \
         still be on its way by then, its server is closed. 0: no limit.",
    ),
];
