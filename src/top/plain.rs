//! The same once, as text or JSON: for scripts, and where there is no terminal.

use super::TopError;
use super::connection::Trouble;
use super::listing::{Listing, Value as Shown};
use super::lists;
use super::model::{Model, Pool};
use super::place::Place;
use super::rates::{Rates, Sums};
use super::sample::{Sample, Show};
use super::sampler::Session;
use super::table::{Row, Table};
use super::words;
use crate::base::calendar;
use crate::base::ids::WorkerId;
use crate::net::worker::{Worker, within};
use serde_json::{Map, Value, json};
use std::fmt::Write;
use std::time::Duration;
use tokio::runtime::Builder;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    Json,
    Text,
}

/// Looks twice, so that there are rates.
pub(super) fn run(place: &Place, interval: Duration, format: Format) -> Result<String, TopError> {
    let runtime = Builder::new_current_thread().enable_all().build().map_err(TopError::Thread)?;
    let samples = runtime.block_on(look_twice(place, interval));
    let address = place.address();
    let (before, now) =
        samples.map_err(|trouble| TopError::Console { address: address.clone(), trouble })?;
    let model = Model::new(Some(before), now);
    Ok(match format {
        Format::Json => format!("{:#}\n", as_json(&model, &address)),
        Format::Text => as_text(&model, &address),
    })
}

async fn look_twice(place: &Place, interval: Duration) -> Result<(Sample, Sample), Trouble> {
    let worker = Worker::new(WorkerId::MAIN);
    let mut session = Session::open(place, &worker, 0).await?;
    let before = session.sample(&[], &worker).await?;
    // Nothing comes: this is the time between.
    let _late = within(Some(interval), std::future::pending::<()>()).await;
    let all = [&Show::WAITS[..], &Show::HOLDERS, &Show::CLIENTS];
    let now = session.sample(&all, &worker).await?;
    session.connection.close().await;
    Ok((before, now))
}

pub(super) fn as_text(model: &Model, address: &str) -> String {
    let mut out = String::new();
    let time = calendar::utc(model.now.time);
    let state = model.state().unwrap_or_default();
    line(&mut out, &format!("{} at {address}  {state}  {time}", model.version()));
    for (head, about) in model.pools.iter().filter_map(Pool::trouble) {
        line(&mut out, &format!("! {head}"));
        line(&mut out, &format!("    {}", about.unwrap_or_default()));
    }
    let listings = [
        ("Databases", lists::databases(model)),
        ("Pools", lists::busiest(model)),
        ("Classes", lists::classes(model)),
        ("Waits", lists::waits(model)),
        ("Holders", lists::holders(model)),
        ("Clients", lists::clients(model)),
    ];
    for (title, listing) in &listings {
        line(&mut out, &format!("\n{title}"));
        list(&mut out, listing);
    }
    out
}

fn line(out: &mut String, text: &str) {
    out.push_str(text.trim_end());
    out.push('\n');
}

/// All that anybody picked and that some row has.
fn list(out: &mut String, listing: &Listing) {
    const RANK_MAX: u8 = 6;
    if !listing.note.is_empty() {
        line(out, &format!("  {}", listing.note));
    }
    if listing.rows.is_empty() {
        line(out, &format!("  {}", listing.empty));
        return;
    }
    let is_there = |field: &usize| {
        listing.fields[*field].rank <= RANK_MAX
            && listing.rows.iter().any(|row| !matches!(row[*field].value, Shown::Missing))
    };
    let fields: Vec<usize> = (0..listing.fields.len()).filter(is_there).collect();
    let mut lines = vec![String::new(); listing.rows.len() + 1];
    for field in fields {
        let about = &listing.fields[field];
        let cells = listing.rows.iter().map(|row| row[field].shown());
        let texts: Vec<String> = std::iter::once(about.title.clone()).chain(cells).collect();
        let width = texts.iter().map(|text| text.chars().count()).max().unwrap_or(0);
        // More, nothing is padded to.
        let width = width.min(usize::from(u16::MAX));
        for (line, text) in lines.iter_mut().zip(texts) {
            let written = if about.is_right {
                write!(line, "  {text:>width$}")
            } else {
                write!(line, "  {text:<width$}")
            };
            written.expect("a String takes everything");
        }
    }
    line(out, &lines[0]);
    for row in listing.arrange(&listing.sort, "") {
        line(out, &lines[row + 1]);
    }
}

pub(super) fn as_json(model: &Model, address: &str) -> Value {
    let growth = model.growth(Show::Stats, &["database"]);
    let databases = model.databases().map(|row| {
        let mut sums = Sums::default();
        sums.add(&growth, row);
        (words::safe(row.text("database")), rates(&sums.rates()))
    });
    let summary = &model.summary;
    let tables = model.now.tables.iter().map(|(show, table)| (show.name().to_owned(), rows(table)));
    json!({
        "address": address,
        "time": calendar::utc(model.now.time),
        "version": model.version(),
        "state": model.state(),
        "summary": {
            "clients": summary.clients,
            "waiting": summary.waiting,
            "longest_wait_seconds": summary.longest_wait.as_secs_f64(),
            "servers_used": summary.used,
            "servers_idle": summary.idle,
            "servers_max": summary.size,
            "refused_per_second": summary.refused,
            "rates": rates(&summary.rates),
        },
        "troubles": model.pools.iter().filter_map(Pool::trouble).collect::<Vec<_>>(),
        "rates": databases.collect::<Map<_, _>>(),
        "tables": tables.collect::<Map<_, _>>(),
        "missing": model.now.refused.keys().map(|show| show.name()).collect::<Vec<_>>(),
    })
}

fn rates(rates: &Rates) -> Value {
    let seconds = |time: Option<Duration>| time.as_ref().map(Duration::as_secs_f64);
    json!({
        "transactions_per_second": rates.transactions,
        "queries_per_second": rates.queries,
        "received_bytes_per_second": rates.received,
        "sent_bytes_per_second": rates.sent,
        "logins_per_second": rates.logins,
        "transaction_seconds": seconds(rates.transaction),
        "query_seconds": seconds(rates.query),
        "wait_seconds": seconds(rates.wait),
    })
}

/// As the console has them: its names, and numbers as numbers.
fn rows(table: &Table) -> Value {
    let row = |row: Row<'_>| {
        let cells = table.columns().iter().map(|column| {
            let text = row.get(&column.name);
            let number = text.filter(|_| column.is_number).and_then(|text| {
                text.parse::<i64>()
                    .map(Value::from)
                    .or_else(|_| text.parse::<f64>().map(Value::from))
                    .ok()
            });
            (column.name.clone(), number.unwrap_or_else(|| Value::from(text.map(words::safe))))
        });
        Value::Object(cells.collect())
    };
    table.rows().map(row).collect()
}
