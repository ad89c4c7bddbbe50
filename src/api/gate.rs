//! Everything a call can reach, in one place: the store, policy, authentication, the live sessions, and facts about
//! this node. Put together once by whoever composes the process, before the first call.
//!
//! Nothing here acts, and no handler reaches anything that is not in this list. Next: `call.rs`.

use std::path::PathBuf;
use std::sync::Arc;

use super::live::Live;
use crate::authn::{Authenticator, Challenges, Tokens};
use crate::model::{Clock, Timestamp};
use crate::policy::Engine;
use crate::store::Store;

/// What the API is put together from.
pub struct Context {
    /// The ledger and what it says.
    pub store: Store,
    /// Policy.
    pub policy: Engine,
    /// Who is who.
    pub authenticator: Authenticator,
    /// The live sessions.
    pub live: Arc<dyn Live>,
    /// The file with the newest head of the ledger that a witness signed, and all signatures; there is none before that.
    pub cosigned: PathBuf,
    /// Where recordings are kept, as `SESSION.pstn`.
    pub recordings: PathBuf,
    /// Time.
    pub clock: Clock,
    /// Facts about this node.
    pub node: NodeFacts,
}

/// Facts about this node that clients may know.
#[derive(Debug, Clone, Default)]
pub struct NodeFacts {
    /// Its name.
    pub name: String,
    /// The fingerprint of the API's certificate. Signing in signs it, so that no other server can pass the signature on.
    pub fingerprint: String,
    /// Where SSH listens; `None` when nothing does.
    pub ssh_listen: Option<String>,
    /// The host name people type, where the configuration says one.
    pub ssh_public_name: Option<String>,
    /// The bastion's SSH host key, `TYPE BASE64`.
    pub host_key: String,
    /// The CA that vouches for targets behind `ssh -J`, `TYPE BASE64`.
    pub host_ca: String,
    /// The CA that targets trust, `TYPE BASE64`.
    pub user_ca: String,
    /// The CA that databases know the bastion by, in PEM.
    pub database_ca: String,
    /// The Ed25519 public key that signs recordings and checkpoints, lower-case hex.
    pub node_key: String,
}

/// Everything a call can reach.
pub(super) struct Gate {
    pub(super) parts: Context,
    pub(super) tokens: Tokens,
    /// None when the system had no randomness at the start: then nobody can sign in.
    pub(super) challenges: Option<Challenges>,
    pub(super) started: Timestamp,
}

impl Gate {
    pub(super) fn new(parts: Context) -> Arc<Self> {
        let clock = parts.clock.clone();
        let started = clock.now();
        let challenges = Challenges::new(clock.clone()).ok();
        Arc::new(Self { parts, tokens: Tokens::new(clock), challenges, started })
    }

    pub(super) fn now(&self) -> Timestamp {
        self.parts.clock.now()
    }
}
