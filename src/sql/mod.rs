//! As much SQL as a pooler needs: a lexer, no tree.

pub mod ending;
pub mod prepared;
pub mod read;
mod tokens;
pub mod trivial;
