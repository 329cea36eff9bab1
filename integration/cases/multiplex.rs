//! Clients that share a server: each gets its own answer, whatever becomes of the others.
//!
//! One server for all. A statement shares when it is known to be short: [`Shared::learn`] sees to that.

mod alone;
mod cut_short;
mod fitting;
mod held_up;
mod known;
mod lulls;
mod own;
mod prepared;
mod quotas;
mod reloaded;
mod seen;
mod sequences;
mod stalls;
mod takeover;
mod timeouts;
mod turns;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cases::http::get;
use crate::harness::console::{Console, with_console};
use crate::harness::frames::Batch;
use crate::harness::login::Login;
use crate::harness::ports::Port;
use crate::harness::proxy::Rig;
use crate::harness::settings::Settings;
use crate::harness::time::{eventually, run, within};
use crate::harness::wire::Client;

/// How much was shared, of a proxy.
#[derive(Debug)]
pub(super) struct Tally {
    /// Answered by servers that others shared.
    pub(super) statements: usize,
    /// How many there were at once on one server, at most.
    pub(super) depth: usize,
}

pub(super) async fn shared(http: &Port) -> Tally {
    let (_, text) = get(http, "/metrics").await;
    let counts = |name: &str| -> Vec<(String, usize)> {
        let lines = text.lines().filter_map(|line| line.strip_prefix(name)?.split_once("} "));
        lines.map(|(labels, n)| (labels.to_owned(), n.parse().expect("a count"))).collect()
    };
    let statements = counts("pgweir_pool_shared_statements_total{");
    let depths = counts("pgweir_pool_shared_depth_total{").into_iter().filter(|(_, n)| *n > 0);
    let depths = depths
        .filter_map(|(labels, _)| labels.split_once("depth=\"")?.1.strip_suffix('"')?.parse().ok());
    Tally { statements: statements.iter().map(|(_, n)| n).sum(), depth: depths.max().unwrap_or(0) }
}

fn settings() -> Settings {
    with_console(Settings::new().pool_size(1))
        .set("multiplex", "auto")
        .set("multiplex_max_service_time", Duration::from_secs(1))
        .set("query_wait_notify", 0)
}

type Row = BTreeMap<String, String>;

/// A proxy with one server for each pool, and somebody who can hold that of one of them back.
struct Shared {
    rig: Rig,
    console: Console,
    holder: Client,
    /// Its database and its user.
    pool: (&'static str, &'static str),
}

impl Shared {
    async fn start(settings: Settings) -> Self {
        let rig = Rig::start(settings).await;
        rig.postgres.sql("create table t as select n from generate_series(1, 9) n").await;
        rig.postgres.sql("grant select on t to public").await;
        let (console, holder) = (Console::open(&rig).await, rig.client().await);
        Self { rig, console, holder, pool: ("app", "app") }
    }

    /// Goes on in another pool.
    async fn turn_to(&mut self, database: &'static str, user: &'static str) {
        self.pool = (database, user);
        self.holder = self.login().connect().await;
    }

    fn login(&self) -> Login {
        let (database, user) = self.pool;
        Login::to(self.rig.address()).database(database).user(user, "")
    }

    async fn number(&mut self, column: &str) -> u64 {
        let rows = self.console.rows("SHOW POOLS").await;
        let is_it = |row: &Row| (&*row["database"], &*row["user"]) == self.pool;
        let row = rows.into_iter().find(is_it).expect("the pool is there");
        row[column].parse().expect("a number")
    }

    /// How many were answered by a server that others shared.
    async fn shared(&mut self) -> u64 {
        self.number("shared_count").await
    }

    async fn hold(&mut self) {
        assert_eq!(self.holder.query("begin").await, ["C(BEGIN)", "Z(T)"]);
    }

    async fn let_go(&mut self) {
        assert_eq!(self.holder.query("commit").await, ["C(COMMIT)", "Z(I)"]);
    }

    /// A client asks, and waits behind those who have asked before.
    async fn queue(&mut self, client: &mut Client, batch: Batch) {
        let before = self.number("cl_waiting").await;
        client.send(batch).await;
        self.becomes("cl_waiting", before + 1).await;
    }

    async fn reload(&mut self, settings: &Settings) {
        self.rig.configure(settings);
        self.console.order("RELOAD").await;
    }

    async fn becomes(&mut self, column: &str, wanted: u64) {
        eventually(&format!("{column} is {wanted}"), async || {
            (self.number(column).await == wanted).then_some(())
        })
        .await;
    }

    /// Waits until a head counts as stalled: nobody gets aboard behind it.
    async fn is_stalled(&mut self) {
        self.becomes("stall_count", 1).await;
    }

    /// Has a client wait with this until it is known how long it takes.
    async fn learn(&mut self, client: &mut Client, batch: impl Fn() -> Batch) {
        for _ in 0..5 {
            self.hold().await;
            self.queue(client, batch()).await;
            self.let_go().await;
            client.answer().await;
        }
    }

    async fn clients(&self, count: usize) -> Vec<Client> {
        let mut clients = Vec::new();
        for _ in 0..count {
            clients.push(self.login().connect().await);
        }
        clients
    }
}

fn number(n: usize) -> Batch {
    Batch::new().query(&format!("select {n}, 'mine'"))
}

/// With `pg_sleep` among the functions that only read.
fn nap(s: f64) -> Batch {
    Batch::new().query(&format!("select pg_sleep({s:.2}), 'mine'"))
}

/// All of them ask while the server is held, so that they may share it then; their answers.
async fn answers(
    shared: &mut Shared,
    clients: &mut [Client],
    batch: impl Fn(usize) -> Batch,
) -> Vec<Vec<String>> {
    shared.hold().await;
    for (n, client) in clients.iter_mut().enumerate() {
        shared.queue(client, batch(n)).await;
    }
    shared.let_go().await;
    let mut answers = Vec::new();
    for client in clients {
        answers.push(client.answer().await);
    }
    answers
}

/// All of them ask and share; each has its own answer.
async fn share(shared: &mut Shared, clients: &mut [Client], batch: impl Fn(usize) -> Batch) {
    let before = shared.shared().await;
    for (n, answer) in answers(shared, clients, batch).await.into_iter().enumerate() {
        assert!(answer.contains(&format!("D({n},mine)")), "{n}: {answer:?}");
        assert_eq!(answer.last().map(String::as_str), Some("Z(I)"));
    }
    assert_eq!(shared.shared().await - before, clients.len() as u64);
}

#[test]
fn each_gets_its_own_answer() {
    run(async {
        let mut shared = Shared::start(settings()).await;
        let mut clients = shared.clients(16).await;
        shared.learn(&mut clients[0], || number(0)).await;
        share(&mut shared, &mut clients, number).await;
        let parsed = |n: usize| Batch::new().statement("select $1::int, 'mine'", &[&n.to_string()]);
        shared.learn(&mut clients[0], || parsed(0)).await;
        share(&mut shared, &mut clients, parsed).await;
        for client in &mut clients {
            let prepare = Batch::new().parse("own", "select $1::int, 'mine'").sync();
            assert_eq!(client.ask(prepare).await, ["1", "Z(I)"]);
        }
        let bound = |n: usize| {
            let batch = Batch::new().bind("own", &[&n.to_string()]).describe_portal("");
            batch.execute().sync()
        };
        shared.learn(&mut clients[0], || bound(0)).await;
        share(&mut shared, &mut clients, bound).await;
    });
}

#[test]
fn an_error_is_told_to_whom_it_concerns() {
    run(async {
        let mut shared = Shared::start(settings()).await;
        let mut clients = shared.clients(4).await;
        let divided = |by: usize| Batch::new().query(&format!("select 6 / {by}"));
        shared.learn(&mut clients[0], || divided(1)).await;
        let bound = |by: &str| Batch::new().bind("own", &[by]).execute().sync();
        let prepare = || Batch::new().parse("own", "select 6 / $1::int").sync();
        clients[2].ask(prepare()).await;
        clients[3].ask(prepare()).await;
        shared.learn(&mut clients[2], || bound("1")).await;
        let before = shared.shared().await;
        shared.hold().await;
        for (client, by) in [(0, 0), (1, 2)] {
            shared.queue(&mut clients[client], divided(by)).await;
        }
        shared.queue(&mut clients[2], Batch::new().bind("own", &[]).execute().sync()).await;
        shared.queue(&mut clients[3], bound("3")).await;
        shared.let_go().await;
        let [one, two, three, four] = &mut clients[..] else { panic!("four") };
        assert_eq!(one.answer().await, ["E(ERROR 22012)", "Z(I)"]);
        assert_eq!(two.answer().await, ["T(?column?)", "D(3)", "C(SELECT 1)", "Z(I)"]);
        let frames = three.wire.until_ready().await;
        let said = "bind message supplies 0 parameters, but prepared statement \"own\" requires 1";
        assert_eq!(frames[0].message(), said);
        assert_eq!(four.answer().await, ["2", "D(2)", "C(SELECT 1)", "Z(I)"]);
        assert_eq!(shared.shared().await - before, 4);
        // What the client has prepared is there still.
        assert_eq!(three.ask(bound("2")).await, ["2", "D(3)", "C(SELECT 1)", "Z(I)"]);
    });
}

#[test]
fn what_is_no_read_has_a_server_for_itself() {
    run(async {
        let mut shared = Shared::start(settings()).await;
        let mut clients = shared.clients(3).await;
        shared.rig.postgres.sql("create table own as select 1 as n").await;
        shared.rig.postgres.sql("grant all on own to public").await;
        let texts = [
            "update own set n = n + 1 returning 7, 'mine'",
            "select pg_backend_pid() + 1 as n; select 7, 'mine'",
            "set application_name = 'x'; select 7, 'mine'",
        ];
        for text in texts {
            let batch = || Batch::new().query(text);
            shared.learn(&mut clients[0], batch).await;
            let before = shared.shared().await;
            shared.hold().await;
            for client in &mut clients {
                shared.queue(client, batch()).await;
            }
            shared.let_go().await;
            for client in &mut clients {
                assert!(client.answer().await.contains(&"D(7,mine)".to_owned()), "{text}");
            }
            assert_eq!(shared.shared().await, before, "{text}");
        }
    });
}

const LOCKED: &str = "select count(*) from t";

/// The head waits for a lock, and others are behind it.
async fn stuck(shared: &mut Shared, clients: &mut [Client]) -> tokio_postgres::Client {
    let locker = lock_out(shared, clients).await;
    let aboard = shared.number("cl_riding").await;
    assert_eq!(aboard, clients.len() as u64);
    locker
}

/// The same, where the others need not stay.
async fn lock_out(shared: &mut Shared, clients: &mut [Client]) -> tokio_postgres::Client {
    lock_out_of(shared, clients, LOCKED).await
}

/// The same, with another statement for the head.
async fn lock_out_of(
    shared: &mut Shared,
    clients: &mut [Client],
    text: &str,
) -> tokio_postgres::Client {
    let (head, others) = clients.split_first_mut().expect("a head");
    shared.learn(head, || Batch::new().query(text)).await;
    shared.learn(&mut others[0], || number(0)).await;
    let locker = shared.rig.postgres.connect("app").await.expect("Postgres answers");
    locker.batch_execute("begin; lock table t").await.expect("a lock");
    shared.hold().await;
    shared.queue(head, Batch::new().query(text)).await;
    for (n, other) in others.iter_mut().enumerate() {
        shared.queue(other, number(n)).await;
    }
    shared.let_go().await;
    shared.rig.postgres.wait_for_servers("wait_event_type = 'Lock'", 1).await;
    locker
}

async fn all_have_their_own(clients: &mut [Client]) {
    for (n, client) in clients.iter_mut().enumerate() {
        let answer = client.answer().await;
        assert!(answer.contains(&format!("D({n},mine)")), "{n}: {answer:?}");
    }
}

#[test]
fn a_cancel_hits_its_own_statement() {
    run(async {
        let mut shared = Shared::start(settings()).await;
        let mut clients = shared.clients(4).await;
        let _lock = stuck(&mut shared, &mut clients).await;
        // One behind it is not under way so far, and is answered before its cancel could hit it.
        clients[2].cancel().await;
        clients[0].cancel().await;
        assert_eq!(clients[0].answer().await, ["E(ERROR 57014)", "Z(I)"]);
        all_have_their_own(&mut clients[1..]).await;
        for client in &mut clients {
            assert_eq!(client.value("select 'well'").await, "well");
        }
    });
}

#[test]
fn a_client_that_vanishes_holds_up_nobody() {
    run(async {
        let mut shared = Shared::start(settings()).await;
        let mut clients = shared.clients(4).await;
        let _lock = stuck(&mut shared, &mut clients).await;
        drop(clients.remove(2));
        drop(clients.remove(0));
        assert!(clients[0].answer().await.contains(&"D(0,mine)".to_owned()));
        assert!(clients[1].answer().await.contains(&"D(2,mine)".to_owned()));
        assert_eq!(shared.rig.client().await.value("select 'well'").await, "well");
    });
}

#[test]
fn a_lost_server_ends_what_was_under_way_there() {
    run(async {
        let mut shared = Shared::start(settings()).await;
        let mut clients = shared.clients(4).await;
        let lock = stuck(&mut shared, &mut clients).await;
        shared
            .rig
            .postgres
            .sql("select pg_terminate_backend(pid) from pg_locks where not granted")
            .await;
        for client in &mut clients {
            let answer = client.answer().await;
            assert_eq!(answer[1..], ["Z(I)"], "{answer:?}");
            assert!(
                ["E(FATAL 57P01)", "E(ERROR 57P01)", "E(ERROR 08006)"]
                    .contains(&answer[0].as_str()),
                "{answer:?}"
            );
        }
        drop(lock);
        for client in &mut clients {
            assert_eq!(client.value("select 'well'").await, "well");
        }
    });
}

#[test]
fn nobody_gets_aboard_behind_who_is_stuck() {
    run(async {
        let mut shared = Shared::start(settings()).await;
        let mut clients = shared.clients(3).await;
        let lock = stuck(&mut shared, &mut clients).await;
        shared.is_stalled().await;
        let mut late = shared.rig.client().await;
        shared.queue(&mut late, number(7)).await;
        lock.batch_execute("commit").await.expect("it is over");
        assert!(late.answer().await.contains(&"D(7,mine)".to_owned()));
        assert_eq!(clients[0].answer().await[1], "D(9)");
        all_have_their_own(&mut clients[1..]).await;
    });
}

/// Far more rows for the head than sockets hold, which it does not read; and others are behind it.
async fn leave_unread(shared: &mut Shared, clients: &mut [Client]) {
    let (head, others) = clients.split_first_mut().expect("a head");
    let much = |n: usize| {
        Batch::new().query(&format!("select repeat('x', 1000) from generate_series(1, {n})"))
    };
    shared.learn(head, || much(10)).await;
    shared.learn(&mut others[0], || number(0)).await;
    shared.hold().await;
    shared.queue(head, much(100_000)).await;
    for (n, other) in others.iter_mut().enumerate() {
        shared.queue(other, number(n)).await;
    }
    shared.let_go().await;
}

#[test]
fn who_does_not_read_holds_others_up_for_no_longer_than_it_may() {
    run(async {
        let settings = settings().set("client_write_timeout", Duration::from_secs(1));
        let mut shared = Shared::start(settings).await;
        let mut clients = shared.clients(3).await;
        leave_unread(&mut shared, &mut clients).await;
        all_have_their_own(&mut clients[1..]).await;
        clients[0].wire.until_closed().await;
    });
}

#[test]
fn a_long_answer_comes_whole() {
    run(async {
        let mut shared = Shared::start(settings()).await;
        let mut clients = shared.clients(3).await;
        let much = |n: usize, long: usize| {
            Batch::new().query(&format!("select repeat('x', {long}) from generate_series(1, {n})"))
        };
        shared.learn(&mut clients[0], || much(10, 10)).await;
        shared.hold().await;
        shared.queue(&mut clients[0], much(20_000, 1_000)).await;
        shared.queue(&mut clients[1], much(3, 300_000)).await;
        shared.queue(&mut clients[2], much(1, 1)).await;
        shared.let_go().await;
        for (client, rows, long) in [(0, 20_000, 1_000), (1, 3, 300_000), (2, 1, 1)] {
            let frames = clients[client].wire.until_ready().await;
            let data = frames.iter().filter(|frame| frame.tag == b'D');
            let lengths: Vec<_> = data.map(|frame| frame.body.len()).collect();
            assert_eq!(lengths, vec![long + 6; rows]);
        }
    });
}

#[test]
fn pause_and_reload_find_nobody_aboard() {
    run(async {
        let mut shared = Shared::start(settings()).await;
        let mut clients = shared.clients(5).await;
        shared.learn(&mut clients[0], || number(0)).await;
        share(&mut shared, &mut clients, number).await;
        shared.console.order("PAUSE").await;
        let (first, others) = clients.split_first_mut().expect("five");
        shared.queue(first, number(0)).await;
        shared.queue(&mut others[0], number(1)).await;
        let silent = within(Duration::from_millis(100), first.wire.try_frame()).await;
        assert!(silent.is_none());
        shared.console.order("RESUME").await;
        for client in [first, &mut others[0]] {
            client.answer().await;
        }
        let before = shared.shared().await;
        shared.reload(&settings().set("multiplex", "off")).await;
        shared.hold().await;
        for (n, client) in clients.iter_mut().enumerate() {
            shared.queue(client, number(n)).await;
        }
        shared.let_go().await;
        all_have_their_own(&mut clients).await;
        assert_eq!(shared.shared().await, before);
    });
}
