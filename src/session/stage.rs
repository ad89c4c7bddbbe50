//! The stages of a session as types: `Armed` holds permit, recorder and lease; `Live` cannot be built without all three.
//!
//! Neither has a public constructor, so a program that relays without one of them does not compile
//! (`tests/compile_fail/`). The order they are obtained in is `lifecycle.rs`'s.

use std::sync::Arc;

use super::adapter::Way;
use super::ending::Ending;
use super::gate::Gate;
use super::permit::Permit;
use super::registry::Entry;
use super::relay::Tap;
use crate::credential::Lease;
use crate::recording::Recorder;

/// Permitted, recording, and with a credential; not connected.
pub struct Armed {
    pub(super) permit: Permit,
    pub(super) recorder: Arc<Recorder>,
    pub(super) lease: Arc<Lease>,
    pub(super) entry: Entry,
}

/// Connected: bytes may flow.
pub struct Live {
    pub(super) armed: Armed,
    tap: Tap,
}

impl Armed {
    /// The way to the target, for as long as the session lasts.
    pub(super) fn way(&self, gate: &Arc<Gate>, ending: &Ending) -> Way {
        let target = self.permit.subject.target.clone();
        Way::new(gate.store.clone(), target, Arc::clone(&self.lease), ending.fuse().clone())
    }

    /// The target is connected with this session's credential: bytes may flow.
    pub(super) fn go_live(self, gate: &Arc<Gate>, ending: &Ending) -> Live {
        let way = self.way(gate, ending);
        let subject = Arc::clone(&self.permit.subject);
        let tap = Tap::new(Arc::clone(gate), subject, Arc::clone(&self.recorder), ending.clone(), way);
        Live { armed: self, tap }
    }
}

impl Live {
    /// The tap every byte goes through.
    pub(super) const fn tap(&self) -> &Tap {
        &self.tap
    }
}
