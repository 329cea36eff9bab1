//! The kinds of sections: their names, and their headers.

/// A kind of section of the file.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Section {
    Proxy,
    Host,
    Database,
    User,
}

impl Section {
    pub const ALL: [Self; 4] = [Self::Proxy, Self::Host, Self::Database, Self::User];

    /// The first name in the section's header.
    pub fn name(self) -> &'static str {
        match self {
            Self::Proxy => "proxy",
            Self::Host => "hosts",
            Self::Database => "databases",
            Self::User => "users",
        }
    }

    /// The header as people write it.
    pub fn header(self) -> &'static str {
        match self {
            Self::Proxy => "[proxy]",
            Self::Host => "[hosts.NAME]",
            Self::Database => "[databases.NAME]",
            Self::User => "[users.NAME]",
        }
    }
}
