//! Patterns for names: `*` is any number of characters, `?` is one.
//!
//! Matching goes back to the last `*` only, never further: a pattern of `p` characters and a text
//! of `t` cost `p * t` steps at most, whoever chose the text.

use std::collections::HashSet;
use std::fmt;

/// A pattern. No `*` in it follows another.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Glob(String);

/// Longer than any name in Postgres, and short enough for a set of places in a pattern to be a
/// number.
pub const CHARS_MAX: usize = 100;
/// How many states [`Glob::covers`] looks at. Patterns that people write have a few dozen; only
/// `*a???????????` and the like have more, and then the answer is "not certain".
const STATES_MAX: usize = 2_000;

impl Glob {
    /// `None`: longer than [`CHARS_MAX`].
    pub fn new(text: &str) -> Option<Self> {
        let mut pattern = String::with_capacity(text.len());
        for c in text.chars() {
            if c != '*' || !pattern.ends_with('*') {
                pattern.push(c);
            }
        }
        (pattern.chars().count() <= CHARS_MAX).then_some(Self(pattern))
    }

    /// `*`, which matches every text.
    pub fn any() -> Self {
        Self("*".to_owned())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it matches one text only: itself.
    pub fn is_literal(&self) -> bool {
        !self.0.contains(['*', '?'])
    }

    pub fn matches(&self, text: &str) -> bool {
        let mut pattern = self.0.chars();
        let mut rest = text.chars();
        // What follows the last `*`, and where in the text it was last tried.
        let mut after_star = None;
        loop {
            match pattern.next() {
                Some('*') if pattern.as_str().is_empty() => return true,
                Some('*') => {
                    after_star = Some((pattern.clone(), rest.clone()));
                    continue;
                }
                Some(wanted) => match rest.next() {
                    Some(found) if wanted == '?' || wanted == found => continue,
                    Some(_) => {}
                    // Trying later leaves even less of the text.
                    None => return false,
                },
                None if rest.as_str().is_empty() => return true,
                None => {}
            }
            let Some((again, from)) = &mut after_star else { return false };
            if from.next().is_none() {
                return false;
            }
            (pattern, rest) = (again.clone(), from.clone());
        }
    }

    /// Whether every text that `other` matches is matched by this one too. `true` is certain;
    /// `false` may also mean that it would take too long to find out.
    pub fn covers(&self, other: &Self) -> bool {
        // The shortest text mostly tells at once: a thousand classes are compared with each other.
        let shortest = other.0.replace('*', "").replace('?', "\0");
        let matches_it = self.matches(&shortest);
        if other.is_literal() || !matches_it {
            return matches_it;
        }
        let (ours, theirs) = (Places::new(self), Places::new(other));
        // A text that `other` matches and this one does not is searched for, character by
        // character: after the same characters, `their` place is one of those where `other` can
        // be, and `our` places are all those where this one can be.
        let mut open = vec![(0, ours.first())];
        let mut seen: HashSet<(usize, u128)> = open.iter().copied().collect();
        while let Some((their, our)) = open.pop() {
            let next: &mut dyn Iterator<Item = (usize, u128)> = match theirs.pattern.get(their) {
                None if ours.has_end(our) => continue,
                None => return false,
                // It may end here, or take any character and stay.
                Some('*') => {
                    let stay = ours.letters().map(|letter| (their, ours.step(our, letter)));
                    &mut stay.chain([(their + 1, our)])
                }
                Some('?') => &mut ours.letters().map(|letter| (their + 1, ours.step(our, letter))),
                Some(letter) => &mut std::iter::once((their + 1, ours.step(our, Some(*letter)))),
            };
            open.extend(next.filter(|state| seen.insert(*state)));
            if seen.len() > STATES_MAX {
                return false;
            }
        }
        true
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A pattern as places between its characters; a set of them is the bits of a number.
struct Places {
    pattern: Vec<char>,
    /// The places before a `*`.
    stars: u128,
    /// The letters in it, each once.
    letters: Vec<char>,
}

impl Places {
    fn new(glob: &Glob) -> Self {
        let pattern: Vec<char> = glob.0.chars().collect();
        let mut letters: Vec<char> =
            pattern.iter().copied().filter(|c| !matches!(c, '*' | '?')).collect();
        letters.sort_unstable();
        letters.dedup();
        let mut places = Self { pattern, stars: 0, letters };
        places.stars = places.before(|c| c == '*');
        places
    }

    fn before(&self, pred: impl Fn(char) -> bool) -> u128 {
        let places = self.pattern.iter().enumerate();
        places.filter(|(_, c)| pred(**c)).fold(0, |set, (place, _)| set | 1 << place)
    }

    /// Where it is before any character.
    fn first(&self) -> u128 {
        self.past_stars(1)
    }

    /// Where it can be after one more character. `None` is one that the pattern does not have.
    fn step(&self, set: u128, letter: Option<char>) -> u128 {
        let takes = self.before(|c| c == '?' || Some(c) == letter);
        self.past_stars((set & self.stars) | ((set & takes) << 1))
    }

    /// A `*` may also match nothing. None follows another, so one step is enough.
    fn past_stars(&self, set: u128) -> u128 {
        set | ((set & self.stars) << 1)
    }

    fn has_end(&self, set: u128) -> bool {
        set >> self.pattern.len() & 1 == 1
    }

    /// Each letter that makes a difference, and one that stands for all others.
    fn letters(&self) -> impl Iterator<Item = Option<char>> {
        self.letters.iter().copied().map(Some).chain([None])
    }
}

#[cfg(test)]
mod tests {
    use super::{CHARS_MAX, Glob};
    use proptest::prelude::{prop_assert, prop_assert_eq, prop_assume, proptest};

    fn glob(text: &str) -> Glob {
        Glob::new(text).expect("short")
    }

    /// The definition, without a care for time.
    fn matches_slowly(pattern: &[char], text: &[char]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (Some(('*', rest)), _) => {
                (0..=text.len()).any(|from| matches_slowly(rest, &text[from..]))
            }
            (Some((wanted, pattern)), Some((found, text))) => {
                (*wanted == '?' || wanted == found) && matches_slowly(pattern, text)
            }
            _ => false,
        }
    }

    #[test]
    fn stars_and_question_marks_stand_for_characters() {
        for (pattern, text) in
            [("etl-*", "etl-"), ("*", ""), ("a?c", "aéc"), ("*-job-*", "a-job-b"), ("", "")]
        {
            assert!(glob(pattern).matches(text), "{pattern} {text}");
        }
        for (pattern, text) in
            [("etl-*", "etl"), ("?", ""), ("a", "A"), ("*a", "ab"), ("", "x"), ("a*a", "a")]
        {
            assert!(!glob(pattern).matches(text), "{pattern} {text}");
        }
    }

    #[test]
    fn a_hostile_text_costs_no_time() {
        let pattern = glob(&"a*".repeat(CHARS_MAX / 2 - 1)).0 + "b";
        assert!(!glob(&pattern).matches(&"a".repeat(20_000)));
    }

    #[test]
    fn a_pattern_has_an_end() {
        assert!(Glob::new(&"x".repeat(CHARS_MAX)).is_some());
        assert!(Glob::new(&"é".repeat(CHARS_MAX + 1)).is_none());
        assert_eq!(glob(&"*".repeat(1_000)).as_str(), "*");
    }

    #[test]
    fn a_wider_pattern_covers_a_narrower_one() {
        for (wide, narrow) in [
            ("*", "*"),
            ("*", "a?b*"),
            ("a*", "a*b*"),
            ("?*", "*?"),
            ("*?*", "??"),
            ("a*c", "abc"),
            ("*a*", "*aa*"),
            ("??*", "?*?"),
            ("", ""),
        ] {
            assert!(glob(wide).covers(&glob(narrow)), "{wide} {narrow}");
        }
        for (wide, narrow) in [
            ("?*", "*"),
            ("a*", "*"),
            ("a*b", "a*"),
            ("??", "?*"),
            ("*aa*", "*a*"),
            ("a?", "a*"),
            ("abc", "ab?"),
            ("", "*"),
        ] {
            assert!(!glob(wide).covers(&glob(narrow)), "{wide} {narrow}");
        }
    }

    #[test]
    fn what_takes_too_long_is_not_certain() {
        let hard = format!("*a{}", "?".repeat(60));
        assert!(!glob(&hard).covers(&glob(&format!("*{}", "a?".repeat(40)))));
        assert!(glob("*").covers(&glob(&hard)));
    }

    /// Texts that a pattern matches: `*` and `?` filled from `fill`.
    fn samples(pattern: &str, fill: &[&str]) -> Vec<String> {
        let mut found = vec![String::new()];
        for c in pattern.chars() {
            let pieces: Vec<String> = match c {
                '*' => fill.iter().map(ToString::to_string).collect(),
                '?' => ["a", "b", "z"].map(str::to_owned).to_vec(),
                _ => vec![c.to_string()],
            };
            found = found
                .iter()
                .flat_map(|start| pieces.iter().map(move |piece| format!("{start}{piece}")))
                .collect();
        }
        found
    }

    proptest! {
        #[test]
        fn matching_is_as_defined(pattern in "[ab*?é]{0,8}", text in "[abé]{0,10}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            let slowly = matches_slowly(&chars(&pattern), &chars(&text));
            prop_assert_eq!(glob(&pattern).matches(&text), slowly);
        }

        /// Both ways: what is covered has no text outside, and what is not has one.
        #[test]
        fn covering_is_as_sampled(wide in "[ab*?]{0,5}", narrow in "[ab*?]{0,4}") {
            let (wide, narrow) = (glob(&wide), glob(&narrow));
            let fill = ["", "a", "b", "z", "zz", "ab", "ba", "aza", "zzzzzz"];
            let texts = samples(narrow.as_str(), &fill);
            prop_assert!(texts.iter().all(|text| narrow.matches(text)));
            let outside = texts.iter().find(|text| !wide.matches(text));
            prop_assert_eq!(wide.covers(&narrow), outside.is_none(), "{:?}", outside);
        }

        #[test]
        fn any_patterns_are_compared_in_bounded_time(wide in ".{0,100}", narrow in "[ab*?]{0,100}", more in "[ab*?]{0,100}") {
            for (one, other) in [(&wide, &narrow), (&narrow, &more)] {
                let (one, other) = (Glob::new(one), Glob::new(other));
                prop_assume!(one.is_some() && other.is_some());
                let (one, other) = (one.expect("short"), other.expect("short"));
                prop_assert!(one.covers(&one) || one.as_str().len() > 10);
                prop_assert!(!one.covers(&other) || !other.is_literal() || one.matches(other.as_str()));
            }
        }
    }
}
