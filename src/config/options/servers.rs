//! `[proxy]`: servers, TCP.

use super::{Kind, LONGEST, Opt, Plain, SECONDS, count, option, seconds};
use std::time::Duration;

pub(super) const SERVERS: &[Opt] = &[
    option(
        "server_lifetime",
        SECONDS,
        "\"1h\"",
        "A server that is older is closed when no client uses it. 0: each is used once.",
    ),
    option(
        "server_idle_timeout",
        SECONDS,
        "\"10min\"",
        "A server that was idle for so long is closed. 0: never.",
    ),
    option(
        "server_check_delay",
        SECONDS,
        "\"30s\"",
        "A server that was idle for so long is checked before a client gets it. 0: always.",
    ),
    option(
        "server_check_query",
        Kind::Text,
        "\"<empty>\"",
        "What a server is checked with. `\"<empty>\"` is an empty query, the cheapest; `\"\"` \
         turns the check off.",
    ),
    option(
        "server_connect_timeout",
        SECONDS,
        "\"15s\"",
        "How long connecting and logging in to Postgres may take. 0: no limit.",
    ),
    option(
        "server_login_retry",
        // Zero would be a busy loop against a host that is in trouble already.
        seconds(Duration::from_millis(100), LONGEST),
        "\"15s\"",
        "The longest pause between attempts to connect to a host that fails. The first pauses are \
         short, so a host that is back is found soon.",
    ),
    option(
        "server_down_hold",
        SECONDS,
        "\"2s\"",
        "How long queries are held when their host cannot be reached before clients are told. It \
         bridges a restart of Postgres. 0: they are told at once.",
    )
    .ours(),
];

/// What Linux takes: `MAX_TCP_KEEPIDLE`, `MAX_TCP_KEEPINTVL`, `MAX_TCP_KEEPCNT`.
const KEEPALIVE: Kind = seconds(Duration::ZERO, Duration::from_secs(32_767));
const PROBES: Kind = count(0, 127);

pub(super) const TCP: &[Opt] = &[
    option(
        "tcp_keepalive",
        Kind::Boolean,
        "true",
        "Ask idle peers whether they are still there, clients and servers.",
    ),
    option(
        "tcp_keepidle",
        KEEPALIVE,
        "0",
        "How long a connection is idle before the first question, in whole seconds. 0: the \
         system's setting, which is two hours on Linux.",
    ),
    option(
        "tcp_keepintvl",
        KEEPALIVE,
        "0",
        "The time between questions, in whole seconds. 0: the system's setting.",
    ),
    option("tcp_keepcnt", PROBES, "0", "Questions without an answer. 0: the system's setting."),
    option(
        "tcp_user_timeout",
        Kind::Duration {
            plain: Plain::Milliseconds,
            least: Duration::ZERO,
            most: Duration::from_millis(i32::MAX.cast_unsigned() as u64),
        },
        "\"30s\"",
        "How long sent data may stay unacknowledged before the connection is closed. A plain \
         number is milliseconds. 0: the system's, about 15 minutes, for which a host that died \
         silently would hold its queries; 30 s outlasts a network's usual hiccups. Linux also \
         counts a peer that is alive but reads nothing, so a client always has at least \
         `client_write_timeout`.",
    )
    .not_as_in_pgbouncer("0"),
];
