//! Who may come in, and how the proxy proves itself to Postgres.

use crate::harness::frames::{Batch, Frame, terminated};
use crate::harness::login::Login;
use crate::harness::proxy::Rig;
use crate::harness::settings::Settings;
use crate::harness::time::run;
use crate::harness::wire::Wire;

/// The md5 secret of `app` with the password `app-secret`.
fn md5_secret() -> String {
    let digest = postgres_protocol::password::md5(b"app-secret", "app");
    assert!(digest.starts_with("md5"), "{digest}");
    digest
}

fn settings(auth_type: &str) -> Settings {
    Settings::new().set("auth_type", auth_type)
}

async fn assert_only_the_right_password_works(rig: &Rig, what: &str) {
    let login = Login::to(rig.address());
    for round in 0..2 {
        let mut client = login.attempt().await.unwrap_or_else(|refused| {
            panic!("{what}, round {round}: the right password: {refused:?}")
        });
        assert_eq!(client.value("select current_user").await, "app", "{what}");
        for (user, password) in [("app", "wrong"), ("app", ""), ("nobody_here", "app-secret")] {
            let error = login.clone().user(user, password).error().await;
            assert_eq!(error.shown(), "E(FATAL 28P01)", "{what}: {user} with {password:?}");
            let expected = format!("password authentication failed for user \"{user}\"");
            assert_eq!(error.message(), expected, "{what}");
        }
    }
}

#[test]
fn a_plain_password_is_checked() {
    run(async {
        let rig = Rig::start(settings("plain")).await;
        assert_only_the_right_password_works(&rig, "plain").await;
    });
}

#[test]
fn an_md5_password_is_checked_whatever_is_stored() {
    run(async {
        let rig = Rig::start(settings("md5")).await;
        assert_only_the_right_password_works(&rig, "plain stored").await;
        let rig = Rig::start(settings("md5").user("app", &md5_secret())).await;
        assert_only_the_right_password_works(&rig, "md5 stored").await;
    });
}

#[test]
fn a_scram_password_is_checked_whatever_is_stored() {
    run(async {
        let rig = Rig::start(settings("scram-sha-256")).await;
        assert_only_the_right_password_works(&rig, "plain stored").await;
        let secret = postgres_protocol::password::scram_sha_256(b"app-secret");
        let rig = Rig::start(settings("scram-sha-256").user("app", &secret)).await;
        assert_only_the_right_password_works(&rig, "secret stored").await;
    });
}

#[test]
fn trust_asks_for_no_password() {
    run(async {
        let rig = Rig::start(settings("trust")).await;
        let mut client = Login::to(rig.address()).user("app", "wrong").connect().await;
        assert_eq!(client.value("select current_user").await, "app");
        let asked = client.greeting.iter().filter(|frame| frame.tag == b'R').count();
        assert_eq!(asked, 1, "AuthenticationOk and nothing before it");
    });
}

#[test]
fn a_password_may_be_outside_ascii() {
    run(async {
        // SASLprep maps the ligature and the wide space.
        let password = "pa\u{fb01}\u{2003}wörd";
        for auth_type in ["plain", "scram-sha-256"] {
            let rig = Rig::start(settings(auth_type).user("app", password)).await;
            let mut client = Login::to(rig.address()).user("app", password).connect().await;
            assert_eq!(client.value("select 1").await, "1", "{auth_type}");
        }
    });
}

#[test]
fn the_proxy_logs_in_to_postgres_in_every_way_it_may_ask_for() {
    run(async {
        let rig = Rig::start(settings("plain").set("server_lifetime", 1)).await;
        for method in ["trust", "password", "md5", "scram-sha-256"] {
            let encryption = if method == "scram-sha-256" { method } else { "md5" };
            let rules = format!("local all all {method}\nhost all app all {method}");
            rig.postgres.set_hba(&rules).await;
            rig.postgres
                .sql(&format!(
                    "set password_encryption = '{encryption}'; \
                     alter role app password 'app-secret'; \
                     select pg_terminate_backend(pid) from pg_stat_activity where usename = 'app'"
                ))
                .await;
            rig.postgres.wait_for_servers("usename = 'app'", 0).await;
            let mut client = rig.client().await;
            assert_eq!(client.value("select current_user").await, "app", "{method}");
        }
    });
}

#[test]
fn a_stored_scram_secret_is_enough_to_log_in_to_postgres() {
    run(async {
        let secret = postgres_protocol::password::scram_sha_256(b"app-secret");
        let rig = Rig::start(settings("scram-sha-256").user("app", &secret)).await;
        rig.postgres.sql(&format!("alter role app password '{secret}'")).await;
        rig.postgres.set_hba("host all app all scram-sha-256").await;
        for _ in 0..2 {
            let mut client = rig.client().await;
            assert_eq!(client.value("select current_user").await, "app");
        }
        // A wrong password teaches the proxy nothing and takes nothing from it.
        let error = Login::to(rig.address()).user("app", "wrong").error().await;
        assert_eq!(error.shown(), "E(FATAL 28P01)");
        assert_eq!(rig.client().await.value("select 1").await, "1");
    });
}

#[test]
fn a_wrong_server_password_is_told_in_postgres_words() {
    run(async {
        let rig = Rig::start(settings("plain")).await;
        rig.postgres.sql("alter role app password 'changed'").await;
        rig.postgres.set_hba("host all app all scram-sha-256").await;
        let error = Login::to(rig.address()).error().await;
        assert_eq!(error.shown(), "E(FATAL 28P01)");
        assert_eq!(error.message(), "password authentication failed for user \"app\"");
    });
}

/// The first steps of a SCRAM login with a proof that is wrong, for any user.
async fn failed_scram(rig: &Rig, user: &str) -> Vec<Frame> {
    let mut wire = Wire::connect(rig.address()).await;
    wire.send(&Login::to(rig.address()).with("user", user).message()).await;
    let mut frames = vec![wire.frame().await];
    let first = "n,,n=,r=0123456789abcdefghijklmn";
    let mut body = terminated(&["SCRAM-SHA-256"]);
    body.extend(u32::try_from(first.len()).expect("short").to_be_bytes());
    body.extend(first.as_bytes());
    wire.send(&Batch::new().raw(b'p', &body).0).await;
    frames.push(wire.frame().await);
    let challenge = String::from_utf8_lossy(&frames[1].body[4..]).into_owned();
    let nonce = challenge.split(',').next().expect("a challenge begins with the nonce");
    let proof = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let last = format!("c=biws,{nonce},p={proof}");
    wire.send(&Batch::new().raw(b'p', last.as_bytes()).0).await;
    frames.extend(wire.until_closed().await);
    frames
}

/// What of a failed SCRAM login does not change from one to the next: lengths and salts, not nonces.
fn outline(frames: &[Frame], user: &str) -> Vec<String> {
    let describe = |frame: &Frame| {
        let text = String::from_utf8_lossy(&frame.body).replace(user, "USER");
        let salt = text.split(",s=").nth(1).map(|rest| rest.len().to_string());
        match frame.tag {
            b'R' if salt.is_some() => {
                let iterations = text.rsplit(",i=").next().unwrap_or_default().to_owned();
                format!("R {} bytes, i={iterations}", frame.body.len())
            }
            tag => format!("{} {text}", char::from(tag)),
        }
    };
    frames.iter().map(describe).collect()
}

#[test]
fn unknown_users_look_like_known_ones_under_scram() {
    run(async {
        let rig = Rig::start(settings("scram-sha-256")).await;
        let known = outline(&failed_scram(&rig, "app").await, "app");
        let unknown = outline(&failed_scram(&rig, "ghost").await, "ghost");
        assert_eq!(unknown, known);
        let salt = |frames: &[Frame]| {
            let text = String::from_utf8_lossy(&frames[1].body).into_owned();
            text.split(",s=").nth(1).map(str::to_owned)
        };
        let (one, two) = (failed_scram(&rig, "ghost").await, failed_scram(&rig, "ghost").await);
        assert_eq!(salt(&one), salt(&two), "the salt of an unknown user must not change");
    });
}
