//! `[overload]`.

use super::{COUNT, Kind, LONGEST, Opt, SECONDS, count, option};
use std::time::Duration;

const LOGINS: Kind = Kind::Number { least: 0.0, most: 1_000_000.0 };

pub(super) const OVERLOAD: &[Opt] = &[
    option(
        "shed",
        Kind::WordOrDuration {
            words: &["auto", "off"],
            least: Duration::from_millis(1),
            most: LONGEST,
        },
        "\"auto\"",
        "When a request that waits is refused before its time is up. `\"auto\"`: when it would be \
         served later than clients were seen to wait before they give up. A duration: when the \
         queue's delay stays above it. `\"off\"`: never.",
    )
    .ours(),
    option(
        "max_queued",
        COUNT,
        "0",
        "Requests that wait for a server of one host at once, over all classes. The next one is \
         refused. 0: no limit.",
    )
    .ours(),
    option(
        "idle_transaction_pressure_timeout",
        SECONDS,
        "0",
        "How long a client may be idle in a transaction while others wait for a server, before it \
         is closed. The transaction is rolled back and the server used again. 0: no limit but \
         `idle_transaction_timeout`.",
    )
    .ours(),
    option(
        "error_compat",
        Kind::Choice(&["postgres", "pgbouncer"]),
        "\"postgres\"",
        "How overload is told in a session. `postgres`: `ERROR` 57014, and the session goes on. \
         `pgbouncer`: `FATAL` 08P01, and the connection is closed, at which many drivers throw their \
         other connections away too.",
    )
    .ours(),
    option(
        "max_logins",
        count(1, 100_000),
        "64",
        "Logins under way at once. Others wait for their turn, so that a storm of them starves no \
         query.",
    )
    .ours(),
    option(
        "logins_per_second",
        LOGINS,
        "0",
        "Logins in a second, sustained. What exceeds it waits. 0: no limit.",
    )
    .ours(),
    option(
        "logins_per_second_per_address",
        LOGINS,
        "0",
        "The same for each client address, with the unix socket as one. 0: no limit.",
    )
    .ours(),
    option(
        "login_wait",
        SECONDS,
        "\"1s\"",
        "How long a login waits for its turn before it is refused (53300). 0: not at all.",
    )
    .ours(),
];
