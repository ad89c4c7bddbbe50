//! Registering, trusting and removing targets; and whom new recordings are for.
//!
//! Read next: `rights.rs`.

use std::collections::BTreeSet;

use super::text;
use crate::access::denied::Denied;
use crate::access::state::State;
use crate::ledger::entry::Fact;
use crate::model::{HostTrust, Login, Protocol, Target, TargetName};

/// Host keys, labels, logins or reviewers in one list.
const ITEMS: usize = 64;
/// Targets on one bastion.
const TARGETS: usize = 100_000;
/// The longest name of a database or role, in PostgreSQL as it is built everywhere.
const DATABASE: usize = 63;

pub(super) fn add(state: &State, target: Target) -> Result<Vec<Fact>, Denied> {
    if state.target(&target.name).is_some() {
        return Err(Denied::TargetExists { target: target.name });
    }
    if state.targets().count() >= TARGETS {
        return Err(Denied::TooMany { what: "targets", most: TARGETS });
    }
    text::line("the host", &target.endpoint.host, text::NAME)?;
    text::bounded("the environment", &target.environment, text::NAME)?;
    if let Some(tenant) = &target.tenant {
        text::line("the tenant", tenant, text::NAME)?;
    }
    for (label, value) in &target.labels {
        text::line("a label", label, text::NAME)?;
        text::bounded("a label's value", value, text::NAME)?;
    }
    if target.labels.len() > ITEMS || target.logins.len() > ITEMS {
        return Err(Denied::TooMany { what: "labels or logins of one target", most: ITEMS });
    }
    trust_fits(&target.trust, target.protocol)?;
    text::line("the maintenance database", &target.administration.database, DATABASE)?;
    if target.protocol == Protocol::Postgres && target.logins.is_empty() {
        // Each is granted on the server by name; and "any role" would be too much to ask for.
        return Err(Denied::Empty { what: "the list of a database's logins" });
    }
    if target.logins.contains(&target.administration.role) && target.protocol == Protocol::Postgres {
        return Err(Denied::AdministrativeLogin { login: target.administration.role });
    }
    Ok(vec![Fact::TargetAdded { target }])
}

pub(super) fn trust(state: &State, target: TargetName, trust: HostTrust) -> Result<Vec<Fact>, Denied> {
    let Some(known) = state.target(&target) else { return Err(Denied::NoSuchTarget { target }) };
    if known.trust == trust {
        return Err(Denied::Unchanged { what: "exactly this is trusted already" });
    }
    trust_fits(&trust, known.protocol)?;
    Ok(vec![Fact::TargetTrusted { target, trust }])
}

pub(super) fn remove(state: &State, target: TargetName, reason: String) -> Result<Vec<Fact>, Denied> {
    text::line("the reason", &reason, text::REASON)?;
    if state.target(&target).is_none() {
        return Err(Denied::NoSuchTarget { target });
    }
    Ok(vec![Fact::TargetRemoved { target, reason }])
}

pub(super) fn test(state: &State, target: TargetName, login: Login) -> Result<Vec<Fact>, Denied> {
    let Some(known) = state.target(&target) else { return Err(Denied::NoSuchTarget { target }) };
    if !known.offers(&login) {
        return Err(Denied::LoginNotOffered { login, target });
    }
    Ok(vec![Fact::TargetTested { target, login }])
}

pub(super) fn set_reviewers(state: &State, recipients: BTreeSet<String>) -> Result<Vec<Fact>, Denied> {
    text::count("the list of reviewers", recipients.len(), ITEMS)?;
    for recipient in &recipients {
        text::line("a reviewer's recipient", recipient, text::KEY)?;
    }
    let is_new = state.node().reviewers != recipients;
    Ok(if is_new { vec![Fact::ReviewersChanged { recipients }] } else { Vec::new() })
}

fn trust_fits(trust: &HostTrust, protocol: Protocol) -> Result<(), Denied> {
    if !trust.fits(protocol) {
        let how = match protocol {
            Protocol::Postgres => "it needs the CA of its TLS certificate, or that certificate's key",
            Protocol::Ssh => "it needs its host key, or the CA of its host certificate",
        };
        return Err(Denied::TrustUnfit { protocol, how });
    }
    match trust {
        HostTrust::Unpinned => Ok(()),
        HostTrust::Authority(key) => text::line("the host CA", key, text::KEY),
        HostTrust::Keys(keys) => {
            text::count("the list of host keys", keys.len(), ITEMS)?;
            keys.iter().try_for_each(|key| text::line("a host key", key, text::KEY))
        }
        HostTrust::TlsAuthority(certificates) => {
            text::count("the list of CAs", certificates.len(), ITEMS)?;
            certificates.iter().try_for_each(|one| text::line("a CA's certificate", one, text::KEY))
        }
        HostTrust::TlsKeys(keys) => {
            text::count("the list of keys", keys.len(), ITEMS)?;
            keys.iter().try_for_each(|key| text::line("a key", key, text::NAME))
        }
    }
}
