//! The first packets of a client, which have no tag.

use crate::wire::frame::split_text;

/// Postgres' own limit (`MAX_STARTUP_PACKET_LENGTH`).
pub const STARTUP_MAX: usize = 10_000;

/// The newest minor version of protocol 3 that is spoken here: 3.2, of Postgres 18.
pub const MINOR_MAX: u16 = 2;

const CANCEL: u32 = 80_877_102;
const SSL: u32 = 80_877_103;
const GSS_ENCRYPTION: u32 = 80_877_104;
/// The longest secret of a cancel key under protocol 3.2.
const SECRET_MAX: usize = 256;

/// A first packet.
#[derive(Debug, Eq, PartialEq)]
pub enum First<'a> {
    Cancel { pid: u32, secret: &'a [u8] },
    GssEncryption,
    Ssl,
    Startup(Startup<'a>),
}

/// What a client asks for.
#[derive(Debug, Eq, PartialEq)]
pub struct Startup<'a> {
    /// The minor version of protocol 3 that the client asked for.
    pub minor: u16,
    /// In the order sent; names starting with `_pq_.` are options of the protocol.
    pub params: Vec<(&'a str, &'a str)>,
}

/// A first packet that cannot be understood.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum StartupError {
    #[error("invalid length of startup packet")]
    Length,
    #[error("invalid startup packet layout: expected terminator as last byte")]
    Terminator,
    #[error("startup parameters are not valid UTF-8")]
    Text,
    #[error("unsupported frontend protocol {major}.{minor}: this server supports 3.0 to 3.2")]
    Version { major: u16, minor: u16 },
}

/// Reads the packet at the start of `bytes` and how long it is; `None` when it is not whole yet.
///
/// # Errors
///
/// When it can never become a packet. Decided as early as possible: a client that speaks another
/// protocol should not be waited for.
pub fn parse(bytes: &[u8]) -> Result<Option<(First<'_>, usize)>, StartupError> {
    let Some((length, _)) = word(bytes) else { return Ok(None) };
    let total = usize::try_from(length).map_err(|_| StartupError::Length)?;
    if !(8..=STARTUP_MAX).contains(&total) {
        return Err(StartupError::Length);
    }
    let Some(packet) = bytes.get(4..total) else { return Ok(None) };
    let (code, body) = word(packet).ok_or(StartupError::Length)?;
    let first = match code {
        SSL | GSS_ENCRYPTION if !body.is_empty() => return Err(StartupError::Length),
        SSL => First::Ssl,
        GSS_ENCRYPTION => First::GssEncryption,
        CANCEL => cancel(body)?,
        _ => First::Startup(startup(code, body)?),
    };
    Ok(Some((first, total)))
}

fn cancel(body: &[u8]) -> Result<First<'_>, StartupError> {
    let (pid, secret) = word(body).ok_or(StartupError::Length)?;
    if secret.is_empty() || secret.len() > SECRET_MAX {
        return Err(StartupError::Length);
    }
    Ok(First::Cancel { pid, secret })
}

fn startup(version: u32, body: &[u8]) -> Result<Startup<'_>, StartupError> {
    let [major, minor] = [version >> 16, version & 0xffff]
        .map(|half| u16::try_from(half).expect("half of a word fits"));
    if major != 3 {
        return Err(StartupError::Version { major, minor });
    }
    let mut params = Vec::new();
    let mut rest = body;
    while let Some((name, after)) = split_text(rest)
        && !name.is_empty()
    {
        let (value, after) = split_text(after).ok_or(StartupError::Terminator)?;
        let [name, value] =
            [name, value].map(|text| std::str::from_utf8(text).map_err(|_| StartupError::Text));
        params.push((name?, value?));
        rest = after;
    }
    if rest == [0] { Ok(Startup { minor, params }) } else { Err(StartupError::Terminator) }
}

fn word(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (word, rest) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(*word), rest))
}

impl<'a> Startup<'a> {
    /// The last value of a parameter: Postgres, too, lets a later one win.
    pub fn param(&self, name: &str) -> Option<&'a str> {
        self.params.iter().rev().find(|(found, _)| *found == name).map(|(_, value)| *value)
    }

    /// Options of the protocol that this proxy does not know: all of them.
    pub fn unknown_options(&self) -> Vec<&'a str> {
        let names = self.params.iter().map(|(name, _)| *name);
        names.filter(|name| name.starts_with("_pq_.")).collect()
    }
}

/// An `options` parameter that cannot be understood.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("startup option \"{0}\" is not understood; write -c name=value")]
pub struct OptionsError(pub String);

/// Reads the `options` parameter: `-c name=value`, `-cname=value` and `--name=value`, separated by
/// white space, a backslash taking the next character as it is (`pg_split_opts`).
///
/// # Errors
///
/// At anything else: a switch for the server's command line has no meaning for a pooled server.
pub fn options(text: &str) -> Result<Vec<(String, String)>, OptionsError> {
    let mut settings = Vec::new();
    let mut words = words(text).into_iter();
    while let Some(word) = words.next() {
        let setting = match word.strip_prefix("--").or_else(|| word.strip_prefix("-c")) {
            Some("") => words.next().unwrap_or_default(),
            Some(setting) => setting.to_owned(),
            None => return Err(OptionsError(word)),
        };
        match setting.split_once('=') {
            // A dash stands for an underscore in a name, as on the server's command line.
            Some((name, value)) if !name.is_empty() => {
                settings.push((name.replace('-', "_"), value.to_owned()));
            }
            _ => return Err(OptionsError(setting)),
        }
    }
    Ok(settings)
}

fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        if char.is_ascii_whitespace() {
            words.extend(word.take());
            continue;
        }
        let word = word.get_or_insert_default();
        if char == '\\' { word.extend(chars.next()) } else { word.push(char) }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::{First, StartupError, options, parse};
    use crate::wire::encode;
    use proptest::prelude::*;

    fn packet(code: u32, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 8).unwrap();
        [&length.to_be_bytes()[..], &code.to_be_bytes(), body].concat()
    }

    #[test]
    fn every_cut_of_every_packet_waits_for_the_rest() {
        let mut startup = Vec::new();
        encode::startup(&mut startup, &[("user", "u"), ("database", "d")]);
        let mut cancel = Vec::new();
        encode::cancel(&mut cancel, 7, &[9; 32]);
        for bytes in [startup, cancel, packet(80_877_103, b""), packet(80_877_104, b"")] {
            for cut in 0..bytes.len() {
                assert_eq!(parse(&bytes[..cut]), Ok(None), "cut at {cut}");
            }
            let (_, total) = parse(&bytes).unwrap().unwrap();
            assert_eq!(total, bytes.len());
        }
    }

    #[test]
    fn a_startup_packet_says_what_the_client_wants() {
        let mut bytes = Vec::new();
        encode::startup(&mut bytes, &[("user", "u"), ("_pq_.x", "1"), ("user", "v")]);
        let Some((First::Startup(startup), _)) = parse(&bytes).unwrap() else { panic!() };
        assert_eq!(startup.param("user"), Some("v"));
        assert_eq!(startup.unknown_options(), ["_pq_.x"]);
    }

    #[test]
    fn what_is_no_packet_is_refused_at_once() {
        let version = packet(0x0002_0000, b"\0");
        assert_eq!(parse(&version), Err(StartupError::Version { major: 2, minor: 0 }));
        assert_eq!(parse(b"GET / HTTP/1.1\r\n"), Err(StartupError::Length));
        assert_eq!(parse(&packet(0x0003_0000, b"user\0u\0")), Err(StartupError::Terminator));
        assert_eq!(parse(&packet(0x0003_0000, b"user\0u\0\0x")), Err(StartupError::Terminator));
        assert_eq!(parse(&packet(0x0003_0000, b"user\0\xff\0\0")), Err(StartupError::Text));
        assert_eq!(parse(&packet(80_877_102, &[0; 4])), Err(StartupError::Length));
        assert_eq!(parse(&packet(80_877_102, &[0; 300])), Err(StartupError::Length));
    }

    #[test]
    fn options_are_read_as_postgres_reads_them() {
        let read = |text| options(text).unwrap();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(read(""), []);
        assert_eq!(
            read(r"-c work_mem=4MB  --search-path=a\ b -cx.y=\\"),
            [pair("work_mem", "4MB"), pair("search_path", "a b"), pair("x.y", "\\")]
        );
        assert!(options("-c").is_err());
        assert!(options("-c work_mem").is_err());
        assert!(options("-d 5").is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_can_make_it_panic(bytes: Vec<u8>, text: String) {
            drop(parse(&bytes));
            drop(options(&text));
            // Behind a good length word, so that the parsers inside are reached.
            drop(parse(&packet(0x0003_0000, &bytes)));
            drop(parse(&packet(80_877_102, &bytes)));
        }
    }
}
