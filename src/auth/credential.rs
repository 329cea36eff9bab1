//! A user who may log in, and what was learned and derived for them so far.

use super::md5::{MD5_RESPONSE_BYTES, Md5Hash};
use super::scram::client::ClientSecret;
use super::scram::{ClientKey, ClientKeys, Mock, PasswordMark, ScramSecret};
use super::stored::Stored;
use crate::base::secret::Secret;
use sha2::{Digest, Sha256};
use std::str;
use std::sync::{Arc, OnceLock};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// A user and what is known of the password, with the keys that were made of it.
///
/// Built once per configuration and shared as an `Arc`. After a reload the old one goes on if
/// [`Credential::is_made_of`] says so and the iterations are the same: its keys are worth keeping.
///
/// It serves both ends: clients that log in as this user are checked against it, and with it we log
/// in to Postgres. An empty password does neither.
#[derive(Debug)]
pub struct Credential {
    user: String,
    stored: Stored,
    /// Made of a plain password at its first use.
    scram_secret: OnceLock<Arc<ScramSecret>>,
    /// Known at once with a plain password, learned from a client with a SCRAM secret.
    client_secret: OnceLock<ClientSecret>,
    /// The first password that was right for a SCRAM secret. One: clients of a user send the same.
    proven: OnceLock<PasswordMark>,
}

impl Credential {
    /// Cheap: nothing is derived yet.
    pub fn new(user: &str, stored: Stored) -> Self {
        let credential = Self {
            user: user.to_owned(),
            stored,
            scram_secret: OnceLock::new(),
            client_secret: OnceLock::new(),
            proven: OnceLock::new(),
        };
        if let Some(password) = credential.plain_password() {
            let secret = ClientSecret::password(password.clone());
            credential.client_secret.get_or_init(|| secret);
        }
        credential
    }

    /// The name that clients and we log in with.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Whether a new credential of `user` and `stored` would be the same.
    pub fn is_made_of(&self, user: &str, stored: &Stored) -> bool {
        self.user == user && self.stored == *stored
    }
}

/// Clients that log in as this user.
impl Credential {
    /// Whether the user can ever log in with SCRAM. If not, [`Mock::stand_in`] makes up a
    /// secret.
    pub fn can_scram(&self) -> bool {
        matches!(self.stored, Stored::Scram(_)) || self.plain_password().is_some()
    }

    /// What to check a proof against, if that is known without slow work.
    pub fn ready_keys(&self) -> Option<Arc<ScramSecret>> {
        match &self.stored {
            Stored::Md5(_) => None,
            Stored::Plain(_) => self.scram_secret.get().cloned(),
            Stored::Scram(secret) => Some(Arc::clone(secret)),
        }
    }

    /// What to check a proof against, made if need be. **Slow** unless [`Credential::ready_keys`]
    /// has it: meanwhile others who ask for the same wait, so only call it where one may block.
    /// `None`: see [`Credential::can_scram`].
    pub fn derive_keys(&self, mock: &Mock) -> Option<Arc<ScramSecret>> {
        let Some(password) = self.plain_password() else {
            return self.ready_keys();
        };
        let derive = || {
            let password = password.reveal().as_bytes();
            let salt = mock.salt(&self.user);
            Arc::new(ScramSecret::of_password(password, &salt, mock.iterations()))
        };
        Some(Arc::clone(self.scram_secret.get_or_init(derive)))
    }

    /// Whether only SCRAM, or the password itself, shows that a client is this user.
    pub fn is_scram(&self) -> bool {
        matches!(self.stored, Stored::Scram(_))
    }

    /// Checks a password that a client sent in the clear, as far as that is no slow work. `None`:
    /// only [`Credential::check_plain`] can tell.
    ///
    /// A password that is no UTF-8 is refused: no configuration can hold it. So is one with a
    /// zero byte, which no client can send; HMAC would take it for padding.
    pub fn check_plain_at_once(&self, password: &[u8]) -> Option<bool> {
        if password.is_empty() || password.contains(&0) || str::from_utf8(password).is_err() {
            return Some(false);
        }
        match &self.stored {
            Stored::Md5(hash) => Some(Md5Hash::of_password(&self.user, password) == *hash),
            Stored::Plain(stored) => Some(equal(stored.reveal().as_bytes(), password)),
            Stored::Scram(secret) => {
                let proven = self.proven.get()?;
                (secret.mark(password) == *proven).then_some(true)
            }
        }
    }

    /// The same to the end. **Slow** unless [`Credential::check_plain_at_once`] knows: so only call
    /// it where one may block. A password that was right for a SCRAM secret is known from then on.
    pub fn check_plain(&self, password: &[u8]) -> bool {
        if let Some(is_right) = self.check_plain_at_once(password) {
            return is_right;
        }
        let Stored::Scram(secret) = &self.stored else { return false };
        let Some(keys) = secret.check_password(password) else { return false };
        self.keep(keys);
        self.proven.get_or_init(|| secret.mark(password));
        true
    }

    /// Checks a client's answer to an MD5 challenge, `md5…` without its zero byte. Never right for
    /// a user with a SCRAM secret.
    pub fn check_md5(&self, response: &[u8], salt: [u8; 4]) -> bool {
        self.md5_hash().is_some_and(|hash| hash.check(response, salt))
    }

    /// Keeps what a right proof revealed, so that [`Credential::client_secret`] has it.
    pub fn learn(&self, client_key: &ClientKey) {
        if let Stored::Scram(secret) = &self.stored
            && let Some(keys) = secret.client_keys(client_key)
        {
            self.keep(keys);
        }
    }

    /// What a client's proof revealed, for a process that takes over. `None`: nothing that the
    /// configuration does not tell.
    pub fn learned(&self) -> Option<Zeroizing<[u8; 32]>> {
        match (&self.stored, self.client_secret.get()) {
            (Stored::Scram(_), Some(ClientSecret::Keys(keys))) => Some(keys.client_key.shown()),
            _ => None,
        }
    }

    fn keep(&self, keys: ClientKeys) {
        self.client_secret.get_or_init(|| ClientSecret::Keys(Arc::new(keys)));
    }
}

/// We, logging in to Postgres as this user.
impl Credential {
    /// What to log in with when Postgres asks for SCRAM. `None`: never with an MD5 hash, not yet
    /// with a SCRAM secret until a client has logged in.
    pub fn client_secret(&self) -> Option<ClientSecret> {
        self.client_secret.get().cloned()
    }

    /// What to answer when Postgres asks for MD5, without the zero byte.
    pub fn md5_response(&self, salt: [u8; 4]) -> Option<[u8; MD5_RESPONSE_BYTES]> {
        self.md5_hash().map(|hash| hash.response(salt))
    }

    /// What to answer when Postgres asks for the password itself.
    pub fn plain_password(&self) -> Option<&Secret> {
        match &self.stored {
            Stored::Plain(password) if !password.reveal().is_empty() => Some(password),
            _ => None,
        }
    }

    fn md5_hash(&self) -> Option<Md5Hash> {
        match &self.stored {
            Stored::Md5(hash) => Some(hash.clone()),
            _ => self
                .plain_password()
                .map(|password| Md5Hash::of_password(&self.user, password.reveal().as_bytes())),
        }
    }
}

/// Constant time, and blind to the lengths: hashes are compared.
fn equal(left: &[u8], right: &[u8]) -> bool {
    Sha256::digest(left).ct_eq(&Sha256::digest(right)).into()
}

#[cfg(test)]
mod tests {
    use super::{Credential, Stored};
    use crate::auth::md5::Md5Hash;
    use crate::auth::scram::client::ClientSecret;
    use crate::auth::scram::{Iterations, Mock, ScramSecret};
    use std::sync::Arc;

    fn mock() -> Mock {
        Mock::new([3; 32], Iterations::new(8).unwrap())
    }

    fn scram(password: &[u8]) -> Stored {
        let iterations = Iterations::new(8).unwrap();
        Stored::Scram(Arc::new(ScramSecret::of_password(password, b"salt", iterations)))
    }

    #[test]
    fn every_form_checks_a_plain_password() {
        let forms = [
            Stored::parse("pencil"),
            Stored::Md5(Md5Hash::of_password("ann", b"pencil")),
            scram(b"pencil"),
        ];
        for stored in forms {
            let ann = Credential::new("ann", stored);
            // The second time, when one was right before, too.
            for _ in 0..2 {
                assert!(ann.check_plain(b"pencil"), "{ann:?}");
                for wrong in [&b""[..], b"pencils", b"penci", b"Pencil", b"pencil\0", b"\xff"] {
                    assert!(!ann.check_plain(wrong), "{ann:?} {wrong:?}");
                }
            }
        }
    }

    #[test]
    fn md5_needs_the_password_or_its_hash() {
        let salt = [1, 2, 3, 4];
        let plain = Credential::new("ann", Stored::parse("pencil"));
        let hashed = Credential::new("ann", Stored::Md5(Md5Hash::of_password("ann", b"pencil")));
        let response = plain.md5_response(salt).unwrap();
        assert_eq!(hashed.md5_response(salt), Some(response));
        assert!(plain.check_md5(&response, salt) && hashed.check_md5(&response, salt));
        assert!(!plain.check_md5(&response, [1, 2, 3, 5]));

        let secret = Credential::new("ann", scram(b"pencil"));
        assert!(!secret.check_md5(&response, salt));
        assert_eq!(secret.md5_response(salt), None);
    }

    #[test]
    fn keys_are_derived_once() {
        let ann = Credential::new("ann", Stored::parse("pencil"));
        assert!(ann.can_scram());
        assert!(ann.ready_keys().is_none());
        let keys = ann.derive_keys(&mock()).unwrap();
        assert!(Arc::ptr_eq(&keys, &ann.ready_keys().unwrap()));
        assert!(Arc::ptr_eq(&keys, &ann.derive_keys(&mock()).unwrap()));
        assert_eq!(*keys.salt(), mock().salt("ann"));
    }

    #[test]
    fn an_empty_password_lets_nobody_in() {
        let nobody = Credential::new("nobody", Stored::parse(""));
        assert!(!nobody.check_plain(b""));
        let response = Md5Hash::of_password("nobody", b"").response([0; 4]);
        assert!(!nobody.check_md5(&response, [0; 4]));
        assert!(!nobody.can_scram());
        assert!(nobody.derive_keys(&mock()).is_none());
        assert!(nobody.client_secret().is_none());
        assert!(nobody.md5_response([0; 4]).is_none());
    }

    #[test]
    fn keys_are_learned_from_a_client_but_only_the_right_ones() {
        let ann = Credential::new("ann", scram(b"pencil"));
        let Stored::Scram(secret) = &ann.stored else { unreachable!("made of a secret") };
        assert!(ann.client_secret().is_none());

        let wrong = ScramSecret::of_password(b"pen", b"salt", secret.iterations());
        let wrong = wrong.check_password(b"pen").unwrap();
        ann.learn(wrong.client_key());
        assert!(ann.client_secret().is_none());

        let right = secret.check_password(b"pencil").unwrap();
        ann.learn(right.client_key());
        assert!(matches!(ann.client_secret(), Some(ClientSecret::Keys(keys)) if *keys == right));
    }

    #[test]
    fn a_plain_password_is_as_good_as_a_proof_to_learn_from() {
        let ann = Credential::new("ann", scram(b"pencil"));
        assert!(!ann.check_plain(b"pen"));
        assert!(ann.client_secret().is_none());
        assert!(ann.check_plain(b"pencil"));
        assert!(ann.client_secret().is_some());
    }

    #[test]
    fn a_password_that_was_right_is_known_without_slow_work() {
        let ann = Credential::new("ann", scram(b"pencil"));
        assert_eq!(ann.check_plain_at_once(b"pencil"), None);
        assert!(!ann.check_plain(b"pen"));
        assert_eq!(ann.check_plain_at_once(b"pen"), None, "what was wrong is not kept");
        assert!(ann.check_plain(b"pencil"));
        assert_eq!(ann.check_plain_at_once(b"pencil"), Some(true));
        assert_eq!(ann.check_plain_at_once(b"pen"), None);
        assert_eq!(ann.check_plain_at_once(b""), Some(false));
        let bob = Credential::new("bob", Stored::parse("pencil"));
        assert_eq!(bob.check_plain_at_once(b"pencil"), Some(true));
        assert_eq!(bob.check_plain_at_once(b"pen"), Some(false));
        assert!(!format!("{ann:?}").contains("pencil"));
    }

    #[test]
    fn an_unchanged_credential_is_recognised() {
        let ann = Credential::new("ann", Stored::parse("pencil"));
        assert!(ann.is_made_of("ann", &Stored::parse("pencil")));
        assert!(!ann.is_made_of("bob", &Stored::parse("pencil")));
        assert!(!ann.is_made_of("ann", &scram(b"pencil")));
    }

    #[test]
    fn nothing_secret_is_ever_printed() {
        let ann = Credential::new("ann", Stored::parse("hunter2"));
        ann.derive_keys(&mock());
        assert!(!format!("{ann:?}").contains("hunter2"));
    }
}
