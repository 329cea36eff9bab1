//! Users that do not exist, as they look from outside.

use super::SALT_BYTES;
use super::keys::{Iterations, Key, hmac};
use super::secret::ScramSecret;
use std::fmt;
use std::sync::Arc;
use zeroize::Zeroizing;

/// Makes salts out of user names: for users that exist and for those that do not.
///
/// A stranger must not learn from the exchange whether a user exists. So there is a salt for any
/// name, the same each time, and one that stays when the user is created or removed: users with a
/// plain password get theirs from here too.
///
/// What remains visible: users whose stored SCRAM secret has another salt length or iteration
/// count than those made here (Postgres has this as well), and the time of the first derivation
/// for a plain password. Deriving all of them in the background after start and reload removes
/// the latter.
#[derive(Clone)]
pub struct Mock {
    key: Zeroizing<[u8; 32]>,
    iterations: Iterations,
}

impl Mock {
    /// `key` is random and lives as long as the process. `iterations` is what plain passwords get.
    pub fn new(key: [u8; 32], iterations: Iterations) -> Self {
        Self { key: Zeroizing::new(key), iterations }
    }

    /// What plain passwords get.
    pub fn iterations(&self) -> Iterations {
        self.iterations
    }

    /// The salt of a user of this name, existing or not.
    pub fn salt(&self, user: &str) -> [u8; SALT_BYTES] {
        let hash = self.hash(b"salt", user);
        std::array::from_fn(|at| hash[at])
    }

    /// A secret that no proof fits. Checking one against it is as much work as against a real one.
    pub fn secret(&self, user: &str) -> ScramSecret {
        ScramSecret {
            iterations: self.iterations,
            salt: self.salt(user).into(),
            stored_key: Key::new(self.hash(b"stored key", user)),
            server_key: Key::new(self.hash(b"server key", user)),
            doomed: true,
        }
    }

    /// The secret to check a login of `user` against: the real one, if there is one. The mock is
    /// made in either case, so that not even the microsecond it takes tells them apart.
    pub fn stand_in(&self, user: &str, real: Option<Arc<ScramSecret>>) -> Arc<ScramSecret> {
        let mock = self.secret(user);
        real.unwrap_or_else(|| Arc::new(mock))
    }

    fn hash(&self, purpose: &[u8], user: &str) -> [u8; 32] {
        hmac(self.key.as_slice(), &[purpose, b"\0", user.as_bytes()])
    }
}

impl fmt::Debug for Mock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mock").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::{Iterations, Mock};

    #[test]
    fn a_name_keeps_its_salt_and_shares_it_with_nobody() {
        let mock = Mock::new([1; 32], Iterations::default());
        assert_eq!(mock.secret("ann"), mock.clone().secret("ann"));
        assert_eq!(*mock.secret("ann").salt, mock.salt("ann"));
        assert_eq!(*mock.stand_in("ann", None), mock.secret("ann"));
        assert_ne!(mock.salt("ann"), mock.salt("bob"));
        let restarted = Mock::new([2; 32], Iterations::default());
        assert_ne!(mock.salt("ann"), restarted.salt("ann"));
    }

    #[test]
    fn the_key_is_never_printed() {
        let mock = Mock::new([171; 32], Iterations::default());
        assert!(!format!("{mock:?}").contains("171"));
    }
}
