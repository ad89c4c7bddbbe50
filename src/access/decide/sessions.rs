//! Starting and ending sessions, and what is noted about them. Where nothing starts without a live grant.
//!
//! This is the compare-and-set of the gate: whatever a node believed when it let somebody in, the session exists only
//! if the grant is live in the very state its entry is appended to. Read next: `../state.rs`, `State::standing`.

use super::requests::later;
use super::text;
use crate::access::denied::Denied;
use crate::access::state::State;
use crate::ledger::entry::{Actor, EndFacts, Fact, SessionFacts};
use crate::model::{SessionId, Timestamp};

/// Things one session can leave behind on its target.
const LEFT_OVER: usize = 64;

pub(super) fn start(
    state: &State,
    by: &Actor,
    facts: SessionFacts,
    now: Timestamp,
) -> Result<Vec<Fact>, Denied> {
    let is_theirs = match by {
        Actor::Node => true,
        Actor::Operator => return Err(Denied::ActorNotPerson),
        Actor::Person { person, identity } => *person == facts.person && *identity == facts.identity,
    };
    let grant = state.grant(&facts.grant).ok_or(Denied::NoSuchGrant)?;
    let right = &grant.facts;
    if !is_theirs
        || right.person != facts.person
        || right.login != facts.login
        || right.target != facts.target
    {
        return Err(Denied::GrantDiffers);
    }
    let person = state.person(&facts.person).ok_or(Denied::NoSuchPerson)?;
    person.link(&facts.identity).ok_or(Denied::NoSuchIdentity)?;
    if !state.is_active(&facts.person) {
        return Err(Denied::ActorDisabled);
    }
    if state.target(&facts.target).is_none() {
        return Err(Denied::NoSuchTarget { target: facts.target });
    }
    if !grant.is_live(now) {
        return Err(Denied::GrantOver { ended: grant.usable_until().unwrap_or(now) });
    }
    if !state.is_backed(&grant.request) {
        return Err(Denied::GrantUnbacked);
    }
    if state.session(&facts.session).is_some() {
        return Err(Denied::SessionExists);
    }
    text::line("the client's address", &facts.client, text::NAME)?;
    text::line("the recording's hash", &facts.recording, text::NAME)?;
    text::line("the credential's key id", &facts.credential, text::NAME)?;
    let started = right
        .ends
        .is_none()
        .then(|| Fact::GrantStarted { grant: right.grant.clone(), ends: later(now, right.duration_s) });
    Ok(started.into_iter().chain([Fact::SessionStarted(facts)]).collect())
}

pub(super) fn terminate(state: &State, session: SessionId, reason: String) -> Result<Vec<Fact>, Denied> {
    text::line("the reason", &reason, text::REASON)?;
    state.session(&session).ok_or(Denied::NoSuchSession)?;
    Ok(vec![Fact::SessionTerminated { session, reason }])
}

pub(super) fn end(state: &State, end: EndFacts) -> Result<Vec<Fact>, Denied> {
    state.session(&end.session).ok_or(Denied::NoSuchSession)?;
    text::bounded("the recording's digest", &end.digest, text::NAME)?;
    if end.left_over.len() > LEFT_OVER {
        return Err(Denied::TooLong { what: "the list of what is left over", most: LEFT_OVER });
    }
    end.left_over.iter().try_for_each(|what| text::line("what is left over", what, text::REASON))?;
    let hows = [&end.receipt.target_ended, &end.receipt.credential_dead];
    for verified in hows.into_iter().flatten() {
        text::bounded("how it was verified", &verified.how, text::REASON)?;
    }
    Ok(vec![Fact::SessionEnded(end)])
}

pub(super) fn clean_up(state: &State, session: SessionId, what: String) -> Result<Vec<Fact>, Denied> {
    let is_left = state.left_over.get(&session).is_some_and(|left| left.contains(&what));
    if is_left { Ok(vec![Fact::CleanupDone { session, what }]) } else { Err(Denied::NoSuchLeftOver) }
}

pub(super) fn pin(
    state: &State,
    session: SessionId,
    frame: u64,
    digest: String,
) -> Result<Vec<Fact>, Denied> {
    state.session(&session).ok_or(Denied::NoSuchSession)?;
    text::line("the recording's digest", &digest, text::NAME)?;
    Ok(vec![Fact::RecordingCheckpoint { session, frame, digest }])
}

/// The session may have ended long ago, which this state does not remember: the caller has looked it up.
pub(super) fn view(session: SessionId, how: String) -> Result<Vec<Fact>, Denied> {
    text::line("how", &how, text::NAME)?;
    Ok(vec![Fact::RecordingViewed { session, how }])
}

pub(super) fn sign_in(by: &Actor, client: String) -> Result<Vec<Fact>, Denied> {
    match by {
        Actor::Person { .. } => {
            text::line("the client's address", &client, text::NAME)?;
            Ok(vec![Fact::SignedIn { client }])
        }
        Actor::Node | Actor::Operator => Err(Denied::ActorNotPerson),
    }
}
