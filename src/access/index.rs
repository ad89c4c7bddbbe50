//! The state's indices, and the only functions that put something into its maps or take it out.
//!
//! Every index here can be rebuilt from the maps; keeping them in step in one file is what makes that true. No rules
//! live here. Read next: `apply.rs`.

use std::collections::{BTreeMap, BTreeSet};

use super::state::{Grant, Person, Request, Session, State};
use crate::model::{GrantId, Identity, PersonId, PersonName, RequestId, SessionId, TargetName, Timestamp};

/// Ways to find what the maps hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Index {
    pub(super) names: BTreeMap<PersonName, PersonId>,
    /// Whose an identity is now.
    pub(super) identities: BTreeMap<Identity, PersonId>,
    /// Whose an identity is or ever was.
    pub(super) holders: BTreeMap<Identity, BTreeSet<PersonId>>,
    pub(super) workloads: BTreeMap<PersonId, BTreeSet<PersonId>>,
    pub(super) requests_by_person: BTreeMap<PersonId, BTreeSet<RequestId>>,
    pub(super) grants_by_person: BTreeMap<PersonId, BTreeSet<GrantId>>,
    pub(super) grants_by_target: BTreeMap<TargetName, BTreeSet<GrantId>>,
    pub(super) sessions_by_grant: BTreeMap<GrantId, BTreeSet<SessionId>>,
    pub(super) due: BTreeSet<(Timestamp, Due)>,
}

/// Something that ends by itself at a time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    Request(RequestId),
    Grant(GrantId),
    Deletion(SessionId),
}

impl State {
    /// Adds a person, or replaces what is known of them.
    pub(super) fn put_person(&mut self, person: Person) {
        let id = person.facts.person.clone();
        self.index.names.insert(person.facts.name.clone(), id.clone());
        if let Some(owner) = &person.facts.owner {
            self.index.workloads.entry(owner.clone()).or_default().insert(id.clone());
        }
        for link in &person.links {
            self.index.holders.entry(link.identity.clone()).or_default().insert(id.clone());
            if link.unlinked.is_none() {
                self.index.identities.insert(link.identity.clone(), id.clone());
            } else if self.index.identities.get(&link.identity) == Some(&id)
                && person.link(&link.identity).is_none()
            {
                self.index.identities.remove(&link.identity);
            }
        }
        self.people.insert(id, person);
    }

    pub(super) fn put_request(&mut self, request: Request) {
        let id = request.facts.request.clone();
        self.index.requests_by_person.entry(request.facts.person.clone()).or_default().insert(id.clone());
        self.index.due.insert((request.lapses, Due::Request(id.clone())));
        self.requests.insert(id, request);
    }

    pub(super) fn take_request(&mut self, id: &RequestId) -> Option<Request> {
        let request = self.requests.remove(id)?;
        drop_from(&mut self.index.requests_by_person, &request.facts.person, id);
        self.index.due.remove(&(request.lapses, Due::Request(id.clone())));
        Some(request)
    }

    pub(super) fn put_grant(&mut self, grant: Grant) {
        let id = grant.facts.grant.clone();
        self.index.grants_by_person.entry(grant.facts.person.clone()).or_default().insert(id.clone());
        self.index.grants_by_target.entry(grant.facts.target.clone()).or_default().insert(id.clone());
        if let Some(at) = grant.usable_until() {
            self.index.due.insert((at, Due::Grant(id.clone())));
        }
        self.grants.insert(id, grant);
    }

    pub(super) fn take_grant(&mut self, id: &GrantId) -> Option<Grant> {
        let grant = self.grants.remove(id)?;
        drop_from(&mut self.index.grants_by_person, &grant.facts.person, id);
        drop_from(&mut self.index.grants_by_target, &grant.facts.target, id);
        if let Some(at) = grant.usable_until() {
            self.index.due.remove(&(at, Due::Grant(id.clone())));
        }
        Some(grant)
    }

    pub(super) fn put_session(&mut self, session: Session) {
        let id = session.facts.session.clone();
        self.index.sessions_by_grant.entry(session.facts.grant.clone()).or_default().insert(id.clone());
        self.sessions.insert(id, session);
    }

    pub(super) fn take_session(&mut self, id: &SessionId) -> Option<Session> {
        let session = self.sessions.remove(id)?;
        drop_from(&mut self.index.sessions_by_grant, &session.facts.grant, id);
        Some(session)
    }

    /// A person, and the workloads that stand for them.
    pub(super) fn person_and_workloads(&self, id: &PersonId) -> Vec<PersonId> {
        let workloads = self.index.workloads.get(id).into_iter().flatten().cloned();
        std::iter::once(id.clone()).chain(workloads).collect()
    }

    /// What is due at `now`, earliest first.
    pub(super) fn due(&self, now: Timestamp) -> impl Iterator<Item = &Due> {
        self.index.due.iter().take_while(move |(at, _)| *at <= now).map(|(_, due)| due)
    }
}

fn drop_from<K: Ord, V: Ord>(index: &mut BTreeMap<K, BTreeSet<V>>, key: &K, value: &V) {
    if let Some(set) = index.get_mut(key) {
        set.remove(value);
        if set.is_empty() {
            index.remove(key);
        }
    }
}
