//! Mints one credential per session and takes it back. One file per kind.
//!
//! A session on an SSH target gets a fresh Ed25519 key that never leaves memory, and for each connection to the target
//! a certificate for that key with one principal and seconds of validity. The target trusts the user CA and nothing
//! else; nobody holds a credential of the target before or after. A session on a PostgreSQL target gets a role of its
//! own ([`postgres`]).
//!
//! The bastion's own keys, the CAs among them, are in [`keystore`], sealed at rest; [`rotation`] replaces them.

mod database_ca;
pub mod keystore;
mod lease;
pub mod postgres;
pub mod rotation;
pub mod sealing;
mod ssh_certificate;

pub use database_ca::DatabaseCa;
pub use keystore::{ApiTls, Keystore, KeystoreError};
pub use lease::Lease;
pub use sealing::SealingKey;
pub use ssh_certificate::{MintError, SshCertificateAuthority, SshCredential};
