//! What the ledger says a recording must be: its header's hash, checkpoints pinned on the way, and its end.
//!
//! A recording can be whole in itself and still be an earlier state of what was recorded, or another recording
//! altogether: only the ledger shows that. Read next: `judge.rs`.

use std::collections::BTreeMap;

use super::deletion::{self, Deletion, Names};
use crate::ledger::entry::{Entry, Fact};
use crate::model::{EndReason, SessionId};

/// What the ledger pinned of one recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pins {
    /// The session.
    pub(crate) session: SessionId,
    /// The header's hash, lower-case hex.
    pub(crate) header: String,
    /// Chain digests in lower-case hex, by the counter of the frame they stand before.
    pub(crate) checkpoints: BTreeMap<u64, String>,
    /// The end, once the session is over.
    pub(crate) end: Option<End>,
    /// Where the recording was moved to, once it was.
    pub(crate) stored: Option<String>,
    /// What was said of its deletion.
    pub(crate) deletion: Deletion,
}

/// The end of a recording, as the ledger has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct End {
    /// The end frame's counter.
    pub(crate) frame: u64,
    /// The chain digest it signs; empty when the bastion could not tell: the recorder had failed, and only the next
    /// start ended the recording, or that found nothing sound after a crash.
    pub(crate) digest: String,
    /// Why the session ended.
    pub(crate) reason: EndReason,
}

impl End {
    /// Whether the recording was still to be ended when the ledger learned that the session was over.
    pub(crate) fn came_first(&self) -> bool {
        self.digest.is_empty() && self.reason != EndReason::Crashed
    }
}

/// The pins of every session a ledger knows.
#[derive(Debug, Default)]
pub(crate) struct Book {
    sessions: BTreeMap<SessionId, Pins>,
    names: Names,
}

impl Book {
    /// Takes the next entry of the ledger.
    pub(crate) fn observe(&mut self, entry: &Entry) {
        // Only these kinds speak of what a recording must be.
        if let Fact::SessionStarted(facts) = &entry.fact {
            let pins = Pins {
                session: facts.session.clone(),
                header: facts.recording.clone(),
                checkpoints: BTreeMap::new(),
                end: None,
                stored: None,
                deletion: Deletion::of(facts.person.clone()),
            };
            self.sessions.insert(facts.session.clone(), pins);
        } else if let Fact::RecordingCheckpoint { session, frame, digest } = &entry.fact {
            if let Some(pins) = self.sessions.get_mut(session) {
                pins.checkpoints.insert(*frame, digest.clone());
            }
        } else if let Fact::SessionEnded(facts) = &entry.fact
            && let Some(pins) = self.sessions.get_mut(&facts.session)
        {
            let (frame, digest, reason) = (facts.frames, facts.digest.clone(), facts.reason);
            pins.end = Some(End { frame, digest, reason });
            pins.deletion.ended(entry.at);
        } else if let Fact::RecordingStored(facts) = &entry.fact
            && let Some(pins) = self.sessions.get_mut(&facts.session)
        {
            pins.stored = Some(facts.location.clone());
        } else if let Fact::PersonAdded(facts) = &entry.fact {
            self.names.insert(facts.person.clone(), facts.name.to_string());
        } else if let Some(session) = deletion::about(&entry.fact)
            && let Some(pins) = self.sessions.get_mut(session)
        {
            let digest = pins.end.as_ref().map(|end| end.digest.as_str());
            pins.deletion.observe(entry, &pins.header, digest);
        }
    }

    /// What is pinned of one session.
    pub(crate) fn get(&self, session: &SessionId) -> Option<&Pins> {
        self.sessions.get(session)
    }

    /// What people are called.
    pub(crate) const fn names(&self) -> &Names {
        &self.names
    }

    /// Every session's pins.
    pub(crate) fn all(&self) -> impl ExactSizeIterator<Item = &Pins> {
        self.sessions.values()
    }
}
