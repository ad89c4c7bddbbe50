//! Names people type: logins, targets, people and roles.
//!
//! All share one shape, `[a-z0-9][a-z0-9._-]{0,62}`, which keeps control characters, separators, wildcards and path
//! parts out of certificates, file names and policy by construction.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest name, in bytes.
const LONGEST: usize = 63;

/// A text that cannot be a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{given:?} cannot be a {what}: use 1 to 63 of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit"
)]
pub struct NameError {
    given: String,
    what: &'static str,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schemars(with = "String", extend("pattern" = "^[a-z0-9][a-z0-9._-]{0,62}$"))]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                check(text, $what).map(|()| Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                check(&text, $what).map(|()| Self(text))
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(/// The account or role on a target.
    Login, "login");
name!(/// The registered name of a target.
    TargetName, "target name");
name!(/// What people call a person or workload; unique on a bastion.
    PersonName, "person's name");
name!(/// A role that policy and approval rules speak of.
    Role, "role");

impl Login {
    /// The role that administers a database when nobody named another.
    pub(super) fn administrative() -> Self {
        Self("postern_admin".to_owned())
    }
}

fn check(text: &str, what: &'static str) -> Result<(), NameError> {
    let mut bytes = text.bytes();
    let is_name = text.len() <= LONGEST
        && bytes.next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        && bytes.all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'));
    if is_name { Ok(()) } else { Err(NameError { given: text.chars().take(80).collect(), what }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_pass() {
        for good in ["a", "web-1", "0", "db.eu_1", &"a".repeat(63)] {
            assert!(good.parse::<TargetName>().is_ok(), "{good}");
        }
        for bad in ["", "-a", ".a", "A", "a b", "a/b", "a,b", "*", "a\n", "ä", &"a".repeat(64)] {
            assert!(bad.parse::<Login>().is_err(), "{bad:?}");
        }
    }
}
