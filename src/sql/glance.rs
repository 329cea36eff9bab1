//! THE HOT PATH: whether a text is worth reading at all.
//!
//! Most are a `SELECT`, `INSERT`, `UPDATE` or `DELETE` that calls nothing of interest: they are told
//! by their first letters and two searches for others.

use memchr::{memchr_iter, memchr2_iter, memchr3_iter};

/// Bytes looked at in one go.
const CHUNK: usize = 64;

/// Letters found in vain, from which on it is faster to look at every byte.
const FINDS_MAX: usize = 64;

/// Up to so many bytes a text is short.
const SHORT: usize = 64;

/// Places of a short text that are looked at in one go: as many as a register has that any processor has.
const LANES: usize = 16;

/// With the last two of the letters that begin at the last of these places.
const WINDOW: usize = LANES + 2;

/// What the hot path has to know of a text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Glance {
    /// It may do something to the session: read it.
    Read,
    /// It does nothing to the session, if it is one statement.
    Skip,
}

/// Looks at a text. `is_several`: it may have several statements. `functions`: names of functions that
/// may do anything.
#[inline]
pub fn glance(sql: &[u8], is_several: bool, functions: &[Box<str>]) -> Glance {
    let mut opening = Opening::of(sql);
    if is_several {
        for at in memchr_iter(b';', sql) {
            let (_, behind) = sql.split_at(at + 1);
            let space = behind.iter().position(|byte| !byte.is_ascii_whitespace());
            if let Some(space) = space
                && behind.get(space) != Some(&b';')
            {
                opening = opening.max(Opening::of(behind.get(space..).unwrap_or_default()));
            }
        }
    }
    let is_plain = match opening {
        Opening::Quiet => true,
        Opening::Calls | Opening::Makes => !tells(sql, opening == Opening::Makes),
        Opening::Unknown => false,
    };
    let is_plain = is_plain && (functions.is_empty() || !names_one(sql, functions));
    if is_plain { Glance::Skip } else { Glance::Read }
}

/// Whether a statement that begins with this word may make a table by an `INTO`: what `INSERT INTO` names is there.
pub(super) fn may_make(first: &[u8]) -> bool {
    Opening::of(first) >= Opening::Makes
}

/// What the first letters of a statement say of it: the later, the more has to be looked at.
#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
enum Opening {
    /// It does nothing to the session.
    Quiet,
    /// It may call functions.
    Calls,
    /// It may make a temporary table, too.
    Makes,
    Unknown,
}

/// The first four letters of a statement, in lower case, as a number: so that one comparison tells them.
const fn letters(word: [u8; 4]) -> u32 {
    u32::from_be_bytes(word) | 0x2020_2020
}

const ALTE: u32 = letters(*b"alte");
const ANAL: u32 = letters(*b"anal");
const BEGI: u32 = letters(*b"begi");
const CLOS: u32 = letters(*b"clos");
const COMM: u32 = letters(*b"comm");
const COPY: u32 = letters(*b"copy");
const DELE: u32 = letters(*b"dele");
const DROP: u32 = letters(*b"drop");
const FETC: u32 = letters(*b"fetc");
const GRAN: u32 = letters(*b"gran");
const INSE: u32 = letters(*b"inse");
const LOCK: u32 = letters(*b"lock");
const MERG: u32 = letters(*b"merg");
const NOTI: u32 = letters(*b"noti");
const ROLL: u32 = letters(*b"roll");
const SELE: u32 = letters(*b"sele");
const SHOW: u32 = letters(*b"show");
const STAR: u32 = letters(*b"star");
const TRUN: u32 = letters(*b"trun");
const UPDA: u32 = letters(*b"upda");
const VACU: u32 = letters(*b"vacu");
const VALU: u32 = letters(*b"valu");
const WITH: u32 = letters(*b"with");

impl Opening {
    #[inline]
    fn of(sql: &[u8]) -> Self {
        let Some(first) = sql.first_chunk::<4>() else { return Self::Unknown };
        match letters(*first) {
            SELE | WITH => Self::Makes,
            // A default or a conversion may call anything, for each row.
            ALTE | COPY | DELE | FETC | INSE | MERG | UPDA | VALU => Self::Calls,
            // Whatever begins like this: `COMMIT` as well as `COMMENT`.
            ANAL | BEGI | CLOS | COMM | DROP | GRAN | LOCK | NOTI | SHOW | STAR | TRUN | VACU => {
                Self::Quiet
            }
            // And nothing behind it, such as `TO`.
            ROLL if sql.len() <= b"rollback\0".len() => Self::Quiet,
            _ => Self::Unknown,
        }
    }
}

/// Three letters that most texts have nowhere: in `_advisory_`, `set_config` and `pg_temp`, in `TEMP`, and in
/// `currval` and `lastval`.
#[inline]
#[expect(clippy::needless_bitwise_bool, reason = "branches would keep it from wide registers")]
fn is_telling(one: u8, two: u8, three: u8) -> bool {
    let (two, three) = (two | 0x20, three | 0x20);
    let calls = (two == b'a') & (three == b'd')
        | (two == b'c') & (three == b'o')
        | (two == b't') & (three == b'e');
    (one == b'_') & calls
        | (one | 0x20 == b't') & (two == b'e') & (three == b'm')
        | (one | 0x20 == b'v') & (two == b'a') & (three == b'l')
}

/// Whether a text may call a function that sets something or takes a lock, or make a temporary table: by a
/// search for letters that all of these have; or that asks what a sequence gave last.
#[inline]
fn tells(sql: &[u8], may_make: bool) -> bool {
    if sql.len() <= SHORT { tells_short(sql, may_make) } else { tells_long(sql, may_make) }
}

/// The same of a short text: a look at all of it costs less than two calls of searches.
#[inline]
fn tells_short(sql: &[u8], may_make: bool) -> bool {
    let Some(last) = sql.len().checked_sub(WINDOW) else {
        let mut window = [0; WINDOW];
        window[..sql.len()].copy_from_slice(sql);
        return is_any_telling(&window) && tells_between(sql, 0, sql.len(), may_make);
    };
    let tells_from = |start: usize| {
        let window = sql[start..].first_chunk();
        window.is_some_and(is_any_telling) && tells_between(sql, start, start + LANES, may_make)
    };
    let mut start = 0;
    while start < last {
        if tells_from(start) {
            return true;
        }
        start += LANES;
    }
    // Overlaps with the one before.
    tells_from(last)
}

/// Whether such letters begin at one of the first places of a window.
#[inline]
fn is_any_telling(window: &[u8; WINDOW]) -> bool {
    (0..LANES)
        .fold(false, |found, at| found | is_telling(window[at], window[at + 1], window[at + 2]))
}

#[cold]
fn tells_between(sql: &[u8], start: usize, end: usize, may_make: bool) -> bool {
    (start..end).any(|at| tells_at(sql, at, may_make))
}

/// The same of a longer text.
fn tells_long(sql: &[u8], may_make: bool) -> bool {
    let mut finds = 0;
    for at in memchr3_iter(b'_', b'v', b'V', sql) {
        finds += 1;
        if finds > FINDS_MAX {
            return tells_among_many(sql, may_make);
        }
        if tells_at(sql, at, may_make) {
            return true;
        }
    }
    if may_make {
        for at in memchr2_iter(b'p', b'P', sql) {
            finds += 1;
            if finds > FINDS_MAX {
                return tells_among_many(sql, may_make);
            }
            if at >= 3 && tells_at(sql, at - 3, may_make) {
                return true;
            }
        }
    }
    false
}

/// The same of a text that is full of such letters. The compiler makes one pass of this with wide registers.
fn tells_among_many(sql: &[u8], may_make: bool) -> bool {
    let (Some(two), Some(three)) = (sql.get(1..), sql.get(2..)) else { return false };
    let chunks = sql.chunks(CHUNK).zip(two.chunks(CHUNK)).zip(three.chunks(CHUNK));
    for (index, ((one, two), three)) in chunks.enumerate() {
        let letters = one.iter().zip(two).zip(three);
        let found = letters
            .fold(false, |found, ((one, two), three)| found | is_telling(*one, *two, *three));
        let (start, end) = (index * CHUNK, ((index + 1) * CHUNK).min(sql.len()));
        if found && tells_between(sql, start, end, may_make) {
            return true;
        }
    }
    false
}

/// Whether one of those words is at a place.
fn tells_at(sql: &[u8], at: usize, may_make: bool) -> bool {
    let (before, after) = sql.split_at(at);
    match after {
        [b'_', ..] => {
            begins(after, b"_advisory_")
                || begins(after, b"_config") && ends(before, b"set")
                || begins(after, b"_temp") && ends(before, b"pg")
        }
        [b'v' | b'V', ..] => {
            begins(after, b"val") && (ends(before, b"curr") || ends(before, b"last"))
        }
        // Not in the middle of a word.
        [b't' | b'T', ..] => {
            let is_in_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
            may_make && begins(after, b"temp") && !before.last().is_some_and(is_in_word)
        }
        _ => false,
    }
}

fn begins(bytes: &[u8], word: &[u8]) -> bool {
    bytes.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word))
}

fn ends(bytes: &[u8], word: &[u8]) -> bool {
    let start = bytes.len().checked_sub(word.len());
    start.and_then(|at| bytes.get(at..)).is_some_and(|end| end.eq_ignore_ascii_case(word))
}

#[cold]
fn names_one(sql: &[u8], functions: &[Box<str>]) -> bool {
    functions.iter().any(|name| {
        sql.windows(name.len()).any(|found| found.eq_ignore_ascii_case(name.as_bytes()))
    })
}

#[cfg(test)]
mod tests {
    use super::{tells_among_many, tells_long, tells_short};
    use proptest::prelude::*;

    proptest! {
        /// However a text is looked through, the same is found.
        #[test]
        fn short_and_long_texts_are_searched_alike(words in prop::collection::vec(
            prop::sample::select(vec![
                "_", "v", "P", "temp", "TEMP", " ", "set_config", "_advisory_", "pg_temp", "lastval",
                "CURRVAL", "select", "x", "\u{ff}",
            ]),
            0..24,
        ), may_make: bool) {
            let sql = words.concat();
            let found = tells_long(sql.as_bytes(), may_make);
            prop_assert_eq!(tells_short(sql.as_bytes(), may_make), found, "{}", sql);
            prop_assert_eq!(tells_among_many(sql.as_bytes(), may_make), found, "{}", sql);
        }
    }
}
