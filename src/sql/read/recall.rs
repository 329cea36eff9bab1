//! Verdicts on texts that were looked at before.
//!
//! Most texts differ from an earlier one in their numbers only; and which numbers they are makes no difference to
//! whether a text is a read, or to its fingerprint. So a verdict is kept under the text's outline: the text with
//! each whole number in it as one `0`.

use super::{Fingerprint, No};
use crate::base::ids::Product;
use crate::base::shared::Shared;
use crate::sql::bytes::{DIGIT, EDGE, NAME_QUOTE, NOT_ASCII, is_a};
use std::hash::Hasher;

/// Longer texts have no outline: to look at them anew is little beside what else they take.
const LONGEST: usize = 256;

/// So many verdicts are kept, each in the place that its outline has. The next one there takes it. A power of two.
const PLACES: usize = 512;

/// What there is no outline of a text with: a number may be part of a name, and an encoding make a quote part of a
/// letter.
const OPAQUE: u8 = NAME_QUOTE | NOT_ASCII;

type Verdict = Result<Fingerprint, No>;

/// Verdicts by one [`Reading`](super::Reading). With another all are new.
#[derive(Debug, Default)]
pub struct Recall(Shared<Vec<Option<Known>>>);

#[derive(Debug)]
struct Known {
    outline: Box<[u8]>,
    verdict: Verdict,
}

impl Recall {
    /// What `look` has said of a text with the same outline, or says of this one.
    ///
    /// # Errors
    ///
    /// Why it is not one read that leaves nothing behind.
    pub fn look_at(&self, sql: &[u8], look: impl FnOnce() -> Verdict) -> Verdict {
        let Some(outline) = Outline::of(sql) else { return look() };
        let place = outline.place();
        let known = self.0.with(|places| {
            let known = places.get(place)?.as_ref()?;
            (*known.outline == *outline.bytes()).then_some(known.verdict)
        });
        known.unwrap_or_else(|| {
            let verdict = look();
            self.keep(place, Known { outline: outline.bytes().into(), verdict });
            verdict
        })
    }

    #[cold]
    fn keep(&self, place: usize, known: Known) {
        let before = self.0.with(|places| {
            if places.is_empty() {
                places.resize_with(PLACES, || None);
            }
            places[place].replace(known)
        });
        drop(before);
    }
}

/// A text without its numbers.
struct Outline {
    /// Zeros behind the end.
    bytes: [u8; LONGEST],
    len: usize,
}

impl Outline {
    /// `None`: it is too long, or other numbers might make it another one.
    fn of(sql: &[u8]) -> Option<Self> {
        let mut outline = Self { bytes: [0; LONGEST], len: 0 };
        if sql.len() > LONGEST {
            return None;
        }
        let (mut rest, mut before) = (sql, b' ');
        while let Some(at) = rest.iter().position(|byte| is_a(*byte, DIGIT | OPAQUE)) {
            if is_a(rest[at], OPAQUE) {
                return None;
            }
            let digits = rest[at..].iter().take_while(|byte| is_a(**byte, DIGIT)).count();
            let end = at + digits;
            before = if at > 0 { rest[at - 1] } else { before };
            let is_whole = is_a(before, EDGE) && rest.get(end).is_none_or(|next| is_a(*next, EDGE));
            if is_whole {
                outline.add(&rest[..at]);
                outline.add(b"0");
            } else {
                outline.add(&rest[..end]);
            }
            (before, rest) = (b'0', &rest[end..]);
        }
        outline.add(rest);
        Some(outline)
    }

    fn add(&mut self, bytes: &[u8]) {
        let end = self.len + bytes.len();
        self.bytes[self.len..end].copy_from_slice(bytes);
        self.len = end;
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn place(&self) -> usize {
        let mut product = Product::default();
        for word in self.bytes[..self.len.next_multiple_of(8)].chunks_exact(8) {
            product.write_u64(u64::from_le_bytes(word.try_into().expect("eight")));
        }
        // Its highest bits are those that depend on all the others.
        usize::try_from(product.finish() >> (u64::BITS - PLACES.ilog2()))
            .expect("one of the places")
    }
}

#[cfg(test)]
mod tests {
    use super::{Outline, Recall};
    use crate::sql::read::{Names, Reading};
    use proptest::prelude::*;
    use std::hash::RandomState;

    fn outline(sql: &str) -> Option<String> {
        Outline::of(sql.as_bytes()).map(|it| String::from_utf8(it.bytes().to_vec()).expect("text"))
    }

    #[test]
    fn whole_numbers_are_left_out() {
        for (sql, expected) in [
            ("select 1", "select 0"),
            ("select 123,4 from t where a=(56)-7;", "select 0,0 from t where a=(0)-0;"),
            ("12", "0"),
            ("", ""),
        ] {
            assert_eq!(outline(sql).as_deref(), Some(expected));
        }
    }

    #[test]
    fn numbers_that_are_part_of_something_stay() {
        for sql in [
            "select a1, b_2, $3 from t45",
            "select 1.5, 1e5, 0x1f, 1into",
            "select '1', e'\\12', $1$ 1x $1$",
        ] {
            assert_eq!(outline(sql).as_deref(), Some(sql));
        }
    }

    #[test]
    fn some_have_no_outline() {
        for sql in ["select \"t 1 \"", "select 'é', 1", &"x".repeat(257)] {
            assert_eq!(outline(sql), None);
        }
        assert!(outline(&"x".repeat(256)).is_some());
    }

    #[test]
    fn what_was_looked_at_is_not_looked_at_again() {
        let (names, hasher) = (Names::default(), RandomState::new());
        let reading = Reading { names: &names, hasher: &hasher, is_utf8: true };
        let recall = Recall::default();
        for (of, other) in
            [("select 1", "select 23"), ("delete from t where a = 1", "delete from t where a = 7")]
        {
            let verdict = recall.look_at(of.as_bytes(), || reading.look_at(of.as_bytes()));
            assert_eq!(verdict, reading.look_at(other.as_bytes()));
            let again = recall.look_at(other.as_bytes(), || panic!("it is known"));
            assert_eq!(again, verdict);
        }
    }

    /// Each byte makes a difference: of texts that have another one in one place, few get in each other's way.
    #[test]
    fn outlines_are_spread_over_all_places() {
        for at in 0..16 {
            let text = |byte: u8| {
                let mut text = *b"select a from t.";
                text[at] = byte;
                Outline::of(&text).expect("short").place()
            };
            let places: std::collections::BTreeSet<_> = (b'a'..=b'z').map(text).collect();
            assert!(places.len() >= 20, "{} at {at}", places.len());
        }
    }

    /// Texts that are full of what numbers may be next to.
    fn texts() -> impl Strategy<Value = String> {
        let parts = prop::sample::select(vec![
            "select", " ", ",", "(", ")", "'", "\\", "e'", "$", "$1$", "--", "/*", "*/", "\n", "-",
            ".", "e", "x", "0x", "_", ";", "=", "::int", "[", "]", ":", "from t", "into", "u&",
            "1", "0", "23", "456",
        ]);
        prop::collection::vec(parts, 0..14).prop_map(|parts| format!("select {}", parts.concat()))
    }

    /// Other digits, and more or fewer of them, in the place of some.
    fn with_other_numbers(sql: &str, choice: &[u8]) -> String {
        let mut choice = choice.iter().cycle();
        let mut out = String::new();
        for letter in sql.chars() {
            match choice.next() {
                Some(0) if letter.is_ascii_digit() => {}
                Some(n @ 1..=2) if letter.is_ascii_digit() => {
                    (0..*n).for_each(|n| out.push(char::from(b'1' + n)));
                }
                _ => out.push(letter),
            }
        }
        out
    }

    proptest! {
        #[test]
        fn texts_with_the_same_outline_have_the_same_verdict(
            sql in texts(),
            choice in prop::collection::vec(0_u8..4, 1..9),
        ) {
            let other = with_other_numbers(&sql, &choice);
            let (names, hasher) = (Names::default(), RandomState::new());
            let reading = Reading { names: &names, hasher: &hasher, is_utf8: true };
            if outline(&sql).is_some() && outline(&sql) == outline(&other) {
                let verdicts = [&sql, &other].map(|sql| reading.look_at(sql.as_bytes()));
                prop_assert_eq!(verdicts[0], verdicts[1], "{} and {}", sql, other);
            }
        }
    }
}
