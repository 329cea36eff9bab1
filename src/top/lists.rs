//! What each screen lists.

use super::columns::{Kind, Pick, list};
use super::listing::{Bar, Cell, Field, Listing, Sort, Tone, Value};
use super::model::{Health, Model, Pool};
use super::rates::Sums;
use super::sample::Show;
use super::table::Row;
use super::words;

const TITLE_WAITING: &str = "waiting";
const TITLE_HELD: &str = "held";

/// Pools and what they are up to. `all` columns, or as many as an overview has.
pub(super) fn pools(model: &Model) -> Listing {
    let rows = model.pools.iter().map(pool).collect();
    Listing { sort: Sort::ascending("pool"), ..list_of_pools(rows) }
}

/// The same for the overview: those with most trouble first, then those with most to do.
pub(super) fn busiest(model: &Model) -> Listing {
    let mut pools: Vec<&Pool> = model.pools.iter().collect();
    pools.sort_by_key(|pool| std::cmp::Reverse((pool.health, pool.waiting, pool.used)));
    list_of_pools(pools.into_iter().map(pool).collect())
}

fn list_of_pools(rows: Vec<Vec<Cell>>) -> Listing {
    let fields = vec![
        Field::text("pool", 0),
        Field::text("state", 0),
        Field::text("servers", 0),
        Field::number(TITLE_WAITING, 1),
        Field::number("longest", 1),
        Field::number("idle", 3),
        Field::number("clients", 2),
        Field::number("refused/min", 4),
        Field::number("for", 5),
        Field::text("mode", 6),
        Field::number("opening", 7),
        Field::number("may wait", 7),
        Field::number("idle in tx", 5),
        Field::text("waits for", 6),
        Field::text("error", 6),
    ];
    Listing {
        fields,
        rows,
        keys: 1,
        empty: "No pools: no client has asked for a database so far.".to_owned(),
        ..Listing::default()
    }
}

fn pool(of: &Pool) -> Vec<Cell> {
    let tone = match of.health {
        Health::Well => Tone::Plain,
        Health::Busy | Health::Held => Tone::Warn,
        Health::Bad => Tone::Bad,
    };
    let bar = Bar { used: of.used, idle: of.idle, cap: of.size };
    let is_full = of.size.is_some_and(|size| of.used >= size);
    let idle_in_transaction = of.holders.as_ref().map(|holders| holders.idle_in_transaction);
    let waits = (of.waiting > 0).then_some(of.longest_wait);
    vec![
        Cell::text(&of.name()),
        Cell::text(&of.state).toned(if tone == Tone::Plain { Tone::Quiet } else { tone }),
        Cell::from(Value::Bar(bar)).toned(if is_full { Tone::Warn } else { Tone::Plain }),
        Cell::count(of.waiting).toned_if_any(Tone::Warn),
        Cell::time(waits).toned_if_any(Tone::Warn),
        Cell::count(of.idle),
        Cell::count(of.clients_in_all()),
        of.refused.map_or_else(Cell::default, Cell::count).toned_if_any(Tone::Bad),
        Cell::time(of.lasts),
        Cell::text(&of.mode),
        Cell::count(of.other),
        Cell::time(of.limit),
        idle_in_transaction.map_or_else(Cell::default, Cell::count),
        Cell::text(if of.waiting > 0 { &of.cause } else { "" }),
        Cell::text(&of.error).toned(Tone::Bad),
    ]
}

/// What each database does.
pub(super) fn databases(model: &Model) -> Listing {
    let growth = model.growth(Show::Stats, &["database"]);
    let row = |row: Row<'_>| {
        let mut sums = Sums::default();
        sums.add(&growth, row);
        let rates = sums.rates();
        let bytes =
            |rate: Option<f64>| rate.map_or_else(Cell::default, |rate| Value::Bytes(rate).into());
        vec![
            Cell::text(row.text("database")),
            Cell::number(rates.transactions),
            Cell::number(rates.queries),
            Cell::time(rates.query),
            Cell::time(rates.transaction),
            Cell::time(rates.wait),
            bytes(rates.received),
            bytes(rates.sent),
            Cell::number(rates.logins),
        ]
    };
    let fields = vec![
        Field::text("database", 0),
        Field::number("transactions/s", 0),
        Field::number("queries/s", 1),
        Field::number("query", 1),
        Field::number("transaction", 2),
        Field::number("wait", 1),
        Field::number("in/s", 3),
        Field::number("out/s", 3),
        Field::number("logins/s", 4),
    ];
    Listing { fields, rows: model.databases().map(row).collect(), keys: 1, ..Listing::default() }
}

const CLASSES: &[Pick] = &[
    Pick("name", "class", Kind::Text, 0),
    Pick("host", "host", Kind::Text, 6),
    Pick("priority", "priority", Kind::Text, 4),
    Pick("in_flight", "servers", Kind::Capped("max_in_flight"), 0),
    Pick("queued", TITLE_WAITING, Kind::Alarm, 0),
    Pick("share_percent", "share", Kind::Percent, 2),
    Pick("fair_percent", "fair", Kind::Percent, 2),
    Pick("granted", "granted/s", Kind::PerSecond, 1),
    Pick("refused", "refused/s", Kind::AlarmPerSecond, 1),
    Pick("wait_p50_us", "wait p50", Kind::Micros, 4),
    Pick("wait_p99_us", "wait p99", Kind::Micros, 3),
    Pick("service_p50_us", "held p50", Kind::Micros, 5),
    Pick("service_p99_us", "held p99", Kind::Micros, 5),
    Pick("clients", "clients", Kind::Count, 3),
    Pick("weight", "weight", Kind::Count, 6),
    Pick("patience_ms", "patience", Kind::Millis, 5),
    Pick("shedding", "shedding", Kind::Alarm, 6),
    Pick("reserved", "reserved", Kind::Count, 7),
    Pick("max_clients", "max clients", Kind::Count, 8),
    Pick("max_queued", "max waiting", Kind::Count, 8),
];

pub(super) fn classes(model: &Model) -> Listing {
    let Some(table) = model.table(Show::Classes) else { return absent(model, Show::Classes) };
    let growth = model.growth(Show::Classes, &["name", "host"]);
    Listing {
        sort: Sort::ascending("class"),
        empty: "No classes: no client has asked for anything so far.".to_owned(),
        ..list(table, Some(&growth), CLASSES, 2, |_| true)
    }
}

const WAITS: &[Pick] = &[
    Pick("id", "client", Kind::Text, 0),
    Pick("database", "database", Kind::Text, 1),
    Pick("user", "user", Kind::Text, 1),
    Pick("application_name", "application", Kind::Text, 1),
    Pick("wait_us", "waits", Kind::Micros, 0),
    Pick("cause", "for", Kind::Text, 2),
    Pick("longest_application_name", "behind", Kind::Text, 2),
    Pick("longest_us", "held for", Kind::Micros, 2),
    Pick("longest_state", "which is", Kind::Text, 3),
    Pick("longest_pid", "pid", Kind::Text, 4),
    Pick("behind", "servers of", Kind::Text, 6),
    Pick("holders", "held", Kind::Count, 6),
    Pick("idle_in_transaction", "idle in tx", Kind::Count, 6),
    Pick("addr", "address", Kind::Address("port"), 4),
    Pick("class", "class", Kind::Text, 5),
    Pick("waits_for", "in words", Kind::Text, 7),
];

const CLIENTS: &[Pick] = &[
    Pick("id", "client", Kind::Text, 0),
    Pick("ptr", "pointer", Kind::Text, 8),
    Pick("database", "database", Kind::Text, 0),
    Pick("user", "user", Kind::Text, 0),
    Pick("state", "state", Kind::Text, 0),
    Pick("application_name", "application", Kind::Text, 1),
    Pick("addr", "address", Kind::Address("port"), 2),
    Pick("wait", "waits", Kind::SecondsAnd("wait_us"), 1),
    Pick("connect_time", "connected", Kind::Text, 4),
    Pick("request_time", "asked", Kind::Text, 3),
    Pick("type", "type", Kind::Text, 8),
];

const SERVERS: &[Pick] = &[
    Pick("remote_pid", "pid", Kind::Text, 0),
    Pick("id", "id", Kind::Text, 8),
    Pick("database", "database", Kind::Text, 0),
    Pick("user", "user", Kind::Text, 0),
    Pick("state", "state", Kind::Text, 0),
    Pick("application_name", "application", Kind::Text, 1),
    Pick("addr", "address", Kind::Address("port"), 3),
    Pick("request_time", "asked", Kind::Text, 2),
    Pick("connect_time", "connected", Kind::Text, 4),
    Pick("type", "type", Kind::Text, 8),
];

const HOLDERS: &[Pick] = &[
    Pick("pid", "pid", Kind::Text, 0),
    Pick("id", "client", Kind::Text, 2),
    Pick("database", "database", Kind::Text, 1),
    Pick("user", "user", Kind::Text, 1),
    Pick("state", "state", Kind::Text, 0),
    Pick("held_us", TITLE_HELD, Kind::Micros, 0),
    Pick("idle_us", "idle", Kind::Micros, 1),
    Pick("waiting", "behind it", Kind::Alarm, 3),
    Pick("application_name", "application", Kind::Text, 1),
    Pick("addr", "address", Kind::Address("port"), 4),
    Pick("class", "class", Kind::Text, 5),
];

pub(super) fn waits(model: &Model) -> Listing {
    const NOBODY: &str = "Nobody waits.";
    let (note, listing) = if let Some(table) = model.table(Show::Waits) {
        (String::new(), list(table, None, WAITS, 1, |_| true))
    } else if let Some(table) = model.table(Show::Clients) {
        let note = "From SHOW CLIENTS: this console has no SHOW WAITS.".to_owned();
        (note, list(table, None, CLIENTS, 2, |row| row.text("state").starts_with("waiting")))
    } else {
        return waits_of_pools(model, absent(model, Show::Waits));
    };
    Listing { note, sort: Sort::descending("waits"), empty: NOBODY.to_owned(), ..listing }
}

/// What is known without the names of those who wait.
fn waits_of_pools(model: &Model, absent: Listing) -> Listing {
    let waiting = model.pools.iter().filter(|pool| pool.waiting > 0).map(|pool| {
        vec![
            Cell::text(&pool.name()),
            Cell::count(pool.waiting).toned(Tone::Warn),
            Cell::time(Some(pool.longest_wait)),
            Cell::text(&pool.cause),
        ]
    });
    Listing {
        fields: vec![
            Field::text("pool", 0),
            Field::number(TITLE_WAITING, 0),
            Field::number("longest", 0),
            Field::text("for", 1),
        ],
        rows: waiting.collect(),
        keys: 1,
        sort: Sort::descending("longest"),
        note: absent.empty,
        empty: "Nobody waits.".to_owned(),
    }
}

pub(super) fn holders(model: &Model) -> Listing {
    const NOBODY: &str = "Nobody has a server.";
    let (note, listing) = if let Some(table) = model.table(Show::Holders) {
        (String::new(), list(table, None, HOLDERS, 2, |_| true))
    } else if let Some(table) = model.table(Show::Servers) {
        let note = "From SHOW SERVERS: this console has no SHOW HOLDERS.".to_owned();
        (note, list(table, None, SERVERS, 2, |row| row.text("state").starts_with("active")))
    } else {
        return holders_of_pools(model, absent(model, Show::Holders));
    };
    let sort = Sort::descending(TITLE_HELD);
    Listing { note, sort, empty: NOBODY.to_owned(), ..listing }
}

fn holders_of_pools(model: &Model, absent: Listing) -> Listing {
    let busy = model.pools.iter().filter(|pool| pool.used > 0).map(|pool| {
        let holders = pool.holders.clone().unwrap_or_default();
        let (longest, application) = holders.longest_idle.unzip();
        vec![
            Cell::text(&pool.name()),
            Cell::count(pool.used),
            Cell::count(holders.active),
            Cell::count(holders.idle_in_transaction).toned_if_any(Tone::Warn),
            Cell::count(holders.kept_idle),
            Cell::time(longest),
            Cell::text(&application.unwrap_or_default()),
        ]
    });
    Listing {
        fields: vec![
            Field::text("pool", 0),
            Field::number("servers", 0),
            Field::number("active", 0),
            Field::number("idle in tx", 0),
            Field::number("kept idle", 1),
            Field::number("longest idle", 0),
            Field::text("of", 0),
        ],
        rows: busy.collect(),
        keys: 1,
        sort: Sort::descending("longest idle"),
        note: absent.empty,
        empty: "Nobody has a server.".to_owned(),
    }
}

pub(super) fn clients(model: &Model) -> Listing {
    let Some(table) = model.table(Show::Clients) else { return absent(model, Show::Clients) };
    Listing {
        sort: Sort::descending("waits"),
        empty: "No clients.".to_owned(),
        ..list(table, None, CLIENTS, 2, |_| true)
    }
}

/// It was not asked for so far, or is not there.
fn absent(model: &Model, show: Show) -> Listing {
    let command = show.command();
    let empty = match model.now.refused.get(&show) {
        Some(said) => format!("There is no {command} here: {}", words::safe(said)),
        None => format!("Asking for {command} …"),
    };
    Listing { empty, ..Listing::default() }
}
