//! What was decided about recordings: which are held, which somebody asked to delete, which are deleted.
//!
//! A recording of which nothing was decided has no place here. One that is deleted keeps its place until nothing is left
//! of it, and then only its session's id is remembered, so that nothing is decided about it again. Read next:
//! `decide/recordings.rs`.

use serde::{Deserialize, Serialize};

use super::effect::Effect;
use super::index::Due;
use super::state::State;
use crate::ledger::entry::{Actor, DeletionFacts, EndFacts, Entry, Fact, RemainsFacts};
use crate::model::{PersonId, SessionId, Timestamp};

/// What was decided about one recording.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recording {
    /// Why it may not be deleted, while it may not.
    pub held: Option<Held>,
    /// That somebody asked to delete it, while that is open.
    pub asked: Option<AskedDeletion>,
    /// That it is deleted.
    pub deleted: Option<Deleted>,
}

/// That a recording is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// By whom.
    pub by: Actor,
    /// Since when.
    pub at: Timestamp,
    /// Why.
    pub reason: String,
}

/// That somebody asked to delete a recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskedDeletion {
    /// Who.
    pub by: PersonId,
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: String,
    /// When it lapses.
    pub lapses: Timestamp,
}

/// That a recording is deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deleted {
    /// Why, and what it was.
    pub facts: DeletionFacts,
    /// Who confirmed, or the bastion by retention.
    pub by: Actor,
    /// When.
    pub at: Timestamp,
    /// A copy that its store does not give up.
    pub remains: Option<RemainsFacts>,
    /// Since when nothing is left of it.
    pub removed: Option<Timestamp>,
}

/// What there is of a finished recording, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AtHand {
    /// The file here.
    pub here: Option<u64>,
    /// What the ledger says was moved to a store.
    pub stored: Option<u64>,
    /// The object that is in the store.
    pub there: Option<u64>,
}

impl AtHand {
    /// Whether it is all there, and as long as the session left it. Otherwise something of it is lost, and deleting it
    /// would pass that off as deleted.
    #[must_use]
    pub fn is_whole(&self, end: &EndFacts) -> bool {
        // A recorder that failed left no length.
        let length = Some(end.bytes).filter(|bytes| *bytes > 0).or(self.stored);
        let is_it = |copy: u64| copy > 0 && length.is_none_or(|length| length == copy);
        let is_stored = self.stored.is_none_or(|stored| is_it(stored) && self.there == Some(stored));
        is_stored && self.here.is_none_or(is_it) && (self.here.is_some() || self.stored.is_some())
    }
}

impl State {
    /// What was decided about a recording, unless nothing was or nothing is left of it.
    #[must_use]
    pub fn recording(&self, session: &SessionId) -> Option<&Recording> {
        self.recordings.get(session)
    }

    /// Every recording of which something was decided and something is left, by session.
    pub fn recordings(&self) -> impl Iterator<Item = (&SessionId, &Recording)> {
        self.recordings.iter()
    }

    /// Whether a recording is deleted, whatever is left of it.
    #[must_use]
    pub fn is_deleted(&self, session: &SessionId) -> bool {
        self.gone.contains(session)
            || self.recordings.get(session).is_some_and(|recording| recording.deleted.is_some())
    }

    /// Whether a recording may not be deleted.
    #[must_use]
    pub fn is_held(&self, session: &SessionId) -> bool {
        self.recordings.get(session).is_some_and(|recording| recording.held.is_some())
    }
}

/// Applies an entry about a recording; one about something else changes nothing.
pub(super) fn apply(state: &mut State, entry: &Entry) -> Option<Effect> {
    let (by, at) = (entry.by.clone(), entry.at);
    // Only these kinds speak of what was decided about a recording.
    if let Fact::RecordingHeld { session, reason } = &entry.fact {
        let held = Held { by, at, reason: reason.clone() };
        return Some(change(state, session, |recording| recording.held = Some(held)));
    }
    if let Fact::RecordingReleased { session, .. } = &entry.fact {
        return Some(change(state, session, |recording| recording.held = None));
    }
    if let Fact::RecordingDeletionAsked { session, reason, lapses } = &entry.fact
        && let Actor::Person { person, .. } = by
    {
        let asked = AskedDeletion { by: person, at, reason: reason.clone(), lapses: *lapses };
        return Some(change(state, session, |recording| recording.asked = Some(asked)));
    }
    if let Fact::RecordingDeletionWithdrawn { session } | Fact::RecordingDeletionLapsed { session } =
        &entry.fact
    {
        return Some(change(state, session, |recording| recording.asked = None));
    }
    if let Fact::RecordingDeleted(facts) = &entry.fact {
        let deleted = Deleted { facts: facts.clone(), by, at, remains: None, removed: None };
        return Some(change(state, &facts.session, |recording| {
            (recording.asked, recording.deleted) = (None, Some(deleted));
        }));
    }
    if let Fact::RecordingCopyRemains(facts) = &entry.fact {
        return Some(change(state, &facts.session, |recording| {
            if let Some(deleted) = &mut recording.deleted {
                deleted.remains = Some(facts.clone());
            }
        }));
    }
    let Fact::RecordingRemoved { session } = &entry.fact else { return None };
    let mut recording = state.recordings.remove(session)?;
    state.gone.insert(session.clone());
    if let Some(deleted) = &mut recording.deleted {
        (deleted.removed, deleted.remains) = (Some(at), None);
    }
    Some(Effect::RecordingGone(session.clone(), Box::new(recording)))
}

/// Nobody's word counts for more than they may say now: what somebody asked for and can ask for no more is off.
pub(super) fn forget_what_was_asked_by(state: &mut State, person: &PersonId) -> Vec<Effect> {
    let theirs = |(session, recording): (&SessionId, &Recording)| {
        recording.asked.as_ref().filter(|asked| asked.by == *person).map(|_| session.clone())
    };
    let sessions: Vec<SessionId> = state.recordings.iter().filter_map(theirs).collect();
    sessions.iter().map(|session| change(state, session, |recording| recording.asked = None)).collect()
}

fn change(state: &mut State, session: &SessionId, change: impl FnOnce(&mut Recording)) -> Effect {
    let mut recording = state.recordings.remove(session).unwrap_or_default();
    if let Some(asked) = &recording.asked {
        state.index.due.remove(&(asked.lapses, Due::Deletion(session.clone())));
    }
    change(&mut recording);
    if let Some(asked) = &recording.asked {
        state.index.due.insert((asked.lapses, Due::Deletion(session.clone())));
    }
    if recording != Recording::default() {
        state.recordings.insert(session.clone(), recording);
    }
    Effect::Recording(session.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::entry::Receipt;
    use crate::model::EndReason;

    #[test]
    fn what_is_lost_or_of_another_length_is_not_whole() {
        let at = Timestamp::UNIX_EPOCH;
        let ended = |bytes| EndFacts {
            session: SessionId::random().unwrap(),
            reason: EndReason::ClientLeft,
            receipt: Receipt {
                decided: at,
                cut: at,
                decided_to_cut_us: 0,
                target_ended: None,
                credential_dead: None,
            },
            frames: 1,
            digest: String::new(),
            bytes,
            left_over: Vec::new(),
        };
        for (bytes, here, stored, there, expected) in [
            (9, Some(9), None, None, true),
            (9, None, Some(9), Some(9), true),
            (9, Some(9), Some(9), Some(9), true),
            (9, None, None, None, false),
            (9, Some(0), None, None, false),
            (9, Some(8), None, None, false),
            (9, Some(10), None, None, false),
            (9, None, Some(9), None, false),
            (9, Some(9), Some(9), None, false),
            (9, None, Some(9), Some(8), false),
            (9, None, Some(8), Some(8), false),
            (9, Some(0), Some(9), Some(9), false),
            // Of a recorder that failed.
            (0, Some(9), None, None, true),
            (0, Some(0), None, None, false),
            (0, Some(9), Some(9), Some(9), true),
            (0, Some(8), Some(9), Some(9), false),
            (0, None, Some(9), Some(8), false),
        ] {
            let at_hand = AtHand { here, stored, there };
            assert_eq!(at_hand.is_whole(&ended(bytes)), expected, "{bytes} {at_hand:?}");
        }
    }
}
