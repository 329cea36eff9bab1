//! Names of the operator's own: what only reads though Postgres' functions are not all it calls, and what
//! nobody may share a server with.

use std::cmp::Ordering;

/// Postgres cuts longer names, wherever it meets them.
pub const NAME_MAX: usize = 63;

/// Names that the configuration gives. Whether they are in capitals makes no difference.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Names {
    functions: Box<[String]>,
    barred: Box<[String]>,
}

impl Names {
    /// `functions`: they only read; with their schema if they are called with it. `barred`: of tables, views,
    /// functions or whatever else, without a schema; of [`NAME_MAX`] bytes at most.
    pub fn new(functions: Vec<String>, barred: Vec<String>) -> Self {
        let [functions, barred] = [functions, barred].map(|names| {
            let mut names: Box<[_]> =
                names.into_iter().map(|name| name.to_ascii_lowercase()).collect();
            names.sort_unstable();
            names
        });
        Self { functions, barred }
    }

    /// Whether a function may be called. `order`: how one compares with its name.
    pub(super) fn allow(&self, order: impl Fn(&str) -> Ordering) -> bool {
        self.functions.binary_search_by(|function| order(function)).is_ok()
    }

    /// Whether a name, in lower case, keeps a text from being shared. One that Postgres would cut may be any.
    pub(super) fn bar(&self, name: &[u8]) -> bool {
        !self.barred.is_empty()
            && (name.len() > NAME_MAX
                || self.barred.binary_search_by(|it| it.as_bytes().cmp(name)).is_ok())
    }
}
