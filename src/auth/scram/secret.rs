//! What either end keeps instead of a password.

use super::attributes::{decode_key, decode_salt};
use super::keys::{self, ClientKey, Iterations, Key, PasswordMark, ServerKey, StoredKey};
use crate::base::secret::Secret;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

const PREFIX: &str = "SCRAM-SHA-256$";

/// What a server keeps of a user: enough to check a proof, not to make one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ScramSecret {
    pub(super) iterations: Iterations,
    pub(super) salt: Box<[u8]>,
    pub(super) stored_key: StoredKey,
    pub(super) server_key: ServerKey,
    /// No proof is right, even one that fits: the user does not exist.
    pub(super) doomed: bool,
}

/// What a client needs to log in to a server that keeps the [`ScramSecret`] with the same salt and
/// iterations. As good as the password there, and useless anywhere else.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClientKeys {
    pub(super) iterations: Iterations,
    pub(super) salt: Box<[u8]>,
    pub(in crate::auth) client_key: ClientKey,
    pub(super) server_key: ServerKey,
}

impl ScramSecret {
    /// Reads Postgres' form, `SCRAM-SHA-256$4096:salt$StoredKey:ServerKey` in base64. `None` for
    /// anything else, and for iterations and salts beyond the limits.
    pub fn parse(text: &str) -> Option<Self> {
        let (parameters, keys) = text.strip_prefix(PREFIX)?.split_once('$')?;
        let (iterations, salt) = parameters.split_once(':')?;
        let (stored_key, server_key) = keys.split_once(':')?;
        Some(Self {
            iterations: Iterations::parse(iterations.as_bytes()).ok()?,
            salt: decode_salt(salt.as_bytes())?.into(),
            stored_key: Key::new(decode_key(stored_key.as_bytes())?),
            server_key: Key::new(decode_key(server_key.as_bytes())?),
            doomed: false,
        })
    }

    /// Whether `text` wants to be such a secret, even if [`ScramSecret::parse`] refuses it.
    pub(in crate::auth) fn looks_like(text: &str) -> bool {
        text.starts_with(PREFIX)
    }

    /// Makes a secret. **Slow.**
    pub fn of_password(password: &[u8], salt: &[u8], iterations: Iterations) -> Self {
        let keys = ClientKeys::of_password(password, salt, iterations);
        Self {
            iterations,
            stored_key: keys.client_key.stored_key(),
            server_key: keys.server_key,
            salt: keys.salt,
            doomed: false,
        }
    }

    /// The form that [`ScramSecret::parse`] reads.
    pub fn encode(&self) -> Secret {
        let base64 = |bytes: &[u8]| Zeroizing::new(STANDARD.encode(bytes));
        Secret::new(format!(
            "{PREFIX}{}:{}${}:{}",
            self.iterations.count(),
            base64(&self.salt).as_str(),
            base64(self.stored_key.bytes()).as_str(),
            base64(self.server_key.bytes()).as_str(),
        ))
    }

    /// How often the password was hashed.
    pub fn iterations(&self) -> Iterations {
        self.iterations
    }

    /// What was hashed with the password.
    pub fn salt(&self) -> &[u8] {
        &self.salt
    }

    /// The keys to log in with, if `password` is the one the secret was made of. **Slow.**
    pub fn check_password(&self, password: &[u8]) -> Option<ClientKeys> {
        let keys = ClientKeys::of_password(password, &self.salt, self.iterations);
        self.accepts(&keys.client_key).then_some(keys)
    }

    /// What to recognise `password` by, among others that come with this secret. Fast, so it must
    /// never leave the process: whoever reads it tries passwords without the iterations.
    pub fn mark(&self, password: &[u8]) -> PasswordMark {
        Key::new(keys::hmac(self.server_key.bytes(), &[password]))
    }

    /// What a client logs in with that knows `client_key`; `None` if it does not fit.
    pub fn client_keys(&self, client_key: &ClientKey) -> Option<ClientKeys> {
        self.accepts(client_key).then(|| ClientKeys {
            iterations: self.iterations,
            salt: self.salt.clone(),
            client_key: client_key.clone(),
            server_key: self.server_key.clone(),
        })
    }

    /// Whether a proof was right from which `client_key` came out. The same work in either case.
    pub(super) fn accepts(&self, client_key: &ClientKey) -> bool {
        let fits = client_key.stored_key() == self.stored_key;
        fits && !self.doomed
    }
}

impl ClientKeys {
    /// Both keys of a password. **Slow.**
    pub fn of_password(password: &[u8], salt: &[u8], iterations: Iterations) -> Self {
        let (client_key, server_key) = keys::derive(password, salt, iterations);
        Self { iterations, salt: salt.into(), client_key, server_key }
    }

    /// The key that proofs are made with.
    pub fn client_key(&self) -> &ClientKey {
        &self.client_key
    }

    /// Whether a server that names this salt and count means the secret these keys belong to.
    pub(super) fn fit(&self, salt: &[u8], iterations: Iterations) -> bool {
        self.iterations == iterations && *self.salt == *salt
    }
}

#[cfg(test)]
mod tests {
    use super::{Iterations, ScramSecret};
    use proptest::prelude::*;

    const SECRET: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

    #[test]
    fn a_secret_of_rfc_7677_fits_its_password() {
        let secret = ScramSecret::parse(SECRET).unwrap();
        let salt = secret.salt.clone();
        assert_eq!(secret, ScramSecret::of_password(b"pencil", &salt, Iterations::default()));
        assert!(secret.check_password(b"pencil").is_some());
        assert!(secret.check_password(b"pencils").is_none());
        assert_eq!(secret.encode().reveal(), SECRET);
    }

    #[test]
    fn a_secret_is_never_printed() {
        let printed = format!("{:?}", ScramSecret::parse(SECRET).unwrap());
        assert!(printed.contains("stored_key: Key(…), server_key: Key(…)"), "{printed}");
    }

    #[test]
    fn a_secret_beyond_the_limits_is_refused() {
        assert!(ScramSecret::parse(&SECRET.replace("$4096:", "$10000001:")).is_none());
        assert!(ScramSecret::parse(&SECRET.replace("$4096:", "$0:")).is_none());
        assert!(ScramSecret::parse(&SECRET.replace("W22ZaJ0SNY7soEsUEjb6gQ==", "")).is_none());
        let long = "AAAA".repeat(86);
        assert!(ScramSecret::parse(&SECRET.replace("W22ZaJ0SNY7soEsUEjb6gQ==", &long)).is_none());
        assert!(ScramSecret::parse(&SECRET[..SECRET.len() - 4]).is_none());
    }

    proptest! {
        #[test]
        fn a_secret_survives_being_written_and_read(
            password in "\\PC{0,12}",
            salt in proptest::collection::vec(any::<u8>(), 1..40),
            count in 1_u32..20,
        ) {
            let iterations = Iterations::new(count).unwrap();
            let secret = ScramSecret::of_password(password.as_bytes(), &salt, iterations);
            prop_assert_eq!(ScramSecret::parse(secret.encode().reveal()), Some(secret));
        }

        #[test]
        fn any_text_is_a_secret_or_not(
            text in "(SCRAM-SHA-256\\$)?[0-9]{0,3}[:$]?[a-zA-Z=]{0,8}[:$]?\\PC{0,60}[:$]?\\PC{0,60}",
        ) {
            ScramSecret::parse(&text);
        }
    }
}
