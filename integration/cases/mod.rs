//! One theme a file, each test named after the property that it checks.

mod auth;
mod cancel;
mod console;
mod copy;
mod cost;
mod crosstalk;
mod faults;
mod goodbye;
mod http;
mod limits;
mod lost_servers;
mod overload;
mod pools;
mod protocol;
mod regressions;
mod same_as_direct;
mod settings;
mod startup;
mod torture;
