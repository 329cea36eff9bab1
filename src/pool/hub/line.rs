//! Drives the listener connection: opens it, tells it what to listen to, and opens it again when it is
//! lost.

use super::post::{Answer, Asker, Notification};
use super::{Hub, Listener};
use crate::base::backoff::Backoff;
use crate::net::stream::Link;
use crate::net::worker::Worker;
use crate::pool::Pool;
use crate::server::Server;
use crate::server::connect::{ConnectError, Connected};
use crate::server::exchange::Inbox;
use crate::wire::encode;
use crate::wire::error_fields;
use crate::wire::tags::from_server as tags;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// The longest that Postgres may take for a batch. What clients have committed waits for it; longer, and
/// the connection counts as lost.
const BATCH_TIME_MAX: Duration = Duration::from_secs(5);

/// How long to wait after the first failure, and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// What is read at once.
const CHUNK: usize = 16_384;

/// Why a connection is over.
#[derive(Debug, thiserror::Error)]
enum Over {
    /// Nobody listens any more.
    #[error("nobody listens")]
    Idle,
    #[error("{0}")]
    Lost(String),
    #[error("the pool is paused")]
    Paused,
    #[error("the pool leads elsewhere")]
    Redirected,
    #[error("it is to be replaced")]
    Retired,
}

fn lost(why: impl Into<String>) -> Over {
    Over::Lost(why.into())
}

/// A place under the host's limit, until this is dropped.
struct Apart<'a>(&'a Arc<Pool>, &'a Rc<Worker>);

impl<'a> Apart<'a> {
    fn take(pool: &'a Arc<Pool>, worker: &'a Rc<Worker>) -> Option<Self> {
        let (is_taken, action) = pool.host.scheduler.with(|scheduler| {
            let is_taken = scheduler.set_apart(worker.wake());
            (is_taken, scheduler.next_action())
        });
        pool.host.act(worker, action);
        is_taken.then_some(Self(pool, worker))
    }
}

impl Drop for Apart<'_> {
    fn drop(&mut self) {
        let Self(pool, worker) = self;
        let action = pool.host.scheduler.with(|scheduler| {
            scheduler.give_back_apart(worker.now());
            scheduler.next_action()
        });
        pool.host.act(worker, action);
    }
}

/// Lets everybody know if the task ends without having said so.
struct Running<'a>(Option<&'a Hub>);

impl Running<'_> {
    /// Whether the task may end: nobody wants anything.
    fn stops(&mut self) -> bool {
        let stops = self.0.is_none_or(Hub::stops);
        if stops {
            self.0 = None;
        }
        stops
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if let Some(hub) = self.0 {
            hub.is_lost(false);
            hub.0.with(|state| (state.is_running, state.waker) = (false, None));
        }
    }
}

/// Listens for as long as somebody wants it.
pub(super) async fn run(pool: Arc<Pool>, worker: Rc<Worker>) {
    let mut running = Running(Some(&pool.hub));
    let mut backoff = Backoff::new(RETRY.0, RETRY.1);
    loop {
        may_open(&pool).await;
        if running.stops() {
            return;
        }
        let has_failed = listen(&pool, &worker).await;
        if !has_failed {
            backoff.succeeded();
        }
        if running.stops() {
            return;
        }
        if has_failed {
            let wait = backoff.failed(rand::random());
            worker.rest(wait).await;
        }
    }
}

/// Waits until a connection may be opened, or nobody wants one any more.
async fn may_open(pool: &Pool) {
    std::future::poll_fn(|cx| {
        // First: what changes from here on wakes the task.
        pool.hub.0.with(|state| state.waker = Some(cx.waker().clone()));
        if must_rest(pool) && !pool.hub.0.with(|state| state.board.is_idle()) {
            return Poll::Pending;
        }
        Poll::Ready(())
    })
    .await;
}

/// Whether there is to be no connection: the pool is paused. While somebody has a server there is one all
/// the same: what it commits waits for that.
fn must_rest(pool: &Pool) -> bool {
    pool.hub.0.with(|state| state.is_paused)
        && pool.host.scheduler.with(|scheduler| scheduler.is_out(pool.id))
}

/// Opens the connection and listens until it is over. Answers whether it failed before it was of any use.
async fn listen(pool: &Arc<Pool>, worker: &Rc<Worker>) -> bool {
    let (database, user) = (&pool.database, &pool.user);
    let mut has_failed = true;
    pool.hub.0.with(|state| state.is_open = true);
    match open(pool, worker).await {
        Ok((mut line, apart)) => {
            let over = line.run(pool, worker).await;
            let is_lost = matches!(over, Over::Lost(_));
            has_failed = is_lost && !line.has_worked;
            // Closed, before another may take its place.
            drop(line);
            drop(apart);
            if is_lost {
                pool.stats.of(worker.id).listeners_lost.add(1);
                tracing::warn!(database, user, "listener connection lost: {over}");
            }
        }
        Err(error) => {
            tracing::warn!(database, user, "cannot open the listener connection: {error}");
        }
    }
    pool.hub.is_lost(has_failed);
    // A pause may wait for it.
    pool.host.gone.notify_waiters();
    has_failed
}

async fn open<'a>(
    pool: &'a Arc<Pool>,
    worker: &'a Rc<Worker>,
) -> Result<(Line, Apart<'a>), ConnectError> {
    let Some(apart) = Apart::take(pool, worker) else {
        return Err(ConnectError::Strange("the host's max_connections are in use".to_owned()));
    };
    let setup = pool.setup();
    // With what their servers begin with: clients are told in the encoding that those speak.
    let Connected { mut server, params } = pool.connect(&setup, worker).await?;
    let prepared = worker.within(Some(BATCH_TIME_MAX), server.run(setup_of(&params))).await;
    match prepared {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return Err(ConnectError::Strange(error.to_string())),
        Err(_) => return Err(ConnectError::Strange("it does not answer".to_owned())),
    }
    pool.catalog.learn_base(params);
    let since = worker.wake();
    let connection = Listener { key: server.key.clone(), since };
    pool.hub.0.with(|state| {
        state.connection = Some(connection);
        state.is_down = false;
    });
    let line = Line {
        server,
        lineage: setup.lineage(),
        inbox: Inbox::default(),
        out: Vec::new(),
        due: None,
        armed: None,
        has_worked: false,
    };
    Ok((line, apart))
}

/// What the connection is given first: a name for those who look at Postgres, and no end while nothing is
/// sent.
fn setup_of(params: &[(String, String)]) -> &'static str {
    let version = params.iter().find(|(name, _)| name == "server_version");
    let major = version.and_then(|(_, version)| version.split(['.', ' ']).next()?.parse().ok());
    if major.is_some_and(|major: u32| major >= 14) {
        "SET application_name TO 'pgweir listener'; SET idle_session_timeout TO 0"
    } else {
        "SET application_name TO 'pgweir listener'"
    }
}

/// The connection while it is up.
struct Line {
    server: Server,
    /// Where it leads.
    lineage: String,
    inbox: Inbox,
    /// What is still to be sent.
    out: Vec<u8>,
    /// When the batch under way must be done.
    due: Option<Instant>,
    /// Until when the task is woken for that.
    armed: Option<Instant>,
    /// A batch was done.
    has_worked: bool,
}

impl Line {
    async fn run(&mut self, pool: &Arc<Pool>, worker: &Worker) -> Over {
        let over = std::future::poll_fn(|cx| {
            worker.wake();
            match self.poll(pool, worker, cx) {
                Ok(()) => Poll::Pending,
                Err(over) => Poll::Ready(over),
            }
        });
        let over = over.await;
        if !matches!(over, Over::Lost(_)) {
            encode::terminate(&mut self.out);
            let cx = &mut Context::from_waker(std::task::Waker::noop());
            drop(self.server.stream().poll_write(cx, &self.out));
        }
        over
    }

    /// Does what can be done now. `Err`: it is over.
    fn poll(
        &mut self,
        pool: &Arc<Pool>,
        worker: &Worker,
        cx: &mut Context<'_>,
    ) -> Result<(), Over> {
        // First: what changes from here on wakes the task.
        pool.hub.0.with(|state| state.waker = Some(cx.waker().clone()));
        if pool.setup().lineage() != self.lineage {
            return Err(Over::Redirected);
        }
        if pool.hub.0.with(|state| state.is_retired) {
            return Err(Over::Retired);
        }
        if must_rest(pool) {
            return Err(Over::Paused);
        }
        let mut chunk = [0; CHUNK];
        loop {
            self.send(&pool.hub, worker.now(), cx)?;
            match self.server.stream().poll_read(cx, &mut chunk) {
                Poll::Pending => break,
                Poll::Ready(Ok(n @ 1..)) => self.inbox.add(&chunk[..n]),
                Poll::Ready(Ok(0)) => return Err(lost("it closed the connection")),
                Poll::Ready(Err(error)) => return Err(lost(error.to_string())),
            }
            self.take(pool, worker)?;
        }
        if self.due.is_none() && pool.hub.0.with(|state| state.board.is_idle()) {
            return Err(Over::Idle);
        }
        self.watch(worker, cx)
    }

    fn send(&mut self, hub: &Hub, now: Instant, cx: &mut Context<'_>) -> Result<(), Over> {
        if self.due.is_none()
            && let Some(sql) = hub.0.with(|state| state.board.next_batch())
        {
            encode::query(&mut self.out, &sql);
            self.due = Some(now + BATCH_TIME_MAX);
        }
        while !self.out.is_empty() {
            match self.server.stream().poll_write(cx, &self.out) {
                Poll::Pending => break,
                Poll::Ready(Ok(n @ 1..)) => drop(self.out.drain(..n)),
                Poll::Ready(Ok(0)) => return Err(lost("it takes nothing any more")),
                Poll::Ready(Err(error)) => return Err(lost(error.to_string())),
            }
        }
        Ok(())
    }

    /// Reads what has come.
    fn take(&mut self, pool: &Pool, worker: &Worker) -> Result<(), Over> {
        while let Some((tag, body)) = self.inbox.take().map_err(|error| lost(error.to_string()))? {
            match tag {
                tags::NOTIFICATION => {
                    if let Some(notification) = Notification::of(body) {
                        let delivered = pool.hub.deliver(&notification);
                        pool.stats.of(worker.id).notifications.add(delivered);
                    }
                }
                tags::READY => {
                    (self.due, self.has_worked) = (None, true);
                    pool.hub.tell_of_batch();
                }
                tags::ERROR => return Err(lost(error_fields::parse(body).message)),
                _ => {}
            }
        }
        Ok(())
    }

    fn watch(&mut self, worker: &Worker, cx: &Context<'_>) -> Result<(), Over> {
        let Some(due) = self.due else { return Ok(()) };
        let now = worker.now();
        if due <= now {
            return Err(lost("it does not answer"));
        }
        if self.armed.is_none_or(|at| at <= now) {
            self.armed = Some(worker.arm(due, cx.waker().clone()));
        }
        Ok(())
    }
}

impl Hub {
    fn tell_of_batch(&self) {
        let done = self.0.with(|state| state.board.is_done());
        for post in done.bereft {
            post.is_bereft();
        }
        for Asker { post, ticket } in done.asked {
            post.answer(ticket, Answer::Done);
        }
    }

    /// The connection is gone, or could not be had.
    fn is_lost(&self, is_down: bool) {
        let asked = self.0.with(|state| {
            state.connection = None;
            (state.is_open, state.is_retired) = (false, false);
            state.is_down = is_down;
            state.board.is_lost()
        });
        for Asker { post, ticket } in asked {
            post.answer(ticket, Answer::Failed);
        }
    }

    /// Whether the task may end: nobody wants anything. From then on, there is none.
    fn stops(&self) -> bool {
        self.0.with(|state| {
            let stops = state.board.is_idle();
            if stops {
                (state.is_running, state.is_down, state.waker) = (false, false, None);
            }
            stops
        })
    }
}
