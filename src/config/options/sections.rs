//! `[hosts.NAME]`, `[databases.NAME]` and `[users.NAME]`.

use super::{COUNT, EXTRA, Kind, Opt, POOL, SECONDS, Section, TEXT, count, option};

pub(super) const HOST: &[Opt] = &[
    option(
        "host",
        TEXT,
        "\"127.0.0.1\"",
        "Where Postgres listens: a name, an address, or the directory of its unix socket.",
    )
    .not_as_in_pgbouncer("the unix socket"),
    option("port", count(1, 65_535), "5432", "The port; it is in the unix socket's name too."),
    option(
        "max_connections",
        Kind::AutoOrCount { least: 1, most: 262_143 },
        "\"auto\"",
        "Servers on this host at most, over all pools. Keep it below Postgres' own \
         `max_connections` less `superuser_reserved_connections`, so that an administrator always \
         gets in. `\"auto\"`: only the pools' own limits hold.",
    )
    .ours(),
];

pub(super) const DATABASE: &[Opt] = &[
    option(
        "host",
        TEXT,
        "",
        "The NAME of a `[hosts.NAME]` section. In PgBouncer this is the address itself.",
    )
    .required("\"main\"")
    .ours(),
    option("dbname", TEXT, "\"\"", "The database's name in Postgres. `\"\"`: the same name."),
    SERVER_USER.pgbouncer_says("user"),
    SERVER_PASSWORD.pgbouncer_says("password"),
    option("pool_size", POOL, "", "Servers per pool of this database.")
        .as_in_proxy("default_pool_size"),
    option("min_pool_size", EXTRA, "", "Servers that are kept open per pool.")
        .as_in_proxy("min_pool_size"),
    option("reserve_pool_size", EXTRA, "", "Servers beyond `pool_size`, for emergencies.")
        .as_in_proxy("reserve_pool_size"),
    POOL_MODE,
    DEFER_BEGIN,
    ANSWER_PINGS,
    option("listen", Kind::Choice(&["shared", "pin"]), "", "What becomes of a `LISTEN`.")
        .as_in_proxy("listen")
        .ours(),
    option("replication", Kind::Boolean, "", "Let clients of this database replicate.")
        .as_in_proxy("replication")
        .ours(),
    SESSION_STATE,
    MULTIPLEX,
    option("max_db_connections", COUNT, "", "Servers of this database at most, over all users.")
        .as_in_proxy("max_db_connections"),
    option("max_db_client_connections", COUNT, "", "Clients of this database at most.")
        .as_in_proxy("max_db_client_connections"),
    option("server_lifetime", SECONDS, "", "An older server is closed. 0: each is used once.")
        .as_in_proxy("server_lifetime"),
    option(
        "connect_query",
        TEXT,
        "\"\"",
        "SQL that is run on each new server, where its errors are logged, no more; and again after \
         each reset, where an error closes the server. What it sets holds for every client that sets \
         nothing else, and a client's `RESET` goes back to it. `\"\"` is none.",
    ),
    QUERY_WAIT_TIMEOUT,
    QUERY_TIMEOUT.ours(),
    TRANSACTION_TIMEOUT.ours(),
    IDLE_TRANSACTION_TIMEOUT.ours(),
    IDLE_TRANSACTION_PRESSURE_TIMEOUT,
    CLIENT_IDLE_TIMEOUT.ours(),
];

pub(super) const USER: &[Opt] = &[
    option(
        "password",
        Kind::Secret,
        "\"\"",
        "The secret to log in to the proxy with: plain, `md5...` or `SCRAM-SHA-256$...`. `\"\"`: \
         what `auth_file` says.",
    )
    .ours(),
    SERVER_USER.ours(),
    SERVER_PASSWORD.ours(),
    option("pool_size", POOL, "", "Servers per pool of this user.")
        .as_in_proxy("default_pool_size"),
    option("reserve_pool_size", EXTRA, "", "Servers beyond `pool_size`, for emergencies.")
        .as_in_proxy("reserve_pool_size"),
    POOL_MODE,
    DEFER_BEGIN,
    ANSWER_PINGS,
    SESSION_STATE,
    MULTIPLEX,
    option(
        "max_user_connections",
        COUNT,
        "",
        "Servers of this user at most, over all databases of a host.",
    )
    .as_in_proxy("max_user_connections"),
    option("max_user_client_connections", COUNT, "", "Clients of this user at most.")
        .as_in_proxy("max_user_client_connections"),
    option(
        "choose_class",
        Kind::List,
        "[]",
        "Classes that clients of this user may choose at startup, by `options=-c pgweir.class=NAME`, \
         whatever `match` says; `\"*\"` is any.",
    )
    .ours(),
    QUERY_WAIT_TIMEOUT,
    QUERY_TIMEOUT,
    TRANSACTION_TIMEOUT,
    IDLE_TRANSACTION_TIMEOUT,
    IDLE_TRANSACTION_PRESSURE_TIMEOUT,
    CLIENT_IDLE_TIMEOUT,
];

const SERVER_USER: Opt = option(
    "server_user",
    TEXT,
    "\"\"",
    "Log in to Postgres as this user whoever the client is, so that all of them share one pool. A \
     user's wins over its database's. `\"\"`: as the client's user.",
);

const SERVER_PASSWORD: Opt = option(
    "server_password",
    Kind::Secret,
    "\"\"",
    "The password for `server_user`. `\"\"`: the one that `[users]` or `auth_file` has for it.",
);

const POOL_MODE: Opt = option(
    "pool_mode",
    Kind::Choice(&["transaction", "session", "statement"]),
    "",
    "When a server goes back to its pool.",
)
.as_in_proxy("pool_mode");

const DEFER_BEGIN: Opt = option(
    "defer_begin",
    Kind::Boolean,
    "",
    "Take a server only with the first statement behind a `BEGIN`.",
)
.as_in_proxy("defer_begin")
.ours();

const SESSION_STATE: Opt = option(
    "session_state",
    Kind::Choice(&["pin", "refuse", "ignore"]),
    "",
    "What becomes of what cannot follow a client to another server.",
)
.as_in_proxy("session_state")
.ours();

const MULTIPLEX: Opt = option(
    "multiplex",
    Kind::Choice(&["auto", "off"]),
    "",
    "Whether clients share servers that are busy, for short reads.",
)
.as_in_proxy("multiplex")
.ours();

const ANSWER_PINGS: Opt = option(
    "answer_pings",
    Kind::Choice(&["empty", "select", "off"]),
    "",
    "Which pings are answered without a server.",
)
.as_in_proxy("answer_pings")
.ours();

const QUERY_WAIT_TIMEOUT: Opt =
    option("query_wait_timeout", SECONDS, "", "How long a query waits for a server. 0: for ever.")
        .as_in_proxy("query_wait_timeout");

const QUERY_TIMEOUT: Opt =
    option("query_timeout", SECONDS, "", "The longest a query may run. 0: no limit.")
        .as_in_proxy("query_timeout");

const TRANSACTION_TIMEOUT: Opt =
    option("transaction_timeout", SECONDS, "", "The longest a transaction may take. 0: no limit.")
        .as_in_proxy("transaction_timeout");

const IDLE_TRANSACTION_TIMEOUT: Opt = option(
    "idle_transaction_timeout",
    SECONDS,
    "",
    "How long a client may be idle in a transaction. 0: no limit.",
)
.as_in_proxy("idle_transaction_timeout");

const IDLE_TRANSACTION_PRESSURE_TIMEOUT: Opt = option(
    "idle_transaction_pressure_timeout",
    SECONDS,
    "",
    "How long a client may be idle in a transaction while others wait for a server. 0: no limit.",
)
.as_in(Section::Overload, "idle_transaction_pressure_timeout")
.ours();

const CLIENT_IDLE_TIMEOUT: Opt = option(
    "client_idle_timeout",
    SECONDS,
    "",
    "How long a client may be idle outside a transaction. 0: for ever.",
)
.as_in_proxy("client_idle_timeout");
