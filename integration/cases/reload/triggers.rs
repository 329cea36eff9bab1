//! What brings a change about, and what is answered.

use rustix::process::Signal;

use crate::cases::http::metric;
use crate::harness::console::{Console, with_console};
use crate::harness::login::Login;
use crate::harness::ports::Port;
use crate::harness::proxy::Rig;
use crate::harness::settings::Settings;
use crate::harness::time::{eventually, run};

async fn wait_for_value(console: &mut Console, name: &str, wanted: &str) {
    eventually(&format!("{name} is {wanted}"), async || {
        (console.setting(name).await.0 == wanted).then_some(())
    })
    .await;
}

#[test]
fn a_signal_an_order_and_a_changed_file_bring_it_about() {
    run(async {
        let settings = with_console(Settings::new());
        let rig = Rig::start(settings.clone()).await;
        let mut console = Console::open(&rig).await;
        rig.configure(&settings.clone().pool_size(6));
        rig.proxy.process().signal(Signal::HUP);
        wait_for_value(&mut console, "default_pool_size", "6").await;
        let watching = settings.set("reload", "watch");
        rig.configure(&watching.clone().pool_size(7));
        assert_eq!(console.order("RELOAD").await, Vec::<String>::new());
        assert_eq!(console.setting("default_pool_size").await.0, "7", "when it is answered");
        rig.configure(&watching.clone().pool_size(8));
        wait_for_value(&mut console, "default_pool_size", "8").await;
        // A file that is wrong is refused, and read again when it has changed.
        rig.proxy.rewrite("[proxy]\nhalf = ");
        eventually("it was looked at", async || {
            rig.proxy.process().log().contains("nothing has changed").then_some(())
        })
        .await;
        rig.configure(&watching.pool_size(9));
        wait_for_value(&mut console, "default_pool_size", "9").await;
    });
}

#[test]
fn a_broken_file_changes_nothing_and_the_answer_says_where() {
    run(async {
        let settings = with_console(Settings::new());
        let rig = Rig::start(settings.clone()).await;
        let (mut console, mut client) = (Console::open(&rig).await, rig.client().await);
        assert_eq!(client.value("select 1").await, "1");
        let before = console.rows("SHOW SETTINGS").await;
        let text = rig.proxy.written().replace("default_pool_size = 5", "default_pool_siez = 7");
        let line = text.lines().position(|line| line.contains("siez")).expect("it is there") + 1;
        rig.proxy.rewrite(&format!("{text}max_queued = 'many'\n"));
        let error = console.error("RELOAD").await;
        assert_eq!(error.shown(), "E(ERROR F0000)");
        let message = error.message();
        for words in [
            "RELOAD failed, nothing has changed: ",
            &format!("proxy.toml:{line}: error [unknown-key]"),
            "Did you mean `default_pool_size`?",
        ] {
            assert!(message.contains(words), "{words} in {message}");
        }
        let detail = error.field(b'D').expect("the rest of what is wrong");
        assert!(detail.contains("`max_queued`"), "{detail}");
        assert_eq!(console.rows("SHOW SETTINGS").await, before);
        assert_eq!(client.value("select 2").await, "2");
        rig.proxy.process().logs(&format!("proxy.toml:{line}")).await;
        rig.configure(&settings);
        assert_eq!(console.order("RELOAD").await, Vec::<String>::new());
    });
}

#[test]
fn what_needs_a_restart_is_named() {
    run(async {
        let settings = with_console(Settings::new());
        let rig = Rig::start(settings.clone()).await;
        let mut console = Console::open(&rig).await;
        rig.configure(&settings.set("listen_backlog", 7).pool_size(6));
        let notices = console.order("RELOAD").await;
        assert_eq!(notices.len(), 1, "{notices:?}");
        assert!(notices[0].starts_with("`listen_backlog` was changed"), "{notices:?}");
        assert_eq!(console.setting("listen_backlog").await.0, "128");
        assert_eq!(console.setting("default_pool_size").await.0, "6", "the rest is taken up");
        let pending = async |console: &mut Console| {
            let row = console.row("SHOW SETTINGS", "listen_backlog").await.expect("an option");
            row["pending"].clone()
        };
        assert_eq!(pending(&mut console).await, "7");
        console.order("SET shed = off").await;
        assert_eq!(pending(&mut console).await, "7", "it still waits");
        let error = console.error("SET listen_backlog = 9").await;
        assert_eq!((error.message().as_str(), error.code().as_str()), ("SET failed", "42704"));
        assert!(error.field(b'D').expect("why").contains("process"));
    });
}

#[test]
fn what_is_set_holds_until_the_file_is_read_again() {
    run(async {
        let rig = Rig::start(with_console(Settings::new())).await;
        let mut console = Console::open(&rig).await;
        let pair = |value: &str, source: &str| (value.to_owned(), source.to_owned());
        assert_eq!(console.setting("default_pool_size").await, pair("5", "file"));
        assert_eq!(console.setting("reserve_pool_size").await, pair("0", "default"));
        for command in ["SET default_pool_size = 9", "SET reserve_pool_size TO '2'"] {
            console.order(command).await;
        }
        assert_eq!(console.setting("default_pool_size").await, pair("9", "SET"));
        assert_eq!(console.setting("reserve_pool_size").await, pair("2", "SET"));
        let shown = console.rows("SHOW CONFIG").await;
        let row = shown.iter().find(|row| row["key"] == "default_pool_size").expect("an option");
        assert_eq!((row["value"].as_str(), row["changeable"].as_str()), ("9", "yes"));
        console.order("SET default_pool_size = DEFAULT").await;
        assert_eq!(console.setting("default_pool_size").await, pair("5", "file"));
        for (command, why, code) in [
            ("SET default_pool_size = many", "wrong-type", "22023"),
            ("SET nosuch = 1", "nosuch", "42704"),
            ("SET CLASS nosuch weight = 2", "SHOW CLASSES", "42704"),
        ] {
            let error = console.error(command).await;
            assert_eq!(error.message(), "SET failed", "{command}");
            assert_eq!(error.code(), code, "{command}");
            assert!(error.field(b'D').expect("why").contains(why), "{command}");
        }
        console.order("RELOAD").await;
        assert_eq!(console.setting("reserve_pool_size").await, pair("0", "default"));
    });
}

/// An alert asks for these numbers.
#[test]
fn metrics_tell_of_a_reload_that_failed_until_one_succeeds() {
    run(async {
        let http = Port::take();
        let address = format!("127.0.0.1:{}", http.number);
        let settings = with_console(Settings::new()).set("http_addr", address.as_str());
        let rig = Rig::start(settings.clone()).await;
        let mut console = Console::open(&rig).await;
        let is_successful = async || metric(&http, "pgweir_config_last_reload_successful").await;
        let succeeded_at =
            async || metric(&http, "pgweir_config_last_reload_success_timestamp_seconds").await;
        let (started_at, right) = (succeeded_at().await, rig.proxy.written());
        assert_eq!(is_successful().await.to_bits(), 1_f64.to_bits());
        assert!(started_at > 0.0);
        rig.proxy.rewrite("[proxy]\nhalf = ");
        console.error("RELOAD").await;
        assert_eq!(is_successful().await.to_bits(), 0_f64.to_bits());
        assert_eq!(succeeded_at().await.to_bits(), started_at.to_bits(), "it is not as of now");
        rig.proxy.rewrite(&right);
        console.order("RELOAD").await;
        assert_eq!(is_successful().await.to_bits(), 1_f64.to_bits());
        assert!(succeeded_at().await >= started_at);
    });
}

/// An editor, a full disk or a template that failed leaves such a file: it would put everybody out, and
/// nobody could log in to the console to bring them back.
#[test]
fn an_empty_file_or_half_a_file_puts_nobody_out() {
    run(async {
        let settings = super::with_passwords().set("reload", "watch");
        let rig = Rig::start(settings).await;
        let root = Login::to(rig.address()).user("root", "root-secret").database("pgweir");
        let mut console = Console::log_in(&root).await;
        let app = Login::to(rig.address()).user("app", "app-secret");
        let mut client = app.connect().await;
        let text = rig.proxy.written();
        let before = |section: &str| text.split_once(section).expect("it is there").0.to_owned();
        for (cut, code) in [
            (String::new(), "no-databases"),
            (before("[databases."), "no-databases"),
            (before("[users."), "no-users"),
            (before("[users.root]"), "no-admin"),
            (text.replace("admin_users", "stats_users"), "no-admin"),
        ] {
            rig.proxy.rewrite(&cut);
            let error = console.error("RELOAD").await;
            assert_eq!(error.shown(), "E(ERROR F0000)");
            assert!(error.message().contains(&format!("error [{code}]")), "{}", error.message());
            rig.proxy.process().signal(Signal::HUP);
            // Once by the order, and once by the signal or because the file has changed.
            eventually("both were refused", async || {
                let log = rig.proxy.process().log();
                (log.matches(&format!("error [{code}]")).count() >= 2).then_some(())
            })
            .await;
            assert_eq!(client.value("select 1").await, "1");
            assert_eq!(app.connect().await.value("select 1").await, "1");
        }
        let error = console.error("SET admin_users = '[]'").await;
        assert!(error.field(b'D').expect("why").contains("no-admin"));
        rig.proxy.rewrite(&text);
        assert_eq!(console.order("RELOAD").await, Vec::<String>::new());
    });
}

#[test]
fn an_empty_file_that_is_watched_is_refused() {
    run(async {
        let rig = Rig::start(with_console(Settings::new().set("reload", "watch"))).await;
        let mut client = rig.client().await;
        rig.proxy.rewrite("");
        eventually("it was looked at", async || {
            rig.proxy.process().log().contains("nothing has changed").then_some(())
        })
        .await;
        assert_eq!(client.value("select 1").await, "1");
        assert_eq!(Console::open(&rig).await.setting("default_pool_size").await.0, "5");
    });
}

/// The last line of the log that has these words, as soon as there is one.
async fn logged(rig: &Rig, words: &str) -> String {
    eventually(words, async || {
        let log = rig.proxy.process().log();
        log.lines().rfind(|line| line.contains(words)).map(str::to_owned)
    })
    .await
}

#[test]
fn the_log_says_who_changed_what_from_what_to_what() {
    run(async {
        let batch = "match = { application_name = 'etl' }\nmax_in_flight = 4";
        let rig = Rig::start(with_console(Settings::new().class("batch", batch))).await;
        let mut console = Console::open(&rig).await;
        let _client = rig.client().await;
        for (command, change) in [
            ("SET default_pool_size = 7", "default_pool_size 5 -> 7"),
            ("SET CLASS batch max_in_flight = 3", "classes.batch max_in_flight 4 -> 3"),
            ("SET CLASS batch per_address.max_queued = 2", "per_address.max_queued none -> 2"),
            ("SET CLASS 'app/app' weight = 9", "classes.app/app weight 1 -> 9"),
            ("SET CLASS batch max_in_flight = DEFAULT", "classes.batch max_in_flight 3 -> 4"),
        ] {
            console.order(command).await;
            let line = logged(&rig, change).await;
            assert!(line.contains("user=\"app\"") && line.contains("client="), "{line}");
            assert!(line.contains(&command.replace('\'', "")), "{line}");
        }
        console.error("SET default_pool_size = many").await;
        assert!(logged(&rig, "refused, nothing has changed").await.contains("user=\"app\""));
        console.order("PAUSE").await;
        console.order("RESUME").await;
        logged(&rig, "console: PAUSE client=").await;
    });
}

#[test]
fn a_level_of_the_log_that_the_environment_decides_cannot_be_set() {
    run(async {
        let mut rig = Rig::start(with_console(Settings::new())).await;
        rig.proxy.restart_with(&[("PGWEIR_LOG", "info,pgweir::pool=debug")]).await;
        let mut console = Console::open(&rig).await;
        let pair = |value: &str, source: &str| (value.to_owned(), source.to_owned());
        let given = pair("info,pgweir::pool=debug", "PGWEIR_LOG");
        assert_eq!(console.setting("log_level").await, given);
        let error = console.error("SET log_level = debug").await;
        assert_eq!((error.message().as_str(), error.code().as_str()), ("SET failed", "42704"));
        assert!(error.field(b'D').expect("why").contains("PGWEIR_LOG"));
        console.order("RELOAD").await;
        assert_eq!(console.setting("log_level").await, given);
    });
}
