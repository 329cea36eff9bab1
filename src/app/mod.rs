//! Builds everything and owns every task.

pub mod demo;
