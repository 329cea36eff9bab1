//! Postgres' own programs: psql and pgbench.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tokio::spawn;

use super::timeline::Timeline;
use super::{LIMIT, environment, output_of, rig};
use crate::harness::Address;
use crate::harness::console::Console;
use crate::harness::frames::{Batch, Frame};
use crate::harness::login::Login;
use crate::harness::postgres::binary;
use crate::harness::proxy::Rig;
use crate::harness::settings::Settings;
use crate::harness::time::{eventually, run_within};

const SCRIPT: &str = r"
\set ON_ERROR_STOP off
create table notes (id serial primary key, body text);
insert into notes (body) values ('one'), ('two') returning id;
begin;
update notes set body = upper(body);
savepoint before;
select 1/0;
rollback to before;
commit;
\copy notes from program 'printf ''10\tten\n11\televen\n'''
\copy (select * from notes order by id) to stdout
select * from no_such_table;
do $$ begin raise notice 'hello'; end $$;
\d notes
\dt
select * from notes order by id \gx
select $1 as bound \bind 'value' \g
\set FETCH_COUNT 2
select n from generate_series(1, 5) n;
drop table notes;
";

async fn psql(address: &Address) -> String {
    let file = tempfile::NamedTempFile::new().expect("a temporary file is made");
    std::fs::write(file.path(), SCRIPT).expect("the script is written");
    let mut command = Command::new("sh");
    let psql = format!("exec {} -X -e -f {} 2>&1", binary("psql"), file.path().display());
    command.arg("-c").arg(psql);
    environment(&mut command, address);
    let said = output_of(command).await;
    // psql names the file in its errors.
    said.replace(&file.path().display().to_string(), "SCRIPT")
}

#[test]
fn psql_says_the_same_as_without_a_proxy() {
    run_within(LIMIT, async {
        let rig = rig().await;
        let expected = psql(&rig.postgres.address()).await;
        assert!(expected.contains("division by zero"), "the script ran: {expected}");
        assert_eq!(psql(rig.address()).await, expected);
    });
}

/// Makes the tables of pgbench.
async fn initialise(rig: &Rig) {
    let mut initialise = Command::new(binary("pgbench"));
    initialise.args(["--initialize", "--quiet"]);
    environment(&mut initialise, rig.address());
    output_of(initialise).await;
}

/// Runs pgbench and checks that it did all its transactions, and that they add up.
pub(super) async fn pgbench(rig: &Rig, clients: u32, arguments: &[&str]) {
    let mut command = Command::new(binary("pgbench"));
    command.args(["--no-vacuum", "--jobs=2", "--transactions=20"]);
    command.arg(format!("--client={clients}")).args(arguments);
    environment(&mut command, rig.address());
    let said = output_of(command).await;
    let wanted = clients * 20;
    let processed = format!("number of transactions actually processed: {wanted}/{wanted}");
    assert!(said.contains(&processed), "{arguments:?}: {said}");
    assert!(said.contains("number of failed transactions: 0 "), "{arguments:?}: {said}");
    let sums =
        "select (select sum(abalance) from pgbench_accounts) = sum(delta) from pgbench_history";
    assert_eq!(rig.postgres.value(sums).await, "t", "{arguments:?}");
}

#[test]
fn pgbench_runs_in_every_mode() {
    run_within(LIMIT, async {
        let rig = rig().await;
        initialise(&rig).await;
        pgbench(&rig, 20, &["--protocol=simple"]).await;
        pgbench(&rig, 20, &["--protocol=extended"]).await;
        // While one of its clients prepares, the thread does nothing for its others, which may have the
        // servers that this one waits for.
        pgbench(&rig, 20, &["--protocol=prepared", "--jobs=20"]).await;
        pgbench(&rig, 10, &["--protocol=simple", "--connect"]).await;
        pgbench(&rig, 20, &["--protocol=simple", "--select-only"]).await;
    });
}

/// How many clients the pool of the proxy has that serves now.
async fn clients_in(rig: &Rig) -> u32 {
    let mut console = Login::to(rig.address()).database("pgweir").connect().await;
    let frames = console.ask_frames(Batch::new().query("show pools")).await;
    let rows = frames.iter().filter(|frame| frame.tag == b'D');
    rows.map(|row| number(row, "cl_active") + number(row, "cl_waiting")).max().unwrap_or_default()
}

/// How many requests the proxy that serves now has had answered by servers that others shared.
async fn shared_in(rig: &Rig) -> u64 {
    let login = Login::to(rig.address()).database("pgweir");
    let pool = Console::log_in(&login).await.row("SHOW POOLS", "app").await;
    pool.map_or(0, |pool| pool["shared_count"].parse().expect("a number"))
}

/// A number of `SHOW POOLS`.
fn number(row: &Frame, column: &str) -> u32 {
    let at = match column {
        "cl_active" => 2,
        "cl_waiting" => 3,
        _ => panic!("no column {column}"),
    };
    let text = row.columns().swap_remove(at).expect("a number");
    String::from_utf8_lossy(&text).parse().expect("a number")
}

/// What pgbench does meanwhile.
#[derive(Clone, Copy)]
struct Load {
    protocol: &'static str,
    clients: u32,
    seconds: u32,
    /// Transactions a second. `None`: as many as it can. Then it takes every core, and the slowest of all
    /// is one whose backend of Postgres the kernel did not run.
    rate: Option<u32>,
    /// Its clients share servers.
    shares: bool,
}

impl Load {
    fn command(&self, rig: &Rig, logs: &Path) -> Command {
        let mut command = Command::new(binary("pgbench"));
        command.args(["--select-only", "--no-vacuum", "--jobs=2", "--log"]);
        command.arg(format!("--client={}", self.clients));
        command.arg(format!("--protocol={}", self.protocol));
        command.arg(format!("--time={}", self.seconds));
        command.args(self.rate.map(|rate| format!("--rate={rate}")));
        command.arg(format!("--log-prefix={}/log", logs.display()));
        environment(&mut command, rig.address());
        command
    }
}

/// Runs pgbench while one process after the other takes over; answers with what it did.
async fn take_over_under(load: Load, rig: &mut Rig, times: u32) -> Timeline {
    let (logs, protocol) = (tempfile::tempdir().expect("a directory"), load.protocol);
    let running = spawn(output_of(load.command(rig, logs.path())));
    let mut proxies = Vec::new();
    for time in 0..times {
        // All of them are in before the next one comes.
        let are_in = async || {
            let is_shared = !load.shares || shared_in(rig).await > 0;
            (is_shared && clients_in(rig).await >= load.clients).then_some(())
        };
        eventually("the clients are in", are_in).await;
        let mut old = rig.proxy.replace();
        eventually("the old process has ended", async || old.ended()).await;
        let came = old.log().matches("client logged in").count();
        assert!(time == 0 || came == 0, "{protocol}: {came} clients connected again");
        proxies.push(old.log());
    }
    let said = running.await.expect("pgbench does not panic");
    assert!(said.contains("number of failed transactions: 0 "), "{protocol}: {said}");
    assert!(!said.contains("aborted"), "{protocol}: {said}");
    proxies.push(rig.proxy.process().log());
    Timeline::read(logs.path(), &proxies)
}

/// No transaction fails, and nobody connects again. `PGWEIR_TAKEOVERS=10` makes it ten in a row, with
/// 200 clients, beside as much time without any.
#[test]
#[expect(clippy::print_stdout, reason = "what was measured")]
fn pgbench_does_not_notice_that_another_process_takes_over() {
    let wanted = std::env::var("PGWEIR_TAKEOVERS").ok().and_then(|text| text.parse().ok());
    let (times, clients) = wanted.map_or((2, 50), |times: u32| (times, 200));
    run_within(LIMIT, async {
        let settings = Settings::new().set("default_pool_size", 20).set("admin_users", "app");
        let mut rig = Rig::start(settings).await;
        initialise(&rig).await;
        for protocol in ["simple", "extended"] {
            for (rate, most) in [(Some(5 * clients), 1), (None, 2)] {
                let load = Load { protocol, clients, seconds: 1 + times, rate, shares: false };
                let pace = rate.map_or("flat out".to_owned(), |rate| format!("{rate}/s"));
                let mut without = None;
                if wanted.is_some() {
                    without = Some(take_over_under(load, &mut rig, 0).await.slowest().took());
                }
                let timeline = take_over_under(load, &mut rig, times).await;
                let (slowest, account) = (timeline.slowest().took(), timeline.account());
                print!("{protocol}, {pace}, {clients} clients, {times} takeovers: {slowest:?}");
                if let Some(without) = without {
                    let more = slowest.saturating_sub(without);
                    print!("; without any, before: {without:?}; so {more:?} more");
                }
                println!("\n{account}");
                assert!(slowest < Duration::from_secs(most), "{protocol}, {pace}: {account}");
            }
        }
    });
}

/// Some are aboard whenever the next process comes.
#[test]
fn pgbench_does_not_notice_a_takeover_while_its_clients_share_servers() {
    run_within(LIMIT, async {
        let settings = Settings::new().set("default_pool_size", 4).set("admin_users", "app");
        let settings = settings.set("multiplex", "auto");
        let settings = settings.set("multiplex_max_service_time", Duration::from_secs(1));
        let mut rig = Rig::start(settings).await;
        initialise(&rig).await;
        for protocol in ["simple", "extended", "prepared"] {
            let load = Load { protocol, clients: 32, seconds: 4, rate: None, shares: true };
            let timeline = take_over_under(load, &mut rig, 2).await;
            let slowest = timeline.slowest().took();
            assert!(slowest < Duration::from_secs(2), "{protocol}: {}", timeline.account());
            assert!(shared_in(&rig).await > 0, "{protocol}");
        }
    });
}
