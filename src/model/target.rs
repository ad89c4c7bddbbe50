//! What people reach through the gate: a registered name, an address, and the facts policy decides on.
//!
//! Policy sees every fact here but the endpoint and the host keys. Never here: connecting to it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::name::{Login, TargetName};

/// A registered target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Target {
    /// Its name in `LOGIN@TARGET`.
    pub name: TargetName,
    /// The protocol it speaks.
    pub protocol: Protocol,
    /// Where it listens.
    pub endpoint: Endpoint,
    /// How its host key is recognised.
    pub trust: HostTrust,
    /// Platform, or application data.
    pub plane: Plane,
    /// Free label such as `prod` or `staging`.
    pub environment: String,
    /// How much harm a leak would do.
    pub sensitivity: Sensitivity,
    /// The tenant whose data it holds, where it holds one tenant's.
    pub tenant: Option<String>,
    /// The logins that may be asked for; empty means any.
    pub logins: BTreeSet<Login>,
    /// Free labels for policy.
    pub labels: BTreeMap<String, String>,
    /// How its sessions' roles are administered, where it is a database.
    #[serde(default, skip_serializing_if = "Administration::is_default")]
    pub administration: Administration,
}

/// As whom, and in which database, a PostgreSQL target's roles are administered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Administration {
    /// The administrative role; `postern_admin` unless said otherwise.
    pub role: Login,
    /// The maintenance database; `postgres` unless said otherwise.
    pub database: String,
}

impl Administration {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for Administration {
    fn default() -> Self {
        Self { role: Login::administrative(), database: "postgres".to_owned() }
    }
}

impl Target {
    /// Whether a login may be asked for.
    #[must_use]
    pub fn offers(&self, login: &Login) -> bool {
        self.logins.is_empty() || self.logins.contains(login)
    }
}

/// A protocol a target speaks.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// PostgreSQL (its frontend/backend protocol 3).
    Postgres,
    /// SSH (RFC 4251 and its companions).
    Ssh,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Postgres => f.write_str("postgres"),
            Self::Ssh => f.write_str("ssh"),
        }
    }
}

impl Protocol {
    /// The port its servers listen on when nobody says another.
    #[must_use]
    pub const fn port(self) -> u16 {
        match self {
            Self::Postgres => 5432,
            Self::Ssh => 22,
        }
    }
}

/// A host name or address, and a port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Endpoint {
    /// Name or IP address; resolved once per dial.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// How a target proves that it is itself. There is no "trust on first use", and no TLS that is only "preferred".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HostTrust {
    /// Nothing pinned so far: connecting is refused until somebody pins.
    Unpinned,
    /// One of these host keys, in OpenSSH's `TYPE BASE64` form.
    Keys(Vec<String>),
    /// A host certificate signed by this CA key, in OpenSSH's `TYPE BASE64` form, that names the target's host.
    Authority(String),
    /// A TLS certificate that one of these CAs vouches for and that names the target's host; each CA's certificate is
    /// the base64 of its DER.
    TlsAuthority(Vec<String>),
    /// A TLS certificate for one of these keys: `sha256/` and the base64 of SHA-256 over its `SubjectPublicKeyInfo`.
    TlsKeys(Vec<String>),
}

impl HostTrust {
    /// Whether a target that speaks `protocol` can prove itself so.
    #[must_use]
    pub const fn fits(&self, protocol: Protocol) -> bool {
        match self {
            Self::Unpinned => true,
            Self::Authority(_) | Self::Keys(_) => matches!(protocol, Protocol::Ssh),
            Self::TlsAuthority(_) | Self::TlsKeys(_) => matches!(protocol, Protocol::Postgres),
        }
    }
}

/// Which side of the house a target belongs to.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Plane {
    /// Holds customers' data.
    ApplicationData,
    /// Runs the platform.
    Platform,
}

impl Plane {
    /// Its name in policies, configuration and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ApplicationData => "application_data",
            Self::Platform => "platform",
        }
    }
}

/// How much harm a leak or mistake on a target would do.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Sensitivity {
    /// Ordinary.
    Normal,
    /// High: more approvers, closer review.
    High,
}

impl Sensitivity {
    /// Its name in policies, configuration and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::High => "high",
        }
    }
}
