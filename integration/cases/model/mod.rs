//! The model: random scripts of several clients, played through the proxy and, each client on a
//! connection of its own, with Postgres itself. Every answer must be the same.
//!
//! Not compared are process ids and cancel keys, the OIDs of the tables that a round makes, where in its
//! source Postgres raised an error, and when a `ParameterStatus` comes: what counts is what the client
//! knows at each `ReadyForQuery`.
//!
//! `PGWEIR_SEED` repeats a run, `PGWEIR_MODEL_STEPS` says how many messages are sent in each of the
//! tests, `PGWEIR_MODEL_ROUND` plays one round again and again, for what does not fail each time. A script that
//! fails is made short before it is shown.

mod faulty;
mod generate;
mod message;
mod owed;
mod play;
mod session;
mod shrink;
mod texts;

use std::time::Duration;

use crate::cases::multiplex::shared;
use crate::harness::Address;
use crate::harness::login::Login;
use crate::harness::ports::Port;
use crate::harness::postgres::Postgres;
use crate::harness::process::show;
use crate::harness::proxy::Proxy;
use crate::harness::random::Seed;
use crate::harness::settings::Settings;
use crate::harness::time::{Deadline, Watch, eventually, run_within};
use faulty::{FaultyServer, SPOILING_NAME};
use generate::{Part, Profile};
use message::{Message, Script};
use play::{Difference, IN_VAIN, Outcome, Pace, Sides, play};

/// About 15 s each in a debug build.
const STEPS_DEFAULT: usize = 80_000;
/// Messages of one script: its clients connect anew for the next.
const ROUND: usize = 600;
/// Longer than a slow machine makes anybody wait; an answer that never comes is a failure.
const PATIENCE: Duration = Duration::from_secs(30);
/// While a failure is made short, much is tried that ends in silence.
const PATIENCE_SHRINKING: Duration = Duration::from_secs(2);
const SHRINKING_MAX: Duration = Duration::from_mins(2);

/// A kind of run.
#[derive(Clone, Copy)]
struct Trial {
    profile: Profile,
    servers: u32,
    pace: Pace,
    /// What can be is answered without a server.
    has_shortcuts: bool,
    /// Statements follow their clients, who keep their server for them otherwise.
    follow: bool,
    /// Clients share servers: so many are on one of them at once at least.
    share: Option<usize>,
}

const EVERYTHING: Profile = Profile {
    clients: 4,
    messages: ROUND,
    parts: &[Part::Altering, Part::Named, Part::Prepare, Part::Settings, Part::UnnamedLater],
};

/// What follows a client from server to server.
const SHARED: Profile =
    Profile { parts: &[Part::Named, Part::Settings, Part::UnnamedLater], ..EVERYTHING };

/// The same, and mostly what can be done on a server that others use at the same time.
const READS: Profile = Profile {
    parts: &[Part::Named, Part::Reads, Part::Settings, Part::UnnamedLater],
    ..EVERYTHING
};

fn steps() -> usize {
    let wanted = std::env::var("PGWEIR_MODEL_STEPS").ok();
    wanted.map_or(STEPS_DEFAULT, |text| text.parse().expect("a number"))
}

fn the_round() -> Option<u64> {
    let wanted = std::env::var("PGWEIR_MODEL_ROUND").ok();
    wanted.map(|text| text.parse().expect("a number"))
}

async fn postgres() -> Postgres {
    let postgres = Postgres::start().await;
    postgres.sql("alter database second owner to app").await;
    postgres
}

/// Makes all tables as they are at the beginning of a script. Direct sessions use another database of
/// the same Postgres.
async fn lay_out(postgres: &Postgres, clients: &[usize]) {
    let mut sql = "set role app; set client_min_messages to warning; \
        create table if not exists shared as select n, 'row ' || n as body from generate_series(0, 50) n;"
        .to_owned();
    for client in clients {
        sql.push_str(
            &"drop table if exists own_N, copied_N; \
              create table own_N (id serial primary key, body text); \
              insert into own_N (body) values ('first'), ('second'); \
              create table copied_N (n int, body text);"
                .replace('N', &client.to_string()),
        );
    }
    for database in ["app", "second"] {
        let superuser =
            eventually("Postgres answers", async || postgres.connect(database).await.ok()).await;
        superuser.batch_execute(&sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }
}

fn sides(postgres: &Postgres, through: &Address, patience: Duration) -> Sides {
    let direct = Login::to(&postgres.address()).database("second");
    Sides { direct, through: Login::to(through), patience }
}

fn settings(trial: Trial) -> Settings {
    // Clients may wait, untold, for as long as others are in the middle of something.
    let settings = Settings::new().pool_size(trial.servers);
    let mut settings = settings.set("query_wait_timeout", PATIENCE).set("query_wait_notify", 0);
    if !trial.follow {
        settings = settings.set("max_prepared_statements", 0);
    }
    if trial.share.is_some() {
        settings = sharing(settings);
    }
    if trial.profile.has(Part::Alone) {
        settings = settings.pool_mode("statement");
    }
    if trial.has_shortcuts {
        return settings.set("defer_begin", true).set("answer_pings", "select");
    }
    settings
}

/// Whatever reads may share: these machines are slow.
fn sharing(settings: Settings) -> Settings {
    settings.set("multiplex", "auto").set("multiplex_max_service_time", Duration::from_secs(10))
}

/// Plays scripts until as many messages were sent as are wanted, or one fails.
async fn check(trial: Trial) {
    let seed = Seed::of_run();
    let (postgres, watch) = (postgres().await, Watch::start());
    let http = Port::take();
    let settings = settings(trial).set("http_addr", http.address().as_str());
    let proxy = Proxy::start(&settings, &postgres.address()).await;
    let sides = sides(&postgres, &proxy.address, PATIENCE);
    let (mut played, mut senseless) = (0, 0);
    for round in 0.. {
        if played >= steps() {
            break;
        }
        let round = the_round().unwrap_or(round);
        let script = generate::script(trial.profile, &mut seed.actor(round));
        lay_out(&postgres, &script.clients()).await;
        // The proxy has seen nothing of it, and may take what others have prepared for what is there.
        sides.through.connect().await.query("drop table if exists nothing").await;
        match play(&script, trial.pace, &sides).await {
            Outcome::Same | Outcome::Senseless(IN_VAIN) => {}
            Outcome::Senseless(why) => {
                show(&format!("round {round} is no test: {why}"));
                senseless += 1;
            }
            Outcome::Different(found) => {
                let told = found.told_of(&script);
                show(&format!("round {round} failed after {played} messages: {told}"));
                show(&format!("what its client said:{}", script.of(found.client)));
                fail(trial, &postgres, script, &found.kind).await;
            }
        }
        played += trial.profile.messages;
    }
    show(&format!("{played} messages in {:?}", watch.elapsed()));
    if let Some(depth) = trial.share {
        let shared = shared(&http).await;
        show(&format!("{shared:?} of {played}"));
        assert!(shared.statements > played / 50, "hardly anything was shared");
        let is_short = steps() < STEPS_DEFAULT;
        assert!(is_short || shared.depth >= depth, "no more than {} at once", shared.depth);
    }
    assert_eq!(senseless, 0, "Postgres itself did not answer");
}

/// Shows the shortest script that fails, too, each before a proxy of its own, and fails.
async fn fail(trial: Trial, postgres: &Postgres, script: Script, kind: &str) {
    let shortest = shrink::shrink(script, Deadline::after(SHRINKING_MAX), async |script| {
        let found = replay(trial, postgres, script).await;
        found.is_some_and(|found| found.kind == kind)
    })
    .await;
    let found = replay(trial, postgres, &shortest).await;
    let told = found.map(|found| found.told_of(&shortest));
    let told = told.unwrap_or_else(|| "it does not fail each time".to_owned());
    panic!("another answer than Postgres':{shortest}\n{told}");
}

/// Plays a script before a proxy that has served nobody. Answers with what differs.
async fn replay(trial: Trial, postgres: &Postgres, script: &Script) -> Option<Difference> {
    lay_out(postgres, &script.clients()).await;
    let proxy = Proxy::start(&settings(trial), &postgres.address()).await;
    let sides = sides(postgres, &proxy.address, PATIENCE_SHRINKING);
    match play(script, trial.pace, &sides).await {
        Outcome::Different(found) => Some(*found),
        Outcome::Same | Outcome::Senseless(_) => None,
    }
}

fn check_trial(trial: Trial) {
    let limit =
        Duration::from_mins(5) + Duration::from_millis(5) * u32::try_from(steps()).unwrap_or(0);
    run_within(limit, check(trial));
}

/// What a pooler can do that keeps a server for each client that prepares anything by name.
const PINNED: Profile =
    Profile { parts: &[Part::Altering, Part::Named, Part::Prepare, Part::Settings], ..EVERYTHING };

#[test]
fn clients_with_servers_for_all_are_answered_as_by_postgres() {
    let pace = Pace::LockStep { holders_max: 4 };
    check_trial(Trial {
        profile: PINNED,
        servers: 4,
        pace,
        has_shortcuts: false,
        follow: false,
        share: None,
    });
}

#[test]
fn clients_that_wait_for_each_other_are_answered_as_by_postgres() {
    let profile = Profile { clients: 8, messages: 2 * ROUND, ..PINNED };
    check_trial(Trial {
        profile,
        servers: 2,
        pace: Pace::Free,
        has_shortcuts: false,
        follow: false,
        share: None,
    });
}

#[test]
fn shortcuts_are_answered_as_by_postgres() {
    let profile = Profile { clients: 8, messages: 2 * ROUND, ..PINNED };
    check_trial(Trial {
        profile,
        servers: 2,
        pace: Pace::Free,
        has_shortcuts: true,
        follow: false,
        share: None,
    });
}

#[test]
fn the_unnamed_statement_is_there_until_it_is_replaced() {
    let parts = &[Part::Settings, Part::UnnamedLater];
    let profile = Profile { parts, ..EVERYTHING };
    check_trial(Trial {
        profile,
        servers: 1,
        pace: Pace::LockStep { holders_max: 1 },
        has_shortcuts: false,
        follow: true,
        share: None,
    });
}

#[test]
fn clients_that_take_turns_at_one_server_are_answered_as_by_postgres() {
    check_trial(Trial {
        profile: SHARED,
        servers: 1,
        pace: Pace::LockStep { holders_max: 1 },
        has_shortcuts: false,
        follow: true,
        share: None,
    });
}

#[test]
fn clients_that_take_turns_at_three_servers_are_answered_as_by_postgres() {
    let profile = Profile { clients: 8, ..SHARED };
    check_trial(Trial {
        profile,
        servers: 3,
        pace: Pace::LockStep { holders_max: 3 },
        has_shortcuts: false,
        follow: true,
        share: None,
    });
}

#[test]
fn clients_that_share_few_servers_are_answered_as_by_postgres() {
    let profile = Profile { clients: 8, messages: 2 * ROUND, ..SHARED };
    let (pace, has_shortcuts) = (Pace::Free, true);
    check_trial(Trial { profile, servers: 2, pace, has_shortcuts, follow: true, share: None });
}

#[test]
fn clients_in_statement_mode_are_answered_as_by_postgres() {
    let parts = &[Part::Alone, Part::Named, Part::Settings, Part::UnnamedLater];
    let profile = Profile { parts, clients: 8, messages: 2 * ROUND };
    let (pace, has_shortcuts) = (Pace::Free, false);
    check_trial(Trial { profile, servers: 2, pace, has_shortcuts, follow: true, share: None });
}

#[test]
fn clients_that_do_everything_are_answered_as_by_postgres() {
    let profile = Profile { clients: 8, messages: 2 * ROUND, ..EVERYTHING };
    let (pace, has_shortcuts) = (Pace::Free, false);
    check_trial(Trial { profile, servers: 2, pace, has_shortcuts, follow: true, share: None });
}

#[test]
fn clients_that_are_on_one_server_at_once_are_answered_as_by_postgres() {
    let profile = Profile { clients: 16, messages: 4 * ROUND, ..READS };
    let (pace, has_shortcuts, share) = (Pace::Free, false, Some(8));
    check_trial(Trial { profile, servers: 1, pace, has_shortcuts, follow: true, share });
}

#[test]
fn clients_that_are_on_few_servers_at_once_are_answered_as_by_postgres() {
    let profile = Profile { clients: 16, messages: 4 * ROUND, ..READS };
    let (pace, has_shortcuts, share) = (Pace::Free, true, Some(4));
    check_trial(Trial { profile, servers: 2, pace, has_shortcuts, follow: true, share });
}

#[test]
fn clients_that_are_on_three_servers_at_once_are_answered_as_by_postgres() {
    let profile = Profile { clients: 24, messages: 6 * ROUND, ..READS };
    let (pace, has_shortcuts, share) = (Pace::Free, true, Some(4));
    check_trial(Trial { profile, servers: 3, pace, has_shortcuts, follow: true, share });
}

/// Now and then one of them is idle while others are shared.
#[test]
fn clients_that_are_on_four_servers_at_once_are_answered_as_by_postgres() {
    let profile = Profile { clients: 32, messages: 8 * ROUND, ..READS };
    let (pace, has_shortcuts, share) = (Pace::Free, false, Some(4));
    check_trial(Trial { profile, servers: 4, pace, has_shortcuts, follow: true, share });
}

/// The test of the test.
#[test]
fn a_wrong_answer_is_found_and_its_script_made_short() {
    run_within(Duration::from_mins(3), async {
        let seed = Seed::of_run();
        let postgres = postgres().await;
        let faulty = FaultyServer::start(&postgres.address()).await;
        let sides = sides(&postgres, &faulty.address, PATIENCE_SHRINKING);
        let pace = Pace::LockStep { holders_max: 4 };
        let fails = async |script: &Script| {
            lay_out(&postgres, &script.clients()).await;
            matches!(play(script, pace, &sides).await, Outcome::Different(_))
        };
        let profile = Profile { parts: &[Part::Named], ..EVERYTHING };
        for round in 0..20 {
            let script = generate::script(profile, &mut seed.actor(round));
            if fails(&script).await {
                let deadline = Deadline::after(SHRINKING_MAX);
                let shortest = shrink::shrink(script, deadline, fails).await;
                show(&format!("{shortest}"));
                let spoils = Message::CloseStatement(SPOILING_NAME.to_owned());
                assert!(shortest.0.iter().any(|step| step.message == spoils), "{shortest}");
                assert!(shortest.0.len() <= 3, "{shortest}");
                return;
            }
        }
        panic!("20 scripts found nothing");
    });
}
