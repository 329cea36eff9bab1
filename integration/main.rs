//! Tests of the whole program, against a real Postgres.

#![forbid(unsafe_code)]

mod cases;
mod drivers;
mod harness;
