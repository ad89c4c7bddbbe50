//! What becomes of recordings after their sessions: moved, held, deleted.
//!
//! The sessions have ended, which this state does not remember: the caller has looked them up. A recording is deleted by
//! two people, neither of whom it shows, or by the bastion when its time is over; while it is held, by nobody. Read
//! next: `../recording.rs`.

use super::requests::later;
use super::text;
use crate::access::command::EndedRecording;
use crate::access::denied::Denied;
use crate::access::recording::Recording;
use crate::access::separation;
use crate::access::state::State;
use crate::ledger::entry::{
    Actor, DeletionCause, DeletionFacts, Fact, RemainsFacts, RewrapFacts, StoredFacts,
};
use crate::model::{PersonId, SessionId, Timestamp};

/// The longest location, in bytes.
const LOCATION: usize = 1024;
/// The longest wrapped key in base64, so that an entry has room for it.
const WRAPPED: usize = 64_000;
/// How long somebody else may take to confirm that a recording be deleted, in seconds.
const LAPSES_AFTER_S: u64 = 7 * 24 * 3600;

/// Only the bastion itself knows where it moved something.
pub(super) fn store(state: &State, by: &Actor, facts: StoredFacts) -> Result<Vec<Fact>, Denied> {
    is_node(by)?;
    is_over(state, &facts.session)?;
    text::line("the location", &facts.location, LOCATION)?;
    text::line("the recording's digest", &facts.sha256, text::NAME)?;
    Ok(vec![Fact::RecordingStored(facts)])
}

/// Whether the key is the right one, only its readers can tell; one that is not does no harm to those who could read before.
pub(super) fn rewrap(state: &State, facts: RewrapFacts) -> Result<Vec<Fact>, Denied> {
    if state.is_deleted(&facts.session) {
        return Err(Denied::RecordingDeleted);
    }
    text::line("the wrapped key", &facts.wrapped, WRAPPED)?;
    text::line("the reviewers' digest", &facts.reviewers, text::NAME)?;
    Ok(vec![Fact::RecordingRewrapped(facts)])
}

/// One whose session goes on can be held too.
pub(super) fn hold(state: &State, session: SessionId, reason: String) -> Result<Vec<Fact>, Denied> {
    text::line("the reason", &reason, text::REASON)?;
    if state.is_deleted(&session) {
        return Err(Denied::RecordingDeleted);
    }
    if state.is_held(&session) {
        return Err(Denied::Unchanged { what: "the recording is held already" });
    }
    Ok(vec![Fact::RecordingHeld { session, reason }])
}

pub(super) fn release(
    state: &State,
    by: &Actor,
    session: SessionId,
    recorded: &PersonId,
    reason: String,
) -> Result<Vec<Fact>, Denied> {
    text::line("the reason", &reason, text::REASON)?;
    is_about_another(state, recorded, person(by)?)?;
    if !state.is_held(&session) {
        return Err(Denied::Unchanged { what: "the recording is not held" });
    }
    Ok(vec![Fact::RecordingReleased { session, reason }])
}

pub(super) fn ask_deletion(
    state: &State,
    by: &Actor,
    session: SessionId,
    recorded: &PersonId,
    reason: String,
    now: Timestamp,
) -> Result<Vec<Fact>, Denied> {
    let asks = person(by)?;
    text::line("the reason", &reason, text::REASON)?;
    let known = may_go(state, &session)?;
    is_about_another(state, recorded, asks)?;
    if known.is_some_and(|known| known.asked.is_some()) {
        return Err(Denied::Unchanged { what: "somebody asked for that already: it waits to be confirmed" });
    }
    let lapses = later(now, LAPSES_AFTER_S);
    Ok(vec![Fact::RecordingDeletionAsked { session, reason, lapses }])
}

/// Keeping is always safe, so whoever policy lets ask may say no.
pub(super) fn withdraw_deletion(state: &State, session: SessionId) -> Result<Vec<Fact>, Denied> {
    let asked = state.recording(&session).and_then(|known| known.asked.as_ref());
    asked.ok_or(Denied::NoSuchDeletion)?;
    Ok(vec![Fact::RecordingDeletionWithdrawn { session }])
}

pub(super) fn confirm_deletion(
    state: &State,
    by: &Actor,
    recording: EndedRecording,
    now: Timestamp,
) -> Result<Vec<Fact>, Denied> {
    let confirms = person(by)?;
    let recorded = &recording.start.person;
    let asked = may_go(state, &recording.start.session)?.and_then(|known| known.asked.as_ref());
    let asked = asked.filter(|asked| now < asked.lapses).ok_or(Denied::NoSuchDeletion)?;
    separation::between(state, &asked.by, confirms).map_err(Denied::Separation)?;
    // Who is who may have come out since it was asked.
    is_about_another(state, recorded, confirms)?;
    is_about_another(state, recorded, &asked.by)?;
    if !state.is_active(&asked.by) {
        return Err(Denied::RequesterDisabled);
    }
    let (by, at, reason) = (asked.by.clone(), asked.at, asked.reason.clone());
    delete(recording, DeletionCause::Asked { by, at, reason })
}

pub(super) fn delete_by_retention(
    state: &State,
    by: &Actor,
    recording: EndedRecording,
    keep_s: u64,
) -> Result<Vec<Fact>, Denied> {
    is_node(by)?;
    may_go(state, &recording.start.session)?;
    delete(recording, DeletionCause::Retention { keep_s })
}

/// Nothing is left of it any more.
pub(super) fn remove(state: &State, by: &Actor, session: SessionId) -> Result<Vec<Fact>, Denied> {
    is_node(by)?;
    let known = state.recording(&session).and_then(|known| known.deleted.as_ref());
    known.ok_or(Denied::NoSuchDeletion)?;
    Ok(vec![Fact::RecordingRemoved { session }])
}

pub(super) fn leave_copy(state: &State, by: &Actor, facts: RemainsFacts) -> Result<Vec<Fact>, Denied> {
    is_node(by)?;
    let known = state.recording(&facts.session).and_then(|known| known.deleted.as_ref());
    let known = known.ok_or(Denied::NoSuchDeletion)?;
    text::line("the location", &facts.location, LOCATION)?;
    text::line("what the store says", &facts.why, text::REASON)?;
    // What is known already is not said again at every try.
    Ok(if known.remains.as_ref() == Some(&facts) {
        Vec::new()
    } else {
        vec![Fact::RecordingCopyRemains(facts)]
    })
}

fn delete(recording: EndedRecording, cause: DeletionCause) -> Result<Vec<Fact>, Denied> {
    let EndedRecording { start, end, location } = recording;
    if start.session != end.session {
        return Err(Denied::NoSuchSession);
    }
    location.iter().try_for_each(|location| text::line("the location", location, LOCATION))?;
    Ok(vec![Fact::RecordingDeleted(DeletionFacts::of(&start, &end, location, cause))])
}

/// Whether a recording may be deleted at all, and what was decided about it so far.
fn may_go<'a>(state: &'a State, session: &SessionId) -> Result<Option<&'a Recording>, Denied> {
    is_over(state, session)?;
    if state.is_deleted(session) {
        return Err(Denied::RecordingDeleted);
    }
    let known = state.recording(session);
    match known.and_then(|known| known.held.as_ref()) {
        Some(held) => Err(Denied::RecordingHeld { reason: held.reason.clone() }),
        None => Ok(known),
    }
}

/// Nobody has a say in what becomes of recordings of themselves, under whichever identity.
fn is_about_another(state: &State, recorded: &PersonId, person: &PersonId) -> Result<(), Denied> {
    separation::between(state, recorded, person).map_err(|_| Denied::OwnRecording)
}

fn is_over(state: &State, session: &SessionId) -> Result<(), Denied> {
    if state.session(session).is_some() { Err(Denied::SessionLive) } else { Ok(()) }
}

fn is_node(by: &Actor) -> Result<(), Denied> {
    if *by == Actor::Node { Ok(()) } else { Err(Denied::ActorNotNode) }
}

fn person(by: &Actor) -> Result<&PersonId, Denied> {
    match by {
        Actor::Person { person, .. } => Ok(person),
        Actor::Node | Actor::Operator => Err(Denied::ActorNotPerson),
    }
}
