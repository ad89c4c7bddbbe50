//! Sessions that are alive now, by id: to list them, to watch one, to wait until one has ended, to end them all.
//!
//! A session is here from the moment the ledger knows it until its end has been appended; the place is given up by
//! dropping a value, so no path can forget it. Ended sessions are the store's.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::ending::Ending;
use super::gate::Gate;
use super::permit::Subject;
use crate::ledger::entry::SessionFacts;
use crate::model::{EndReason, PersonId, SessionId};
use crate::recording::Recorder;

/// Dialogues one person may have open at once.
const DIALOGUES: usize = 8;

/// The sessions alive on this node. Cloning shares it.
#[derive(Clone, Default)]
pub struct Registry {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    live: Mutex<BTreeMap<SessionId, LiveSession>>,
    /// Woken when a session leaves, or one that was beginning has begun.
    left: Notify,
    /// Sessions that are being opened and are not in here yet.
    opening: Mutex<Opening>,
    /// How many dialogues each person has open.
    dialogues: Mutex<BTreeMap<PersonId, usize>>,
}

/// One live session.
#[derive(Clone)]
pub struct LiveSession {
    /// As the ledger has it.
    pub facts: SessionFacts,
    /// Its end.
    pub ending: Ending,
    /// Its recorder, for watching.
    pub recorder: Arc<Recorder>,
    /// What its right is about.
    pub(super) subject: Arc<Subject>,
}

/// How many sessions are on their way in.
#[derive(Default)]
struct Opening {
    count: usize,
    is_closed: bool,
}

/// The right to open one session, given up when dropped: whoever waits for the last session waits for these too.
pub(super) struct Beginning {
    registry: Registry,
}

/// A place in the registry, given up when dropped.
pub(super) struct Entry {
    registry: Registry,
    session: SessionId,
}

/// A person's place in the dialogue, given up when dropped.
pub(super) struct Talking {
    registry: Registry,
    person: PersonId,
}

impl Registry {
    /// A place in the dialogue for `person`, unless they hold as many already as one may: whoever waits there holds a
    /// connection without a grant.
    pub(super) fn talk(&self, person: &PersonId) -> Option<Talking> {
        let mut dialogues = self.shared.dialogues.lock().unwrap_or_else(PoisonError::into_inner);
        let open = dialogues.entry(person.clone()).or_default();
        if *open >= DIALOGUES {
            return None;
        }
        *open += 1;
        Some(Talking { registry: self.clone(), person: person.clone() })
    }

    /// Lets a session begin, unless the node is being stopped.
    pub(super) fn begin(&self) -> Option<Beginning> {
        let mut opening = self.opening();
        (!opening.is_closed).then(|| {
            opening.count += 1;
            Beginning { registry: self.clone() }
        })
    }

    /// Adds a session for as long as the returned value lives.
    pub(super) fn enter(&self, session: LiveSession, beginning: Beginning) -> Entry {
        let id = session.facts.session.clone();
        self.live().insert(id.clone(), session);
        drop(beginning);
        metrics::gauge!("postern_sessions_live").increment(1.0);
        Entry { registry: self.clone(), session: id }
    }

    /// From now on no session begins.
    pub fn close(&self) {
        self.opening().is_closed = true;
    }

    /// One session.
    #[must_use]
    pub fn get(&self, session: &SessionId) -> Option<LiveSession> {
        self.live().get(session).cloned()
    }

    /// All of them, by id.
    #[must_use]
    pub fn all(&self) -> Vec<LiveSession> {
        self.live().values().cloned().collect()
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.live().len()
    }

    /// Asks about every session again, and cuts those that may not go on.
    pub fn ask_all(&self, gate: &Gate) {
        for session in self.all() {
            if let Err(no) = session.subject.still(gate) {
                session.ending.end(no.reason);
            }
        }
    }

    /// Cuts every session, for one reason. Says how many there were.
    pub fn end_all(&self, reason: EndReason) -> usize {
        let all = self.all();
        for session in &all {
            session.ending.end(reason);
        }
        all.len()
    }

    /// Waits until none of `sessions` is left, or `within` is over; says whether they are gone.
    pub async fn gone(&self, sessions: &[SessionId], within: Duration) -> bool {
        let mut waiting: Vec<&SessionId> = sessions.iter().collect();
        let all_gone = async {
            loop {
                let left = self.shared.left.notified();
                tokio::pin!(left);
                left.as_mut().enable();
                // Whoever is gone stays gone.
                {
                    let live = self.live();
                    waiting.retain(|session| live.contains_key(*session));
                }
                if waiting.is_empty() {
                    return;
                }
                left.await;
            }
        };
        tokio::time::timeout(within, all_gone).await.is_ok()
    }

    /// Waits until no session is left, or `within` is over; says whether they are gone.
    pub async fn drained(&self, within: Duration) -> bool {
        let all_gone = async {
            loop {
                let left = self.shared.left.notified();
                tokio::pin!(left);
                left.as_mut().enable();
                // In this order: what was on its way in when it was counted is in here by now.
                if self.opening().count == 0 && self.live().is_empty() {
                    return;
                }
                left.await;
            }
        };
        tokio::time::timeout(within, all_gone).await.is_ok()
    }

    fn opening(&self) -> MutexGuard<'_, Opening> {
        self.shared.opening.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn live(&self) -> MutexGuard<'_, BTreeMap<SessionId, LiveSession>> {
        self.shared.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Beginning {
    fn drop(&mut self) {
        self.registry.opening().count -= 1;
        self.registry.shared.left.notify_waiters();
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.registry.live().remove(&self.session);
        metrics::gauge!("postern_sessions_live").decrement(1.0);
        self.registry.shared.left.notify_waiters();
    }
}

impl Drop for Talking {
    fn drop(&mut self) {
        let shared = &self.registry.shared;
        let mut dialogues = shared.dialogues.lock().unwrap_or_else(PoisonError::into_inner);
        match dialogues.get_mut(&self.person) {
            Some(open) if *open > 1 => *open -= 1,
            _ => {
                dialogues.remove(&self.person);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_person_holds_few_dialogues_and_gives_them_back() {
        let registry = Registry::default();
        let [alice, bob] = [PersonId::random().unwrap(), PersonId::random().unwrap()];
        let mut held: Vec<_> = (0..DIALOGUES).map(|_| registry.talk(&alice).unwrap()).collect();
        assert!(registry.talk(&alice).is_none());
        assert!(registry.talk(&bob).is_some(), "another person is not held up");
        held.pop();
        assert!(registry.talk(&alice).is_some());
        held.clear();
        assert!(registry.shared.dialogues.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn whoever_stops_the_node_waits_for_sessions_that_are_beginning_and_lets_none_begin() {
        let (registry, soon) = (Registry::default(), Duration::from_millis(20));
        let beginning = registry.begin().unwrap();
        registry.close();
        assert!(registry.begin().is_none());
        assert!(!registry.drained(soon).await);
        let begin = async {
            tokio::task::yield_now().await;
            drop(beginning);
        };
        let (drained, ()) = tokio::join!(registry.drained(Duration::from_secs(60)), begin);
        assert!(drained);
    }
}
