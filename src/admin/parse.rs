//! What an operator types, as a command.

use super::show::Show;
use crate::config::options::{self, Section};
use crate::end::{End, EndReason};

/// A command that the console understands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Command {
    /// Nothing at all, or only a semicolon.
    Empty,
    /// One that PgBouncer has and this console does not have yet.
    NotYet(&'static str),
    /// A setting of ours.
    Set,
    /// A setting that drivers make on any connection: it means nothing here, and does no harm.
    SetIgnored,
    Show(Show),
}

/// PgBouncer's commands that change something.
const ACTIONS: [&str; 11] = [
    "DISABLE",
    "ENABLE",
    "KILL",
    "KILL_CLIENT",
    "PAUSE",
    "RECONNECT",
    "RELOAD",
    "RESUME",
    "SHUTDOWN",
    "SUSPEND",
    "WAIT_CLOSE",
];

/// What PgBouncer shows and this console does not yet.
const NOT_SHOWN: [&str; 6] = ["ACTIVE_SOCKETS", "CLIENTS", "FDS", "MEM", "SERVERS", "SOCKETS"];

/// Settings that drivers and tools make after connecting.
const CLIENT_SETTINGS: [&str; 14] = [
    "application_name",
    "bytea_output",
    "client_encoding",
    "client_min_messages",
    "datestyle",
    "default_transaction_isolation",
    "extra_float_digits",
    "idle_in_transaction_session_timeout",
    "intervalstyle",
    "lock_timeout",
    "search_path",
    "standard_conforming_strings",
    "statement_timeout",
    "timezone",
];

impl Command {
    /// Reads a command.
    ///
    /// # Errors
    ///
    /// When there is no such command.
    pub(super) fn parse(text: &str) -> Result<Self, End> {
        let bare = text.trim().trim_end_matches(|c: char| c == ';' || c.is_whitespace());
        // Words end at spaces and at the `=` of SET; a semicolon within makes two commands, which
        // nobody may send.
        let words = bare.split(|c: char| c.is_whitespace() || c == '=');
        let mut words = words.filter(|word| !word.is_empty());
        let found = match (words.next(), words.next(), words.next()) {
            (None, ..) => Some(Self::Empty),
            (Some(verb), Some(name), None) if is(verb, "SHOW") || is(verb, "SELECT") => show(name),
            (Some(verb), Some(name), Some(_)) if is(verb, "SET") => Some(set(name)?),
            (Some(verb), ..) => {
                ACTIONS.iter().find(|name| is(verb, name)).map(|name| Self::NotYet(name))
            }
        };
        found.ok_or_else(|| {
            let message = format!("invalid command '{text}', use SHOW HELP;");
            End::from(EndReason::ConsoleCommandUnknown).with_message(message)
        })
    }

    /// Whether looking at things is not enough of a right for it.
    pub(super) fn needs_admin(self) -> bool {
        match self {
            Self::Empty | Self::SetIgnored | Self::Show(_) => false,
            Self::NotYet(name) => !NOT_SHOWN.contains(&name),
            Self::Set => true,
        }
    }
}

fn is(word: &str, name: &str) -> bool {
    word.eq_ignore_ascii_case(name)
}

fn show(name: &str) -> Option<Command> {
    let not_yet = || NOT_SHOWN.iter().find(|other| is(name, other));
    Show::find(name).map(Command::Show).or_else(|| not_yet().map(|name| Command::NotYet(name)))
}

fn set(name: &str) -> Result<Command, End> {
    // Before `SESSION name = value` there is nothing of ours.
    if is(name, "SESSION") || CLIENT_SETTINGS.iter().any(|other| is(name, other)) {
        return Ok(Command::SetIgnored);
    }
    let name = name.to_ascii_lowercase();
    if Section::SHOWN.into_iter().any(|section| options::find(section, &name).is_some()) {
        return Ok(Command::Set);
    }
    Err(EndReason::ConsoleSetFailed.into())
}

#[cfg(test)]
mod tests {
    use super::{Command, Show};
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Command, String> {
        Command::parse(text).map_err(|end| end.message().unwrap_or_default().to_owned())
    }

    #[test]
    fn spaces_case_and_a_semicolon_do_not_matter() {
        for text in
            ["SHOW STATS", "show stats ; ", "  Show\tStats;", "SELECT stats", "show stats;;"]
        {
            assert_eq!(parse(text), Ok(Command::Show(Show::Stats)), "{text}");
        }
        assert_eq!(parse(" ; "), Ok(Command::Empty));
    }

    #[test]
    fn what_is_unknown_is_repeated_as_it_was_written() {
        for text in
            ["SHOW nosuch", "foo", "show stats; show pools", "SHOW", "select 1 + 1", "BEGIN"]
        {
            assert_eq!(parse(text), Err(format!("invalid command '{text}', use SHOW HELP;")));
        }
    }

    #[test]
    fn drivers_settings_are_ignored_and_ours_are_for_admins() {
        for text in ["SET datestyle = ISO", "set DateStyle TO 'ISO'", "SET extra_float_digits=3"] {
            assert_eq!(parse(text), Ok(Command::SetIgnored), "{text}");
        }
        assert_eq!(parse("SET default_pool_size = 3"), Ok(Command::Set));
        assert_eq!(parse("SET shed = 'off'"), Ok(Command::Set));
        assert!(Command::parse("SET nosuch = 1").is_err());
    }

    #[test]
    fn commands_of_pgbouncer_are_known_before_they_work() {
        assert_eq!(parse("PAUSE app"), Ok(Command::NotYet("PAUSE")));
        assert_eq!(parse("shutdown wait_for_clients;"), Ok(Command::NotYet("SHUTDOWN")));
        assert_eq!(parse("SHOW CLIENTS"), Ok(Command::NotYet("CLIENTS")));
    }

    /// Every command and who may give it.
    #[test]
    fn looking_is_for_everybody_and_changing_for_admins() {
        for (text, needs_admin) in [
            ("SHOW POOLS", false),
            ("SHOW CLIENTS", false),
            ("SHOW HELP", false),
            ("SET datestyle = ISO", false),
            ("SET default_pool_size = 3", true),
            ("RELOAD", true),
            ("KILL_CLIENT 3", true),
            ("SHUTDOWN", true),
        ] {
            assert_eq!(Command::parse(text).unwrap().needs_admin(), needs_admin, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_can_make_it_panic(text: String) {
            drop(Command::parse(&text));
        }
    }
}
