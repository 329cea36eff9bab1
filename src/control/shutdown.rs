//! How the process ends: who is told to leave, and when.
//!
//! Nobody new comes in. Those who are in end at their transaction boundary: as they are told bit by
//! bit ([`How::WaitForClients`]), all together ([`How::WaitForServers`]), or wherever they are
//! ([`How::Now`]). Told bit by bit, because many drivers throw a whole pool of connections away when
//! one of them is ended, and come back at once, elsewhere.

use super::roster::{Order, Presence, Roster};
use crate::config::Process;
use crate::end::EndReason;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How often it is seen to that those leave who should.
const LOOK: Duration = Duration::from_millis(50);

/// How long those who are ended wherever they are get to take their last message.
const LAST_WORDS_MAX: Duration = Duration::from_secs(3);

/// How the process ends, the most patient way first. The names are PgBouncer's.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum How {
    /// Clients may leave by themselves; they are told to, evenly over `drain_time`.
    WaitForClients,
    /// Clients end when they hold no server.
    WaitForServers,
    Now,
}

impl How {
    /// As the log calls it.
    pub fn label(self) -> &'static str {
        match self {
            Self::WaitForClients => "wait_for_clients",
            Self::WaitForServers => "wait_for_servers",
            Self::Now => "now",
        }
    }
}

/// How long an ending may take.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Patience {
    /// Until everybody was told, when clients may leave by themselves.
    pub drain_time: Duration,
    /// Until those who are still in are cut off.
    pub drain_timeout: Duration,
}

impl Patience {
    pub fn of(process: &Process) -> Self {
        Self { drain_time: process.drain_time, drain_timeout: process.drain_timeout }
    }
}

/// The wish that the process ends. It can become more urgent, and is never taken back.
pub struct Shutdown(watch::Sender<Option<How>>);

impl Default for Shutdown {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl Shutdown {
    /// Asks for the end. Asked once more, in whatever way, it does not wait any longer.
    pub fn ask(&self, how: How) {
        self.0.send_modify(|wish| {
            *wish = Some(if wish.is_some() { How::Now } else { how });
        });
    }

    /// Waits until the end is asked for, more urgently than `than` if that is given.
    pub async fn asked(&self, than: Option<How>) -> How {
        let mut wish = self.0.subscribe();
        let wish = wish.wait_for(|wish| *wish > than).await.map(|wish| *wish);
        // The sender is `self`: it is there.
        wish.ok().flatten().unwrap_or(How::Now)
    }
}

/// Sees everybody out, and answers how many had to be cut off. Those who are on their way here from a process
/// before are seen out as they come: this ends when that one has ended, which is told to (`end_before`) by
/// whoever calls this.
pub async fn see_out(
    roster: &Roster,
    shutdown: &Shutdown,
    how: How,
    patience: Patience,
    clock: impl Fn() -> Instant,
) -> usize {
    let began = clock();
    let cut_off_at = began + patience.drain_timeout;
    let mut how = how;
    // Logins that are nearly through are told as they come in.
    roster.expect(Some(Order::Leave(EndReason::Shutdown)));
    let all = roster.clients().len();
    while how != How::Now {
        let clients = roster.clients();
        if clients.is_empty() && !roster.has_before() {
            return 0;
        }
        let now = clock();
        let untold: Vec<_> = clients.iter().filter(|client| !client.is_leaving()).collect();
        let telling = match how {
            How::WaitForClients => {
                let whole = patience.drain_time;
                let left = (began + whole).saturating_duration_since(now);
                untold.len().saturating_sub(untold_at_most(all, left, whole))
            }
            How::WaitForServers | How::Now => untold.len(),
        };
        tell(&untold[..telling]);
        if now >= cut_off_at {
            break;
        }
        how = tokio::select! {
            () = tokio::time::sleep(LOOK) => how,
            hastier = shutdown.asked(Some(how)) => hastier,
        };
    }
    let cut_off = roster.clients().len();
    roster.end_before(true);
    roster.call_all(Order::Quit(EndReason::Shutdown));
    let last_words_until = clock() + LAST_WORDS_MAX;
    let is_anybody_left = || !roster.clients().is_empty() || roster.has_before();
    while is_anybody_left() && clock() < last_words_until {
        tokio::time::sleep(LOOK).await;
    }
    cut_off
}

/// Ends the sessions of the console, which stay until the last client has gone, and waits for them to take
/// the reason.
pub async fn dismiss_operators(roster: &Roster) {
    const LOOKS: u32 = 20;
    roster.operators().iter().for_each(|operator| operator.dismissed.notify_one());
    for _ in 0..LOOKS {
        if roster.operators().is_empty() {
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn tell(clients: &[&Arc<Presence>]) {
    for client in clients {
        client.call(Order::Leave(EndReason::Shutdown));
    }
}

/// How many of `all` may be untold when `left` of the `whole` time is left.
fn untold_at_most(all: usize, left: Duration, whole: Duration) -> usize {
    if left.is_zero() {
        return 0;
    }
    let of_all = (all as u128 * left.as_nanos()).div_euclid(whole.as_nanos().max(1));
    usize::try_from(of_all).unwrap_or(all).min(all)
}

#[cfg(test)]
mod tests {
    use super::{How, Shutdown, untold_at_most};
    use std::time::Duration;

    #[test]
    fn everybody_is_told_evenly_in_the_time_there_is() {
        let whole = Duration::from_secs(5);
        let after =
            |millis: u64| untold_at_most(1_000, Duration::from_millis(5_000 - millis), whole);
        assert_eq!([after(0), after(50), after(100), after(4_990)], [1_000, 990, 980, 2]);
        assert_eq!(after(5_000), 0);
        assert_eq!(untold_at_most(7, Duration::ZERO, Duration::ZERO), 0, "at once");
    }

    #[tokio::test]
    async fn who_asks_twice_does_not_want_to_wait() {
        let shutdown = Shutdown::default();
        shutdown.ask(How::WaitForClients);
        assert_eq!(shutdown.asked(None).await, How::WaitForClients);
        shutdown.ask(How::WaitForClients);
        assert_eq!(shutdown.asked(Some(How::WaitForClients)).await, How::Now);
    }
}
