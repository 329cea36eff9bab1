//! Who is in which class of a host.

use super::{Host, Pool};
use crate::base::ids::ClassId;
use crate::base::shared::Shared;
use crate::config::classes::{Class, ClassLimits, Priority};
use crate::net::worker::Worker;
use crate::scheduler::{ClassFull, Member};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

/// Classes that no section of the configuration names, at most: one for each database and user that
/// was used. Those above share one, so that whoever may log in as anybody cannot fill the memory.
const OWN_MAX: usize = 4_096;

/// How a class is found.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Name {
    /// A `[[classes]]` section.
    Configured(String),
    /// The clients of one database and user.
    Own { database: String, user: String },
    /// Logins that try their settings on a server.
    Logins,
    /// Those for whom there was no room.
    Others,
}

/// The classes of a host that were used so far.
#[derive(Debug, Default)]
pub(super) struct Classes(Shared<BTreeMap<Name, ClassId>>);

/// One client in a class, until this is dropped.
pub struct Membership {
    host: Arc<Host>,
    pub member: Member,
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.host.scheduler.with(|scheduler| scheduler.part(self.member));
    }
}

impl Pool {
    /// Lets a client into a class.
    ///
    /// # Errors
    ///
    /// When the class, or the address within it, has as many clients as it may.
    pub fn join(
        &self,
        now: Instant,
        class: ClassId,
        address: Option<IpAddr>,
    ) -> Result<Membership, ClassFull> {
        let member =
            self.host.scheduler.with(|scheduler| scheduler.join(now, self.id, class, address))?;
        Ok(Membership { host: Arc::clone(&self.host), member })
    }

    /// Lets a client in that was in before, in another process: limit or not.
    pub fn join_again(&self, now: Instant, class: ClassId, address: Option<IpAddr>) -> Membership {
        let member = self
            .host
            .scheduler
            .with(|scheduler| scheduler.join_again(now, self.id, class, address));
        Membership { host: Arc::clone(&self.host), member }
    }

    /// Lets a login into the class of those that try their settings on a server: not on the account
    /// of the client's class, whose quota is for its transactions, and after those who are in.
    ///
    /// # Errors
    ///
    /// When an operator has given this class a limit, and it is reached.
    pub fn join_logins(&self, now: Instant) -> Result<Membership, ClassFull> {
        let limits = ClassLimits { priority: Priority::Sheddable, ..ClassLimits::default() };
        let class = self.host.find_class(now, Name::Logins, "(logins)", &limits);
        self.join(now, class, None)
    }
}

impl Host {
    /// The class of a `[[classes]]` section on this host.
    pub fn class(&self, now: Instant, class: &Class) -> ClassId {
        self.find_class(now, Name::Configured(class.name.clone()), &class.name, &class.limits)
    }

    /// The class of the clients of one database and user that are in no other.
    pub fn own_class(
        &self,
        now: Instant,
        (database, user): (&str, &str),
        limits: &ClassLimits,
    ) -> ClassId {
        let name = Name::Own { database: database.to_owned(), user: user.to_owned() };
        let has_room =
            self.classes.0.with(|classes| classes.len() < OWN_MAX || classes.contains_key(&name));
        if has_room {
            self.find_class(now, name, &format!("{database}/{user}"), limits)
        } else {
            self.find_class(now, Name::Others, "*/*", limits)
        }
    }

    fn find_class(&self, now: Instant, name: Name, label: &str, limits: &ClassLimits) -> ClassId {
        // Under the lock of `classes`, so that nobody makes the same one twice.
        self.classes.0.with(|classes| {
            *classes.entry(name).or_insert_with(|| {
                let (label, limits) = (label.to_owned(), limits.clone());
                self.scheduler.with(|scheduler| scheduler.add_class(now, label, limits))
            })
        })
    }

    /// Changes what a class may have, by the name that the console shows, at once and for whom is in
    /// it already. `false`: there is none on this host.
    pub fn set_class(
        self: &Arc<Self>,
        worker: &Rc<Worker>,
        name: &str,
        limits: &ClassLimits,
    ) -> bool {
        let now = worker.now();
        let (is_found, action) = self.scheduler.with(|scheduler| {
            let found = scheduler.classes().find(|class| scheduler.class_name(*class) == name);
            if let Some(class) = found {
                scheduler.set_class(now, class, limits.clone());
            }
            (found.is_some(), scheduler.next_action())
        });
        self.act(worker, action);
        is_found
    }
}
