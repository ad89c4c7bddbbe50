//! The answer to anything that takes access away: which sessions it ended, waited for a moment.
//!
//! The revocation is committed before the wait begins and does not depend on it; the wait is only so that the answer
//! can say what happened.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;

use super::call::{Call, Reply};
use super::error::ApiError;
use super::live::Cut;
use crate::access::{Command, Session};
use crate::model::{PersonId, SessionId, Timestamp};

/// How long an answer waits for sessions to end.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a revocation did.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(super) struct Ended {
    /// When it was committed.
    revoked_at: Timestamp,
    /// The sessions that are cut.
    ended: Vec<Cut>,
    /// Sessions it covers that this node has not seen end so far; they end, or another node reports them.
    still_live: Vec<SessionId>,
}

/// Submits a command that ends `sessions`, and says what became of them.
pub(super) async fn revoke(
    call: &Call,
    sessions: Vec<SessionId>,
    command: Command,
) -> Result<Reply, ApiError> {
    // The wait takes hold of the sessions before the command can end them, so that none is missed.
    let waiting = call.gate.parts.live.wait_ended(&sessions, PATIENCE);
    let entries = call.submit(command).await?;
    let ended = waiting.await;
    let cut: BTreeSet<&SessionId> = ended.iter().map(|cut| &cut.session).collect();
    let still_live = call.look(|state| {
        let is_live = |id: &&SessionId| !cut.contains(id) && state.session(id).is_some();
        sessions.iter().filter(is_live).cloned().collect()
    });
    let revoked_at = entries.first().map_or_else(|| call.now(), |entry| entry.at);
    Reply::json(&Ended { revoked_at, ended, still_live })
}

/// The live sessions a test picks.
pub(super) fn sessions_where(call: &Call, pick: impl Fn(&Session) -> bool) -> Vec<SessionId> {
    call.look(|state| state.sessions().filter(|s| pick(s)).map(|s| s.facts.session.clone()).collect())
}

/// The live sessions that end with a person's rights: their own, and those of the workloads they answer for.
pub(super) fn sessions_of(call: &Call, person: &PersonId) -> Vec<SessionId> {
    call.look(|state| {
        let is_theirs = |of: &PersonId| {
            of == person || state.person(of).is_some_and(|of| of.facts.owner.as_ref() == Some(person))
        };
        let theirs = state.sessions().filter(|session| is_theirs(&session.facts.person));
        theirs.map(|session| session.facts.session.clone()).collect()
    })
}
