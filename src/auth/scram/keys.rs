//! The keys of SCRAM-SHA-256 and the hashes that make them.

use super::attributes::Malformed;
use crate::auth::saslprep;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use std::fmt;
use std::marker::PhantomData;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// The most rounds of hashing that a peer or a stored secret may ask of us: some seconds of one
/// core. Postgres' default is 4,096.
pub const ITERATIONS_MAX: u32 = 10_000_000;

const KEY_BYTES: usize = 32;

/// Makes proofs. Whoever has it can log in.
pub type ClientKey = Key<OfClient>;
/// Signs for the server.
pub type ServerKey = Key<OfServer>;
/// The hash of the [`ClientKey`]: checks proofs.
pub type StoredKey = Key<OfStored>;
/// A hash by which a password that was right before is recognised.
pub type PasswordMark = Key<OfPassword>;

/// One of the 32-byte keys; which one is in the type. Zeroed when dropped, compared in constant
/// time, never printed.
#[derive(Clone)]
pub struct Key<Role> {
    bytes: Zeroizing<[u8; KEY_BYTES]>,
    role: PhantomData<Role>,
}

/// The role of a [`ClientKey`].
#[derive(Clone, Copy, Debug)]
pub enum OfClient {}
/// The role of a [`PasswordMark`].
#[derive(Clone, Copy, Debug)]
pub enum OfPassword {}
/// The role of a [`ServerKey`].
#[derive(Clone, Copy, Debug)]
pub enum OfServer {}
/// The role of a [`StoredKey`].
#[derive(Clone, Copy, Debug)]
pub enum OfStored {}

/// How often the password is hashed: from one to [`ITERATIONS_MAX`].
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Iterations(u32);

/// What a proof and a signature are made over.
#[derive(Clone, Copy, Debug)]
pub(super) struct AuthMessage<'a> {
    pub(super) client_first_bare: &'a [u8],
    pub(super) server_first: &'a [u8],
    pub(super) client_final_without_proof: &'a [u8],
}

impl<Role> Key<Role> {
    pub(super) fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Self { bytes: Zeroizing::new(bytes), role: PhantomData }
    }

    pub(super) fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.bytes
    }
}

impl ClientKey {
    /// One that [`Self::shown`] showed.
    pub fn of(bytes: [u8; KEY_BYTES]) -> Self {
        Self::new(bytes)
    }

    /// The key itself, for a process that takes over.
    pub fn shown(&self) -> Zeroizing<[u8; KEY_BYTES]> {
        self.bytes.clone()
    }

    /// What a server keeps of this key.
    pub fn stored_key(&self) -> StoredKey {
        Key::new(Sha256::digest(self.bytes.as_slice()).into())
    }

    /// The proof that `self` is known, without showing it.
    pub(super) fn proof(&self, message: AuthMessage<'_>) -> Zeroizing<[u8; KEY_BYTES]> {
        Zeroizing::new(xor(self.bytes(), &self.stored_key().sign(message)))
    }
}

impl StoredKey {
    /// The key that `proof` was made with, whether it is the right one or not.
    pub(super) fn client_key(&self, proof: &[u8; 32], message: AuthMessage<'_>) -> ClientKey {
        Key::new(xor(proof, &self.sign(message)))
    }

    fn sign(&self, message: AuthMessage<'_>) -> [u8; KEY_BYTES] {
        message.sign(self.bytes())
    }
}

impl ServerKey {
    /// The server's signature, by which a client knows that the server has the secret too.
    pub(super) fn signature(&self, message: AuthMessage<'_>) -> [u8; KEY_BYTES] {
        message.sign(self.bytes())
    }
}

impl<Role> PartialEq for Key<Role> {
    fn eq(&self, other: &Self) -> bool {
        self.bytes.ct_eq(other.bytes.as_slice()).into()
    }
}

impl<Role> Eq for Key<Role> {}

impl<Role> fmt::Debug for Key<Role> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

impl Iterations {
    /// `None`: zero, or more than anyone should ask for.
    pub fn new(count: u32) -> Option<Self> {
        (1..=ITERATIONS_MAX).contains(&count).then_some(Self(count))
    }

    /// The number.
    pub fn count(self) -> u32 {
        self.0
    }

    /// Reads a number without sign and leading zeros.
    pub(super) fn parse(digits: &[u8]) -> Result<Self, Malformed> {
        let digits = match digits {
            [b'1'..=b'9', ..] if digits.iter().all(u8::is_ascii_digit) => digits,
            _ => return Err(Malformed::Iterations),
        };
        std::str::from_utf8(digits)
            .ok()
            .and_then(|text| text.parse().ok())
            .and_then(Self::new)
            .ok_or(Malformed::Iterations)
    }
}

impl Default for Iterations {
    /// Postgres' and PgBouncer's default, and the least that RFC 7677 recommends.
    fn default() -> Self {
        Self(4096)
    }
}

impl AuthMessage<'_> {
    fn sign(&self, key: &[u8]) -> [u8; KEY_BYTES] {
        let comma = &b","[..];
        let parts = [
            self.client_first_bare,
            comma,
            self.server_first,
            comma,
            self.client_final_without_proof,
        ];
        hmac(key, &parts)
    }
}

/// Both keys of a password. **Slow**: `iterations` times two blocks of SHA-256.
pub(super) fn derive(
    password: &[u8],
    salt: &[u8],
    iterations: Iterations,
) -> (ClientKey, ServerKey) {
    let salted = salted_password(&saslprep::prepare(password), salt, iterations);
    let key = |name: &[u8]| hmac(salted.as_slice(), &[name]);
    (Key::new(key(b"Client Key")), Key::new(key(b"Server Key")))
}

/// HMAC-SHA-256 over the concatenation of `parts`.
pub(super) fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; KEY_BYTES] {
    let mut mac = keyed(key);
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// PBKDF2 with one block of output. The state after the key went in is cloned for each round
/// instead of made anew: two compressions a round, not four. 4,096 rounds take about 1 ms where
/// the processor knows SHA-256 (OpenSSL 3.0 on the same machine: 2.3 ms).
fn salted_password(
    password: &[u8],
    salt: &[u8],
    iterations: Iterations,
) -> Zeroizing<[u8; KEY_BYTES]> {
    let keyed = keyed(password);
    let first = keyed.clone().chain_update(salt).chain_update(1_u32.to_be_bytes());
    let mut round = first.finalize().into_bytes();
    let mut sum = Zeroizing::new(<[u8; KEY_BYTES]>::from(round));
    for _ in 1..iterations.count() {
        round = keyed.clone().chain_update(round).finalize().into_bytes();
        for (sum, byte) in sum.iter_mut().zip(round) {
            *sum ^= byte;
        }
    }
    sum
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

fn xor(left: &[u8; KEY_BYTES], right: &[u8; KEY_BYTES]) -> [u8; KEY_BYTES] {
    std::array::from_fn(|at| left[at] ^ right[at])
}

#[cfg(test)]
mod tests {
    use super::{ClientKey, ITERATIONS_MAX, Iterations, Key, salted_password};

    #[test]
    fn a_key_is_never_printed() {
        let key: ClientKey = Key::new([77; 32]);
        assert_eq!(format!("{key:?}"), "Key(…)");
        assert!(!format!("{:?}", key.stored_key()).contains("77"));
    }

    #[test]
    fn pbkdf2_gives_the_known_results() {
        // RFC 7914, section 11, its first 32 bytes; and the widely used vectors for SHA-256.
        for (password, salt, count, expected) in [
            ("passwd", "salt", 1, "55ac046e56e3089fec1691c22544b605"),
            ("password", "salt", 1, "120fb6cffcf8b32c43e7225256c4f837"),
            ("password", "salt", 2, "ae4d0c95af6b46d32d0adff928f06dd0"),
            ("password", "salt", 4096, "c5e478d59288c841aa530db6845c4c8d"),
        ] {
            let iterations = Iterations::new(count).unwrap();
            let key = salted_password(password.as_bytes(), salt.as_bytes(), iterations);
            let start = &u128::from_be_bytes(key[..16].try_into().unwrap());
            assert_eq!(format!("{start:032x}"), expected, "{password} {salt} {count}");
        }
    }

    #[test]
    fn only_sane_iteration_counts_are_read() {
        assert_eq!(Iterations::parse(b"1"), Ok(Iterations(1)));
        assert_eq!(Iterations::parse(b"10000000"), Ok(Iterations(ITERATIONS_MAX)));
        for text in ["", "0", "-1", "+1", "01", " 1", "1 ", "10000001", "99999999999999999999"] {
            assert!(Iterations::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
