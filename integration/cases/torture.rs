//! Prepared statements of several clients under the same names. More of what pooling proxies got
//! wrong is in `torture_table`.

use crate::harness::frames::Batch;
use crate::harness::proxy::Rig;
use crate::harness::settings::Settings;
use crate::harness::time::run;
use crate::harness::wire::Client;

#[test]
fn a_named_statement_outlives_a_sync_and_stays_its_owners() {
    run(async {
        let rig = Rig::start(Settings::new().pool_size(2)).await;
        let (mut a, mut b) = (rig.client().await, rig.client().await);
        assert_eq!(a.ask(Batch::new().parse("same", "select 42").sync()).await, ["1", "Z(I)"]);
        assert_eq!(b.ask(Batch::new().parse("same", "select 43").sync()).await, ["1", "Z(I)"]);
        for (client, row) in [(&mut a, "D(42)"), (&mut b, "D(43)")] {
            let answer = client.ask(Batch::new().bind("same", &[]).execute().sync()).await;
            assert_eq!(answer, ["2", row, "C(SELECT 1)", "Z(I)"]);
        }
    });
}

/// Whatever a client prepared goes with it: its server is cleaned, or closed.
#[test]
fn a_name_is_free_again_when_its_client_has_gone() {
    run(async {
        let rig = Rig::start(Settings::new().pool_size(1)).await;
        for round in 0..5 {
            let mut client = rig.client().await;
            let sql = format!("select {round}");
            assert_eq!(client.ask(Batch::new().parse("same", &sql).sync()).await, ["1", "Z(I)"]);
            let row = format!("D({round})");
            let answer = client.ask(Batch::new().bind("same", &[]).execute().sync()).await;
            assert_eq!(answer, ["2", &row, "C(SELECT 1)", "Z(I)"]);
            client.send(Batch::new().terminate()).await;
        }
    });
}

#[test]
fn many_clients_prepare_the_same_names_at_once() {
    run(async {
        let rig = Rig::start(Settings::new().pool_size(6)).await;
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..6 {
            let address = rig.address().clone();
            tasks.spawn(async move {
                let mut client = Client::connect(&address).await;
                for round in 0..20 {
                    let name = format!("P_{round}");
                    let value = number * 100 + round;
                    let batch = Batch::new().parse(&name, &format!("select {value}")).sync();
                    assert_eq!(client.ask(batch).await, ["1", "Z(I)"], "{name}");
                    let row = format!("D({value})");
                    let answer = client.ask(Batch::new().bind(&name, &[]).execute().sync()).await;
                    assert_eq!(answer, ["2", &row, "C(SELECT 1)", "Z(I)"], "{name}");
                }
            });
        }
        while let Some(ended) = tasks.join_next().await {
            ended.expect("a client does not fail");
        }
    });
}
