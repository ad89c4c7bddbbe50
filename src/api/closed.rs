//! Who ended a request or a grant, when, and why: the entry that did it, found again in the ledger.
//!
//! The tables hold how something ended and when; by whom and with which words is in the entry alone. Whether the caller
//! may see the thing itself is asked before. Read next: `requests.rs`, `grants.rs`.

use serde::Serialize;

use super::call::Call;
use super::error::ApiError;
use crate::access::State;
use crate::ledger::entry::{Actor, Entry, Fact};
use crate::model::Timestamp;

/// The end that somebody gave something.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub(super) struct Closed {
    /// When.
    pub(super) at: Timestamp,
    /// By whom: a name, or whose machine it is.
    pub(super) by: String,
    /// Why, where a reason was given.
    pub(super) reason: Option<String>,
}

/// What ended each of some things, given by id and the time they ended; nothing for what ended by itself.
pub(super) async fn all(
    call: &Call,
    wanted: Vec<Option<(String, Timestamp)>>,
) -> Result<Vec<Option<Closed>>, ApiError> {
    let entries = call
        .history(move |store| {
            let find = |(id, at): (String, Timestamp)| store.entry_at(at, |fact| ends(fact, &id));
            wanted.into_iter().map(|one| Ok(one.map(find).transpose()?.flatten())).collect()
        })
        .await?;
    let entries: Vec<Option<Entry>> = entries;
    Ok(call.look(|state| entries.into_iter().map(|entry| Some(closed(state, entry?))).collect()))
}

/// What ended one thing.
pub(super) async fn one(call: &Call, id: String, at: Timestamp) -> Result<Option<Closed>, ApiError> {
    Ok(all(call, vec![Some((id, at))]).await?.pop().flatten())
}

fn closed(state: &State, entry: Entry) -> Closed {
    let by = match &entry.by {
        Actor::Node => "the bastion".to_owned(),
        Actor::Operator => "the machine's operator".to_owned(),
        Actor::Person { person, .. } => {
            state.person(person).map_or_else(|| person.to_string(), |known| known.facts.name.to_string())
        }
    };
    let reason = if let Fact::RequestDenied { reason, .. }
    | Fact::GrantRevoked { reason, .. }
    | Fact::PersonDisabled { reason, .. }
    | Fact::Revoked { reason, .. }
    | Fact::TargetRemoved { reason, .. } = entry.fact
    {
        Some(reason)
    } else {
        None
    };
    Closed { at: entry.at, by, reason }
}

/// Whether a fact is somebody's, and ended the thing with this id or much at once.
fn ends(fact: &Fact, id: &str) -> bool {
    if let Fact::RequestDenied { request, .. } | Fact::RequestWithdrawn { request } = fact {
        return request.as_str() == id;
    }
    if let Fact::GrantRevoked { grant, .. } = fact {
        return grant.as_str() == id;
    }
    matches!(fact, Fact::PersonDisabled { .. } | Fact::Revoked { .. } | Fact::TargetRemoved { .. })
}
