//! What becomes of recordings after their sessions. The sessions have ended, which this state does not remember: the
//! caller has looked them up.
//!
//! Read next: `sessions.rs`.

use super::text;
use crate::access::denied::Denied;
use crate::access::state::State;
use crate::ledger::entry::{Actor, Fact, StoredFacts};

/// The longest location, in bytes.
const LOCATION: usize = 1024;

/// Only the bastion itself knows where it moved something.
pub(super) fn store(state: &State, by: &Actor, facts: StoredFacts) -> Result<Vec<Fact>, Denied> {
    if *by != Actor::Node {
        return Err(Denied::ActorNotNode);
    }
    if state.session(&facts.session).is_some() {
        return Err(Denied::SessionLive);
    }
    text::line("the location", &facts.location, LOCATION)?;
    text::line("the recording's digest", &facts.sha256, text::NAME)?;
    Ok(vec![Fact::RecordingStored(facts)])
}
