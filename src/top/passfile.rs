//! libpq's password file: `host:port:database:user:password`, the first line that fits.

/// What a line must fit. A unix socket in a directory that is not named counts as `localhost`.
pub(super) struct Wanted<'a> {
    pub(super) host: &'a str,
    pub(super) port: &'a str,
    pub(super) dbname: &'a str,
    pub(super) user: &'a str,
}

pub(super) fn find(file: &str, wanted: &Wanted<'_>) -> Option<String> {
    let asked = [wanted.host, wanted.port, wanted.dbname, wanted.user];
    let lines = file.lines().filter(|line| !line.starts_with('#'));
    lines.map(fields).find_map(|fields| {
        let (password, rest) = fields.split_last()?;
        let fits = rest.len() == asked.len()
            && rest.iter().zip(asked).all(|(field, asked)| field == "*" || field == asked);
        fits.then(|| password.clone())
    })
}

/// At most five; a colon or a backslash in one has a backslash before it.
fn fields(line: &str) -> Vec<String> {
    const LAST: usize = 4;
    let mut fields = vec![String::new()];
    let mut characters = line.chars();
    while let Some(next) = characters.next() {
        let next = match next {
            ':' if fields.len() <= LAST => {
                fields.push(String::new());
                continue;
            }
            '\\' => characters.next().unwrap_or('\\'),
            other => other,
        };
        if let Some(field) = fields.last_mut() {
            field.push(next);
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::{Wanted, find};

    const FILE: &str = "# mine\nbad line\n::1:1:a:b:c\n\
                        db:6432:pgweir:admin:fir:st\n\
                        *:*:*:o\\:dd:back\\\\slash\n*:*:*:admin:any\n";

    fn password(host: &str, user: &str) -> Option<String> {
        find(FILE, &Wanted { host, port: "6432", dbname: "pgweir", user })
    }

    #[test]
    fn the_first_line_that_fits_has_the_password() {
        assert_eq!(password("db", "admin").as_deref(), Some("fir:st"));
        assert_eq!(password("other", "admin").as_deref(), Some("any"));
        assert_eq!(password("db", "o:dd").as_deref(), Some("back\\slash"));
        assert_eq!(password("db", "nobody"), None);
    }
}
