//! What a statement does to the session through functions that it calls, and where its text shows
//! that it does something but not what.

use super::glance::may_make;
use super::statement::{Kind, statements, variable};
use super::tokens::{Tokens, is};

/// How deep strings within strings are read: `DO $$ … execute 'select set_config(…)' … $$`.
const DEPTH_MAX: usize = 3;

/// What a session may have afterwards, and must be asked for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is asked by itself")]
pub struct Hidden {
    /// Settings, of any name that Postgres lists.
    pub settings: bool,
    /// Names of settings that Postgres may not list: those with a dot in them.
    pub names: Vec<Box<str>>,
    /// There may be settings of other such names.
    pub others: bool,
    /// Session advisory locks.
    pub locks: bool,
    /// Fewer of them than before.
    pub unlocks: bool,
    pub temp: bool,
    pub holds: bool,
    /// Channels that are listened to.
    pub listens: bool,
    /// A library.
    pub loads: bool,
    /// It asks what sequences gave last.
    pub sequences: bool,
    /// Statements prepared by SQL.
    pub prepared: bool,
}

impl Hidden {
    /// Everything of which nobody knows the name.
    pub fn anything() -> Self {
        Self {
            settings: true,
            locks: true,
            temp: true,
            holds: true,
            listens: true,
            prepared: true,
            ..Self::default()
        }
    }

    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it is worth a question: names are known for others to ask.
    pub fn must_be_asked(&self) -> bool {
        self.settings
            || self.others
            || self.locks
            || self.temp
            || self.holds
            || self.listens
            || self.loads
            || self.prepared
    }

    /// Takes in what another statement does.
    pub fn add(&mut self, other: Self) {
        self.settings |= other.settings;
        self.others |= other.others;
        self.locks |= other.locks;
        self.unlocks |= other.unlocks;
        self.temp |= other.temp;
        self.holds |= other.holds;
        self.listens |= other.listens;
        self.loads |= other.loads;
        self.prepared |= other.prepared;
        self.sequences |= other.sequences;
        for name in other.names {
            if !self.names.contains(&name) {
                self.names.push(name);
            }
        }
    }

    /// Reads one statement. `functions`: names of functions that may do anything.
    pub fn of(kind: Kind<'_>, sql: &[u8], functions: &[Box<str>]) -> Self {
        let mut hidden = match kind {
            Kind::CreateTemp => Self { temp: true, ..Self::default() },
            Kind::DeclareHold => Self { holds: true, ..Self::default() },
            Kind::Do => Self::anything(),
            Kind::SetOther => Self { settings: true, ..Self::default() },
            _ => Self::default(),
        };
        let first = Tokens(sql).next().unwrap_or_default();
        let depth = if kind == Kind::Do { DEPTH_MAX } else { 0 };
        let explains = is(first, "explain");
        hidden.read(sql, functions, depth, (explains, may_make(first)));
        hidden
    }

    fn read(
        &mut self,
        sql: &[u8],
        functions: &[Box<str>],
        depth: usize,
        (explains, makes): (bool, bool),
    ) {
        let mut tokens = Tokens(sql);
        let mut last: &[u8] = b"";
        while let Some(token) = tokens.next() {
            let before = std::mem::replace(&mut last, token);
            if depth > 0 && matches!(token.first(), Some(b'$' | b'\'')) && token.len() > 1 {
                self.read(within(token), functions, depth - 1, (explains, makes));
                continue;
            }
            let word = unquoted(token);
            let next = tokens.clone().next().unwrap_or_default();
            if self.settings && is(word, "set") {
                self.set(tokens.clone());
            }
            // `x.f` is `f(x)` where `x` has no column `f`.
            if next == b"(" || before == b"." {
                self.call(word, functions);
            }
            if next == b"(" {
                if is(word, "set_config") {
                    self.set_config(tokens.clone());
                }
            } else if is(word, "into") && makes {
                self.temp |= ["temp", "temporary", "local", "global", "pg_temp"]
                    .iter()
                    .any(|word| is(unquoted(next), word));
            } else if explains || depth > 0 {
                self.temp |= is(word, "temp") || is(word, "temporary") || is(word, "pg_temp");
            }
        }
    }

    /// Reads the name of a function that is called, perhaps with one value.
    fn call(&mut self, name: &[u8], functions: &[Box<str>]) {
        if is(name, "currval") || is(name, "lastval") {
            self.sequences = true;
        } else if let Some(takes) = locks(name) {
            self.locks |= takes;
            self.unlocks |= !takes;
        } else if functions.iter().any(|own| is(name, own)) {
            self.add(Self { others: false, ..Self::anything() });
        }
    }

    /// Reads the name of a setting, if it is one that Postgres may not list.
    fn set(&mut self, tokens: Tokens<'_>) {
        let is_over = |token: &[u8]| is(token, "to") || is(token, "from") || token == b"=";
        let mut name = Vec::new();
        for token in tokens.take_while(|token| !is_over(token)).take(8) {
            match token {
                word if is(word, "session") && name.is_empty() => {}
                word if is(word, "local") && name.is_empty() => return,
                token => name.extend(token),
            }
        }
        if name.contains(&b'.')
            && let Some(name) = variable(&name)
        {
            self.names.push(name.into());
        }
    }

    /// Reads the arguments of `set_config(name, value, is_local)`.
    fn set_config(&mut self, tokens: Tokens<'_>) {
        let (mut depth, mut index) = (0_usize, 0_usize);
        let mut arguments: [Vec<&[u8]>; 3] = Default::default();
        for token in tokens.take(200) {
            match token {
                b"(" => depth += 1,
                b")" if depth == 1 => break,
                b")" => depth = depth.saturating_sub(1),
                b"," if depth == 1 => {
                    index += 1;
                    continue;
                }
                _ => {}
            }
            if (depth > 1 || token != b"(")
                && let Some(argument) = arguments.get_mut(index)
            {
                argument.push(token);
            }
        }
        let [name, _, is_local] = &arguments;
        if let [word] = is_local.as_slice()
            && (is(word, "true") || is(word, "'true'") || is(word, "'t'"))
        {
            return;
        }
        self.settings = true;
        match name.as_slice() {
            [[b'\'', name @ .., b'\'']] if !name.iter().any(|byte| b"'\\".contains(byte)) => {
                match str::from_utf8(name) {
                    Ok(name) if name.contains('.') => self.names.push(name.into()),
                    Ok(_) => {}
                    Err(_) => self.others = true,
                }
            }
            _ => self.others = true,
        }
    }
}

/// Whether a text calls anything but `set_config`: then it may set what it does not name.
pub fn is_opaque(sql: &[u8]) -> bool {
    statements(sql).any(|(kind, statement)| {
        let mut before: &[u8] = b"";
        let mut calls = |token| {
            let calls = token == b"(" && !is(unquoted(before), "set_config");
            before = token;
            calls
        };
        matches!(kind, Kind::Do | Kind::Execute(_)) || Tokens(statement).any(&mut calls)
    })
}

/// Whether a function takes advisory locks of the session, or releases them. `None`: neither.
fn locks(name: &[u8]) -> Option<bool> {
    let name = name.to_ascii_lowercase();
    let what =
        name.strip_prefix(b"pg_try_advisory_").or_else(|| name.strip_prefix(b"pg_advisory_"))?;
    (!what.starts_with(b"xact_")).then(|| !what.starts_with(b"unlock"))
}

fn unquoted(token: &[u8]) -> &[u8] {
    match token {
        [b'"', inner @ .., b'"'] => inner,
        _ => token,
    }
}

/// What is between the quotes or dollars of a string.
fn within(token: &[u8]) -> &[u8] {
    let tag = match token {
        [b'$', rest @ ..] => rest.iter().position(|byte| *byte == b'$').map_or(1, |at| at + 2),
        _ => 1,
    };
    token.get(tag..token.len().saturating_sub(tag)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::Hidden;
    use crate::sql::statement::statements;

    fn hidden(sql: &str) -> Hidden {
        let mut hidden = Hidden::default();
        for (kind, statement) in statements(sql.as_bytes()) {
            hidden.add(Hidden::of(kind, statement, &["app_login".into()]));
        }
        hidden
    }

    #[test]
    fn a_call_of_set_config_is_read_as_far_as_its_text_goes() {
        let settings = Hidden { settings: true, ..Hidden::default() };
        assert_eq!(hidden("select set_config('work_mem', $1, false)"), settings);
        assert_eq!(hidden("select pg_catalog.SET_CONFIG ('work_mem', f(1, 2), f(true))"), settings);
        assert_eq!(hidden("insert into t select \"set_config\"('work_mem','1MB',$1)"), settings);
        for local in ["true", "TRUE", "'t'", " /* */ true "] {
            let sql = format!("select set_config('a.b', $1, {local})");
            assert!(hidden(&sql).is_empty(), "{sql}");
        }
        let named = Hidden { names: vec!["a.b".into()], ..settings.clone() };
        assert_eq!(hidden("select set_config('a.b', 'c', false)"), named);
        let others = Hidden { others: true, ..settings };
        for name in ["$1", "'a.' || x", "E'a.b'", "lower('A.B')", "'it''s'"] {
            assert_eq!(hidden(&format!("select set_config({name}, 'c', false)")), others, "{name}");
        }
        for other in ["select 'set_config(1)'", "select set_config", "select set_configs(1)"] {
            assert!(hidden(other).is_empty(), "{other}");
        }
    }

    #[test]
    fn locks_of_the_session_are_told_from_those_of_the_transaction() {
        for sql in
            ["select pg_advisory_lock(1)", "select pg_catalog.PG_TRY_ADVISORY_LOCK_shared(1)"]
        {
            assert!(hidden(sql).locks, "{sql}");
        }
        // A value's column that it has not is a call.
        for sql in [
            "select (1::bigint).pg_advisory_lock",
            "select x . \"pg_advisory_lock\" from int8(1) x",
            "select ($1::bigint[])[1].pg_try_advisory_lock, 1",
        ] {
            assert!(hidden(sql).locks, "{sql}");
        }
        assert!(hidden("select pg_advisory_lock from t").is_empty());
        assert!(hidden("select pg_advisory_xact_lock(1), pg_try_advisory_xact_lock(2)").is_empty());
        for sql in ["select pg_advisory_unlock(1)", "select pg_advisory_unlock_all ()"] {
            assert!(hidden(sql).unlocks && !hidden(sql).must_be_asked(), "{sql}");
        }
    }

    #[test]
    fn who_asks_what_a_sequence_gave_is_seen() {
        for sql in [
            "select currval('s')",
            "insert into t values (pg_catalog.\"lastval\" ())",
            "select ('s'::regclass).currval",
        ] {
            assert!(hidden(sql).sequences && !hidden(sql).must_be_asked(), "{sql}");
        }
        assert!(hidden("select lastval, nextval('s'), setval('s', 1)").is_empty());
    }

    #[test]
    fn tables_that_a_select_makes_are_seen() {
        for sql in [
            "select 1 into temp t",
            "select 1 into local temporary table t",
            "with a as (select 1) select * into pg_temp.t from a",
            "explain analyze create temp table t as select 1",
        ] {
            assert!(hidden(sql).temp, "{sql}");
        }
        assert!(hidden("select temp into t from u; insert into temperature values (1)").is_empty());
        assert!(hidden("insert into temp values (1)").is_empty());
        assert!(hidden("/* */ Merge INTO temp using a on true").is_empty());
        // A name that a column may have.
        assert!(hidden("select 1 insert into temp t").temp);
    }

    #[test]
    fn what_may_do_anything_is_asked_for_everything() {
        let anything = hidden("do $$ begin perform 1; end $$");
        assert!(anything.settings && anything.locks && anything.temp && anything.holds);
        assert!(anything.names.is_empty() && !anything.others);
        let named = hidden("do $x$ begin perform set_config('a.b', 'c', false); end $x$");
        assert_eq!(&*named.names[0], "a.b");
        let deeper =
            hidden("do $x$ begin execute 'select set_config(''a.b'', '''', false)'; end $x$");
        assert!(deeper.others || !deeper.names.is_empty());
        let set = hidden("do $x$ begin set app.one = 1; set local app.two = 1; end $x$");
        assert_eq!(set.names, ["app.one".into()]);
        assert_eq!(hidden("set app.one from current").names, ["app.one".into()]);
        assert!(hidden("select app_login(1)").settings);
        assert!(hidden("set session authorization bob").settings);
    }
}
