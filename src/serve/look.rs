//! The API over a bastion's directory that nobody serves, to read from it: no byte of the directory changes.
//!
//! What a crash left is shown as it lies there, and finished at the next start. The sealed keys stay sealed: a copy of
//! the directory can be examined where the sealing key is not. Here no session lives and nothing is admitted; the store
//! refuses whatever would be an entry. Read next: `store/sqlite/look.rs`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::check::authorities;
use super::live::host_keys;
use super::node::{LEDGER, ServeError};
use super::witnesses::COSIGNED;
use crate::api::{self, Cut, Fetched, HostKey, Keeping, Later, Live, NodeFacts, Room, Step, Witness};
use crate::authn::Authenticator;
use crate::config::Config;
use crate::credential::keystore::{database_ca, node_key};
use crate::credential::rotation::{Rotated, halves};
use crate::model::{Clock, Endpoint, Login, Protocol, SessionId, Target};
use crate::policy::Engine;
use crate::recording::Watch;
use crate::store::Store;

/// The API over a directory that nobody serves, for commands that change nothing.
///
/// # Errors
/// See [`ServeError`]; in particular when the directory is in use, or its ledger is not whole.
pub fn look_offline(directory: &Path) -> Result<axum::Router, ServeError> {
    let config = Config::load(directory)?;
    let clock = Clock::system();
    let node_key = node_key(directory)?;
    let store = Store::look(&directory.join(LEDGER), node_key, &config.node.name, clock.clone())?;
    // `TYPE BASE64`, without the comment.
    let known = |key| -> Result<String, ServeError> {
        let line = halves(directory, key)?.now;
        Ok(line.split(' ').take(2).collect::<Vec<_>>().join(" "))
    };
    let node = NodeFacts {
        name: config.node.name.clone(),
        fingerprint: known(Rotated::ApiTls)?,
        ssh_listen: None,
        ssh_public_name: config.ssh.public_name.clone(),
        host_key: known(Rotated::SshHostKey)?,
        host_ca: known(Rotated::HostCa)?,
        user_ca: known(Rotated::UserCa)?,
        // A directory of an earlier version has none, and is looked at as it is.
        database_ca: database_ca(directory).unwrap_or_default(),
        node_key: data_encoding::HEXLOWER.encode(&node_key),
    };
    let router = api::router(api::Context {
        authenticator: Authenticator::new(Arc::new(store.clone()), authorities(&config)?, clock.clone()),
        policy: Engine::load(config.policy.directory.as_deref())?,
        store,
        live: Arc::new(NobodyLive { recordings: config.recording.directory.clone() }),
        cosigned: directory.join(LEDGER).join(COSIGNED),
        recordings: config.recording.directory,
        clock,
        node,
    });
    Ok(router.layer(axum::Extension(api::Peer(None))))
}

/// A process without sessions.
struct NobodyLive {
    recordings: PathBuf,
}

impl Live for NobodyLive {
    fn count(&self) -> usize {
        0
    }

    fn wait_ended<'a>(&'a self, _: &'a [SessionId], _: Duration) -> Later<'a, Vec<Cut>> {
        Box::pin(std::future::ready(Vec::new()))
    }

    fn watch(&self, _: &SessionId) -> Option<Watch> {
        None
    }

    /// Nothing is minted where nothing can be written down.
    fn test_target(&self, _: Target, _: Login) -> Later<'_, Vec<Step>> {
        Box::pin(std::future::ready(Vec::new()))
    }

    fn host_keys(&self, endpoint: Endpoint, protocol: Protocol) -> Later<'_, Result<Vec<HostKey>, String>> {
        Box::pin(host_keys(endpoint, protocol))
    }

    fn witnesses(&self) -> Vec<Witness> {
        Vec::new()
    }

    /// Nothing is moved here, so nothing waits for it.
    fn keeping(&self) -> Option<Keeping> {
        None
    }

    fn move_again(&self) {}

    /// A view is an entry, which cannot be made here.
    fn fetch<'a>(&'a self, _: &'a str) -> Later<'a, Result<Option<Fetched>, String>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn room(&self) -> Room {
        let facts = rustix::fs::statvfs(&self.recordings).ok();
        let free_bytes = facts.map_or(0, |facts| facts.f_bavail.saturating_mul(facts.f_frsize));
        Room { free_bytes, admits: false }
    }
}
