//! Grants: the rights in force, and taking them back; one, all of a person or target, or everything.
//!
//! Anybody may give up their own right. The answer says which sessions ended; the sessions end whether or not anybody
//! waits for the answer.

use serde::{Deserialize, Serialize};

use super::call::{self, Call, Reply};
use super::closed::{self, Closed, Over};
use super::ended;
use super::error::ApiError;
use super::people::Reason;
use super::{find, gone};
use crate::access::{Command, Grant, GrantEnd, State};
use crate::ledger::entry::{GrantFacts, Scope};
use crate::model::{Action, PersonId, PersonName, Target, TargetName, Timestamp};
use crate::policy::Resource;

/// A grant, as shown.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub(super) struct GrantView {
    grant: GrantFacts,
    /// Whose right it is.
    person_name: Option<PersonName>,
    /// Whether a session ever started under it.
    used: bool,
    /// When it stops being usable as things stand.
    usable_until: Option<Timestamp>,
    /// How it ended, if it did: `expired`, `revoked` or `voided`.
    ended: Option<GrantEnd>,
    /// Who ended it, and why.
    closed: Option<Closed>,
}

/// What to revoke.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Revocation {
    scope: ScopeGiven,
    reason: String,
}

/// What a revocation covers, with names as people type them.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ScopeGiven {
    /// Everybody, everywhere.
    Everything,
    /// Everything of one person, by name or id.
    Person(String),
    /// Everything on one target.
    Target(TargetName),
}

pub(super) async fn list(call: Call) -> Result<Reply, ApiError> {
    let wanted = find::wanted(&call)?;
    let mut all: Vec<(Grant, Option<(GrantEnd, Timestamp)>)> = call.look(|state| {
        let live = state.grants().filter(|live| wanted(&live.facts.person, &live.facts.target));
        live.map(|grant| (grant.clone(), None)).collect()
    });
    let mut next = None;
    if find::wants_all(&call, "live")? {
        let (over, more) = find::past_grants(&call).await?;
        all.extend(over.into_iter().map(|(grant, end)| (grant, Some(end))));
        next = more;
    }
    let mut seen = Vec::new();
    for (index, found) in all.into_iter().enumerate() {
        call::breathe(index).await;
        if may_see(&call, &found.0) {
            seen.push(found);
        }
    }
    let closed = closed::all(&call, seen.iter().map(|(grant, end)| end_by_somebody(grant, *end)).collect());
    let seen = seen.iter().zip(closed.await?);
    let view = |state: &State| seen.map(|((grant, end), closed)| view(state, grant, *end, closed)).collect();
    Reply::page(call.look(view), next)
}

pub(super) async fn revoke(call: Call) -> Result<Reply, ApiError> {
    let sees = |grant: &Grant| may_see(&call, grant);
    let (grant, end) = find::grant(&call, call.param("grant"), sees).await?;
    with_resource(&call, &grant, |resource| {
        call.ask_seeing(&Action::RequestRead, &Action::GrantRevoke, resource, "grant")
    })?;
    let given: Reason = call.body()?;
    if let Some(end) = end {
        return Err(over(&call, &grant, end).await?);
    }
    let id = grant.facts.grant;
    let sessions = ended::sessions_where(&call, |session| session.facts.grant == id);
    let command = Command::RevokeGrant { grant: id, reason: given.reason };
    ended::revoke(&call, sessions, command).await
}

pub(super) async fn revoke_scope(call: Call) -> Result<Reply, ApiError> {
    let given: Revocation = call.body()?;
    let (scope, sessions) = match given.scope {
        ScopeGiven::Everything => {
            call.ask(&Action::GrantRevoke, Resource::Bastion)?;
            (Scope::Everything, ended::sessions_where(&call, |_| true))
        }
        ScopeGiven::Person(person) => {
            call.ask(&Action::GrantRevoke, Resource::Bastion)?;
            let person = find::person(&call, &person)?;
            let sessions = ended::sessions_of(&call, &person);
            (Scope::Person(person), sessions)
        }
        ScopeGiven::Target(name) => {
            let target = call.look(|state| state.target(&name).cloned());
            let target = target.ok_or_else(|| ApiError::not_found("target"))?;
            let resource = Resource::Target { target: &target, login: None };
            call.ask_seeing(&Action::TargetRead, &Action::GrantRevoke, resource, "target")?;
            let sessions = ended::sessions_where(&call, |session| session.facts.target == name);
            (Scope::Target(name), sessions)
        }
    };
    let command = Command::Revoke { scope, reason: given.reason };
    ended::revoke(&call, sessions, command).await
}

/// What to look for in the ledger, for a grant that somebody ended.
fn end_by_somebody(grant: &Grant, end: Option<(GrantEnd, Timestamp)>) -> Option<Over> {
    match end? {
        (GrantEnd::Expired | GrantEnd::Voided, _) => None,
        (GrantEnd::Revoked, at) => Some(Over {
            id: grant.facts.grant.to_string(),
            at,
            person: grant.facts.person.clone(),
            target: grant.facts.target.clone(),
        }),
    }
}

/// Why a grant that is over cannot be revoked: whoever tries wants to know that nothing is left to do.
async fn over(call: &Call, grant: &Grant, end: (GrantEnd, Timestamp)) -> Result<ApiError, ApiError> {
    let (id, (how, at)) = (&grant.facts.grant, end);
    let words = match how {
        GrantEnd::Expired => format!("{id} is over: it expired at {at:.0}"),
        GrantEnd::Voided => {
            format!("{id} is over: it was voided at {at:.0}, when its approvals stopped counting")
        }
        GrantEnd::Revoked => match closed::one(call, end_by_somebody(grant, Some(end))).await? {
            Some(Closed { by, reason: Some(reason), .. }) => {
                format!("{id} was already revoked at {at:.0} by {by}: {reason}")
            }
            Some(Closed { by, .. }) => format!("{id} was already revoked at {at:.0} by {by}"),
            None => format!("{id} was already revoked at {at:.0}"),
        },
    };
    Ok(ApiError::conflict("grant_over", words))
}

fn view(
    state: &State,
    grant: &Grant,
    end: Option<(GrantEnd, Timestamp)>,
    closed: Option<Closed>,
) -> GrantView {
    GrantView {
        grant: grant.facts.clone(),
        person_name: state.person(&grant.facts.person).map(|person| person.facts.name.clone()),
        used: grant.used,
        usable_until: grant.usable_until().filter(|_| end.is_none()),
        ended: end.map(|(how, _)| how),
        closed,
    }
}

fn may_see(call: &Call, grant: &Grant) -> bool {
    with_resource(call, grant, |resource| call.may(&Action::RequestRead, resource))
}

/// A grant is seen and revoked as the request it answers.
fn with_resource<R>(call: &Call, grant: &Grant, then: impl FnOnce(Resource<'_>) -> R) -> R {
    let facts = &grant.facts;
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
