//! What becomes of clients when there are more than can be served: goodput under overload, fair
//! shares, quotas, each beside PgBouncer in the same run.
//!
//! From the outside in: `flood`, `shares` and `quota` have what is measured, `line` the figures and
//! the bars, `load` lets `crowd`s loose, `tally` counts what became of their requests.

mod crowd;
mod flood;
mod line;
mod load;
mod quota;
mod shares;
mod tally;
mod wire;

use std::cell::RefCell;
use std::time::Duration;

use self::line::{Bar, Line, Pair, Unit};
use self::load::Load;
use self::tally::Log;
use crate::Result;
use crate::contest;
use crate::contestants::{Auth, Contestant, Running};
use crate::interrupt;
use crate::machine::Machine;
use crate::plan::OverloadArguments;
use crate::progress::Progress;
use crate::report;
use crate::rows::{COST, PGBOUNCER, PGWEIR, PGWEIR_BEFORE, SHARING};
use crate::settings::Setup;
use crate::stage::Stage;
use crate::stats::Spread;

/// What sleeps here counts as a short read.
const SLEEPERS_SHARE: &str = r#"multiplex = "auto"
multiplex_functions = ["pg_sleep"]
multiplex_max_service_time = "50ms""#;

/// Whoever waits without limit waits as long as this: longer than any run.
const FOREVER: Duration = Duration::from_mins(5);

struct Scenario {
    /// For the command line.
    name: &'static str,
    title: &'static str,
    measure: fn(&Bench<'_>) -> Result<Vec<Line>>,
}

const fn scenario(
    name: &'static str,
    title: &'static str,
    measure: fn(&Bench<'_>) -> Result<Vec<Line>>,
) -> Scenario {
    Scenario { name, title, measure }
}

const SCENARIOS: &[Scenario] = &[
    scenario("clients-4", "10 ms, pool of 4, 4 clients", |bench| flood::steady(bench, 4)),
    scenario("clients-100", "the same, 100 clients", |bench| flood::steady(bench, 100)),
    scenario("clients-300", "the same, 300 clients", |bench| flood::steady(bench, 300)),
    scenario("clients-600", "the same, 600 clients", |bench| flood::steady(bench, 600)),
    scenario("clients-2000", "the same, 2,000 clients", |bench| flood::steady(bench, 2000)),
    scenario("mix", "1 ms (9 of 10) and 200 ms, 300 clients", flood::mixed),
    scenario("step", "10 ms, 30 clients, 300 for 5 s", flood::step),
    scenario("freeze", "10 ms, 300 clients, Postgres frozen for 3 s", flood::freeze),
    scenario("neighbour", "app: 4 clients of 2 ms, loud: 300 of 50 ms", shares::neighbour),
    scenario("weights", "weights 3:1, 10 ms against 40 ms", shares::weights),
    scenario("hog", "5 ms beside transactions idle for 100 ms", shares::hog),
    scenario("quota-delay", "50 a second and 100 at once, delayed", quota::delayed),
    scenario("quota-reject", "50 a second and 100 at once, rejected", quota::rejected),
    scenario("sharing", "reads, 5 % of 200 ms, 64 clients, pool of 4", flood::sprinkled),
    scenario("cost", "-S simple, 16 clients, no contention", cost),
];

pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    SCENARIOS.iter().map(|scenario| scenario.name)
}

/// False if a bar was missed that had to be met.
pub(crate) fn run(
    stage: &Stage,
    machine: &Machine,
    progress: &Progress,
    arguments: &OverloadArguments,
) -> Result<bool> {
    let OverloadArguments { names, sharing, how } = arguments;
    let mut lines = Vec::new();
    let mut notes = Vec::new();
    let is_chosen = |one: &Scenario| names.is_empty() || names.iter().any(|name| name == one.name);
    for scenario in SCENARIOS.iter().filter(|one| is_chosen(one)) {
        let bench = Bench {
            stage,
            progress,
            name: scenario.name,
            is_sharing: *sharing,
            notes: RefCell::default(),
        };
        let found = (scenario.measure)(&bench)?;
        for line in &found {
            progress.line(&format!("{}: {}", scenario.name, line.summary()));
        }
        lines.extend(found.into_iter().map(|line| (scenario.title, line)));
        notes.extend(bench.notes.into_inner());
    }
    let method = format!(
        "{}; load before the run {:.2}{}{}.",
        machine.facts.join(", "),
        machine.load,
        if how.quick { "; quick" } else { "" },
        if *sharing { "; sharing" } else { "" }
    );
    line::print(&method, &lines, &notes);
    if let Some(document) = &how.write {
        report::insert(document, "overload", &line::markdown(&method, &lines, &notes))?;
    }
    Ok(!how.enforce || lines.iter().all(|(_, line)| line.is_met()))
}

/// What a scenario measures with.
struct Bench<'a> {
    stage: &'a Stage,
    progress: &'a Progress,
    name: &'static str,
    /// Clients of pgweir share servers.
    is_sharing: bool,
    /// Who was not measured, and why.
    notes: RefCell<Vec<String>>,
}

impl Bench<'_> {
    fn is_quick(&self) -> bool {
        self.stage.plan.is_quick
    }

    /// Lets the crowds loose on Postgres itself: what is possible.
    fn direct(&self, load: &Load<'_>) -> Result<Vec<Log>> {
        self.progress.step(self.name, "Postgres itself");
        load.run(self.stage.postgres_port())
    }

    /// Measures both proxies, each just started, one after the other. That one fails is no error:
    /// its figures are missing, and a note says why.
    fn both<T>(&self, setup: &Setup, measure: impl Fn(&Running) -> Result<T>) -> Result<Pair<T>> {
        Ok(Pair {
            pgweir: self.one(if self.is_sharing { SHARING } else { PGWEIR }, setup, &measure)?,
            pgbouncer: self.one(PGBOUNCER, setup, &measure)?,
        })
    }

    fn one<T>(
        &self,
        contestant: Contestant,
        setup: &Setup,
        measure: impl Fn(&Running) -> Result<T>,
    ) -> Result<Option<T>> {
        self.progress.step(self.name, &contestant.to_string());
        let outcome = Running::start(self.stage, contestant, setup).and_then(|mut running| {
            let measured = measure(&running);
            // If it is gone, its own last words say more than what its clients saw.
            running.must_run()?;
            measured
        });
        interrupt::check()?;
        outcome.map(Some).or_else(|error| {
            self.note(contestant, &error.to_string());
            Ok(None)
        })
    }

    fn note(&self, contestant: Contestant, failure: &str) {
        // A place that is gone when the note is read.
        let failure = failure.replace(&format!("{}/", self.stage.directory().display()), "");
        let note = format!("{}: {contestant} not measured ({failure})", self.name);
        self.notes.borrow_mut().push(note);
    }
}

/// A pool of so many servers for everybody, and nothing else out of the ordinary.
fn pool_of(pool_size: u32) -> Setup {
    let sharing = SLEEPERS_SHARE;
    Setup { auth: Auth::Trust, pool_size, is_shared: true, more_pools: 0, sharing, own: "" }
}

/// CPU time of a query that nobody has to wait for, against a build from before.
fn cost(bench: &Bench<'_>) -> Result<Vec<Line>> {
    let outcome = contest::run(bench.stage, &COST, bench.progress)?;
    for entry in &outcome.entries {
        if let Some(failure) = &entry.failure {
            bench.note(entry.contestant, failure);
        }
    }
    let of_before = |whose| {
        let (entry, before) = outcome.entry(whose).zip(outcome.entry(PGWEIR_BEFORE))?;
        Some(Spread::of_ratios(entry, before)?.median)
    };
    let costs = |whose| Some(Spread::of_costs(outcome.entry(whose)?)?.median);
    let pair = |of: &dyn Fn(Contestant) -> Option<f64>| Pair {
        pgweir: of(PGWEIR),
        pgbouncer: of(PGBOUNCER),
    };
    Ok(vec![
        Line::new("CPU time", Unit::Microseconds, pair(&costs)),
        Line::new("of pgweir's before", Unit::Times, pair(&of_before))
            .bar(Some(Bar::at_most(1.03))),
    ])
}
