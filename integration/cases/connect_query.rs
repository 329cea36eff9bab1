//! What `connect_query` has set is below what clients set: they find it, whatever others have set before.

use crate::harness::frames::Batch;
use crate::harness::login::Login;
use crate::harness::proxy::Rig;
use crate::harness::settings::Settings;
use crate::harness::time::run;
use crate::harness::wire::Client;

const PATH: &str = "current_setting('search_path')";
const APP: &str = "coalesce(current_setting('app.x', true), '')";

/// With one server, whatever one client leaves behind is what the other finds.
async fn rig(connect_query: &str) -> Rig {
    let rig =
        Rig::start(Settings::new().pool_size(1).database("app", "connect_query", connect_query))
            .await;
    rig.postgres.sql("create role app_ro; create role app_rw; grant app_ro, app_rw to app").await;
    rig
}

async fn found(client: &mut Client) -> String {
    client.value(&format!("select concat_ws('|', current_user, {PATH}, {APP})")).await
}

#[test]
fn what_one_client_sets_is_undone_to_what_all_have() {
    run(async {
        let rig = rig("set role app_ro; set search_path to a, b; set app.x = 'all'").await;
        let login = Login::to(rig.address()).with("options", "-c search_path=dsn");
        let (mut one, mut other) = (rig.client().await, rig.client().await);
        let mut third = login.connect().await;
        let all = "app_ro|a, b|all";
        for set in [
            "set role app_rw",
            "set search_path to c",
            "set app.x = 'own'",
            "select set_config('role', 'app_rw', false), set_config('app.x', 'own', false)",
            "reset role",
            "reset search_path",
            "reset app.x",
            "reset all",
            "discard all",
            "do $$ begin reset role; set search_path to c; reset app.x; end $$",
            "begin; set local role app_rw; set search_path to c; rollback",
            "begin; set role app_rw; savepoint s; reset role; rollback to s; commit",
        ] {
            one.query(set).await;
            assert_eq!(found(&mut other).await, all, "after {set}");
            assert_eq!(found(&mut third).await, "app_ro|dsn|all", "after {set}");
            one.query("discard all").await;
            assert_eq!(found(&mut one).await, all, "itself, after {set}");
        }
        one.query("set role app_rw").await;
        assert_eq!(found(&mut other).await, all);
        assert_eq!(found(&mut one).await, "app_rw|a, b|all", "what it has set follows it");
    });
}

#[test]
fn a_reset_within_a_transaction_goes_to_what_all_have() {
    run(async {
        let rig = rig("set role app_ro; set search_path to a, b; set app.x = 'all'").await;
        let mut one = rig.client().await;
        for reset in ["reset search_path", "reset role", "reset all", "reset app.x"] {
            one.query("begin").await;
            one.query("set role app_rw").await;
            one.query("set search_path to c").await;
            one.query(reset).await;
            let expected = match reset {
                "reset role" => "app_ro|c|all",
                "reset app.x" => "app_rw|c|all",
                // It resets no role.
                _ => "app_rw|a, b|all",
            };
            assert_eq!(found(&mut one).await, expected, "after {reset}");
            one.query("rollback").await;
            assert_eq!(found(&mut one).await, "app_ro|a, b|all", "after {reset}, rolled back");
        }
    });
}

#[test]
fn clients_are_told_what_holds_behind_it() {
    run(async {
        let rig = rig("set timezone to 'Asia/Tokyo'; set datestyle to german").await;
        let other = Login::to(rig.address()).with("TimeZone", "Europe/Rome");
        for _ in 0..2 {
            let client = rig.client().await;
            assert_eq!(client.parameters["TimeZone"], "Asia/Tokyo");
            assert_eq!(client.parameters["DateStyle"], "German, DMY");
            let mut client = other.connect().await;
            assert_eq!(client.parameters["TimeZone"], "Europe/Rome");
            assert_eq!(client.value("show timezone").await, "Europe/Rome");
        }
    });
}

/// A server that another client has given what this one brings reports nothing of it.
#[test]
fn a_client_is_told_what_another_has_set_as_well() {
    run(async {
        let rig = Rig::start(Settings::new().pool_size(1)).await;
        let mut one = rig.client().await;
        one.query("set timezone to 'Europe/Rome'").await;
        let mut other = Login::to(rig.address()).with("TimeZone", "Europe/Rome").connect().await;
        assert_eq!(other.parameters["TimeZone"], "Europe/Rome");
        assert_eq!(other.value("show timezone").await, "Europe/Rome");
    });
}

/// Sets a time zone and resets it: what the client is told then, and what it finds.
async fn told_after(client: &mut Client, begin: &str, reset: &str) -> (Option<String>, String) {
    client.query(begin).await;
    client.query("set timezone to 'UTC'").await;
    let frames = client.ask_frames(Batch::new().query(reset)).await;
    let told = frames.iter().rfind(|it| it.tag == b'S' && it.body.starts_with(b"TimeZone\0"));
    let told = told.map(|frame| String::from_utf8_lossy(&frame.body[9..]).replace('\0', ""));
    let found = client.value("show timezone").await;
    client.query("rollback").await;
    (told, found)
}

/// The server tells what the login had; the client finds something else.
#[test]
fn who_resets_is_told_what_it_finds_then() {
    run(async {
        let rig = rig("set timezone to 'Asia/Tokyo'").await;
        let with_own = Login::to(rig.address()).with("timezone", "europe/rome");
        let (mut one, mut other) = (rig.client().await, with_own.connect().await);
        for (client, zone) in [(&mut one, "Asia/Tokyo"), (&mut other, "Europe/Rome")] {
            let expected = (Some(zone.to_owned()), zone.to_owned());
            for reset in ["reset timezone", "RESET ALL", "set TimeZone to default"] {
                for begin in ["select 1", "begin"] {
                    assert_eq!(
                        told_after(client, begin, reset).await,
                        expected,
                        "{begin}; {reset}"
                    );
                }
            }
            assert_eq!(told_after(client, "select 1", "discard all").await, expected);
        }
    });
}

#[test]
fn what_nobody_can_ask_for_is_made_again() {
    run(async {
        // Its name is in no text that anybody has read.
        let hidden = "do $$ begin execute convert_from(decode(\
            '736574206170702e78203d2027616c6c27', 'hex'), 'UTF8'); end $$";
        let rig = rig(hidden).await;
        let (mut one, mut other) = (rig.client().await, rig.client().await);
        for set in ["set app.x = 'own'", "reset app.x", "reset all"] {
            one.query(set).await;
            assert!(found(&mut other).await.ends_with("|all"), "after {set}");
        }
        let mut third = Login::to(rig.address()).with("options", "-c app.x=dsn").connect().await;
        assert!(found(&mut third).await.ends_with("|dsn"));
        assert!(found(&mut other).await.ends_with("|all"));
    });
}
