//! Sockets, buffers, and the clock. What a thread's tasks share is a [`worker::Worker`].

pub mod courtesy;
pub mod deadline;
pub mod dial;
pub mod flow;
pub mod listen;
mod low_water;
pub mod options;
pub mod passing;
pub mod stream;
pub mod worker;
