//! The thread that asks the console, again and again, and tells what it said. A connection that is lost is
//! made anew.

use super::connection::{Answer, Connection, Trouble};
use super::place::Place;
use super::sample::{Sample, Show};
use super::table::Table;
use crate::base::backoff::Backoff;
use crate::base::ids::WorkerId;
use crate::net::worker::{Worker, within};
use std::collections::BTreeMap;
use std::io;
use std::thread;
use std::time::{Duration, SystemTime};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Between attempts to connect, at first and at most. Somebody is looking, and it is one connection.
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_MOST: Duration = Duration::from_secs(8);

/// What is to be asked, and how often. A change of it is a reason to ask at once.
#[derive(Clone, Debug)]
pub(super) struct Wishes {
    /// Beside [`Show::ALWAYS`]: the first of these that the console has.
    pub(super) also: &'static [Show],
    /// `None`: only when this changes.
    pub(super) interval: Option<Duration>,
}

pub(super) enum News {
    Sample(Box<Sample>),
    Trouble {
        trouble: Trouble,
        retry_in: Duration,
    },
    /// The connection is closed, because nobody wishes anything any more.
    Closed,
    /// The process is to end, by the signal of this number.
    Signal(i32),
}

/// Goes on until the sender of `wishes` is dropped.
pub(super) fn start(
    place: Place,
    wishes: watch::Receiver<Wishes>,
    tell: impl Fn(News) + Clone + Send + 'static,
) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let tell_signal = tell.clone();
    for kind in [SignalKind::hangup(), SignalKind::interrupt(), SignalKind::terminate()] {
        let _entered = runtime.enter();
        let (mut signal, tell) = (signal(kind)?, tell_signal.clone());
        runtime.spawn(async move {
            while signal.recv().await.is_some() {
                tell(News::Signal(kind.as_raw_value()));
            }
        });
    }
    let sampler = Sampler {
        place,
        wishes,
        tell,
        backoff: Backoff::new(RETRY_FIRST, RETRY_MOST),
        connections: 0,
    };
    // Not joined: it may wait for a console that does not answer.
    thread::Builder::new().name("sampler".to_owned()).spawn(move || {
        runtime.block_on(sampler.run());
    })?;
    Ok(())
}

struct Sampler<T> {
    place: Place,
    wishes: watch::Receiver<Wishes>,
    tell: T,
    backoff: Backoff,
    connections: u32,
}

impl<T: Fn(News)> Sampler<T> {
    async fn run(mut self) {
        let worker = Worker::new(WorkerId::MAIN);
        while let Err(trouble) = self.look(&worker).await {
            let retry_in = self.backoff.failed(rand::random());
            (self.tell)(News::Trouble { trouble, retry_in });
            if !self.rest(Some(retry_in)).await {
                break;
            }
        }
        (self.tell)(News::Closed);
    }

    /// One connection, until nobody wishes anything any more.
    async fn look(&mut self, worker: &Worker) -> Result<(), Trouble> {
        let mut session = Session::open(&self.place, worker, self.connections + 1).await?;
        self.connections += 1;
        loop {
            let wishes = self.wishes.borrow_and_update().clone();
            let sample = session.sample(&[wishes.also], worker).await?;
            self.backoff.succeeded();
            (self.tell)(News::Sample(Box::new(sample)));
            if !self.rest(wishes.interval).await {
                session.connection.close().await;
                return Ok(());
            }
        }
    }

    /// Waits for `time`, or until other things are wished. `false`: nothing is, any more.
    async fn rest(&mut self, time: Option<Duration>) -> bool {
        let changed = within(time, self.wishes.changed()).await;
        !matches!(changed, Ok(Err(_)))
    }
}

/// A connection, and what was learned of the console at its other end.
pub(super) struct Session {
    pub(super) connection: Connection,
    number: u32,
    refused: BTreeMap<Show, String>,
}

impl Session {
    pub(super) async fn open(place: &Place, worker: &Worker, number: u32) -> Result<Self, Trouble> {
        let connection = Connection::open(place, worker).await?;
        Ok(Self { connection, number, refused: BTreeMap::new() })
    }

    /// Asks for [`Show::ALWAYS`], and for the first of each of `also` that the console has.
    pub(super) async fn sample(
        &mut self,
        also: &[&[Show]],
        worker: &Worker,
    ) -> Result<Sample, Trouble> {
        let mut tables = BTreeMap::new();
        let always = Show::ALWAYS.iter().map(std::slice::from_ref);
        for choice in always.chain(also.iter().copied()) {
            for show in choice {
                if let Some(table) = self.ask(*show).await? {
                    tables.insert(*show, table);
                    break;
                }
            }
        }
        if self.refused.contains_key(&Show::Pools) {
            return Err(Trouble::NoConsole);
        }
        let (connection, refused) = (self.number, self.refused.clone());
        Ok(Sample { at: worker.wake(), time: SystemTime::now(), connection, tables, refused })
    }

    /// `None`: the console does not have it. It is not asked for that again: PgBouncer logs each time.
    async fn ask(&mut self, show: Show) -> Result<Option<Table>, Trouble> {
        if self.refused.contains_key(&show) {
            return Ok(None);
        }
        Ok(match self.connection.ask(&show.command()).await? {
            Answer::Table(table) => Some(table),
            Answer::Refused(fields) => {
                self.refused.insert(show, fields.message.clone());
                None
            }
        })
    }
}
