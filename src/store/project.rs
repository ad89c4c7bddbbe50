//! What an entry's effects make of the tables: the one place where rows come from.
//!
//! Pure: given the state right after an entry and the effects the entry had, the rows to write. `rebuild` goes through
//! here too, so rebuilt tables cannot differ from written ones. Read next: `backend.rs`.

use super::backend::{GrantRecord, RequestRecord, Row, SessionEnd, SessionRecord, StoredRecord};
use crate::access::{Effect, State};
use crate::ledger::entry::Entry;

/// The rows that `effects` of `entry` change, `state` being what the entry left.
pub(super) fn rows(state: &State, entry: &Entry, effects: &[Effect]) -> Vec<Row> {
    effects.iter().filter_map(|effect| row(state, entry, effect)).collect()
}

/// None when a later effect of the same entry has taken the thing out of the state again, with a row of its own.
fn row(state: &State, entry: &Entry, effect: &Effect) -> Option<Row> {
    Some(match effect {
        Effect::GrantOpen(id) => {
            Row::Grant(Box::new(GrantRecord { grant: state.grant(id)?.clone(), over: None }))
        }
        Effect::GrantOver(grant, how) => {
            Row::Grant(Box::new(GrantRecord { grant: (**grant).clone(), over: Some((*how, entry.at)) }))
        }
        Effect::LeftOver(id) => {
            let what = state.left_over().find(|(session, _)| *session == id).map(|(_, what)| what.clone());
            Row::LeftOver(id.clone(), what.unwrap_or_default())
        }
        Effect::Node => Row::Node(Box::new(state.node().clone())),
        Effect::Person(id) => Row::Person(Box::new(state.person(id)?.clone())),
        Effect::Recording(session) => {
            Row::Recording(session.clone(), state.recording(session).cloned().map(Box::new))
        }
        Effect::RecordingGone(session, record) => Row::Recording(session.clone(), Some(record.clone())),
        Effect::RecordingRewrapped(facts) => Row::Rewrapped(facts.clone()),
        Effect::RecordingStored(facts) => {
            Row::Stored(Box::new(StoredRecord { facts: (**facts).clone(), at: entry.at }))
        }
        Effect::RequestOpen(id) => {
            Row::Request(Box::new(RequestRecord { request: state.request(id)?.clone(), over: None }))
        }
        Effect::RequestOver(request, how) => Row::Request(Box::new(RequestRecord {
            request: (**request).clone(),
            over: Some((*how, entry.at)),
        })),
        Effect::SessionOpen(id) => {
            Row::Session(Box::new(SessionRecord { session: state.session(id)?.clone(), end: None }))
        }
        Effect::SessionOver(session, facts) => Row::Session(Box::new(SessionRecord {
            session: (**session).clone(),
            end: Some(SessionEnd { facts: (**facts).clone(), at: entry.at, seq: entry.seq }),
        })),
        Effect::Target(name) => match state.target(name) {
            Some(target) => Row::Target(Box::new(target.clone())),
            None => Row::TargetGone(name.clone()),
        },
    })
}
