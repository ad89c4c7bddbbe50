//! What the SSH adapter asks of the node: its host key, host certificates for jumps, names of targets, and a place to
//! send carried connections.
//!
//! The adapter knows neither keys nor store; this is the one file where it meets them. Next: `protocol/ssh/carrier.rs`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use russh::keys::{Certificate, PrivateKey};
use tokio::sync::mpsc;

use crate::credential::SshCertificateAuthority;
use crate::model::{Clock, TargetName, Timestamp};
use crate::protocol::ssh::{Carried, Carriers, Front};
use crate::store::Store;

/// How long a host certificate is shown before a new one is signed; they are valid for a day.
const FRESH: Duration = Duration::from_secs(3600);
/// Host certificates kept at once.
const KEPT: usize = 1024;

/// The node's side of [`Front`].
pub(super) struct NodeFront {
    pub(super) host_key: Arc<PrivateKey>,
    pub(super) host_authority: SshCertificateAuthority,
    pub(super) store: Store,
    pub(super) clock: Clock,
    pub(super) carriers: Carriers,
    pub(super) carried: mpsc::Sender<Box<Carried>>,
    pub(super) certificates: Mutex<std::collections::HashMap<TargetName, (Timestamp, Certificate)>>,
}

impl Front for NodeFront {
    fn host_key(&self) -> &PrivateKey {
        &self.host_key
    }

    fn host_certificate(&self, target: &TargetName) -> Option<Certificate> {
        let now = self.clock.now();
        let mut kept = self.certificates.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((signed, certificate)) = kept.get(target)
            && Duration::try_from(now.duration_since(*signed)).is_ok_and(|age| age < FRESH)
        {
            return Some(certificate.clone());
        }
        let certificate = self.host_authority.host(&self.host_key, target, now).ok()?;
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.insert(target.clone(), (now, certificate.clone()));
        Some(certificate)
    }

    fn carriers(&self) -> &Carriers {
        &self.carriers
    }

    fn knows_target(&self, target: &TargetName) -> bool {
        self.store.read(|state| state.target(target).is_some())
    }

    fn carry(&self, carried: Box<Carried>) -> Result<(), Box<Carried>> {
        self.carried.try_send(carried).map_err(|error| match error {
            mpsc::error::TrySendError::Closed(carried) | mpsc::error::TrySendError::Full(carried) => carried,
        })
    }
}
