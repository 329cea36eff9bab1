//! The kinds of sections: their names, their headers, and what is part of what.

/// A kind of section of the file.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Section {
    Proxy,
    Host,
    Database,
    User,
    Class,
    ClassMatch,
    ClassPerAddress,
    Overload,
}

impl Section {
    pub const ALL: [Self; 8] = [
        Self::Proxy,
        Self::Host,
        Self::Database,
        Self::User,
        Self::Class,
        Self::ClassMatch,
        Self::ClassPerAddress,
        Self::Overload,
    ];

    /// Those whose options hold for the whole process, which the console shows.
    pub const SHOWN: [Self; 2] = [Self::Proxy, Self::Overload];

    /// The section that it is a part of. Others stand by themselves.
    pub fn parent(self) -> Option<Self> {
        match self {
            Self::ClassMatch | Self::ClassPerAddress => Some(Self::Class),
            _ => None,
        }
    }

    pub fn parts(self) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(move |part| part.parent() == Some(self))
    }

    /// Those that stand by themselves.
    pub fn top() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|section| section.parent().is_none())
    }

    /// The first name in the section's header, or what a part is called in its section.
    pub fn name(self) -> &'static str {
        match self {
            Self::Proxy => "proxy",
            Self::Host => "hosts",
            Self::Database => "databases",
            Self::User => "users",
            Self::Class => "classes",
            Self::ClassMatch => "match",
            Self::ClassPerAddress => "per_address",
            Self::Overload => "overload",
        }
    }

    /// The header as people write it.
    pub fn header(self) -> &'static str {
        match self {
            Self::Proxy => "[proxy]",
            Self::Host => "[hosts.NAME]",
            Self::Database => "[databases.NAME]",
            Self::User => "[users.NAME]",
            Self::Class => "[[classes]]",
            Self::ClassMatch => "[classes.match]",
            Self::ClassPerAddress => "[classes.per_address]",
            Self::Overload => "[overload]",
        }
    }
}
