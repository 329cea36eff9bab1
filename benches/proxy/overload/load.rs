//! Crowds let loose on a port, all at once, and what became of each.

use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until};

use super::crowd::{Client, Crowd};
use super::tally::Log;
use crate::Result;
use crate::interrupt;
use crate::postgres::Postgres;

/// So many log in at the same time before it begins: a storm of logins is not what is measured.
const LOGINS_AT_ONCE: usize = 32;
/// Between two looks whether somebody pressed Ctrl-C.
const GLANCE: Duration = Duration::from_millis(50);

pub(crate) struct Load<'a> {
    pub(crate) crowds: &'a [Crowd],
    pub(crate) length: Duration,
    pub(crate) freeze: Option<Freeze<'a>>,
}

/// Postgres stands still for a while.
#[derive(Clone, Copy)]
pub(crate) struct Freeze<'a> {
    pub(crate) postgres: &'a Postgres,
    pub(crate) from: Duration,
    pub(crate) until: Duration,
}

impl Load<'_> {
    /// A log for each crowd. Everybody has logged in when the time begins to count.
    pub(crate) fn run(&self, port: u16) -> Result<Vec<Log>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            tokio::select! {
                logs = self.play(port) => logs,
                error = interruption() => Err(error),
            }
        })
    }

    async fn play(&self, port: u16) -> Result<Vec<Log>> {
        let members = self
            .crowds
            .iter()
            .enumerate()
            .flat_map(|(crowd, of)| (0..of.clients).map(move |_| (crowd, *of)));
        let logins = members.zip(0..).map(|((crowd, of), number)| async move {
            Ok::<_, std::io::Error>((crowd, Client::log_in(of, port, number).await?))
        });
        let clients: Vec<(usize, Client)> =
            stream::iter(logins).buffered(LOGINS_AT_ONCE).try_collect().await?;

        let start = Instant::now();
        let end = start + self.length;
        let mut tasks = JoinSet::new();
        for (crowd, client) in clients {
            tasks.spawn(async move { (crowd, client.live(start, end).await) });
        }
        if let Some(Freeze { postgres, from, until }) = self.freeze {
            sleep_until((start + from).into()).await;
            let _frozen = postgres.freeze();
            sleep_until((start + until).into()).await;
        }
        let mut logs: Vec<Log> = self.crowds.iter().map(|_| Log::default()).collect();
        while let Some(ended) = tasks.join_next().await {
            let (crowd, log) = ended?;
            logs[crowd].append(log);
        }
        Ok(logs)
    }
}

async fn interruption() -> Box<dyn std::error::Error> {
    loop {
        sleep(GLANCE).await;
        if let Err(error) = interrupt::check() {
            return error;
        }
    }
}
