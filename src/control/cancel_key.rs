//! What a client shows to cancel: nobody else must be able to guess it.

use subtle::ConstantTimeEq;

/// What proves that a cancel request may mean somebody.
#[derive(Clone)]
pub struct Key {
    secret: [u8; 32],
    len: u8,
}

impl Key {
    /// Protocol 3.0 has room for four bytes of secret; 3.2 takes up to 256, of which 32 are enough.
    pub fn new(minor: u16) -> Self {
        Self { secret: rand::random(), len: if minor >= 2 { 32 } else { 4 } }
    }

    /// One that was shown before. `None`: its length is no key's.
    pub fn of(shown: &[u8]) -> Option<Self> {
        let len = u8::try_from(shown.len()).ok().filter(|len| matches!(len, 4 | 32))?;
        let mut secret = [0; 32];
        secret[..shown.len()].copy_from_slice(shown);
        Some(Self { secret, len })
    }

    /// What goes into `BackendKeyData`.
    pub fn shown(&self) -> &[u8] {
        &self.secret[..usize::from(self.len)]
    }

    pub(super) fn is(&self, secret: &[u8]) -> bool {
        self.shown().ct_eq(secret).into()
    }
}
