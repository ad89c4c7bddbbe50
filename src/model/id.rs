//! One type per kind of id, so that a grant's id cannot be passed where a session's is wanted.
//!
//! An id is a prefix that names its kind and 80 random bits in lower-case base32 (RFC 4648 alphabet, 16 characters):
//! `ses_c2qk7mvd4xw3n5ta`. Ids are the only names that reach file names and targets; operator text never does.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE32_NOPAD;
use serde::{Deserialize, Serialize};

/// Characters after the prefix.
const BODY: usize = 16;

/// A text that is not an id of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is not an id of this kind: expected {prefix} and 16 characters from a-z and 2-7")]
pub struct IdError {
    given: String,
    prefix: &'static str,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schemars(with = "String", extend("pattern" = concat!("^", $prefix, "[a-z2-7]{16}$")))]
        pub struct $name(String);

        impl $name {
            /// What every id of this kind begins with.
            pub const PREFIX: &'static str = $prefix;

            /// A fresh id from the operating system's randomness.
            ///
            /// # Errors
            /// When the system has no randomness to give.
            pub fn random() -> Result<Self, aws_lc_rs::error::Unspecified> {
                let mut bytes = [0_u8; 10];
                aws_lc_rs::rand::fill(&mut bytes)?;
                Ok(Self(format!("{}{}", $prefix, BASE32_NOPAD.encode(&bytes).to_ascii_lowercase())))
            }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                check(text, $prefix).map(|()| Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                check(&text, $prefix).map(|()| Self(text))
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(/// A stored person or workload.
    PersonId, "per_");
id!(/// An access request.
    RequestId, "req_");
id!(/// A time-bound right that answers a request.
    GrantId, "grn_");
id!(/// One authorised use of one target; also names its recording.
    SessionId, "ses_");

id!(/// The role of one database session on its target.
    RoleId, "pst_");

fn check(text: &str, prefix: &'static str) -> Result<(), IdError> {
    let is_id = text.strip_prefix(prefix).is_some_and(|body| {
        body.len() == BODY && body.bytes().all(|b| matches!(b, b'a'..=b'z' | b'2'..=b'7'))
    });
    if is_id { Ok(()) } else { Err(IdError { given: text.chars().take(64).collect(), prefix }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_text_and_another_kind_is_refused() {
        let id = SessionId::random().unwrap();
        assert_eq!(id.as_str().parse::<SessionId>().unwrap(), id);
        assert!(id.as_str().parse::<GrantId>().is_err());
        assert!("ses_../../etc/passwd".parse::<SessionId>().is_err());
    }
}
