//! One theme a file, each test named after the property that it checks.

mod auth;
mod cancel;
mod classes;
mod console;
mod copy;
mod cost;
mod crosstalk;
mod faults;
mod goodbye;
mod http;
mod limits;
mod logins;
mod lost_servers;
mod overload;
mod pools;
mod protocol;
mod quotas;
mod refusals;
mod regressions;
mod same_as_direct;
mod settings;
mod shutdown;
mod startup;
mod takeover;
mod torture;
mod under_pressure;
