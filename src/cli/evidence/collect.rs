//! From the whole ledger, what concerns one session: its start, pins and end, the grants it could use with their requests
//! and approvals, the keys of everybody involved, the target, and the rules in force.
//!
//! Entries come by once, oldest first; what may matter is kept until the grant says what does. Hashes of everything are
//! kept too, for the proofs.

use std::collections::{BTreeMap, BTreeSet};

use super::super::ledger::audit::Step;
use crate::ledger::entry::{Entry, Fact, GrantFacts, RewrapFacts, SessionFacts};
use crate::ledger::{HashSource, TreeHash};
use crate::model::{GrantId, PersonId, RequestId};

/// An entry with its bytes.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) entry: Entry,
    pub(super) bytes: Vec<u8>,
}

/// The collector of one session's entries.
#[derive(Debug)]
pub(super) struct Collector {
    facts: SessionFacts,
    /// What concerns the session for sure.
    kept: Vec<Kept>,
    /// What says who has which key and role.
    people: Vec<(PersonId, Kept)>,
    /// The person's requests, with what was answered.
    requests: Vec<(RequestId, Kept)>,
    asked: BTreeSet<RequestId>,
    /// The grants that the session could use, each with its request.
    grants: BTreeMap<GrantId, RequestId>,
    /// The newest of each before the start: policy, configuration, reviewers.
    rules: [Option<Kept>; 3],
    has_started: bool,
    has_ended: bool,
    hashes: Hashes,
}

/// All hashes of a tree, by tile level.
#[derive(Debug, Default)]
pub(super) struct Hashes(BTreeMap<u8, Vec<TreeHash>>);

impl HashSource for Hashes {
    type Error = std::convert::Infallible;

    fn hashes(&self, level: u8, first: u64, count: u64) -> Result<Vec<TreeHash>, Self::Error> {
        let from = usize::try_from(first).unwrap_or(usize::MAX);
        let most = usize::try_from(count).unwrap_or(usize::MAX);
        Ok(self.0.get(&level).into_iter().flatten().skip(from).take(most).copied().collect())
    }
}

impl Collector {
    pub(super) fn new(facts: SessionFacts) -> Self {
        Self {
            facts,
            kept: Vec::new(),
            people: Vec::new(),
            requests: Vec::new(),
            asked: BTreeSet::new(),
            grants: BTreeMap::new(),
            rules: [None, None, None],
            has_started: false,
            has_ended: false,
            hashes: Hashes::default(),
        }
    }

    /// Takes the next entry.
    pub(super) fn take(&mut self, step: &Step<'_>) {
        self.hashes.0.entry(0).or_default().push(step.leaf);
        for node in &step.nodes {
            self.hashes.0.entry(node.level).or_default().push(node.hash);
        }
        let kept = Kept { entry: step.entry.clone(), bytes: step.bytes.to_vec() };
        if self.is_about_the_session(&step.entry.fact) {
            self.kept.push(kept);
        } else if let Some(person) = whose(&step.entry.fact) {
            self.people.push((person.clone(), kept));
        } else if let Fact::RequestMade { request, .. } = &step.entry.fact
            && request.person == self.facts.person
        {
            self.asked.insert(request.request.clone());
            self.requests.push((request.request.clone(), kept));
        } else if let Fact::RequestApproved(approval) = &step.entry.fact
            && self.asked.contains(&approval.request)
        {
            self.requests.push((approval.request.clone(), kept));
        } else if let Fact::PolicyLoaded { .. } = &step.entry.fact {
            self.rule(0, kept);
        } else if let Fact::ConfigurationLoaded { .. } = &step.entry.fact {
            self.rule(1, kept);
        } else if let Fact::ReviewersChanged { .. } = &step.entry.fact {
            self.rule(2, kept);
        }
    }

    /// Whether an entry concerns the session whatever comes later; notes what is learned from it.
    fn is_about_the_session(&mut self, fact: &Fact) -> bool {
        let facts = &self.facts;
        let is_usable = |grant: &GrantFacts| {
            (&grant.person, &grant.login, &grant.target) == (&facts.person, &facts.login, &facts.target)
        };
        if let Fact::GrantIssued(grant) = fact
            && is_usable(grant)
            && !self.has_ended
        {
            self.grants.insert(grant.grant.clone(), grant.request.clone());
        } else if let Fact::GrantRevoked { grant, .. } | Fact::GrantEnded { grant } = fact
            && !self.has_started
        {
            // Over before the session began.
            self.grants.remove(grant);
        }
        let is_start = matches!(fact, Fact::SessionStarted(started) if started.session == facts.session);
        let is_end = matches!(fact, Fact::SessionEnded(ended) if ended.session == facts.session);
        let is_cut = matches!(fact, Fact::Revoked { .. }) && self.has_started && !self.has_ended;
        let is_grant = of_grant(fact).is_some_and(|grant| self.grants.contains_key(grant));
        let is_target = matches!(fact, Fact::TargetAdded { target } if target.name == facts.target)
            || matches!(
                fact,
                Fact::TargetTrusted { target, .. } | Fact::TargetRemoved { target, .. } if *target == facts.target
            );
        let is_session = matches!(
            fact,
            Fact::SessionTerminated { session, .. }
                | Fact::RecordingCheckpoint { session, .. }
                | Fact::RecordingRewrapped(RewrapFacts { session, .. })
                | Fact::RecordingViewed { session, .. }
                | Fact::CleanupDone { session, .. }
                if *session == facts.session
        );
        let is_kept_or_not = matches!(
            fact,
            Fact::RecordingHeld { session, .. }
                | Fact::RecordingReleased { session, .. }
                | Fact::RecordingDeletionAsked { session, .. }
                | Fact::RecordingDeletionWithdrawn { session }
                | Fact::RecordingDeletionLapsed { session }
                if *session == facts.session
        );
        self.has_started |= is_start;
        self.has_ended |= is_end;
        let is_first = matches!(fact, Fact::NodeInitialised { .. });
        is_first || is_start || is_end || is_cut || is_grant || is_target || is_session || is_kept_or_not
    }

    fn rule(&mut self, which: usize, kept: Kept) {
        if !self.has_started
            && let Some(rule) = self.rules.get_mut(which)
        {
            *rule = Some(kept);
        }
    }

    /// Whether the session is over.
    pub(super) const fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// The entries that concern the session, oldest first, and the hashes of all.
    pub(super) fn finish(self) -> (Vec<Kept>, Hashes) {
        let mut involved = BTreeSet::from([self.facts.person.clone()]);
        // A grant that was over before the session began has entries from before that.
        let concerns = |fact: &Fact| of_grant(fact).is_none_or(|grant| self.grants.contains_key(grant));
        let mut all: Vec<Kept> = self.kept.into_iter().filter(|kept| concerns(&kept.entry.fact)).collect();
        for (request, kept) in self.requests {
            if !self.grants.values().any(|wanted| *wanted == request) {
                continue;
            }
            if let Fact::RequestApproved(approval) = &kept.entry.fact {
                involved.insert(approval.approver.clone());
            }
            all.push(kept);
        }
        all.extend(
            self.people.into_iter().filter(|(person, _)| involved.contains(person)).map(|(_, kept)| kept),
        );
        all.extend(self.rules.into_iter().flatten());
        all.sort_by_key(|kept| kept.entry.seq);
        (all, self.hashes)
    }
}

/// Which grant an entry is about.
const fn of_grant(fact: &Fact) -> Option<&GrantId> {
    if let Fact::GrantIssued(grant) = fact {
        return Some(&grant.grant);
    }
    if let Fact::GrantStarted { grant, .. } | Fact::GrantRevoked { grant, .. } | Fact::GrantEnded { grant } =
        fact
    {
        return Some(grant);
    }
    None
}

/// Whose keys or roles an entry is about.
const fn whose(fact: &Fact) -> Option<&PersonId> {
    if let Fact::PersonAdded(added) = fact {
        return Some(&added.person);
    }
    if let Fact::IdentityLinked { person, .. }
    | Fact::IdentityUnlinked { person, .. }
    | Fact::RolesChanged { person, .. }
    | Fact::PersonDisabled { person, .. }
    | Fact::PersonEnabled { person } = fact
    {
        return Some(person);
    }
    None
}
