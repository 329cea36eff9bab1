//! Asking a server what a client has left on it, where texts do not tell.
//!
//! One query at the end of a lease: which settings the session has, and what of it would keep the server.
//! Its answer is the truth; [`script`](super::script) only saves the question where it can.

use super::settings::{Settings, quoted_text};
use crate::sql::hidden::Hidden;
use std::fmt::Write as _;

/// Settings that a session may have at most; whoever has more keeps its server.
pub const SETTINGS_MAX: usize = 256;

/// How often a server is asked again that has not answered: cancel requests may hit the question.
const TRIES_MAX: u32 = 3;

/// What a server has of a client's that cannot follow it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a reason by itself")]
pub struct Kept {
    /// Advisory locks of the session.
    pub locks: bool,
    /// Cursors declared `WITH HOLD`.
    pub cursors: bool,
    /// A library was loaded.
    pub library: bool,
    /// Something is listened to.
    pub listens: bool,
    /// Statements that SQL has prepared.
    pub prepared: bool,
    /// Settings of which nobody knows the name or the value.
    pub settings: bool,
    /// Tables, and whatever else is temporary.
    pub temp: bool,
}

/// A question under way, and what has come of its answer.
#[derive(Debug, Default)]
pub struct Inquiry {
    tries: u32,
    asks: Hidden,
    settings: Settings,
    kept: Kept,
    has_failed: bool,
    is_under_way: bool,
}

/// What an inquiry has found.
#[derive(Debug, PartialEq)]
pub struct Found {
    /// The session's settings, if they were asked for.
    pub settings: Option<Settings>,
    /// What was asked for only.
    pub kept: Kept,
    /// What was asked.
    pub asked: Hidden,
}

impl Inquiry {
    /// The text of the question. `names`: settings that Postgres may not list.
    pub fn ask<'a>(&mut self, asks: &Hidden, names: impl Iterator<Item = &'a str>) -> String {
        *self = Self {
            tries: self.tries + 1,
            asks: asks.clone(),
            is_under_way: true,
            ..Self::default()
        };
        let mut names: Vec<&str> = names.map(|name| -> &str { name }).collect();
        names.extend(asks.names.iter().map(|name| &**name));
        names.sort_unstable();
        names.dedup();
        question(asks, &names)
    }

    pub fn is_under_way(&self) -> bool {
        self.is_under_way
    }

    /// A row has come: a name and a value, see [`question`].
    pub fn row(&mut self, body: &[u8]) {
        let mut columns = columns(body);
        let (name, value) = (columns.next().flatten(), columns.next().flatten());
        let Some(name) = name.and_then(|name| str::from_utf8(name).ok()) else { return };
        match (name, value) {
            ("?cursors", _) => self.kept.cursors = true,
            ("?listens", _) => self.kept.listens = true,
            ("?locks", _) => self.kept.locks = true,
            ("?prepared", _) => self.kept.prepared = true,
            ("?temp", _) => self.kept.temp = true,
            ("role", Some(b"6e6f6e65")) => {}
            (name, value) => match value.and_then(from_hex) {
                Some(value) if self.settings.len() < SETTINGS_MAX => {
                    // What has no name of Postgres' own is empty when it was reset, too.
                    if !(name.contains('.') && value.is_empty()) {
                        self.settings.set(name, &value);
                    }
                }
                _ => self.kept.settings = true,
            },
        }
    }

    pub fn failed(&mut self) {
        self.has_failed = true;
    }

    /// The answer is whole. `None`: ask again.
    pub fn answered(&mut self) -> Option<Found> {
        self.is_under_way = false;
        if self.has_failed && self.tries < TRIES_MAX {
            return None;
        }
        let Self { asks, settings, mut kept, has_failed, .. } = std::mem::take(self);
        let asks_settings = asks.settings || asks.others;
        if has_failed {
            kept = Kept {
                locks: asks.locks,
                cursors: asks.holds,
                library: false,
                listens: asks.listens,
                prepared: asks.prepared,
                settings: asks_settings,
                temp: asks.temp,
            };
        }
        kept.settings |= asks.others;
        kept.library |= asks.loads;
        let settings = (asks_settings && !has_failed).then_some(settings);
        Some(Found { settings, kept, asked: asks })
    }
}

/// Rows of a name and a value in hexadecimal, so that the client's encoding does not matter: the session's
/// settings; and, with a `?` before it, what keeps the server. Nothing in it depends on the search path.
fn question(asks: &Hidden, names: &[&str]) -> String {
    // Values that are too long are none.
    let shown = |value: &str| {
        format!(
            "CASE WHEN pg_catalog.octet_length({value}) OPERATOR(pg_catalog.<) 3000 THEN \
             pg_catalog.encode(pg_catalog.convert_to({value},'UTF8'),'hex') END"
        )
    };
    let mut parts: Vec<String> = Vec::new();
    let mut sql = String::new();
    if asks.settings || asks.others {
        sql.push_str("WITH s AS (SELECT name,setting,source FROM pg_catalog.pg_settings)");
        parts.push(format!(
            "SELECT name,{} FROM s WHERE source OPERATOR(pg_catalog.=) 'session' AND name \
             OPERATOR(pg_catalog.!~) '^transaction_'",
            shown("setting")
        ));
        for name in ["role", "session_authorization"] {
            let value = shown(&format!("pg_catalog.current_setting('{name}')"));
            parts.push(format!("SELECT '{name}',{value}"));
        }
        if !names.is_empty() {
            let values: Vec<_> =
                names.iter().map(|name| format!("({})", quoted_text(name))).collect();
            parts.push(format!(
                "SELECT n,{} FROM (SELECT n,pg_catalog.current_setting(n,true) AS v FROM (VALUES {}) AS v(n)) \
                 AS v WHERE v IS NOT NULL AND NOT EXISTS (SELECT FROM s WHERE pg_catalog.lower(s.name) \
                 OPERATOR(pg_catalog.=) pg_catalog.lower(n))",
                shown("v"),
                values.join(",")
            ));
        }
    }
    if asks.temp {
        // 2615 is `pg_namespace`. The schema itself stays when it is empty.
        parts.push(
            "SELECT '?temp',NULL WHERE EXISTS (SELECT FROM pg_catalog.pg_depend WHERE refclassid \
             OPERATOR(pg_catalog.=) 2615 AND refobjid OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema())"
                .to_owned(),
        );
    }
    if asks.holds {
        parts.push(
            "SELECT '?cursors',NULL WHERE EXISTS (SELECT FROM pg_catalog.pg_cursors WHERE is_holdable)"
                .to_owned(),
        );
    }
    if asks.listens {
        parts.push(
            "SELECT '?listens',NULL WHERE EXISTS (SELECT FROM pg_catalog.pg_listening_channels())"
                .to_owned(),
        );
    }
    if asks.prepared {
        parts.push(
            "SELECT '?prepared',NULL WHERE EXISTS (SELECT FROM pg_catalog.pg_prepared_statements WHERE from_sql)"
                .to_owned(),
        );
    }
    if asks.locks {
        parts.push(
            "SELECT '?locks',NULL WHERE EXISTS (SELECT FROM pg_catalog.pg_locks WHERE locktype \
             OPERATOR(pg_catalog.=) 'advisory' AND pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid())"
                .to_owned(),
        );
    }
    write!(sql, "{}", parts.join(" UNION ALL ")).expect("a String takes everything");
    sql
}

/// The columns of a `DataRow`.
fn columns(body: &[u8]) -> impl Iterator<Item = Option<&[u8]>> {
    let mut rest = body.get(2..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (length, behind) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(i32::from_be_bytes(*length)).ok();
        let (column, behind) = behind.split_at_checked(length.unwrap_or_default())?;
        rest = behind;
        Some(length.map(|_| column))
    })
}

fn from_hex(hex: &[u8]) -> Option<String> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = hex.chunks(2).map(|pair| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    });
    String::from_utf8(pairs.collect::<Option<Vec<_>>>()?).ok()
}

#[cfg(test)]
mod tests {
    use super::{Found, Inquiry, Kept};
    use crate::session::settings::Settings;
    use crate::sql::hidden::Hidden;

    fn row(columns: &[Option<&str>]) -> Vec<u8> {
        let mut body = vec![0, 2];
        for column in columns {
            let length = column.map_or(-1, |text| i32::try_from(text.len()).unwrap());
            body.extend(length.to_be_bytes());
            body.extend(column.unwrap_or_default().as_bytes());
        }
        body
    }

    #[test]
    fn an_answer_says_what_the_session_has() {
        let mut inquiry = Inquiry::default();
        let asks = Hidden { settings: true, temp: true, ..Hidden::default() };
        let sql = inquiry.ask(&asks, ["a.b", "a.b"].into_iter());
        assert_eq!(sql.matches("'a.b'").count(), 1);
        assert!(sql.contains("?temp") && !sql.contains("?locks"));
        inquiry.row(&row(&[Some("work_mem"), Some("38313932")]));
        inquiry.row(&row(&[Some("a.b"), Some("")]));
        inquiry.row(&row(&[Some("role"), Some("6e6f6e65")]));
        inquiry.row(&row(&[Some("?temp"), None]));
        let Found { settings, kept, .. } = inquiry.answered().unwrap();
        let mut expected = Settings::default();
        expected.set("work_mem", "8192");
        assert_eq!(settings, Some(expected));
        assert_eq!(kept, Kept { temp: true, ..Kept::default() });
    }

    #[test]
    fn who_gets_no_answer_takes_everything_to_be_there() {
        let mut inquiry = Inquiry::default();
        let asks = Hidden { settings: true, locks: true, ..Hidden::default() };
        for is_last in [false, false, true] {
            inquiry.ask(&asks, std::iter::empty());
            inquiry.failed();
            let found = inquiry.answered();
            assert_eq!(found.is_some(), is_last);
            if let Some(found) = found {
                assert_eq!(found.settings, None);
                let kept = Kept { settings: true, locks: true, ..Kept::default() };
                assert_eq!(found.kept, kept);
            }
        }
    }

    #[test]
    fn what_cannot_be_read_keeps_the_server() {
        let mut inquiry = Inquiry::default();
        inquiry.ask(&Hidden { settings: true, ..Hidden::default() }, std::iter::empty());
        inquiry.row(&row(&[Some("long"), None]));
        inquiry.row(&[0, 2, 0]);
        assert!(inquiry.answered().unwrap().kept.settings);
    }
}
