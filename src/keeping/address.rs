//! What `[recording.store] url` says: a directory, or a bucket and what names in it begin with.
//!
//! Pure. The address is what the ledger says of where a recording is; credentials are never part of it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where recordings are moved to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A bucket in a store that speaks S3.
    Bucket {
        /// Its name.
        bucket: String,
        /// What every name begins with; empty, or without slashes at its ends.
        prefix: String,
    },
    /// A directory on this machine.
    Directory(PathBuf),
}

/// An address that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no address of a store: write s3://BUCKET/PREFIX or file:///DIRECTORY")]
pub struct NotAnAddress(String);

/// The longest address, in bytes.
const LONGEST: usize = 512;

impl FromStr for Address {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        let wrong = || NotAnAddress(text.to_owned());
        if text.len() > LONGEST {
            return Err(wrong());
        }
        if let Some(path) = text.strip_prefix("file://") {
            let is_path = path.starts_with('/') && path.len() > 1 && !path.chars().any(char::is_control);
            return if is_path {
                Ok(Self::Directory(path.trim_end_matches('/').into()))
            } else {
                Err(wrong())
            };
        }
        let rest = text.strip_prefix("s3://").ok_or_else(wrong)?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = prefix.trim_end_matches('/');
        let is_bucket = (3..=63).contains(&bucket.len())
            && bucket
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.'));
        // Other characters are encoded in one place or another and would make one name two.
        let is_part = |part: &str| {
            !matches!(part, "" | "." | "..")
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        };
        if is_bucket && (prefix.is_empty() || prefix.split('/').all(is_part)) {
            return Ok(Self::Bucket { bucket: bucket.to_owned(), prefix: prefix.to_owned() });
        }
        Err(wrong())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bucket { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::Bucket { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
            Self::Directory(path) => write!(f, "file://{}", path.display()),
        }
    }
}

impl Address {
    /// Where something of this name is.
    #[must_use]
    pub fn of(&self, name: &str) -> String {
        format!("{self}/{name}")
    }

    /// The name of what a location says, when it is at this address.
    #[must_use]
    pub fn name_in<'a>(&self, location: &'a str) -> Option<&'a str> {
        let name = location.strip_prefix(&self.to_string())?.strip_prefix('/')?;
        (!name.is_empty() && !name.contains('/')).then_some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_back_as_they_are_written_and_others_are_refused() {
        for (text, shown) in [
            ("s3://recordings", "s3://recordings"),
            ("s3://recordings/", "s3://recordings"),
            ("s3://my-bucket.eu/a/b/", "s3://my-bucket.eu/a/b"),
            ("file:///srv/recordings/", "file:///srv/recordings"),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), shown);
            assert_eq!(shown.parse(), Ok(address.clone()));
            assert_eq!(address.name_in(&address.of("ses_x.pstn")), Some("ses_x.pstn"));
        }
        for text in [
            "",
            "s3://",
            "s3://ab",
            "s3://UPPER",
            "s3://bucket//x",
            "s3://bucket/../x",
            "s3://bucket/a b",
            "s3://key:secret@bucket",
            "file://relative",
            "file:///",
            "https://bucket",
            "/srv",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_location_elsewhere_is_not_ours() {
        let address: Address = "s3://recordings/a".parse().unwrap();
        for other in [
            "s3://recordings/ses.pstn",
            "s3://recordings/a/b/ses.pstn",
            "s3://recordings/ab/x",
            "s3://recordings/a/",
        ] {
            assert_eq!(address.name_in(other), None, "{other}");
        }
    }
}
