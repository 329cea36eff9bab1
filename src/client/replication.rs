//! Clients that replicate: each has a server of its own, opened for it with `replication` set, and bytes go
//! both ways as they are until one side closes.
//!
//! The place of that server is a lease like any other, so that all limits hold and everybody sees it. The
//! server that was in that place is closed; what comes after the replication is a new one, too.

use super::authenticate::Exchange;
use super::greet::Wanted;
use super::login::{Frontend, Guest, Place};
use super::trial::{self, Untold};
use crate::control::roster::{Here, Key, Order, Presence, Replication, pid_of};
use crate::end::{End, EndReason, Phase};
use crate::net::flow::Flow;
use crate::net::stream::Stream;
use crate::net::worker::Worker;
use crate::pool::gate::Pass;
use crate::pool::welcome::APPLICATION_NAME;
use crate::pool::{Lease, Pool};
use crate::server::connect::ConnectError;
use crate::session::settings::Settings;
use crate::wire::encode;
use crate::wire::frame::{Head, MESSAGE_MAX};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// How long a client gets to take its last message.
const LAST_WORDS_MAX: Duration = Duration::from_secs(2);

/// What a startup packet asks for, as Postgres reads it: `database`, or a boolean however it is cut.
///
/// # Errors
///
/// When it is neither.
pub(super) fn asked(params: &[(String, String)]) -> Result<Option<Replication>, End> {
    let Some((_, value)) = params.iter().rfind(|(name, _)| name == "replication") else {
        return Ok(None);
    };
    let word = value.to_ascii_lowercase();
    let is = |name: &str, least: usize| word.len() >= least && name.starts_with(&word);
    if value == "database" {
        Ok(Some(Replication::Logical))
    } else if is("true", 1) || is("yes", 1) || is("on", 2) || word == "1" {
        Ok(Some(Replication::Physical))
    } else if is("false", 1) || is("no", 1) || is("off", 2) || word == "0" {
        Ok(None)
    } else {
        let message = format!("invalid value for parameter \"replication\": \"{value}\"");
        Err(End::from(EndReason::SettingRefused).with_message(message))
    }
}

/// A lease that ends with this.
struct Held {
    pool: Arc<Pool>,
    worker: Rc<Worker>,
    lease: Option<Lease>,
}

impl Held {
    fn end(&mut self) {
        if let Some(lease) = self.lease.take() {
            self.pool.end_replication(&self.worker, lease);
        }
    }

    fn server(&mut self) -> &mut Stream {
        self.lease.as_mut().expect("it has a server until it ends").conn.stream()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.end();
    }
}

/// A client that may replicate, while its stream is lent to the login.
pub(super) struct Admitted {
    pub(super) here: Here,
    passes: [Pass; 3],
    place: Place,
    held: Held,
    early: Vec<u8>,
}

/// A client that replicates, and its server.
pub struct Replicating {
    here: Here,
    stream: Stream,
    held: Held,
    up: Flow,
    down: Flow,
    _counted: ([Pass; 3], Place),
}

impl Admitted {
    pub(super) fn over(self, stream: Stream) -> Replicating {
        let Self { here, passes, place, held, early } = self;
        let (up, down) = (Flow::holding(early), Flow::default());
        Replicating { here, stream, held, up, down, _counted: (passes, place) }
    }
}

impl Frontend {
    /// Takes a place in the pool, opens a server there that replicates, and lets the client in.
    pub(super) async fn replicate(
        &self,
        worker: &Rc<Worker>,
        mut exchange: Exchange<'_>,
        (wanted, kind): (&Wanted, Replication),
        Guest { peer, pass, turn }: Guest,
    ) -> Result<Admitted, End> {
        let (client, since) = (self.next_client(), worker.wake());
        let mut turn = Some(turn);
        let (place, [by_database, by_user], lease) = loop {
            let (place, by, _) = self.place(worker.wake(), wanted, peer)?;
            drop(turn.take());
            let (terms, member) = (&place.terms, place.membership.member);
            if !terms.replication {
                return Err(EndReason::ReplicationDenied.into());
            }
            let deadline = terms.timeouts.query_wait_timeout.map(|limit| since + limit);
            let lease = trial::lease(worker, (client, member), terms, deadline);
            match exchange.attend(lease).await? {
                Ok(lease) => break (place, by, lease),
                Err(Untold::Ended(end)) => return Err(end),
                // A reload may have given it another pool.
                Err(Untold::AskAgain) => {}
            }
        };
        let (terms, member) = (&place.terms, place.membership.member);
        let pool = Arc::clone(&terms.pool);
        let opened = pool.replicate(worker, lease, &wanted.params);
        let (lease, reported) = exchange.attend(opened).await?.map_err(refused)?;
        let held = Held { pool: Arc::clone(&pool), worker: Rc::clone(worker), lease: Some(lease) };
        let mut settings = Settings::default();
        for (name, value) in &reported {
            encode::parameter_status(&mut exchange.out, name, value);
            if name == APPLICATION_NAME {
                settings.set(name, value);
            }
        }
        let key = Key::new(wanted.minor);
        let about = (client, wanted.user.as_str());
        let (ends, place_of) = ((peer, exchange.stream.near()), (&pool, member.class));
        let presence = Presence::new(about, ends, place_of, &Arc::new(settings), worker.wake());
        encode::backend_key_data(&mut exchange.out, pid_of(client), key.shown());
        let here = self.roster.enter(presence.replicating(kind), key);
        encode::ready(&mut exchange.out, b'I');
        exchange.flush().await?;
        pool.stats.of(worker.id).logins.add(1);
        let passes = [pass, by_database, by_user];
        Ok(Admitted { here, passes, place, held, early: exchange.buffer })
    }
}

/// In Postgres' own words, if it said any.
fn refused(error: ConnectError) -> End {
    match error {
        ConnectError::Refused(fields) => End::from(EndReason::ServerRefused).verbatim(*fields),
        error => {
            tracing::warn!("cannot open a server that replicates: {error}");
            EndReason::ServerDown.into()
        }
    }
}

impl Replicating {
    /// Serves the client until it ends.
    pub async fn serve(mut self) {
        let end = std::future::poll_fn(|cx| {
            self.held.worker.wake();
            self.here.is_served_by(cx.waker());
            match self.poll(cx) {
                Ok(()) => Poll::Pending,
                Err(end) => Poll::Ready(end),
            }
        });
        let end = end.await;
        self.finish(&end).await;
    }

    /// Moves what can be moved now. `Err`: it is over.
    fn poll(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        loop {
            match self.here.order() {
                Some(Order::Leave(reason) | Order::Quit(reason)) => return Err(reason.into()),
                Some(Order::Halt) => {
                    self.here.halts();
                    return Ok(());
                }
                // It stays with this process, and so does its server.
                None | Some(Order::Move) => {}
            }
            let has_sent = self.poll_up(cx)?;
            let has_got = self.poll_down(cx)?;
            if !has_sent && !has_got {
                return Ok(());
            }
        }
    }

    /// From the client to its server. Answers whether there may be more.
    fn poll_up(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let Self { up, stream, held, .. } = self;
        let worker = Rc::clone(&held.worker);
        if up.unseen().is_empty() && !up.is_pending() {
            match up.poll_fill(stream, &worker, cx) {
                Poll::Pending => return Ok(false),
                Poll::Ready(Ok(n @ 1..)) => {
                    held.pool.stats.of(worker.id).received.add(n as u64);
                }
                Poll::Ready(Ok(0) | Err(_)) => return Err(EndReason::ClientGone.into()),
            }
        }
        up.forward(up.unseen().len(), 0);
        // Where the server takes no more, what it said last is still to be read: that shows there.
        Ok(matches!(up.poll_flush(held.server(), &worker, cx), Poll::Ready(Ok(()))))
    }

    /// From the server to its client, message by message: so that it can be told why it ends.
    fn poll_down(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let Self { down, stream, held, .. } = self;
        let worker = Rc::clone(&held.worker);
        if !down.is_pending() {
            match down.poll_fill(held.server(), &worker, cx) {
                Poll::Pending => return Ok(false),
                Poll::Ready(Ok(n @ 1..)) => {
                    held.pool.stats.of(worker.id).sent.add(n as u64);
                }
                // It has said why itself, if there was anything to say.
                Poll::Ready(Ok(0) | Err(_)) => return Err(EndReason::ReplicationOver.into()),
            }
            while down.forward_rest()
                && let Some(head) = Head::parse(down.unseen(), MESSAGE_MAX)
                    .map_err(|_| End::from(EndReason::ServerLost))?
            {
                let here = head.total.min(down.unseen().len());
                down.forward(here, head.total - here);
            }
        }
        match down.poll_flush(stream, &worker, cx) {
            Poll::Ready(Err(_)) => Err(EndReason::ClientGone.into()),
            Poll::Ready(Ok(())) => Ok(true),
            Poll::Pending => Ok(false),
        }
    }

    async fn finish(mut self, end: &End) {
        let Self { here, stream, held, up, down, .. } = &mut self;
        held.end();
        let worker = &held.worker;
        if end.is_told() && !down.is_mid_message() {
            let fields = end.fields(Phase::Closing);
            down.slip_in(|out| encode::error(out, &fields));
            let told = std::future::poll_fn(|cx| down.poll_flush(stream, worker, cx));
            let _late = worker.within(Some(LAST_WORDS_MAX), told).await;
        }
        down.clear(worker);
        up.clear(worker);
        worker.cells.closes.count(end.reason);
        tracing::info!(
            client = here.id.0,
            database = held.pool.database,
            user = here.user,
            address = %here.peer,
            reason = end.reason.account().label,
            age_s = worker.wake().saturating_duration_since(here.connected_at).as_secs(),
            "replication ended"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::asked;
    use crate::control::roster::Replication;

    #[test]
    fn the_parameter_is_read_as_postgres_reads_it() {
        let read = |value: &str| asked(&[("replication".to_owned(), value.to_owned())]).ok();
        for value in ["true", "on", "yes", "1", "T", "tru", "Y"] {
            assert_eq!(read(value), Some(Some(Replication::Physical)), "{value}");
        }
        assert_eq!(read("database"), Some(Some(Replication::Logical)));
        for value in ["false", "off", "of", "no", "0", "F"] {
            assert_eq!(read(value), Some(None), "{value}");
        }
        for value in ["", "o", "2", "truely", "databases"] {
            assert_eq!(read(value), None, "{value}");
        }
    }
}
