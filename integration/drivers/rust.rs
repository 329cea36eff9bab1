//! tokio-postgres.

use std::future::poll_fn;
use std::pin::pin;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::task::JoinSet;
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::NoTlsStream;
use tokio_postgres::types::Type;
use tokio_postgres::{AsyncMessage, Client, Config, Connection, NoTls, Socket};

use super::{LIMIT, POOL_SIZE, defaults, rig};
use crate::harness::Address;
use crate::harness::proxy::Rig;
use crate::harness::time::run_within;

async fn connect(address: &Address) -> Client {
    let (client, connection) = open(address).await;
    tokio::spawn(connection);
    client
}

async fn open(address: &Address) -> (Client, Connection<Socket, NoTlsStream>) {
    let Address::Tcp(address) = address else { panic!("by TCP here") };
    let mut config = Config::new();
    config.host(address.ip().to_string()).port(address.port());
    config.user("app").password("app-secret").dbname("app");
    config.connect(NoTls).await.expect("the login succeeds")
}

#[test]
fn tokio_postgres_prepares_and_pipelines() {
    run_within(LIMIT, async {
        let rig = rig().await;
        let mut tasks = JoinSet::new();
        for number in 0..i64::from(POOL_SIZE * 4) {
            let address = rig.address().clone();
            tasks.spawn(async move {
                let client = connect(&address).await;
                let statement = client.prepare("select $1::int8 * 2").await.expect("prepared");
                for round in 0..20 {
                    let (a, b) = (number * 1000 + round, number * 1000 - round);
                    let (a_params, b_params) = ([&a as _], [&b as _]);
                    let (first, second) = tokio::join!(
                        client.query_one(&statement, &a_params),
                        client.query_one(&statement, &b_params)
                    );
                    assert_eq!(first.expect("a row").get::<_, i64>(0), a * 2);
                    assert_eq!(second.expect("a row").get::<_, i64>(0), b * 2);
                }
            });
        }
        while let Some(ended) = tasks.join_next().await {
            ended.expect("a client does not fail");
        }
    });
}

/// What an application does on each of its connections.
async fn work(client: &mut Client, number: i32) -> Result<(), tokio_postgres::Error> {
    let insert = client.prepare("insert into notes values ($1, $2)").await?;
    let count = client.prepare("select count(*) from notes where owner = $1").await?;
    for round in 1..=20 {
        let transaction = client.transaction().await?;
        transaction.execute(&insert, &[&number, &format!("note {round}")]).await?;
        let portal = transaction.bind("select generate_series(1, $1)", &[&20]).await?;
        while !transaction.query_portal(&portal, 7).await?.is_empty() {}
        transaction.commit().await?;
        assert_eq!(client.query_one(&count, &[&number]).await?.get::<_, i64>(0), round);
        let failed = client.query("select 1 / $1::int", &[&0]).await.expect_err("an error");
        assert_eq!(failed.code(), Some(&SqlState::DIVISION_BY_ZERO));
    }
    // Of types that it does not know it asks the catalog, in the middle of anything.
    let mood = client.query_one("select $1::text::mood", &[&"fine"]).await?;
    assert_eq!(mood.columns()[0].type_().name(), "mood");
    Ok(())
}

#[test]
fn tokio_postgres_works_as_it_comes() {
    run_within(LIMIT, async {
        let rig = Rig::start(defaults::settings()).await;
        let client = connect(rig.address()).await;
        let make = "create table notes (owner int, body text); create type mood as enum ('fine')";
        client.batch_execute(make).await.expect("made");
        let mut tasks = JoinSet::new();
        for number in 0..defaults::CONNECTIONS {
            let mut client = connect(rig.address()).await;
            tasks.spawn(async move { work(&mut client, number).await });
        }
        while let Some(ended) = tasks.join_next().await {
            ended.expect("a client does not panic").expect("nothing fails");
        }
    });
}

#[test]
fn tokio_postgres_hears_of_notifications() {
    run_within(LIMIT, async {
        let rig = Rig::start(defaults::settings()).await;
        let (listener, mut connection) = open(rig.address()).await;
        let (heard, mut payloads) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await
            {
                if let AsyncMessage::Notification(notification) = message {
                    heard.send(notification.payload().to_owned()).ok();
                }
            }
        });
        listener.batch_execute("listen news").await.expect("it listens");
        let other = connect(rig.address()).await;
        for number in 0..7 {
            let payload = format!("number {number}");
            other.execute("select pg_notify('news', $1)", &[&payload]).await.expect("told");
            assert_eq!(payloads.recv().await, Some(payload));
        }
    });
}

#[test]
fn tokio_postgres_shares_few_servers_when_it_prepares_nothing() {
    run_within(LIMIT, async {
        let rig = rig().await;
        let mut tasks = JoinSet::new();
        for number in 0..i64::from(POOL_SIZE * 4) {
            let address = rig.address().clone();
            tasks.spawn(async move {
                let mut client = connect(&address).await;
                for round in 0..10 {
                    let value = number * 100 + round;
                    let typed = [(&value as _, Type::INT8)];
                    let rows = client.query_typed("select $1", &typed).await.expect("rows");
                    assert_eq!(rows[0].get::<_, i64>(0), value);
                    let transaction = client.transaction().await.expect("a transaction");
                    let set = format!("select set_config('own.value', '{value}', true)");
                    transaction.batch_execute(&set).await.expect("set");
                    let sql = "select current_setting('own.value')";
                    let rows = transaction.query_typed(sql, &[]).await.expect("rows");
                    assert_eq!(rows[0].get::<_, &str>(0), value.to_string());
                    transaction.commit().await.expect("a commit");
                }
            });
        }
        while let Some(ended) = tasks.join_next().await {
            ended.expect("a client does not fail");
        }
    });
}

#[test]
fn tokio_postgres_copies_cancels_and_fails() {
    run_within(LIMIT, async {
        let rig = rig().await;
        let mut client = connect(rig.address()).await;
        client.batch_execute("create table copied (n int)").await.expect("created");
        let mut sink = pin!(client.copy_in("copy copied from stdin").await.expect("a copy begins"));
        for number in 0..100 {
            sink.send(Bytes::from(format!("{number}\n"))).await.expect("sent");
        }
        assert_eq!(sink.finish().await.expect("a copy ends"), 100);
        let rows = client.copy_out("copy copied to stdout").await.expect("a copy begins");
        assert_eq!(pin!(rows).count().await, 100);

        let error = client.query_typed("select 1/0", &[]).await.expect_err("an error");
        assert_eq!(error.code(), Some(&SqlState::DIVISION_BY_ZERO));
        let transaction = client.transaction().await.expect("a transaction");
        transaction.batch_execute("insert into copied values (1000)").await.expect("inserted");
        drop(transaction);

        let token = client.cancel_token();
        let asleep = client.batch_execute("select pg_sleep(30)");
        let cancelling = async {
            let running = "query like '%pg_sleep(30)%' and state = 'active'";
            rig.postgres.wait_for_servers(running, 1).await;
            token.cancel_query(NoTls).await.expect("the cancel is sent");
        };
        let (ended, ()) = tokio::join!(asleep, cancelling);
        assert_eq!(ended.expect_err("a cancel").code(), Some(&SqlState::QUERY_CANCELED));
        let rows = client.query_typed("select count(*) from copied", &[]).await.expect("rows");
        assert_eq!(rows[0].get::<_, i64>(0), 100);
    });
}
