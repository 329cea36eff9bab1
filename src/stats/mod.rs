//! Plain counters and what is read from them.
//!
//! Each worker has cells of its own, so that counting costs an addition and no worker waits for
//! another's cache line; whoever reads adds the workers up.

pub mod counter;
pub mod durations;
pub mod pool;
pub mod times;
pub mod worker;
