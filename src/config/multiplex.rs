//! Whether clients share servers, and how far.

use crate::sql::read::Names;
use std::sync::Arc;
use std::time::Duration;

/// What a pool's clients may share. Several may have one read each under way on one server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Multiplex {
    pub is_on: bool,
    /// The most clients on one server at once.
    pub depth: u32,
    /// What takes longer, one time in a hundred, has a server for itself; and no more is expected to be ahead
    /// of anybody who shares.
    pub max_service_time: Duration,
    /// What may be called beside functions of Postgres, and what may not be mentioned.
    pub names: Arc<Names>,
}
