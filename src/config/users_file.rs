//! The users of `auth_file`, in PgBouncer's format.
//!
//! A line is `"user" "secret"`; `""` inside quotes is a quote; what follows on the line is ignored.
//! Blank lines and lines that start with `;` are skipped. At any other line PgBouncer logs "broken
//! auth file" and silently stops reading: here that is an error with its line.

use super::findings::Problem;
use crate::base::secret::Secret;
use std::collections::BTreeMap;

/// What the file says.
#[derive(Debug, Default)]
pub(super) struct UsersFile {
    /// Secrets by user. A later line wins over an earlier one, as in PgBouncer.
    pub(super) users: BTreeMap<String, (Secret, usize)>,
    pub(super) errors: Vec<(usize, Problem)>,
    pub(super) warnings: Vec<(usize, Problem)>,
}

/// Reads the text of an `auth_file`.
pub(super) fn parse(text: &str) -> UsersFile {
    let mut file = UsersFile::default();
    for (index, line) in text.lines().enumerate() {
        let (number, line) = (index + 1, line.trim_start());
        // `#` is no comment in PgBouncer, but everybody expects it to be one.
        if line.is_empty() || line.starts_with([';', '#']) {
            continue;
        }
        match user_and_secret(line) {
            Ok((user, secret)) => file.add(user, secret, number),
            Err(what) => file.errors.push((
                number,
                Problem::new(
                    "auth-file-line",
                    format!("the line {what}."),
                    "Write `\"user\" \"secret\"`, and `\"\"` for a quote inside one.",
                ),
            )),
        }
    }
    file
}

impl UsersFile {
    fn add(&mut self, user: String, secret: String, line: usize) {
        if let Some((_, first)) = self.users.get(&user) {
            self.warnings.push((
                line,
                Problem::new(
                    "user-twice",
                    format!("user `{user}` is also on line {first}; this line holds."),
                    "Remove one of the two.",
                ),
            ));
        }
        self.users.insert(user, (Secret::new(secret), line));
    }
}

fn user_and_secret(line: &str) -> Result<(String, String), &'static str> {
    let rest = line.strip_prefix('"').ok_or("does not start with a quoted user")?;
    let (user, rest) = quoted(rest).ok_or("has no quote after the user")?;
    if user.is_empty() {
        return Err("has an empty user");
    }
    let start = rest.find('"').ok_or("has no quoted secret")?;
    let (secret, _) = quoted(&rest[start + 1..]).ok_or("has no quote after the secret")?;
    Ok((user, secret))
}

/// The text up to the closing quote, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut found = String::new();
    let mut rest = text;
    loop {
        let (piece, after) = rest.split_once('"')?;
        found.push_str(piece);
        match after.strip_prefix('"') {
            Some(after_both) => {
                found.push('"');
                rest = after_both;
            }
            None => return Some((found, after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::parse;
    use proptest::prelude::{prop_assert_eq, proptest};

    fn secret<'a>(file: &'a super::UsersFile, user: &str) -> &'a str {
        file.users[user].0.reveal()
    }

    #[test]
    fn lines_are_read_as_pgbouncer_reads_them() {
        let file = parse(concat!(
            "\n; a comment\n# and another\n",
            "\"app\" \"secret\" the rest does not matter \"at all\"\n",
            "  \"with \"\"quotes\"\"\"   \"pass\"\"word\"\r\n",
            "\"md5\" \"md5d41d8cd98f00b204e9800998ecf8427e\"\n",
            "\"empty\" \"\"\n",
        ));
        assert!(file.errors.is_empty() && file.warnings.is_empty());
        assert_eq!(file.users.len(), 4);
        assert_eq!(secret(&file, "app"), "secret");
        assert_eq!(secret(&file, "with \"quotes\""), "pass\"word");
        assert_eq!(secret(&file, "empty"), "");
    }

    #[test]
    fn a_broken_line_is_an_error_and_the_next_is_still_read() {
        let file = parse("app secret\n\"a\n\"a\" b\n\"a\" \"b\n\"\" \"x\"\n\"good\" \"x\"\n");
        let lines: Vec<_> = file.errors.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [1, 2, 3, 4, 5]);
        assert_eq!(secret(&file, "good"), "x");
        assert!(file.errors.iter().all(|(_, problem)| !problem.message.contains("secret\"")));
    }

    #[test]
    fn the_last_line_of_a_user_holds() {
        let file = parse("\"a\" \"1\"\n\"a\" \"2\"\n");
        assert_eq!(secret(&file, "a"), "2");
        assert_eq!(file.warnings[0].0, 2);
    }

    proptest! {
        #[test]
        fn any_name_and_secret_survive(user in "[^\r\n]{1,20}", secret in "[^\r\n]{0,20}") {
            let double = |text: &str| text.replace('"', "\"\"");
            let file = parse(&format!("\"{}\" \"{}\"\n", double(&user), double(&secret)));
            prop_assert_eq!(file.users[&user].0.reveal(), secret);
        }

        #[test]
        fn any_text_is_read_without_a_panic(text in ".*", quotes in "[\"a; \n]*") {
            drop((parse(&text), parse(&quotes)));
        }
    }
}
