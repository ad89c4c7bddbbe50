//! What every session needs of the node it runs on, put together once in `serve`.
//!
//! Nothing here acts: it is the list of things a session may reach, so that a reader can see there is no other.

use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use super::last_word::LastWords;
use super::registry::Registry;
use super::witnesses::Witnesses;
use crate::authn::Authenticator;
use crate::credential::SshCertificateAuthority;
use crate::credential::postgres::Administrations;
use crate::model::Clock;
use crate::policy::Engine;
use crate::recording::Journal;
use crate::store::Store;

/// The node, as sessions see it.
pub struct Gate {
    /// The ledger and what follows from it.
    pub store: Store,
    /// The policy in force.
    pub policy: Engine,
    /// The only maker of principals.
    pub authenticator: Authenticator,
    /// Where recordings are written.
    pub journal: Journal,
    /// Signs sessions' certificates.
    pub user_authority: SshCertificateAuthority,
    /// Makes and ends sessions' roles on databases.
    pub databases: Administrations,
    /// Ends what clients are told when their sessions are cut.
    pub last_words: LastWords,
    /// What the ledger's witnesses last said.
    pub witnesses: Witnesses,
    /// Sessions alive now.
    pub registry: Registry,
    /// Time.
    pub clock: Clock,
    /// How long things may take; a reload may change it.
    pub limits: RwLock<Limits>,
}

impl Gate {
    /// How long things may take, as configured now.
    #[must_use]
    pub fn limits(&self) -> Limits {
        *self.limits.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long things may take. Zero means without limit where that is said.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// A session without a byte in either direction ends after this; zero: never.
    pub idle: Duration,
    /// The longest session, whatever its grant says; zero: as long as the grant.
    pub longest: Duration,
    /// How long somebody without a grant may wait in the dialogue.
    pub dialogue: Duration,
    /// Sessions end when the change feed is older than this.
    pub lease: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(15 * 60),
            longest: Duration::ZERO,
            dialogue: Duration::from_secs(10 * 60),
            lease: Duration::from_secs(10),
        }
    }
}
