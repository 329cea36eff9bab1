//! A row's contest: everybody starts, then takes turns, round after round.
//!
//! Turns and not blocks: when the machine slows down for ten seconds, it does so for all of them,
//! and a ratio taken within a round barely notices.

use crate::Result;
use crate::contestants::{Contestant, Running};
use crate::interrupt;
use crate::progress::Progress;
use crate::rows::{Row, Work};
use crate::stage::Stage;
use crate::work::{self, Sample};

/// What one contestant did in a row.
pub(crate) struct Entry {
    pub(crate) contestant: Contestant,
    /// One per round, until a failure.
    pub(crate) samples: Vec<Sample>,
    /// Why it did not take part, or not to the end.
    pub(crate) failure: Option<String>,
    running: Option<Running>,
}

pub(crate) struct Outcome {
    pub(crate) row: &'static Row,
    pub(crate) entries: Vec<Entry>,
}

impl Outcome {
    /// The entry of a contestant that took part to the end.
    pub(crate) fn entry(&self, contestant: Contestant) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.contestant == contestant && entry.failure.is_none())
    }
}

/// A contestant's failure is part of the outcome; only an interruption is an error.
pub(crate) fn run(stage: &Stage, row: &'static Row, progress: &Progress) -> Result<Outcome> {
    let mut entries: Vec<Entry> = row.contestants.iter().map(|one| Entry::new(*one)).collect();
    for entry in &mut entries {
        progress.step(row.name, &format!("starting {}", entry.contestant));
        entry.attempt(|entry| entry.prepare(stage, row))?;
    }
    let rounds = stage.plan.rounds(row.work);
    for round in 1..=rounds {
        for entry in &mut entries {
            let step = format!("round {round} of {rounds}, {}", entry.contestant);
            progress.step(row.name, &step);
            entry.attempt(|entry| entry.measure(stage, row))?;
        }
    }
    for entry in &mut entries {
        entry.running = None;
    }
    Ok(Outcome { row, entries })
}

impl Entry {
    fn new(contestant: Contestant) -> Self {
        Self { contestant, samples: Vec::new(), failure: None, running: None }
    }

    fn attempt(&mut self, action: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        if self.failure.is_some() {
            return Ok(());
        }
        if let Err(error) = action(self) {
            interrupt::check()?;
            // If it is gone, its own last words say more than what its clients saw.
            let death = self.running.take().and_then(|mut running| running.must_run().err());
            self.failure = Some(death.unwrap_or(error).to_string());
        }
        Ok(())
    }

    fn prepare(&mut self, stage: &Stage, row: &Row) -> Result<()> {
        let running = Running::start(stage, self.contestant, &row.setup())?;
        work::warm_up(stage, row, &running)?;
        self.running = Some(running);
        Ok(())
    }

    fn measure(&mut self, stage: &Stage, row: &Row) -> Result<()> {
        // Memory that clients took is not always given back, so each look needs a new process.
        let fresh = matches!(row.work, Work::IdleClients) && !self.samples.is_empty();
        if fresh {
            self.running = Some(Running::start(stage, self.contestant, &row.setup())?);
        }
        let running = self.running.as_ref().ok_or("it was not started")?;
        self.samples.push(work::measure(stage, row, running)?);
        Ok(())
    }
}
