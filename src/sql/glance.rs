//! THE HOT PATH: whether a text is worth reading at all.
//!
//! Most are a `SELECT`, `INSERT`, `UPDATE` or `DELETE` that calls nothing of interest: they are told
//! by their first letters and two searches for bytes.

use memchr::{memchr_iter, memchr2_iter};

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
        Opening::Calls => !calls(sql),
        Opening::Makes => !makes_temp(sql) && !calls(sql),
        Opening::Unknown => false,
    };
    let is_plain = is_plain && (functions.is_empty() || !names_one(sql, functions));
    if is_plain { Glance::Skip } else { Glance::Read }
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

impl Opening {
    #[inline]
    fn of(sql: &[u8]) -> Self {
        let Some(first) = sql.first_chunk::<4>() else { return Self::Unknown };
        match &first.map(|byte| byte | 0x20) {
            b"sele" | b"with" | b"expl" => Self::Makes,
            b"inse" | b"upda" | b"dele" | b"merg" | b"valu" | b"copy" | b"fetc" => Self::Calls,
            // Whatever begins like this: `COMMIT` as well as `COMMENT`.
            b"alte" | b"anal" | b"begi" | b"clos" | b"comm" | b"drop" | b"gran" | b"lock"
            | b"noti" | b"show" | b"star" | b"trun" | b"vacu" => Self::Quiet,
            // And nothing behind it, such as `TO`.
            b"roll" if sql.len() <= b"rollback\0".len() => Self::Quiet,
            _ => Self::Unknown,
        }
    }
}

/// Whether a text may call a function that sets something or takes a lock: each of their names has an
/// underscore before an `a` or a `c`. So has the schema of what is temporary, before a `t`.
#[inline]
fn calls(sql: &[u8]) -> bool {
    memchr_iter(b'_', sql).any(|at| {
        let (before, after) = sql.split_at(at);
        match after.get(1).map(u8::to_ascii_lowercase) {
            Some(b'a') => begins(after, b"_advisory_"),
            Some(b'c') => begins(after, b"_config") && ends(before, b"set"),
            Some(b't') => begins(after, b"_temp") && ends(before, b"pg"),
            _ => false,
        }
    })
}

/// Whether a text may have the word `TEMP` or `TEMPORARY` in it.
#[inline]
fn makes_temp(sql: &[u8]) -> bool {
    memchr2_iter(b'p', b'P', sql).any(|at| {
        let (before, _) = sql.split_at(at);
        ends(before, b"tem") && {
            let before = before.split_at(before.len() - 3).0;
            // Not in the middle of a word.
            !before.last().is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
        }
    })
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
