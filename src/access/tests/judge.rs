//! A second statement of what a state means, for the tests to hold it to: put together from its parts, and asked whether
//! a session may go on.
//!
//! The program itself asks these questions elsewhere (the store compares its tables, a permit asks policy); what is here is
//! kept apart from that on purpose.

use std::collections::{BTreeMap, BTreeSet};

use super::super::state::{Grant, Node, Person, Request, Session, State};
use crate::ledger::entry::Approval;
use crate::model::{EndReason, GrantId, SessionId, Target, Timestamp};

impl State {
    /// A state put together from stored parts, as [`super::apply`] would have left it.
    pub(super) fn assemble(
        node: Node,
        people: Vec<Person>,
        targets: Vec<Target>,
        requests: Vec<Request>,
        grants: Vec<Grant>,
        sessions: Vec<Session>,
        left_over: BTreeMap<SessionId, BTreeSet<String>>,
    ) -> Self {
        let mut state = Self { node, left_over, ..Self::default() };
        people.into_iter().for_each(|person| state.put_person(person));
        state.targets = targets.into_iter().map(|target| (target.name.clone(), target)).collect();
        requests.into_iter().for_each(|request| state.put_request(request));
        grants.into_iter().for_each(|grant| state.put_grant(grant));
        sessions.into_iter().for_each(|session| state.put_session(session));
        state
    }

    /// The approvals behind a grant, for verifying their signatures again before a session starts.
    pub(super) fn approvals_of(&self, grant: &GrantId) -> Option<&[Approval]> {
        self.grants.get(grant).map(|grant| grant.request.approvals.as_slice())
    }

    /// Whether a started session may go on at `now`, until when; or why it has to end. A session this state does
    /// not know has to end.
    pub(crate) fn standing(&self, id: &SessionId, now: Timestamp) -> Result<Timestamp, EndReason> {
        let session = self.sessions.get(id).ok_or(EndReason::SessionTerminated)?;
        if let Some(reason) = session.ending {
            return Err(reason);
        }
        let ends = self.grants.get(&session.facts.grant).and_then(|grant| grant.facts.ends);
        match ends {
            Some(ends) if now < ends => Ok(ends),
            Some(_) => Err(EndReason::GrantExpired),
            None => Err(EndReason::GrantRevoked),
        }
    }
}
