//! Changing what holds while the process runs: by reading its files anew, or by what an operator sets on
//! the console until they are.
//!
//! Whoever wants a change gives a [`Change`] to [`Orders`]; one task, [`Reloader::run`], makes one after the
//! other. A change is all or nothing: it is read, resolved and checked as `pgweir check` does, beside
//! everything else, and only then applied ([`Registry::reload`]). Otherwise nothing has happened.

use super::roster::{Order, Roster};
use super::watch::Watch;
use crate::base::finding::{Finding, Severity};
use crate::config::options;
use crate::config::overlay::{ClassValue, Overlay, SetOption, find};
use crate::config::{Config, Loaded, Origin, ReloadOn, Source};
use crate::end::EndReason;
use crate::net::worker::Worker;
use crate::pool::process::ConfigView;
use crate::pool::registry::Registry;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::{Notify, mpsc, oneshot};

/// Changes that wait to be made: no more than there are console sessions, and a few signals.
const WAITING_MAX: usize = 64;

/// How often files are looked at, if they are to be watched.
const LOOK: Duration = Duration::from_secs(1);

const MOVING: &str = "another process has taken over: connect anew, and say it there";

/// What somebody wants to be otherwise.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Change {
    /// What the files say, and nothing else. The text says why, for the log.
    Reload(&'static str),
    /// An option of `[proxy]` or `[overload]`. `None`: what the file says.
    Set { name: String, value: Option<String> },
    /// Options of a class.
    SetClass { class: String, options: Vec<(String, Option<ClassValue>)> },
}

/// A change that was made.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Made {
    /// What differs.
    pub differences: Vec<String>,
    /// What is odd about it, or holds only after a restart.
    pub remarks: Vec<String>,
}

/// A change that was not made, and why.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refused {
    pub reason: String,
    /// Everything else that is wrong.
    pub more: Vec<String>,
    /// What was meant is known, and it cannot be this.
    pub is_value_wrong: bool,
}

impl Refused {
    fn because(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), more: vec![], is_value_wrong: false }
    }
}

/// An operator who wants a change, for the log.
#[derive(Clone, Debug)]
pub struct Author {
    /// The session, as `SHOW CLIENTS` numbers it.
    pub client: u64,
    pub user: String,
}

/// A change that is to be made. Who asked is not told of a signal or a file.
type Asked = (Change, Option<Author>, oneshot::Sender<Answer>);

type Answer = Result<Made, Refused>;

/// How a change is asked for.
#[derive(Clone)]
pub struct Orders(mpsc::Sender<Asked>);

/// Makes changes.
pub struct Reloader {
    registry: Arc<Registry>,
    roster: Arc<Roster>,
    source: Source,
    overlay: Overlay,
    watch: Watch,
    orders: mpsc::Receiver<Asked>,
    /// Told after each change, for what the registry does not have.
    changed: Arc<Notify>,
}

impl Orders {
    /// Has a change made. The answer may be thrown away, by dropping this.
    ///
    /// # Errors
    ///
    /// When it is refused: then nothing has changed.
    pub async fn give(&self, change: Change, author: Option<Author>) -> Answer {
        let stopping = || Refused::because("the process is stopping");
        let (sender, answer) = oneshot::channel();
        self.0.send((change, author, sender)).await.map_err(|_| stopping())?;
        answer.await.unwrap_or_else(|_| Err(stopping()))
    }
}

/// What an operator has set in the process before, resolved with what the files say now; what does not fit
/// them any more is named, and left out.
pub fn inherit(
    source: &mut Source,
    config: Arc<Config>,
    set: &[SetOption],
) -> (Arc<Config>, Overlay) {
    let (mut config, mut overlay) = (config, Overlay::default());
    if set.is_empty() {
        return (config, overlay);
    }
    let mut resolved = |overlay: &Overlay| match source.resolve(overlay) {
        Ok(loaded) => Ok(Arc::new(loaded.config)),
        Err(findings) => Err(refused(findings, true).reason),
    };
    let mut all = Overlay::default();
    if set.iter().all(|set| all.inherit(set))
        && let Ok(config) = resolved(&all)
    {
        for set in set {
            tracing::info!("{set}: holds as in the process before");
        }
        return (config, all);
    }
    for set in set {
        let mut with = overlay.clone();
        let is_known = with.inherit(set);
        match resolved(&with) {
            Ok(new) if is_known => (config, overlay) = (new, with),
            Ok(_) => tracing::warn!("{set} is forgotten: there is no such option"),
            Err(reason) => tracing::warn!("{set} is forgotten: {reason}"),
        }
    }
    (config, overlay)
}

impl Reloader {
    /// `source` is what the registry's configuration was made of. `changed` is notified after each change.
    pub fn new(
        registry: Arc<Registry>,
        roster: Arc<Roster>,
        (source, overlay): (Source, Overlay),
        changed: Arc<Notify>,
    ) -> (Self, Orders) {
        let (sender, orders) = mpsc::channel(WAITING_MAX);
        let mut watch = Watch::default();
        watch.reads(&files(&source, &registry.config()));
        registry.note_loaded(ConfigView { overlay: overlay.clone(), ..registry.loaded() });
        (Self { registry, roster, source, overlay, watch, orders, changed }, Orders(sender))
    }

    /// Makes changes, one after the other, until nobody can ask for any.
    pub async fn run(mut self, worker: Rc<Worker>) {
        loop {
            tokio::select! {
                order = self.orders.recv() => {
                    let Some((change, author, answer)) = order else { return };
                    let made = self.make(&worker, change, author).await;
                    // Whoever has left meanwhile finds it in the log.
                    drop(answer.send(made));
                }
                () = tokio::time::sleep(LOOK), if self.is_watching() => self.look(&worker).await,
            }
        }
    }

    fn is_watching(&self) -> bool {
        self.registry.config().process.reload == ReloadOn::Watch
    }

    async fn look(&mut self, worker: &Rc<Worker>) {
        if self.watch.has_changed(&files(&self.source, &self.registry.config())) {
            // Whatever comes of it is in the log.
            let _made = self.make(worker, Change::Reload("a file has changed"), None).await;
        }
    }

    async fn make(
        &mut self,
        worker: &Rc<Worker>,
        change: Change,
        author: Option<Author>,
    ) -> Answer {
        let reads_anew = matches!(change, Change::Reload(_));
        let why = describe(&change);
        let made = match self.prepare(change).await {
            // It has read them before, or will be asked itself.
            Ok(_) if self.roster.is_giving_way() => Err(Refused::because(MOVING)),
            Ok((source, overlay, loaded)) => {
                (self.source, self.overlay) = (source, overlay);
                let made = self.apply(worker, loaded);
                self.watch.knows(&files(&self.source, &self.registry.config()));
                Ok(made)
            }
            Err(findings) => Err(findings),
        };
        log(&why, author.as_ref(), &made);
        let before = self.registry.loaded();
        let (is_ok, now) = (made.is_ok(), SystemTime::now());
        self.registry.note_loaded(ConfigView {
            hash: self.registry.config().hash(),
            loaded_at: if reads_anew && is_ok { now } else { before.loaded_at },
            is_last_load_ok: if reads_anew { is_ok } else { before.is_last_load_ok },
            overlay: self.overlay.clone(),
        });
        made
    }

    /// Reads and checks, beside the thread that keeps time for everybody.
    async fn prepare(&mut self, change: Change) -> Result<(Source, Overlay, Loaded), Refused> {
        let (source, path) = (self.source.clone(), self.source.path().to_owned());
        let reads_anew = matches!(change, Change::Reload(_));
        let mut overlay = self.overlay.clone();
        match change {
            Change::Reload(_) => {
                self.watch.reads(&files(&self.source, &self.registry.config()));
                overlay = Overlay::default();
            }
            Change::Set { name, value } => {
                self.set(&mut overlay, &name, value.as_deref())?;
            }
            Change::SetClass { class, options } => {
                self.set_class(&mut overlay, &class, options)?;
            }
        }
        let running = self.registry.config();
        let resolve = move || {
            let mut source = if reads_anew { source.read_anew()? } else { source };
            let loaded = source.resolve(&overlay)?;
            let lockouts = loaded.config.lockouts(&running, &path);
            if lockouts.is_empty() { Ok((source, overlay, loaded)) } else { Err(lockouts) }
        };
        match tokio::task::spawn_blocking(resolve).await {
            Ok(resolved) => resolved.map_err(|findings| refused(findings, !reads_anew)),
            Err(error) => Err(Refused::because(error.to_string())),
        }
    }

    fn set(&self, overlay: &mut Overlay, name: &str, value: Option<&str>) -> Result<(), Refused> {
        let refused = |reason| Err(Refused::because(reason));
        let origin = |name| self.registry.config().shown.get(name).map(|shown| shown.origin);
        match find(name) {
            None => refused(format!("there is no option `{name}` in [proxy] or [overload]")),
            Some((_, option)) if option.change == options::Change::Restart => {
                refused(format!("`{name}` holds from the start to the end of the process"))
            }
            Some((_, option)) if origin(option.name) == Some(Origin::Environment) => {
                refused(format!(
                    "`{name}` is what {} says, from the start to the end of the process",
                    Origin::Environment.label()
                ))
            }
            Some(_) => {
                overlay.set(name, value);
                Ok(())
            }
        }
    }

    fn set_class(
        &self,
        overlay: &mut Overlay,
        class: &str,
        options: Vec<(String, Option<ClassValue>)>,
    ) -> Result<(), Refused> {
        let refused = |reason| Err(Refused::because(reason));
        let is_configured = self.registry.config().classes.iter().any(|it| it.name == class);
        if !is_configured && !self.registry.hosts().any(|host| host.has_class(class)) {
            return refused(format!("there is no class `{class}`; see SHOW CLASSES"));
        }
        for (name, value) in options {
            if !overlay.set_class(class, &name, value) {
                return refused(format!("a class has no option `{name}` that can be set"));
            }
        }
        Ok(())
    }

    /// Puts a configuration that was checked in the place of the one that holds.
    fn apply(&self, worker: &Rc<Worker>, loaded: Loaded) -> Made {
        let Loaded { mut config, warnings } = loaded;
        let running = self.registry.config();
        let fixed = config.keep_until_restart(&running);
        let differences = config.differences(&running);
        let fixed = fixed.into_iter().map(|name| {
            let value = &config.shown[name].value;
            format!("`{name}` was changed, which needs a restart: it stays {value:?} until then")
        });
        let remarks = fixed.chain(warnings.iter().map(ToString::to_string)).collect();
        let config = Arc::new(config);
        worker.wake();
        let gone = self.registry.reload(worker, &config);
        self.registry.prepare(worker.now());
        self.see_out(&gone.into_iter().collect());
        self.changed.notify_one();
        Made { differences, remarks }
    }

    /// Ends the clients of databases and users that are gone, each when it has no transaction open; and has
    /// the others look at what holds for them now.
    fn see_out(&self, gone: &BTreeSet<(String, String)>) {
        for client in self.roster.clients() {
            let database = client.pool().database.clone();
            if gone.contains(&(database, client.user.to_string())) {
                client.call(Order::Leave(EndReason::AccountRemoved));
            } else {
                client.wake();
            }
        }
    }
}

/// The files to look at.
fn files(source: &Source, config: &Config) -> Vec<PathBuf> {
    std::iter::once(source.path().to_owned()).chain(config.auth.file.clone()).collect()
}

/// The first error says it; whatever else there is comes behind.
fn refused(mut findings: Vec<Finding>, is_value_wrong: bool) -> Refused {
    findings.sort_by_key(|finding| finding.severity != Severity::Error);
    let mut texts = findings.iter().map(ToString::to_string);
    let reason = texts.next().unwrap_or_else(|| "it is not valid".to_owned());
    Refused { reason, more: texts.collect(), is_value_wrong }
}

fn describe(change: &Change) -> String {
    match change {
        Change::Reload(why) => format!("reload ({why})"),
        Change::Set { name, value: Some(value) } => format!("SET {name} = {value}"),
        Change::Set { name, value: None } => format!("SET {name} = DEFAULT"),
        Change::SetClass { class, options } => {
            let value = |value: &Option<ClassValue>| match value {
                Some(ClassValue::Text(text)) => text.clone(),
                Some(ClassValue::Absent) => "NONE".to_owned(),
                None => "DEFAULT".to_owned(),
            };
            let options = options.iter().map(|(name, it)| format!("{name} = {}", value(it)));
            format!("SET CLASS {class} {}", options.collect::<Vec<_>>().join(", "))
        }
    }
}

/// Who wanted it, and what came of it.
fn log(why: &str, author: Option<&Author>, answer: &Answer) {
    let client = author.map(|author| author.client);
    let user = author.map(|author| author.user.as_str());
    match answer {
        Ok(made) => {
            for remark in &made.remarks {
                tracing::warn!(client, user, "{why}: {remark}");
            }
            let differences = match made.differences.as_slice() {
                [] => "nothing has changed".to_owned(),
                differences => differences.join(", "),
            };
            tracing::info!(client, user, "{why}: {differences}");
        }
        Err(refused) => {
            let reason = &refused.reason;
            tracing::error!(client, user, "{why}: refused, nothing has changed: {reason}");
            refused.more.iter().for_each(|more| tracing::error!(client, user, "{why}: {more}"));
        }
    }
}
