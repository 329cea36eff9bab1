//! Scripts against what Postgres answers, and against a small model of a session.

use super::{Change, Script};
use crate::session::text::Text;
use proptest::prelude::*;
use std::sync::Arc;

fn text(sql: &str) -> Option<Arc<Text>> {
    Text::read(sql.as_bytes(), sql.contains(';'), &[])
}

/// A simple query with these answers, and the status after it.
fn run(script: &mut Script, sql: &str, tags: &[&str], status: char) {
    let text = text(sql);
    let is_followed = text.as_ref().is_some_and(|text| text.is_followed());
    if let Some(text) = &text {
        script.sent(text);
    }
    for tag in tags {
        if *tag == "ERROR" {
            script.failed();
        } else {
            script.completed(tag.as_bytes(), is_followed);
        }
    }
    if is_followed {
        script.settled();
    }
    script.ready(status == 'I');
}

fn set(name: &str, value: &str) -> Change {
    Change::Set { name: name.to_owned(), value: value.to_owned() }
}

#[test]
fn what_is_committed_counts_and_what_is_rolled_back_does_not() {
    let mut script = Script::default();
    run(&mut script, "set a = 1", &["SET"], 'I');
    assert_eq!(script.take_committed(), [set("a", "1")]);
    run(&mut script, "begin", &["BEGIN"], 'T');
    run(&mut script, "set a = 2", &["SET"], 'T');
    assert_eq!(script.take_committed(), []);
    run(&mut script, "rollback", &["ROLLBACK"], 'I');
    assert_eq!(script.take_committed(), []);
    run(
        &mut script,
        "begin; set a = 3; listen x; commit; select 1/0",
        &["BEGIN", "SET", "LISTEN", "COMMIT", "ERROR"],
        'I',
    );
    assert_eq!(script.take_committed(), [set("a", "3"), Change::Listen(b"x".to_vec())]);
    run(&mut script, "set a = 4; select 1/0", &["SET", "ERROR"], 'I');
    assert_eq!(script.take_committed(), []);
    assert_eq!(script.asks(), None);
}

#[test]
fn savepoints_take_back_what_came_after_them() {
    let mut script = Script::default();
    run(
        &mut script,
        "begin; set a = 1; savepoint s; set a = 2",
        &["BEGIN", "SET", "SAVEPOINT", "SET"],
        'T',
    );
    run(&mut script, "select 1/0", &["ERROR"], 'E');
    run(&mut script, "rollback to S", &["ROLLBACK"], 'T');
    run(&mut script, "set b = 1", &["SET"], 'T');
    run(&mut script, "release s", &["RELEASE"], 'T');
    run(&mut script, "commit", &["COMMIT"], 'I');
    assert_eq!(script.take_committed(), [set("a", "1"), set("b", "1")]);
    assert_eq!(script.asks(), None);
}

#[test]
fn what_a_commit_fails_with_takes_everything_back() {
    let mut script = Script::default();
    run(&mut script, "begin; set a = 1", &["BEGIN", "SET"], 'T');
    run(&mut script, "commit", &["ERROR"], 'I');
    assert_eq!(script.take_committed(), []);
}

#[test]
fn who_is_not_sure_asks() {
    for (sql, tags) in [
        // Read otherwise than Postgres has read it.
        ("set a = 1", vec!["SELECT 1"]),
        ("select 1", vec!["SET"]),
        ("set a = 1; set b = 1", vec!["SET"]),
        ("set a = 1", vec!["SET", "SET"]),
        // The text does not say what it does.
        ("select set_config('a', 'b', $1)", vec!["SELECT 1"]),
        ("alter table t add c text default set_config('a', 'b', false)", vec!["ALTER TABLE"]),
        ("set a = E'x'", vec!["SET"]),
        ("set session authorization bob", vec!["SET"]),
    ] {
        let mut script = Script::default();
        run(&mut script, sql, &tags, 'I');
        assert!(script.asks().is_some_and(|asks| asks.settings), "{sql}");
        script.lease_ended();
        assert_eq!(script.asks(), None);
    }
}

#[test]
fn who_does_nothing_to_its_session_has_no_memory_here() {
    let mut script = Script::default();
    for (sql, tag) in [("select 1", "SELECT 1"), ("begin", "BEGIN"), ("commit", "COMMIT")] {
        run(&mut script, sql, &[tag], 'I');
        script.parse_sent(b"", text(sql));
        script.bind_sent(b"", b"");
        assert!(script.0.is_none());
    }
    run(&mut script, "set a = 1", &["SET"], 'I');
    script.lease_ended();
    assert!(script.0.is_none());
}

/// A `Parse` of a name that is taken fails, and one behind an error is skipped: what was there is run.
#[test]
fn whatever_statement_is_run_its_settings_are_asked_for() {
    for name in [b"n".as_slice(), b""] {
        let mut script = Script::default();
        script.parse_sent(name, text("set app.x = 1"));
        script.parse_sent(name, text("select 1"));
        script.failed();
        script.skipped(0, name.is_empty());
        script.ready(true);
        script.bind_sent(b"", name);
        let text = script.text_of(b"").expect("it may do something");
        assert!(!text.is_followed());
        script.sent(&text);
        script.completed(b"SET", false);
        script.ready(true);
        let asks = script.asks().expect("nobody knows what was set");
        assert!(asks.settings && asks.names == ["app.x".into()], "{asks:?}");
    }
}

/// It was bound before it was known that what would have replaced it was skipped.
#[test]
fn what_was_bound_too_early_is_asked_for_as_well() {
    let mut script = Script::default();
    script.parse_sent(b"", text("set app.x = 1"));
    script.ready(true);
    script.parse_sent(b"", text("select 1"));
    script.bind_sent(b"", b"");
    assert!(script.text_of(b"").is_none(), "what is bound does nothing, as far as is known");
    script.failed();
    script.skipped(0, true);
    script.ready(true);
    script.completed(b"SET", false);
    let asks = script.asks().expect("nobody knows what was set");
    assert!(asks.settings && asks.names == ["app.x".into()], "{asks:?}");
}

#[test]
fn portals_are_known_by_as_much_of_their_names_as_counts() {
    let mut script = Script::default();
    let long = [b'p'; 63];
    script.bound(&[&long[..], b"x"].concat(), &text("set app.x = 1").unwrap());
    let text = script.text_of(&[&long[..], b"y"].concat());
    assert!(text.is_some_and(|text| text.is_followed()));
}

#[test]
fn portals_are_bounded_and_what_is_beyond_is_asked_for() {
    let mut script = Script::default();
    for n in 0..10_000 {
        script.bound(format!("p{n}").as_bytes(), &text("set app.x = 1").unwrap());
    }
    assert!(script.0.as_ref().is_some_and(|pages| pages.portals.len() <= 256));
    assert!(script.text_of(b"p9999").is_none());
    script.completed(b"SET", false);
    let asks = script.asks().expect("nobody knows what was set");
    assert!(asks.settings && asks.names == ["app.x".into()], "{asks:?}");
}

#[test]
fn statements_are_followed_through_their_portals() {
    let mut script = Script::default();
    script.parse_sent(b"", text("set a = 1"));
    script.parse_sent(b"s", text("select set_config('a.b', $1, false)"));
    script.bind_sent(b"", b"");
    script.bind_sent(b"p", b"s");
    assert!(script.text_of(b"").unwrap().is_followed());
    let named = script.text_of(b"p").unwrap();
    assert!(!named.is_followed() && named.hidden().settings);
    script.parse_sent(b"", text("select 1"));
    script.bind_sent(b"", b"");
    assert!(script.text_of(b"").is_none());
    // It is there still, should this have failed.
    script.parse_sent(b"s", text("select 1"));
    script.close_sent(b"s");
    script.bind_sent(b"p", b"s");
    assert!(script.text_of(b"p").unwrap().hidden().settings);
    script.skipped(0, true);
    script.bind_sent(b"", b"");
    assert!(script.text_of(b"").is_some());
}

#[derive(Clone, Debug)]
enum Step {
    Begin,
    Commit,
    Fail,
    Release(u8),
    Rollback,
    RollbackTo(u8),
    Savepoint(u8),
    Set(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        Just(Step::Begin),
        Just(Step::Commit),
        Just(Step::Fail),
        Just(Step::Rollback),
        (0..3_u8).prop_map(Step::Release),
        (0..3_u8).prop_map(Step::RollbackTo),
        (0..3_u8).prop_map(Step::Savepoint),
        (0..9_u8).prop_map(Step::Set),
    ]
}

/// One setting, as Postgres keeps it: its value at the beginning of each transaction and savepoint.
#[derive(Default)]
struct Model {
    value: u8,
    open: Option<u8>,
    has_failed: bool,
    savepoints: Vec<(u8, u8)>,
}

impl Model {
    /// The statement, what Postgres answers, and the status then.
    fn run(&mut self, step: &Step) -> (String, &'static str, char) {
        let found =
            |model: &Self, name: u8| model.savepoints.iter().rposition(|(found, _)| *found == name);
        let (sql, tag) = match *step {
            Step::Begin if self.has_failed => ("begin".to_owned(), "ERROR"),
            Step::Begin => {
                self.open.get_or_insert(self.value);
                ("begin".to_owned(), "BEGIN")
            }
            Step::Commit | Step::Rollback => {
                let is_undone = self.has_failed || matches!(step, Step::Rollback);
                let before = self.open.take().unwrap_or(self.value);
                if is_undone {
                    self.value = before;
                }
                self.has_failed = false;
                self.savepoints.clear();
                let sql = if matches!(step, Step::Commit) { "commit" } else { "rollback" };
                (sql.to_owned(), if is_undone { "ROLLBACK" } else { "COMMIT" })
            }
            Step::RollbackTo(name) => {
                let tag = match found(self, name) {
                    Some(at) => {
                        self.value = self.savepoints[at].1;
                        self.savepoints.truncate(at + 1);
                        self.has_failed = false;
                        "ROLLBACK"
                    }
                    None => self.fails(),
                };
                (format!("rollback to s{name}"), tag)
            }
            Step::Release(name) => {
                let tag = match found(self, name).filter(|_| !self.has_failed) {
                    Some(at) => {
                        self.savepoints.truncate(at);
                        "RELEASE"
                    }
                    None => self.fails(),
                };
                (format!("release savepoint s{name}"), tag)
            }
            Step::Savepoint(name) => {
                let tag = if self.has_failed || self.open.is_none() {
                    self.fails()
                } else {
                    self.savepoints.push((name, self.value));
                    "SAVEPOINT"
                };
                (format!("savepoint s{name}"), tag)
            }
            Step::Fail => ("select 1/0".to_owned(), self.fails()),
            Step::Set(_) if self.has_failed => ("set x = 1".to_owned(), "ERROR"),
            Step::Set(value) => {
                self.value = value;
                (format!("set x = {value}"), "SET")
            }
        };
        let status = match (self.open, self.has_failed) {
            (_, true) => 'E',
            (Some(_), _) => 'T',
            (None, _) => 'I',
        };
        (sql, tag, status)
    }

    fn fails(&mut self) -> &'static str {
        self.has_failed = self.open.is_some();
        "ERROR"
    }
}

proptest! {
    #[test]
    fn a_setting_is_what_postgres_would_have(steps in prop::collection::vec(step(), 0..60)) {
        let (mut script, mut model) = (Script::default(), Model::default());
        let mut value = 0;
        for step in steps {
            let (sql, tag, status) = model.run(&step);
            run(&mut script, &sql, &[tag], status);
            prop_assert_eq!(script.asks(), None);
            for change in script.take_committed() {
                let Change::Set { value: new, .. } = change else { panic!("{change:?}") };
                value = new.parse().unwrap();
            }
            if status == 'I' {
                prop_assert_eq!(value, model.value);
            }
        }
    }

    /// Whatever matters is not skipped at a glance, however it is written.
    #[test]
    fn a_glance_misses_nothing(words in prop::collection::vec(prop::sample::select(vec![
        "select", "SET", "Reset", "with", "insert", "into", "temp", "TEMPORARY", "set_config(",
        "Pg_Advisory_Lock(", "pg_temp.x", "CurrVal(", "lastval (", "value", "1", "savepoint", "rollback", "to", "release", "create",
        "listen", "load", "do", "declare", "hold", "explain", "'", "--", "\n", "/*", "*/", "(",
        ";", ";",
    ]), 0..8), space in prop::sample::select(vec![" ", "  ", "\n", "/**/"])) {
        let sql = words.join(space);
        if Text::read(sql.as_bytes(), sql.contains(';'), &[]).is_none() {
            prop_assert!(Text::read_on(sql.as_bytes(), &[]).is_none(), "{}", sql);
        }
    }
}
