//! Lets a client in: who it is, which pool it uses, what it is told of its server.

use super::authenticate::Exchange;
use super::cancel::Cancels;
use super::console::{ConsoleLogin, is_console};
use super::greet::{Greeting, Wanted, greet};
use super::replication::{self, Replicating};
use super::trial::{Untold, try_settings};
use super::{About, Client, Times};
use crate::auth::scram::{Iterations, Mock};
use crate::base::ids::ClientId;
use crate::config::classes::Who;
use crate::control::roster::{Here, Key, Presence, Replication, Roster, pid_of};
use crate::control::takeover::IDS_APART;
use crate::end::{End, EndReason, ErrorFields, Phase};
use crate::net::deadline::Deadline;
use crate::net::flow::Flow;
use crate::net::stream::{Peer, Stream};
use crate::net::worker::Worker;
use crate::pool::gate::Pass;
use crate::pool::logins::Turn;
use crate::pool::membership::Membership;
use crate::pool::registry::Registry;
use crate::pool::welcome::{APPLICATION_NAME, Welcome};
use crate::pool::{Account, Terms};
use crate::scheduler::{ClassFull, Scope};
use crate::session::pins::Pins;
use crate::session::script::Script;
use crate::session::settings::{SETTINGS_MAX, Settings};
use crate::sql::ending::Outlook;
use crate::wire::encode;
use crate::wire::startup::options;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// The startup option with which a client chooses its class.
const CLASS: &str = "pgweir.class";

/// How long a client that is refused gets to take the reason.
const REFUSAL_MAX: Duration = Duration::from_secs(2);

/// Logins that may compute keys of a password at once: some milliseconds of one core each. They are
/// on threads of their own, but the cores are the workers', too.
const ARITHMETIC_MAX: usize = 2;

/// What all logins share.
pub struct Frontend {
    pub registry: Arc<Registry>,
    pub roster: Arc<Roster>,
    cancels: Cancels,
    salt_key: [u8; 32],
    /// Who may compute keys now.
    pub(super) arithmetic: Arc<Semaphore>,
    next_client: AtomicU64,
}

/// What a connection turned out to be.
#[expect(clippy::large_enum_variant, reason = "it is a client nearly always")]
pub enum Arrival {
    Client(Client),
    Console(Box<ConsoleLogin>),
    Replicating(Box<Replicating>),
    /// It is over already: a cancel request, or a login that was refused.
    Over,
}

/// What must not change when another process takes over.
pub struct Heritage {
    pub salt_key: [u8; 32],
    pub next_client: u64,
}

impl Default for Heritage {
    /// There was no process before.
    fn default() -> Self {
        Self { salt_key: rand::random(), next_client: 1 }
    }
}

impl Frontend {
    pub fn new(registry: Arc<Registry>, heritage: &Heritage) -> Self {
        Self {
            roster: Arc::default(),
            cancels: Cancels::new(Arc::clone(&registry.cancels)),
            salt_key: heritage.salt_key,
            arithmetic: Arc::new(Semaphore::new(ARITHMETIC_MAX)),
            next_client: AtomicU64::new(heritage.next_client),
            registry,
        }
    }

    /// Takes a connection from its first byte until it is a client, and tells it why if it cannot
    /// become one.
    pub async fn admit(&self, worker: &Rc<Worker>, mut stream: Stream, peer: Peer) -> Arrival {
        let limit = self.registry.config().clients.client_login_timeout;
        let mut claimed = None;
        let login = self.log_in(worker, &mut stream, peer, &mut claimed);
        let admitted = worker.within(limit, login).await;
        let end = match admitted {
            Ok(Ok(Entry::Client(admitted))) => {
                self.log_login(&admitted.here, None);
                return Arrival::Client(Self::client(worker, stream, admitted));
            }
            Ok(Ok(Entry::Console(login))) => {
                return Arrival::Console(Box::new(login.over(stream, peer)));
            }
            Ok(Ok(Entry::Replicating(admitted))) => {
                let replicates = claimed.and_then(|claimed| claimed.replicates);
                self.log_login(&admitted.here, replicates);
                return Arrival::Replicating(Box::new(admitted.over(stream)));
            }
            Ok(Ok(Entry::Nobody)) => return Arrival::Over,
            Ok(Err(end)) => end,
            Err(_) => End::from(EndReason::LoginTimeout),
        };
        worker.cells.failed_logins.count(end.reason);
        self.refuse(worker, stream, (peer, claimed.as_ref()), &end).await;
        Arrival::Over
    }

    fn log_login(&self, here: &Here, replicates: Option<Replication>) {
        if self.registry.config().process.log_connections {
            tracing::info!(
                client = here.id.0, database = here.pool().database, user = here.user,
                address = %here.peer, replication = replicates.map(Replication::label),
                "client logged in"
            );
        }
    }

    async fn refuse(
        &self,
        worker: &Worker,
        stream: Stream,
        (peer, claimed): (Peer, Option<&Claimed>),
        end: &End,
    ) {
        if self.registry.config().process.log_pooler_errors && end.reason != EndReason::ClientGone {
            let fields = end.fields(Phase::Login);
            let database = claimed.map(|it| it.database.as_str());
            let user = claimed.map(|it| it.user.as_str());
            let replication = claimed.and_then(|it| it.replicates).map(Replication::label);
            tracing::warn!(
                database, user, address = %peer, replication, reason = end.reason.account().label, code = fields.code,
                "login refused: {}", fields.message
            );
        }
        if end.is_told() {
            Self::tell(worker, stream, &end.fields(Phase::Login)).await;
        }
    }

    /// Tells a client why, before its connection is closed.
    pub(super) async fn tell(worker: &Worker, mut stream: Stream, fields: &ErrorFields) {
        let mut out = Vec::new();
        encode::error(&mut out, fields);
        let _late = worker.within(Some(REFUSAL_MAX), stream.send(&out)).await;
    }

    async fn log_in(
        &self,
        worker: &Rc<Worker>,
        stream: &mut Stream,
        peer: Peer,
        claimed: &mut Option<Claimed>,
    ) -> Result<Entry, End> {
        let mut buffer = Vec::new();
        let wanted = match greet(stream, &mut buffer).await? {
            Greeting::Login(wanted) => wanted,
            Greeting::Cancel { pid, secret } => {
                self.cancels.serve(&self.roster, worker, pid, &secret).await;
                return Ok(Entry::Nobody);
            }
        };
        let replication = replication::asked(&wanted.params)?;
        *claimed = Some(Claimed::by(&wanted, replication));
        let mut exchange = Exchange::new(stream, buffer, &wanted);
        if is_console(&wanted.database) {
            return self.log_in_to_console(exchange, wanted).await.map(Entry::Console);
        }
        exchange.attend(self.roster.unsuspended()).await?;
        if self.roster.is_closing() {
            return Err(EndReason::Shutdown.into());
        }
        let pass = self.registry.admit()?;
        let turn = self.registry.door.enter(worker.now(), peer.ip());
        let turn = exchange.attend(turn).await??;
        let credential = self.registry.credential(&wanted.user);
        self.authenticate(&mut exchange, &wanted.user, credential.as_ref()).await?;
        encode::authentication(&mut exchange.out, 0, |_| {});
        let guest = Guest { peer, pass, turn };
        if let Some(kind) = replication {
            // Boxed: rare, and large.
            let admitted = self.replicate(worker, exchange, (&wanted, kind), guest);
            return Box::pin(admitted).await.map(|it| Entry::Replicating(Box::new(it)));
        }
        self.let_in(worker, exchange, &wanted, guest).await.map(Entry::Client)
    }

    /// Finds out where a client comes in that is who it says, and tells it of its server.
    async fn let_in(
        &self,
        worker: &Rc<Worker>,
        mut exchange: Exchange<'_>,
        wanted: &Wanted,
        Guest { peer, pass, turn }: Guest,
    ) -> Result<Admitted, End> {
        let (client, since) = (self.next_client(), worker.wake());
        let mut turn = Some(turn);
        let (place, by, asked, welcome) = loop {
            let (place, by, asked) = self.place(worker.wake(), wanted, peer)?;
            // What may be waited for from here on is a server: that has a line of its own.
            drop(turn.take());
            let welcome = self.welcome(worker, (client, since), &place.terms, &asked);
            match exchange.attend(welcome).await? {
                Ok(welcome) => break (place, by, asked, welcome),
                Err(Untold::Ended(end)) => return Err(end),
                // A reload may have given it another pool.
                Err(Untold::AskAgain) => {}
            }
        };
        let settings = welcome.settings(asked.application_name.as_deref());
        let key = Key::new(wanted.minor);
        let about = (client, wanted.user.as_str());
        let ends = (peer, exchange.stream.near());
        let pool = (&place.terms.pool, place.membership.member.class);
        let presence = Presence::new(about, ends, pool, &settings, worker.wake());
        if asked.settings.value(APPLICATION_NAME).is_none() {
            let name = asked.application_name.as_deref().unwrap_or_default();
            encode::parameter_status(&mut exchange.out, APPLICATION_NAME, name);
        }
        exchange.out.extend(&welcome.bytes);
        encode::backend_key_data(&mut exchange.out, pid_of(client), key.shown());
        let here = self.roster.enter(presence, key);
        encode::ready(&mut exchange.out, b'I');
        exchange.flush().await?;
        let early = exchange.buffer;
        place.terms.pool.stats.of(worker.id).logins.add(1);
        let [by_database, by_user] = by;
        let passes = [pass, by_database, by_user];
        Ok(Admitted { here, place, settings, passes, early })
    }

    /// Where a client comes in that is who it says, counted for its database and its user; and what it wants
    /// to be set.
    pub(super) fn place(
        &self,
        now: Instant,
        wanted: &Wanted,
        peer: Peer,
    ) -> Result<(Place, [Pass; 2], Asked), End> {
        let registry = &self.registry;
        if registry.halts.disables(&wanted.database) {
            let message = format!("database \"{}\" is disabled", wanted.database);
            return Err(End::from(EndReason::DatabaseDisabled).with_message(message));
        }
        let account = registry.account(now, &wanted.database, &wanted.user)?;
        let asked = self.asked_settings(wanted)?;
        let who = Who {
            database: &wanted.database,
            user: &wanted.user,
            application_name: asked.application_name(),
            address: peer.ip(),
        };
        let (class, terms) = registry.class(now, &account, &who, asked.class.as_deref())?;
        let [by_database, by_user, in_pool] = account.enter(&terms)?;
        let membership = terms.pool.join(now, class, who.address).map_err(class_full)?;
        Ok((Place { account, terms, membership, in_pool }, [by_database, by_user], asked))
    }

    /// What another process goes on with. Logins that are under way here get ids below its own.
    pub fn heritage(&self) -> Heritage {
        let next_client = self.next_client.load(Ordering::Relaxed) + IDS_APART;
        Heritage { salt_key: self.salt_key, next_client }
    }

    /// Does what a cancel request asks for that another process has passed on.
    pub async fn cancel(&self, worker: &Rc<Worker>, pid: u32, secret: &[u8]) {
        self.cancels.serve(&self.roster, worker, pid, secret).await;
    }

    /// What unknown users look like. The key stays, so that a name keeps its salt; the cost is that of
    /// those who are known.
    pub(super) fn mock(&self) -> Mock {
        let iterations = self.registry.config().auth.scram_iterations;
        Mock::new(self.salt_key, Iterations::new(iterations).unwrap_or_default())
    }

    pub(super) fn next_client(&self) -> ClientId {
        ClientId(self.next_client.fetch_add(1, Ordering::Relaxed))
    }

    /// What the client wants to be set, from its startup packet.
    fn asked_settings(&self, wanted: &Wanted) -> Result<Asked, End> {
        let mut settings = Settings::default();
        let config = self.registry.config();
        let ignored = &config.clients.ignore_startup_parameters;
        let is_ignored = |name: &str| ignored.iter().any(|other| other.eq_ignore_ascii_case(name));
        for (name, value) in &wanted.params {
            match name.as_str() {
                name if is_ignored(name) => {}
                // Looked at before.
                "replication" => {}
                "options" => {
                    let options =
                        options(value).map_err(|error| End::protocol(error.to_string()))?;
                    let wanted = options.iter().filter(|(name, _)| !is_ignored(name));
                    wanted.for_each(|(name, value)| settings.set(name, value));
                }
                name => settings.set(name, value),
            }
        }
        let class = settings.remove(CLASS).map(String::from);
        if let Some((name, _)) = settings.iter().find(|(name, _)| !name.is_ascii()) {
            let message = format!("unrecognized configuration parameter \"{name}\"");
            return Err(End::from(EndReason::SettingRefused).with_message(message));
        }
        if settings.len() > SETTINGS_MAX {
            return Err(End::protocol(format!("more than {SETTINGS_MAX} startup parameters")));
        }
        // Postgres itself changes a name that is long or not ASCII; only it knows how.
        let is_plain =
            |name: &str| name.len() < 64 && name.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        let application_name = match settings.value(APPLICATION_NAME) {
            Some(name) if is_plain(name) => settings.remove(APPLICATION_NAME).map(String::from),
            _ => None,
        };
        Ok(Asked { settings, application_name, class })
    }

    /// What the client is told of its server. Tried on a server, if nobody has asked for the same
    /// before.
    async fn welcome(
        &self,
        worker: &Rc<Worker>,
        (client, since): (ClientId, Instant),
        terms: &Terms,
        asked: &Asked,
    ) -> Result<Arc<Welcome>, Untold> {
        if let Some(welcome) = terms.pool.catalog.find(&asked.settings) {
            return Ok(welcome);
        }
        let membership = terms.pool.join_logins(worker.now()).map_err(class_full)?;
        let client = (client, membership.member);
        // Boxed: rare, and large.
        let trying = try_settings(worker, (client, since), terms, &asked.settings);
        Box::pin(trying).await
    }

    pub(super) fn client(worker: &Rc<Worker>, stream: Stream, admitted: Admitted) -> Client {
        let now = worker.wake();
        let Admitted { here, place, settings, passes, early } = admitted;
        let Place { account, terms, membership, in_pool } = place;
        let pool = Arc::clone(&terms.pool);
        let initial = Arc::clone(&settings);
        Client {
            here,
            worker: Rc::clone(worker),
            stream: stream.into(),
            up: Flow::holding(early),
            down: Flow::default(),
            account,
            terms,
            pool,
            lease: None,
            settings,
            member: membership.member,
            pins: Pins::default(),
            script: Script::default(),
            listening: None,
            statements: None,
            learns: None,
            mailbox: None,
            deadline: Deadline::default(),
            times: Times { request: now, xact: now, activity: now, heard: now },
            is_skipping: false,
            to_swallow: 0,
            is_leaving: false,
            gives_up: false,
            is_known_idle: false,
            preparing: 0,
            begun: None,
            is_waiting: false,
            is_held_back: false,
            aborted: None,
            outlook: Outlook::default(),
            last_words: None,
            about: Box::new(About {
                pinned: false,
                listens_itself: false,
                inherited: None,
                initial,
                _passes: passes,
                in_pool,
                membership,
            }),
        }
    }
}

/// Who a connection says it is, and what it asks for: for the log.
struct Claimed {
    database: String,
    user: String,
    replicates: Option<Replication>,
}

impl Claimed {
    fn by(wanted: &Wanted, replicates: Option<Replication>) -> Self {
        Self { database: wanted.database.clone(), user: wanted.user.clone(), replicates }
    }
}

/// What a client wants to be set. Its application name apart: it decides nothing, and differs.
pub(super) struct Asked {
    settings: Settings,
    application_name: Option<String>,
    class: Option<String>,
}

impl Asked {
    fn application_name(&self) -> &str {
        let among_settings = || self.settings.value(APPLICATION_NAME);
        self.application_name.as_deref().or_else(among_settings).unwrap_or_default()
    }
}

/// Where a client comes in.
pub(super) struct Place {
    pub(super) account: Arc<Account>,
    pub(super) terms: Arc<Terms>,
    pub(super) membership: Membership,
    pub(super) in_pool: Pass,
}

/// Somebody who has proven who it is.
pub(super) struct Guest {
    pub(super) peer: Peer,
    /// Counts it among all.
    pub(super) pass: Pass,
    /// Others wait to log in while it has this.
    pub(super) turn: Turn,
}

/// What a login led to.
enum Entry {
    Client(Admitted),
    Console(super::console::Admitted),
    Nobody,
    Replicating(Box<replication::Admitted>),
}

/// A client that may come in.
pub(super) struct Admitted {
    pub(super) here: Here,
    pub(super) place: Place,
    pub(super) settings: Arc<Settings>,
    pub(super) passes: [Pass; 3],
    /// What it sent before it was told that it is in.
    pub(super) early: Vec<u8>,
}

/// Which of the two limits it was is told: they are the same number to whoever reads only the code.
fn class_full(full: ClassFull) -> End {
    let end = End::from(EndReason::ClassClientLimit);
    match full.scope {
        Scope::Address => {
            end.with_message("sorry, too many clients already (per_address.max_clients)")
        }
        _ => end,
    }
}
