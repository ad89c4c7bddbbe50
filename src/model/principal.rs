//! Who: an identity is an issuer and a subject, never an e-mail address and never what somebody typed.
//!
//! Several identities can belong to one person; separation of duties compares persons. Never here: judging evidence.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What one issuer calls somebody. Several identities may be linked to one person.
///
/// Issuers in use: `ssh-key` (the subject is the key's SHA-256 fingerprint, `SHA256:…`) and `ssh-ca:NAME` (the
/// subject is the certificate's key id as that user CA writes it).
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
pub struct Identity {
    /// Who vouches.
    pub issuer: String,
    /// Whom they vouch for.
    pub subject: String,
}

impl Identity {
    /// The issuer of identities that are bare SSH public keys.
    pub const SSH_KEY: &'static str = "ssh-key";

    /// The identity of a public key, from its `SHA256:…` fingerprint.
    #[must_use]
    pub fn ssh_key(fingerprint: &str) -> Self {
        Self { issuer: Self::SSH_KEY.to_owned(), subject: fingerprint.to_owned() }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.issuer, self.subject)
    }
}

/// What kind of principal somebody is. There is no kind for customers: they cannot be expressed.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum PrincipalKind {
    /// A human being.
    Person,
    /// A service, pipeline or agent; it has an owner.
    Workload,
}

/// How somebody proved an identity, weakest first.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Proof {
    /// A signature by an enrolled SSH key.
    SshKey,
    /// A signature by a key certified by a configured user CA.
    SshCertificate,
    /// A signature by an enrolled security key (`sk-…`), touch and PIN not seen by us.
    SshSecurityKey,
}

impl Proof {
    /// Its name in policies and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SshKey => "ssh_key",
            Self::SshCertificate => "ssh_certificate",
            Self::SshSecurityKey => "ssh_security_key",
        }
    }
}
