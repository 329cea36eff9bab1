//! Clients that are alike: what they ask for, how long they wait for it, what they do then.

use std::io;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::{sleep, sleep_until, timeout};

use super::tally::{Ending, Log, Request};
use super::wire::{Reply, Session};

/// A login that takes longer is given up, and tried again.
const LOGIN_PATIENCE: Duration = Duration::from_secs(5);

/// What a client waits, in milliseconds, after an error that left it its session: anything in this
/// range, so that those who were refused together do not come back together.
const BACKOFF_MS: std::ops::Range<u64> = 50..150;

#[derive(Clone, Copy)]
pub(crate) struct Crowd {
    pub(crate) user: &'static str,
    pub(crate) clients: u32,
    pub(crate) work: Work,
    /// Without an answer for so long, a client closes its socket and connects anew.
    pub(crate) patience: Duration,
    /// From when until when it asks, counted from the start. What was asked for before the end is
    /// waited for.
    pub(crate) active: (Duration, Duration),
}

/// A transaction, by how long it keeps a server.
#[derive(Clone, Copy)]
pub(crate) enum Work {
    Steady(Duration),
    /// Nine of ten are as short as the first, one is as long as the second.
    Mixed(Duration, Duration),
    /// The client begins a transaction, does nothing for so long, and commits.
    Idle(Duration),
    /// A read that takes next to nothing.
    Read,
    /// Nineteen of twenty are such reads, one is as long as that.
    Reads(Duration),
}

/// One client of a crowd.
pub(crate) struct Client {
    crowd: Crowd,
    port: u16,
    random: StdRng,
    session: Option<Session>,
}

impl Client {
    /// `number` is another one for each client: chance comes from it, the same in every run.
    pub(crate) async fn log_in(crowd: Crowd, port: u16, number: u64) -> io::Result<Self> {
        let session = Some(Session::open(port, crowd.user).await?);
        Ok(Self { crowd, port, random: StdRng::seed_from_u64(number), session })
    }

    /// Until nothing more is to be asked for, or `end`: what is then under way does not count.
    pub(crate) async fn live(mut self, start: Instant, end: Instant) -> Log {
        let mut log = Log::default();
        tokio::select! {
            () = self.ask_on(start, &mut log) => {}
            () = sleep_until(end.into()) => {}
        }
        log
    }

    async fn ask_on(&mut self, start: Instant, log: &mut Log) {
        let (from, until) = self.crowd.active;
        sleep_until((start + from).into()).await;
        while start.elapsed() < until {
            let Some(session) = &mut self.session else {
                log.reconnects.push(start.elapsed());
                self.reconnect().await;
                continue;
            };
            let work = self.crowd.work.draw(&mut self.random);
            let asked = Instant::now();
            let reply = timeout(self.crowd.patience, work.run(session)).await;
            let (at, took) = (start.elapsed(), asked.elapsed());
            let ending = match reply {
                // Timers are coarse: an answer may overtake the one that has run out.
                Ok(Ok(Reply::Done)) if took <= self.crowd.patience => Ending::Answered,
                Ok(Ok(Reply::Refused)) => Ending::Refused,
                Ok(Err(_)) => Ending::Lost,
                Ok(Ok(Reply::Done)) | Err(_) => Ending::GivenUp,
            };
            log.requests.push(Request { at, took, held: work.held(), ending });
            match ending {
                Ending::Answered => {}
                Ending::Refused => self.back_off().await,
                Ending::Lost => self.session = None,
                Ending::GivenUp => {
                    // Half of all drivers.
                    let session = self.session.take().filter(|_| self.random.random());
                    if let Some(session) = session {
                        session.say_goodbye();
                    }
                }
            }
        }
    }

    async fn reconnect(&mut self) {
        match timeout(LOGIN_PATIENCE, Session::open(self.port, self.crowd.user)).await {
            Ok(Ok(session)) => self.session = Some(session),
            Ok(Err(_)) => self.back_off().await,
            Err(_) => {}
        }
    }

    async fn back_off(&mut self) {
        sleep(Duration::from_millis(self.random.random_range(BACKOFF_MS))).await;
    }
}

impl Work {
    /// The next transaction.
    fn draw(self, random: &mut StdRng) -> Self {
        match self {
            Self::Mixed(short, long) => {
                Self::Steady(if random.random_ratio(9, 10) { short } else { long })
            }
            Self::Reads(long) if random.random_ratio(1, 20) => Self::Steady(long),
            Self::Reads(_) => Self::Read,
            Self::Steady(_) | Self::Idle(_) | Self::Read => self,
        }
    }

    /// How long it keeps a server, by what it asks for.
    fn held(self) -> Duration {
        match self {
            Self::Steady(time) | Self::Idle(time) => time,
            Self::Mixed(short, long) => (short * 9 + long) / 10,
            Self::Read => Duration::ZERO,
            Self::Reads(long) => long / 20,
        }
    }

    async fn run(self, session: &mut Session) -> io::Result<Reply> {
        match self {
            Self::Steady(time) | Self::Mixed(time, _) => {
                session.ask(&format!("select pg_sleep({})", time.as_secs_f64())).await
            }
            Self::Read | Self::Reads(_) => session.ask("select 1 + 1").await,
            Self::Idle(time) => {
                if session.ask("begin").await? == Reply::Refused {
                    return Ok(Reply::Refused);
                }
                sleep(time).await;
                session.ask("commit").await
            }
        }
    }
}
