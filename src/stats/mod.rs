//! Plain counters and what is read from them.
