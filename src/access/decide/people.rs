//! Enrolling, linking, roles, disabling. Where the last administrator cannot be lost.
//!
//! Identities are unique: one that is another person's moves here, and both are remembered as its holders. Read next:
//! `../separation.rs`.

use std::collections::BTreeSet;

use aws_lc_rs::digest;
use data_encoding::{BASE64, BASE64_NOPAD};

use super::text;
use crate::access::command::NewIdentity;
use crate::access::denied::Denied;
use crate::access::state::{Person, State};
use crate::ledger::entry::{Fact, PersonFacts};
use crate::model::{Identity, PersonId, PrincipalKind, Role};

/// Identities one person may have or have had.
const IDENTITIES: usize = 100;
/// Roles one person may have.
const ROLES: usize = 64;
/// People and workloads on one bastion.
const PEOPLE: usize = 100_000;

pub(super) fn add(
    state: &State,
    facts: PersonFacts,
    identities: &[NewIdentity],
) -> Result<Vec<Fact>, Denied> {
    if state.person_named(&facts.name).is_some() {
        return Err(Denied::NameTaken { name: facts.name });
    }
    if state.people().count() >= PEOPLE {
        return Err(Denied::TooMany { what: "people and workloads", most: PEOPLE });
    }
    owner_fits(state, &facts)?;
    roles_fit(&facts.roles)?;
    let person = facts.person.clone();
    let mut all = vec![Fact::PersonAdded(facts)];
    for (at, new) in identities.iter().enumerate() {
        if identities.iter().take(at).any(|earlier| earlier.identity == new.identity) {
            return Err(Denied::IdentityLinked);
        }
        all.extend(linking(state, &person, new)?);
    }
    if identities.len() > IDENTITIES {
        return Err(Denied::TooMany { what: "identities of one person", most: IDENTITIES });
    }
    Ok(all)
}

pub(super) fn link(state: &State, person: &PersonId, new: &NewIdentity) -> Result<Vec<Fact>, Denied> {
    let known = known(state, person)?;
    if known.link(&new.identity).is_some() {
        return Err(Denied::IdentityLinked);
    }
    if known.links.len() >= IDENTITIES {
        return Err(Denied::TooMany { what: "identities of one person", most: IDENTITIES });
    }
    linking(state, person, new)
}

pub(super) fn unlink(state: &State, person: PersonId, identity: Identity) -> Result<Vec<Fact>, Denied> {
    let known = known(state, &person)?;
    known.link(&identity).ok_or(Denied::NoSuchIdentity)?;
    if known.links.iter().filter(|link| link.unlinked.is_none()).count() == 1 {
        keeps_an_admin(state, known)?;
    }
    Ok(vec![Fact::IdentityUnlinked { person, identity }])
}

pub(super) fn change_roles(
    state: &State,
    person: PersonId,
    roles: BTreeSet<Role>,
) -> Result<Vec<Fact>, Denied> {
    let known = known(state, &person)?;
    roles_fit(&roles)?;
    if known.facts.roles == roles {
        return Err(Denied::Unchanged { what: "these are the roles already" });
    }
    if !roles.iter().any(|role| role.as_str() == State::ADMIN) {
        keeps_an_admin(state, known)?;
    }
    Ok(vec![Fact::RolesChanged { person, roles }])
}

pub(super) fn disable(state: &State, person: PersonId, reason: String) -> Result<Vec<Fact>, Denied> {
    text::line("the reason", &reason, text::REASON)?;
    let known = known(state, &person)?;
    if known.disabled.is_some() {
        return Err(Denied::Unchanged { what: "the person is disabled already" });
    }
    keeps_an_admin(state, known)?;
    Ok(vec![Fact::PersonDisabled { person, reason }])
}

pub(super) fn enable(state: &State, person: PersonId) -> Result<Vec<Fact>, Denied> {
    if known(state, &person)?.disabled.is_none() {
        return Err(Denied::Unchanged { what: "the person is enabled already" });
    }
    Ok(vec![Fact::PersonEnabled { person }])
}

fn known<'a>(state: &'a State, person: &PersonId) -> Result<&'a Person, Denied> {
    state.person(person).ok_or(Denied::NoSuchPerson)
}

/// Refuses what would take away the last administrator who can still sign in.
fn keeps_an_admin(state: &State, loses: &Person) -> Result<(), Denied> {
    if loses.is_usable_admin() && !state.has_admin_besides(&loses.facts.person) {
        return Err(Denied::LastAdmin { name: loses.facts.name.clone() });
    }
    Ok(())
}

fn linking(state: &State, person: &PersonId, new: &NewIdentity) -> Result<Vec<Fact>, Denied> {
    text::line("the identity's issuer", &new.identity.issuer, text::NAME)?;
    text::line("the identity's subject", &new.identity.subject, text::NAME)?;
    key_fits(new)?;
    let mut facts = Vec::new();
    if let Some((holder, _)) = state.person_by_identity(&new.identity) {
        if holder.links.iter().filter(|link| link.unlinked.is_none()).count() == 1 {
            keeps_an_admin(state, holder)?;
        }
        let from = holder.facts.person.clone();
        facts.push(Fact::IdentityUnlinked { person: from, identity: new.identity.clone() });
    }
    facts.push(Fact::IdentityLinked {
        person: person.clone(),
        identity: new.identity.clone(),
        public_key: new.public_key.clone(),
    });
    Ok(facts)
}

/// An identity that is a key comes with that key: its fingerprint is the subject.
fn key_fits(new: &NewIdentity) -> Result<(), Denied> {
    let is_key = new.identity.issuer == Identity::SSH_KEY;
    match &new.public_key {
        None if is_key => Err(Denied::KeyDiffers),
        None => Ok(()),
        Some(key) => {
            text::line("the public key", key, text::KEY)?;
            let blob = key.split_ascii_whitespace().nth(1).and_then(|b| BASE64.decode(b.as_bytes()).ok());
            let fingerprint = blob.map(|blob| {
                format!("SHA256:{}", BASE64_NOPAD.encode(digest::digest(&digest::SHA256, &blob).as_ref()))
            });
            let fits = is_key && fingerprint.is_some_and(|print| print == new.identity.subject);
            if fits { Ok(()) } else { Err(Denied::KeyDiffers) }
        }
    }
}

fn owner_fits(state: &State, facts: &PersonFacts) -> Result<(), Denied> {
    let fits = match (facts.kind, &facts.owner) {
        (PrincipalKind::Person, None) => true,
        (PrincipalKind::Workload, Some(owner)) => {
            state.is_active(owner)
                && state.person(owner).is_some_and(|p| p.facts.kind == PrincipalKind::Person)
        }
        (PrincipalKind::Person, Some(_)) | (PrincipalKind::Workload, None) => false,
    };
    if fits { Ok(()) } else { Err(Denied::OwnerUnfit) }
}

fn roles_fit(roles: &BTreeSet<Role>) -> Result<(), Denied> {
    if roles.len() > ROLES { Err(Denied::TooMany { what: "roles", most: ROLES }) } else { Ok(()) }
}
