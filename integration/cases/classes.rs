//! Which class a client is in, and how many clients a class has.

use crate::harness::console::{Console, with_console};
use crate::harness::login::Login;
use crate::harness::proxy::Rig;
use crate::harness::settings::Settings;
use crate::harness::time::{eventually, run};

#[test]
fn the_first_rule_that_holds_decides() {
    run(async {
        let settings = with_console(Settings::new())
            .class("jobs", "match = { application_name = ['etl-*', 'nightly'] }")
            .class("second", "match = { database = 'second' }")
            .class("near", "match = { client = '127.0.0.0/8', application_name = 'n?ar' }")
            .class("far", "match = { client = ['10.0.0.0/8', '::1'] }")
            .class("others", "match = { user = 'oth*' }")
            .class("sockets", "match = { client = 'unix' }");
        let rig = Rig::start(settings).await;
        let login = Login::to(rig.address());
        let other = login.clone().user("other", "other-secret");
        let socket = Login::to(&rig.proxy.unix);
        let mut console = Console::open(&rig).await;
        for (class, login) in [
            ("jobs", login.clone().with("application_name", "etl-7").database("second")),
            ("jobs", other.clone().with("application_name", "nightly")),
            // As one of several settings in the DSN.
            ("jobs", login.clone().with("options", "-c geqo=off -c application_name=etl-")),
            ("second", login.clone().with("application_name", "xetl-7").database("second")),
            ("near", other.clone().with("application_name", "near")),
            ("others", other.clone().with("application_name", "nar")),
            ("others", Login::to(&rig.proxy.unix).user("other", "other-secret")),
            ("sockets", socket),
            ("app/app", login),
        ] {
            let before = console.number(class, "clients").await;
            let mut client = login.connect().await;
            assert_eq!(console.number(class, "clients").await, before + 1, "{class}");
            assert_eq!(client.value("select 1").await, "1");
            console.wait_for(class, "in_flight", 0).await;
            drop(client);
            console.wait_for(class, "clients", before).await;
        }
        assert_eq!(console.text("far", "clients").await, None, "nobody was in it");
        assert_eq!(console.number("jobs", "granted").await, 3, "and their logins cost it nothing");
    });
}

#[test]
fn a_client_may_choose_a_class_that_its_user_may() {
    run(async {
        let settings = with_console(Settings::new())
            .class("batch", "priority = 'sheddable'\nweight = 3")
            .class("all", "match = {}")
            .user_set("app", "choose_class", ["batch"])
            .user_set("other", "choose_class", ["*"]);
        let rig = Rig::start(settings).await;
        let choice = |name: &str| format!("-c pgweir.class={name}");
        let login = Login::to(rig.address());
        let mut console = Console::open(&rig).await;
        let mut client = login.clone().with("options", &choice("batch")).connect().await;
        assert_eq!(console.number("batch", "clients").await, 1);
        assert_eq!(console.text("batch", "priority").await.as_deref(), Some("sheddable"));
        assert_eq!(console.number("batch", "weight").await, 3);
        assert_eq!(client.error("show pgweir.class").await.code(), "42704", "not for Postgres");
        let _unchosen = login.connect().await;
        assert_eq!(console.number("all", "clients").await, 1);
        // What exists is nobody else's business: the answers are the same.
        for name in ["all", "nosuch", "*", ""] {
            let error = login.clone().with("options", &choice(name)).error().await;
            assert_eq!(error.shown(), "E(FATAL 42501)", "{name}");
            assert_eq!(error.field(b'R').as_deref(), Some("pooler_class_denied"), "{name}");
        }
        let other = login.user("other", "other-secret");
        let _anything = other.clone().with("options", &choice("all")).connect().await;
        assert_eq!(console.number("all", "clients").await, 2);
        let error = other.with("options", &choice("nosuch")).error().await;
        assert_eq!(error.shown(), "E(FATAL 42501)");
    });
}

#[test]
fn a_class_has_so_many_clients_and_so_has_each_address() {
    run(async {
        let settings = with_console(Settings::new())
            .class("few", "match = { application_name = 'few' }\nmax_clients = 2")
            .class("each", "match = {}\nper_address = { max_clients = 1 }");
        let rig = Rig::start(settings).await;
        let mut console = Console::open(&rig).await;
        let few = Login::to(rig.address()).with("application_name", "few");
        let mut clients = vec![few.connect().await, few.connect().await];
        let error = few.error().await;
        assert_eq!(error.shown(), "E(FATAL 53300)");
        assert_eq!(error.message(), "sorry, too many clients already (max_clients)");
        assert_eq!(error.field(b'R').as_deref(), Some("pooler_client_limit"));
        let each = Login::to(rig.address());
        let first = each.connect().await;
        let error = each.error().await;
        assert_eq!(error.shown(), "E(FATAL 53300)");
        assert_eq!(error.message(), "sorry, too many clients already (per_address.max_clients)");
        let mut elsewhere = Login::to(&rig.proxy.unix).connect().await;
        assert_eq!(elsewhere.value("select 1").await, "1");
        assert_eq!(console.number("each", "clients").await, 2);
        drop((clients.pop(), first));
        for login in [&few, &each] {
            eventually("the next may come", async || login.attempt().await.ok()).await;
        }
        // Logins that were refused count as such alone.
        assert!(console.number("few", "refused_client_limit").await >= 1);
        assert!(console.number("each", "refused_client_limit").await >= 1);
        console.wait_for("few", "clients", 1).await;
        console.wait_for("each", "clients", 1).await;
        assert_eq!(clients[0].value("select 1").await, "1");
    });
}

#[test]
fn clients_of_ipv6_are_known_by_their_address() {
    run(async {
        let settings = with_console(Settings::new())
            .set("listen_addr", ["127.0.0.1", "::1"])
            .class("six", "match = { client = '::/64' }\nper_address = { max_clients = 2 }")
            .class("four", "match = { client = '127.0.0.0/8' }");
        let rig = Rig::start(settings).await;
        let mut console = Console::open(&rig).await;
        let (six, four) = (Login::to(&rig.proxy.over_ipv6()), Login::to(rig.address()));
        let mut clients = [six.connect().await, six.connect().await, four.connect().await];
        for client in &mut clients {
            assert_eq!(client.value("select 1").await, "1");
        }
        assert_eq!(console.number("six", "clients").await, 2);
        assert_eq!(console.number("four", "clients").await, 1);
        let error = six.error().await;
        assert_eq!(error.shown(), "E(FATAL 53300)");
        assert_eq!(error.message(), "sorry, too many clients already (per_address.max_clients)");
        drop(clients);
        eventually("the next may come", async || six.attempt().await.ok()).await;
    });
}
