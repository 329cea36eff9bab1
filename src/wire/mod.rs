//! The Postgres protocol, version 3, as bytes: no sockets, no clocks.
