//! The first packets of a client: encryption, cancel requests, what it asks for.

use crate::end::{End, EndReason};
use crate::net::stream::Stream;
use crate::wire::startup::{First, MINOR_MAX, StartupError, parse};

/// What a client asks for.
pub(super) struct Wanted {
    /// The minor version of protocol 3 that is spoken from now on.
    pub(super) minor: u16,
    /// The version must be negotiated: the client asked for a newer one, or for unknown options.
    pub(super) negotiates: bool,
    pub(super) unknown_options: Vec<String>,
    pub(super) user: String,
    pub(super) database: String,
    /// Everything else, in the order sent.
    pub(super) params: Vec<(String, String)>,
}

/// What the first packets came to.
pub(super) enum Greeting {
    Cancel { pid: u32, secret: Vec<u8> },
    Login(Wanted),
}

/// Reads the first packets. What has come behind them stays in `buffer`.
///
/// # Errors
///
/// When the client is gone, or sends what is no startup packet.
pub(super) async fn greet(stream: &mut Stream, buffer: &mut Vec<u8>) -> Result<Greeting, End> {
    // A client asks for each kind of encryption once at most.
    for _ in 0..3 {
        let (first, total) = loop {
            match parse(buffer).map_err(refusal)? {
                Some(_) => break parse(buffer).ok().flatten().expect("it was whole just now"),
                None => match stream.receive(buffer).await {
                    Ok(1..) => {}
                    Ok(0) | Err(_) => return Err(EndReason::ClientGone.into()),
                },
            }
        };
        match first {
            First::Cancel { pid, secret } => {
                return Ok(Greeting::Cancel { pid, secret: secret.to_vec() });
            }
            First::Startup(startup) => {
                let wanted = Wanted::of(&startup)?;
                buffer.drain(..total);
                return Ok(Greeting::Login(wanted));
            }
            First::Ssl | First::GssEncryption => {
                // Bytes behind the request were not encrypted: somebody in between may have put
                // them there (CVE-2021-23214).
                if buffer.len() > total {
                    return Err(End::protocol(
                        "received unencrypted data after encryption request",
                    ));
                }
                buffer.clear();
                stream.send(b"N").await.map_err(|_| End::from(EndReason::ClientGone))?;
            }
        }
    }
    Err(End::protocol("too many encryption requests"))
}

fn refusal(error: StartupError) -> End {
    match error {
        StartupError::Version { .. } => {
            End::from(EndReason::VersionUnsupported).with_message(error.to_string())
        }
        _ => End::protocol(error.to_string()),
    }
}

impl Wanted {
    fn of(startup: &crate::wire::startup::Startup<'_>) -> Result<Self, End> {
        let Some(user) = startup.param("user").filter(|user| !user.is_empty()) else {
            return Err(EndReason::UserMissing.into());
        };
        let database = startup.param("database").filter(|name| !name.is_empty()).unwrap_or(user);
        let unknown_options: Vec<_> =
            startup.unknown_options().into_iter().map(str::to_owned).collect();
        let others = startup.params.iter().filter(|(name, _)| {
            !matches!(*name, "user" | "database") && !name.starts_with("_pq_.")
        });
        Ok(Self {
            minor: startup.minor.min(MINOR_MAX),
            negotiates: startup.minor > MINOR_MAX || !unknown_options.is_empty(),
            unknown_options,
            user: user.to_owned(),
            database: database.to_owned(),
            params: others.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        })
    }
}
