//! What a client is told of its server when it logs in.
//!
//! Postgres reports parameters at login, and which values depends on what the client asked for. So
//! the first client with certain settings tries them on a server; what that reports is kept, and
//! every later one is welcomed from here without a server. Those who come in between wait for its answer.

use crate::base::shared::Shared;
use crate::end::ErrorFields;
use crate::server::exchange::parameter;
use crate::session::settings::Settings;
use crate::wire::encode;
use crate::wire::frame::{HEAD_LEN, Head, MESSAGE_MAX};
use std::collections::HashMap;
use std::sync::{Arc, Weak};
use tokio::sync::watch;

/// Reported, but so often different that it is left out of what is kept: its value is known anyhow.
pub const APPLICATION_NAME: &str = "application_name";

/// Settings kept; when there are more, those that no client has are forgotten.
const KEPT_MAX: usize = 128;

/// What clients with certain settings are told.
#[derive(Debug)]
pub struct Welcome {
    /// The parameter statuses, ready to send; without `application_name`, unless it is one of the
    /// settings.
    pub bytes: Box<[u8]>,
    /// The settings, by application name: clients with the same ones share them, while there are any.
    named: Shared<HashMap<Box<str>, Weak<Settings>>>,
    settings: Arc<Settings>,
}

/// The welcomes of one pool.
#[derive(Debug, Default)]
pub struct Catalog(Shared<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// What a server of this pool reports before anybody has set anything.
    base: Option<Vec<(String, String)>>,
    welcomes: HashMap<Settings, Arc<Welcome>>,
    /// Settings that somebody tries just now.
    trials: HashMap<Settings, watch::Receiver<Option<Verdict>>>,
}

/// What a server said to settings: Postgres' own words if it refused them.
pub type Verdict = Result<Arc<Welcome>, Arc<ErrorFields>>;

/// What is known of settings.
#[derive(Debug)]
pub enum Look<'a> {
    Known(Arc<Welcome>),
    /// Nothing, and nobody tries them: whoever asked is to.
    Untried(Trial<'a>),
    /// Nothing, but somebody tries them.
    Tried(Trying),
}

/// The right, and the duty, to try settings. Dropped, the trial is broken off: the next one may try.
#[derive(Debug)]
pub struct Trial<'a> {
    catalog: &'a Catalog,
    settings: &'a Settings,
    verdict: watch::Sender<Option<Verdict>>,
}

/// Somebody else's trial.
#[derive(Debug)]
pub struct Trying(watch::Receiver<Option<Verdict>>);

impl Catalog {
    /// A server logged in and reported these.
    pub fn learn_base(&self, params: Vec<(String, String)>) {
        self.0.with(|kept| {
            // Another version, or other defaults: what was tried before holds no more.
            if kept.base.as_ref() != Some(&params) {
                kept.welcomes.clear();
                kept.base = Some(params);
            }
        });
    }

    /// What a server of this pool reports before anybody has set anything, as far as one has.
    pub fn base(&self) -> Option<Vec<(String, String)>> {
        self.0.with(|kept| kept.base.clone())
    }

    /// Whether a client that has asked for this encoding gets what a server sends whom nobody has asked for
    /// any. `false` as well when nobody knows.
    pub fn speaks(&self, encoding: Option<&str>) -> bool {
        let Some(encoding) = encoding else { return true };
        // As Postgres compares them; one of them has an old name.
        let plain = |name: &str| {
            let letters = name.chars().filter(char::is_ascii_alphanumeric);
            let name = letters.collect::<String>().to_ascii_lowercase();
            if name == "unicode" { "utf8".to_owned() } else { name }
        };
        self.0.with(|kept| {
            let mut base = kept.base.iter().flatten();
            let own = base.find(|(name, _)| name == "client_encoding");
            own.is_some_and(|(_, own)| plain(own) == plain(encoding))
        })
    }

    /// What a client that came with these settings was told of one parameter: its name as Postgres writes
    /// it, and its value.
    pub fn told(&self, initial: &Settings, name: &str) -> Option<(String, String)> {
        let is_it = |(known, _): &(&str, &str)| known.eq_ignore_ascii_case(name);
        self.0.with(|kept| {
            let mut base = kept.base.iter().flatten().map(|(name, value)| (&**name, &**value));
            let (name, own) = base.find(is_it)?;
            let told = match initial.value(name) {
                None => own.to_owned(),
                // Whatever is one there is shown as it is.
                Some(value) if name == APPLICATION_NAME => value.to_owned(),
                Some(_) => {
                    let mut asked = initial.clone();
                    let welcome = kept.welcomes.get(initial).or_else(|| {
                        asked.remove(APPLICATION_NAME);
                        kept.welcomes.get(&asked)
                    });
                    welcome?.value(name)?
                }
            };
            Some((name.to_owned(), told))
        })
    }

    /// What a server of this pool reports of one parameter before anybody has set it.
    pub fn base_value(&self, name: &str) -> Option<String> {
        self.0.with(|kept| {
            let mut base = kept.base.iter().flatten();
            base.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone())
        })
    }

    /// Whether servers of this pool report a parameter whenever it changes.
    pub fn is_reported(&self, name: &str) -> bool {
        self.base_value(name).is_some()
    }

    /// The pool leads elsewhere: nothing is known of what is there.
    pub fn forget(&self) {
        self.0.with(|kept| *kept = Kept::default());
    }

    /// The welcome for clients with these settings, if it is known; without `application_name`.
    pub fn find(&self, settings: &Settings) -> Option<Arc<Welcome>> {
        self.0.with(|kept| kept.find(settings))
    }

    /// The welcome for clients with these settings, or who finds out.
    pub fn look<'a>(&'a self, settings: &'a Settings) -> Look<'a> {
        self.0.with(|kept| {
            if let Some(welcome) = kept.find(settings) {
                return Look::Known(welcome);
            }
            if let Some(trying) = kept.trials.get(settings) {
                return Look::Tried(Trying(trying.clone()));
            }
            let (verdict, trying) = watch::channel(None);
            kept.trials.insert(settings.clone(), trying);
            Look::Untried(Trial { catalog: self, settings, verdict })
        })
    }

    /// A server was given these settings and reported these changes.
    pub fn learn(&self, settings: Settings, changes: &[(String, String)]) -> Arc<Welcome> {
        self.0.with(|kept| kept.add(settings, changes))
    }
}

impl Trial<'_> {
    /// Tells those who wait for it.
    pub fn end(self, verdict: Verdict) {
        self.verdict.send_replace(Some(verdict));
    }
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        self.catalog.0.with(|kept| {
            // The catalog may have forgotten everything meanwhile, and somebody else may try.
            let own = self.verdict.subscribe();
            if kept.trials.get(self.settings).is_some_and(|trying| trying.same_channel(&own)) {
                kept.trials.remove(self.settings);
            }
        });
    }
}

impl Trying {
    /// How it ends. `None`: it was broken off.
    pub async fn ended(mut self) -> Option<Verdict> {
        self.0.wait_for(Option::is_some).await.ok().and_then(|verdict| verdict.clone())
    }
}

impl Kept {
    fn find(&mut self, settings: &Settings) -> Option<Arc<Welcome>> {
        if let Some(welcome) = self.welcomes.get(settings) {
            return Some(Arc::clone(welcome));
        }
        (settings.is_empty() && self.base.is_some()).then(|| self.add(settings.clone(), &[]))
    }

    fn add(&mut self, settings: Settings, changes: &[(String, String)]) -> Arc<Welcome> {
        if self.welcomes.len() >= KEPT_MAX {
            self.welcomes.retain(|_, welcome| welcome.is_used());
        }
        let mut bytes = Vec::new();
        // A name that Postgres alone can tell: it is one of the settings then.
        let is_told = |name: &str| name != APPLICATION_NAME || settings.value(name).is_some();
        for (name, value) in self.base.iter().flatten().filter(|(name, _)| is_told(name)) {
            let change = changes.iter().rfind(|(changed, _)| changed == name);
            encode::parameter_status(&mut bytes, name, change.map_or(value, |(_, value)| value));
        }
        let welcome = Arc::new(Welcome {
            bytes: bytes.into(),
            named: Shared::default(),
            settings: Arc::new(settings.clone()),
        });
        if self.welcomes.len() < KEPT_MAX {
            self.welcomes.insert(settings, Arc::clone(&welcome));
        }
        welcome
    }
}

impl Welcome {
    /// The settings of a client with this application name, shared with its likes.
    pub fn settings(&self, application_name: Option<&str>) -> Arc<Settings> {
        let Some(name) = application_name else { return Arc::clone(&self.settings) };
        self.named.with(|named| {
            if let Some(settings) = named.get(name).and_then(Weak::upgrade) {
                return settings;
            }
            if named.len() >= KEPT_MAX {
                named.retain(|_, settings| settings.strong_count() > 0);
            }
            let mut settings = Settings::clone(&self.settings);
            settings.set(APPLICATION_NAME, name);
            let settings = Arc::new(settings);
            if named.len() < KEPT_MAX {
                named.insert(name.into(), Arc::downgrade(&settings));
            }
            settings
        })
    }

    /// What is told of a parameter.
    fn value(&self, name: &str) -> Option<String> {
        let mut rest = &*self.bytes;
        while let Ok(Some(head)) = Head::parse(rest, MESSAGE_MAX)
            && let Some((message, behind)) = rest.split_at_checked(head.total)
        {
            if let Some((found, value)) = parameter(&message[HEAD_LEN..])
                && found == name
            {
                return Some(value.to_owned());
            }
            rest = behind;
        }
        None
    }

    fn is_used(&self) -> bool {
        Arc::strong_count(&self.settings) > 1
            || self.named.with(|named| named.values().any(|it| it.strong_count() > 0))
    }
}

#[cfg(test)]
mod tests {
    use super::{Catalog, KEPT_MAX, Look, Trial, Trying};
    use crate::session::settings::Settings;
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::{Context, Poll, Waker};

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    fn zone(value: &str) -> Settings {
        let mut settings = Settings::default();
        settings.set("TimeZone", value);
        settings
    }

    #[test]
    fn a_client_is_told_what_a_server_reported_for_its_settings() {
        let catalog = Catalog::default();
        assert!(catalog.find(&Settings::default()).is_none(), "no server was seen so far");
        catalog.learn_base(vec![pair("TimeZone", "UTC"), pair("application_name", "")]);
        let plain = catalog.find(&Settings::default()).unwrap();
        assert_eq!(&*plain.bytes, b"S\0\0\0\x11TimeZone\0UTC\0");
        assert!(catalog.find(&zone("europe/rome")).is_none());
        catalog.learn(zone("europe/rome"), &[pair("TimeZone", "Europe/Rome")]);
        let rome = catalog.find(&zone("europe/rome")).unwrap();
        assert!(rome.bytes.ends_with(b"TimeZone\0Europe/Rome\0"));
        catalog.learn_base(vec![pair("TimeZone", "GMT")]);
        assert!(catalog.find(&zone("europe/rome")).is_none(), "the server is another one now");
    }

    #[test]
    fn clients_with_the_same_settings_share_them_and_their_number_is_bounded() {
        let catalog = Catalog::default();
        catalog.learn_base(vec![pair("TimeZone", "UTC")]);
        let welcome = catalog.find(&Settings::default()).unwrap();
        let one = welcome.settings(Some("psql"));
        assert!(Arc::ptr_eq(&one, &welcome.settings(Some("psql"))));
        for n in 0..3 * KEPT_MAX {
            welcome.settings(Some(&n.to_string()));
            catalog.learn(zone(&n.to_string()), &[]);
        }
        assert!(welcome.named.with(|named| named.len()) <= KEPT_MAX);
        assert!(catalog.0.with(|kept| kept.welcomes.len()) <= KEPT_MAX);
    }

    fn untried<'a>(catalog: &'a Catalog, settings: &'a Settings) -> Trial<'a> {
        let Look::Untried(trial) = catalog.look(settings) else { panic!("somebody tries them") };
        trial
    }

    fn tried(catalog: &Catalog, settings: &Settings) -> Trying {
        let Look::Tried(trying) = catalog.look(settings) else { panic!("nobody tries them") };
        trying
    }

    #[test]
    fn one_tries_and_the_others_get_its_answer() {
        let (catalog, rome) = (Catalog::default(), zone("Europe/Rome"));
        catalog.learn_base(vec![pair("TimeZone", "UTC")]);
        let cx = &mut Context::from_waker(Waker::noop());

        let trial = untried(&catalog, &rome);
        // Who tries something else is not concerned.
        drop(untried(&catalog, &zone("GMT")));
        let mut waits = pin!(tried(&catalog, &rome).ended());
        assert!(waits.as_mut().poll(cx).is_pending());
        let welcome = catalog.learn(rome.clone(), &[pair("TimeZone", "Europe/Rome")]);
        trial.end(Ok(Arc::clone(&welcome)));
        let Poll::Ready(Some(Ok(told))) = waits.poll(cx) else { panic!("it has ended") };
        assert!(Arc::ptr_eq(&told, &welcome));
        assert!(matches!(catalog.look(&rome), Look::Known(_)));
    }

    #[test]
    fn a_refusal_is_told_and_the_next_one_tries_again() {
        let (catalog, wrong) = (Catalog::default(), zone("nowhere"));
        let cx = &mut Context::from_waker(Waker::noop());
        let trial = untried(&catalog, &wrong);
        let waits = pin!(tried(&catalog, &wrong).ended());
        trial.end(Err(Arc::default()));
        assert!(matches!(waits.poll(cx), Poll::Ready(Some(Err(_)))));
        untried(&catalog, &wrong);
    }

    #[test]
    fn a_trial_that_is_broken_off_is_the_next_ones() {
        let (catalog, rome) = (Catalog::default(), zone("Europe/Rome"));
        let cx = &mut Context::from_waker(Waker::noop());
        let trial = untried(&catalog, &rome);
        let waits = pin!(tried(&catalog, &rome).ended());
        drop(trial);
        assert!(matches!(waits.poll(cx), Poll::Ready(None)));
        // Another's trial, since everything was forgotten, is not ended by this one's end.
        let early = untried(&catalog, &rome);
        catalog.forget();
        let late = untried(&catalog, &rome);
        drop(early);
        tried(&catalog, &rome);
        drop(late);
    }
}
