//! Ends what is left over: every session the ledger believes alive when the node starts, and later every one that
//! nobody runs any more.
//!
//! The journal has by then completed their recordings up to the last frame that was acknowledged and closed them with
//! a signed cut; here the ledger learns of it, so that no session is without an end. While the node runs, what is left
//! over is a session whose task broke, or whose end the ledger did not take.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::gate::Gate;
use crate::access::{Command, fitting_line};
use crate::ledger::entry::{Actor, EndFacts, Receipt, Verified};
use crate::model::{Clock, EndReason, SessionId, Timestamp};
use crate::recording::{Recovered, RecoveredState, end_of, locate};
use crate::store::{Store, SubmitError};

/// How often a running node looks.
const ROUND: Duration = Duration::from_secs(60);
/// What became of the connections of a session that a crash cut.
const PROCESS_GONE: &str =
    "the process that held the connection is gone; after a power loss the target notices by itself";
/// What became of those of a session whose task broke.
const TASK_GONE: &str = "the task that held the connection is gone, and closed it";

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
    let left = known(store);
    let now = clock.now();
    // Submitted together, so that they share their commits.
    let ends = left.iter().map(|session| {
        let recovered = by_session.get(session).copied();
        if let Some(path) = recovered.and_then(|recovered| recovered.set_aside.as_ref()) {
            tracing::warn!(%session, path = %path.display(), "bytes behind the last whole frame were set aside");
        }
        let state = match recovered {
            Some(recovered) => State::Known(recovered.state.clone()),
            None => found(recordings, session),
        };
        let end = end(session, state, now, PROCESS_GONE);
        store.submit(Actor::Node, Command::EndSession(Box::new(end)))
    });
    for outcome in futures_util::future::join_all(ends).await {
        outcome?;
    }
    Ok(left.len())
}

/// Looks again and again for sessions that the ledger believes alive and nobody runs, and ends them. A session that is
/// just beginning or ending is seen so once; twice, a minute apart, it is left over.
pub async fn patrol(gate: Arc<Gate>) {
    let mut suspects = BTreeSet::new();
    loop {
        tokio::time::sleep(ROUND).await;
        suspects = round(&gate, &suspects).await;
    }
}

/// Ends those among `suspects` that are still left over; gives those that are.
async fn round(gate: &Gate, suspects: &BTreeSet<SessionId>) -> BTreeSet<SessionId> {
    let left: BTreeSet<_> =
        known(&gate.store).into_iter().filter(|session| gate.registry.get(session).is_none()).collect();
    for session in left.intersection(suspects) {
        let found = (gate.journal.recordings().to_owned(), session.clone());
        // A recording may be long, and is read to its end.
        let found = tokio::task::spawn_blocking(move || found_now(&found.0, &found.1)).await;
        let Ok(Some(state)) = found else {
            tracing::warn!(%session, "nobody runs this session; its recording gets its end at the next start");
            continue;
        };
        tracing::error!(%session, "nobody runs this session any more; ending it");
        let end = end(session, state, gate.clock.now(), TASK_GONE);
        if let Err(error) = gate.store.submit(Actor::Node, Command::EndSession(Box::new(end))).await {
            tracing::error!(%session, %error, "its end was not written; trying again");
        }
    }
    left
}

fn known(store: &Store) -> Vec<SessionId> {
    store.read(|state| state.sessions().map(|s| s.facts.session.clone()).collect())
}

/// What is known of a session's recording.
enum State {
    Known(RecoveredState),
    /// There is none.
    Missing,
}

/// What an earlier run, or the recorder as it was dropped, made of a recording.
fn found(recordings: &Path, session: &SessionId) -> State {
    match end_of(recordings, session) {
        Ok(Some(state)) => State::Known(state),
        Ok(None) => State::Missing,
        Err(error) => State::Known(RecoveredState::Damaged { why: error.to_string() }),
    }
}

/// The same while the node runs: `None` for a recording that is there and has no end, which only a start can give it.
fn found_now(recordings: &Path, session: &SessionId) -> Option<State> {
    let state = found(recordings, session);
    let is_unfinished = matches!(state, State::Missing) && locate(recordings, session).is_some();
    (!is_unfinished).then_some(state)
}

/// The end of one session, with what became of its recording.
fn end(session: &SessionId, state: State, now: Timestamp, connection: &str) -> EndFacts {
    let (frames, digest, bytes, left_over) = match state {
        State::Known(RecoveredState::Ended { last_frame, digest, bytes, .. }) => {
            (last_frame, digest.to_string(), bytes, Vec::new())
        }
        State::Known(RecoveredState::Damaged { why }) => {
            (0, String::new(), 0, vec![fitting_line(&format!("its recording is damaged: {why}"))])
        }
        State::Missing => (0, String::new(), 0, vec!["no recording was found for it".to_owned()]),
    };
    let gone = |how: &str| Some(Verified { at: now, how: how.to_owned() });
    let receipt = Receipt {
        decided: now,
        cut: now,
        decided_to_cut_us: 0,
        target_ended: gone(connection),
        credential_dead: gone("the key was in the memory of whoever ran the session only"),
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

#[cfg(test)]
mod tests {
    use super::super::permit::tests::World;
    use super::*;

    #[tokio::test]
    async fn a_session_that_nobody_runs_is_ended_when_it_is_seen_twice() {
        let world = World::new();
        let gate = &world.gate;
        world.used(&world.granted(None));
        let suspects = round(gate, &BTreeSet::new()).await;
        assert_eq!(suspects.len(), 1);
        assert_eq!(known(&gate.store).len(), 1, "it may be just beginning");
        // A recording that is still open gets its end at the next start, and the session with it.
        let open = gate.journal.recordings().join("open");
        let session = suspects.first().unwrap();
        let path = open.join(format!("{session}.pstn"));
        std::fs::copy(
            Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("recordings-schema/vectors/end-last-byte-missing.pstn"),
            &path,
        )
        .unwrap();
        round(gate, &suspects).await;
        assert_eq!(known(&gate.store).len(), 1, "it has no end yet");
        std::fs::remove_file(&path).unwrap();
        round(gate, &suspects).await;
        assert_eq!(known(&gate.store).len(), 0);
    }
}
