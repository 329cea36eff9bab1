//! The SQL of scripts. Each client has tables of its own, so that no answer depends on what others do.
//! Nothing here fails or not by what Postgres chose to plan: a plan for any values, which it makes after
//! some uses of a statement on one connection, is not the same everywhere.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::generate::{Part, Profile};
use crate::harness::random::one_in;

const INT4: u32 = 23;
const TEXT: u32 = 25;

/// A statement, and the types of its parameters.
#[derive(Clone, Default)]
pub(super) struct Text {
    pub(super) sql: String,
    pub(super) types: &'static [u32],
}

impl Text {
    /// It begins, ends or divides a transaction, or may.
    pub(super) fn is_control(&self) -> bool {
        TRANSACTIONS.contains(&self.sql.as_str())
    }

    /// What it returns may change with the tables of its client.
    pub(super) fn depends_on_tables(&self) -> bool {
        self.sql.contains("own_")
    }
}

/// Whether there is SQL that executes the statement with this name.
pub(super) fn is_executed(name: &str) -> bool {
    matches!(name, "a" | "b")
}

const READING: &[(&str, &[u32])] = &[
    ("select 1", &[]),
    ("select 'two' as b, 2 as n", &[]),
    ("select * from own_CLIENT order by id", &[]),
    ("select n, body from shared order by n", &[]),
    ("select count(*) from own_CLIENT", &[]),
    ("select $1", &[INT4]),
    ("select $1", &[TEXT]),
    ("select $1::int + 1 as more", &[INT4]),
    ("select n from shared where n < $1 order by n", &[INT4]),
    ("select length($1), $2", &[TEXT, INT4]),
    ("select 10 / n from shared where n = $1", &[INT4]),
    ("select 10 / (n - 3) from shared order by n", &[]),
    ("select client_only from own_CLIENT", &[]),
    ("select current_setting('work_mem'), current_setting('search_path')", &[]),
    ("select timestamptz 'epoch' + n * interval '1 day' from shared where n < $1", &[INT4]),
    ("copy shared to stdout", &[]),
    ("show timezone", &[]),
    ("show transaction_isolation", &[]),
];
const WRITING: &[(&str, &[u32])] = &[
    ("insert into own_CLIENT (body) values ($1) returning id", &[TEXT]),
    ("insert into own_CLIENT (id, body) values ($1, 'given')", &[INT4]),
    ("update own_CLIENT set body = $1 where id = $2 returning *", &[TEXT, INT4]),
    ("delete from own_CLIENT where id > 5", &[]),
];
const FAILING: &[&str] =
    &["selec 1", "select * from missing", "select 1; select 2", "select 1/0", "", "-- nothing"];
const TRANSACTIONS: &[&str] = &[
    "begin",
    "begin",
    // No isolation level: behind a statement that was prepared anew in the same batch, it comes too late.
    "begin read only",
    "start transaction",
    "commit",
    "commit and chain",
    "rollback",
    "savepoint s",
    "rollback to s",
    "release s",
    "declare cur cursor for select n from shared order by n",
    "close cur",
];
pub(super) const FETCH: &str = "fetch 3 from cur";
const PREPARES: &[&str] = &[
    "prepare a as select 'prepared'",
    "prepare b (int) as select $1 + 1",
    "deallocate a",
    "deallocate prepare b",
    "deallocate all",
];
/// Not to be had under a name: Postgres 15 crashes when a statement executes itself.
const EXECUTES: &[&str] = &["execute a", "execute b(1)", "explain (costs off) execute a"];
const SETTINGS: &[&str] = &[
    "discard all",
    "set timezone to 'Asia/Tokyo'",
    "set local timezone to 'Europe/Paris'",
    "reset timezone",
    "set application_name to 'renamed'",
    "set datestyle to 'German'",
    "show datestyle",
    "reset all",
];
/// What Postgres does not report. A name with a dot is empty where others have set it, and unknown elsewhere.
const UNREPORTED: &[&str] = &[
    "set work_mem to '7MB'",
    "set local work_mem to '8MB'",
    "reset work_mem",
    "show work_mem",
    "set search_path to pg_catalog, public",
    "set local search_path = public",
    "show search_path",
    "set app.x to 1",
    "set app.x = E'a\\'b'",
    "select set_config('app.x', 'y', false), set_config('lock_timeout', '1h', true)",
    "do $$ begin perform set_config('app.x', 'z', false); end $$",
    "select coalesce(current_setting('app.x', true), ''), current_setting('lock_timeout')",
    "set statement_timeout to '1h'; set lock_timeout to default; select 1; show statement_timeout",
    "begin; set lock_timeout to '2h'; savepoint s; set lock_timeout to '3h'",
];
const ALTERING: &[&str] = &[
    "alter table own_CLIENT add column more int default 7",
    "alter table own_CLIENT drop column more",
];
const SCRIPTS: &[&str] = &[
    "select 1; select 2",
    "begin; select 3",
    "select 4; commit",
    "select 5; select 1/0; select 6",
    "insert into own_CLIENT (body) values ('a'); insert into own_CLIENT (body) values ('b')",
    ";",
    "; select 7",
    "begin; commit",
];

fn own(sql: &str, client: usize) -> String {
    sql.replace("CLIENT", &client.to_string())
}

fn text_of(&(sql, types): &(&str, &'static [u32]), client: usize) -> Text {
    Text { sql: own(sql, client), types }
}

/// A text that reads, mostly without an error.
pub(super) fn reading(client: usize, random: &mut StdRng) -> Text {
    text_of(READING.choose(random).expect("there are some"), client)
}

/// A text for `Parse`.
pub(super) fn extended(
    client: usize,
    profile: Profile,
    is_open: bool,
    random: &mut StdRng,
) -> Text {
    let from = match random.random_range(0..100) {
        0..60 => READING.choose(random),
        60..80 => WRITING.choose(random),
        _ => None,
    };
    match from {
        Some(found) => text_of(found, client),
        None => Text { sql: plain(client, profile, is_open, random), types: &[] },
    }
}

/// A text for `Query`.
pub(super) fn simple(
    client: usize,
    profile: Profile,
    is_open: bool,
    random: &mut StdRng,
) -> String {
    match random.random_range(0..100) {
        0..30 => {
            let plain = READING.iter().filter(|(_, types)| types.is_empty()).collect::<Vec<_>>();
            own(plain.choose(random).expect("some take no values").0, client)
        }
        30..40 => own(choose(SCRIPTS, profile, random), client),
        40..42 if is_open => FETCH.to_owned(),
        42..50 if profile.has(Part::Prepare) => {
            own(EXECUTES.choose(random).expect("there are some"), client)
        }
        _ => plain(client, profile, is_open, random),
    }
}

/// A text that takes no values, and does something other than to read or write.
fn plain(client: usize, profile: Profile, is_open: bool, random: &mut StdRng) -> String {
    let texts = match random.random_range(0..10) {
        0 if profile.has(Part::Settings) && one_in(random, 2) => SETTINGS,
        0 if profile.has(Part::Settings) => UNREPORTED,
        1 if profile.has(Part::Altering) => ALTERING,
        2..4 => FAILING,
        4 if profile.has(Part::Prepare) => PREPARES,
        // Few are of use without a transaction.
        _ if is_open || one_in(random, 4) || profile.has(Part::Alone) => TRANSACTIONS,
        _ => &TRANSACTIONS[..1],
    };
    own(choose(texts, profile, random), client)
}

/// One of these that leaves no transaction open where none may be.
fn choose(texts: &[&'static str], profile: Profile, random: &mut StdRng) -> &'static str {
    let begins = |sql: &str| sql.starts_with("begin") || sql.starts_with("start");
    loop {
        let text = texts.choose(random).expect("there are some");
        if !profile.has(Part::Alone) || !begins(text) || text.ends_with("commit") {
            return text;
        }
    }
}

/// A value for a parameter of this type, mostly one that fits.
pub(super) fn value(oid: u32, random: &mut StdRng) -> Option<String> {
    match random.random_range(0..40) {
        0 => None,
        1 => Some("no number".to_owned()),
        2 if oid == TEXT => Some("long ".repeat(random.random_range(1..20_000))),
        _ => Some(random.random_range(0..12).to_string()),
    }
}
