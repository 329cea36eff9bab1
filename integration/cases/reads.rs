//! What is judged to be one read that leaves nothing behind leaves nothing behind, on a real Postgres.

mod functions;

use crate::harness::frames::Batch;
use crate::harness::postgres::Postgres;
use crate::harness::process::show;
use crate::harness::random::Seed;
use crate::harness::time::{run, run_within};
use crate::harness::wire::Client;
use pgweir::sql::read::{Names, Reading};
use rand::Rng;
use rand::seq::IndexedRandom;
use std::hash::RandomState;
use std::time::Duration;

/// What the corpus' texts are about.
const TABLES: &str = "create table t (a int, b text, j jsonb, d timestamptz); \
    create table u (a int, c text); create sequence s; \
    insert into t values (1, 'x', '{}', now()), (2, 'y', '[]', now()); insert into u values (1, 'z'); \
    create schema app; create function app.price(int) returns int language sql as 'select $1'; \
    create schema other; \
    create function other.price(int) returns text language sql as $$select set_config('app.x', 'y', false)$$";

/// About 15 s in a debug build.
const TEXTS_DEFAULT: u64 = 20_000;

/// With this in front of the search path, whoever asks for the schema to create in makes one.
const TEMPORARY: &str = "set search_path = pg_temp, public";

/// All that a statement could leave in its session, but for locks.
const LEFT: &str = "select (select string_agg(name || '=' || setting, ' ' order by name) from pg_settings \
      where source = 'session'), \
    coalesce(current_setting('app.x', true), ''), \
    (select count(*) from pg_prepared_statements), (select count(*) from pg_cursors), \
    (select count(*) from pg_listening_channels()), \
    (select count(*) from pg_class where relpersistence = 't'), pg_my_temp_schema(), \
    (select count(*) from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace), \
    (select last_value + is_called::int from s), (select count(*) from t)";

/// Parts of statements that are thrown together, harmless ones and others in disguise.
const PARTS: &[&str] = &[
    "select",
    "1",
    "'a'",
    "'it''s'",
    "a",
    "b",
    "from t",
    "from t x",
    "where",
    "a = 1",
    "and",
    "or",
    "not",
    ",",
    "(",
    ")",
    "(select 1)",
    "count(*)",
    "count(a)",
    "lower(b)",
    "order by a",
    "limit 1",
    "union select",
    "with x as (",
    "values (1)",
    "table t",
    "::text",
    "::int",
    "as",
    "x",
    "$$x$$",
    "$q$;$q$",
    "E'\\''",
    "--\n",
    "/* ; */",
    ";",
    "null",
    "coalesce(",
    "case when true then",
    "end",
    "exists (",
    "in (",
    "any (",
    "array[",
    "]",
    "over (",
    "partition by a",
    "filter (where true)",
    "app.price(",
    "other.price(1)",
    "set_config('app.x', 'y', false)",
    "pg_catalog.set_config('app.x', 'y', false)",
    "\"set_config\"('app.x', 'y', false)",
    "Set_Config /**/ ('app.x', 'y', false)",
    "nextval('s')",
    "pg_advisory_lock(1)",
    "('s'::regclass).nextval",
    "(1::bigint).pg_advisory_lock",
    "(array['s'::regclass])[1].nextval",
    "y.nextval",
    "y.\"pg_advisory_lock\"",
    "from generate_series(1::bigint, 2) y",
    "from unnest(array['s'::regclass]) y",
    "U&\"set_config\" uescape '!' ('app.x', 'y', false)",
    "current_schema",
    "1into temp y",
    "into temp y",
    "into y",
    "for update",
    "for share",
    "; begin",
    "; set app.x = 'y'",
    "; listen c",
    "; prepare p as select 1",
    "; declare c cursor with hold \
    for select 1",
    "; create temp table y ()",
    "; insert into t values (3)",
    "insert into t values (3) returning a",
    "delete from t returning a",
    "set app.x = 'y'",
    "begin",
    "listen c",
    "prepare p as select 1",
    "do $$begin perform set_config('app.x', 'y', false); end$$",
    "'",
    "\"",
    "$$",
    "\\",
    "/*",
    "*/",
    "E'",
];

const BEGINNINGS: &[&str] = &["select 1", "select a", "select", "with x as (select 1)", "values ("];

fn is_read(sql: &str, hasher: &RandomState) -> bool {
    let functions = ["app.price", "distance"].map(str::to_owned).to_vec();
    let barred = ["ledger", "tally"].map(str::to_owned).to_vec();
    let names = Names::new(functions, barred);
    Reading { names: &names, hasher, is_utf8: true }.look_at(sql.as_bytes()).is_ok()
}

/// A session that statements are run in, and one that looks at its locks when it is out of its transaction.
struct Looked {
    client: Client,
    watcher: Client,
    clean: Vec<String>,
}

impl Looked {
    async fn connect(postgres: &Postgres) -> Self {
        let mut client = Client::connect(&postgres.address()).await;
        client.query(TABLES).await;
        client.query(TEMPORARY).await;
        let clean = client.query(LEFT).await;
        Self { client, watcher: Client::connect(&postgres.address()).await, clean }
    }

    /// Runs a text both ways, and looks at what it left. Answers with whether it was correct.
    async fn check(&mut self, sql: &str) -> bool {
        let mut is_correct = true;
        for batch in [Batch::new().query(sql), Batch::new().statement(sql, &[])] {
            let answer = self.client.ask(batch).await;
            let ready = answer.last().expect("it is answered");
            assert_eq!(ready, "Z(I)", "{sql}: {answer:?}");
            is_correct &= answer.iter().any(|frame| frame.starts_with('C'));
        }
        let locks = format!("select count(*) from pg_locks where pid = {}", self.client.pid);
        assert_eq!(self.watcher.value(&locks).await, "0", "locked by {sql}");
        assert_eq!(self.client.query(LEFT).await, self.clean, "left behind by {sql}");
        is_correct
    }
}

/// Those of the corpus that are reads can be run, too.
#[test]
fn the_reads_of_the_corpus_leave_nothing_behind() {
    run(async {
        let postgres = Postgres::start().await;
        let mut looked = Looked::connect(&postgres).await;
        let hasher = RandomState::new();
        let corpus = include_str!("../../src/sql/read/corpus.sql").lines().skip(2);
        let mut reads = 0;
        for sql in corpus.filter(|sql| !sql.starts_with("-- ") && is_read(sql, &hasher)) {
            looked.check(sql).await;
            reads += 1;
        }
        assert!(reads > 90, "only {reads} reads");
    });
}

/// `PGWEIR_READS` sets how many texts are made, `PGWEIR_SEED` repeats a run.
#[test]
fn nothing_that_is_judged_a_read_leaves_anything_behind() {
    let texts = std::env::var("PGWEIR_READS").ok();
    let texts: u64 = texts.map_or(TEXTS_DEFAULT, |text| text.parse().expect("a number"));
    let limit = Duration::from_secs(60 + texts / 200);
    run_within(limit, async {
        let postgres = Postgres::start().await;
        let mut looked = Looked::connect(&postgres).await;
        let (mut random, hasher) = (Seed::of_run().actor(0), RandomState::new());
        let (mut reads, mut worked) = (0, 0);
        for _ in 0..texts {
            let many = random.random_range(0..9);
            let mut sql = (*BEGINNINGS.choose(&mut random).expect("some")).to_owned();
            for _ in 0..many {
                if random.random_range(0..8) > 0 {
                    sql.push(' ');
                }
                sql.push_str(PARTS.choose(&mut random).expect("some"));
            }
            if is_read(&sql, &hasher) {
                reads += 1;
                worked += u64::from(looked.check(&sql).await);
            }
        }
        show(&format!("{reads} reads of {texts} texts, {worked} of them correct"));
        assert!(reads > texts / 20 && worked > texts / 100, "too few");
    });
}
