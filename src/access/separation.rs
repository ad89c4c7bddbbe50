//! Separation of duties: may this person approve what that person asked for?
//!
//! Persons are compared, never names or the key in hand: two person ids that ever shared an identity are one human,
//! and a workload stands for its owner. Anything unclear is a conflict. Read next: `decide/requests.rs`.

use std::collections::BTreeSet;

use super::state::{Request, State};
use crate::ledger::entry::Approval;
use crate::model::{PersonId, PrincipalKind};

/// Why somebody is not "somebody else" for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// The approver is the requester.
    #[error("nobody approves their own request: somebody else has to")]
    Self_,
    /// The two share, or shared, an identity.
    #[error("the identities of the requester and the approver are linked: somebody else has to approve")]
    Linked,
    /// The requester is a workload of the approver.
    #[error("the request comes from a workload of yours: somebody else has to approve")]
    OwnWorkload,
    /// Workloads have no approval right.
    #[error("workloads cannot approve: a person has to")]
    Workload,
    /// An earlier approval came from the same human.
    #[error("somebody linked to you approved already: it needs another person")]
    SecondApproval,
    /// One of the two is not enrolled.
    #[error("the requester or the approver is not enrolled")]
    Unknown,
}

/// Whether `approver` is somebody else than `requester`, for the purpose of approving.
///
/// # Errors
/// The conflict, when they are not.
pub(super) fn between(state: &State, requester: &PersonId, approver: &PersonId) -> Result<(), Conflict> {
    if requester == approver {
        return Err(Conflict::Self_);
    }
    let (Some(asks), Some(approves)) = (state.person(requester), state.person(approver)) else {
        return Err(Conflict::Unknown);
    };
    if approves.facts.kind == PrincipalKind::Workload {
        return Err(Conflict::Workload);
    }
    if same_human(state, requester, approver) {
        return Err(Conflict::Linked);
    }
    match &asks.facts.owner {
        Some(owner) if same_human(state, owner, approver) => Err(Conflict::OwnWorkload),
        Some(_) | None => Ok(()),
    }
}

/// Whether two person ids are one human: the same id, or joined by identities that were both's at some time, however
/// many persons the chain goes through.
pub(super) fn same_human(state: &State, one: &PersonId, other: &PersonId) -> bool {
    let mut known = BTreeSet::from([one]);
    let mut open = vec![one];
    while let Some(next) = open.pop() {
        if next == other {
            return true;
        }
        let links = state.person(next).map(|person| person.links.as_slice()).unwrap_or_default();
        for holder in links.iter().flat_map(|link| state.holders(&link.identity)) {
            if known.insert(holder) {
                open.push(holder);
            }
        }
    }
    false
}

/// Whether whoever gave an approval could still give it: enabled, with that key, with a role that counts, and somebody
/// else than the requester.
pub(super) fn still_counts(state: &State, request: &Request, approval: &Approval) -> bool {
    state.is_active(&approval.approver)
        && state.person(&approval.approver).is_some_and(|approver| {
            approver.link(&approval.identity).is_some()
                && !approver.facts.roles.is_disjoint(&request.approver_roles)
        })
        && between(state, &request.facts.person, &approval.approver).is_ok()
}

/// Whether the approvals that still count are enough.
pub(super) fn is_enough(state: &State, request: &Request) -> bool {
    let counting = request.approvals.iter().filter(|approval| still_counts(state, request, approval));
    let approvers = counting.map(|approval| &approval.approver);
    let different = different_approvers(state, &request.facts.person, approvers);
    u32::try_from(different).is_ok_and(|different| different >= request.approvals_needed)
}

/// How many different humans approved, leaving out those who are not somebody else.
pub(super) fn different_approvers<'a>(
    state: &State,
    requester: &PersonId,
    approvers: impl Iterator<Item = &'a PersonId>,
) -> usize {
    let mut counted: Vec<&PersonId> = Vec::new();
    for approver in approvers {
        let is_other = between(state, requester, approver).is_ok();
        if is_other && !counted.iter().any(|seen| same_human(state, seen, approver)) {
            counted.push(approver);
        }
    }
    counted.len()
}
