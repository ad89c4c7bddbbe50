//! Ends what a crash left: every session the ledger believes alive when the node starts.
//!
//! The journal has by then completed their recordings up to the last frame that was acknowledged and closed them with
//! a signed cut; here the ledger learns of it, so that no session is without an end.

use std::collections::HashMap;

use crate::access::Command;
use crate::ledger::entry::{Actor, EndFacts, Receipt, Verified};
use crate::model::{Clock, EndReason, SessionId};
use crate::recording::{Recovered, RecoveredState};
use crate::store::{Store, SubmitError};

/// Appends an end for every session that has none. Says how many.
///
/// # Errors
/// When the ledger takes no entries.
pub async fn sweep(store: &Store, recovered: &[Recovered], clock: &Clock) -> Result<usize, SubmitError> {
    let by_session: HashMap<&SessionId, &Recovered> =
        recovered.iter().map(|recovered| (&recovered.session, recovered)).collect();
    let left: Vec<SessionId> =
        store.read(|state| state.sessions().map(|s| s.facts.session.clone()).collect());
    for session in &left {
        let now = clock.now();
        let dead = |how: &str| Some(Verified { at: now, how: how.to_owned() });
        let receipt = Receipt {
            decided: now,
            cut: now,
            decided_to_cut_us: 0,
            target_ended: dead("the process that held the connection is gone"),
            credential_dead: dead("the key was in that process's memory only"),
        };
        let (frames, digest, bytes, left_over) =
            match by_session.get(session).map(|recovered| &recovered.state) {
                Some(RecoveredState::Ended { last_frame, digest, bytes, .. }) => {
                    (*last_frame, digest.to_string(), *bytes, Vec::new())
                }
                Some(RecoveredState::Damaged { why }) => {
                    (0, String::new(), 0, vec![format!("its recording is damaged: {why}")])
                }
                None => (0, String::new(), 0, vec!["no recording was found for it".to_owned()]),
            };
        let facts = EndFacts {
            session: session.clone(),
            reason: EndReason::Crashed,
            receipt,
            frames,
            digest,
            bytes,
            left_over,
        };
        store.submit(Actor::Node, Command::EndSession(Box::new(facts))).await?;
    }
    Ok(left.len())
}
