//! `PREPARE`, `EXECUTE` and `DEALLOCATE` of SQL over several transactions, against a direct connection.

use crate::harness::frames::Batch;
use crate::harness::login::Login;
use crate::harness::proxy::Rig;
use crate::harness::settings::Settings;
use crate::harness::time::run;
use crate::harness::wire::Client;

async fn rig(servers: u32) -> Rig {
    Rig::start(Settings::new().pool_size(servers)).await
}

/// Through the proxy and past it.
struct Pair {
    through: Client,
    direct: Client,
}

impl Pair {
    async fn connect(rig: &Rig) -> Self {
        let direct = Login::to(&rig.postgres.address()).connect().await;
        Self { through: rig.client().await, direct }
    }

    async fn ask(&mut self, batch: Batch) -> Vec<String> {
        let expected = self.direct.ask(batch.clone()).await;
        assert_eq!(self.through.ask(batch).await, expected);
        expected
    }

    async fn query(&mut self, sql: &str) -> Vec<String> {
        self.ask(Batch::new().query(sql)).await
    }
}

#[test]
fn what_sql_has_prepared_is_there_in_every_transaction() {
    run(async {
        let rig = rig(2).await;
        let (mut a, mut b) = (Pair::connect(&rig).await, Pair::connect(&rig).await);
        a.query("prepare p as select 'a'").await;
        b.query("prepare p (int) as select $1 + 1").await;
        let long = format!("execute {}", "p".repeat(70));
        for _ in 0..2 {
            for sql in [
                "execute p",
                "begin",
                "execute p",
                "prepare q as select 'q'",
                "select 1/0",
                "execute q",
                "rollback",
                "execute q",
                "deallocate q",
                "execute q",
                "prepare p as select 2",
                "explain (costs off) execute p",
                &long,
                "select count(*) from pg_prepared_statements where from_sql",
            ] {
                a.query(sql).await;
                b.query(&sql.replace("execute p", "execute p(1)")).await;
            }
        }
        // By the protocol, too, which knows the same names.
        let bound = |values| Batch::new().bind("p", values).execute().sync();
        assert_eq!(a.ask(bound(&[])).await[1], "D(a)");
        assert_eq!(b.ask(bound(&["4"])).await[1], "D(5)");
        a.ask(Batch::new().statement("deallocate p", &[])).await;
        assert_eq!(a.ask(bound(&[])).await, ["E(ERROR 26000)", "Z(I)"]);
        b.query("deallocate all").await;
        assert_eq!(b.ask(bound(&["4"])).await, ["E(ERROR 26000)", "Z(I)"]);
    });
}

/// What one has prepared, no other meets; also when it has left without a word.
#[test]
fn what_sql_has_prepared_meets_nobody_else() {
    run(async {
        let rig = rig(1).await;
        let mut other = rig.client().await;
        for (begins, ends) in [
            ("prepare p as select 1", "deallocate p"),
            ("prepare p as select 1", "deallocate all"),
            ("do $$ begin execute 'prepare p as select 1'; end $$", "deallocate prepare \"p\""),
        ] {
            let mut one = rig.client().await;
            one.query(begins).await;
            one.query(ends).await;
            assert_eq!(one.query("execute p").await, ["E(ERROR 26000)", "Z(I)"], "{begins}");
            assert_eq!(other.query("execute p").await, ["E(ERROR 26000)", "Z(I)"], "{begins}");
            one.query(begins).await;
            drop(one);
            assert_eq!(other.query("execute p").await, ["E(ERROR 26000)", "Z(I)"], "{begins}");
        }
    });
}

/// The text of an `EXECUTE` does not tell what it does.
#[test]
fn what_an_executed_statement_sets_follows_its_client() {
    run(async {
        let rig = rig(1).await;
        let (mut one, mut other) = (rig.client().await, rig.client().await);
        let sets = "select set_config('app.x', $1, false)";
        let by_sql = Batch::new().query(&format!("prepare p (text) as {sets}"));
        for (prepares, value) in [(by_sql, "1"), (Batch::new().parse("p", sets).sync(), "2")] {
            one.ask(prepares).await;
            one.query(&format!("execute p('{value}')")).await;
            one.query("deallocate p").await;
            let empty = other.value("select coalesce(current_setting('app.x', true), '')").await;
            assert_eq!(empty, "");
            assert_eq!(one.value("show app.x").await, value);
        }
    });
}
