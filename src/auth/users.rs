//! PgBouncer's `auth_file`: one user a line, `"name" "secret"`.
//!
//! What is written there is read as PgBouncer reads it: `""` inside quotes is a quote, what follows
//! the secret on its line is ignored, a line that begins with `;` is a comment, the last line for a
//! name wins. Two differences, both for the sake of a good error: quotes must close on the line they
//! opened on, and a broken line fails the whole file instead of hiding the lines after it.

use super::stored::Stored;
use std::collections::HashMap;
use zeroize::Zeroizing;

/// The longest file. A line for a SCRAM secret has 150 bytes: room for 400,000 users.
pub const FILE_BYTES_MAX: usize = 64 << 20;

/// PgBouncer's limits, in bytes between the quotes as they stand in the file.
const NAME_BYTES_MAX: usize = 127;
const SECRET_BYTES_MAX: usize = 65_530;

/// The first line that cannot be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("line {line}: {kind}")]
pub struct UsersError {
    /// From one.
    pub line: usize,
    pub kind: UsersErrorKind,
}

/// What is wrong with the line. Never says what stands there: it may be a secret.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum UsersErrorKind {
    #[error("the file is longer than {} MiB", FILE_BYTES_MAX >> 20)]
    FileTooLong,
    #[error("the user name is longer than {NAME_BYTES_MAX} bytes")]
    NameTooLong,
    #[error("a user name in double quotes is expected; comments begin with `;`")]
    NameUnquoted,
    #[error("a secret in double quotes is expected after the user name")]
    SecretMissing,
    #[error("the secret is longer than {SECRET_BYTES_MAX} bytes")]
    SecretTooLong,
    #[error("a double quote is not closed on this line; inside quotes it is written twice")]
    Unclosed,
    #[error("there is a zero byte")]
    ZeroByte,
}

/// All users of the file, each once, in the order in which their names first stand there.
pub fn parse(text: &str) -> Result<Vec<(String, Stored)>, UsersError> {
    if text.len() > FILE_BYTES_MAX {
        return Err(UsersError { line: 1, kind: UsersErrorKind::FileTooLong });
    }
    let mut users: Vec<(String, Stored)> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for (index, line) in text.split('\n').enumerate() {
        let user = parse_line(line).map_err(|kind| UsersError { line: index + 1, kind })?;
        let Some((name, stored)) = user else {
            continue;
        };
        if let Some(place) = places.get(&name) {
            users[*place].1 = stored;
        } else {
            places.insert(name.clone(), users.len());
            users.push((name, stored));
        }
    }
    Ok(users)
}

/// `None`: the line is empty or a comment.
fn parse_line(line: &str) -> Result<Option<(String, Stored)>, UsersErrorKind> {
    let line = line.trim_start_matches(is_space);
    if line.is_empty() || line.starts_with(';') {
        return Ok(None);
    }
    if line.contains('\0') {
        return Err(UsersErrorKind::ZeroByte);
    }
    let rest = line.strip_prefix('"').ok_or(UsersErrorKind::NameUnquoted)?;
    let (name, rest) = split_quoted(rest)?;
    if name.len() > NAME_BYTES_MAX {
        return Err(UsersErrorKind::NameTooLong);
    }
    let (_, rest) = rest.split_once('"').ok_or(UsersErrorKind::SecretMissing)?;
    let (secret, _) = split_quoted(rest)?;
    if secret.len() > SECRET_BYTES_MAX {
        return Err(UsersErrorKind::SecretTooLong);
    }
    let secret = Zeroizing::new(secret.replace("\"\"", "\""));
    Ok(Some((name.replace("\"\"", "\""), Stored::parse(&secret))))
}

/// Splits at the quote that closes, which is one that is not written twice.
fn split_quoted(text: &str) -> Result<(&str, &str), UsersErrorKind> {
    let mut from = 0;
    while let Some(found) = text[from..].find('"') {
        let at = from + found;
        let rest = &text[at + 1..];
        if !rest.starts_with('"') {
            return Ok((&text[..at], rest));
        }
        from = at + 2;
    }
    Err(UsersErrorKind::Unclosed)
}

/// C's `isspace`, but for the line feed that ends the line.
fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\r' | '\u{b}' | '\u{c}')
}

#[cfg(test)]
mod tests {
    use super::{Stored, UsersError, UsersErrorKind, parse};
    use proptest::prelude::*;

    fn plain(text: &str) -> Vec<(String, String)> {
        let users = parse(text).unwrap();
        let reveal = |(name, stored)| match stored {
            Stored::Plain(secret) => (name, secret.reveal().to_owned()),
            other => panic!("{other:?} is not plain"),
        };
        users.into_iter().map(reveal).collect()
    }

    fn error(text: &str) -> UsersError {
        parse(text).unwrap_err()
    }

    #[test]
    fn a_file_as_people_write_it_is_read() {
        let text = "; users\r\n\n \t\"ann\" \"one\" \"ignored\r\n\"b\"\"ob\"\t\"t\"\"wo\"\"\"; x\n\"c\"\"\"\"\"\n  ;\"d\"";
        // The fifth: name `c""`, and then nothing.
        assert_eq!(error(text), UsersError { line: 5, kind: UsersErrorKind::SecretMissing });
        let text = text.replace("\"c\"\"\"\"\"", "\"c\" \"\"");
        let expected = [("ann", "one"), ("b\"ob", "t\"wo\""), ("c", "")];
        let expected = expected.map(|(name, secret)| (name.to_owned(), secret.to_owned()));
        assert_eq!(plain(&text), expected);
    }

    #[test]
    fn hashes_are_recognised() {
        let text = "\"a\" \"md50123456789abcdef0123456789abcdef\"";
        assert!(matches!(parse(text).unwrap()[..], [(_, Stored::Md5(_))]));
    }

    #[test]
    fn the_last_line_for_a_name_wins() {
        let users = plain("\"a\" \"1\"\n\"b\" \"2\"\n\"a\" \"3\"\n");
        assert_eq!(users, [("a".to_owned(), "3".to_owned()), ("b".to_owned(), "2".to_owned())]);
    }

    #[test]
    fn an_error_names_its_line_and_not_the_secret() {
        let name = "n".repeat(128);
        let secret = "s".repeat(65_531);
        for (line, kind) in [
            ("# comment", UsersErrorKind::NameUnquoted),
            ("ann \"hunter2\"", UsersErrorKind::NameUnquoted),
            ("\"ann", UsersErrorKind::Unclosed),
            ("\"ann\" hunter2", UsersErrorKind::SecretMissing),
            ("\"ann\" \"hunter2", UsersErrorKind::Unclosed),
            ("\"ann\" \"hunter2\"\"", UsersErrorKind::Unclosed),
            ("\"ann\" \"hun\0ter2\"", UsersErrorKind::ZeroByte),
            (&format!("\"{name}\" \"hunter2\""), UsersErrorKind::NameTooLong),
            (&format!("\"ann\" \"{secret}\""), UsersErrorKind::SecretTooLong),
        ] {
            let found = error(&format!("\"ok\" \"ok\"\n\n{line}\n\"ok\" \"ok\""));
            assert_eq!(found, UsersError { line: 3, kind }, "{line}");
            assert!(!found.to_string().contains("hunter2"));
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            written in proptest::collection::vec(("[^\n\0]{0,20}", "[^\n\0]{0,20}"), 0..8),
        ) {
            let quote = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
            let lines = written.iter().map(|(name, secret)| {
                format!("{} {} rest\n;x\n", quote(name), quote(secret))
            });
            let users = plain(&lines.collect::<String>());
            for (name, secret) in &users {
                let last = written.iter().rfind(|(other, _)| other == name).unwrap();
                prop_assert_eq!(secret, &last.1);
            }
            let mut names: Vec<_> = written.iter().map(|(name, _)| name).collect();
            names.sort();
            names.dedup();
            prop_assert_eq!(names.len(), users.len());
        }

        #[test]
        fn any_text_is_read_or_refused(text in "([\"; \na\0\r]|\\PC){0,60}") {
            if let Err(error) = parse(&text) {
                prop_assert!((1..=text.split('\n').count()).contains(&error.line));
            }
        }
    }
}
