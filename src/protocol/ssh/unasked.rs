//! What a target asks of us that nobody asked it for: channels of its own towards the client. All refused, each an event.
//!
//! A target may ask before the session's first channel is there to tell it on; that is kept until then. One that does
//! not stop asking is hung up on where the library lets us, and otherwise told of in one event, with the number at the end.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::session::adapter::Tap;

/// How often a target may ask on one connection.
const MOST: u32 = 100;
const MORE_BEGINS: u32 = MOST + 1;
/// Said once for all beyond that.
const MORE: &str = "further channels of the target's, from here on only counted";
/// Said of each.
const WHY: &str = "the target asked for it, and nothing is reached through the gate from behind";

/// What one connection's target has asked for. Cloning shares it.
#[derive(Clone, Default)]
pub(super) struct Unasked {
    told: Arc<Mutex<Told>>,
}

#[derive(Default)]
struct Told {
    count: u32,
    early: Vec<String>,
    to: Option<(Tap, u32)>,
}

impl Unasked {
    /// Refuses one.
    ///
    /// # Errors
    /// When there were too many: the connection has to end.
    pub(super) fn refuse(&self, what: &str) -> Result<(), russh::Error> {
        let mut told = self.told();
        told.count = told.count.saturating_add(1);
        if told.count > MOST {
            if let (MORE_BEGINS, Some((tap, channel))) = (told.count, &told.to) {
                tap.refused(*channel, MORE, WHY);
            }
            return Err(russh::Error::Disconnect);
        }
        match &told.to {
            Some((tap, channel)) => tap.refused(*channel, what, WHY),
            None => told.early.push(what.to_owned()),
        }
        Ok(())
    }

    /// From now on the session hears of it, on `channel`; of what came before, at once.
    pub(super) fn report_to(&self, tap: &Tap, channel: u32) {
        let mut told = self.told();
        for what in told.early.drain(..) {
            tap.refused(channel, &what, WHY);
        }
        if told.count > MOST {
            tap.refused(channel, MORE, WHY);
        }
        told.to = Some((tap.clone(), channel));
    }

    /// The connection is over: how many were refused of which there is no event.
    pub(super) fn finish(&self) {
        let told = self.told();
        if let (Some((tap, channel)), Some(more @ 1..)) = (&told.to, told.count.checked_sub(MOST)) {
            tap.refused(*channel, &format!("{more} further channels of the target's"), WHY);
        }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
