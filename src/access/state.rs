//! What is so now: people, targets, open requests, live grants and live sessions. What ended is not here.
//!
//! The state is the result of applying every entry in order and nothing else. Everything a decision needs is found in
//! O(log n): the indices at the bottom of [`State`] are derived from the maps above them, and are never stored.
//! Only `apply.rs` changes a state. Read next: `apply.rs`, then `decide/mod.rs`.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::index::Index;
use super::recording::Recording;
use super::separation;
use crate::ledger::entry::{Approval, GrantFacts, PersonFacts, RequestFacts, SessionFacts};
use crate::model::{
    EndReason, GrantId, Identity, Login, PersonId, PersonName, PrincipalKind, RequestId, Role, SessionId,
    Target, TargetName, Timestamp,
};

/// Everything that is so now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    pub(super) node: Node,
    pub(super) people: BTreeMap<PersonId, Person>,
    pub(super) targets: BTreeMap<TargetName, Target>,
    pub(super) requests: BTreeMap<RequestId, Request>,
    pub(super) grants: BTreeMap<GrantId, Grant>,
    pub(super) sessions: BTreeMap<SessionId, Session>,
    pub(super) left_over: BTreeMap<SessionId, BTreeSet<String>>,
    pub(super) recordings: BTreeMap<SessionId, Recording>,
    /// Deleted recordings of which nothing is left.
    pub(super) gone: BTreeSet<SessionId>,
    pub(super) index: Index,
}

/// Facts about the node and what it runs with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// The ledger's origin; empty before the first entry.
    pub origin: String,
    /// The checkpoint verifier key.
    pub checkpoint_key: String,
    /// age recipients of new recordings.
    pub reviewers: BTreeSet<String>,
    /// SHA-256 of the policy set in force.
    pub policy: Option<String>,
    /// SHA-256 of the configuration in force.
    pub configuration: Option<String>,
}

/// A person or workload, with every identity they have or had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// As enrolled, with the roles of today.
    pub facts: PersonFacts,
    /// Why they are disabled, when they are.
    pub disabled: Option<String>,
    /// Their identities, also former ones: separation of duties remembers.
    pub links: Vec<Link>,
}

/// An identity of a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The identity.
    pub identity: Identity,
    /// The key, when the identity is one.
    pub public_key: Option<String>,
    /// Since when.
    pub linked: Timestamp,
    /// Until when, for a former one.
    pub unlinked: Option<Timestamp>,
}

/// A request that waits for answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// As asked.
    pub facts: RequestFacts,
    /// What approvals sign.
    pub hash: String,
    /// When it lapses.
    pub lapses: Timestamp,
    /// How many different people must approve.
    pub approvals_needed: u32,
    /// The roles whose members may approve.
    pub approver_roles: BTreeSet<Role>,
    /// Seconds within which a grant whose clock starts at first use must be used.
    pub use_within_s: u64,
    /// The approvals so far that count.
    pub approvals: Vec<Approval>,
}

/// A grant in force, with everything needed to verify again why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// As issued; `ends` is set when the clock starts at first use and that has happened.
    pub facts: GrantFacts,
    /// The request it answers, with its approvals.
    pub request: Request,
    /// When it was issued.
    pub issued: Timestamp,
    /// Whether a session ever started under it.
    pub used: bool,
}

impl Grant {
    /// When it stops being usable as things stand: its end, or the time its first use must come before.
    #[must_use]
    pub fn usable_until(&self) -> Option<Timestamp> {
        self.facts.ends.or(self.facts.use_before)
    }

    /// Whether a session may start under it at `now`.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.usable_until().is_some_and(|end| now < end)
    }
}

/// A session that has not ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// As started.
    pub facts: SessionFacts,
    /// When.
    pub started: Timestamp,
    /// The entry that says so.
    pub seq: u64,
    /// Why it has to end, once it has to: the first reason stays.
    pub ending: Option<EndReason>,
}

impl State {
    /// The role whose last holder can be neither disabled nor stripped of it.
    pub const ADMIN: &'static str = "admin";

    /// Facts about the node.
    #[must_use]
    pub const fn node(&self) -> &Node {
        &self.node
    }

    /// A person by id.
    #[must_use]
    pub fn person(&self, id: &PersonId) -> Option<&Person> {
        self.people.get(id)
    }

    /// A person by name.
    #[must_use]
    pub fn person_named(&self, name: &PersonName) -> Option<&Person> {
        self.index.names.get(name).and_then(|id| self.people.get(id))
    }

    /// Whose identity this is now, and the link.
    #[must_use]
    pub fn person_by_identity(&self, identity: &Identity) -> Option<(&Person, &Link)> {
        let person = self.index.identities.get(identity).and_then(|id| self.people.get(id))?;
        person.link(identity).map(|link| (person, link))
    }

    /// Everybody enrolled, by id.
    pub fn people(&self) -> impl Iterator<Item = &Person> {
        self.people.values()
    }

    /// Whether somebody may act: enabled, and so is the owner of a workload.
    #[must_use]
    pub fn is_active(&self, id: &PersonId) -> bool {
        let enabled = |id: &PersonId| self.people.get(id).is_some_and(|person| person.disabled.is_none());
        enabled(id) && self.people.get(id).is_some_and(|p| p.facts.owner.as_ref().is_none_or(enabled))
    }

    /// A target by name.
    #[must_use]
    pub fn target(&self, name: &TargetName) -> Option<&Target> {
        self.targets.get(name)
    }

    /// Every registered target, by name.
    pub fn targets(&self) -> impl Iterator<Item = &Target> {
        self.targets.values()
    }

    /// An open request.
    #[must_use]
    pub fn request(&self, id: &RequestId) -> Option<&Request> {
        self.requests.get(id)
    }

    /// Every open request, by id.
    pub fn requests(&self) -> impl Iterator<Item = &Request> {
        self.requests.values()
    }

    /// A grant in force.
    #[must_use]
    pub fn grant(&self, id: &GrantId) -> Option<&Grant> {
        self.grants.get(id)
    }

    /// Every grant in force, by id.
    pub fn grants(&self) -> impl Iterator<Item = &Grant> {
        self.grants.values()
    }

    /// Whether enough different people stand behind a request's approvals now. A grant whose approvers were disabled,
    /// stripped of the role, or parted from the key they signed with begins nothing more.
    #[must_use]
    pub fn is_backed(&self, request: &Request) -> bool {
        separation::is_enough(self, request)
    }

    /// The grants under which a person may start a session as `login` on `target` at `now`; several may stand side
    /// by side. Empty when the person is disabled.
    pub fn live_grants(
        &self,
        person: &PersonId,
        login: &Login,
        target: &TargetName,
        now: Timestamp,
    ) -> impl Iterator<Item = &Grant> {
        let ids = self.index.grants_by_person.get(person).filter(|_| self.is_active(person));
        ids.into_iter().flatten().filter_map(|id| self.grants.get(id)).filter(move |grant| {
            grant.facts.login == *login && grant.facts.target == *target && grant.is_live(now)
        })
    }

    /// The grants in force of one person, live or about to end.
    pub fn grants_of(&self, person: &PersonId) -> impl Iterator<Item = &Grant> {
        self.index.grants_by_person.get(person).into_iter().flatten().filter_map(|id| self.grants.get(id))
    }

    /// A session that has not ended.
    #[must_use]
    pub fn session(&self, id: &SessionId) -> Option<&Session> {
        self.sessions.get(id)
    }

    /// Every session that has not ended, by id.
    pub fn sessions(&self) -> impl Iterator<Item = &Session> {
        self.sessions.values()
    }

    /// The sessions under one grant that have not ended.
    pub fn sessions_under(&self, grant: &GrantId) -> impl Iterator<Item = &Session> {
        self.index.sessions_by_grant.get(grant).into_iter().flatten().filter_map(|id| self.sessions.get(id))
    }

    /// What sessions left on their targets and nobody has cleaned so far.
    pub fn left_over(&self) -> impl Iterator<Item = (&SessionId, &BTreeSet<String>)> {
        self.left_over.iter()
    }

    /// When the next request lapses or grant ends: [`super::Command::Tick`] is due then.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        self.index.due.first().map(|(at, _)| *at)
    }

    /// How many requests somebody has open.
    pub(super) fn open_requests_of(&self, person: &PersonId) -> usize {
        self.index.requests_by_person.get(person).map_or(0, BTreeSet::len)
    }

    /// Every person who ever had an identity.
    pub(super) fn holders(&self, identity: &Identity) -> impl Iterator<Item = &PersonId> {
        self.index.holders.get(identity).into_iter().flatten()
    }

    /// Whether somebody other than `but` can administer the bastion: an enabled person with the role and an identity.
    pub(super) fn has_admin_besides(&self, but: &PersonId) -> bool {
        self.people.values().any(|person| person.facts.person != *but && person.is_usable_admin())
    }
}

impl Person {
    /// The link of an identity that is theirs now.
    #[must_use]
    pub fn link(&self, identity: &Identity) -> Option<&Link> {
        self.links.iter().find(|link| link.unlinked.is_none() && link.identity == *identity)
    }

    /// The link of an identity as it was at a time: tells an approval that was good then from a false one.
    #[must_use]
    pub fn link_at(&self, identity: &Identity, at: Timestamp) -> Option<&Link> {
        let held = |link: &&Link| link.linked <= at && link.unlinked.is_none_or(|until| at <= until);
        self.links.iter().find(|link| link.identity == *identity && held(link))
    }

    pub(super) fn is_usable_admin(&self) -> bool {
        self.disabled.is_none()
            && self.facts.kind == PrincipalKind::Person
            && self.facts.roles.iter().any(|role| role.as_str() == State::ADMIN)
            && self.links.iter().any(|link| link.unlinked.is_none())
    }
}
