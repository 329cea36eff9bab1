//! Servers on loan.
