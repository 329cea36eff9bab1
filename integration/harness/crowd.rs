//! Many clients that behave as applications do under load: they ask again and again, give up on what
//! takes too long by closing their connection, every other one with a goodbye, and come back.

use std::io;
use std::ops::Range;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::console::Console;
use super::frames::Batch;
use super::login::Login;
use super::random::{Seed, one_in};
use super::time::{Watch, within};
use super::wire::Client;

/// What a client waits, in milliseconds, after an error that left it its session.
const BACKOFF_MS: Range<u64> = 50..150;

#[derive(Clone)]
pub(crate) struct Crowd {
    login: Login,
    clients: u64,
    transaction: Transaction,
    patience: Duration,
    active: Range<Duration>,
    backoff_ms: Range<u64>,
}

#[derive(Clone, Copy)]
pub(crate) enum Transaction {
    /// Begin, do nothing for so long, and commit.
    Idle(Duration),
    Statement(&'static str),
}

impl From<&'static str> for Transaction {
    fn from(sql: &'static str) -> Self {
        Self::Statement(sql)
    }
}

/// What became of a crowd's requests.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// When, counted from the start, each answer came that came in time, and how long it took.
    pub(crate) answers: Vec<(Duration, Duration)>,
    /// Errors that left the client its session.
    pub(crate) refused: usize,
    /// Connections closed, by either side, because there was no answer in time.
    pub(crate) given_up: usize,
}

impl Crowd {
    /// Clients that run `transaction` from the start until `until`, with a patience
    /// of half a second.
    pub(crate) fn new(
        login: &Login,
        clients: u64,
        transaction: impl Into<Transaction>,
        until: Duration,
    ) -> Self {
        let (login, patience) = (login.clone(), Duration::from_millis(500));
        let transaction = transaction.into();
        let active = Duration::ZERO..until;
        Self { login, clients, transaction, patience, active, backoff_ms: BACKOFF_MS }
    }

    /// How long they wait for an answer.
    pub(crate) fn patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// What they wait, in milliseconds, after an error.
    pub(crate) fn backoff(self, backoff_ms: Range<u64>) -> Self {
        Self { backoff_ms, ..self }
    }

    /// When they ask, counted from the start.
    pub(crate) fn active(self, active: Range<Duration>) -> Self {
        Self { active, ..self }
    }
}

impl Tally {
    /// Answers per second.
    pub(crate) fn rate(&self, span: &Range<Duration>) -> f64 {
        let count = self.answers.iter().filter(|(at, _)| span.contains(at)).count();
        f64::from(u32::try_from(count).expect("a test is short"))
            / span.end.saturating_sub(span.start).as_secs_f64()
    }

    /// So long or shorter took this share, in percent, of the answers.
    pub(crate) fn percentile(&self, percent: usize, span: &Range<Duration>) -> Duration {
        let answers = self.answers.iter().filter(|(at, _)| span.contains(at));
        let mut took: Vec<_> = answers.map(|(_, took)| *took).collect();
        took.sort_unstable();
        took.get(took.len() * percent / 100).copied().expect("there are answers")
    }
}

/// Lets all crowds loose at the same time, once everybody has logged in; a tally for each.
pub(crate) async fn unleash(crowds: &[Crowd]) -> Vec<Tally> {
    unleash_while(crowds, async || {}).await
}

/// The same, while something else happens.
pub(crate) async fn unleash_while(crowds: &[Crowd], meanwhile: impl AsyncFnOnce()) -> Vec<Tally> {
    let seed = Seed::of_run();
    let mut members = Vec::new();
    for (number, crowd) in crowds.iter().enumerate() {
        for _ in 0..crowd.clients {
            members.push((number, crowd.clone(), crowd.login.connect().await));
        }
    }
    let watch = Watch::start();
    let mut tasks = JoinSet::new();
    for (actor, (number, crowd, client)) in (0..).zip(members) {
        let random = seed.actor(actor);
        tasks.spawn(async move { (number, crowd.live(client, random, watch).await) });
    }
    meanwhile().await;
    let mut tallies: Vec<Tally> = crowds.iter().map(|_| Tally::default()).collect();
    while let Some(ended) = tasks.join_next().await {
        let (number, mut tally) = ended.expect("a client does not fail");
        let all = &mut tallies[number];
        all.answers.append(&mut tally.answers);
        all.refused += tally.refused;
        all.given_up += tally.given_up;
    }
    tallies
}

impl Crowd {
    async fn live(&self, client: Client, mut random: StdRng, watch: Watch) -> Tally {
        let mut tally = Tally::default();
        let mut session = Some(client);
        sleep(self.active.start.saturating_sub(watch.elapsed())).await;
        while watch.elapsed() < self.active.end {
            let Some(client) = &mut session else {
                session = self.login.attempt().await.ok();
                continue;
            };
            let asked = watch.elapsed();
            let reply = within(self.patience, run(client, self.transaction)).await;
            let took = watch.elapsed().saturating_sub(asked);
            match reply {
                Some(Ok(true)) => tally.answers.push((watch.elapsed(), took)),
                Some(Ok(false)) => {
                    tally.refused += 1;
                    sleep(Duration::from_millis(random.random_range(self.backoff_ms.clone())))
                        .await;
                }
                Some(Err(_)) | None => {
                    tally.given_up += 1;
                    if one_in(&mut random, 2) {
                        let _gone = client.wire.try_send(&Batch::new().terminate().0).await;
                    }
                    session = None;
                }
            }
        }
        tally
    }
}

async fn run(client: &mut Client, transaction: Transaction) -> io::Result<bool> {
    match transaction {
        Transaction::Statement(sql) => ask(client, sql).await,
        Transaction::Idle(time) => {
            if !ask(client, "begin").await? {
                return Ok(false);
            }
            sleep(time).await;
            ask(client, "commit").await
        }
    }
}

/// True if it was answered, false if there was an error and the session goes on.
async fn ask(client: &mut Client, sql: &str) -> io::Result<bool> {
    client.wire.try_send(&Batch::new().query(sql).0).await?;
    let mut answered = true;
    loop {
        let frame = client.wire.try_frame().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        match frame.tag {
            b'E' => answered = false,
            b'Z' => return Ok(answered),
            _ => {}
        }
    }
}

/// How much server time two classes had from the first second to `until`, as the proxy counts it: what a client
/// sees depends on how fast the machine is meanwhile.
pub(crate) async fn server_time(
    console: &mut Console,
    crowds: &[Crowd],
    classes: [&str; 2],
    until: Duration,
) -> [f64; 2] {
    let mut had = [[0.0; 2]; 2];
    let watch = Watch::start();
    unleash_while(crowds, async || {
        for (had, at) in had.iter_mut().zip([Duration::from_secs(1), until]) {
            sleep(at.saturating_sub(watch.elapsed())).await;
            // Both in one answer: on a busy machine a second question would come too late.
            let rows = console.rows("SHOW CLASSES").await;
            for (had, class) in had.iter_mut().zip(classes) {
                let row = rows.iter().find(|row| row["name"] == class).expect("it is used");
                *had = row["server_seconds"].parse().expect("seconds");
            }
        }
    })
    .await;
    [0, 1].map(|class| had[1][class] - had[0][class])
}
