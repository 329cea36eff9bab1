//! One connection to Postgres.
