//! `[[classes]]`, and `match` and `per_address` in it.

use super::{EXTRA, Kind, Opt, Section, count, option};

const NO_LIMIT: &str = "no limit";
const ANY: &str = "any";
/// What is limited. 0 would be a class that is never served; the reader says what to write.
const LIMIT: Kind = count(1, 1_000_000);
/// Less than one in a thousand seconds is served by nobody's patience.
const RATE: Kind = Kind::Number { least: 0.001, most: 1_000_000.0 };
const EXCESS: Kind = Kind::Choice(&["delay", "reject"]);

pub(super) const CLASS: &[Opt] = &[
    option(
        "name",
        Kind::Text,
        "",
        "What the console, the metrics and `choose_class` call it: letters, digits, `-`, `_` and \
         `.`, 63 at most.",
    )
    .required("\"batch\"")
    .ours(),
    option(
        "priority",
        Kind::Choice(&["critical", "normal", "sheddable"]),
        "\"normal\"",
        "Among classes that wait for a server, the more important one is served first. When \
         requests are shed, sheddable ones go first and critical ones last.",
    )
    .ours(),
    option(
        "weight",
        count(1, 1_000),
        "1",
        "The class' share of server time beside others of its priority, when there is not enough \
         for all.",
    )
    .ours(),
    option(
        "reserved",
        EXTRA,
        "0",
        "Servers of each host that are kept back for the class while it has use for them. Others \
         may borrow them meanwhile.",
    )
    .ours(),
    limit(
        "max_clients",
        "200",
        "Clients at most, for each host; the next one is refused at its login (53300).",
    ),
    limit(
        "max_in_flight",
        "4",
        "Servers of a host that the class has at once, at most. Past that its clients wait, and \
         nobody else does.",
    ),
    limit(
        "max_queued",
        "100",
        "Requests that wait for a server of a host at once, at most. The next one is refused.",
    ),
    rate(
        "transactions_per_second",
        "50",
        "Transactions in a second, sustained; of those that a client pipelines, each. One that keeps \
         its server, as in session mode, counts once.",
    ),
    BURST,
    option(
        "on_excess",
        EXCESS,
        "\"delay\"",
        "What becomes of a transaction beyond `transactions_per_second`: it waits, or is refused.",
    )
    .ours(),
    rate(
        "server_seconds_per_second",
        "1.5",
        "Time for which the class holds servers, in seconds for each second: 1.5 is one server and a \
         half, all the time, however long transactions take. After a pause it has one second's worth at \
         hand. What exceeds it waits, for an hour at most.",
    ),
];

pub(super) const MATCH: &[Opt] = &[
    rule("database", "\"app\"", "The database that the client asks for, or a list."),
    rule("user", "\"etl\"", "The user that the client logs in as, or a list."),
    rule(
        "application_name",
        "[\"etl-*\", \"psql\"]",
        "What the client calls itself, or a list. `[\"\"]` is clients that do not.",
    ),
    rule(
        "client",
        "[\"10.0.0.0/8\", \"unix\"]",
        "Where the client comes from: an address, a network, `\"unix\"` for the unix socket, or a \
         list.",
    ),
];

pub(super) const PER_ADDRESS: &[Opt] = &[
    limit("max_clients", "10", "Clients of one address at most, for each host."),
    limit("max_in_flight", "1", "Servers of a host that one address has at once, at most."),
    limit("max_queued", "5", "Requests of one address that wait at once, for a host, at most."),
    rate("transactions_per_second", "5", "Transactions of one address in a second, sustained."),
    BURST.absent("10", BURST_DEFAULT),
    option("on_excess", EXCESS, "", "What becomes of a transaction beyond that.")
        .as_in(Section::Class, "on_excess")
        .ours(),
    rate("server_seconds_per_second", "0.5", "Time for which one address holds servers."),
];

const BURST_DEFAULT: &str = "what a second brings, at least 1";
const BURST: Opt = option(
    "burst",
    LIMIT,
    "",
    "Transactions that may come at once after a pause, before `transactions_per_second` holds.",
)
.absent("100", BURST_DEFAULT)
.ours();

const fn limit(name: &'static str, example: &'static str, doc: &'static str) -> Opt {
    option(name, LIMIT, "", doc).absent(example, NO_LIMIT).ours()
}

const fn rate(name: &'static str, example: &'static str, doc: &'static str) -> Opt {
    option(name, RATE, "", doc).absent(example, NO_LIMIT).ours()
}

const fn rule(name: &'static str, example: &'static str, doc: &'static str) -> Opt {
    option(name, Kind::List, "", doc).absent(example, ANY).ours()
}
