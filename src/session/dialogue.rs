//! What somebody without a grant is told, and how they can ask right there.
//!
//! Nothing but these pages exists before the grant: no channel, no credential, no recording. The request they make is
//! the same as `postern request` makes and lives on when they leave.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::adapter::{Adapter, Greeted, Page, Reply};
use super::gate::Gate;
use crate::access::{Command, Denied, Request, RequestRule};
use crate::ledger::entry::{Actor, Entry, Fact, RequestFacts};
use crate::model::{Action, Capability, RequestId, Role};
use crate::policy::{ApprovalRule, Decision, Principal, Question, Resource};
use crate::store::{Filter, Interest, Topic, Watcher};

/// How often the client is spoken to while it waits, which also shows that it is still there.
const BREATH: Duration = Duration::from_secs(5);

/// Rings when there may be an answer.
#[derive(Default)]
struct Bell(Notify);

impl Watcher for Bell {
    fn changed(&self, _entry: &Arc<Entry>) {
        self.0.notify_one();
    }

    fn lost(&self) {
        self.0.notify_one();
    }
}

/// What is said when nothing more can be done about it here.
pub(super) fn missing(address: &str) -> String {
    format!("No grant lets you open {address}.\nAsk for one: postern request {address} --reason 'why'\n")
}

/// Asks for access in the client's own terminal and waits for it; `Ok` when there is a grant.
pub(super) async fn ask<A: Adapter>(
    gate: &Gate,
    adapter: &mut A,
    greeted: &Greeted,
    client: SocketAddr,
) -> Result<(), String> {
    let address = format!("{}@{}", greeted.login, greeted.target);
    let rule = may_ask(gate, greeted, client)?;
    let Some(_talking) = gate.registry.talk(greeted.who.person()) else {
        return Err(format!("{}You wait in too many terminals already.\n", missing(&address)));
    };
    if let Some(open) = open_already(gate, greeted) {
        let text = format!(
            "No grant lets you open {address}.\nYou asked already: {}, open until {:.0}: {}\n",
            open.facts.request, open.lapses, open.facts.reason
        );
        return wait(gate, adapter, greeted, &open, text).await;
    }
    let page = Page {
        text: format!("{}Or ask here, for {}:\n", missing(&address), shown(rule.default)),
        question: Some("Reason (empty to leave): ".to_owned()),
    };
    let reason = match adapter.converse(page).await {
        Reply::Answer(reason) if !reason.trim().is_empty() => reason.trim().to_owned(),
        Reply::Answer(_) | Reply::Nobody => return Err("Nothing was asked for.\n".to_owned()),
    };
    let request = make(gate, greeted, &rule, reason).await?;
    let text = format!("Asked: {}, open until {:.0}.\n", request.facts.request, request.lapses);
    wait(gate, adapter, greeted, &request, text).await
}

/// A request of the same person for the same address that waits for its answer. A second one would only ask the
/// approvers twice.
fn open_already(gate: &Gate, greeted: &Greeted) -> Option<Request> {
    let now = gate.clock.now();
    gate.store.read(|state| {
        let mut requests = state.requests().filter(|request| now < request.lapses);
        let is_same = |facts: &RequestFacts| {
            facts.person == *greeted.who.person()
                && facts.login == greeted.login
                && facts.target == greeted.target
        };
        requests.find(|request| is_same(&request.facts)).cloned()
    })
}

/// Says who could answer, and waits until somebody has.
async fn wait<A: Adapter>(
    gate: &Gate,
    adapter: &mut A,
    greeted: &Greeted,
    open: &Request,
    said: String,
) -> Result<(), String> {
    let (request, lapses) = (&open.facts.request, open.lapses);
    let needed = match open.approvals_needed {
        1 => "1 approval".to_owned(),
        several => format!("{several} approvals"),
    };
    let approvers = approvers(gate, greeted, &open.approver_roles);
    let mut text = format!(
        "{said}{needed} needed, from: {approvers}\n  postern approve {request}\nWaiting. Ctrl-C leaves; the request stays.\n"
    );
    let until = gate.clock.since_boot().saturating_add(gate.limits().dialogue);
    let bell = Arc::new(Bell::default());
    let interest = Interest::in_topics([Topic::Request(request.clone())]);
    let _heard = gate.store.changes().subscribe(interest, Arc::clone(&bell) as Arc<dyn Watcher>);
    while gate.clock.since_boot() < until {
        if adapter.converse(Page { text, question: None }).await == Reply::Nobody {
            return Err(String::new());
        }
        text = String::new();
        if answered(gate, greeted, request, &bell).await? {
            return Ok(());
        }
    }
    Err(format!("{request} is open until {lapses:.0}. Connect again when it has been approved.\n"))
}

/// Waits for an answer for one breath.
async fn answered(gate: &Gate, greeted: &Greeted, request: &RequestId, bell: &Bell) -> Result<bool, String> {
    let until = gate.clock.since_boot().saturating_add(BREATH);
    loop {
        let (is_granted, is_open) = gate.store.read(|state| {
            let mut grants = state.grants_of(greeted.who.person());
            (grants.any(|grant| grant.facts.request == *request), state.request(request).is_some())
        });
        if is_granted {
            return Ok(true);
        }
        if !is_open {
            return Err(refused(gate, request).await);
        }
        let left = until.saturating_sub(gate.clock.since_boot());
        if left.is_zero() {
            return Ok(false);
        }
        // Rung or not, it is looked again.
        tokio::time::timeout(left, bell.0.notified()).await.ok();
    }
}

/// How a request ended that is no grant, with the words of whoever denied it.
async fn refused(gate: &Gate, request: &RequestId) -> String {
    let (store, id) = (gate.store.clone(), request.clone());
    let look = move || {
        let found = store.request_history(&Filter::by_prefix(id.as_str())).ok()?;
        let (_, at) = found.into_iter().next()?.over?;
        let mut denied = None;
        let see = |entry: &Entry| {
            if let Fact::RequestDenied { request, reason } = &entry.fact
                && *request == id
            {
                denied = Some(reason.clone());
            }
        };
        store.entries_at(at, see).ok()?;
        denied
    };
    match tokio::task::spawn_blocking(look).await {
        Ok(Some(reason)) => format!("{request} was denied: {reason}\n"),
        _ => format!("{request} was not approved.\n"),
    }
}

fn may_ask(gate: &Gate, greeted: &Greeted, client: SocketAddr) -> Result<ApprovalRule, String> {
    let who = &greeted.who;
    let target = gate.store.read(|state| state.target(&greeted.target).cloned());
    let target = target.ok_or_else(|| format!("There is no target {}.\n", greeted.target))?;
    let owner =
        gate.store.read(|state| state.person(who.person()).and_then(|person| person.facts.owner.clone()));
    let principal = Principal {
        person: who.person().clone(),
        name: who.name().clone(),
        kind: who.kind(),
        owner,
        roles: who.roles().clone(),
        proof: who.proof(),
        enabled: true,
    };
    let question = Question {
        principal: &principal,
        action: &Action::RequestMake,
        resource: Resource::Target { target: &target, login: Some(&greeted.login) },
        grant: None,
        now: gate.clock.now(),
        client: Some(client.ip()),
    };
    match gate.policy.decide(&question) {
        Decision::Allow(_) if !target.offers(&greeted.login) => {
            let (login, target) = (greeted.login.clone(), greeted.target.clone());
            Err(format!("{}.\n", Denied::LoginNotOffered { login, target }))
        }
        Decision::Allow(_) => Ok(gate.policy.rule_for(&target, &greeted.login)),
        Decision::Deny(denied) => Err(format!("{}@{}: {}\n", greeted.login, greeted.target, denied.reason)),
    }
}

/// What policy's rule demands of a request, in the workflow's terms.
#[must_use]
pub fn demanded(rule: &ApprovalRule) -> RequestRule {
    RequestRule {
        approvals_needed: rule.approvals,
        approver_roles: rule.roles.clone(),
        clock: rule.clock,
        longest_s: rule.longest.as_secs(),
        lapses_after_s: rule.lapses.as_secs(),
        use_within_s: rule.use_within.as_secs(),
    }
}

async fn make(
    gate: &Gate,
    greeted: &Greeted,
    rule: &ApprovalRule,
    reason: String,
) -> Result<Request, String> {
    let command = Command::MakeRequest {
        login: greeted.login.clone(),
        target: greeted.target.clone(),
        capabilities: BTreeSet::from([Capability::Exec, Capability::Sftp, Capability::Shell]),
        duration_s: rule.default.as_secs(),
        reason,
        ticket: None,
        rule: demanded(rule),
    };
    let by = Actor::Person { person: greeted.who.person().clone(), identity: greeted.who.identity().clone() };
    let entries = gate.store.submit(by, command).await.map_err(|error| format!("{error}\n"))?;
    let made = entries.iter().find_map(|entry| {
        let Fact::RequestMade { request, .. } = &entry.fact else { return None };
        gate.store.read(|state| state.request(&request.request).cloned())
    });
    made.ok_or_else(|| "The request was not made.\n".to_owned())
}

/// Who could approve, by name.
fn approvers(gate: &Gate, greeted: &Greeted, roles: &BTreeSet<Role>) -> String {
    let names: Vec<String> = gate.store.read(|state| {
        state
            .people()
            .filter(|person| {
                person.facts.person != *greeted.who.person() && state.is_active(&person.facts.person)
            })
            .filter(|person| !person.facts.roles.is_disjoint(roles))
            .map(|person| person.facts.name.to_string())
            .collect()
    });
    if names.is_empty() { "nobody is enrolled who could".to_owned() } else { names.join(", ") }
}

fn shown(duration: Duration) -> String {
    let minutes = duration.as_secs() / 60;
    if minutes.is_multiple_of(60) { format!("{}h", minutes / 60) } else { format!("{minutes}m") }
}
