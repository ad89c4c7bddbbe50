//! Proof of a live allow. The only constructor is a decision, and the decision is asked again on every change.
//!
//! *Subscribe, then decide*: a change between the two would otherwise be lost. The subscription outlives the decision
//! as the permit's [`Sentry`]: the change feed calls it on its own thread right after a commit, it asks the same
//! question again, and on a no it cuts the session there and then.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::ending::Ending;
use super::gate::Gate;
use crate::access::{self, State};
use crate::authn::Authenticated;
use crate::ledger::entry::Entry;
use crate::model::{
    Action, Capability, EndReason, GrantId, Identity, Login, PersonId, PersonName, Proof, SessionId, Target,
    TargetName,
};
use crate::policy::{self, Decision, Question, Resource};
use crate::store::{Interest, Subscription, Topic, Watcher};

/// A live right to one session. No public constructor, no `Clone`.
pub struct Permit {
    pub(super) subject: Arc<Subject>,
    _subscription: Subscription,
}

/// What the question is about: all that stays the same while a session lives.
pub(super) struct Subject {
    pub(super) session: SessionId,
    pub(super) grant: GrantId,
    pub(super) person: PersonId,
    pub(super) name: PersonName,
    pub(super) identity: Identity,
    pub(super) proof: Proof,
    pub(super) login: Login,
    pub(super) target: TargetName,
    pub(super) capabilities: BTreeSet<Capability>,
    pub(super) reason: String,
    pub(super) client: IpAddr,
}

/// Why there is no permit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoPermit {
    /// Nobody has granted it.
    NoGrant,
    /// An approval behind the grant does not verify.
    Forged(String),
    /// Policy, or the person's or target's state, says no.
    Refused {
        /// The end reason this would be inside a session.
        reason: EndReason,
        /// For the person's eyes.
        words: String,
    },
    /// There is no such target.
    UnknownTarget,
}

impl Permit {
    /// Obtains a permit for `who` to open `login@target` from `client`, or says why there is none.
    ///
    /// # Errors
    /// See [`NoPermit`].
    pub(super) fn obtain(
        gate: &Arc<Gate>,
        session: &SessionId,
        who: &Authenticated,
        (login, target): (&Login, &TargetName),
        client: IpAddr,
        ending: &Ending,
    ) -> Result<Self, NoPermit> {
        let now = gate.clock.now();
        let found = gate.store.read(|state| {
            if state.target(target).is_none() {
                return Err(NoPermit::UnknownTarget);
            }
            let grants = state.grants_of(who.person()).filter(|grant| {
                grant.facts.login == *login && grant.facts.target == *target && grant.is_live(now)
            });
            grants.max_by_key(|grant| grant.usable_until()).cloned().ok_or(NoPermit::NoGrant)
        })?;
        let subject = Arc::new(Subject {
            session: session.clone(),
            grant: found.facts.grant.clone(),
            person: who.person().clone(),
            name: who.name().clone(),
            identity: who.identity().clone(),
            proof: who.proof(),
            login: login.clone(),
            target: target.clone(),
            capabilities: found.facts.capabilities.clone(),
            reason: found.request.facts.reason.clone(),
            client,
        });
        let sentry =
            Sentry { gate: Arc::downgrade(gate), subject: Arc::clone(&subject), ending: ending.clone() };
        let interest = Interest::in_topics([
            Topic::Session(session.clone()),
            Topic::Grant(subject.grant.clone()),
            Topic::Person(subject.person.clone()),
            Topic::Target(subject.target.clone()),
        ]);
        let subscription = gate.store.changes().subscribe(interest, Arc::new(sentry));
        check_approvals(gate, &found)?;
        subject
            .ask(gate, &Action::SessionOpen)
            .map_err(|no| NoPermit::Refused { reason: no.reason, words: no.words })?;
        Ok(Self { subject, _subscription: subscription })
    }

    /// How long the right lasts from now, on the ledger's word; a right without an end lasts no time at all.
    pub(super) fn lasts(&self, gate: &Gate) -> Duration {
        let now = gate.clock.now();
        let end =
            gate.store.read(|state| state.grant(&self.subject.grant).and_then(|grant| grant.facts.ends));
        end.and_then(|end| Duration::try_from(end.duration_since(now)).ok()).unwrap_or(Duration::ZERO)
    }
}

/// A no, with the end reason it is inside a session.
pub(super) struct No {
    pub(super) reason: EndReason,
    pub(super) words: String,
}

impl No {
    fn new(reason: EndReason) -> Self {
        Self { reason, words: reason.sentence().to_owned() }
    }
}

impl Subject {
    /// Asks whether `action` is allowed now: the ledger's state first, then policy. The one function used at the
    /// start, for every channel, and on every change.
    pub(super) fn ask(&self, gate: &Gate, action: &Action) -> Result<String, No> {
        let now = gate.clock.now();
        let (target, grant, principal) = gate.store.read(|state| self.facts(state, now))?;
        let question = Question {
            principal: &principal,
            action,
            resource: Resource::Target { target: &target, login: Some(&self.login) },
            grant: Some(&grant),
            now,
            client: Some(self.client),
        };
        match gate.policy.decide(&question) {
            Decision::Allow(allowed) => Ok(allowed.policies.join(", ")),
            Decision::Deny(denied) => Err(No { reason: EndReason::PolicyChanged, words: denied.reason }),
        }
    }

    fn facts(
        &self,
        state: &State,
        now: crate::model::Timestamp,
    ) -> Result<(Target, policy::Grant, policy::Principal), No> {
        if let Some(reason) = state.session(&self.session).and_then(|session| session.ending) {
            return Err(No::new(reason));
        }
        let person = state.person(&self.person).filter(|_| state.is_active(&self.person));
        let person = person.ok_or_else(|| No::new(EndReason::PersonRevoked))?;
        if person.link(&self.identity).is_none() {
            return Err(No::new(EndReason::PersonRevoked));
        }
        let target = state.target(&self.target).ok_or_else(|| No::new(EndReason::TargetRevoked))?;
        let grant = state.grant(&self.grant).ok_or_else(|| No::new(EndReason::GrantRevoked))?;
        if !grant.is_live(now) {
            return Err(No::new(EndReason::GrantExpired));
        }
        let seen = policy::Grant {
            grant: grant.facts.grant.clone(),
            person: grant.facts.person.clone(),
            login: grant.facts.login.clone(),
            target: grant.facts.target.clone(),
            capabilities: grant.facts.capabilities.clone(),
            approvers: grant.request.approvals.iter().map(|approval| approval.approver.clone()).collect(),
            ends: grant.facts.ends,
        };
        let principal = policy::Principal {
            person: self.person.clone(),
            name: self.name.clone(),
            kind: person.facts.kind,
            owner: person.facts.owner.clone(),
            roles: person.facts.roles.clone(),
            proof: self.proof,
            enabled: true,
        };
        Ok((target.clone(), seen, principal))
    }
}

/// A row in a table is worth nothing: every approval behind a grant is verified again, here, where the session starts.
fn check_approvals(gate: &Gate, grant: &access::Grant) -> Result<(), NoPermit> {
    let forged = |words: &str| NoPermit::Forged(format!("grant {}: {words}", grant.facts.grant));
    let request = &grant.request;
    if request.facts.hash() != request.hash || grant.facts.hash != request.hash {
        return Err(forged("its request is not the one that was approved"));
    }
    let mut approvers = BTreeSet::new();
    for approval in &request.approvals {
        if approval.hash != request.hash || grant.facts.duration_s > approval.duration_s {
            return Err(forged("an approval is for something else"));
        }
        gate.authenticator.check_approval(approval).map_err(|fault| forged(&fault.to_string()))?;
        approvers.insert(&approval.approver);
    }
    let enough =
        usize::try_from(request.approvals_needed).is_ok_and(|needed| needed > 0 && approvers.len() >= needed);
    if enough && !approvers.contains(&grant.facts.person) {
        Ok(())
    } else {
        Err(forged("it lacks approvals"))
    }
}

/// Asks again on every change, on the change feed's own thread.
struct Sentry {
    gate: Weak<Gate>,
    subject: Arc<Subject>,
    ending: Ending,
}

impl Watcher for Sentry {
    fn changed(&self, _entry: &Arc<Entry>) {
        // A node that is gone has no sessions to end.
        let Some(gate) = self.gate.upgrade() else { return };
        if let Err(no) = self.subject.ask(&gate, &Action::SessionOpen) {
            self.ending.end(no.reason);
        }
    }

    fn lost(&self) {
        self.ending.end(EndReason::LedgerFailed);
    }
}
