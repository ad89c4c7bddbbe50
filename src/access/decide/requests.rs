//! Asking, approving, denying, withdrawing. Where nobody approves for themselves.
//!
//! A request cannot be edited: approvals sign the hash of all of it, so a change is a withdrawal and a new request.
//! Requests and grants stand side by side and never touch each other. Read next: `../separation.rs`, `rights.rs`.

use std::collections::BTreeSet;

use super::text;
use crate::access::command::RequestRule;
use crate::access::denied::Denied;
use crate::access::separation::{self, Conflict};
use crate::access::state::{Request, State};
use crate::ledger::entry::{Actor, Approval, Fact, GrantFacts, RequestFacts, WindowClock};
use crate::model::{Capability, GrantId, Identity, Login, PersonId, RequestId, TargetName, Timestamp};

/// Requests one person may have open at once.
const OPEN_REQUESTS: usize = 50;
/// Capabilities one request may ask for.
const CAPABILITIES: usize = 64;
/// Longest window or wait any rule can set: 400 days.
const LONGEST_S: u64 = 400 * 86_400;
/// Longest armored signature (SSHSIG by an RSA key of 8192 bits is 3.5 KB).
const SIGNATURE: usize = 8192;

/// What somebody asks for.
pub(super) struct Wish {
    pub(super) login: Login,
    pub(super) target: TargetName,
    pub(super) capabilities: BTreeSet<Capability>,
    pub(super) duration_s: u64,
    pub(super) reason: String,
    pub(super) ticket: Option<String>,
}

pub(super) fn make(
    state: &State,
    by: &Actor,
    wish: Wish,
    rule: RequestRule,
    now: Timestamp,
    id: RequestId,
) -> Result<Vec<Fact>, Denied> {
    let (person, identity) = somebody(by)?;
    let target =
        state.target(&wish.target).ok_or_else(|| Denied::NoSuchTarget { target: wish.target.clone() })?;
    if !target.offers(&wish.login) {
        return Err(Denied::LoginNotOffered { login: wish.login, target: wish.target });
    }
    text::line("the reason", &wish.reason, text::REASON)?;
    if let Some(ticket) = &wish.ticket {
        text::line("the ticket", ticket, text::NAME)?;
    }
    text::count("the list of capabilities", wish.capabilities.len(), CAPABILITIES)?;
    if rule.approvals_needed == 0 || rule.approver_roles.is_empty() {
        return Err(Denied::RuleUnusable { target: wish.target });
    }
    let longest_s = rule.longest_s.min(LONGEST_S);
    if wish.duration_s == 0 || wish.duration_s > longest_s {
        return Err(Denied::WindowUnfit { longest_s });
    }
    if state.open_requests_of(person) >= OPEN_REQUESTS {
        return Err(Denied::TooMany { what: "open requests", most: OPEN_REQUESTS });
    }
    let request = RequestFacts {
        request: id,
        person: person.clone(),
        identity: identity.clone(),
        login: wish.login,
        target: wish.target,
        capabilities: wish.capabilities,
        duration_s: wish.duration_s,
        clock: rule.clock,
        reason: wish.reason,
        ticket: wish.ticket,
        asked: now,
    };
    Ok(vec![Fact::RequestMade {
        hash: request.hash(),
        lapses: later(now, rule.lapses_after_s.clamp(1, LONGEST_S)),
        request,
        approvals_needed: rule.approvals_needed,
        approver_roles: rule.approver_roles,
        use_within_s: rule.use_within_s.clamp(1, LONGEST_S),
    }])
}

pub(super) fn approve(
    state: &State,
    by: &Actor,
    approval: Approval,
    now: Timestamp,
    grant: GrantId,
) -> Result<Vec<Fact>, Denied> {
    let (person, _) = somebody(by)?;
    let request = open(state, &approval.request, now)?;
    may_approve(state, request, person, &approval)?;
    if approval.hash != request.hash || request.facts.hash() != request.hash {
        return Err(Denied::HashDiffers);
    }
    if approval.duration_s == 0 || approval.duration_s > request.facts.duration_s {
        return Err(Denied::ApprovalTooLong { asked_s: request.facts.duration_s });
    }
    if approval.signature.is_empty() {
        return Err(Denied::Empty { what: "the signature" });
    }
    if approval.signature.len() > SIGNATURE {
        return Err(Denied::TooLong { what: "the signature", most: SIGNATURE });
    }
    let duration_s =
        request.approvals.iter().map(|earlier| earlier.duration_s).fold(approval.duration_s, u64::min);
    let approvers = request.approvals.iter().map(|a| &a.approver).chain([&approval.approver]);
    let different = separation::different_approvers(state, &request.facts.person, approvers);
    let is_enough = u32::try_from(different).is_ok_and(|n| n >= request.approvals_needed);
    let issued = is_enough.then(|| Fact::GrantIssued(issue(request, grant, duration_s, now)));
    Ok(std::iter::once(Fact::RequestApproved(approval)).chain(issued).collect())
}

pub(super) fn deny(state: &State, request: RequestId, reason: String) -> Result<Vec<Fact>, Denied> {
    text::line("the reason", &reason, text::REASON)?;
    state.request(&request).ok_or(Denied::NoSuchRequest)?;
    Ok(vec![Fact::RequestDenied { request, reason }])
}

pub(super) fn withdraw(
    state: &State,
    by: &Actor,
    request: RequestId,
    as_manager: bool,
) -> Result<Vec<Fact>, Denied> {
    let open = state.request(&request).ok_or(Denied::NoSuchRequest)?;
    let is_own = matches!(by, Actor::Person { person, .. } if *person == open.facts.person);
    if is_own || as_manager {
        Ok(vec![Fact::RequestWithdrawn { request }])
    } else {
        Err(Denied::NotRequester)
    }
}

fn may_approve(
    state: &State,
    request: &Request,
    person: &PersonId,
    approval: &Approval,
) -> Result<(), Denied> {
    if approval.approver != *person {
        return Err(Denied::ActorUnknown);
    }
    let approver = state.person(person).ok_or(Denied::ActorUnknown)?;
    approver.link(&approval.identity).ok_or(Denied::ActorUnknown)?;
    if !state.is_active(&request.facts.person) {
        return Err(Denied::RequesterDisabled);
    }
    separation::between(state, &request.facts.person, person).map_err(Denied::Separation)?;
    if approver.facts.roles.is_disjoint(&request.approver_roles) {
        return Err(Denied::NotApprover { roles: request.approver_roles.iter().cloned().collect() });
    }
    for earlier in &request.approvals {
        if earlier.approver == *person {
            return Err(Denied::AlreadyApproved);
        }
        if separation::same_human(state, &earlier.approver, person) {
            return Err(Denied::Separation(Conflict::SecondApproval));
        }
    }
    Ok(())
}

fn issue(request: &Request, grant: GrantId, duration_s: u64, now: Timestamp) -> GrantFacts {
    let (ends, use_before) = match request.facts.clock {
        WindowClock::Approval => (Some(later(now, duration_s)), None),
        WindowClock::FirstUse => (None, Some(later(now, request.use_within_s))),
    };
    GrantFacts {
        grant,
        request: request.facts.request.clone(),
        hash: request.hash.clone(),
        person: request.facts.person.clone(),
        login: request.facts.login.clone(),
        target: request.facts.target.clone(),
        capabilities: request.facts.capabilities.clone(),
        duration_s,
        clock: request.facts.clock,
        ends,
        use_before,
    }
}

/// Who is asking, when it is somebody.
fn somebody(by: &Actor) -> Result<(&PersonId, &Identity), Denied> {
    match by {
        Actor::Person { person, identity } => Ok((person, identity)),
        Actor::Node | Actor::Operator => Err(Denied::ActorNotPerson),
    }
}

fn open<'a>(state: &'a State, id: &RequestId, now: Timestamp) -> Result<&'a Request, Denied> {
    state.request(id).filter(|request| now < request.lapses).ok_or(Denied::NoSuchRequest)
}

/// `now` and some seconds; an overflow gives `now`, so that what it bounds is over at once.
pub(super) fn later(now: Timestamp, seconds: u64) -> Timestamp {
    now.checked_add(std::time::Duration::from_secs(seconds)).unwrap_or(now)
}
