//! Another configuration, while clients are busy.

mod clients;
mod servers;
mod triggers;

use crate::harness::settings::Settings;

/// With passwords, and a console for `root`.
pub(super) fn with_passwords() -> Settings {
    Settings::new()
        .set("auth_type", "scram-sha-256")
        .set("admin_users", "root")
        .user("root", "root-secret")
}
