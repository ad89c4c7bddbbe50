//! What an entry makes of the state. Total and deterministic: any sequence of entries gives a state, always the same.
//!
//! No entry is refused here: `decide/` let it in, and history is not argued with. What an entry implies (a person
//! disabled loses their grants, and their sessions have to end) is worked out here, so that it holds however the entry
//! came to be. Read next: `effect.rs`.

use std::collections::BTreeSet;

use super::effect::{Effect, GrantEnd, RequestEnd};
use super::recording;
use super::separation;
use super::state::{Grant, Link, Node, Person, Request, Session, State};
use crate::ledger::entry::{Approval, EndFacts, Entry, Fact, GrantFacts, PersonFacts, Scope, SessionFacts};
use crate::model::{
    EndReason, GrantId, HostTrust, Identity, PersonId, RequestId, Role, SessionId, Target, TargetName,
    Timestamp,
};

/// Applies one entry, and tells everything it changed.
pub fn apply(state: &mut State, entry: &Entry) -> Vec<Effect> {
    let mut change = Change { state, at: entry.at, effects: Vec::new() };
    change.fact(entry);
    change.effects
}

struct Change<'a> {
    state: &'a mut State,
    at: Timestamp,
    effects: Vec<Effect>,
}

impl Change<'_> {
    /// One arm per kind of fact.
    fn fact(&mut self, entry: &Entry) {
        match &entry.fact {
            Fact::NodeInitialised { origin, checkpoint_key } => self.node(|node| {
                node.origin.clone_from(origin);
                node.checkpoint_key.clone_from(checkpoint_key);
            }),
            Fact::PersonAdded(facts) => self.add_person(facts),
            Fact::IdentityLinked { person, identity, public_key } => {
                self.link(person, identity, public_key.as_ref());
            }
            Fact::IdentityUnlinked { person, identity } => self.unlink(person, identity),
            Fact::RolesChanged { person, roles } => self.change_roles(person, roles),
            Fact::PersonDisabled { person, reason } => self.disable(person, reason),
            Fact::PersonEnabled { person } => self.person(person, |p| p.disabled = None),
            Fact::TargetAdded { target } => self.put_target(target),
            Fact::TargetTrusted { target, trust } => self.trust_target(target, trust),
            Fact::TargetRemoved { target, .. } => {
                self.state.targets.remove(target);
                self.revoke(&Scope::Target(target.clone()));
                self.effects.push(Effect::Target(target.clone()));
            }
            Fact::RequestMade { request, hash, lapses, approvals_needed, approver_roles, use_within_s } => {
                self.open_request(Request {
                    facts: request.clone(),
                    hash: hash.clone(),
                    lapses: *lapses,
                    approvals_needed: *approvals_needed,
                    approver_roles: approver_roles.clone(),
                    use_within_s: *use_within_s,
                    approvals: Vec::new(),
                });
            }
            Fact::RequestApproved(approval) => self.approve(approval),
            Fact::RequestDenied { request, .. } => self.end_request(request, RequestEnd::Denied),
            Fact::RequestWithdrawn { request } => self.end_request(request, RequestEnd::Withdrawn),
            Fact::RequestLapsed { request } => self.end_request(request, RequestEnd::Lapsed),
            Fact::GrantIssued(facts) => self.issue(facts),
            Fact::GrantStarted { grant, ends } => self.start_grant(grant, *ends),
            Fact::GrantRevoked { grant, .. } => {
                self.end_grant(grant, GrantEnd::Revoked, EndReason::GrantRevoked);
            }
            Fact::GrantEnded { grant } => self.end_grant(grant, GrantEnd::Expired, EndReason::GrantExpired),
            Fact::Revoked { scope, .. } => self.revoke(scope),
            Fact::SessionStarted(facts) => self.start_session(entry.seq, facts),
            Fact::SessionTerminated { session, .. } => self.doom(session, EndReason::SessionTerminated),
            Fact::SessionEnded(end) => self.end_session(end),
            Fact::CleanupDone { session, what } => self.clean_up(session, what),
            Fact::RecordingStored(facts) => {
                self.effects.push(Effect::RecordingStored(Box::new(facts.clone())));
            }
            Fact::RecordingRewrapped(facts) => {
                self.effects.push(Effect::RecordingRewrapped(Box::new(facts.clone())));
            }
            Fact::RecordingHeld { .. }
            | Fact::RecordingReleased { .. }
            | Fact::RecordingDeletionAsked { .. }
            | Fact::RecordingDeletionWithdrawn { .. }
            | Fact::RecordingDeletionLapsed { .. }
            | Fact::RecordingDeleted(_)
            | Fact::RecordingRemoved { .. }
            | Fact::RecordingCopyRemains(_) => {
                self.effects.extend(recording::apply(self.state, entry));
            }
            Fact::ReviewersChanged { recipients } => self.node(|node| node.reviewers.clone_from(recipients)),
            Fact::PolicyLoaded { hash, .. } => self.node(|node| node.policy = Some(hash.clone())),
            Fact::ConfigurationLoaded { hash } => self.node(|node| node.configuration = Some(hash.clone())),
            Fact::RecordingCheckpoint { .. }
            | Fact::RecordingViewed { .. }
            | Fact::SignedIn { .. }
            | Fact::TargetTested { .. } => {}
        }
    }

    fn node(&mut self, change: impl FnOnce(&mut Node)) {
        change(&mut self.state.node);
        self.effects.push(Effect::Node);
    }

    fn add_person(&mut self, facts: &PersonFacts) {
        self.state.put_person(Person { facts: facts.clone(), disabled: None, links: Vec::new() });
        self.effects.push(Effect::Person(facts.person.clone()));
    }

    fn change_roles(&mut self, person: &PersonId, roles: &BTreeSet<Role>) {
        self.person(person, |p| p.facts.roles.clone_from(roles));
        self.effects.extend(recording::forget_what_was_asked_by(self.state, person));
        self.count_again();
    }

    fn disable(&mut self, person: &PersonId, reason: &str) {
        self.person(person, |p| p.disabled = Some(reason.to_owned()));
        self.end_everything_of(person);
        self.effects.extend(recording::forget_what_was_asked_by(self.state, person));
        self.count_again();
    }

    fn put_target(&mut self, target: &Target) {
        self.state.targets.insert(target.name.clone(), target.clone());
        self.effects.push(Effect::Target(target.name.clone()));
    }

    fn trust_target(&mut self, name: &TargetName, trust: &HostTrust) {
        if let Some(target) = self.state.targets.get_mut(name) {
            target.trust.clone_from(trust);
            self.effects.push(Effect::Target(name.clone()));
        }
    }

    fn open_request(&mut self, request: Request) {
        self.effects.push(Effect::RequestOpen(request.facts.request.clone()));
        self.state.put_request(request);
    }

    fn approve(&mut self, approval: &Approval) {
        if let Some(request) = self.state.requests.get_mut(&approval.request) {
            request.approvals.push(approval.clone());
            self.effects.push(Effect::RequestOpen(approval.request.clone()));
        }
    }

    fn start_session(&mut self, seq: u64, facts: &SessionFacts) {
        if let Some(grant) = self.state.grants.get_mut(&facts.grant)
            && !grant.used
        {
            grant.used = true;
            self.effects.push(Effect::GrantOpen(facts.grant.clone()));
        }
        self.effects.push(Effect::SessionOpen(facts.session.clone()));
        self.state.put_session(Session { facts: facts.clone(), started: self.at, seq, ending: None });
    }

    fn end_session(&mut self, end: &EndFacts) {
        if let Some(session) = self.state.take_session(&end.session) {
            self.effects.push(Effect::SessionOver(Box::new(session), Box::new(end.clone())));
        }
        if !end.left_over.is_empty() {
            let left = end.left_over.iter().cloned().collect();
            self.state.left_over.insert(end.session.clone(), left);
            self.effects.push(Effect::LeftOver(end.session.clone()));
        }
    }

    fn clean_up(&mut self, session: &SessionId, what: &str) {
        if let Some(left) = self.state.left_over.get_mut(session) {
            left.remove(what);
            if left.is_empty() {
                self.state.left_over.remove(session);
            }
            self.effects.push(Effect::LeftOver(session.clone()));
        }
    }

    fn person(&mut self, id: &PersonId, change: impl FnOnce(&mut Person)) {
        if let Some(mut person) = self.state.people.get(id).cloned() {
            change(&mut person);
            self.state.put_person(person);
            self.effects.push(Effect::Person(id.clone()));
        }
    }

    fn link(&mut self, id: &PersonId, identity: &Identity, public_key: Option<&String>) {
        let link = Link {
            identity: identity.clone(),
            public_key: public_key.cloned(),
            linked: self.at,
            unlinked: None,
        };
        self.person(id, |person| person.links.push(link));
        self.count_again();
    }

    fn unlink(&mut self, id: &PersonId, identity: &Identity) {
        let at = self.at;
        self.person(id, |person| {
            let theirs = |link: &&mut Link| link.unlinked.is_none() && link.identity == *identity;
            person.links.iter_mut().filter(theirs).for_each(|link| link.unlinked = Some(at));
        });
        self.count_again();
        let opened_with_it: Vec<SessionId> = self
            .state
            .grants_of(id)
            .flat_map(|grant| self.state.sessions_under(&grant.facts.grant))
            .filter(|session| session.facts.identity == *identity)
            .map(|session| session.facts.session.clone())
            .collect();
        for session in &opened_with_it {
            self.doom(session, EndReason::PersonRevoked);
        }
    }

    /// Approvals count only while whoever gave them could still give them: for open requests, and for grants nobody has
    /// used. One that lost its approvals before its first use never begins.
    fn count_again(&mut self) {
        let state = &*self.state;
        let counts = |request: &Request, a: &Approval| separation::still_counts(state, request, a);
        let stale: Vec<(RequestId, Vec<Approval>)> = state
            .requests()
            .filter_map(|request| {
                let kept: Vec<Approval> =
                    request.approvals.iter().filter(|a| counts(request, a)).cloned().collect();
                (kept.len() < request.approvals.len()).then(|| (request.facts.request.clone(), kept))
            })
            .collect();
        let lacking: Vec<GrantId> = state
            .grants()
            .filter(|grant| !grant.used && !separation::is_enough(state, &grant.request))
            .map(|grant| grant.facts.grant.clone())
            .collect();
        for (id, kept) in stale {
            if let Some(request) = self.state.requests.get_mut(&id) {
                request.approvals = kept;
            }
            self.effects.push(Effect::RequestOpen(id));
        }
        for grant in &lacking {
            self.end_grant(grant, GrantEnd::Voided, EndReason::GrantRevoked);
        }
    }

    fn issue(&mut self, facts: &GrantFacts) {
        let Some(request) = self.state.take_request(&facts.request) else { return };
        let grant = Grant { facts: facts.clone(), request: request.clone(), issued: self.at, used: false };
        self.state.put_grant(grant);
        self.effects.push(Effect::RequestOver(Box::new(request), RequestEnd::Granted));
        self.effects.push(Effect::GrantOpen(facts.grant.clone()));
    }

    fn start_grant(&mut self, id: &GrantId, ends: Timestamp) {
        if let Some(mut grant) = self.state.take_grant(id) {
            grant.facts.ends = Some(ends);
            self.state.put_grant(grant);
            self.effects.push(Effect::GrantOpen(id.clone()));
        }
    }

    fn end_request(&mut self, id: &RequestId, how: RequestEnd) {
        if let Some(request) = self.state.take_request(id) {
            self.effects.push(Effect::RequestOver(Box::new(request), how));
        }
    }

    fn end_grant(&mut self, id: &GrantId, how: GrantEnd, reason: EndReason) {
        let sessions: Vec<SessionId> =
            self.state.sessions_under(id).map(|session| session.facts.session.clone()).collect();
        for session in &sessions {
            self.doom(session, reason);
        }
        if let Some(grant) = self.state.take_grant(id) {
            self.effects.push(Effect::GrantOver(Box::new(grant), how));
        }
    }

    /// Marks a session with the reason it has to end; the first reason stays.
    fn doom(&mut self, id: &SessionId, reason: EndReason) {
        if let Some(session) = self.state.sessions.get_mut(id)
            && session.ending.is_none()
        {
            session.ending = Some(reason);
            self.effects.push(Effect::SessionOpen(id.clone()));
        }
    }

    fn revoke(&mut self, scope: &Scope) {
        match scope {
            Scope::Everything => {
                let requests: Vec<RequestId> = self.state.requests.keys().cloned().collect();
                let grants: Vec<GrantId> = self.state.grants.keys().cloned().collect();
                let sessions: Vec<SessionId> = self.state.sessions.keys().cloned().collect();
                self.end_all(&requests, &grants, EndReason::EverythingRevoked);
                for session in &sessions {
                    self.doom(session, EndReason::EverythingRevoked);
                }
            }
            Scope::Person(person) => self.end_everything_of(person),
            Scope::Target(target) => {
                let on_it = |request: &&Request| request.facts.target == *target;
                let requests: Vec<RequestId> =
                    self.state.requests().filter(on_it).map(|r| r.facts.request.clone()).collect();
                let grants: Vec<GrantId> =
                    self.state.index.grants_by_target.get(target).into_iter().flatten().cloned().collect();
                self.end_all(&requests, &grants, EndReason::TargetRevoked);
            }
        }
    }

    fn end_everything_of(&mut self, person: &PersonId) {
        for id in self.state.person_and_workloads(person) {
            let index = &self.state.index;
            let requests: Vec<RequestId> =
                index.requests_by_person.get(&id).into_iter().flatten().cloned().collect();
            let grants: Vec<GrantId> =
                index.grants_by_person.get(&id).into_iter().flatten().cloned().collect();
            self.end_all(&requests, &grants, EndReason::PersonRevoked);
            if id != *person {
                self.effects.push(Effect::Person(id));
            }
        }
    }

    fn end_all(&mut self, requests: &[RequestId], grants: &[GrantId], reason: EndReason) {
        for request in requests {
            self.end_request(request, RequestEnd::Revoked);
        }
        for grant in grants {
            self.end_grant(grant, GrantEnd::Revoked, reason);
        }
    }
}
