//! Taking rights away: one grant, everything in a scope, and what time takes by itself.
//!
//! Read next: `../apply.rs`, which works out everything a revocation covers.

use super::text;
use crate::access::denied::Denied;
use crate::access::index::Due;
use crate::access::state::State;
use crate::ledger::entry::{Fact, Scope};
use crate::model::{GrantId, Timestamp};

/// Most that one tick lets pass; the next tick follows at once when more is due.
const TICK: usize = 1000;

pub(super) fn revoke_grant(state: &State, grant: GrantId, reason: String) -> Result<Vec<Fact>, Denied> {
    text::line("the reason", &reason, text::REASON)?;
    state.grant(&grant).ok_or(Denied::NoSuchGrant)?;
    Ok(vec![Fact::GrantRevoked { grant, reason }])
}

/// Revoking a scope in which nothing stands is no error: whoever does it wants to know it is so.
pub(super) fn revoke(state: &State, scope: Scope, reason: String) -> Result<Vec<Fact>, Denied> {
    text::line("the reason", &reason, text::REASON)?;
    match &scope {
        Scope::Everything => {}
        Scope::Person(person) => {
            state.person(person).ok_or(Denied::NoSuchPerson)?;
        }
        Scope::Target(target) => {
            state.target(target).ok_or_else(|| Denied::NoSuchTarget { target: target.clone() })?;
        }
    }
    Ok(vec![Fact::Revoked { scope, reason }])
}

pub(super) fn tick(state: &State, now: Timestamp) -> Vec<Fact> {
    let pass = |due: &Due| match due {
        Due::Request(request) => Fact::RequestLapsed { request: request.clone() },
        Due::Grant(grant) => Fact::GrantEnded { grant: grant.clone() },
        Due::Deletion(session) => Fact::RecordingDeletionLapsed { session: session.clone() },
    };
    state.due(now).take(TICK).map(pass).collect()
}
