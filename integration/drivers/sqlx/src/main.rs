//! sqlx as it comes: it prepares all that it runs, by name, and keeps a hundred. With more connections
//! than there are servers, all at once.

use std::env::var;

use futures_util::TryStreamExt;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPool, PgPoolCopyExt, PgPoolOptions};
use sqlx::{Connection, Executor, Row};

const CONNECTIONS: u32 = 6;

type Outcome = Result<(), sqlx::Error>;

async fn count(pool: &PgPool, owner: i32) -> Result<i64, sqlx::Error> {
    let count = "select count(*) from notes where owner = $1";
    sqlx::query_scalar(count).bind(owner).fetch_one(pool).await
}

async fn transactions(pool: PgPool, number: i32) -> Outcome {
    let before = count(&pool, number).await?;
    for round in 1..=20_i64 {
        let mut transaction = pool.begin().await?;
        let insert = "insert into notes values ($1, $2)";
        let body = format!("note {round}");
        sqlx::query(insert).bind(number).bind(&body).execute(&mut *transaction).await?;
        let mut inner = transaction.begin().await?;
        sqlx::query(insert).bind(number).bind("lost").execute(&mut *inner).await?;
        inner.rollback().await?;
        transaction.commit().await?;
        assert_eq!(count(&pool, number).await?, before + round);
    }
    Ok(())
}

async fn errors(pool: PgPool, number: i32) -> Outcome {
    let divide = "select 100 / $1";
    for round in 1..=10 {
        let quotient: i32 = sqlx::query_scalar(divide).bind(round).fetch_one(&pool).await?;
        assert_eq!(quotient, 100 / round);
        let mut transaction = pool.begin().await?;
        let failed = sqlx::query(divide).bind(0).execute(&mut *transaction).await;
        let code = |error: &sqlx::Error| error.as_database_error()?.code().map(String::from);
        assert_eq!(code(&failed.expect_err("no error")).as_deref(), Some("22012"));
        let failed = sqlx::query(divide).bind(number).execute(&mut *transaction).await;
        assert_eq!(code(&failed.expect_err("no error")).as_deref(), Some("25P02"));
        // Dropped: it is rolled back when its connection is used again.
    }
    Ok(())
}

async fn streams(pool: PgPool, number: i32) -> Outcome {
    for _ in 0..5 {
        let mut transaction = pool.begin().await?;
        let series = sqlx::query("select generate_series(1, $1)").bind(100 + number);
        let rows: Vec<_> = series.fetch(&mut *transaction).try_collect().await?;
        assert_eq!(rows.len(), usize::try_from(100 + number).expect("not negative"));
        transaction.commit().await?;
        let several = pool.fetch_all("select 1; select 2; select 3").await?;
        assert_eq!(several.len(), 3);
    }
    Ok(())
}

async fn copies(pool: PgPool, number: i32) -> Outcome {
    let mut copy = pool.copy_in_raw("copy copied from stdin").await?;
    for row in 0..500 {
        copy.send(format!("{number}\trow {row}\n").into_bytes()).await?;
    }
    assert_eq!(copy.finish().await?, 500);
    let mine = format!("copy (select * from copied where owner = {number}) to stdout");
    let chunks: Vec<_> = pool.copy_out_raw(&mine).await?.try_collect().await?;
    let lines = chunks.concat().iter().filter(|byte| **byte == b'\n').count();
    assert!(lines >= 500, "{lines}");
    Ok(())
}

async fn types(pool: PgPool, number: i32) -> Outcome {
    for _ in 0..5 {
        let sql = "select $1::int4, $2::int8, $3::float8, $4::text, $5::bytea, $6::bool, $7::text, $8::int4[]";
        let query = sqlx::query(sql).bind(number).bind(1_i64 << 40).bind(-1.5).bind("Grüße, 世界");
        let query = query.bind(vec![0_u8, 255]).bind(true).bind(None::<String>).bind(vec![1, 2]);
        let row = query.fetch_one(&pool).await?;
        assert_eq!(row.get::<i32, _>(0), number);
        assert_eq!(row.get::<i64, _>(1), 1 << 40);
        assert_eq!(row.get::<String, _>(3), "Grüße, 世界");
        assert_eq!(row.get::<Vec<u8>, _>(4), [0, 255]);
        assert_eq!(row.get::<Option<String>, _>(6), None);
        assert_eq!(row.get::<Vec<i32>, _>(7), [1, 2]);
        // Of types that it does not know it asks the catalog.
        let mood: String =
            sqlx::query_scalar("select ($1::mood)::text").bind("fine").fetch_one(&pool).await?;
        assert_eq!(mood, "fine");
    }
    Ok(())
}

/// More statements than it keeps: it closes the oldest.
async fn evictions(pool: PgPool, number: i32) -> Outcome {
    let mut connection = pool.acquire().await?;
    for column in 0..150 {
        let sql = format!("select $1 + {column}");
        let sum: i32 = sqlx::query_scalar(&sql).bind(number).fetch_one(&mut *connection).await?;
        assert_eq!(sum, number + column);
    }
    connection.clear_cached_statements().await
}

async fn notifications(pool: &PgPool) -> Outcome {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen("news").await?;
    for number in 0..7 {
        let notify = sqlx::query("select pg_notify('news', $1)").bind(format!("number {number}"));
        notify.execute(pool).await?;
    }
    for number in 0..7 {
        assert_eq!(listener.recv().await?.payload(), format!("number {number}"));
    }
    Ok(())
}

/// Runs twice as many tasks as there are connections.
async fn at_once<F: Future<Output = Outcome> + Send + 'static>(
    pool: &PgPool,
    work: impl Fn(PgPool, i32) -> F,
) -> Outcome {
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..12 {
        tasks.spawn(work(pool.clone(), number));
    }
    while let Some(ended) = tasks.join_next().await {
        ended.expect("a task does not panic")?;
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome {
    let text = |name: &str| var(name).expect("the test says where to connect");
    let options = PgConnectOptions::new_without_pgpass()
        .host(&text("PGHOST"))
        .port(text("PGPORT").parse().expect("a port"))
        .username(&text("PGUSER"))
        .password(&text("PGPASSWORD"))
        .database(&text("PGDATABASE"));
    let pool = PgPoolOptions::new().min_connections(CONNECTIONS).max_connections(CONNECTIONS);
    let pool = pool.connect_with(options).await?;
    pool.execute(
        "create table notes (owner int, body text); create table copied (owner int, body text); \
         create type mood as enum ('fine', 'bad')",
    )
    .await?;
    at_once(&pool, transactions).await?;
    at_once(&pool, errors).await?;
    at_once(&pool, streams).await?;
    at_once(&pool, copies).await?;
    at_once(&pool, types).await?;
    at_once(&pool, evictions).await?;
    notifications(&pool).await?;
    pool.close().await;
    println!("done");
    Ok(())
}
