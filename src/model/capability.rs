//! What a grant allows inside a session: the things an operator asks for with `--can`.
//!
//! The text form is shared by the command line, the ledger and policy. Never here: whether somebody has one.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One thing a session may do. As text: `shell`, `exec`, `sftp`, `forward=HOST:PORT`.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub enum Capability {
    /// Run a named command (also scp, rsync, git).
    Exec,
    /// Reach one address through the target (`ssh -L`).
    Forward {
        /// The name or address the target dials.
        host: String,
        /// The TCP port.
        port: u16,
    },
    /// Move files with the SFTP subsystem.
    Sftp,
    /// An interactive shell.
    Shell,
}

/// A text that names no capability.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no capability: use shell, exec, sftp or forward=HOST:PORT")]
pub struct CapabilityError(String);

impl FromStr for Capability {
    type Err = CapabilityError;
    fn from_str(text: &str) -> Result<Self, CapabilityError> {
        let wrong = || CapabilityError(text.chars().take(300).collect());
        match text {
            "exec" => return Ok(Self::Exec),
            "sftp" => return Ok(Self::Sftp),
            "shell" => return Ok(Self::Shell),
            _ => {}
        }
        let (host, port) =
            text.strip_prefix("forward=").and_then(|address| address.rsplit_once(':')).ok_or_else(wrong)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let is_host = !host.is_empty()
            && host.len() <= 255
            && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':'));
        let port: u16 = port.parse().map_err(|_| wrong())?;
        if !is_host || port == 0 {
            return Err(wrong());
        }
        Ok(Self::Forward { host: host.to_ascii_lowercase(), port })
    }
}

impl TryFrom<String> for Capability {
    type Error = CapabilityError;
    fn try_from(text: String) -> Result<Self, CapabilityError> {
        text.parse()
    }
}

impl From<Capability> for String {
    fn from(capability: Capability) -> Self {
        capability.to_string()
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exec => f.write_str("exec"),
            Self::Forward { host, port } if host.contains(':') => write!(f, "forward=[{host}]:{port}"),
            Self::Forward { host, port } => write!(f, "forward={host}:{port}"),
            Self::Sftp => f.write_str("sftp"),
            Self::Shell => f.write_str("shell"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_survive_text() {
        for text in ["shell", "exec", "sftp", "forward=db.internal:5432", "forward=[::1]:80"] {
            assert_eq!(text.parse::<Capability>().unwrap().to_string(), text);
        }
        for bad in ["", "Shell", "forward=", "forward=h:0", "forward=h:65536", "forward=a b:1", "forward=h"] {
            assert!(bad.parse::<Capability>().is_err(), "{bad:?}");
        }
    }
}
