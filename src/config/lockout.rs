//! What no change may do to a proxy that runs: put everybody out, or leave nobody who could bring them back.
//! An empty file is valid, and a process may start with it. In the place of another it is most likely one
//! that an editor, a full disk or a template has cut short.

use super::{AuthType, Config, User};
use crate::base::finding::{Finding, Place, Severity};
use crate::base::secret::Secret;
use std::path::Path;

const IS_IT_WHOLE: &str = "Is all of the file there? A restart takes it up as it is.";

impl Config {
    /// Why this may not take the place of `running`; `file` is what it was read from. Empty: it may.
    pub fn lockouts(&self, running: &Self, file: &Path) -> Vec<Finding> {
        let mut found = Vec::new();
        let mut refuse = |code, message: &str, action: &str| {
            found.push(Finding {
                code,
                severity: Severity::Error,
                place: Some(Place { file: file.display().to_string(), line: 1 }),
                message: message.to_owned(),
                action: Some(action.to_owned()),
            });
        };
        if self.databases.is_empty() && !running.databases.is_empty() {
            let message = "no client finds a database, and all who are in would have to leave.";
            refuse("no-databases", message, IS_IT_WHOLE);
        }
        if !self.lets_anybody_in() && running.lets_anybody_in() {
            let message = "nobody can log in, and all who are in would have to leave.";
            refuse("no-users", message, IS_IT_WHOLE);
        }
        if !self.has_admin() && running.has_admin() {
            let message = "nobody in `admin_users` can log in to the console any more.";
            refuse("no-admin", message, "Name a user with a password, or restart.");
        }
        found
    }

    fn lets_anybody_in(&self) -> bool {
        self.auth.kind == AuthType::Trust || self.users.values().any(|user| self.can_prove(user))
    }

    /// Whether anybody may do everything on the console, without a process of the proxy's own user.
    fn has_admin(&self) -> bool {
        let can_log_in = |name: &String| {
            self.auth.kind == AuthType::Trust
                || self.users.get(name).is_some_and(|user| self.can_prove(user))
        };
        self.auth.admin_users.iter().any(can_log_in)
    }

    /// Whether there is a password that `auth_type` can check.
    fn can_prove(&self, user: &User) -> bool {
        let secret = user.password.as_ref().map(Secret::reveal);
        match secret {
            None | Some("") => false,
            Some(secret) => self.auth.kind != AuthType::ScramSha256 || !is_md5(secret),
        }
    }
}

/// As Postgres tells them: anything else after `md5` is a plain password.
pub(super) fn is_md5(secret: &str) -> bool {
    let digest = secret.strip_prefix("md5").unwrap_or("");
    digest.len() == 32 && digest.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, parse};
    use std::io;
    use std::path::Path;

    fn config(text: &str) -> Config {
        let no_files = |_: &Path| Err(io::ErrorKind::NotFound.into());
        parse(text, "proxy.toml", &no_files).expect("it is valid").config
    }

    fn codes(new: &str, running: &str) -> Vec<&'static str> {
        let findings = config(new).lockouts(&config(running), Path::new("proxy.toml"));
        findings.iter().map(|finding| finding.code).collect()
    }

    const WHOLE: &str = "[proxy]\nadmin_users = ['root']\n[hosts.main]\n[databases.app]\n\
                         host = 'main'\n[users.root]\npassword = 'x'\n[users.app]\npassword = 'y'\n";

    #[test]
    fn nobody_is_put_out_by_a_file_that_was_cut() {
        assert_eq!(codes("", WHOLE), ["no-databases", "no-users", "no-admin"]);
        assert_eq!(codes(&WHOLE.replace("['root']", "[]"), WHOLE), ["no-admin"]);
        assert_eq!(codes(&WHOLE.replace("['root']", "['other']"), WHOLE), ["no-admin"]);
        let md5 = "md5f0e1d2c3b4a5968778695a4b3c2d1e0f";
        assert_eq!(codes(&WHOLE.replace("'x'", &format!("'{md5}'")), WHOLE), ["no-admin"]);
        assert_eq!(codes(WHOLE, WHOLE), [""; 0]);
    }

    #[test]
    fn what_nobody_had_can_be_missing() {
        assert_eq!(codes("", ""), [""; 0]);
        let none = WHOLE.replace("['root']", "[]");
        assert_eq!(codes(&none, &none), [""; 0]);
        let trust = "[proxy]\nauth_type = 'trust'\n[hosts.main]\n[databases.app]\nhost = 'main'\n";
        assert_eq!(codes(trust, trust), [""; 0]);
    }
}
