//! Builds everything and owns every task.
