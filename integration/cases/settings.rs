//! What one client has set is its own: it finds it again, and nobody else meets it.

use crate::harness::login::Login;
use crate::harness::proxy::Rig;
use crate::harness::settings::Settings;
use crate::harness::time::run;

/// With one server, whatever one client leaves behind is what the other finds.
async fn rig() -> Rig {
    Rig::start(Settings::new().pool_size(1)).await
}

#[test]
fn a_setting_of_the_dsn_is_there_whatever_others_reset() {
    run(async {
        let rig = rig().await;
        let login = || Login::to(rig.address()).with("options", "-c work_mem=7MB");
        let (mut one, mut other) = (login().connect().await, login().connect().await);
        for undo in ["reset work_mem", "reset all", "discard all", "set work_mem = '9MB'"] {
            one.query(undo).await;
            assert_eq!(other.value("show work_mem").await, "7MB", "after {undo}");
            assert_eq!(one.value("show work_mem").await, "7MB", "after {undo}");
        }
    });
}

#[test]
fn what_a_client_sets_meets_nobody_else() {
    run(async {
        let rig = rig().await;
        let (mut one, mut other) = (rig.client().await, rig.client().await);
        let path = other.value("show search_path").await;
        for set in
            ["set search_path to elsewhere", "set role pg_monitor", "set timezone to 'Asia/Tokyo'"]
        {
            one.query(set).await;
            assert_eq!(other.value("show search_path").await, path, "after {set}");
            assert_eq!(other.value("show role").await, "none", "after {set}");
            assert_ne!(other.value("show timezone").await, "Asia/Tokyo", "after {set}");
        }
        assert_eq!(one.value("show timezone").await, "Asia/Tokyo", "reported settings are kept");
    });
}

#[test]
fn a_name_that_postgres_changes_is_told_as_postgres_tells_it() {
    run(async {
        let rig = rig().await;
        let long = "x".repeat(80);
        for name in [long.as_str(), "caf\u{e9}"] {
            let direct =
                Login::to(&rig.postgres.address()).with("application_name", name).connect().await;
            let through = Login::to(rig.address()).with("application_name", name).connect().await;
            assert_eq!(through.parameters, direct.parameters, "{name}");
        }
    });
}
