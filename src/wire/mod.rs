//! The Postgres protocol, version 3, as bytes: no sockets, no clocks, no state between calls.

#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::as_conversions)
)]

pub mod encode;
pub mod error_fields;
pub mod frame;
pub mod rows;
pub mod startup;
pub mod tags;
