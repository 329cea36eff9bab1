//! What an operator types, as a command.

use super::input::Input;
use super::show::Show;
use crate::end::{End, EndReason};

/// A command that the console understands. Whether its argument makes sense shows when it is done: who
/// may not give it need not know.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Command {
    /// Something that changes the proxy, and what it is to be done to.
    Act(Verb, Option<Box<str>>),
    /// Nothing at all, or only a semicolon.
    Empty,
    /// A setting of ours.
    Set {
        name: Box<str>,
        value: Box<str>,
    },
    /// Limits of a class.
    SetClass {
        class: Box<str>,
        settings: Vec<(Box<str>, Box<str>)>,
    },
    /// What drivers and their pools do with any connection.
    Routine(Routine),
    /// A setting that drivers make on any connection: it means nothing here, and does no harm.
    SetIgnored,
    Show(Show),
    /// `SELECT pg_advisory_unlock_all()`, with which a pool takes a connection back. There are no locks.
    Unlock,
}

/// What drivers and their pools do with any connection. Transactions begin and end, because drivers look
/// whether they do; but each command holds at once, and nothing undoes it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Routine {
    Begin,
    CloseAll,
    Commit,
    DeallocateAll,
    DiscardAll,
    ResetAll,
    Rollback,
    Start,
    Unlisten,
}

impl Routine {
    /// As Postgres tells it.
    fn tag(self) -> &'static str {
        match self {
            Self::Begin => "BEGIN",
            Self::CloseAll => "CLOSE CURSOR ALL",
            Self::Commit => "COMMIT",
            Self::DeallocateAll => "DEALLOCATE ALL",
            Self::DiscardAll => "DISCARD ALL",
            Self::ResetAll => "RESET",
            Self::Rollback => "ROLLBACK",
            Self::Start => "START TRANSACTION",
            Self::Unlisten => "UNLISTEN",
        }
    }

    /// `verb` was read, and this is behind it.
    fn read(verb: &str, input: &mut Input<'_>) -> Option<Self> {
        const ENDS: [(&str, Routine); 4] = [
            ("ABORT", Routine::Rollback),
            ("COMMIT", Routine::Commit),
            ("END", Routine::Commit),
            ("ROLLBACK", Routine::Rollback),
        ];
        const ALL: [(&str, &str, Routine); 5] = [
            ("CLOSE", "ALL", Routine::CloseAll),
            ("DEALLOCATE", "ALL", Routine::DeallocateAll),
            ("DISCARD", "ALL", Routine::DiscardAll),
            ("RESET", "ALL", Routine::ResetAll),
            ("UNLISTEN", "*", Routine::Unlisten),
        ];
        if is(verb, "BEGIN") {
            input.words();
            return Some(Self::Begin);
        }
        if is(verb, "START") && is(input.word()?, "TRANSACTION") {
            input.words();
            return Some(Self::Start);
        }
        if let Some((.., routine)) = ENDS.into_iter().find(|(name, _)| is(verb, name)) {
            let is_bare = input.is_at_end();
            let is_whole =
                is_bare || input.word().is_some_and(|it| is(it, "WORK") || is(it, "TRANSACTION"));
            return is_whole.then_some(routine);
        }
        let (_, what, routine) = ALL.into_iter().find(|(name, ..)| is(verb, name))?;
        is(input.word()?, what).then_some(routine)
    }
}

/// What changes the proxy. The names are PgBouncer's, but for `KILL_SERVER`, which is ours.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verb {
    Disable,
    Enable,
    Kill,
    KillClient,
    KillServer,
    Pause,
    Reconnect,
    Reload,
    Resume,
    Shutdown,
    Suspend,
    WaitClose,
}

impl Verb {
    const ALL: [Self; 12] = [
        Self::Disable,
        Self::Enable,
        Self::Kill,
        Self::KillClient,
        Self::KillServer,
        Self::Pause,
        Self::Reconnect,
        Self::Reload,
        Self::Resume,
        Self::Shutdown,
        Self::Suspend,
        Self::WaitClose,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Disable => "DISABLE",
            Self::Enable => "ENABLE",
            Self::Kill => "KILL",
            Self::KillClient => "KILL_CLIENT",
            Self::KillServer => "KILL_SERVER",
            Self::Pause => "PAUSE",
            Self::Reconnect => "RECONNECT",
            Self::Reload => "RELOAD",
            Self::Resume => "RESUME",
            Self::Shutdown => "SHUTDOWN",
            Self::Suspend => "SUSPEND",
            Self::WaitClose => "WAIT_CLOSE",
        }
    }

    /// Whether this may follow it.
    fn takes(self, argument: &str) -> bool {
        match self {
            Self::Reload | Self::Suspend => false,
            Self::Shutdown => is(argument, "WAIT_FOR_SERVERS") || is(argument, "WAIT_FOR_CLIENTS"),
            _ => true,
        }
    }
}

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
        let mut input = Input(text);
        let command = if input.is_at_end() { Some(Self::Empty) } else { read(&mut input) };
        command.filter(|_| input.is_at_end()).ok_or_else(|| {
            let message = format!("invalid command '{text}', use SHOW HELP;");
            End::from(EndReason::ConsoleCommandUnknown).with_message(message)
        })
    }

    /// Reads a command, or several of those that drivers send together and that mean nothing here.
    ///
    /// # Errors
    ///
    /// When there is no such command: nothing is done then.
    pub(super) fn parse_all(text: &str) -> Result<Vec<Self>, End> {
        let one = match Self::parse(text) {
            Ok(one) => return Ok(vec![one]),
            Err(end) => end,
        };
        let means_nothing = |it: &Self| {
            matches!(it, Self::Empty | Self::Routine(_) | Self::SetIgnored | Self::Unlock)
        };
        let commands: Result<Vec<_>, _> = text.split(';').map(Self::parse).collect();
        let mut commands = commands.ok().filter(|all| all.iter().all(means_nothing)).ok_or(one)?;
        commands.retain(|command| *command != Self::Empty);
        Ok(commands)
    }

    /// Whether looking at things is not enough of a right for it.
    pub(super) fn needs_admin(&self) -> bool {
        match self {
            Self::Empty | Self::Routine(_) | Self::SetIgnored | Self::Unlock => false,
            Self::Show(show) => show.needs_admin(),
            Self::Act(..) | Self::Set { .. } | Self::SetClass { .. } => true,
        }
    }

    /// What is told when it is done.
    pub(super) fn tag(&self) -> String {
        match self {
            Self::Act(verb, _) => verb.name().to_owned(),
            Self::Set { name, value } => format!("SET {name}={value}"),
            Self::SetClass { .. } => "SET CLASS".to_owned(),
            Self::Routine(routine) => routine.tag().to_owned(),
            Self::SetIgnored => "SET".to_owned(),
            Self::Unlock => "SELECT 1".to_owned(),
            Self::Empty | Self::Show(_) => "SHOW".to_owned(),
        }
    }
}

fn is(word: &str, name: &str) -> bool {
    word.eq_ignore_ascii_case(name)
}

fn read(input: &mut Input<'_>) -> Option<Command> {
    let verb = input.word()?;
    if is(verb, "SHOW") || is(verb, "SELECT") {
        let what = input.word()?;
        if is(verb, "SELECT") && is(what, "pg_advisory_unlock_all()") {
            return Some(Command::Unlock);
        }
        return Show::find(what).map(Command::Show);
    }
    if is(verb, "SET") {
        return set(input);
    }
    if let Some(routine) = Routine::read(verb, &mut *input) {
        return Some(Command::Routine(routine));
    }
    let verb = Verb::ALL.into_iter().find(|known| is(verb, known.name()))?;
    if input.is_at_end() {
        return Some(Command::Act(verb, None));
    }
    let argument = input.text()?;
    verb.takes(&argument).then_some(Command::Act(verb, Some(argument)))
}

fn set(input: &mut Input<'_>) -> Option<Command> {
    let name = input.word()?;
    // Before `SESSION name = value` there is nothing of ours.
    if is(name, "SESSION") || CLIENT_SETTINGS.iter().any(|other| is(name, other)) {
        return input.skip().then_some(Command::SetIgnored);
    }
    if is(name, "CLASS") && !is_before_value(*input) {
        let class = input.text()?;
        let mut settings = vec![setting(input)?];
        while input.skips(',') {
            settings.push(setting(input)?);
        }
        return Some(Command::SetClass { class, settings });
    }
    let value = value(input)?;
    Some(Command::Set { name: name.to_ascii_lowercase().into(), value })
}

fn setting(input: &mut Input<'_>) -> Option<(Box<str>, Box<str>)> {
    let name = input.word()?.to_ascii_lowercase();
    Some((name.into(), value(input)?))
}

fn is_before_value(mut input: Input<'_>) -> bool {
    input.skips('=') || input.word().is_some_and(|word| is(word, "TO"))
}

/// `= value` or `TO value`.
fn value(input: &mut Input<'_>) -> Option<Box<str>> {
    if !input.skips('=') && !input.word().is_some_and(|word| is(word, "TO")) {
        return None;
    }
    input.text()
}

#[cfg(test)]
mod tests {
    use super::{Command, Show, Verb};
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Command, String> {
        Command::parse(text).map_err(|end| end.message().unwrap_or_default().to_owned())
    }

    fn act(verb: Verb, argument: Option<&str>) -> Command {
        Command::Act(verb, argument.map(Box::from))
    }

    #[test]
    fn spaces_case_and_a_semicolon_do_not_matter() {
        for text in
            ["SHOW STATS", "show stats ; ", "  Show\tStats;", "SELECT stats", "show stats;;"]
        {
            assert_eq!(parse(text), Ok(Command::Show(Show::Stats)), "{text}");
        }
        assert_eq!(parse(" ; "), Ok(Command::Empty));
        assert_eq!(parse(" wait_close\tapp ;"), Ok(act(Verb::WaitClose, Some("app"))));
    }

    #[test]
    fn what_is_unknown_is_repeated_as_it_was_written() {
        for text in [
            "SHOW nosuch",
            "foo",
            "show stats; show pools",
            "SHOW",
            "select 1 + 1",
            "ROLLBACK TO one",
            "RESET work_mem",
            "BEGIN; PAUSE",
            "/* SHOW STATS",
            "PAUSE one two",
            "PAUSE one; RESUME",
            "PAUSE 'one",
            "RELOAD now",
            "SUSPEND app",
            "SHUTDOWN immediate",
            "SHOW 'STATS'",
            "SET",
            "SET default_pool_size",
            "SET default_pool_size = ",
            "SET default_pool_size = 1 2",
            "SET CLASS batch",
            "SET CLASS batch max_in_flight = 8,",
        ] {
            assert_eq!(parse(text), Err(format!("invalid command '{text}', use SHOW HELP;")));
        }
    }

    #[test]
    fn comments_are_passed_over() {
        for text in [
            "-- who waits\nSHOW STATS",
            "/* a; b */ SHOW /**/ STATS -- c",
            "SHOW STATS; -- SHOW POOLS",
            "SHOW STATS--\n;",
        ] {
            assert_eq!(parse(text), Ok(Command::Show(Show::Stats)), "{text}");
        }
        assert_eq!(parse("-- nothing"), Ok(Command::Empty));
        assert_eq!(parse("PAUSE '--' -- app"), Ok(act(Verb::Pause, Some("--"))));
    }

    #[test]
    fn what_drivers_do_with_any_connection_is_known() {
        for (text, tag) in [
            ("BEGIN", "BEGIN"),
            ("begin isolation level serializable, read only;", "BEGIN"),
            ("START TRANSACTION READ ONLY", "START TRANSACTION"),
            ("END", "COMMIT"),
            ("COMMIT WORK", "COMMIT"),
            ("abort", "ROLLBACK"),
            ("RESET ALL", "RESET"),
            ("DISCARD ALL", "DISCARD ALL"),
            ("DEALLOCATE ALL", "DEALLOCATE ALL"),
            ("CLOSE ALL", "CLOSE CURSOR ALL"),
            ("UNLISTEN *", "UNLISTEN"),
            ("SELECT pg_advisory_unlock_all()", "SELECT 1"),
        ] {
            let command = Command::parse(text).unwrap();
            assert_eq!((command.tag().as_str(), command.needs_admin()), (tag, false), "{text}");
        }
    }

    #[test]
    fn several_commands_may_come_at_once_if_they_mean_nothing() {
        let text = "SELECT pg_advisory_unlock_all();\nCLOSE ALL;\nUNLISTEN *;\nRESET ALL;";
        let tags: Vec<_> = Command::parse_all(text).unwrap().iter().map(Command::tag).collect();
        assert_eq!(tags, ["SELECT 1", "CLOSE CURSOR ALL", "UNLISTEN", "RESET"]);
        assert!(Command::parse_all("RESET ALL; PAUSE").is_err());
        assert!(Command::parse_all("SHOW STATS; SHOW POOLS").is_err());
        assert_eq!(Command::parse_all(" ; ").unwrap(), [Command::Empty]);
    }

    #[test]
    fn a_database_may_be_quoted() {
        assert_eq!(parse("PAUSE"), Ok(act(Verb::Pause, None)));
        assert_eq!(parse("pause App"), Ok(act(Verb::Pause, Some("App"))));
        assert_eq!(
            parse("KILL \"my \"\"own\"\"; app\";"),
            Ok(act(Verb::Kill, Some("my \"own\"; app")))
        );
        assert_eq!(parse("DISABLE 'it''s'"), Ok(act(Verb::Disable, Some("it's"))));
        let shutdown = Ok(act(Verb::Shutdown, Some("wait_for_clients")));
        assert_eq!(parse("shutdown wait_for_clients;"), shutdown);
    }

    #[test]
    fn drivers_settings_are_ignored() {
        for text in [
            "SET datestyle = ISO",
            "set DateStyle TO 'ISO'",
            "SET extra_float_digits=3",
            "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        ] {
            assert_eq!(parse(text), Ok(Command::SetIgnored), "{text}");
        }
    }

    #[test]
    fn a_setting_has_a_name_and_a_value() {
        let set =
            |name: &str, value: &str| Ok(Command::Set { name: name.into(), value: value.into() });
        assert_eq!(parse("SET default_pool_size = 3"), set("default_pool_size", "3"));
        assert_eq!(parse("set Shed TO 'off';"), set("shed", "off"));
        assert_eq!(
            parse("SET server_check_query='select 2'"),
            set("server_check_query", "select 2")
        );
        let tag = parse("SET server_check_query='select 2'").map(|set| set.tag());
        assert_eq!(tag.as_deref(), Ok("SET server_check_query=select 2"));
        let settings = vec![("max_in_flight".into(), "8".into()), ("weight".into(), "2".into())];
        let class = Command::SetClass { class: "batch jobs".into(), settings };
        assert_eq!(parse("SET CLASS 'batch jobs' max_in_flight = 8, weight TO 2"), Ok(class));
    }

    /// Every command and who may give it.
    #[test]
    fn looking_is_for_everybody_and_changing_for_admins() {
        for show in Show::ALL {
            assert_eq!(Command::Show(show).needs_admin(), show == Show::Fds, "{show:?}");
        }
        for verb in Verb::ALL {
            let command = parse(verb.name());
            assert_eq!(command, Ok(act(verb, None)));
            assert!(command.is_ok_and(|command| command.needs_admin()), "{verb:?}");
        }
        for (text, needs_admin) in [
            ("", false),
            ("SET datestyle = ISO", false),
            ("SET default_pool_size = 3", true),
            ("SET nosuch = 3", true),
            ("SET CLASS batch weight = 3", true),
            ("KILL_CLIENT 3", true),
            ("KILL_SERVER 3", true),
            ("PAUSE app", true),
            ("show fds", true),
            ("SELECT fds", true),
            ("show waits", false),
            ("SHUTDOWN WAIT_FOR_SERVERS", true),
        ] {
            assert_eq!(Command::parse(text).unwrap().needs_admin(), needs_admin, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_can_make_it_panic(text: String) {
            drop(Command::parse_all(&text));
        }

        #[test]
        fn nothing_between_quotes_can_make_it_panic(inside in "(SET|PAUSE|set class)[ ='\",;a-zé]*") {
            drop(Command::parse(&inside));
        }
    }
}
