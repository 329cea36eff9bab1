//! As much SQL as a pooler needs: a lexer, no tree.

mod bytes;
mod cut;
pub mod ending;
pub mod glance;
pub mod hidden;
pub mod prepared;
pub mod read;
pub mod statement;
mod tokens;
pub mod trivial;
