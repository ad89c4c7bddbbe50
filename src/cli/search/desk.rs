//! Where searchers hand in what they found, so that it is told in one order whoever was quicker.
//!
//! The first recording that is not done is told at once; what later ones gave waits for its turn. How much may wait is
//! bounded: a searcher that would exceed it waits itself. The first never does, so the desk cannot stand still.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, PoisonError};

use crate::playback::Found;

/// Places that may wait for their turn, all recordings together: some tens of megabytes.
const MOST_WAITING: usize = 100_000;

/// One place, and whose.
#[derive(Debug, Clone)]
pub(super) struct Hit {
    pub(super) session: String,
    pub(super) recording: String,
    pub(super) found: Found,
}

/// Who is told, in order.
pub(super) trait Told: Send {
    /// Something was found in the recording whose turn it is.
    fn hit(&mut self, hit: Hit);
    /// That recording is done: searched to its end, or why not.
    fn done(&mut self, recording: &str, why: Option<String>);
}

/// Puts results of parallel searches in order.
pub(super) struct Desk<T> {
    state: Mutex<State<T>>,
    moved: Condvar,
}

struct State<T> {
    told: T,
    /// Whose turn it is.
    turn: usize,
    waiting: BTreeMap<usize, Waiting>,
    count: usize,
}

#[derive(Default)]
struct Waiting {
    hits: Vec<Hit>,
    done: Option<(String, Option<String>)>,
}

impl<T: Told> Desk<T> {
    pub(super) fn new(told: T) -> Self {
        let state = State { told, turn: 0, waiting: BTreeMap::new(), count: 0 };
        Self { state: Mutex::new(state), moved: Condvar::new() }
    }

    /// Takes a place in recording `number`, counted from 0 without a gap.
    pub(super) fn hit(&self, number: usize, hit: Hit) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = |state: &mut State<T>| state.turn != number && state.count >= MOST_WAITING;
        let mut state = self.moved.wait_while(state, waits).unwrap_or_else(PoisonError::into_inner);
        if state.turn == number {
            state.told.hit(hit);
        } else {
            state.count = state.count.saturating_add(1);
            state.waiting.entry(number).or_default().hits.push(hit);
        }
    }

    /// Takes the end of recording `number`.
    pub(super) fn done(&self, number: usize, recording: String, why: Option<String>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.waiting.entry(number).or_default().done = Some((recording, why));
        state.go_on();
        drop(state);
        self.moved.notify_all();
    }

    /// Gives back who was told, when everybody is done.
    pub(super) fn close(self) -> T {
        self.state.into_inner().unwrap_or_else(PoisonError::into_inner).told
    }
}

impl<T: Told> State<T> {
    /// Tells what waited for its turn, as far as the turn goes.
    fn go_on(&mut self) {
        while let Some(waiting) = self.waiting.remove(&self.turn) {
            self.count = self.count.saturating_sub(waiting.hits.len());
            for hit in waiting.hits {
                self.told.hit(hit);
            }
            let Some((recording, why)) = waiting.done else { break };
            self.told.done(&recording, why);
            self.turn = self.turn.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::playback::search::Place;

    impl Told for Vec<String> {
        fn hit(&mut self, hit: Hit) {
            self.push(format!("{}:{}", hit.recording, hit.found.at));
        }
        fn done(&mut self, recording: &str, why: Option<String>) {
            self.push(format!("{recording} {}", why.unwrap_or_else(|| "done".to_owned())));
        }
    }

    fn hit(recording: &str, at: u64) -> Hit {
        let found = Found { at, channel: 1, place: Place::Output, line: 1, text: "x".to_owned() };
        Hit { session: "ses_a".to_owned(), recording: recording.to_owned(), found }
    }

    #[test]
    fn recordings_are_told_one_after_the_other() {
        let desk = Desk::new(Vec::new());
        desk.hit(2, hit("c", 1));
        desk.hit(0, hit("a", 1));
        desk.done(2, "c".to_owned(), None);
        desk.hit(1, hit("b", 1));
        desk.hit(0, hit("a", 2));
        desk.done(0, "a".to_owned(), Some("damaged".to_owned()));
        desk.hit(1, hit("b", 2));
        desk.done(1, "b".to_owned(), None);
        assert_eq!(desk.close(), ["a:1", "a:2", "a damaged", "b:1", "b:2", "b done", "c:1", "c done"]);
    }

    #[test]
    fn who_is_ahead_waits_and_who_is_due_never_does() {
        let desk = Desk::new(Vec::new());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for at in 0..MOST_WAITING as u64 + 10 {
                    desk.hit(1, hit("b", at));
                }
                desk.done(1, "b".to_owned(), None);
            });
            for at in 0..10 {
                desk.hit(0, hit("a", at));
            }
            desk.done(0, "a".to_owned(), None);
        });
        let told = desk.close();
        assert_eq!(told.len(), 10 + 1 + MOST_WAITING + 10 + 1);
        assert_eq!((told[10].as_str(), told.last().unwrap().as_str()), ("a done", "b done"));
    }
}
