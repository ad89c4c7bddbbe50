//! The first packet of a connection, which has no kind: a request for encryption, a cancel, or the start itself.
//!
//! Protocol 3.0 and 3.2 differ here in one thing that matters: a cancel key is four bytes, or up to 256.

use bytes::Bytes;

use super::Malformed;
use super::fields::Fields;

/// The longest first packet (PostgreSQL's `MAX_STARTUP_PACKET_LENGTH`).
pub const LONGEST: u32 = 10_000;
/// The longest cancel key of protocol 3.2.
pub const LONGEST_KEY: usize = 256;
const CANCEL: u32 = 80_877_102;
const TLS: u32 = 80_877_103;
const GSS: u32 = 80_877_104;

/// What a connection begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum First {
    /// It asks whether TLS is spoken here.
    Tls,
    /// It asks whether GSSAPI encryption is spoken here.
    Gss,
    /// It wants another connection's statement cancelled.
    Cancel(Cancel),
    /// It begins a session.
    Start(Start),
}

/// Which connection is meant by a cancel request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cancel {
    /// The process id the client was given.
    pub process: u32,
    /// The secret it was given with it.
    pub key: Bytes,
}

/// What a client wants to begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// The minor version of protocol 3.
    pub minor: u16,
    /// Names and values, as sent. A name that is sent twice is refused: which one counts would be anybody's guess.
    pub parameters: Vec<(String, String)>,
}

impl Start {
    /// A parameter.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// The length that the first four bytes say, themselves included.
///
/// # Errors
/// When it is impossible.
pub fn length(bytes: [u8; 4]) -> Result<usize, Malformed> {
    match u32::from_be_bytes(bytes) {
        said @ 8..=LONGEST => Ok(usize::try_from(said).unwrap_or(usize::MAX)),
        _ => Err(Malformed::Startup("its length is impossible")),
    }
}

/// Reads the packet behind its length.
///
/// # Errors
/// When it is none, or not exactly one.
pub fn parse(body: Bytes) -> Result<First, Malformed> {
    let mut fields = Fields::new(b' ', body);
    let short = |_| Malformed::Startup("it ends too early");
    let code = fields.u32().map_err(short)?;
    let whole = |fields: Fields, first| fields.end(first).map_err(|_| Malformed::Startup("it is too long"));
    match code {
        TLS => whole(fields, First::Tls),
        GSS => whole(fields, First::Gss),
        CANCEL => {
            let (process, key) = (fields.u32().map_err(short)?, fields.rest());
            if key.len() < 4 || key.len() > LONGEST_KEY {
                return Err(Malformed::Startup("its cancel key has no possible length"));
            }
            Ok(First::Cancel(Cancel { process, key }))
        }
        version if version >> 16 == 3 => {
            let minor = u16::try_from(version & 0xffff).unwrap_or_default();
            parameters(fields).map(|parameters| First::Start(Start { minor, parameters }))
        }
        _ => Err(Malformed::Startup("only protocol 3 is spoken here")),
    }
}

fn parameters(mut fields: Fields) -> Result<Vec<(String, String)>, Malformed> {
    let wrong = || Malformed::Startup("its parameters are malformed");
    let mut found: Vec<(String, String)> = Vec::new();
    loop {
        let mut text = || {
            let bytes = fields.string().map_err(|_| wrong())?;
            String::from_utf8(bytes.to_vec()).map_err(|_| Malformed::Startup("a parameter is not UTF-8"))
        };
        let name = text()?;
        if name.is_empty() {
            break;
        }
        let value = text()?;
        if found.iter().any(|(known, _)| *known == name) {
            return Err(Malformed::Startup("a parameter is given twice"));
        }
        found.push((name, value));
    }
    fields.end(found).map_err(|_| wrong())
}
