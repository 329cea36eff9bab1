//! What the configuration says of a user's password.

use super::md5::Md5Hash;
use super::scram::ScramSecret;
use crate::base::secret::Secret;
use std::sync::Arc;

/// What is known of a user's password. Parsed once from the configuration's text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Stored {
    /// `md5` and 32 digits: checks plain passwords and MD5; logs in with MD5.
    Md5(Md5Hash),
    /// Checks and logs in with anything. Empty: nobody may log in as this user.
    Plain(Secret),
    /// `SCRAM-SHA-256$…`: checks SCRAM, and plain passwords slowly; logs in with SCRAM as soon as
    /// a client has logged in.
    Scram(Arc<ScramSecret>),
}

impl Stored {
    /// Reads a secret as Postgres and PgBouncer do: what is not a hash is a plain password.
    pub fn parse(text: &str) -> Self {
        if let Some(hash) = Md5Hash::parse(text) {
            Self::Md5(hash)
        } else if let Some(secret) = ScramSecret::parse(text) {
            Self::Scram(Arc::new(secret))
        } else {
            Self::Plain(Secret::new(text.to_owned()))
        }
    }

    /// Whether a plain password begins like a SCRAM secret: most likely one that was damaged, or
    /// whose iterations pass our limit. For a finding; it is a plain password to us.
    pub fn looks_damaged(&self) -> bool {
        matches!(self, Self::Plain(text) if ScramSecret::looks_like(text.reveal()))
    }
}

#[cfg(test)]
mod tests {
    use super::Stored;
    use crate::auth::scram::{Iterations, ScramSecret};

    #[test]
    fn the_form_of_the_text_decides() {
        assert!(matches!(Stored::parse("md5f0e1d2c3b4a5968778695a4b3c2d1e0f"), Stored::Md5(_)));
        let secret = ScramSecret::of_password(b"x", b"salt", Iterations::default());
        let text = secret.encode();
        assert!(matches!(Stored::parse(text.reveal()), Stored::Scram(_)));
        for plain in ["", "secret", "md5", "md5F0E1D2C3B4A5968778695A4B3C2D1E0F", "SCRAM-SHA-256"] {
            let stored = Stored::parse(plain);
            assert!(matches!(&stored, Stored::Plain(text) if text.reveal() == plain), "{plain}");
            assert!(!stored.looks_damaged(), "{plain}");
        }
        assert!(Stored::parse(&text.reveal()[..60]).looks_damaged());
    }

    #[test]
    fn nothing_stored_is_ever_printed() {
        assert_eq!(format!("{:?}", Stored::parse("hunter2")), "Plain(Secret(…))");
    }
}
