//! What the ledger says of a recording that is not there any more: that it was deleted, by whom and why.
//!
//! A deletion excuses a missing recording only when the ledger shows the whole of it: asked for by one person and
//! confirmed in time by another, neither of them the one recorded, or done by the bastion when its time was over, and not
//! while it was held. Read next: `pins.rs`.

use std::collections::BTreeMap;

use jiff::SignedDuration;

use crate::cli::words;
use crate::ledger::entry::{Actor, DeletionCause, DeletionFacts, Entry, Fact, RemainsFacts};
use crate::model::{PersonId, SessionId, Timestamp};

/// What entries say of the deletion of one recording.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Deletion {
    /// Whom the recording shows, and since when its session is over.
    recorded: Option<PersonId>,
    ended: Option<Timestamp>,
    held: bool,
    asked: Option<Asked>,
    /// When, by whom, and what was deleted.
    done: Option<Box<(Timestamp, Actor, DeletionFacts)>>,
    /// What in the ledger speaks against it.
    wrong: Option<&'static str>,
    remains: Option<RemainsFacts>,
    removed: Option<Timestamp>,
}

/// Who asked that a recording be deleted, when, and until when another could confirm.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Asked {
    by: PersonId,
    at: Timestamp,
    lapses: Timestamp,
}

/// What people are called.
pub(crate) type Names = BTreeMap<PersonId, String>;

impl Deletion {
    /// Of the recording of a session of this person, of which nothing is said yet.
    pub(super) fn of(recorded: PersonId) -> Self {
        Self { recorded: Some(recorded), ..Self::default() }
    }

    /// The session is over.
    pub(super) const fn ended(&mut self, at: Timestamp) {
        self.ended = Some(at);
    }

    /// Takes an entry about this recording; `header` and `digest` are what the entries before pinned of it.
    pub(super) fn observe(&mut self, entry: &Entry, header: &str, digest: Option<&str>) {
        // Only these kinds speak of deletion.
        let fact = &entry.fact;
        if let Fact::RecordingDeletionAsked { lapses, .. } = fact {
            let asked = |by: &PersonId| Asked { by: by.clone(), at: entry.at, lapses: *lapses };
            self.asked = person(&entry.by).map(asked);
        } else if let Fact::RecordingDeleted(facts) = fact {
            // What was wrong with the first no second one mends.
            if self.done.is_some() {
                return;
            }
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
            (DeletionCause::Retention { keep_s }, Actor::Node) => {
                let length = i64::try_from(*keep_s).map_or(SignedDuration::MAX, SignedDuration::from_secs);
                let over = self.ended.and_then(|ended| ended.checked_add(length).ok());
                let is_over = over.is_some_and(|over| over <= entry.at);
                (!is_over).then_some("its time was not over then")
            }
            (DeletionCause::Asked { by, at, .. }, Actor::Person { person, .. }) => {
                let asked = self.asked.as_ref().filter(|asked| asked.by == *by && asked.at == *at);
                let Some(asked) = asked.filter(|_| by != person) else {
                    return Some("no two people stand behind it");
                };
                if self.recorded.as_ref().is_none_or(|recorded| recorded == by || recorded == person) {
                    return Some("whoever it shows had a say in it");
                }
                (entry.at >= asked.lapses).then_some("it was confirmed too late")
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

    /// What entries say, a second after each other, of the recording of a session of carl's that ended before them.
    fn told(entries: Vec<(Actor, Fact)>) -> Option<Result<String, String>> {
        let mut deletion = Deletion::of(C.parse().unwrap());
        deletion.ended(second(0));
        for (seq, (by, fact)) in (1..).zip(entries) {
            let entry = Entry { v: 1, seq, at: second(seq), by, fact };
            deletion.observe(&entry, "11", Some("22"));
        }
        deletion.sentence(&Names::from([(A.parse().unwrap(), "ada".to_owned())]))
    }

    const A: &str = "per_aaaaaaaaaaaaaaaa";
    const B: &str = "per_bbbbbbbbbbbbbbbb";
    const C: &str = "per_cccccccccccccccc";

    fn second(seq: u64) -> Timestamp {
        Timestamp::from_second(i64::try_from(seq).unwrap()).unwrap()
    }

    #[test]
    fn a_deletion_counts_when_the_ledger_shows_all_of_it() {
        let session: SessionId = "ses_aaaaaaaaaaaaaaaa".parse().unwrap();
        let (reason, at) = ("a wish".to_owned(), second(1));
        let asked_by = |who: &str, lapses: u64| {
            let (session, reason) = (session.clone(), reason.clone());
            (by(who), Fact::RecordingDeletionAsked { session, reason, lapses: second(lapses) })
        };
        let asked = || asked_by(A, 3);
        let cause_of = |who: &str| {
            let (by, reason) = (who.parse().unwrap(), reason.clone());
            DeletionCause::Asked { by, at, reason }
        };
        let cause = || cause_of(A);
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
        let retention = || DeletionCause::Retention { keep_s: 1 };
        let good = told(vec![(Actor::Node, deleted(retention(), "11"))]).unwrap().unwrap();
        assert!(good.contains("by retention, kept for 1s") && good.contains("still to be removed"), "{good}");
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
            (vec![(Actor::Node, deleted(DeletionCause::Retention { keep_s: 2 }, "11"))], "not over"),
            (vec![(Actor::Node, deleted(DeletionCause::Retention { keep_s: u64::MAX }, "11"))], "not over"),
            (vec![asked_by(A, 2), (by(B), deleted(cause(), "11"))], "too late"),
            (vec![asked(), (by(C), deleted(cause(), "11"))], "shows"),
            (vec![asked_by(C, 3), (by(B), deleted(cause_of(C), "11"))], "shows"),
            (
                vec![(by(B), deleted(retention(), "11")), (Actor::Node, deleted(retention(), "11"))],
                "could not",
            ),
        ] {
            assert!(told(entries).unwrap().unwrap_err().contains(why), "{why}");
        }
    }
}
