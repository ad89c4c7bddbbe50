//! Proof of a live allow. The only constructor is a decision, and the decision is asked again on every change.
//!
//! A session starts under one grant: the longest that policy lets it begin with. Others that the person holds for the same `LOGIN@TARGET` are known to it from the
//! start; one is *taken up* when a channel needs what only it allows, and from then on its end is the session's too.
//!
//! *Subscribe, then decide*: a change between the two would otherwise be lost. The subscription outlives the decision
//! as the permit's [`Sentry`]: the change feed calls it on its own thread right after a commit, it asks the same
//! question again, and on a no it cuts the session there and then.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;

use super::ending::Ending;
use super::gate::Gate;
use super::guard::NAP;
use crate::access::{self, Denied, State};
use crate::authn::{ApprovalFault, Authenticated, Certified};
use crate::ledger::entry::{Approval, Entry};
use crate::model::{
    Action, Capability, EndReason, GrantId, Identity, Login, PersonId, PersonName, Proof, SessionId, Target,
    TargetName, Timestamp,
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
    certified: Option<Certified>,
    pub(super) login: Login,
    pub(super) target: TargetName,
    /// What any of the person's grants for this address allows.
    pub(super) capabilities: BTreeSet<Capability>,
    pub(super) reason: String,
    pub(super) client: IpAddr,
    /// Further grants for this address, all subscribed to, whose clock runs and whose approvals verified.
    others: Vec<GrantId>,
    window: Mutex<Window>,
    /// Wakes the guard when the window became shorter.
    shortened: Notify,
}

/// What a session uses of its grants, and until when all of these last.
#[derive(Default)]
struct Window {
    uses: BTreeSet<(GrantId, Capability)>,
    /// On the clock that counts since boot; `None` before the session has started.
    until: Option<Duration>,
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
            let grants = state.live_grants(who.person(), login, target, now);
            let mut grants: Vec<access::Grant> = grants.cloned().collect();
            grants.sort_by_key(|grant| std::cmp::Reverse(grant.usable_until()));
            Ok(grants)
        })?;
        let verified = verified(gate, found)?;
        let under = |nth| Subject::under(&verified, nth, session, who, (login, target), client);
        let opens = |subject: &Subject| subject.ask(gate, &Action::SessionOpen).is_ok();
        // Only a look: what counts is asked again below, once changes are heard.
        let chosen =
            if verified.len() > 1 { (0..verified.len()).filter_map(under).find(opens) } else { None };
        let subject = Arc::new(chosen.or_else(|| under(0)).ok_or(NoPermit::NoGrant)?);
        let sentry =
            Sentry { gate: Arc::downgrade(gate), subject: Arc::clone(&subject), ending: ending.clone() };
        let topics = [
            Topic::Session(session.clone()),
            Topic::Person(subject.person.clone()),
            Topic::Target(subject.target.clone()),
        ];
        let grants = std::iter::once(&subject.grant).chain(&subject.others).cloned().map(Topic::Grant);
        let interest = Interest::in_topics(topics.into_iter().chain(grants));
        let subscription = gate.store.changes().subscribe(interest, Arc::new(sentry));
        subject
            .ask(gate, &Action::SessionOpen)
            .map_err(|no| NoPermit::Refused { reason: no.reason, words: no.words })?;
        Ok(Self { subject, _subscription: subscription })
    }

    /// The right's time runs from now on. A right without an end on the ledger lasts no time at all.
    pub(super) fn begin(&self, gate: &Gate) {
        let until = self.subject.end_of(gate, &self.subject.grant);
        self.subject.window().until = Some(until);
    }

    /// Waits until the first of the session's grants is over. What it says about time comes from the ledger once and
    /// is counted on the clock that nobody can set.
    pub(super) async fn over(&self, gate: &Gate) {
        loop {
            let shortened = self.subject.shortened.notified();
            let until = self.subject.window().until.unwrap_or_default();
            let left = until.saturating_sub(gate.clock.since_boot());
            if left.is_zero() {
                return;
            }
            tokio::select! {
                () = shortened => {}
                () = tokio::time::sleep(left.min(NAP)) => {}
            }
        }
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
    /// The question about a session that starts under the `nth` of some grants and may take up the others.
    fn under(
        grants: &[access::Grant],
        nth: usize,
        session: &SessionId,
        who: &Authenticated,
        (login, target): (&Login, &TargetName),
        client: IpAddr,
    ) -> Option<Self> {
        let first = grants.get(nth)?;
        // The clock of one that starts with its first use starts with a session of its own.
        let is_other =
            |grant: &&access::Grant| grant.facts.grant != first.facts.grant && grant.facts.ends.is_some();
        let others = grants.iter().filter(is_other);
        let all = std::iter::once(first).chain(others.clone());
        Some(Self {
            session: session.clone(),
            grant: first.facts.grant.clone(),
            person: who.person().clone(),
            name: who.name().clone(),
            identity: who.identity().clone(),
            proof: who.proof(),
            certified: who.certified(),
            login: login.clone(),
            target: target.clone(),
            capabilities: all.flat_map(|grant| grant.facts.capabilities.iter().cloned()).collect(),
            reason: first.request.facts.reason.clone(),
            client,
            others: others.map(|grant| grant.facts.grant.clone()).collect(),
            window: Mutex::default(),
            shortened: Notify::new(),
        })
    }

    /// Asks whether `action` is allowed now: the ledger's state first, then policy. The one function used at the start
    /// and for every channel. What the grant the session started under does not allow, another one may.
    pub(super) fn ask(&self, gate: &Gate, action: &Action) -> Result<String, No> {
        let Action::Use(capability) = action else { return self.ask_under(gate, action, &self.grant) };
        let first = self.take_up(gate, capability, &self.grant);
        let others = self.others.iter();
        first.or_else(|no| {
            others.map(|grant| self.take_up(gate, capability, grant)).find_map(Result::ok).ok_or(no)
        })
    }

    /// Asks again whether the session may go on with all that it does. Called on every change, and now and then for
    /// what changes without an entry: the time of day.
    pub(super) fn still(&self, gate: &Gate) -> Result<(), No> {
        self.ask_under(gate, &Action::SessionOpen, &self.grant)?;
        let uses = self.window().uses.clone();
        for (grant, capability) in uses {
            self.may_use(gate, &capability, &grant)?;
        }
        Ok(())
    }

    /// Uses a grant for `capability`, when it allows that. Asked before it is noted, so that what is refused is never the
    /// session's: and again afterwards, so that no revocation falls between.
    fn take_up(&self, gate: &Gate, capability: &Capability, grant: &GrantId) -> Result<String, No> {
        let entry = (grant.clone(), capability.clone());
        let policies = self.may_use(gate, capability, grant)?;
        if !self.window().uses.contains(&entry) {
            if *grant != self.grant && !is_backed(gate, grant) {
                return Err(No::new(EndReason::GrantRevoked));
            }
            self.window().uses.insert(entry.clone());
            if let Err(no) = self.may_use(gate, capability, grant) {
                self.window().uses.remove(&entry);
                return Err(no);
            }
        }
        if *grant == self.grant {
            return Ok(policies);
        }
        let until = self.end_of(gate, grant);
        let mut window = self.window();
        window.until = window.until.map(|before| before.min(until));
        self.shortened.notify_one();
        Ok(format!("{policies}, under {grant}"))
    }

    /// Whether a grant lets this session go on and use `capability`.
    fn may_use(&self, gate: &Gate, capability: &Capability, grant: &GrantId) -> Result<String, No> {
        if *grant != self.grant {
            self.ask_under(gate, &Action::SessionOpen, grant)?;
        }
        self.ask_under(gate, &Action::Use(capability.clone()), grant)
    }

    fn ask_under(&self, gate: &Gate, action: &Action, grant: &GrantId) -> Result<String, No> {
        if gate.store.changes().age() > gate.limits().lease {
            return Err(No::new(EndReason::FeedStale));
        }
        if !gate.authenticator.still_trusts(&self.identity, self.certified) {
            return Err(No::new(EndReason::PersonRevoked));
        }
        let now = gate.clock.now();
        let (target, grant, principal) = gate.store.read(|state| self.facts(state, grant, now))?;
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

    /// When a grant ends, on the clock that counts since boot.
    fn end_of(&self, gate: &Gate, grant: &GrantId) -> Duration {
        let now = gate.clock.now();
        let end = gate.store.read(|state| state.grant(grant).and_then(|grant| grant.facts.ends));
        let left = end.and_then(|end| Duration::try_from(end.duration_since(now)).ok());
        gate.clock.since_boot().saturating_add(left.unwrap_or(Duration::ZERO))
    }

    fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn facts(
        &self,
        state: &State,
        grant: &GrantId,
        now: Timestamp,
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
        let grant = state.grant(grant).ok_or_else(|| No::new(EndReason::GrantRevoked))?;
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

/// Those whose approvals verify. One that does not is never used and spoils none of the others.
fn verified(gate: &Gate, grants: Vec<access::Grant>) -> Result<Vec<access::Grant>, NoPermit> {
    let (mut forged, mut unbacked) = (None, None);
    let mut verified = Vec::with_capacity(grants.len());
    for grant in grants {
        match check_approvals(gate, &grant) {
            Ok(()) => verified.push(grant),
            Err(Unfit::Forged(words)) => {
                tracing::error!(%words, "a grant does not verify");
                metrics::counter!("postern_grants_forged_total").increment(1);
                forged = Some(words);
            }
            Err(Unfit::Unbacked) => {
                tracing::info!(grant = %grant.facts.grant, "a grant whose approvals no longer count begins nothing");
                unbacked = Some(Denied::GrantUnbacked.to_string());
            }
        }
    }
    match (forged, unbacked) {
        _ if !verified.is_empty() => Ok(verified),
        (Some(words), _) => Err(NoPermit::Forged(words)),
        (None, Some(words)) => Err(NoPermit::Refused { reason: EndReason::GrantRevoked, words }),
        (None, None) => Ok(verified),
    }
}

/// Why a grant in force begins no session.
#[derive(Debug, PartialEq, Eq)]
enum Unfit {
    /// It was never approved as it stands: somebody wrote to the database.
    Forged(String),
    /// It was, and an approver may not approve any more, or signed with a key that is no longer theirs.
    Unbacked,
}

/// A row in a table is worth nothing: every approval behind a grant is verified again, here, where the session starts.
fn check_approvals(gate: &Gate, grant: &access::Grant) -> Result<(), Unfit> {
    let forged = |words: &str| Unfit::Forged(format!("grant {}: {words}", grant.facts.grant));
    let request = &grant.request;
    let (asked, given) = (&request.facts, &grant.facts);
    if asked.hash() != request.hash || given.hash != request.hash {
        return Err(forged("its request is not the one that was approved"));
    }
    let is_what_was_asked = given.person == asked.person
        && given.login == asked.login
        && given.target == asked.target
        && given.capabilities == asked.capabilities
        && given.duration_s <= asked.duration_s;
    if !is_what_was_asked {
        return Err(forged("it gives something else than was asked for"));
    }
    let mut approvers = BTreeSet::new();
    for approval in &request.approvals {
        if approval.hash != request.hash || grant.facts.duration_s > approval.duration_s {
            return Err(forged("an approval is for something else"));
        }
        match gate.authenticator.check_approval(approval) {
            Ok(_) => {}
            Err(ApprovalFault::NotTheirs(_)) if was_theirs(gate, approval, grant.issued) => {}
            Err(fault) => return Err(forged(&fault.to_string())),
        }
        approvers.insert(&approval.approver);
    }
    let enough =
        usize::try_from(request.approvals_needed).is_ok_and(|needed| needed > 0 && approvers.len() >= needed);
    if !enough || approvers.contains(&grant.facts.person) {
        return Err(forged("it lacks approvals"));
    }
    if gate.store.read(|state| state.is_backed(request)) { Ok(()) } else { Err(Unfit::Unbacked) }
}

/// Whether an approval's key was its approver's when the grant was issued.
fn was_theirs(gate: &Gate, approval: &Approval, issued: Timestamp) -> bool {
    gate.store.read(|state| {
        state.person(&approval.approver).is_some_and(|who| who.link_at(&approval.identity, issued).is_some())
    })
}

fn is_backed(gate: &Gate, grant: &GrantId) -> bool {
    gate.store.read(|state| state.grant(grant).is_some_and(|grant| state.is_backed(&grant.request)))
}

/// Asks again on every change, on the change feed's own thread.
struct Sentry {
    gate: Weak<Gate>,
    subject: Arc<Subject>,
    ending: Ending,
}

impl Watcher for Sentry {
    fn changed(&self, _entry: &Arc<Entry>) {
        if self.ending.reason().is_some() {
            return;
        }
        // A node that is gone has no sessions to end.
        let Some(gate) = self.gate.upgrade() else { return };
        if let Err(no) = self.subject.still(&gate) {
            self.ending.end(no.reason);
        }
    }

    fn lost(&self) {
        self.ending.end(EndReason::LedgerFailed);
    }
}

#[cfg(test)]
#[path = "permit_tests.rs"]
pub(super) mod tests;
