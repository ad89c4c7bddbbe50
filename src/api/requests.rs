//! Requests: asking for access, and answering.
//!
//! An approval is a signature by the approver's own key over the request's hash and the window; it is verified here
//! before it is stored, and again by whoever starts a session. How many must approve, and who may, is policy's rule at
//! the time of asking, and part of the request.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::call::{self, Call, Reply};
use super::closed::{self, Closed, Over};
use super::error::ApiError;
use super::find::{self, FoundRequest};
use super::gone;
use super::people::Reason;
use crate::access::{Command, Request, RequestEnd, State};
use crate::ledger::entry::{Approval, Fact, RequestFacts};
use crate::model::{
    Action, Capability, GrantId, Identity, Login, PersonId, PersonName, PrincipalKind, Proof, RequestId,
    Role, Target, TargetName, Timestamp,
};
use crate::policy::{Principal, Resource};
use crate::session::demanded;

/// A request, as shown.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(super) struct RequestView {
    request: RequestFacts,
    /// What an approval signs.
    hash: String,
    /// When it lapses if nobody answers.
    lapses: Timestamp,
    approvals_needed: u32,
    approver_roles: BTreeSet<Role>,
    approvals: Vec<ApprovalView>,
    state: RequestState,
    person_name: Option<PersonName>,
    /// Who could approve it now.
    can_approve: BTreeSet<PersonName>,
    /// The grant it became.
    grant: Option<GrantId>,
    /// Who ended it without one, and why.
    closed: Option<Closed>,
}

/// An approval, as shown.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(super) struct ApprovalView {
    approver: PersonId,
    name: Option<PersonName>,
    /// The window as approved, in seconds.
    duration_s: u64,
}

/// Where a request stands.
#[derive(Debug, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum RequestState {
    /// It waits for answers.
    Open,
    /// It became a grant.
    Granted,
    /// Somebody denied it.
    Denied,
    /// It was taken back.
    Withdrawn,
    /// Nobody answered in time.
    Lapsed,
    /// What it was about is gone, or was revoked.
    Revoked,
}

/// What is asked for.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Wish {
    login: Login,
    target: TargetName,
    /// Length of the window, in seconds; the rule's default unless said otherwise.
    for_s: Option<u64>,
    reason: String,
    ticket: Option<String>,
    /// `shell`, `exec` and `sftp` unless said otherwise.
    #[serde(default)]
    capabilities: BTreeSet<Capability>,
}

/// An approval to be stored.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewApproval {
    /// The request's hash, as signed.
    hash: String,
    /// The window, in seconds, as signed; never longer than asked.
    duration_s: u64,
    /// Armored SSHSIG, namespace `approval@postern`.
    signature: String,
}

pub(super) async fn list(call: Call) -> Result<Reply, ApiError> {
    let wanted = find::wanted(&call)?;
    let mut all: Vec<FoundRequest> = call.look(|state| {
        let open = state.requests().filter(|open| wanted(&open.facts.person, &open.facts.target));
        open.map(|request| FoundRequest { request: request.clone(), end: None }).collect()
    });
    let mut next = None;
    if find::wants_all(&call, "open")? {
        let (over, more) = find::past_requests(&call).await?;
        all.extend(over);
        next = more;
    }
    let mut seen = Vec::new();
    for (index, found) in all.into_iter().enumerate() {
        call::breathe(index).await;
        if with_resource(&call, &found.request, |resource| call.may(&Action::RequestRead, resource)) {
            seen.push(found);
        }
    }
    let closed = closed::all(&call, seen.iter().map(end_by_somebody).collect()).await?;
    let mut views = Vec::new();
    for (index, (found, closed)) in seen.iter().zip(closed).enumerate() {
        call::breathe(index).await;
        views.push(view(&call, found, closed));
    }
    Reply::page(views, next)
}

pub(super) async fn show(call: Call) -> Result<Reply, ApiError> {
    let found = seen(&call, &Action::RequestRead).await?;
    shown(&call, &found).await
}

pub(super) async fn make(call: Call) -> Result<Reply, ApiError> {
    call.person("asking for access")?;
    let wish: Wish = call.body()?;
    let target = call.look(|state| state.target(&wish.target).cloned());
    let target = target.ok_or_else(|| ApiError::not_found("target"))?;
    let resource = Resource::Target { target: &target, login: Some(&wish.login) };
    let seeing = Resource::Target { target: &target, login: None };
    if !call.may(&Action::TargetRead, seeing) {
        return Err(ApiError::not_found("target"));
    }
    call.ask(&Action::RequestMake, resource)?;
    let rule = call.gate.parts.policy.rule_for(&target, &wish.login);
    let capabilities = if wish.capabilities.is_empty() {
        [Capability::Exec, Capability::Sftp, Capability::Shell].into()
    } else {
        wish.capabilities
    };
    let entries = call
        .submit(Command::MakeRequest {
            login: wish.login,
            target: wish.target,
            capabilities,
            duration_s: wish.for_s.unwrap_or(rule.default.as_secs()),
            reason: wish.reason,
            ticket: wish.ticket,
            rule: demanded(&rule),
        })
        .await?;
    let made = entries.iter().find_map(|entry| {
        if let Fact::RequestMade { request, .. } = &entry.fact { Some(request.request.clone()) } else { None }
    });
    reply(&call, &made.ok_or_else(|| ApiError::failed("no request was made"))?).await
}

pub(super) async fn approve(call: Call) -> Result<Reply, ApiError> {
    let approver = call.person("approving")?.person().clone();
    let request = seen(&call, &Action::RequestApprove).await?.request;
    let given: NewApproval = call.body()?;
    let signed_by = crate::authn::signer_of(&given.signature)?;
    let approval = Approval {
        request: request.facts.request.clone(),
        hash: given.hash,
        approver,
        identity: Identity::ssh_key(&signed_by),
        duration_s: given.duration_s,
        signature: given.signature,
    };
    call.gate.parts.authenticator.check_approval(&approval)?;
    call.submit(Command::Approve(Box::new(approval))).await?;
    reply(&call, &request.facts.request).await
}

pub(super) async fn deny(call: Call) -> Result<Reply, ApiError> {
    let found = match &call.who {
        // Refusing needs no signature, so the machine's operator may.
        call::Who::Operator => find::request(&call, call.param("request"), |_| true).await?,
        call::Who::Nobody | call::Who::Person(_) => seen(&call, &Action::RequestApprove).await?,
    };
    let given: Reason = call.body()?;
    call.submit(Command::Deny { request: found.request.facts.request, reason: given.reason }).await?;
    Ok(Reply::empty())
}

pub(super) async fn withdraw(call: Call) -> Result<Reply, ApiError> {
    let as_manager = matches!(call.who, call::Who::Operator);
    let found = seen(&call, &Action::RequestWithdraw).await?;
    call.submit(Command::Withdraw { request: found.request.facts.request, as_manager }).await?;
    Ok(Reply::empty())
}

/// The request a path names, if the caller may see it and do this to it.
async fn seen(call: &Call, action: &Action) -> Result<FoundRequest, ApiError> {
    let sees = |found: &FoundRequest| {
        with_resource(call, &found.request, |resource| call.may(&Action::RequestRead, resource))
    };
    let found = find::request(call, call.param("request"), sees).await?;
    with_resource(call, &found.request, |resource| {
        call.ask_seeing(&Action::RequestRead, action, resource, "request")
    })?;
    Ok(found)
}

async fn reply(call: &Call, request: &RequestId) -> Result<Reply, ApiError> {
    let found = find::request(call, request.as_str(), |_| true).await?;
    shown(call, &found).await
}

async fn shown(call: &Call, found: &FoundRequest) -> Result<Reply, ApiError> {
    let closed = closed::one(call, end_by_somebody(found)).await?;
    Reply::json(&view(call, found, closed))
}

/// What to look for in the ledger, for a request that somebody ended.
fn end_by_somebody(found: &FoundRequest) -> Option<Over> {
    match found.end? {
        (RequestEnd::Granted | RequestEnd::Lapsed, _) => None,
        (RequestEnd::Denied | RequestEnd::Revoked | RequestEnd::Withdrawn, at) => {
            let facts = &found.request.facts;
            Some(Over {
                id: facts.request.to_string(),
                at,
                person: facts.person.clone(),
                target: facts.target.clone(),
            })
        }
    }
}

fn view(call: &Call, found: &FoundRequest, closed: Option<Closed>) -> RequestView {
    let request = &found.request;
    let can_approve = if found.end.is_none() { approvers(call, request) } else { BTreeSet::new() };
    call.look(|state| RequestView {
        request: request.facts.clone(),
        hash: request.hash.clone(),
        lapses: request.lapses,
        approvals_needed: request.approvals_needed,
        approver_roles: request.approver_roles.clone(),
        approvals: request
            .approvals
            .iter()
            .map(|approval| ApprovalView {
                approver: approval.approver.clone(),
                name: name_of(state, &approval.approver),
                duration_s: approval.duration_s,
            })
            .collect(),
        state: state_of(found.end.map(|(end, _)| end)),
        person_name: name_of(state, &request.facts.person),
        can_approve,
        grant: state
            .grants()
            .find(|g| g.facts.request == request.facts.request)
            .map(|g| g.facts.grant.clone()),
        closed,
    })
}

/// Who could approve a request now: those policy allows, however they sign in, who hold a role that counts and a key to
/// sign with, and did not approve yet.
fn approvers(call: &Call, request: &Request) -> BTreeSet<PersonName> {
    let people: Vec<Principal> = call.look(|state| {
        let may = state.people().filter(|person| {
            person.facts.kind == PrincipalKind::Person
                && state.is_active(&person.facts.person)
                && !person.facts.roles.is_disjoint(&request.approver_roles)
                && request.approvals.iter().all(|approval| approval.approver != person.facts.person)
        });
        let proofs = may.map(|person| (person, call::proofs(person)));
        let can_sign =
            proofs.filter(|(_, proofs)| proofs.iter().any(|proof| *proof != Proof::SshCertificate));
        can_sign
            .flat_map(|(person, proofs)| {
                proofs.into_iter().map(|proof| call::principal_with(state, person, proof)).collect::<Vec<_>>()
            })
            .collect()
    });
    with_resource(call, request, |resource| {
        let answers =
            call.gate.parts.policy.who_could(&people, &Action::RequestApprove, resource, call.now());
        answers
            .into_iter()
            .filter(|(_, answer)| answer.is_allowed())
            .map(|(who, _)| who.name.clone())
            .collect()
    })
}

fn with_resource<R>(call: &Call, request: &Request, then: impl FnOnce(Resource<'_>) -> R) -> R {
    let facts = &request.facts;
    let (target, owner): (Target, Option<PersonId>) = call.look(|state| {
        let target = state.target(&facts.target).cloned().unwrap_or_else(|| gone::target(&facts.target));
        (target, state.person(&facts.person).and_then(|person| person.facts.owner.clone()))
    });
    then(Resource::Request {
        request: &facts.request,
        requester: &facts.person,
        requester_owner: owner.as_ref(),
        login: &facts.login,
        target: &target,
    })
}

fn name_of(state: &State, person: &PersonId) -> Option<PersonName> {
    state.person(person).map(|person| person.facts.name.clone())
}

const fn state_of(end: Option<RequestEnd>) -> RequestState {
    match end {
        None => RequestState::Open,
        Some(RequestEnd::Denied) => RequestState::Denied,
        Some(RequestEnd::Granted) => RequestState::Granted,
        Some(RequestEnd::Lapsed) => RequestState::Lapsed,
        Some(RequestEnd::Revoked) => RequestState::Revoked,
        Some(RequestEnd::Withdrawn) => RequestState::Withdrawn,
    }
}
