//! `[proxy]`: where clients connect; the process and its log.

use super::{Kind, Opt, SECONDS, TEXT, count, option, seconds};
use std::time::Duration;

pub(super) const LISTEN: &[Opt] = &[
    option(
        "listen_addr",
        Kind::List,
        "\"127.0.0.1\"",
        "The addresses to listen on: one, or a list. `\"*\"` is every address of the machine, IPv4 \
         and IPv6; `\"\"` is none, so that only the unix socket is left. Write addresses, not \
         names (`localhost` is 127.0.0.1).",
    )
    .restart()
    .not_as_in_pgbouncer("\"\""),
    option("listen_port", count(1, 65_535), "6432", "The port, for TCP and the unix socket.")
        .restart(),
    option(
        "unix_socket_dir",
        TEXT,
        "\"/tmp\"",
        "The directory of the unix socket, `.s.PGSQL.PORT`. `\"\"` turns it off.",
    )
    .restart(),
    option(
        "unix_socket_mode",
        Kind::Mode,
        "\"0777\"",
        "The permissions of the unix socket, in octal: who may connect to it at all.",
    )
    .restart(),
    option(
        "listen_backlog",
        count(1, 65_535),
        "128",
        "Connections that the kernel holds until they are accepted. It takes \
         `net.core.somaxconn` when that is less.",
    )
    .restart(),
    option(
        "http_addr",
        TEXT,
        "\"127.0.0.1:9432\"",
        "Address and port for `/metrics`, `/healthz` and `/readyz`. `\"\"` turns it off. It \
         asks for no password: keep it off public addresses.",
    )
    .restart()
    .ours(),
];

pub(super) const PROCESS: &[Opt] = &[
    option(
        "workers",
        Kind::AutoOrCount { least: 1, most: 1_024 },
        "\"auto\"",
        "Threads that serve clients; `\"auto\"` is one per core. Pools belong to the process: a \
         limit is never \"per thread\".",
    )
    .restart()
    .ours(),
    option(
        "log_stats",
        Kind::Boolean,
        "true",
        "Log a line with what was done, once in each `stats_period`.",
    ),
    option(
        "stats_period",
        seconds(Duration::from_secs(1), Duration::from_hours(24)),
        "\"60s\"",
        "What averages are over, on the console and in the log.",
    ),
    option("log_connections", Kind::Boolean, "true", "Log each login."),
    option("log_disconnections", Kind::Boolean, "true", "Log each client that leaves, and why."),
    option(
        "log_pooler_errors",
        Kind::Boolean,
        "true",
        "Log each login and each request that is refused, and why. What ends a session is logged \
         by `log_disconnections`.",
    ),
    option(
        "log_format",
        Kind::Choice(&["text", "json", "pgbouncer"]),
        "\"text\"",
        "How log lines are written. The log goes to standard error. `\"pgbouncer\"` writes logins, \
         endings and errors as PgBouncer does, for tools that read its log.",
    )
    .restart()
    .ours(),
    option(
        "log_level",
        Kind::Choice(&["error", "warn", "info", "debug", "trace"]),
        "\"info\"",
        "What is logged: events of this weight and above. The variable `PGWEIR_LOG` wins over it.",
    )
    .ours(),
    option(
        "drain_time",
        SECONDS,
        "\"5s\"",
        "When the process is told to stop (SIGTERM, `SHUTDOWN WAIT_FOR_CLIENTS`), clients are ended \
         evenly over this time, each when it has no transaction open. Nobody new comes in \
         meanwhile.",
    )
    .ours(),
    option(
        "drain_timeout",
        SECONDS,
        "\"60s\"",
        "Who still has a transaction open so long after that is cut off.",
    )
    .ours(),
    option(
        "suspend_timeout",
        SECONDS,
        "\"10s\"",
        "How long a `SUSPEND` on the console waits until all that was read from clients and servers has \
         been passed on. Clients that have not taken it by then are ended.",
    ),
    option(
        "takeover_socket",
        TEXT,
        "\"auto\"",
        "Where a new process asks this one for its sockets and its clients (`pgweir run \
         --takeover`). `\"auto\"` is `.s.PGWEIR.PORT` beside the unix socket, if there is one; a \
         relative path starts at this file's directory; `\"\"` turns it off. Only the proxy's own \
         user and root may use it.",
    )
    .restart()
    .ours(),
    option(
        "takeover_timeout",
        SECONDS,
        "\"10min\"",
        "Clients that cannot move to a new process, because they keep their server, stay with the \
         old one for so long; then they are ended as at a shutdown.",
    )
    .ours(),
    option(
        "reload",
        Kind::Choice(&["signal", "watch"]),
        "\"signal\"",
        "When the files are read anew: at a `SIGHUP` and by `RELOAD` on the console; with `watch` also \
         about two seconds after this file or `auth_file` was changed. A file that is not valid \
         changes nothing. Write a new file beside the old one and rename it: half a file may be \
         valid, too.",
    )
    .ours(),
    option(
        "pidfile",
        TEXT,
        "\"\"",
        "A file that holds the process id while the proxy runs. A relative path starts at this \
         file's directory. `\"\"` is none.",
    )
    .restart(),
];
