//! `[proxy]`: pools.

use super::{COUNT, EXTRA, Kind, MULTIPLEX_TIME, Opt, POOL, SECONDS, option};

pub(super) const POOLS: &[Opt] = &[
    option(
        "pool_mode",
        Kind::Choice(&["transaction", "session", "statement"]),
        "\"transaction\"",
        "When a server goes back to its pool: at the end of the transaction, when the client \
         leaves, or after each statement (then transactions of several statements are refused).",
    )
    .not_as_in_pgbouncer("\"session\""),
    option(
        "defer_begin",
        Kind::Boolean,
        "false",
        "In transaction mode, answer a plain `BEGIN` at once and take a server only with the first \
         statement behind it: a client that begins and then thinks holds none. Its transaction begins \
         with that statement, and so does what `now()` says in it.",
    )
    .ours(),
    option(
        "answer_pings",
        Kind::Choice(&["empty", "select", "off"]),
        "\"empty\"",
        "Answer what drivers send to see whether a connection is alive without a server: empty queries \
         such as `;`, or a plain `SELECT 1` as well. Only while the pool has a server open and had an \
         answer from Postgres within 5 s; otherwise a ping is a query like any other.",
    )
    .ours(),
    option(
        "listen",
        Kind::Choice(&["shared", "pin"]),
        "\"shared\"",
        "What becomes of a `LISTEN` in transaction and statement mode. `shared`: one connection for each \
         pool listens for all of its clients; it is in no pool, but counts under its host's \
         `max_connections`. `pin`: a client that listens keeps its server.",
    )
    .ours(),
    option(
        "replication",
        Kind::Boolean,
        "true",
        "Let clients replicate: those that log in with `replication` get a server of their own, which takes \
         a place in their pool until they leave. Whether the user may is up to Postgres.",
    )
    .ours(),
    option(
        "notification_buffer",
        Kind::Size { least: 16 << 10, most: 1 << 30 },
        "\"1MB\"",
        "How much of what a client listens to may wait for it, because it does not read, or is in a \
         transaction. More, and it is closed.",
    )
    .ours(),
    option(
        "session_state",
        Kind::Choice(&["pin", "refuse", "ignore"]),
        "\"pin\"",
        "What becomes of what cannot follow a client to another server: temporary tables that outlive \
         their transaction, cursors `WITH HOLD`, advisory locks of the session, `LOAD`. `pin`: the \
         client keeps its server while it has any. `refuse`: an error, 0A000. `ignore`: the next \
         client may meet it, as in PgBouncer.",
    )
    .ours(),
    option(
        "session_functions",
        Kind::List,
        "[]",
        "Names of your own functions that set something for the session, lock or make temporary tables. \
         After a text that names one the server is asked what it has. What is called in the text \
         itself (`set_config`, `pg_advisory_lock`) is known.",
    )
    .ours(),
    option(
        "default_pool_size",
        POOL,
        "20",
        "Servers per pool, that is per database and user. Unlike in PgBouncer, 0 is refused: a \
         pool without a limit is how proxies have taken Postgres down.",
    ),
    option(
        "min_pool_size",
        EXTRA,
        "0",
        "Servers that are kept open in a pool from the first time that a client had to wait for \
         one, so that a burst need not wait for logins. From the start, in a pool that is known \
         by then: of a named database with a `server_user`, unless users have pool settings of \
         their own.",
    ),
    option(
        "reserve_pool_size",
        EXTRA,
        "0",
        "Servers beyond the pool's size, for when a client has waited `reserve_pool_timeout`.",
    ),
    option(
        "reserve_pool_timeout",
        SECONDS,
        "\"5s\"",
        "How long a client waits before the reserve is used. 0: the reserve is never used.",
    ),
    option(
        "max_db_connections",
        COUNT,
        "0",
        "Servers of one database at most, over all users. 0: only the pools' sizes hold. When it \
         is reached, an idle server of another pool makes room.",
    ),
    option(
        "max_user_connections",
        COUNT,
        "0",
        "Servers of one user at most, over all databases of a host. 0: only the pools' sizes hold.",
    ),
    option(
        "multiplex",
        Kind::Choice(&["auto", "off"]),
        "\"off\"",
        "Whether clients share servers. `auto`: while all servers are busy, a short read that is a \
         transaction by itself is sent to one behind the reads of other clients, and answered in turn: \
         the server need not wait for the next request, and the proxy sends several at once. See \
         [multiplexing](multiplexing.md) for what may share and what it changes.",
    )
    .ours(),
    option(
        "multiplex_depth",
        Kind::Count { least: 1, most: 64 },
        "8",
        "Clients that share one server at most. 1 is the same as `multiplex = \"off\"`.",
    )
    .ours(),
    option(
        "multiplex_max_service_time",
        MULTIPLEX_TIME,
        "\"5ms\"",
        "What takes longer, one time in a hundred, has a server for itself; how long statements take is \
         learned. And nobody shares a server on which more than this is expected to be ahead.",
    )
    .ours(),
    option(
        "multiplex_functions",
        Kind::List,
        "[]",
        "Names of your own functions that only read: statements that call them may share a server, too. \
         Those of Postgres that do are known.",
    )
    .ours(),
    option(
        "multiplex_except",
        Kind::List,
        "[]",
        "Names of tables, views, functions and the like: a statement that mentions one, in whatever \
         schema, has a server for itself. For what is short mostly and very long at times; and for what \
         writes though it looks like a read.",
    )
    .ours(),
    option(
        "server_round_robin",
        Kind::Boolean,
        "false",
        "Use servers in turn. By default the last one used is used again: its caches are warm, \
         and those that are not needed become idle and are closed.",
    ),
    option(
        "server_reset_query",
        Kind::Text,
        "\"DISCARD ALL\"",
        "Run on a server before the next client gets it, in session mode, and in any after a client \
         left in a transaction. `\"\"` is none. What a client left otherwise (`LISTEN`, temporary tables, \
         advisory locks, …) is removed beside it, whatever this says, and nothing else.",
    ),
    option(
        "server_reset_query_always",
        Kind::Boolean,
        "false",
        "Send `server_reset_query` in the other modes too. It hides that an application needs \
         session mode, at the price of a round trip per transaction.",
    ),
];
