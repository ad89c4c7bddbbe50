//! What always happens at the end of a session, in order, whatever the reason.
//!
//! The cut has been made by the time this runs. Take the credential back; finish the recording; append the end with
//! its receipt; leave the registry. What cannot be done is retried, and what a crash leaves is
//! [`sweep`](super::sweep)'s.

use std::time::Duration;

use super::ending::Ended;
use super::gate::Gate;
use super::stage::Armed;
use crate::access::Command;
use crate::ledger::entry::{Actor, EndFacts, Receipt, Verified};
use crate::store::SubmitError;

/// How often an end that the ledger did not take is offered again, and how many times.
const AGAIN: Duration = Duration::from_millis(500);
const TRIES: u32 = 20;

/// Closes a session that was cut.
pub(super) async fn close(gate: &Gate, armed: Armed, ended: Ended) {
    let Armed { permit, recorder, lease, entry, .. } = armed;
    let session = permit.subject.session.clone();
    let wiped = lease.take_back();
    drop(lease);
    let finished = recorder.finish(ended.reason).await;
    let (frames, digest, bytes, left_over) = match finished {
        Ok(finished) => (finished.frames, finished.digest.to_string(), finished.bytes, Vec::new()),
        Err(error) => {
            tracing::error!(%session, %error, "the recording could not be finished");
            metrics::counter!("postern_recordings_unfinished_total").increment(1);
            (0, String::new(), 0, vec![format!("the recording was not finished: {error}")])
        }
    };
    let receipt = Receipt {
        decided: ended.decided,
        cut: ended.cut,
        decided_to_cut_us: u64::try_from(ended.took.as_micros()).unwrap_or(u64::MAX),
        target_ended: Some(Verified { at: ended.cut, how: "connections to the target reset".to_owned() }),
        credential_dead: Some(Verified {
            at: wiped,
            how: "private key wiped, no certificate signed since".to_owned(),
        }),
    };
    metrics::histogram!("postern_cut_seconds").record(ended.took.as_secs_f64());
    let facts = EndFacts { session, reason: ended.reason, receipt, frames, digest, bytes, left_over };
    append(gate, facts).await;
    drop(entry);
}

/// Appends the end, again and again while the ledger fails: the session is over either way.
async fn append(gate: &Gate, facts: EndFacts) {
    for _ in 0..TRIES {
        match gate.store.submit(Actor::Node, Command::EndSession(Box::new(facts.clone()))).await {
            Ok(_) => return,
            Err(SubmitError::Denied(denied)) => {
                tracing::error!(session = %facts.session, %denied, "the end was not accepted");
                return;
            }
            Err(SubmitError::Failed(error)) => {
                tracing::error!(session = %facts.session, %error, "the end could not be written");
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
    metrics::counter!("postern_ends_unwritten_total").increment(1);
}
