//! Lets an operator in to the console: who it is and what it may do. The console itself is above.

use super::authenticate::Exchange;
use super::greet::Wanted;
use super::login::Frontend;
use crate::base::ids::ClientId;
use crate::config::{Auth, CONSOLE_DATABASES};
use crate::end::{End, EndReason};
use crate::net::stream::{Peer, Stream};
use crate::pool::gate::Pass;
use crate::pool::registry::Visitor;
use crate::pool::welcome::APPLICATION_NAME;
use crate::wire::encode;

/// Users that need no password if they come over the unix socket from a process of the proxy's own
/// user: as in PgBouncer.
const OWN_USERS: [&str; 2] = CONSOLE_DATABASES;

/// What somebody may do on the console.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// Everything.
    Admin,
    /// Look, and change nothing.
    Stats,
}

impl Role {
    /// As the log calls it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Stats => "stats",
        }
    }
}

/// Somebody who may use the console.
pub struct ConsoleLogin {
    pub client: ClientId,
    pub stream: Stream,
    pub peer: Peer,
    pub user: String,
    pub application_name: String,
    pub role: Role,
    /// The minor version of protocol 3 that is spoken.
    pub minor: u16,
    /// What has come behind the login.
    pub early: Vec<u8>,
    /// What is still to be sent: the end of the authentication.
    pub out: Vec<u8>,
    pub pass: Pass,
}

/// The same, while its stream is lent to the login.
pub(super) struct Admitted {
    client: ClientId,
    user: String,
    application_name: String,
    role: Role,
    minor: u16,
    early: Vec<u8>,
    out: Vec<u8>,
    pass: Pass,
}

impl Admitted {
    pub(super) fn over(self, stream: Stream, peer: Peer) -> ConsoleLogin {
        let Self { client, user, application_name, role, minor, early, out, pass } = self;
        ConsoleLogin { client, stream, peer, user, application_name, role, minor, early, out, pass }
    }
}

pub(super) fn is_console(database: &str) -> bool {
    CONSOLE_DATABASES.contains(&database)
}

impl Frontend {
    /// The same exchange as for clients; their limits do not hold here.
    pub(super) async fn log_in_to_console(
        &self,
        mut exchange: Exchange<'_>,
        wanted: Wanted,
    ) -> Result<Admitted, End> {
        let is_own = is_own(exchange.stream, &wanted.user);
        let visitor = match role(&self.registry.config().auth, &wanted.user) {
            _ if is_own => Visitor::Own,
            Some(Role::Admin) => Visitor::Admin,
            _ => Visitor::Other,
        };
        let pass = self.registry.admit_to_console(visitor)?;
        let role = if is_own {
            Role::Admin
        } else {
            let credential = self.registry.credential(&wanted.user);
            self.authenticate(&mut exchange, &wanted.user, credential.as_ref()).await?;
            // Only now: who may use it is nobody else's business.
            role(&self.registry.config().auth, &wanted.user).ok_or(EndReason::ConsoleDenied)?
        };
        encode::authentication(&mut exchange.out, 0, |_| {});
        let mut params = wanted.params.into_iter();
        let application_name = params.find(|(name, _)| name == APPLICATION_NAME);
        let application_name = application_name.map(|(_, name)| name).unwrap_or_default();
        Ok(Admitted {
            client: self.next_client(),
            user: wanted.user,
            application_name,
            role,
            minor: wanted.minor,
            early: exchange.buffer,
            out: exchange.out,
            pass,
        })
    }
}

fn role(auth: &Auth, user: &str) -> Option<Role> {
    let is_in = |users: &[String]| users.iter().any(|other| other == user);
    if is_in(&auth.admin_users) {
        return Some(Role::Admin);
    }
    is_in(&auth.stats_users).then_some(Role::Stats)
}

/// Whether the client is a process of the proxy's own user, and says so.
fn is_own(stream: &Stream, user: &str) -> bool {
    OWN_USERS.contains(&user) && stream.peer_uid() == Some(rustix::process::geteuid().as_raw())
}

#[cfg(test)]
mod tests {
    use super::{Role, role};
    use crate::config::Config;

    #[test]
    fn a_user_is_what_the_lists_say() {
        let mut auth = Config::default().auth;
        auth.admin_users = vec!["root".to_owned()];
        auth.stats_users = vec!["root".to_owned(), "monitor".to_owned()];
        assert_eq!(role(&auth, "root"), Some(Role::Admin));
        assert_eq!(role(&auth, "monitor"), Some(Role::Stats));
        assert_eq!(role(&auth, "app"), None);
    }
}
