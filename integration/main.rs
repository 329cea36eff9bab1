//! Tests of the whole program, against a real Postgres.

mod cases;
mod drivers;
mod harness;
