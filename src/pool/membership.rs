//! Who is in which class of a host.

use super::{Host, Pool};
use crate::base::ids::ClassId;
use crate::base::shared::Shared;
use crate::config::Config;
use crate::config::classes::{Class, ClassLimits, Priority};
use crate::scheduler::{ClassFull, Contention, Member};
use std::collections::BTreeMap;
use std::net::IpAddr;
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
    pub contention: Arc<Contention>,
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
        let (member, contention) = self.host.scheduler.with(|scheduler| {
            let member = scheduler.join(now, self.id, class, address)?;
            Ok((member, scheduler.contention(member)))
        })?;
        Ok(Membership { host: Arc::clone(&self.host), member, contention })
    }

    /// Lets a client in that was in before, in another process: limit or not.
    pub fn join_again(&self, now: Instant, class: ClassId, address: Option<IpAddr>) -> Membership {
        let (member, contention) = self.host.scheduler.with(|scheduler| {
            let member = scheduler.join_again(now, self.id, class, address);
            (member, scheduler.contention(member))
        });
        Membership { host: Arc::clone(&self.host), member, contention }
    }

    /// Takes over a client from another pool, where it had `member`: into the same class, full or not.
    pub fn take_over(
        &self,
        now: Instant,
        (from, member): (&Self, Member),
        address: Option<IpAddr>,
    ) -> Membership {
        let class = if Arc::ptr_eq(&self.host, &from.host) {
            member.class
        } else {
            self.host.class_like(now, &from.host, member.class)
        };
        self.join_again(now, class, address)
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

    /// The class of a `[[classes]]` section, if anybody was in it on this host.
    pub fn known_class(&self, name: &str) -> Option<ClassId> {
        self.classes.0.with(|classes| classes.get(&Name::Configured(name.to_owned())).copied())
    }

    /// Whether the console shows a class of this name on this host.
    pub fn has_class(&self, name: &str) -> bool {
        self.scheduler.with(|scheduler| {
            let mut classes = scheduler.classes();
            classes.any(|class| scheduler.class_name(class) == name)
        })
    }

    /// Gives each class what the configuration says, where that has changed: at once and for whom is in
    /// it already. One that is configured no more keeps what it had, for those who are in it.
    pub(super) fn obey_classes(&self, now: Instant, config: &Config) {
        let classes = self.classes.0.with(|classes| classes.clone());
        for (name, class) in classes {
            let label = self.scheduler.with(|scheduler| scheduler.class_name(class).to_owned());
            let limits = match name {
                Name::Configured(name) => {
                    let Some(class) = config.classes.iter().find(|class| class.name == name) else {
                        continue;
                    };
                    class.limits.clone()
                }
                Name::Logins => {
                    let usual = ClassLimits::default();
                    let limits = config.own_class(&label, &usual).clone();
                    // Never before those who are in.
                    ClassLimits { priority: Priority::Sheddable, ..limits }
                }
                Name::Own { .. } | Name::Others => {
                    config.own_class(&label, &config.default_class).clone()
                }
            };
            self.scheduler.with(|scheduler| {
                if *scheduler.class_limits(class) != limits {
                    scheduler.set_class(now, class, limits);
                }
            });
        }
    }

    /// The class here that is what `class` is on another host, for a client that comes from there.
    fn class_like(&self, now: Instant, other: &Self, class: ClassId) -> ClassId {
        let name = other.classes.0.with(|classes| {
            classes.iter().find(|(_, other)| **other == class).map(|(name, _)| name.clone())
        });
        let (label, limits) = other.scheduler.with(|scheduler| {
            (scheduler.class_name(class).to_owned(), scheduler.class_limits(class).clone())
        });
        self.find_class(now, name.unwrap_or(Name::Others), &label, &limits)
    }
}
