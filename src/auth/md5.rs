//! MD5 passwords: `md5` + md5(md5(password + user) + salt), as old clients and servers use them.
//!
//! The stored hash is as good as the password to whoever has it: it answers any salt.

use md5::{Digest, Md5};
use std::fmt;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// What a client sends, without the zero byte that ends it: `md5` and 32 hexadecimal digits.
pub const MD5_RESPONSE_BYTES: usize = 35;

const PREFIX: &str = "md5";
const DIGITS: usize = 32;

/// md5(password + user), as its 32 lower-case digits: that is what goes into the next hash.
#[derive(Clone)]
pub struct Md5Hash(Zeroizing<[u8; DIGITS]>);

impl Md5Hash {
    /// Reads `md5` and 32 digits. Upper case is no hash to Postgres either, but a plain password.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(PREFIX)?.as_bytes();
        let hexadecimal = digits.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let digits = <[u8; DIGITS]>::try_from(digits).ok()?;
        hexadecimal.then(|| Self(Zeroizing::new(digits)))
    }

    /// The hash that Postgres stores for this user and password.
    pub fn of_password(user: &str, password: &[u8]) -> Self {
        Self(hash(password, user.as_bytes()))
    }

    /// What the owner of this hash answers to a server's `salt`.
    pub fn response(&self, salt: [u8; 4]) -> [u8; MD5_RESPONSE_BYTES] {
        let mut response = [0; MD5_RESPONSE_BYTES];
        let (prefix, digits) = response.split_at_mut(PREFIX.len());
        prefix.copy_from_slice(PREFIX.as_bytes());
        digits.copy_from_slice(hash(self.0.as_slice(), &salt).as_slice());
        response
    }

    /// Whether `response` is the answer to `salt`, in constant time.
    pub fn check(&self, response: &[u8], salt: [u8; 4]) -> bool {
        self.response(salt).ct_eq(response).into()
    }
}

impl PartialEq for Md5Hash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(other.0.as_slice()).into()
    }
}

impl Eq for Md5Hash {}

impl fmt::Debug for Md5Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Md5Hash(…)")
    }
}

fn hash(secret: &[u8], suffix: &[u8]) -> Zeroizing<[u8; DIGITS]> {
    const HEXADECIMAL: [u8; 16] = *b"0123456789abcdef";
    let digest = Md5::new().chain_update(secret).chain_update(suffix).finalize();
    let mut digits = Zeroizing::new([0; DIGITS]);
    for (pair, byte) in digits.chunks_exact_mut(2).zip(digest) {
        pair[0] = HEXADECIMAL[usize::from(byte >> 4)];
        pair[1] = HEXADECIMAL[usize::from(byte & 15)];
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::Md5Hash;
    use postgres_protocol::authentication::md5_hash;
    use proptest::prelude::*;

    #[test]
    fn a_hash_is_never_printed() {
        let hash = Md5Hash::of_password("ann", b"hunter2");
        assert_eq!(format!("{hash:?}"), "Md5Hash(…)");
    }

    #[test]
    fn only_lower_case_digits_of_the_right_number_are_a_hash() {
        let digits = "0123456789abcdef0123456789abcdef";
        assert!(Md5Hash::parse(&format!("md5{digits}")).is_some());
        for text in [
            digits.to_owned(),
            format!("md5{}", digits.to_uppercase()),
            format!("md5{}", &digits[1..]),
            format!("md5{digits}0"),
            format!("md5{}g", &digits[1..]),
            format!("MD5{digits}"),
        ] {
            assert_eq!(Md5Hash::parse(&text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn an_independent_client_is_let_in(
            user in "\\PC{0,20}", password in "\\PC{0,20}", salt: [u8; 4], other_salt: [u8; 4],
        ) {
            let hash = Md5Hash::of_password(&user, password.as_bytes());
            let response = md5_hash(user.as_bytes(), password.as_bytes(), salt);
            prop_assert_eq!(response.as_bytes(), hash.response(salt));
            prop_assert!(hash.check(response.as_bytes(), salt));
            prop_assert_eq!(hash.check(response.as_bytes(), other_salt), salt == other_salt);
            prop_assert!(!hash.check(&response.as_bytes()[1..], salt));
        }

        #[test]
        fn any_text_is_a_hash_or_not(text in "(md5)?[0-9a-f]{30,34}|\\PC{0,40}") {
            let parsed = Md5Hash::parse(&text);
            prop_assert!(parsed.is_none() || text.len() == 35);
        }

        #[test]
        fn arbitrary_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..50)) {
            prop_assert!(!Md5Hash::of_password("ann", b"secret").check(&bytes, [1; 4]));
        }
    }
}
