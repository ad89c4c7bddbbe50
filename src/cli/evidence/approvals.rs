//! Whether the session was allowed: from its start to the grant, from that to the request, and from that to people who
//! signed exactly it, each with a key and a role of theirs at that moment.
//!
//! Every entry given is in the ledger by now. Which entries a directory has is its writer's choice, so each step asks for
//! the one that must be there, by its id. What a directory leaves out (a key that was taken away) it can hide; the ledger
//! itself accepted the approval, and `postern ledger verify` sees everything.

use std::collections::BTreeSet;

use crate::authn::verify_sshsig;
use crate::ledger::entry::{Approval, Entry, Fact, GrantFacts, RequestFacts, SessionFacts};
use crate::model::{Identity, PersonId, Role, SessionId};

/// What the request asked to be answered by.
struct Wanted<'a> {
    request: &'a RequestFacts,
    needed: usize,
    roles: &'a BTreeSet<Role>,
}

/// Says how many approved, or what is wrong.
pub(super) fn check(session: &SessionId, entries: &[Entry]) -> Result<String, String> {
    let started = started(session, entries).ok_or_else(|| "the session's start is missing".to_owned())?;
    let mut own = None;
    let mut further = 0_usize;
    for (issued, grant) in granted(entries) {
        let approved = approved(started, entries, issued, grant)?;
        if grant.grant == started.grant {
            own = Some(approved);
        } else {
            further = further.saturating_add(1);
        }
    }
    let own = own.ok_or_else(|| "its grant is missing".to_owned())?;
    Ok(match further {
        0 => own,
        1 => format!("{own}; so is another grant for the same address"),
        several => format!("{own}; so are {several} more grants for the same address"),
    })
}

/// Says how many approved one grant, or what is wrong with it.
fn approved(
    started: &SessionFacts,
    entries: &[Entry],
    issued: u64,
    grant: &GrantFacts,
) -> Result<String, String> {
    let wanted = asked(grant, entries).ok_or_else(|| format!("the request of {} is missing", grant.grant))?;
    let request = wanted.request;
    let is_its = |person: &PersonId| *person == started.person;
    if !is_its(&grant.person)
        || !is_its(&request.person)
        || (&grant.login, &grant.target) != (&started.login, &started.target)
        || (&request.login, &request.target) != (&started.login, &started.target)
        || !grant.capabilities.is_subset(&request.capabilities)
        || request.hash() != grant.hash
    {
        return Err(format!("{}, its request and the session are not about the same", grant.grant));
    }
    let mut people = BTreeSet::new();
    for entry in entries.iter().filter(|entry| entry.seq < issued) {
        if let Fact::RequestApproved(approval) = &entry.fact
            && approval.request == request.request
        {
            people.insert(signed(entries, entry.seq, approval, grant, &wanted)?);
        }
    }
    if people.len() < wanted.needed {
        return Err(format!("{} people approved, and {} had to", people.len(), wanted.needed));
    }
    Ok(format!("{} of {} needed, signed with their own keys over this request", people.len(), wanted.needed))
}

fn started<'a>(session: &SessionId, entries: &'a [Entry]) -> Option<&'a SessionFacts> {
    entries.iter().find_map(|entry| {
        let Fact::SessionStarted(facts) = &entry.fact else { return None };
        (facts.session == *session).then_some(facts)
    })
}

/// The session's grants, and where each was issued: the one it began under, and those it may have taken up.
fn granted(entries: &[Entry]) -> impl Iterator<Item = (u64, &GrantFacts)> {
    entries.iter().filter_map(|entry| {
        let Fact::GrantIssued(grant) = &entry.fact else { return None };
        Some((entry.seq, grant))
    })
}

fn asked<'a>(grant: &GrantFacts, entries: &'a [Entry]) -> Option<Wanted<'a>> {
    entries.iter().find_map(|entry| {
        let Fact::RequestMade { request, hash, approvals_needed, approver_roles, .. } = &entry.fact else {
            return None;
        };
        let needed = usize::try_from(*approvals_needed).unwrap_or(usize::MAX);
        let is_it = request.request == grant.request && *hash == grant.hash;
        is_it.then_some(Wanted { request, needed, roles: approver_roles })
    })
}

/// Who signed an approval, when it holds.
fn signed(
    entries: &[Entry],
    seq: u64,
    approval: &Approval,
    grant: &GrantFacts,
    wanted: &Wanted<'_>,
) -> Result<PersonId, String> {
    let who = &approval.approver;
    if approval.hash != grant.hash || *who == wanted.request.person {
        return Err(format!("{who} approved something else, or their own request"));
    }
    if grant.duration_s > approval.duration_s {
        return Err(format!("{who} approved a shorter time than was granted"));
    }
    let message = Approval::message(&approval.request, &approval.hash, approval.duration_s);
    let key = verify_sshsig(&approval.signature, Approval::NAMESPACE, &message)
        .map_err(|error| format!("the approval of {who}: {error}"))?;
    if approval.identity != Identity::ssh_key(&key.fingerprint()) {
        return Err(format!("the approval of {who} was signed with another key"));
    }
    let before = || entries.iter().filter(|entry| entry.seq < seq);
    if holder(before(), &approval.identity) != Some(who) {
        return Err(format!("the key that signed was not enrolled for {who}"));
    }
    if !roles(before(), who).is_some_and(|roles| roles.iter().any(|role| wanted.roles.contains(role))) {
        return Err(format!("{who} had no role that may approve it"));
    }
    Ok(who.clone())
}

/// Whose key it was after these entries.
fn holder<'a>(entries: impl Iterator<Item = &'a Entry>, key: &Identity) -> Option<&'a PersonId> {
    let mut holder = None;
    for entry in entries {
        if let Fact::IdentityLinked { person, identity, .. } = &entry.fact
            && identity == key
        {
            holder = Some(person);
        } else if let Fact::IdentityUnlinked { identity, .. } = &entry.fact
            && identity == key
        {
            holder = None;
        }
    }
    holder
}

/// Which roles somebody had after these entries; none while disabled.
fn roles<'a>(entries: impl Iterator<Item = &'a Entry>, who: &PersonId) -> Option<&'a BTreeSet<Role>> {
    let (mut held, mut is_disabled) = (None, false);
    for entry in entries {
        if let Fact::PersonAdded(added) = &entry.fact
            && added.person == *who
        {
            held = Some(&added.roles);
        } else if let Fact::RolesChanged { person, roles } = &entry.fact
            && person == who
        {
            held = Some(roles);
        } else if let Fact::PersonDisabled { person, .. } = &entry.fact
            && person == who
        {
            is_disabled = true;
        } else if let Fact::PersonEnabled { person } = &entry.fact
            && person == who
        {
            is_disabled = false;
        }
    }
    held.filter(|_| !is_disabled)
}
