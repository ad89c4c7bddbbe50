//! People and workloads: who is enrolled, with which keys and roles; adding, linking, disabling.
//!
//! A name is for reading and typing; ids are what everything else refers to, and both are accepted in paths.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::call::{Call, Reply};
use super::ended;
use super::error::ApiError;
use super::find;
use crate::access::{Command, NewIdentity, Person};
use crate::authn::parse_public_key;
use crate::ledger::entry::Fact;
use crate::model::{Identity, PersonId, PersonName, PrincipalKind, Role, Timestamp};

/// A person or workload, as shown.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(super) struct PersonView {
    person: PersonId,
    name: PersonName,
    kind: PrincipalKind,
    /// A workload's owner.
    owner: Option<PersonId>,
    roles: BTreeSet<Role>,
    /// Their identities now.
    identities: Vec<IdentityView>,
    /// Why they are disabled, when they are.
    disabled: Option<String>,
}

/// One identity of somebody.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(super) struct IdentityView {
    identity: Identity,
    /// The key itself, for identities that are keys.
    public_key: Option<String>,
    linked: Timestamp,
}

impl PersonView {
    fn of(person: &Person) -> Self {
        let current = person.links.iter().filter(|link| link.unlinked.is_none());
        Self {
            person: person.facts.person.clone(),
            name: person.facts.name.clone(),
            kind: person.facts.kind,
            owner: person.facts.owner.clone(),
            roles: person.facts.roles.clone(),
            identities: current
                .map(|link| IdentityView {
                    identity: link.identity.clone(),
                    public_key: link.public_key.clone(),
                    linked: link.linked,
                })
                .collect(),
            disabled: person.disabled.clone(),
        }
    }
}

/// Somebody to enrol.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewPerson {
    name: PersonName,
    /// `person` unless said otherwise.
    kind: Option<PrincipalKind>,
    /// The name or id of a workload's owner.
    owner: Option<String>,
    #[serde(default)]
    roles: BTreeSet<Role>,
    /// Public keys in OpenSSH's form.
    #[serde(default)]
    public_keys: Vec<String>,
    /// Identities that are not keys, such as a user CA's key ids.
    #[serde(default)]
    identities: Vec<Identity>,
}

/// An identity to link: a key, or a name some issuer gives.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ToLink {
    /// A public key in OpenSSH's form.
    public_key: Option<String>,
    /// Or an identity that is not a key.
    identity: Option<Identity>,
}

/// An identity to take away.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ToUnlink {
    identity: Identity,
}

/// A person's roles from now on.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Roles {
    roles: BTreeSet<Role>,
}

/// Why.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Reason {
    /// One line, kept for ever.
    pub(super) reason: String,
}

pub(super) async fn list(call: Call) -> Result<Reply, ApiError> {
    Reply::items(call.look(|state| state.people().map(PersonView::of).collect()))
}

pub(super) async fn add(call: Call) -> Result<Reply, ApiError> {
    let given: NewPerson = call.body()?;
    let owner = given.owner.as_deref().map(|owner| find::person(&call, owner)).transpose()?;
    let mut identities = Vec::new();
    for line in &given.public_keys {
        identities.push(key_identity(line)?);
    }
    for identity in given.identities {
        identities.push(named_identity(identity)?);
    }
    identities.iter().try_for_each(|new| nobody_elses(&call, new, None))?;
    known_roles(&call, &given.roles)?;
    let entries = call
        .submit(Command::AddPerson {
            name: given.name,
            kind: given.kind.unwrap_or(PrincipalKind::Person),
            owner,
            roles: given.roles,
            identities,
        })
        .await?;
    let added = entries.iter().find_map(|entry| {
        if let Fact::PersonAdded(facts) = &entry.fact { Some(facts.person.clone()) } else { None }
    });
    show(&call, &added.ok_or_else(|| ApiError::failed("no person was added"))?)
}

pub(super) async fn link(call: Call) -> Result<Reply, ApiError> {
    let person = find::person(&call, call.param("person"))?;
    let given: ToLink = call.body()?;
    let identity = match (given.public_key, given.identity) {
        (Some(line), None) => key_identity(&line)?,
        (None, Some(identity)) => named_identity(identity)?,
        (Some(_), Some(_)) | (None, None) => {
            return Err(ApiError::bad_input("give either public_key or identity"));
        }
    };
    nobody_elses(&call, &identity, Some(&person))?;
    call.submit(Command::LinkIdentity { person: person.clone(), identity }).await?;
    show(&call, &person)
}

pub(super) async fn unlink(call: Call) -> Result<Reply, ApiError> {
    let person = find::person(&call, call.param("person"))?;
    let given: ToUnlink = call.body()?;
    call.submit(Command::UnlinkIdentity { person: person.clone(), identity: given.identity }).await?;
    show(&call, &person)
}

pub(super) async fn change_roles(call: Call) -> Result<Reply, ApiError> {
    let person = find::person(&call, call.param("person"))?;
    let given: Roles = call.body()?;
    known_roles(&call, &given.roles)?;
    call.submit(Command::ChangeRoles { person: person.clone(), roles: given.roles }).await?;
    show(&call, &person)
}

pub(super) async fn disable(call: Call) -> Result<Reply, ApiError> {
    let person = find::person(&call, call.param("person"))?;
    let given: Reason = call.body()?;
    let sessions = ended::sessions_of(&call, &person);
    let command = Command::DisablePerson { person: person.clone(), reason: given.reason };
    let answer = ended::revoke(&call, sessions, command).await?;
    call.gate.tokens.take_back_all(&person);
    Ok(answer)
}

pub(super) async fn enable(call: Call) -> Result<Reply, ApiError> {
    let person = find::person(&call, call.param("person"))?;
    // Whatever became of the call that disabled them: what they held then stays dead.
    call.gate.tokens.take_back_all(&person);
    call.submit(Command::EnablePerson { person: person.clone() }).await?;
    show(&call, &person)
}

/// A role no rule speaks of gives nothing: it is a misspelt one, or comes before its rule.
fn known_roles(call: &Call, roles: &BTreeSet<Role>) -> Result<(), ApiError> {
    let known = call.gate.parts.policy.roles();
    let Some(unknown) = roles.iter().find(|role| !known.contains(role.as_str())) else { return Ok(()) };
    let known = known.into_iter().collect::<Vec<_>>().join(", ");
    let words = format!("no rule speaks of a role {unknown}: the roles are {known}");
    Err(ApiError::bad_input(words).hint("for a role of your own, put its rules into force first"))
}

/// Taking an identity from somebody ends their sessions and changes who approved what: never as a side effect.
fn nobody_elses(call: &Call, new: &NewIdentity, person: Option<&PersonId>) -> Result<(), ApiError> {
    let holder = call.look(|state| {
        let held = state.person_by_identity(&new.identity);
        held.map(|(holder, _)| (holder.facts.person.clone(), holder.facts.name.clone()))
    });
    match holder {
        Some((holder, name)) if Some(&holder) != person => {
            let words = format!("{} is {name}'s", new.identity);
            let hint = format!("take it from them first: postern people unlink {name} …");
            Err(ApiError::conflict("identity_taken", words).hint(hint))
        }
        _ => Ok(()),
    }
}

fn show(call: &Call, person: &PersonId) -> Result<Reply, ApiError> {
    let view = call.look(|state| state.person(person).map(PersonView::of));
    Reply::json(&view.ok_or_else(|| ApiError::not_found("person"))?)
}

/// The identity a key is; the key is checked and stored without its comment.
fn key_identity(line: &str) -> Result<NewIdentity, ApiError> {
    let mut key = parse_public_key(line)?;
    key.set_comment("");
    let fingerprint = key.fingerprint(russh::keys::HashAlg::Sha256).to_string();
    let text = key.to_openssh().map_err(ApiError::failed)?;
    Ok(NewIdentity { identity: Identity::ssh_key(&fingerprint), public_key: Some(text.trim().to_owned()) })
}

fn named_identity(identity: Identity) -> Result<NewIdentity, ApiError> {
    if identity.issuer == Identity::SSH_KEY {
        return Err(ApiError::bad_input("an SSH key is linked by giving the key itself, as public_key"));
    }
    Ok(NewIdentity { identity, public_key: None })
}
