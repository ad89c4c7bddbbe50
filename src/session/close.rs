//! What always happens at the end of a session, in order, whatever the reason.
//!
//! The cut has been made by the time this runs. Take the credential back; finish the recording; append the end with
//! its receipt; leave the registry. What cannot be done is retried, and what a crash leaves is
//! [`sweep`](super::sweep)'s.

use std::time::Duration;

use super::ending::Ended;
use super::gate::Gate;
use super::stage::Armed;
use crate::access::{Command, fitting_line};
use crate::ledger::entry::{Actor, EndFacts, Receipt, Verified};
use crate::net::Severed;
use crate::store::SubmitError;

/// How soon an end that the ledger did not take is offered again; each time twice as long.
const AGAIN: Duration = Duration::from_millis(500);
/// The longest of these pauses.
const AGAIN_AT_MOST: Duration = Duration::from_secs(30);

/// Closes a session that was cut.
pub(super) async fn close(gate: &Gate, armed: Armed, ended: Ended) {
    let Armed { permit, recorder, lease, entry } = armed;
    let session = permit.subject.session.clone();
    // Nobody asks about it any more.
    drop(permit);
    let (wiped, is_wiped) = lease.take_back();
    drop(lease);
    let finished = recorder.finish(ended.reason).await;
    let (frames, digest, bytes, mut left_over) = match finished {
        Ok(finished) => (finished.frames, finished.digest.to_string(), finished.bytes, Vec::new()),
        Err(error) => {
            tracing::error!(%session, %error, "the recording could not be finished");
            metrics::counter!("postern_recordings_unfinished_total").increment(1);
            (0, String::new(), 0, vec![fitting_line(&format!("the recording was not finished: {error}"))])
        }
    };
    if ended.severed.failed > 0 {
        left_over.push(format!("{} connections could not be cut", ended.severed.failed));
    }
    let target_ended = match ended.severed {
        Severed { targets, failed: 0 } if targets > 0 => Some(Verified {
            at: ended.targets_cut,
            how: format!("connections to the target reset: {targets}"),
        }),
        Severed { targets: 0, failed: 0 } => {
            Some(Verified { at: ended.targets_cut, how: "no connection to the target was open".to_owned() })
        }
        Severed { .. } => None,
    };
    let how = match is_wiped {
        true => "private key wiped, no certificate is signed any more",
        false => "no certificate is signed any more; a login that was cut wipes the private key as it ends",
    };
    let receipt = Receipt {
        decided: ended.decided,
        cut: ended.cut,
        decided_to_cut_us: u64::try_from(ended.took.as_micros()).unwrap_or(u64::MAX),
        target_ended,
        credential_dead: Some(Verified { at: wiped, how: how.to_owned() }),
    };
    metrics::counter!("postern_sessions_ended_total", "reason" => ended.reason.name()).increment(1);
    metrics::histogram!("postern_cut_seconds").record(ended.took.as_secs_f64());
    let facts = EndFacts { session, reason: ended.reason, receipt, frames, digest, bytes, left_over };
    append(gate, facts).await;
    drop(entry);
}

/// Appends the end, again and again while the ledger fails: the session is over either way, and the ledger must say so.
async fn append(gate: &Gate, facts: EndFacts) {
    let mut pause = AGAIN;
    loop {
        match gate.store.submit(Actor::Node, Command::EndSession(Box::new(facts.clone()))).await {
            Ok(_) => return,
            Err(SubmitError::Denied(denied)) => {
                tracing::error!(session = %facts.session, %denied, "the end was not accepted");
                metrics::counter!("postern_ends_unwritten_total").increment(1);
                return;
            }
            Err(SubmitError::Failed(error)) => {
                tracing::error!(session = %facts.session, %error, "the end could not be written; trying again");
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(AGAIN_AT_MOST);
    }
}
