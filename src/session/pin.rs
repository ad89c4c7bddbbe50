//! Pins running recordings in the ledger from time to time, so that the end of a long one cannot go missing unseen.
//!
//! A recording signs its own checkpoints every few seconds while something happens; here the latest of them becomes a
//! ledger entry, for sessions that have a new one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::gate::Gate;
use crate::access::Command;
use crate::ledger::entry::Actor;
use crate::model::SessionId;

/// How often.
const EVERY: Duration = Duration::from_secs(300);

/// Pins for as long as it is polled.
pub async fn pin(gate: Arc<Gate>) {
    let mut pinned: BTreeMap<SessionId, u64> = BTreeMap::new();
    loop {
        tokio::time::sleep(EVERY).await;
        let live = gate.registry.all();
        let ids: BTreeSet<_> = live.iter().map(|session| &session.facts.session).collect();
        pinned.retain(|session, _| ids.contains(session));
        for session in live {
            let id = session.facts.session;
            // One whose recording has failed is ending.
            let latest = session.recorder.last_checkpoint(pinned.get(&id).copied()).await;
            let Ok(Some(latest)) = latest else { continue };
            let digest = latest.digest.to_string();
            let command = Command::PinRecording { session: id.clone(), frame: latest.frame, digest };
            match gate.store.submit(Actor::Node, command).await {
                Ok(_) => {
                    pinned.insert(id, latest.frame);
                }
                // It may have ended meanwhile; if the ledger is at fault, its end will say so loudly.
                Err(error) => tracing::warn!(session = %id, %error, "a running recording was not pinned"),
            }
        }
    }
}
