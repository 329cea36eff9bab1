//! A client that checks everything it gets, and what all of them found.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use tokio::time::sleep;

use super::exchange::{self, Exchange, Want};
use crate::harness::Address;
use crate::harness::frames::{Frame, cancel_message, excerpt};
use crate::harness::login::Login;
use crate::harness::proxy::Target;
use crate::harness::random::one_in;
use crate::harness::time::within;
use crate::harness::wire::{Client, Wire};

/// Longer than any wait that the proxy grants, and than a restart of Postgres.
const STUCK_AFTER: Duration = Duration::from_mins(1);

/// Errors that a client may get because something broke that was broken on purpose.
const DISTURBANCES: &[&str] =
    &["57014", "57P01", "57P02", "57P03", "08006", "08007", "53300", "25P02"];

/// What a connected actor has around it.
pub(super) struct Surroundings {
    pub(super) tally: Arc<Tally>,
    /// Where it may connect: by a good network or a bad one.
    pub(super) addresses: Vec<Address>,
    /// So many parties of clients have settings of their own.
    pub(super) parties: u64,
}

/// What all actors found.
pub(super) struct Tally {
    wanted: u64,
    right: AtomicU64,
    wrong: Mutex<Vec<String>>,
    disturbed: Mutex<BTreeMap<String, u64>>,
    /// Keys of sessions that have ended: a cancel with one of them must hit nobody.
    old_keys: Mutex<VecDeque<(u32, Vec<u8>)>>,
}

impl Tally {
    pub(super) fn new(wanted: u64) -> Self {
        Self {
            wanted,
            right: AtomicU64::new(0),
            wrong: Mutex::default(),
            disturbed: Mutex::default(),
            old_keys: Mutex::default(),
        }
    }

    /// How many right answers are wanted.
    pub(super) const fn wanted(&self) -> u64 {
        self.wanted
    }

    /// How many there were.
    pub(super) fn right(&self) -> u64 {
        self.right.load(Ordering::Relaxed)
    }

    pub(super) fn done(&self) -> bool {
        self.right() >= self.wanted || !self.wrong().is_empty()
    }

    pub(super) fn wrong(&self) -> Vec<String> {
        self.wrong.lock().expect("no actor panics").clone()
    }

    fn report(&self, what: String) {
        self.wrong.lock().expect("no actor panics").push(what);
    }

    fn count(&self, disturbance: &str) {
        let mut counts = self.disturbed.lock().expect("no actor panics");
        *counts.entry(disturbance.to_owned()).or_default() += 1;
    }

    fn retire(&self, pid: u32, secret: Vec<u8>) {
        let mut keys = self.old_keys.lock().expect("no actor panics");
        keys.push_back((pid, secret));
        if keys.len() > 100 {
            keys.pop_front();
        }
    }

    fn old_key(&self) -> Option<(u32, Vec<u8>)> {
        self.old_keys.lock().expect("no actor panics").front().cloned()
    }

    pub(super) fn summary(&self) -> String {
        let right = self.right();
        let disturbed = self.disturbed.lock().expect("no actor panics");
        format!("{right} right answers, disturbed: {disturbed:?}")
    }

    pub(super) fn assert_clean(&self) {
        let wrong = self.wrong();
        let first = &wrong[..wrong.len().min(10)];
        assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), first.join("\n"));
    }
}

/// How an exchange ended, when not with the right answer.
enum Trouble {
    /// The connection is gone.
    Closed,
    /// An error of the permitted kind; the session goes on, perhaps in a failed transaction.
    Disturbed,
    /// What must never happen; it has been reported.
    Wrong,
}

impl From<io::Error> for Trouble {
    fn from(_: io::Error) -> Self {
        Self::Closed
    }
}

/// Connects, asks, checks and reconnects until enough was checked, or something was wrong.
pub(super) async fn actor(around: Surroundings, id: u64, mut random: StdRng) {
    let mut progress = 0_u64;
    while !around.tally.done() {
        let address = &around.addresses[random.random_range(0..around.addresses.len())];
        let party = id.checked_rem(around.parties);
        let party = party.map_or_else(String::new, |party| format!("party {party}"));
        let Some(client) = log_in(&around.tally, address, &party).await else {
            sleep(Duration::from_millis(20)).await;
            continue;
        };
        let (pid, secret) = (client.pid, client.secret.clone());
        let mut session = Session {
            around: &around,
            client,
            id,
            party,
            random: &mut random,
            progress,
            cancelled: false,
        };
        session.live().await;
        progress = session.progress;
        around.tally.retire(pid, secret);
    }
    if progress == 0 && around.tally.wrong().is_empty() {
        around.tally.report(format!("client {id} never got an answer"));
    }
}

async fn log_in(tally: &Tally, address: &Address, party: &str) -> Option<Client> {
    let attempt = within(STUCK_AFTER, async {
        let wire = Wire::try_connect(address).await.ok()?;
        let login = Login::to(address).with("application_name", party);
        Some(login.attempt_over(wire).await)
    });
    match attempt.await {
        None => tally.report(format!("a login was not answered within {STUCK_AFTER:?}")),
        Some(None) => tally.count("connection refused"),
        Some(Some(Ok(client))) => return Some(client),
        Some(Some(Err(refused))) => match refused.frames.iter().find(|frame| frame.tag == b'E') {
            Some(error) if permitted(error) => tally.count(&format!("login {}", error.code())),
            Some(error) => tally.report(format!("a login was refused with {error:?}")),
            None => tally.count("login cut"),
        },
    }
    None
}

fn permitted(error: &Frame) -> bool {
    let code = error.code();
    let of_pgbouncer = Target::of_run() == Target::PgBouncer && code == "08P01";
    DISTURBANCES.contains(&code.as_str()) || of_pgbouncer
}

struct Session<'a> {
    around: &'a Surroundings,
    client: Client,
    id: u64,
    /// What it has set.
    party: String,
    random: &'a mut StdRng,
    progress: u64,
    /// A cancel was sent for this exchange or the one before.
    cancelled: bool,
}

impl Session<'_> {
    async fn live(&mut self) {
        while !self.around.tally.done() {
            let steps = match self.random.random_range(0..200) {
                0..2 => return,
                2..5 => return self.leave_in_the_middle().await,
                5..8 => {
                    if self.ask_and_cancel().await.is_err() {
                        return;
                    }
                    continue;
                }
                8..10 => {
                    self.cancel_with_an_old_key().await;
                    continue;
                }
                // PgBouncer is known to fail this one at once (torture matrix, row 1).
                10..14 if Target::of_run() != Target::PgBouncer => {
                    let name = if one_in(self.random, 2) { "" } else { "same_for_all" };
                    let mut steps = exchange::prepared(&self.token(), name);
                    steps.extend((!name.is_empty()).then(|| exchange::close(name)));
                    steps
                }
                14..40 => exchange::transaction(&self.token(), self.random),
                _ => vec![exchange::alone(&self.token(), &self.party, self.random)],
            };
            if self.run(steps).await.is_err() {
                return;
            }
        }
    }

    /// Different for every question of every client.
    fn token(&mut self) -> String {
        format!("tk{}x{:x}", self.id, self.random.random::<u64>())
    }

    /// Asks step by step; an error is for the session to survive, unless it closes.
    async fn run(&mut self, steps: Vec<Exchange>) -> Result<(), Trouble> {
        for step in steps {
            match self.ask(&step).await {
                Ok(()) => {}
                Err(Trouble::Disturbed) => return self.recover().await,
                Err(trouble) => return Err(trouble),
            }
            self.cancelled = false;
        }
        Ok(())
    }

    async fn ask(&mut self, step: &Exchange) -> Result<(), Trouble> {
        self.client.wire.try_send(&step.batch.0).await?;
        self.check(step).await
    }

    async fn check(&mut self, step: &Exchange) -> Result<(), Trouble> {
        let mut disturbed = false;
        for answer in &step.answers {
            disturbed |= !self.check_answer(answer, disturbed).await?;
        }
        if disturbed {
            return Err(Trouble::Disturbed);
        }
        self.progress += 1;
        self.around.tally.right.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// True when the answer is right, false when it ends in a permitted error.
    async fn check_answer(&mut self, answer: &[Want], disturbed: bool) -> Result<bool, Trouble> {
        let mut wanted = answer.iter();
        let mut next = wanted.next();
        let mut right = true;
        loop {
            let frame = self.frame().await?;
            let is_met = right && next.is_some_and(|want| want.is_met_by(&frame));
            match frame.tag {
                _ if is_met => {
                    next = wanted.next();
                    if next.is_none() {
                        return Ok(true);
                    }
                }
                b'Z' if !right => return Ok(false),
                // A later answer of a pipeline may find its session in another state.
                b'Z' if disturbed && next.is_some_and(|want| want.is_met_by(&frame)) => {
                    return Ok(false);
                }
                b'E' if self.may_get(&frame) => right = false,
                // Of the session, not of the answer.
                b'S' => {}
                b'N' if !frame.message().starts_with("tk") => {}
                _ => return Err(self.report_wrong(next, &frame)),
            }
        }
    }

    fn may_get(&self, error: &Frame) -> bool {
        // Someone else's cancel is as bad as someone else's answer.
        let cancelled = error.message().contains("user request");
        self.around.tally.count(&error.shown());
        permitted(error) && (!cancelled || self.cancelled)
    }

    fn report_wrong(&self, wanted: Option<&Want>, got: &Frame) -> Trouble {
        let wanted = wanted.map_or_else(|| "nothing".to_owned(), Want::shown);
        let id = self.id;
        let body = excerpt(&got.body);
        self.around.tally.report(format!("client {id} wanted {wanted}, got {got:?}: {body}"));
        Trouble::Wrong
    }

    async fn frame(&mut self) -> Result<Frame, Trouble> {
        match within(STUCK_AFTER, self.client.wire.try_frame()).await {
            Some(Ok(Some(frame))) => Ok(frame),
            Some(Ok(None) | Err(_)) => {
                self.around.tally.count("session cut");
                Err(Trouble::Closed)
            }
            None => {
                let id = self.id;
                self.around.tally.report(format!("client {id} waited {STUCK_AFTER:?} in vain"));
                Err(Trouble::Wrong)
            }
        }
    }

    /// After an error: out of any transaction, whatever that answers.
    async fn recover(&mut self) -> Result<(), Trouble> {
        self.client.wire.try_send(&exchange::rollback().0).await?;
        loop {
            let frame = self.frame().await?;
            match frame.tag {
                b'Z' => return Ok(()),
                b'C' | b'N' | b'S' => {}
                b'E' if self.may_get(&frame) => {}
                _ => return Err(self.report_wrong(None, &frame)),
            }
        }
    }

    /// Sends a part of a question, or all of it, and is gone.
    async fn leave_in_the_middle(&mut self) {
        let token = self.token();
        let batch = exchange::alone(&token, &self.party, self.random).batch;
        let length = self.random.random_range(1..=batch.0.len());
        self.client.wire.try_send(&batch.0[..length]).await.ok();
        if one_in(self.random, 2) {
            sleep(Duration::from_millis(self.random.random_range(0..20))).await;
        }
    }

    async fn ask_and_cancel(&mut self) -> Result<(), Trouble> {
        let token = self.token();
        let step = exchange::slow(&token);
        self.client.wire.try_send(&step.batch.0).await?;
        sleep(Duration::from_millis(self.random.random_range(0..30))).await;
        self.cancelled = true;
        let (pid, secret) = (self.client.pid, self.client.secret.clone());
        self.cancel(pid, &secret).await;
        match self.check(&step).await {
            Ok(()) => Ok(()),
            Err(Trouble::Disturbed) => self.recover().await,
            Err(trouble) => Err(trouble),
        }
    }

    async fn cancel_with_an_old_key(&mut self) {
        if let Some((pid, secret)) = self.around.tally.old_key() {
            self.cancel(pid, &secret).await;
        }
    }

    async fn cancel(&self, pid: u32, secret: &[u8]) {
        let Ok(mut wire) = Wire::try_connect(&self.client.address).await else { return };
        if wire.try_send(&cancel_message(pid, secret)).await.is_ok() {
            // Until it closes: then the cancel has been done.
            drop(within(STUCK_AFTER, wire.try_byte()).await);
        }
    }
}
