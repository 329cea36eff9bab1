//! Which console, and as whom: a DSN of either form, and libpq's variables for what it does not say.

use super::passfile::{self, Wanted};
use crate::base::secret::Secret;
use crate::config::HostAddress;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Where proxies listen, when nobody says otherwise.
const PORT: u16 = 6432;
const DBNAME: &str = "pgweir";
/// Nobody needs a password as this user of a proxy that runs as the same user.
const OWN_USER: &str = "pgweir";
/// Where sockets are looked for: our default and PgBouncer's, and Debian's.
const SOCKET_DIRECTORIES: [&str; 2] = ["/tmp", "/var/run/postgresql"];

#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) address: HostAddress,
    pub(super) user: String,
    pub(super) dbname: String,
    pub(super) password: Option<Secret>,
}

/// Why a DSN says no place.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub enum PlaceError {
    #[error(
        "`{0}` is no DSN: postgresql://USER@HOST:PORT/pgweir, or host=HOST port=PORT user=USER"
    )]
    NoDsn(String),
    #[error("`{0}` is no port")]
    Port(String),
    #[error("there is no setting `{0}`; host, port, user, password, dbname and passfile there are")]
    Unknown(String),
    #[error("several hosts: name the one to look at")]
    Several,
    #[error("sslmode={0}: there is no TLS yet")]
    Tls(String),
    #[error("nobody is named, and who runs this has no name: user=NAME, or PGUSER")]
    Nobody,
}

/// What is asked of the system around.
pub(super) struct Around<'a> {
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// Who runs this.
    pub user: Option<String>,
    /// Who owns a socket: ourselves or not; `None`: there is none.
    pub owns: &'a dyn Fn(&str) -> Option<bool>,
    pub read: &'a dyn Fn(&str) -> Option<String>,
}

type Named = BTreeMap<String, String>;

impl Place {
    /// # Errors
    ///
    /// When `dsn` makes no sense.
    pub(super) fn find(dsn: Option<&str>, around: &Around<'_>) -> Result<Self, PlaceError> {
        let named = dsn.map_or_else(|| Ok(Named::new()), read)?;
        check(&named)?;
        let say = |key: &str, variable: &str| {
            let named = named.get(key).cloned();
            named.or_else(|| (around.variable)(variable)).filter(|value| !value.is_empty())
        };
        let port = match say("port", "PGPORT") {
            Some(text) => text.parse().map_err(|_| PlaceError::Port(text))?,
            None => PORT,
        };
        let host = say("host", "PGHOST");
        let socket = |directory: &str| format!("{directory}/.s.PGSQL.{port}");
        let found = SOCKET_DIRECTORIES.into_iter().map(socket);
        let mut found = found.filter_map(|path| (around.owns)(&path).map(|ours| (path, ours)));
        let (address, is_ours) = match &host {
            Some(host) if host.contains(',') => return Err(PlaceError::Several),
            Some(directory) if directory.starts_with('/') => {
                let path = socket(directory);
                let is_ours = (around.owns)(&path) == Some(true);
                (HostAddress::Unix(PathBuf::from(path)), is_ours)
            }
            Some(host) => (HostAddress::Tcp { host: host.clone(), port }, false),
            None => match found.next() {
                Some((path, is_ours)) => (HostAddress::Unix(PathBuf::from(path)), is_ours),
                None => (HostAddress::Tcp { host: "localhost".to_owned(), port }, false),
            },
        };
        let user = say("user", "PGUSER");
        let user = user.or_else(|| is_ours.then(|| OWN_USER.to_owned()));
        let user = user.or_else(|| around.user.clone()).ok_or(PlaceError::Nobody)?;
        let dbname = named.get("dbname").filter(|name| !name.is_empty());
        let dbname = dbname.cloned().unwrap_or_else(|| DBNAME.to_owned());
        let password = say("password", "PGPASSWORD").or_else(|| {
            let home = (around.variable)("HOME").map(|home| format!("{home}/.pgpass"));
            let file = (around.read)(&say("passfile", "PGPASSFILE").or(home)?)?;
            let host = host.as_deref().unwrap_or("localhost");
            let port = &port.to_string();
            passfile::find(&file, &Wanted { host, port, dbname: &dbname, user: &user })
        });
        Ok(Self { address, user, dbname, password: password.map(Secret::new) })
    }

    /// For people.
    pub(super) fn address(&self) -> String {
        match &self.address {
            HostAddress::Tcp { host, port } if host.contains(':') => format!("[{host}]:{port}"),
            HostAddress::Tcp { host, port } => format!("{host}:{port}"),
            HostAddress::Unix(path) => path.display().to_string(),
        }
    }
}

fn read(dsn: &str) -> Result<Named, PlaceError> {
    let no_dsn = || PlaceError::NoDsn(without_password(dsn));
    let uri = dsn.strip_prefix("postgresql://").or_else(|| dsn.strip_prefix("postgres://"));
    match uri {
        Some(uri) => read_uri(uri).ok_or_else(no_dsn),
        None => read_pairs(dsn).ok_or_else(no_dsn),
    }
}

/// What is said of a DSN that cannot be read: it may hold a password.
fn without_password(dsn: &str) -> String {
    match dsn.split_once("://") {
        Some((scheme, rest)) => {
            let shown = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
            format!("{scheme}://{}", shown.split('?').next().unwrap_or_default())
        }
        None => dsn.split(['=', ' ']).next().unwrap_or_default().to_owned(),
    }
}

/// Settings that mean nothing here, but stand in the DSNs that people have.
const IGNORED: [&str; 7] = [
    "application_name",
    "channel_binding",
    "client_encoding",
    "connect_timeout",
    "gssencmode",
    "options",
    "target_session_attrs",
];

fn check(named: &Named) -> Result<(), PlaceError> {
    const KNOWN: [&str; 7] = ["dbname", "host", "passfile", "password", "port", "sslmode", "user"];
    if let Some(mode) = named.get("sslmode")
        && !["allow", "disable", "prefer"].contains(&mode.as_str())
    {
        return Err(PlaceError::Tls(mode.clone()));
    }
    let mut keys = named.keys().map(String::as_str);
    let unknown = keys.find(|key| !KNOWN.contains(key) && !IGNORED.contains(key));
    unknown.map_or(Ok(()), |key| Err(PlaceError::Unknown(key.to_owned())))
}

fn read_uri(uri: &str) -> Option<Named> {
    let mut named = Named::new();
    let mut set = |key: &str, value: &str| -> Option<()> {
        if !value.is_empty() {
            named.insert(key.to_owned(), decode(value)?);
        }
        Some(())
    };
    let (place, query) = uri.split_once('?').unwrap_or((uri, ""));
    let (place, dbname) = place.split_once('/').unwrap_or((place, ""));
    set("dbname", dbname)?;
    let (who, place) = place.rsplit_once('@').unwrap_or(("", place));
    let (user, password) = who.split_once(':').unwrap_or((who, ""));
    set("user", user)?;
    set("password", password)?;
    let (host, port) = match place.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            (host, port.strip_prefix(':').unwrap_or(port))
        }
        None => place.split_once(':').unwrap_or((place, "")),
    };
    set("host", host)?;
    set("port", port)?;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=')?;
        set(key, value)?;
    }
    Some(named)
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            let value = digit(bytes.next()?)? * 16 + digit(bytes.next()?)?;
            decoded.push(u8::try_from(value).ok()?);
        } else {
            decoded.push(byte);
        }
    }
    String::from_utf8(decoded).ok()
}

/// `key = value`, the value in single quotes if it has blanks; a backslash takes what follows as it is.
fn read_pairs(dsn: &str) -> Option<Named> {
    let mut named = Named::new();
    let mut rest = dsn.trim_start();
    while !rest.is_empty() {
        let (key, after) = rest.split_once('=')?;
        let (key, after) = (key.trim(), after.trim_start());
        if key.is_empty() || key.contains(char::is_whitespace) {
            return None;
        }
        let (value, after) = match after.strip_prefix('\'') {
            Some(quoted) => take_value(quoted, |next| next == '\'')?,
            None => take_value(after, char::is_whitespace).or_else(|| unended(after))?,
        };
        named.insert(key.to_owned(), value);
        rest = after.trim_start();
    }
    Some(named)
}

/// A value that goes on to the end of the DSN.
fn unended(text: &str) -> Option<(String, &str)> {
    let mut spaced = String::from(text);
    spaced.push(' ');
    let (value, _) = take_value(&spaced, char::is_whitespace)?;
    Some((value, ""))
}

/// Up to what `ends` it. `None`: nothing does.
fn take_value(text: &str, ends: impl Fn(char) -> bool) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((place, next)) = characters.next() {
        match next {
            '\\' => value.push(characters.next()?.1),
            next if ends(next) => return Some((value, &text[place + next.len_utf8()..])),
            next => value.push(next),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{Around, Place, PlaceError};

    const PASSFILE: &str = "db:6432:pgweir:admin:from file\nlocalhost:*:*:*:local\n";

    fn find_with(
        dsn: &str,
        variables: &[(&str, &str)],
        owns: &dyn Fn(&str) -> Option<bool>,
    ) -> Result<String, PlaceError> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let read = |path: &str| (path == "/home/me/.pgpass").then(|| PASSFILE.to_owned());
        let around = Around { variable: &variable, user: Some("me".to_owned()), owns, read: &read };
        let place = Place::find(Some(dsn).filter(|dsn| !dsn.is_empty()), &around)?;
        let password = place.password.as_ref().map_or("-", |password| password.reveal());
        Ok(format!("{} {} {} {password}", place.address(), place.dbname, place.user))
    }

    fn find(dsn: &str) -> Result<String, PlaceError> {
        find_with(dsn, &[], &|_| None)
    }

    #[test]
    fn both_forms_of_a_dsn_are_read() {
        for (dsn, place) in [
            ("postgresql://admin@127.0.0.1:6432/pgweir", "127.0.0.1:6432 pgweir admin -"),
            ("postgres://a%40b:p%3aw@[::1]:1/pgbouncer", "[::1]:1 pgbouncer a@b p:w"),
            ("postgresql:///x?host=/run/p&port=7&user=u", "/run/p/.s.PGSQL.7 x u -"),
            ("postgresql://%2Frun%2Fp/", "/run/p/.s.PGSQL.6432 pgweir me -"),
            ("host=db port = 5 user='a b' password='it\\'s'", "db:5 pgweir a b it's"),
            ("host=db sslmode=prefer application_name=x dbname=\\ ", "db:6432   me -"),
        ] {
            assert_eq!(find(dsn).as_deref(), Ok(place), "{dsn}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_without_showing_the_password() {
        assert_eq!(find("host=db sslmode=require"), Err(PlaceError::Tls("require".to_owned())));
        assert_eq!(find("hots=db"), Err(PlaceError::Unknown("hots".to_owned())));
        assert_eq!(find("host=a,b"), Err(PlaceError::Several));
        assert_eq!(find("port=many"), Err(PlaceError::Port("many".to_owned())));
        for dsn in ["nonsense", "host='open", "postgresql://u:secret@[::1", "mysql://u:secret@h/"] {
            let error = find(dsn).expect_err(dsn);
            assert!(matches!(&error, PlaceError::NoDsn(_)), "{error}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    #[test]
    fn what_a_dsn_does_not_say_the_environment_does() {
        let variables =
            [("PGHOST", "db"), ("PGPORT", "6432"), ("PGUSER", "admin"), ("HOME", "/home/me")];
        let find = |dsn| find_with(dsn, &variables, &|_| None);
        assert_eq!(find("").as_deref(), Ok("db:6432 pgweir admin from file"));
        assert_eq!(find("user=other").as_deref(), Ok("db:6432 pgweir other -"));
        assert_eq!(find("host=localhost").as_deref(), Ok("localhost:6432 pgweir admin local"));
        let with_password = [("PGPASSWORD", "pw"), ("HOME", "/home/me")];
        assert_eq!(
            find_with("", &with_password, &|_| None).as_deref(),
            Ok("localhost:6432 pgweir me pw")
        );
    }

    #[test]
    fn a_socket_that_is_there_is_taken_and_needs_no_name_if_it_is_ours() {
        let owned_by = |ours: bool| move |path: &str| path.starts_with("/var").then_some(ours);
        assert_eq!(
            find_with("", &[], &owned_by(true)).as_deref(),
            Ok("/var/run/postgresql/.s.PGSQL.6432 pgweir pgweir -")
        );
        assert_eq!(
            find_with("", &[], &owned_by(false)).as_deref(),
            Ok("/var/run/postgresql/.s.PGSQL.6432 pgweir me -")
        );
        assert_eq!(find_with("host=h", &[], &owned_by(true)).as_deref(), Ok("h:6432 pgweir me -"));
    }
}
