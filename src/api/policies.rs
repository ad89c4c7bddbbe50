//! Policy: what is in force, loading it again, and what it would say.
//!
//! A set that does not load or fails its own table never replaces the one in force. Loading is an entry in the ledger,
//! and that entry is what makes every live session ask again.

use serde::{Deserialize, Serialize};

use super::call::{self, Call, Reply, Who};
use super::error::ApiError;
use super::find;
use crate::access::Command;
use crate::model::{
    Action, Capability, Login, PersonId, PolicyChanges, Proof, RequestId, Role, SessionId, Target,
    TargetName, WindowClock,
};
use crate::policy::{self, Engine, Principal, Question, ReloadError, Reloaded, Resource};

/// Most rules shown.
const MOST_RULES: usize = 1000;

/// What is in force.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(super) struct Policies {
    /// SHA-256 over the set.
    hash: String,
    /// The files of the set, as they were when it was loaded.
    files: Vec<PolicyFile>,
    /// What a request would need, for each login of each target.
    rules: Vec<RuleView>,
}

/// One file.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(super) struct PolicyFile {
    name: String,
    text: String,
}

/// What a request needs.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(super) struct RuleView {
    target: TargetName,
    login: Login,
    /// The rule's name.
    rule: String,
    approvals: u32,
    approver_roles: Vec<Role>,
    longest_s: u64,
    default_s: u64,
    clock: WindowClock,
    /// With a clock that starts at first use: how long the unused grant stays good.
    use_within_s: u64,
    lapses_s: u64,
}

/// The set that is in force now.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(super) struct Loaded {
    hash: String,
    /// How it differs from the one in force before. `approvals.toml` and `decisions.toml` are named like rules.
    rules: PolicyChanges,
}

/// A question to explain.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    /// Name or id; the caller unless said otherwise.
    person: Option<String>,
    /// Such as `session:open`; `request:make` unless said otherwise.
    action: Option<String>,
    login: Option<Login>,
    target: Option<TargetName>,
    capability: Option<Capability>,
}

/// What policy says, and why.
#[derive(Debug, Default, Serialize, schemars::JsonSchema)]
pub(super) struct Explained {
    /// Absent when there is nobody to ask about: the machine's operator named no person.
    allowed: Option<bool>,
    /// The rules that decided.
    policies: Vec<String>,
    /// Why not, when not.
    reason: Option<String>,
    /// How the person is taken to have proved who they are: the weakest way they have.
    proof: Option<Proof>,
    /// Other ways they have and that get another answer.
    otherwise: Vec<Proof>,
    /// What a request for that login on that target would need.
    rule: Option<RuleView>,
}

impl RuleView {
    fn of(engine: &Engine, target: &Target, login: &Login) -> Self {
        let rule = engine.rule_for(target, login);
        Self {
            target: target.name.clone(),
            login: login.clone(),
            rule: rule.name,
            approvals: rule.approvals,
            approver_roles: rule.roles.into_iter().collect(),
            longest_s: rule.longest.as_secs(),
            default_s: rule.default.as_secs(),
            clock: rule.clock,
            use_within_s: rule.use_within.as_secs(),
            lapses_s: rule.lapses.as_secs(),
        }
    }
}

pub(super) async fn show(call: Call) -> Result<Reply, ApiError> {
    let engine = &call.gate.parts.policy;
    let (hash, files) = engine.files();
    let files = files.into_iter().map(|(name, text)| PolicyFile { name, text }).collect();
    let rules = call.look(|state| {
        let each = state.targets().flat_map(|target| target.logins.iter().map(move |login| (target, login)));
        each.take(MOST_RULES).map(|(target, login)| RuleView::of(engine, target, login)).collect()
    });
    Reply::json(&Policies { hash, files, rules })
}

pub(super) async fn reload(call: Call) -> Result<Reply, ApiError> {
    let (by, parts) = (call.actor()?, &call.gate.parts);
    let (policy, store) = (parts.policy.clone(), parts.store.clone());
    // On a thread of its own it is done to its end, also when nobody waits for the answer any more.
    let reload = tokio::task::spawn_blocking(move || {
        policy.reload(|loaded| {
            let command = Command::LoadPolicy { hash: loaded.hash.clone(), rules: loaded.rules.clone() };
            store.submit_blocking(by, command).map(|_| ())
        })
    });
    match reload.await.map_err(ApiError::failed)? {
        Ok(Reloaded { hash, rules }) => Reply::json(&Loaded { hash, rules }),
        Err(ReloadError::Unnoted(error)) => Err(error.into()),
        Err(ReloadError::Unusable(error)) => Err(ApiError::conflict("policy_refused", error.to_string())
            .hint("the policies in force before stay in force")),
    }
}

pub(super) async fn explain(call: Call) -> Result<Reply, ApiError> {
    let asked: Asked = call.body()?;
    let action = action(&asked)?;
    let target = asked.target.as_ref().map(|name| {
        let known = call.look(|state| state.target(name).cloned());
        known.ok_or_else(|| ApiError::not_found("target"))
    });
    let target = target.transpose()?;
    let rule = target.as_ref().zip(asked.login.as_ref());
    let rule = rule.map(|(target, login)| RuleView::of(&call.gate.parts.policy, target, login));
    let person = match (&asked.person, &call.who) {
        (Some(person), _) => find::person(&call, person)?,
        (None, Who::Person(who)) => who.person().clone(),
        (None, Who::Nobody | Who::Operator) if rule.is_some() => {
            return Reply::json(&Explained { rule, ..Explained::default() });
        }
        (None, Who::Nobody | Who::Operator) => {
            return Err(ApiError::bad_input("say whom it is about, with person"));
        }
    };
    let known = call.look(|state| state.person(&person).map(call::proofs));
    let mut answers = Vec::new();
    for proof in known.ok_or_else(|| ApiError::not_found("person"))? {
        answers.push((proof, answer(&call, &asked, &action, &person, proof, target.as_ref())?));
    }
    let mut answers = answers.into_iter();
    let Some((proof, (allowed, policies, reason))) = answers.next() else {
        let reason = "they have no key and no certificate, so nobody can prove to be them".to_owned();
        return Reply::json(&Explained {
            allowed: Some(false),
            reason: Some(reason),
            rule,
            ..Explained::default()
        });
    };
    let otherwise = answers.filter(|(_, (other, ..))| *other != allowed).map(|(proof, _)| proof).collect();
    Reply::json(&Explained { allowed: Some(allowed), policies, reason, proof: Some(proof), otherwise, rule })
}

/// Whether policy allows it, by which rules, and why not.
fn answer(
    call: &Call,
    asked: &Asked,
    action: &Action,
    person: &PersonId,
    proof: Proof,
    target: Option<&Target>,
) -> Result<(bool, Vec<String>, Option<String>), ApiError> {
    let (principal, grant) = facts(call, asked, person, proof)?;
    let (request, session) = (RequestId::random(), SessionId::random());
    let somebody = PersonId::random().map_err(|_| ApiError::failed("no randomness"))?;
    let resource = match (about(action), target, &asked.login, &request, &session) {
        (About::Any, Some(target), login, _, _) => Resource::Target { target, login: login.as_ref() },
        (About::Any, None, _, _, _) => Resource::Bastion,
        (About::Request, Some(target), Some(login), Ok(request), _) => {
            Resource::Request { request, requester: &somebody, requester_owner: None, login, target }
        }
        (About::Session, Some(target), _, _, Ok(session)) => {
            Resource::Session { session, person: &somebody, target }
        }
        (About::Request | About::Session, _, _, _, _) => {
            return Err(ApiError::bad_input(
                "this action is about somebody else's request or session: say where with target and login",
            ));
        }
    };
    let question = Question {
        principal: &principal,
        action,
        resource,
        grant: grant.as_ref(),
        now: call.now(),
        client: None,
    };
    Ok(match call.gate.parts.policy.decide(&question) {
        policy::Decision::Allow(allowed) => (true, allowed.policies, None),
        policy::Decision::Deny(denied) => {
            let reason = if denied.policies.is_empty() {
                format!("{} ({})", denied.reason, denied.detail)
            } else {
                denied.reason
            };
            (false, denied.policies, Some(reason))
        }
    })
}

/// Who asks, and the grant they hold there now.
fn facts(
    call: &Call,
    asked: &Asked,
    person: &PersonId,
    proof: Proof,
) -> Result<(Principal, Option<policy::Grant>), ApiError> {
    let (principal, grant) = call.look(|state| {
        let known = state.person(person);
        let principal = known.map(|known| call::principal_with(state, known, proof));
        let grant = asked.login.as_ref().zip(asked.target.as_ref()).and_then(|(login, target)| {
            state.live_grants(person, login, target, call.now()).next().map(|grant| policy::Grant {
                grant: grant.facts.grant.clone(),
                person: grant.facts.person.clone(),
                login: grant.facts.login.clone(),
                target: grant.facts.target.clone(),
                capabilities: grant.facts.capabilities.clone(),
                approvers: grant.request.approvals.iter().map(|a| a.approver.clone()).collect(),
                ends: grant.facts.ends,
            })
        });
        (principal, grant)
    });
    Ok((principal.ok_or_else(|| ApiError::not_found("person"))?, grant))
}

/// What kind of thing an action is done to, beside targets and the bastion.
enum About {
    Any,
    Request,
    Session,
}

/// A question about a request or session is explained for one that somebody else made.
const fn about(action: &Action) -> About {
    match action {
        Action::RequestApprove | Action::RequestRead | Action::RequestWithdraw => About::Request,
        Action::RecordingDelete
        | Action::RecordingHold
        | Action::RecordingRead
        | Action::RecordingRelease
        | Action::RecordingRewrap
        | Action::RecordingWatch
        | Action::SessionRead
        | Action::SessionTerminate => About::Session,
        Action::BastionManage
        | Action::GrantRevoke
        | Action::LedgerRead
        | Action::PersonManage
        | Action::PersonRead
        | Action::PolicyRead
        | Action::RequestMake
        | Action::SessionOpen
        | Action::Use(_)
        | Action::TargetManage
        | Action::TargetRead => About::Any,
    }
}

fn action(asked: &Asked) -> Result<Action, ApiError> {
    let wanted = asked.action.as_deref().unwrap_or(Action::RequestMake.as_str());
    let used = asked.capability.clone().map(Action::Use);
    let named = Action::NAMED.into_iter().chain(used).find(|action| action.as_str() == wanted);
    named.ok_or_else(|| {
        let names = Action::NAMED.map(|action| action.as_str().to_owned()).join(", ");
        ApiError::bad_input(format!("there is no such action; the actions are {names}, and ssh:shell, ssh:exec, ssh:sftp and ssh:forward with a capability"))
    })
}
