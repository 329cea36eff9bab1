//! What is configured, as the registry needs it: the pools that follow from it, and who may log in.

use super::{Host, PoolPlan, Setup};
use crate::auth::{Credential, Stored};
use crate::base::secret::Secret;
use crate::config::{self, AuthType, Config, Database, User};
use crate::server::Place;
use crate::server::connect::Target;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is configured at the moment.
pub(super) struct Book {
    pub(super) config: Arc<Config>,
    /// Those of the configuration.
    pub(super) hosts: BTreeMap<String, Arc<Host>>,
    pub(super) credentials: BTreeMap<String, Arc<Credential>>,
}

impl Book {
    pub(super) fn new(
        config: Arc<Config>,
        mut host: impl FnMut(&config::Host) -> Arc<Host>,
        mut credential: impl FnMut(&User, Stored) -> Arc<Credential>,
    ) -> Self {
        let hosts = config.hosts.iter().map(|(name, of)| (name.clone(), host(of)));
        let hosts = hosts.collect();
        let users = config.users.values().filter_map(|user| {
            let stored = Stored::parse(user.password.as_ref()?.reveal());
            Some((user.name.clone(), credential(user, stored)))
        });
        let credentials = users.collect();
        Self { config, hosts, credentials }
    }

    /// Whether somebody can log in as this user at all.
    pub(super) fn knows_user(&self, user: &str) -> bool {
        self.config.auth.kind == AuthType::Trust || self.credentials.contains_key(user)
    }

    /// The pool for a database and a user, as it is to be.
    pub(super) fn plan(
        &self,
        (name, database): (&str, &Database),
        (user, of_user): (&str, Option<&User>),
    ) -> PoolPlan {
        let login = of_user.and_then(|user| user.server_login.as_ref());
        let login = login.or(database.server_login.as_ref());
        let pool_user = login.map_or(user, |login| &login.user);
        // A password of the login's own, or what the user logs in to the proxy with.
        let own = login.and_then(|login| login.password.as_ref());
        let secret = own.or_else(|| self.config.users.get(pool_user)?.password.as_ref()).cloned();
        let credential = match own {
            Some(password) => Some(credential(pool_user, password)),
            None => self.credentials.get(pool_user).cloned(),
        };
        let place = Place { address: database.host.address.clone(), sockets: self.config.sockets };
        PoolPlan {
            database: name.to_owned(),
            user: pool_user.to_owned(),
            made_for: of_user.map(|_| user.to_owned()),
            setup: Setup {
                settings: self.config.pool_settings(database, of_user),
                target: Target {
                    place: Arc::new(place),
                    user: pool_user.to_owned(),
                    dbname: database.dbname.clone().unwrap_or_else(|| name.to_owned()),
                    credential,
                },
                secret,
                has_own_credential: own.is_some(),
                connect_query: database.connect_query.clone(),
            },
            workers: self.config.process.workers,
        }
    }

    /// The pools that are known before anybody comes, and where servers are to be kept ready: those of
    /// databases with a `server_user`.
    pub(super) fn expected(&self) -> impl Iterator<Item = PoolPlan> + '_ {
        self.config.databases.iter().filter_map(|(name, database)| {
            let login = database.server_login.as_ref()?;
            let settings = self.config.pool_settings(database, None);
            // Where users have pool settings of their own, those of the first to come hold.
            let is_known = name != "*"
                && settings.min_pool_size > 0
                && self.config.users.values().all(|user| {
                    user.server_login.is_some()
                        || self.config.pool_settings(database, Some(user)) == settings
                });
            is_known.then(|| self.plan((name, database), (&login.user, None)))
        })
    }

    /// The limits on clients of a database, and on those of a user.
    pub(super) fn max_of_database(&self, name: &str) -> u32 {
        let own = self.config.database(name).map_or(0, |it| it.max_db_client_connections);
        if own == 0 { self.config.clients.max_db_client_connections } else { own }
    }

    pub(super) fn max_of_user(&self, user: &str) -> u32 {
        let own = self.config.users.get(user).map_or(0, |it| it.max_user_client_connections);
        if own == 0 { self.config.clients.max_user_client_connections } else { own }
    }
}

fn credential(user: &str, password: &Secret) -> Arc<Credential> {
    Arc::new(Credential::new(user, Stored::parse(password.reveal())))
}
