//! The table of expected decisions, `decisions.toml`: what must come out, as rows an operator can read and write.
//!
//! It is run whenever a set is loaded, by `postern policy test`, and by the tests; a set that contradicts its own table
//! never comes into force. Names in it stand for made-up people and targets. Never here: a decision.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::Deserialize;

use super::engine::Decision;
use super::load::Set;
use super::question::{Grant, Principal, Question, Resource};
use crate::model::{
    Action, Administration, Capability, Endpoint, GrantId, HostTrust, Login, PersonId, PersonName, Plane,
    PrincipalKind, Proof, Protocol, RequestId, Role, Sensitivity, SessionId, Target, TargetName, Timestamp,
};

/// Most rows in a table: it runs at every load.
const MOST_ROWS: usize = 5000;
/// When rows happen, unless they say otherwise: a Wednesday morning.
const DEFAULT_TIME: &str = "2030-01-02T10:00:00Z";

/// A table that cannot be run, or that the rules contradict.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// It is not TOML of the right shape.
    #[error("decisions.toml: {0}")]
    Syntax(Box<toml::de::Error>),
    /// There are too many rows.
    #[error("decisions.toml has more than {MOST_ROWS} rows")]
    TooLong,
    /// A row names something that the table does not define, or that does not exist.
    #[error("decisions.toml, row {row}: {what}")]
    Row {
        /// The row, from 1.
        row: usize,
        /// What is wrong.
        what: String,
    },
    /// The rules decide otherwise than the table says.
    #[error("the policies contradict decisions.toml:\n{0}")]
    Contradicted(String),
}

/// One row, run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The row, from 1.
    pub row: usize,
    /// The row in a sentence.
    pub question: String,
    /// Whether the table says that it is allowed.
    pub expected: bool,
    /// What the rules said.
    pub decision: Decision,
    /// What is wrong with that; `None` when it is as expected.
    pub wrong: Option<String>,
}

impl Outcome {
    /// All rows as the table says, or an error that lists those that are not.
    ///
    /// # Errors
    /// When at least one row came out otherwise.
    pub fn all_as_expected(outcomes: &[Self]) -> Result<(), TableError> {
        let wrong: Vec<String> = outcomes
            .iter()
            .filter_map(|o| o.wrong.as_ref().map(|why| format!("  row {}: {}: {why}", o.row, o.question)))
            .collect();
        if wrong.is_empty() { Ok(()) } else { Err(TableError::Contradicted(wrong.join("\n"))) }
    }
}

/// A table, read and resolved.
#[derive(Debug)]
pub(super) struct Table {
    rows: Vec<Row>,
}

impl Table {
    /// Reads a table and resolves every name in it.
    pub(super) fn parse(text: &str) -> Result<Self, TableError> {
        let file: File = toml::from_str(text).map_err(|e| TableError::Syntax(Box::new(e)))?;
        if file.decision.len() > MOST_ROWS {
            return Err(TableError::TooLong);
        }
        let rows = file.decision.iter().enumerate().map(|(index, written)| {
            resolve(&file, written).map_err(|what| TableError::Row { row: index + 1, what })
        });
        Ok(Self { rows: rows.collect::<Result<_, _>>()? })
    }

    /// Asks every row.
    pub(super) fn run(&self, set: &Set) -> Vec<Outcome> {
        self.rows.iter().enumerate().map(|(index, row)| row.run(index + 1, set)).collect()
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    people: BTreeMap<PersonName, WrittenPerson>,
    #[serde(default)]
    targets: BTreeMap<TargetName, WrittenTarget>,
    #[serde(default)]
    decision: Vec<WrittenRow>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenPerson {
    roles: BTreeSet<Role>,
    #[serde(default = "person")]
    kind: PrincipalKind,
    owner: Option<PersonName>,
    #[serde(default = "ssh_key")]
    proof: Proof,
    #[serde(default)]
    disabled: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenTarget {
    plane: Plane,
    environment: String,
    sensitivity: Sensitivity,
    tenant: Option<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRow {
    who: PersonName,
    does: String,
    on: String,
    request_of: Option<PersonName>,
    session_of: Option<PersonName>,
    under: Option<WrittenGrant>,
    at: Option<Timestamp>,
    from: Option<IpAddr>,
    expect: Expectation,
    by: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenGrant {
    can: BTreeSet<Capability>,
    of: Option<PersonName>,
    on: Option<String>,
    #[serde(default)]
    approved_by: BTreeSet<PersonName>,
    ends: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Expectation {
    Allow,
    Deny,
}

/// One row with everything it needs to be asked.
#[derive(Debug)]
struct Row {
    sentence: String,
    principal: Principal,
    action: Action,
    on: On,
    grant: Option<Grant>,
    now: Timestamp,
    client: Option<IpAddr>,
    expect: Expectation,
    by: Option<String>,
}

#[derive(Debug)]
enum On {
    Bastion,
    Request { request: RequestId, requester: PersonId, owner: Option<PersonId>, login: Login, target: Target },
    Session { session: SessionId, person: PersonId, target: Target },
    Target { target: Target, login: Option<Login> },
}

impl Row {
    fn run(&self, row: usize, set: &Set) -> Outcome {
        let resource = match &self.on {
            On::Bastion => Resource::Bastion,
            On::Request { request, requester, owner, login, target } => {
                Resource::Request { request, requester, requester_owner: owner.as_ref(), login, target }
            }
            On::Session { session, person, target } => Resource::Session { session, person, target },
            On::Target { target, login } => Resource::Target { target, login: login.as_ref() },
        };
        let decision = set.decide(&Question {
            principal: &self.principal,
            action: &self.action,
            resource,
            grant: self.grant.as_ref(),
            now: self.now,
            client: self.client,
        });
        Outcome {
            row,
            question: self.sentence.clone(),
            expected: self.expect == Expectation::Allow,
            wrong: self.wrong(&decision),
            decision,
        }
    }

    fn wrong(&self, decision: &Decision) -> Option<String> {
        let (is, policies, detail) = match decision {
            Decision::Allow(allowed) => (Expectation::Allow, &allowed.policies, ""),
            Decision::Deny(denied) => (Expectation::Deny, &denied.policies, denied.detail.as_str()),
        };
        if is != self.expect {
            let said = if is == Expectation::Allow { "allowed" } else { "denied" };
            return Some(format!("{said} by [{}] {detail}", policies.join(", ")));
        }
        match &self.by {
            Some(by) if !policies.contains(by) => {
                Some(format!("decided by [{}] and not by {by} {detail}", policies.join(", ")))
            }
            Some(_) | None => None,
        }
    }
}

fn resolve(file: &File, written: &WrittenRow) -> Result<Row, String> {
    let principal = principal(file, &written.who)?;
    let on = resolve_on(file, written)?;
    let sentence = format!(
        "{} {} on {}{}",
        written.who,
        written.does,
        written.on,
        written.under.as_ref().map_or("", |_| " under a grant")
    );
    let grant = written.under.as_ref().map(|grant| resolve_grant(file, written, grant)).transpose()?;
    let now = written.at.map_or_else(|| DEFAULT_TIME.parse().map_err(|_| "no time".to_owned()), Ok)?;
    Ok(Row {
        sentence,
        principal,
        action: action(&written.does)?,
        on,
        grant,
        now,
        client: written.from,
        expect: written.expect,
        by: written.by.clone(),
    })
}

fn resolve_on(file: &File, written: &WrittenRow) -> Result<On, String> {
    if written.on == "bastion" {
        return Ok(On::Bastion);
    }
    let (login, target) = address(&written.on)?;
    let found = file.targets.get(&target).ok_or_else(|| format!("there is no [targets.{target}]"))?;
    let target = made_up_target(&target, found);
    match (&written.request_of, &written.session_of) {
        (Some(requester), None) => Ok(On::Request {
            request: id(RequestId::PREFIX, "request")?.parse().map_err(|e| format!("{e}"))?,
            requester: person_id(requester)?,
            owner: principal(file, requester)?.owner,
            login: login.ok_or("a request is for LOGIN@TARGET")?,
            target,
        }),
        (None, Some(person)) => Ok(On::Session {
            session: id(SessionId::PREFIX, "session")?.parse().map_err(|e| format!("{e}"))?,
            person: principal(file, person)?.person,
            target,
        }),
        (None, None) => Ok(On::Target { target, login }),
        (Some(_), Some(_)) => Err("give request_of or session_of, not both".to_owned()),
    }
}

fn resolve_grant(file: &File, row: &WrittenRow, written: &WrittenGrant) -> Result<Grant, String> {
    let (login, target) = address(written.on.as_deref().unwrap_or(&row.on))?;
    let of = written.of.as_ref().unwrap_or(&row.who);
    Ok(Grant {
        grant: id(GrantId::PREFIX, "grant")?.parse().map_err(|e| format!("{e}"))?,
        person: principal(file, of)?.person,
        login: login.ok_or("a grant is for LOGIN@TARGET")?,
        target,
        capabilities: written.can.clone(),
        approvers: written.approved_by.iter().map(person_id).collect::<Result<_, _>>()?,
        ends: written.ends,
    })
}

fn principal(file: &File, name: &PersonName) -> Result<Principal, String> {
    let written = file.people.get(name).ok_or_else(|| format!("there is no [people.{name}]"))?;
    Ok(Principal {
        person: person_id(name)?,
        name: name.clone(),
        kind: written.kind,
        owner: written.owner.as_ref().map(person_id).transpose()?,
        roles: written.roles.clone(),
        proof: written.proof,
        enabled: !written.disabled,
    })
}

fn made_up_target(name: &TargetName, written: &WrittenTarget) -> Target {
    Target {
        name: name.clone(),
        protocol: Protocol::Ssh,
        endpoint: Endpoint { host: name.to_string(), port: 22 },
        trust: HostTrust::Unpinned,
        plane: written.plane,
        environment: written.environment.clone(),
        sensitivity: written.sensitivity,
        tenant: written.tenant.clone(),
        logins: BTreeSet::new(),
        labels: written.labels.clone(),
        administration: Administration::default(),
    }
}

/// `LOGIN@TARGET`, or `TARGET` alone.
fn address(text: &str) -> Result<(Option<Login>, TargetName), String> {
    let (login, target) = text.rsplit_once('@').map_or((None, text), |(login, target)| (Some(login), target));
    let login = login.map(|login| login.parse::<Login>().map_err(|e| e.to_string())).transpose()?;
    Ok((login, target.parse().map_err(|e| format!("{e}"))?))
}

/// An action by its policy name; a use of a capability as `use shell`, `use forward=HOST:PORT`.
fn action(text: &str) -> Result<Action, String> {
    if let Some(capability) = text.strip_prefix("use ") {
        return Ok(Action::Use(capability.parse().map_err(|e| format!("{e}"))?));
    }
    Action::NAMED
        .iter()
        .find(|action| action.as_str() == text)
        .cloned()
        .ok_or_else(|| format!("{text:?} is no action: use a name such as session:open, or `use shell`"))
}

/// An id that belongs to a name in the table: the same name is always the same person.
fn id(prefix: &str, name: &str) -> Result<String, String> {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, name.as_bytes());
    let bytes = digest.as_ref().get(..10).ok_or("no digest")?;
    Ok(format!("{prefix}{}", data_encoding::BASE32_NOPAD.encode(bytes).to_ascii_lowercase()))
}

fn person_id(name: &PersonName) -> Result<PersonId, String> {
    id(PersonId::PREFIX, name.as_str())?.parse().map_err(|e| format!("{e}"))
}

const fn person() -> PrincipalKind {
    PrincipalKind::Person
}

const fn ssh_key() -> Proof {
    Proof::SshKey
}
