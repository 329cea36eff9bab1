//! Requests that a server answers.

/// Who asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Origin {
    Client,
    /// The proxy put this request in: to change a setting, for instance.
    Proxy,
}

/// A request that has a place in the order of replies. Alphabetical.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Request {
    Bind,
    /// Of a portal; or the proxy's, of the unnamed statement.
    Close,
    /// `Close` of a named statement.
    CloseNamed,
    /// The client's `Close` of the unnamed statement.
    CloseUnnamed,
    /// `CopyDone` or `CopyFail`: has no reply, but ends the stretch in which a server that copies
    /// in ignores `Sync`.
    CopyEnd,
    /// Of a portal or a statement with a name; or the proxy's, of what it has prepared.
    Describe,
    /// A `Describe` that is to fail when the parameters are told: what is said of columns is swallowed.
    DescribeInVain,
    /// The client's `Describe` of the unnamed statement.
    DescribeUnnamed,
    Execute,
    /// One that the [script](super::script) follows.
    ExecuteFollowed,
    FunctionCall,
    /// `Parse` of the unnamed statement.
    Parse,
    /// A `Close` in place of a named `Parse`: its answer is told as that to the `Parse`.
    ParseAcknowledged,
    ParseNamed,
    /// One of the unnamed statement that is to fail.
    ParseRefused,
    Query,
    /// One that the [script](super::script) follows.
    QueryFollowed,
    Sync,
}

impl Request {
    pub(super) fn is_execute(self) -> bool {
        matches!(self, Self::Execute | Self::ExecuteFollowed)
    }

    /// Whether rows and copy data may answer it.
    pub(super) fn has_data(self) -> bool {
        self.is_execute() || matches!(self, Self::Query | Self::QueryFollowed)
    }

    /// Whether `ReadyForQuery` follows, whatever becomes of it.
    pub(super) fn is_simple(self) -> bool {
        matches!(self, Self::FunctionCall | Self::Query | Self::QueryFollowed)
    }

    pub(super) fn is_readied(self) -> bool {
        self.is_simple() || self == Self::Sync
    }
}
