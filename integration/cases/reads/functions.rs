//! What the classifier knows of functions is what Postgres itself says of them.

use std::collections::BTreeMap;
use std::hash::RandomState;

use pgweir::sql::read::functions::{HARMLESS, SYNTAX};

use super::is_read;
use crate::harness::postgres::Postgres;
use crate::harness::time::run;
use crate::harness::wire::Client;

/// They are in the grammar, and nowhere else.
const OF_GRAMMAR: &[&str] =
    &["coalesce", "greatest", "grouping", "least", "localtime", "localtimestamp", "nullif", "trim"];

/// Volatile, because it says another thing each time; it leaves nothing behind.
const VOLATILE: &[&str] = &["clock_timestamp"];

/// The first values of all rows, and whether any of those with the same has a second one.
async fn said(client: &mut Client, sql: &str) -> BTreeMap<String, bool> {
    let mut said = BTreeMap::new();
    for row in client.query(sql).await {
        let Some(row) = row.strip_prefix("D(").and_then(|row| row.strip_suffix(')')) else {
            continue;
        };
        let (name, is) = row.split_once(',').expect("two columns");
        *said.entry(name.to_owned()).or_default() |= is == "t";
    }
    said
}

async fn session(postgres: &Postgres) -> Client {
    Client::connect(&postgres.address()).await
}

/// Parallel-unsafe are those that write, and those that a session would notice.
#[test]
fn functions_that_are_taken_for_harmless_change_nothing() {
    run(async {
        let postgres = Postgres::start().await;
        let has_effects = said(
            &mut session(&postgres).await,
            "select proname, provolatile = 'v' or proparallel = 'u' or prosecdef from pg_proc \
             where pronamespace = 'pg_catalog'::regnamespace",
        )
        .await;
        let mut wrong = Vec::new();
        for name in HARMLESS {
            let is_right = match has_effects.get(name) {
                Some(has_effects) => *has_effects == VOLATILE.contains(&name),
                None => OF_GRAMMAR.contains(&name),
            };
            wrong.extend((!is_right).then_some(name));
        }
        assert!(wrong.is_empty(), "volatile, unsafe or unknown to Postgres: {wrong:?}");
    });
}

#[test]
fn no_word_of_syntax_may_be_the_name_of_a_function() {
    run(async {
        let postgres = Postgres::start().await;
        let keywords = said(
            &mut session(&postgres).await,
            "select word, catcode in ('C', 'R') from pg_get_keywords()",
        )
        .await;
        let may_not = |name: &&str| keywords.get(*name).copied().unwrap_or_default();
        let wrong: Vec<_> = SYNTAX.iter().chain(OF_GRAMMAR).filter(|name| !may_not(name)).collect();
        assert!(wrong.is_empty(), "{wrong:?}");
    });
}

/// What stands behind the dot after a value is called with it.
#[test]
fn no_function_with_effects_is_called_as_if_it_were_a_column() {
    run(async {
        let postgres = Postgres::start().await;
        // Those that nobody can call are none: their arguments are of no type that a statement can have.
        let callable = said(
            &mut session(&postgres).await,
            "select proname, provolatile = 'v' or proparallel = 'u' from pg_proc \
             where pronargs > 0 and pronargs - pronargdefaults <= 1 \
             and 'internal'::regtype <> all (proargtypes)",
        )
        .await;
        let hasher = RandomState::new();
        let (mut wrong, mut looked_at) = (Vec::new(), 0);
        for (name, _) in callable.iter().filter(|(_, has_effects)| **has_effects) {
            looked_at += 1;
            for sql in [
                format!("select x.{name} from generate_series(1, 2) x"),
                format!("select x.\"{name}\" from generate_series(1, 2) x"),
                format!("select pg_catalog.{name} from generate_series(1, 2) pg_catalog"),
                format!("select pg_catalog.{name} from generate_series(1, 2) as \"pg_catalog\""),
                format!("select (1).{name}"),
                format!("select $1.{name}"),
                format!("select a[1].{name} from t"),
            ] {
                wrong.extend(is_read(&sql, &hasher).then_some(sql));
            }
        }
        assert!(looked_at > 50 && wrong.is_empty(), "{looked_at} looked at: {wrong:#?}");
    });
}

#[test]
fn no_operator_or_cast_of_postgres_has_effects() {
    run(async {
        let postgres = Postgres::start().await;
        let volatile = session(&postgres)
            .await
            .value(
                "select count(*) from pg_proc p where (provolatile = 'v' or proparallel <> 's') and ( \
                 p.oid in (select oprcode from pg_operator) or \
                 p.oid in (select castfunc from pg_cast) or \
                 p.oid in (select typinput from pg_type union all select typoutput from pg_type) or \
                 p.oid in (select amproc from pg_amproc))",
            )
            .await;
        assert_eq!(volatile, "0");
    });
}
