//! Arithmetic with passwords is slow on purpose. Wherever it is needed, no query waits for it: not even
//! with one worker, which would have to do both.

use std::time::Duration;

use crate::harness::frames::{Batch, terminated};
use crate::harness::login::Login;
use crate::harness::proxy::Rig;
use crate::harness::settings::Settings;
use crate::harness::time::run;
use crate::harness::wire::{Client, Wire};

/// Long enough for many queries beside it, and far less than anybody waits for an answer: the tests below take one to
/// three seconds in a debug build.
const ITERATIONS: u32 = 60_000;

/// Queries that must be answered meanwhile. A worker that did the arithmetic would answer
/// those of the round trips of a login, some ten.
const BESIDE: u32 = 40;

fn settings(auth_type: &str) -> Settings {
    Settings::new().set("auth_type", auth_type).set("workers", 1).pool_size(1)
}

/// The secret of nobody's password, which takes long to find out.
fn slow_secret() -> String {
    let key = format!("{}=", "A".repeat(43));
    format!("SCRAM-SHA-256${ITERATIONS}:c2FsdHNhbHRzYWx0c2FsdA==${key}:{key}")
}

/// Asks for as long as the login's next message has not come.
async fn assert_queries_go_on(steady: &mut Client, login: &mut Wire, what: &str) -> String {
    let mut answered = 0;
    let came = {
        let mut came = std::pin::pin!(login.frame());
        loop {
            tokio::select! {
                biased;
                frame = &mut came => break frame,
                one = steady.value("select 1") => {
                    assert_eq!(one, "1");
                    answered += 1;
                }
            }
        }
    };
    assert!(answered >= BESIDE, "{what}: {answered} queries were answered before {}", came.shown());
    came.shown()
}

/// A connection that has asked to log in as `app`.
async fn log_in(rig: &Rig) -> Wire {
    let mut wire = Wire::connect(rig.address()).await;
    wire.send(&Login::to(rig.address()).message()).await;
    wire
}

async fn steady(rig: &Rig) -> Client {
    let mut steady = Login::to(rig.address()).user("other", "other-secret").connect().await;
    assert_eq!(steady.value("select 1").await, "1");
    steady
}

#[test]
fn keys_are_derived_beside_queries() {
    run(async {
        let secret = postgres_protocol::password::scram_sha_256(b"other-secret");
        let settings = settings("scram-sha-256").set("scram_iterations", ITERATIONS);
        let rig = Rig::start(settings.user("other", &secret)).await;
        let mut steady = steady(&rig).await;
        let mut login = log_in(&rig).await;
        let asked = assert_queries_go_on(&mut steady, &mut login, "a plain password").await;
        assert_eq!(asked, "R", "it is asked for its proof");
    });
}

#[test]
fn plain_passwords_are_checked_against_secrets_beside_queries() {
    run(async {
        let rig = Rig::start(settings("plain").user("app", &slow_secret())).await;
        let mut steady = steady(&rig).await;
        let mut login = log_in(&rig).await;
        assert_eq!(login.frame().await.shown(), "R", "it is asked for its password");
        login.send(&Batch::new().raw(b'p', &terminated(&["guessed"])).0).await;
        let told = assert_queries_go_on(&mut steady, &mut login, "a secret").await;
        assert_eq!(told, "E(FATAL 28P01)");
    });
}

#[test]
fn the_proxy_proves_itself_to_postgres_beside_queries() {
    run(async {
        let patient = settings("trust").set("server_login_retry", Duration::from_mins(1));
        let rig = Rig::start(patient).await;
        rig.postgres.sql(&format!("alter role app password '{}'", slow_secret())).await;
        rig.postgres.set_hba("host all app all scram-sha-256\nhost all other all trust").await;
        let mut steady = steady(&rig).await;
        let mut login = log_in(&rig).await;
        let told = assert_queries_go_on(&mut steady, &mut login, "Postgres").await;
        assert_eq!(told, "E(FATAL 28P01)");
    });
}
