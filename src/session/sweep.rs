//! Ends what a crash left: every session the ledger believes alive when the node starts.
//!
//! The journal has by then completed their recordings up to the last frame that was acknowledged and closed them with
//! a signed cut; here the ledger learns of it, so that no session is without an end.

use std::collections::HashMap;
use std::path::Path;

use crate::access::{Command, fitting_line};
use crate::ledger::entry::{Actor, EndFacts, Receipt, Verified};
use crate::model::{Clock, EndReason, SessionId, Timestamp};
use crate::recording::{Recovered, RecoveredState, end_of};
use crate::store::{Store, SubmitError};

/// Appends an end for every session that has none. Says how many.
///
/// # Errors
/// When the ledger takes no entries.
pub async fn sweep(
    store: &Store,
    recordings: &Path,
    recovered: &[Recovered],
    clock: &Clock,
) -> Result<usize, SubmitError> {
    let by_session: HashMap<&SessionId, &Recovered> =
        recovered.iter().map(|recovered| (&recovered.session, recovered)).collect();
    let left: Vec<SessionId> =
        store.read(|state| state.sessions().map(|s| s.facts.session.clone()).collect());
    let now = clock.now();
    // Submitted together, so that they share their commits.
    let ends = left.iter().map(|session| {
        let end = end(session, by_session.get(session).copied(), recordings, now);
        store.submit(Actor::Node, Command::EndSession(Box::new(end)))
    });
    for outcome in futures_util::future::join_all(ends).await {
        outcome?;
    }
    Ok(left.len())
}

/// The end of one session: what recovery made of its recording, or what an earlier run had already finished.
fn end(session: &SessionId, recovered: Option<&Recovered>, recordings: &Path, now: Timestamp) -> EndFacts {
    let (state, set_aside) = match recovered {
        Some(recovered) => (Some(recovered.state.clone()), recovered.set_aside.clone()),
        None => match end_of(recordings, session) {
            Ok(state) => (state, None),
            Err(error) => (Some(RecoveredState::Damaged { why: error.to_string() }), None),
        },
    };
    if let Some(path) = set_aside {
        tracing::warn!(%session, path = %path.display(), "bytes behind the last whole frame were set aside");
    }
    let (frames, digest, bytes, left_over) = match state {
        Some(RecoveredState::Ended { last_frame, digest, bytes, .. }) => {
            (last_frame, digest.to_string(), bytes, Vec::new())
        }
        Some(RecoveredState::Damaged { why }) => {
            (0, String::new(), 0, vec![fitting_line(&format!("its recording is damaged: {why}"))])
        }
        None => (0, String::new(), 0, vec!["no recording was found for it".to_owned()]),
    };
    let gone = |how: &str| Some(Verified { at: now, how: how.to_owned() });
    let receipt = Receipt {
        decided: now,
        cut: now,
        decided_to_cut_us: 0,
        target_ended: gone(
            "the process that held the connection is gone; after a power loss the target notices by itself",
        ),
        credential_dead: gone("the key was in that process's memory only"),
    };
    EndFacts {
        session: session.clone(),
        reason: EndReason::Crashed,
        receipt,
        frames,
        digest,
        bytes,
        left_over,
    }
}
