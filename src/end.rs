//! Why a session, a request or a server ended.
//!
//! Every ending has one [`EndReason`]. The label in metrics and logs, the SQLSTATE and the text for
//! the client are all derived from it here, so that they cannot disagree and no private detail can
//! leak through a stray `to_string`.
//!
//! Which code and why: overload inside a session is an `ERROR` 57014 with the socket kept, because
//! drivers flush whole pools at class 08, 53 or 57P0x and lose the code at a close; at login it is
//! `FATAL` 53300 or 57P03, the two that drivers retry or fail over on.

/// The fields that the proxy itself reads or writes. Others are forwarded unread.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ErrorFields {
    /// `ERROR`, `FATAL`, `PANIC`; not localized.
    pub severity: String,
    /// The SQLSTATE.
    pub code: String,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
    /// The `R` field: Postgres puts a function's name there, we a reason for machines.
    pub routine: Option<String>,
}

impl ErrorFields {
    /// Whether the server ends the connection with this error.
    pub fn is_fatal(&self) -> bool {
        matches!(self.severity.as_str(), "FATAL" | "PANIC")
    }
}

/// Who caused the ending. Alerts are built on this, so it is coarse.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Blame {
    Client,
    Operator,
    Proxy,
    Server,
}

impl Blame {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Operator => "operator",
            Self::Proxy => "proxy",
            Self::Server => "server",
        }
    }
}

/// Why something ended. Alphabetical.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum EndReason {
    AccountRemoved,
    AuthenticationFailed,
    CanceledInQueue,
    ClassClientLimit,
    ClassDenied,
    ClientGone,
    ClientIdle,
    ClientLimit,
    ClientTerminated,
    CommitUnknown,
    ConsoleArgument,
    ConsoleCanceled,
    ConsoleCommandUnknown,
    ConsoleDenied,
    ConsoleLimit,
    ConsoleNeedsAdmin,
    ConsolePortalUnknown,
    ConsoleReloadFailed,
    ConsoleSetFailed,
    ConsoleState,
    ConsoleStatementUnknown,
    ConsoleTargetUnknown,
    ConsoleValueInvalid,
    DatabaseClientLimit,
    DatabaseDisabled,
    DatabasePaused,
    DatabaseUnknown,
    IdleInTransaction,
    IdleUnderPressure,
    Killed,
    LoginRate,
    LoginTimeout,
    Moved,
    NotificationsUnread,
    PlanChanged,
    PoolLimit,
    ProtocolViolation,
    QueryTimeout,
    QueueFull,
    RateLimited,
    ReplicationDenied,
    ReplicationOver,
    ServerDown,
    ServerLost,
    ServerRefused,
    SessionState,
    SettingRefused,
    Shed,
    Shutdown,
    StatementLimit,
    StatementMemory,
    StatementMode,
    TransactionAborted,
    TransactionTimeout,
    UserClientLimit,
    UserMissing,
    VersionUnsupported,
    WaitTimeout,
    WriteTimeout,
}

/// What each audience is told about an [`EndReason`].
#[derive(Clone, Copy, Debug)]
pub struct Account {
    pub blame: Blame,
    /// Metric label and log field: stable, `snake_case`, never reused.
    pub label: &'static str,
    /// What the client's driver sees.
    pub sqlstate: &'static str,
    pub message: &'static str,
    /// The `R` field: a reason for machines, where the code alone does not tell.
    pub routine: Option<&'static str>,
    pub hint: Option<&'static str>,
}

/// What to do when there was too much to do.
const RETRY: &str = "Retry with backoff; the session stays usable.";

const fn plain(
    blame: Blame,
    label: &'static str,
    sqlstate: &'static str,
    message: &'static str,
) -> Account {
    Account { blame, label, sqlstate, message, routine: None, hint: None }
}

impl Account {
    const fn routine(mut self, routine: &'static str) -> Self {
        self.routine = Some(routine);
        self
    }

    const fn hint(mut self, hint: &'static str) -> Self {
        self.hint = Some(hint);
        self
    }
}

impl EndReason {
    pub const ALL: [Self; 59] = [
        Self::AccountRemoved,
        Self::AuthenticationFailed,
        Self::CanceledInQueue,
        Self::ClassClientLimit,
        Self::ClassDenied,
        Self::ClientGone,
        Self::ClientIdle,
        Self::ClientLimit,
        Self::ClientTerminated,
        Self::CommitUnknown,
        Self::ConsoleArgument,
        Self::ConsoleCanceled,
        Self::ConsoleCommandUnknown,
        Self::ConsoleDenied,
        Self::ConsoleLimit,
        Self::ConsoleNeedsAdmin,
        Self::ConsolePortalUnknown,
        Self::ConsoleReloadFailed,
        Self::ConsoleSetFailed,
        Self::ConsoleState,
        Self::ConsoleStatementUnknown,
        Self::ConsoleTargetUnknown,
        Self::ConsoleValueInvalid,
        Self::DatabaseClientLimit,
        Self::DatabaseDisabled,
        Self::DatabasePaused,
        Self::DatabaseUnknown,
        Self::IdleInTransaction,
        Self::IdleUnderPressure,
        Self::Killed,
        Self::LoginRate,
        Self::LoginTimeout,
        Self::Moved,
        Self::NotificationsUnread,
        Self::PlanChanged,
        Self::PoolLimit,
        Self::ProtocolViolation,
        Self::QueryTimeout,
        Self::QueueFull,
        Self::RateLimited,
        Self::ReplicationDenied,
        Self::ReplicationOver,
        Self::ServerDown,
        Self::ServerLost,
        Self::ServerRefused,
        Self::SessionState,
        Self::SettingRefused,
        Self::Shed,
        Self::Shutdown,
        Self::StatementLimit,
        Self::StatementMemory,
        Self::StatementMode,
        Self::TransactionAborted,
        Self::TransactionTimeout,
        Self::UserClientLimit,
        Self::UserMissing,
        Self::VersionUnsupported,
        Self::WaitTimeout,
        Self::WriteTimeout,
    ];

    #[rustfmt::skip]
    #[expect(clippy::too_many_lines, reason = "a table")]
    pub const fn account(self) -> Account {
        use Blame::{Client, Operator, Proxy, Server};
        match self {
            Self::AccountRemoved => plain(Operator, "account_removed", "57P01",
                "terminating connection due to administrator command")
                .routine("pooler_account_removed"),
            Self::AuthenticationFailed => plain(Client, "authentication_failed", "28P01",
                "password authentication failed"),
            Self::CanceledInQueue => plain(Client, "canceled_in_queue", "57014",
                "canceling statement due to user request"),
            Self::ClassClientLimit => plain(Proxy, "class_client_limit", "53300",
                "sorry, too many clients already (max_clients)").routine("pooler_client_limit"),
            Self::ClassDenied => plain(Client, "class_denied", "42501",
                "this class does not exist, or is not for this user to choose")
                .routine("pooler_class_denied"),
            Self::ClientGone => plain(Client, "client_gone", "08006",
                "client closed the connection"),
            Self::ClientIdle => plain(Client, "client_idle_timeout", "57P05",
                "terminating connection due to idle-session timeout")
                .routine("pooler_client_idle_timeout"),
            Self::ClientLimit => plain(Proxy, "max_client_conn", "53300",
                "sorry, too many clients already (max_client_conn)").routine("pooler_client_limit"),
            Self::ClientTerminated => plain(Client, "client_terminated", "08006",
                "client ended the session"),
            Self::CommitUnknown => plain(Server, "commit_unknown", "08007",
                "server was lost while it committed: the transaction may be done, or not")
                .routine("pooler_commit_unknown").hint("Look before you repeat it."),
            // The texts are PgBouncer's: tools look for them.
            Self::ConsoleArgument => plain(Client, "console_argument", "22023",
                "invalid argument"),
            Self::ConsoleCanceled => plain(Client, "console_canceled", "57014",
                "canceling statement due to user request"),
            Self::ConsoleCommandUnknown => plain(Client, "console_command_unknown", "42601",
                "invalid command, use SHOW HELP;"),
            Self::ConsoleDenied => plain(Client, "console_denied", "28000", "not allowed"),
            Self::ConsoleLimit => plain(Proxy, "console_limit", "53300",
                "sorry, too many console sessions already").routine("pooler_console_limit"),
            Self::ConsoleNeedsAdmin => plain(Client, "console_needs_admin", "42501",
                "admin access needed"),
            Self::ConsolePortalUnknown => plain(Client, "console_portal_unknown", "34000",
                "portal does not exist"),
            Self::ConsoleReloadFailed => plain(Operator, "console_reload_failed", "F0000",
                "RELOAD failed"),
            Self::ConsoleSetFailed => plain(Client, "console_set_failed", "42704", "SET failed"),
            Self::ConsoleState => plain(Client, "console_state", "55000",
                "the pooler is in another state"),
            Self::ConsoleStatementUnknown => plain(Client, "console_statement_unknown", "26000",
                "prepared statement does not exist"),
            Self::ConsoleTargetUnknown => plain(Client, "console_target_unknown", "42704",
                "not found"),
            Self::ConsoleValueInvalid => plain(Client, "console_value_invalid", "22023",
                "SET failed"),
            Self::DatabaseClientLimit => plain(Proxy, "max_db_client_connections", "53300",
                "sorry, too many clients already (max_db_client_connections)")
                .routine("pooler_client_limit"),
            Self::DatabaseDisabled => plain(Operator, "database_disabled", "57P03",
                "database is disabled").routine("pooler_database_disabled"),
            Self::DatabasePaused => plain(Operator, "database_paused", "57P03",
                "the database is paused").routine("pooler_database_paused"),
            Self::DatabaseUnknown => plain(Client, "database_unknown", "3D000",
                "database does not exist"),
            Self::IdleInTransaction => plain(Client, "idle_transaction_timeout", "25P03",
                "terminating connection due to idle-in-transaction timeout")
                .routine("pooler_idle_transaction_timeout"),
            Self::IdleUnderPressure => plain(Client, "idle_transaction_pressure_timeout", "25P03",
                "terminating connection due to idle-in-transaction timeout")
                .routine("pooler_idle_transaction_pressure_timeout"),
            Self::Killed => plain(Operator, "killed", "57P01", "admin forced disconnect")
                .routine("pooler_killed"),
            Self::LoginRate => plain(Proxy, "login_rate", "53300",
                "too many connection attempts, retry later").routine("pooler_login_rate"),
            Self::LoginTimeout => plain(Client, "client_login_timeout", "57014",
                "canceling authentication due to timeout (client_login_timeout)"),
            Self::Moved => plain(Operator, "moved", "57P01",
                "another process takes over"),
            Self::NotificationsUnread => plain(Client, "notifications_unread", "53400",
                "terminating connection: too many unread notifications (notification_buffer)")
                .routine("pooler_notifications_unread"),
            // As Postgres says it: drivers look at all three.
            Self::PlanChanged => plain(Server, "plan_changed", "0A000",
                "cached plan must not change result type").routine("RevalidateCachedQuery"),
            Self::PoolLimit => plain(Proxy, "pool_limit", "53300",
                "sorry, too many pools already").routine("pooler_pool_limit"),
            Self::ProtocolViolation => plain(Client, "protocol_violation", "08P01",
                "protocol violation"),
            Self::QueryTimeout => plain(Client, "query_timeout", "57014",
                "terminating connection due to query_timeout").routine("pooler_query_timeout"),
            Self::QueueFull => plain(Proxy, "queue_full", "57014",
                "canceling statement: too many requests are waiting (max_queued)")
                .routine("pooler_queue_full").hint(RETRY),
            Self::RateLimited => plain(Proxy, "rate_limit", "57014",
                "canceling statement: rate limit for this class exceeded")
                .routine("pooler_rate_limit").hint(RETRY),
            Self::ReplicationDenied => plain(Operator, "replication_denied", "0A000",
                "replication connections are not allowed by the configuration of the pooler"),
            Self::ReplicationOver => plain(Server, "replication_over", "08006",
                "server ended the replication connection"),
            Self::ServerDown => plain(Server, "server_down", "57014",
                "canceling statement: database server is not available")
                .routine("pooler_server_down").hint(RETRY),
            Self::ServerLost => plain(Server, "server_lost", "08006",
                "server closed the connection unexpectedly").routine("pooler_server_lost"),
            Self::ServerRefused => plain(Server, "server_refused", "08001",
                "the database server refused the proxy's login"),
            Self::SessionState => plain(Client, "session_state", "0A000",
                "temporary tables, cursors WITH HOLD, advisory locks of the session and LOAD are refused here: \
                another transaction may get another server").routine("pooler_session_state")
                .hint("Use ON COMMIT DROP or pg_advisory_xact_lock(), or set session_state or pool_mode for \
                this database."),
            Self::SettingRefused => plain(Client, "setting_refused", "22023",
                "a startup parameter was refused by the database server"),
            Self::Shed => plain(Proxy, "shed", "57014",
                "canceling statement: pool overloaded, request shed")
                .routine("pooler_shed").hint(RETRY),
            Self::Shutdown => plain(Operator, "shutdown", "57P01",
                "terminating connection due to administrator command"),
            Self::StatementLimit => plain(Client, "max_client_prepared_statements", "53400",
                "too many prepared statements (max_client_prepared_statements)")
                .routine("pooler_statement_limit"),
            Self::StatementMemory => plain(Proxy, "prepared_statement_memory", "53200",
                "no memory for another prepared statement (prepared_statement_memory)")
                .routine("pooler_statement_memory"),
            Self::StatementMode => plain(Client, "statement_mode", "0A000",
                "transaction blocks not allowed in statement pooling mode"),
            Self::TransactionAborted => plain(Server, "transaction_aborted", "25P02",
                "current transaction is aborted, commands ignored until end of transaction block"),
            Self::TransactionTimeout => plain(Client, "transaction_timeout", "25P04",
                "terminating connection due to transaction timeout")
                .routine("pooler_transaction_timeout"),
            Self::UserClientLimit => plain(Proxy, "max_user_client_connections", "53300",
                "sorry, too many clients already (max_user_client_connections)")
                .routine("pooler_client_limit"),
            Self::UserMissing => plain(Client, "user_missing", "28000",
                "no PostgreSQL user name specified in startup packet"),
            Self::VersionUnsupported => plain(Client, "version_unsupported", "0A000",
                "unsupported frontend protocol"),
            Self::WaitTimeout => plain(Proxy, "query_wait_timeout", "57014",
                "canceling statement due to query_wait_timeout").routine("pooler_queue_timeout")
                .hint(RETRY),
            Self::WriteTimeout => plain(Client, "client_write_timeout", "08006",
                "client did not take its results (client_write_timeout)"),
        }
    }
}

/// Where in a client's life the ending falls: the same reason is told differently.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Phase {
    /// Before the client is in: the connection closes.
    Login,
    /// In a session that closes.
    Closing,
    /// In a session that stays open.
    Session,
}

/// An ending, with what is known about this one. Small: it is part of every answer on the hot path.
#[derive(Clone, Debug)]
pub struct End {
    pub reason: EndReason,
    known: Option<Box<Known>>,
}

/// What is known about one ending.
#[derive(Clone, Debug, Default)]
struct Known {
    /// Instead of the reason's own text.
    message: Option<String>,
    detail: Option<String>,
    /// Instead of the reason's own.
    hint: Option<String>,
    /// What the server said: forwarded as it is, but for its severity.
    verbatim: Option<ErrorFields>,
}

impl From<EndReason> for End {
    fn from(reason: EndReason) -> Self {
        Self { reason, known: None }
    }
}

impl End {
    #[must_use]
    pub fn with_message(mut self, message: impl Into<String>) -> Self {
        self.known.get_or_insert_default().message = Some(message.into());
        self
    }

    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.known.get_or_insert_default().detail = Some(detail.into());
        self
    }

    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.known.get_or_insert_default().hint = Some(hint.into());
        self
    }

    /// Said in the server's own words.
    #[must_use]
    pub fn verbatim(mut self, fields: ErrorFields) -> Self {
        self.known.get_or_insert_default().verbatim = Some(fields);
        self
    }

    /// As PgBouncer would say it: its one code for everything, and its text, which is looked for in
    /// logs.
    #[must_use]
    pub fn in_pgbouncers_words(self, message: String) -> Self {
        let routine = self.reason.account().routine.map(str::to_owned);
        let code = "08P01".to_owned();
        self.verbatim(ErrorFields { code, message, routine, ..ErrorFields::default() })
    }

    pub fn message(&self) -> Option<&str> {
        self.known.as_ref()?.message.as_deref()
    }

    pub fn detail(&self) -> Option<&str> {
        self.known.as_ref()?.detail.as_deref()
    }

    /// The client broke the protocol; `message` says how.
    pub fn protocol(message: impl Into<String>) -> Self {
        Self::from(EndReason::ProtocolViolation).with_message(message)
    }

    /// Whether the client can still be told: it is there, and would listen.
    pub fn is_told(&self) -> bool {
        !matches!(
            self.reason,
            EndReason::ClientGone
                | EndReason::ClientTerminated
                | EndReason::Moved
                | EndReason::ReplicationOver
                | EndReason::WriteTimeout
        )
    }

    /// What the client reads.
    pub fn fields(&self, phase: Phase) -> ErrorFields {
        // Never FATAL on a connection that stays open: drivers would close it.
        let severity = if phase == Phase::Session { "ERROR" } else { "FATAL" }.to_owned();
        let verbatim = self.known.as_ref().and_then(|known| known.verbatim.as_ref());
        if let Some(fields) = verbatim {
            return ErrorFields { severity, ..fields.clone() };
        }
        let account = self.reason.account();
        let (sqlstate, message) = match (phase, self.reason) {
            // The codes that drivers retry or fail over on when they connect.
            (Phase::Login, EndReason::ServerDown | EndReason::ServerLost) => {
                ("57P03", "the database system is not accepting connections")
            }
            (Phase::Login, EndReason::WaitTimeout) => {
                ("53300", "sorry, too many clients already (query_wait_timeout)")
            }
            (Phase::Login, EndReason::QueueFull | EndReason::RateLimited | EndReason::Shed) => {
                ("53300", "sorry, too many clients already")
            }
            (Phase::Login, EndReason::Shutdown) => ("57P03", "the pooler is shutting down"),
            _ => (account.sqlstate, account.message),
        };
        let own_hint = self.known.as_ref().and_then(|known| known.hint.clone());
        let hint = || account.hint.filter(|_| phase == Phase::Session).map(str::to_owned);
        ErrorFields {
            severity,
            code: sqlstate.to_owned(),
            message: self.message().unwrap_or(message).to_owned(),
            detail: self.detail().map(str::to_owned),
            hint: own_hint.or_else(hint),
            routine: account.routine.map(str::to_owned),
        }
    }
}

#[cfg(test)]
mod tests;
