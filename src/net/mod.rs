//! Sockets, buffers, and the clock.
