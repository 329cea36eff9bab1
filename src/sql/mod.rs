//! As much SQL as a pooler needs: a lexer, no tree.

pub mod ending;
mod tokens;
pub mod trivial;
