//! Which console, and as whom: a DSN of either form, and libpq's variables for what it does not say.

use super::passfile::{self, Wanted};
use crate::base::secret::Secret;
use crate::config::HostAddress;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where proxies listen, when nobody says otherwise.
const PORT: u16 = 6432;
const DBNAME: &str = "pgweir";
/// Nobody needs a password as this user of a proxy that runs as the same user.
const OWN_USER: &str = "pgweir";
/// Where sockets are looked for: our default and PgBouncer's, and Debian's. Anybody may put one into the
/// first: a password is for those that are ours or root's, if nobody has said which to take.
const SOCKET_DIRECTORIES: [&str; 2] = ["/tmp", "/var/run/postgresql"];

#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) address: HostAddress,
    pub(super) user: String,
    pub(super) dbname: String,
    pub(super) password: Option<Secret>,
    /// Nobody named it: whoever answers must be who owns the socket, or root.
    pub(super) is_guessed: bool,
    /// What whoever runs this should know.
    pub(super) warnings: Vec<String>,
}

/// Whose a socket is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Owner {
    Ourselves,
    Root,
    Another,
}

/// Why a password file is not read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Unread {
    /// Or it is not ours to read.
    Absent,
    NoFile,
    /// Others than its owner may read it.
    Shared,
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
    /// `None`: there is no such socket.
    pub owner: &'a dyn Fn(&Path) -> Option<Owner>,
    pub read: &'a dyn Fn(&str) -> Result<String, Unread>,
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
        let mut warnings = Vec::new();
        let address = match &host {
            Some(host) if host.contains(',') => return Err(PlaceError::Several),
            Some(directory) if directory.starts_with('/') => {
                HostAddress::Unix(socket(directory, port))
            }
            Some(host) => HostAddress::Tcp { host: host.clone(), port },
            None => guess(port, around, &mut warnings),
        };
        let is_guessed = host.is_none();
        let is_ours = matches!(&address, HostAddress::Unix(path)
            if (around.owner)(path) == Some(Owner::Ourselves));
        let user = say("user", "PGUSER");
        let user = user.or_else(|| is_ours.then(|| OWN_USER.to_owned()));
        let user = user.or_else(|| around.user.clone()).ok_or(PlaceError::Nobody)?;
        let dbname = named.get("dbname").filter(|name| !name.is_empty());
        let dbname = dbname.cloned().unwrap_or_else(|| DBNAME.to_owned());
        let password = say("password", "PGPASSWORD").or_else(|| {
            let home = (around.variable)("HOME").map(|home| format!("{home}/.pgpass"));
            let path = say("passfile", "PGPASSFILE").or(home)?;
            let file = (around.read)(&path);
            warnings.extend(file.as_ref().err().and_then(|why| why.warning(&path)));
            let file = file.ok()?;
            let host = host.as_deref().unwrap_or("localhost");
            let port = &port.to_string();
            passfile::find(&file, &Wanted { host, port, dbname: &dbname, user: &user })
        });
        let password = password.map(Secret::new);
        Ok(Self { address, user, dbname, password, is_guessed, warnings })
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

fn socket(directory: &str, port: u16) -> PathBuf {
    PathBuf::from(format!("{directory}/.s.PGSQL.{port}"))
}

/// The first socket that is ours or root's.
fn guess(port: u16, around: &Around<'_>, warnings: &mut Vec<String>) -> HostAddress {
    for directory in SOCKET_DIRECTORIES {
        let path = socket(directory, port);
        match (around.owner)(&path) {
            Some(Owner::Ourselves | Owner::Root) => return HostAddress::Unix(path),
            Some(Owner::Another) => warnings.push(format!(
                "{} is another user's, and passed over: host={directory} takes it",
                path.display()
            )),
            None => {}
        }
    }
    HostAddress::Tcp { host: "localhost".to_owned(), port }
}

impl Unread {
    /// As libpq has it: a file that is not there is nothing to speak of.
    fn warning(self, path: &str) -> Option<String> {
        match self {
            Self::Absent => None,
            Self::NoFile => Some(format!("password file {path} is no plain file, and not read")),
            Self::Shared => Some(format!(
                "password file {path} is not read, because group or others may: chmod 0600 {path}"
            )),
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
    use super::{Around, Owner, Place, PlaceError, Unread};
    use std::path::Path;

    const PASSFILE: &str = "db:6432:pgweir:admin:from file\nlocalhost:*:*:*:local\n";

    fn find_with(
        dsn: &str,
        variables: &[(&str, &str)],
        owner: &dyn Fn(&Path) -> Option<Owner>,
    ) -> Result<String, PlaceError> {
        let place = place(dsn, variables, owner)?;
        let password = place.password.as_ref().map_or("-", |password| password.reveal());
        Ok(format!("{} {} {} {password}", place.address(), place.dbname, place.user))
    }

    fn place(
        dsn: &str,
        variables: &[(&str, &str)],
        owner: &dyn Fn(&Path) -> Option<Owner>,
    ) -> Result<Place, PlaceError> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let read = |path: &str| match path {
            "/home/me/.pgpass" => Ok(PASSFILE.to_owned()),
            "/home/open/.pgpass" => Err(Unread::Shared),
            _ => Err(Unread::Absent),
        };
        let user = Some("me".to_owned());
        let around = Around { variable: &variable, user, owner, read: &read };
        Place::find(Some(dsn).filter(|dsn| !dsn.is_empty()), &around)
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

    /// One in /tmp of `first`, and one in /var/run/postgresql of `second`.
    fn owned_by(first: Option<Owner>, second: Option<Owner>) -> impl Fn(&Path) -> Option<Owner> {
        move |path| if path.starts_with("/tmp") { first } else { second }
    }

    #[test]
    fn a_socket_that_is_there_is_taken_and_needs_no_name_if_it_is_ours() {
        let (ours, root) = (Some(Owner::Ourselves), Some(Owner::Root));
        assert_eq!(
            find_with("", &[], &owned_by(None, ours)).as_deref(),
            Ok("/var/run/postgresql/.s.PGSQL.6432 pgweir pgweir -")
        );
        assert_eq!(
            find_with("", &[], &owned_by(None, root)).as_deref(),
            Ok("/var/run/postgresql/.s.PGSQL.6432 pgweir me -")
        );
        let at_host = find_with("host=h", &[], &owned_by(ours, ours));
        assert_eq!(at_host.as_deref(), Ok("h:6432 pgweir me -"));
    }

    #[test]
    fn a_socket_that_anybody_may_have_put_there_gets_no_password() {
        let variables = [("PGPASSWORD", "secret")];
        let find = |dsn, first, second| {
            let place = place(dsn, &variables, &owned_by(first, second)).expect("a place");
            (place.address(), place.is_guessed, place.warnings.len())
        };
        let (ours, root, another) =
            (Some(Owner::Ourselves), Some(Owner::Root), Some(Owner::Another));
        let (tmp, run) = ("/tmp/.s.PGSQL.6432", "/var/run/postgresql/.s.PGSQL.6432");
        assert_eq!(find("", another, ours), (run.to_owned(), true, 1));
        assert_eq!(find("", root, ours), (tmp.to_owned(), true, 0));
        assert_eq!(find("", another, another), ("localhost:6432".to_owned(), true, 2));
        // Whoever says so takes what there is, as with psql.
        assert_eq!(find("host=/tmp", another, ours), (tmp.to_owned(), false, 0));
    }

    #[test]
    fn a_password_file_that_others_can_read_is_not_read_and_it_is_said() {
        let place = place("host=localhost", &[("HOME", "/home/open")], &|_| None);
        let place = place.expect("a place");
        assert!(place.password.is_none());
        let [warning] = &place.warnings[..] else { panic!("one: {:?}", place.warnings) };
        assert!(warning.contains("/home/open/.pgpass") && warning.contains("0600"), "{warning}");
    }
}
