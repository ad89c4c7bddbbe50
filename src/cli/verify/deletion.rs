//! What the ledger says of a recording that is not there any more: that it was deleted, by whom and why.
//!
//! A deletion excuses a missing recording only when the ledger shows the whole of it: asked for by one person and
//! confirmed by another, or done by the bastion when its time was over, and not while it was held. Read next: `pins.rs`.

use std::collections::BTreeMap;

use crate::cli::words;
use crate::ledger::entry::{Actor, DeletionCause, DeletionFacts, Entry, Fact, RemainsFacts};
use crate::model::{PersonId, SessionId, Timestamp};

/// What entries say of the deletion of one recording.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Deletion {
    held: bool,
    asked: Option<(PersonId, Timestamp)>,
    /// When, by whom, and what was deleted.
    done: Option<Box<(Timestamp, Actor, DeletionFacts)>>,
    /// What in the ledger speaks against it.
    wrong: Option<&'static str>,
    remains: Option<RemainsFacts>,
    removed: Option<Timestamp>,
}

/// What people are called.
pub(crate) type Names = BTreeMap<PersonId, String>;

impl Deletion {
    /// Takes an entry about this recording; `header` and `digest` are what the entries before pinned of it.
    pub(super) fn observe(&mut self, entry: &Entry, header: &str, digest: Option<&str>) {
        // Only these kinds speak of deletion.
        let fact = &entry.fact;
        if let Fact::RecordingDeletionAsked { .. } = fact {
            self.asked = person(&entry.by).map(|person| (person.clone(), entry.at));
        } else if let Fact::RecordingDeleted(facts) = fact {
            self.wrong = self.against(entry, facts, header, digest);
            self.done = Some(Box::new((entry.at, entry.by.clone(), facts.clone())));
        } else if let Fact::RecordingCopyRemains(facts) = fact {
            self.remains = Some(facts.clone());
        } else if matches!(fact, Fact::RecordingRemoved { .. }) {
            (self.removed, self.remains) = (Some(entry.at), None);
        } else if matches!(fact, Fact::RecordingHeld { .. } | Fact::RecordingReleased { .. }) {
            self.held = matches!(fact, Fact::RecordingHeld { .. });
        } else {
            self.asked = None;
        }
    }

    /// How it was deleted, in a sentence, or what the ledger lacks for that to count.
    pub(super) fn sentence(&self, names: &Names) -> Option<Result<String, String>> {
        let (at, by, facts) = &**self.done.as_ref()?;
        if let Some(wrong) = self.wrong {
            return Some(Err(format!("the ledger says that it was deleted at {at}, but {wrong}")));
        }
        let name = |person: &PersonId| names.get(person).cloned().unwrap_or_else(|| person.to_string());
        let how = match &facts.cause {
            DeletionCause::Asked { by: asked, reason, .. } => {
                let confirmed = person(by).map_or_else(String::new, name);
                format!("asked by {}, confirmed by {confirmed}: {reason}", name(asked))
            }
            DeletionCause::Retention { keep_s } => {
                format!("by retention, kept for {}", words::duration(*keep_s))
            }
        };
        let rest = match (&self.removed, &self.remains) {
            (Some(_), _) => String::new(),
            (None, None) => "; its bytes are still to be removed".to_owned(),
            (None, Some(copy)) => {
                let until = copy.until.map_or_else(String::new, |until| format!(" until {until}"));
                format!("; the copy at {} remains{until}: {}", copy.location, copy.why)
            }
        };
        Some(Ok(format!("at {at} {how} ({}){rest}", words::bytes(facts.bytes))))
    }

    fn against(
        &self,
        entry: &Entry,
        facts: &DeletionFacts,
        header: &str,
        digest: Option<&str>,
    ) -> Option<&'static str> {
        if self.held {
            return Some("it was held then");
        }
        if facts.recording != header || digest != Some(facts.digest.as_str()) {
            return Some("of another recording than the session's");
        }
        match (&facts.cause, &entry.by) {
            (DeletionCause::Retention { .. }, Actor::Node) => None,
            (DeletionCause::Asked { by, at, .. }, Actor::Person { person, .. }) => {
                let is_asked = self.asked.as_ref().is_some_and(|(who, when)| who == by && when == at);
                (!is_asked || by == person).then_some("no two people stand behind it")
            }
            (DeletionCause::Asked { .. } | DeletionCause::Retention { .. }, _) => {
                Some("whoever caused the entry could not")
            }
        }
    }
}

/// The session whose recording an entry is about, if it speaks of deletion.
pub(super) fn about(fact: &Fact) -> Option<&SessionId> {
    if let Fact::RecordingHeld { session, .. }
    | Fact::RecordingReleased { session, .. }
    | Fact::RecordingDeletionAsked { session, .. }
    | Fact::RecordingDeletionWithdrawn { session }
    | Fact::RecordingDeletionLapsed { session }
    | Fact::RecordingRemoved { session } = fact
    {
        return Some(session);
    }
    if let Fact::RecordingDeleted(facts) = fact {
        return Some(&facts.session);
    }
    let Fact::RecordingCopyRemains(facts) = fact else { return None };
    Some(&facts.session)
}

const fn person(actor: &Actor) -> Option<&PersonId> {
    match actor {
        Actor::Person { person, .. } => Some(person),
        Actor::Node | Actor::Operator => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Identity;

    fn by(person: &str) -> Actor {
        Actor::Person { person: person.parse().unwrap(), identity: Identity::ssh_key("SHA256:x") }
    }

    fn told(entries: Vec<(Actor, Fact)>) -> Option<Result<String, String>> {
        let mut deletion = Deletion::default();
        for (seq, (by, fact)) in entries.into_iter().enumerate() {
            let entry = Entry { v: 1, seq: seq as u64, at: Timestamp::UNIX_EPOCH, by, fact };
            deletion.observe(&entry, "11", Some("22"));
        }
        deletion.sentence(&Names::from([(A.parse().unwrap(), "ada".to_owned())]))
    }

    const A: &str = "per_aaaaaaaaaaaaaaaa";
    const B: &str = "per_bbbbbbbbbbbbbbbb";

    #[test]
    fn a_deletion_counts_when_the_ledger_shows_all_of_it() {
        let session: SessionId = "ses_aaaaaaaaaaaaaaaa".parse().unwrap();
        let (reason, at) = ("a wish".to_owned(), Timestamp::UNIX_EPOCH);
        let asked = || {
            let (session, reason) = (session.clone(), reason.clone());
            (by(A), Fact::RecordingDeletionAsked { session, reason, lapses: at })
        };
        let cause = || DeletionCause::Asked { by: A.parse().unwrap(), at, reason: reason.clone() };
        let deleted = |cause, header: &str| {
            let (recording, digest) = (header.to_owned(), "22".to_owned());
            let session = session.clone();
            Fact::RecordingDeleted(DeletionFacts {
                session,
                cause,
                recording,
                frames: 1,
                digest,
                bytes: 1,
                location: None,
            })
        };
        let removed = (Actor::Node, Fact::RecordingRemoved { session: session.clone() });
        let good = told(vec![asked(), (by(B), deleted(cause(), "11")), removed]).unwrap().unwrap();
        assert!(good.contains("asked by ada, confirmed by per_bbbbbbbbbbbbbbbb: a wish"), "{good}");
        assert!(!good.contains("still to be removed"), "{good}");
        let retention = || DeletionCause::Retention { keep_s: 3600 };
        let good = told(vec![(Actor::Node, deleted(retention(), "11"))]).unwrap().unwrap();
        assert!(good.contains("by retention, kept for 1h") && good.contains("still to be removed"), "{good}");
        assert_eq!(told(vec![asked()]), None);
        let held = (by(B), Fact::RecordingHeld { session: session.clone(), reason: reason.clone() });
        let withdrawn = (by(B), Fact::RecordingDeletionWithdrawn { session: session.clone() });
        for (entries, why) in [
            (vec![(by(B), deleted(cause(), "11"))], "no two people"),
            (vec![asked(), withdrawn, (by(B), deleted(cause(), "11"))], "no two people"),
            (vec![asked(), (by(A), deleted(cause(), "11"))], "no two people"),
            (vec![asked(), (Actor::Node, deleted(cause(), "11"))], "could not"),
            (vec![(by(B), deleted(retention(), "11"))], "could not"),
            (vec![held, (Actor::Node, deleted(retention(), "11"))], "held"),
            (vec![(Actor::Node, deleted(retention(), "12"))], "another recording"),
        ] {
            assert!(told(entries).unwrap().unwrap_err().contains(why), "{why}");
        }
    }
}
