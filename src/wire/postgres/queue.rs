//! What was asked for and has no answer yet, in the order it was sent.
//!
//! Data that is copied in stands in it too, as its size: where it ends decides which Sync the server answers.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::client::{Bind, Named};
use super::outcome::Unfollowable;

/// Something that was asked for, with its number; data and Sync have none.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) number: u64,
    pub(super) what: What,
}

/// What was asked for.
#[derive(Debug)]
pub(super) enum What {
    Bind(Arc<Bind>),
    Close(Named),
    /// Data copied in, and whether it ended there.
    Copy {
        bytes: u64,
        is_over: bool,
    },
    Describe(Named),
    Execute(Bytes),
    Function,
    Parse {
        name: Bytes,
        text: Bytes,
        types: Vec<u32>,
    },
    Query(Bytes),
    Sync {
        after: Option<u64>,
    },
}

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: VecDeque<Waiting>,
    held: usize,
}

impl Queue {
    /// Bytes that everything in it keeps alive, about.
    pub(super) const fn held(&self) -> usize {
        self.held
    }

    pub(super) fn push(&mut self, number: u64, what: What) {
        self.held = self.held.saturating_add(weight(&what));
        self.waiting.push_back(Waiting { number, what });
    }

    /// Puts a Sync before everything else: the answer to something else ends like the answer to one.
    pub(super) fn sync_first(&mut self) {
        let what = What::Sync { after: None };
        self.held = self.held.saturating_add(weight(&what));
        self.waiting.push_front(Waiting { number: 0, what });
    }

    pub(super) fn pop(&mut self) -> Option<Waiting> {
        let first = self.waiting.pop_front()?;
        self.held = self.held.saturating_sub(weight(&first.what));
        Some(first)
    }

    pub(super) fn first(&self) -> Option<&What> {
        self.waiting.front().map(|waiting| &waiting.what)
    }

    /// Adds data that is copied in.
    pub(super) fn copy(&mut self, more: usize, ends: bool) {
        let more = u64::try_from(more).unwrap_or(u64::MAX);
        if let Some(Waiting { what: What::Copy { bytes, is_over: is_over @ false }, .. }) =
            self.waiting.back_mut()
        {
            *bytes = bytes.saturating_add(more);
            *is_over = ends;
        } else {
            self.push(0, What::Copy { bytes: more, is_over: ends });
        }
    }

    /// Whether the end of what is copied in was sent.
    pub(super) fn is_copy_over(&self) -> bool {
        self.waiting.iter().any(|waiting| matches!(waiting.what, What::Copy { is_over: true, .. }))
    }

    /// Tests what was sent ahead behind a statement that takes data: anything but data would make it fail, and nobody could
    /// say where.
    pub(super) fn only_data_follows(&self) -> Result<(), Unfollowable> {
        for waiting in self.waiting.iter().skip(1) {
            match waiting.what {
                What::Copy { is_over: true, .. } => break,
                What::Copy { .. } | What::Sync { .. } => {}
                What::Bind(_)
                | What::Close(_)
                | What::Describe(_)
                | What::Execute(_)
                | What::Function
                | What::Parse { .. }
                | What::Query(_) => return Err(Unfollowable::InCopy),
            }
        }
        Ok(())
    }

    /// The first takes no more data: takes away what the server read meanwhile, Sync among it. Gives how much data that was.
    pub(super) fn end_copy(&mut self, has_failed: bool) -> u64 {
        let mut bytes = 0_u64;
        let mut kept = VecDeque::with_capacity(self.waiting.len());
        let mut is_over = false;
        for (index, waiting) in std::mem::take(&mut self.waiting).into_iter().enumerate() {
            let is_sync = matches!(waiting.what, What::Sync { .. });
            if index == 0 || is_over {
                // The statement that copies, and what comes behind its data.
                kept.push_back(waiting);
            } else if let What::Copy { bytes: more, is_over: ends } = waiting.what {
                bytes = bytes.saturating_add(more);
                is_over = ends;
            } else if !is_sync || (has_failed && bytes > 0) {
                // A Sync among the data is read and passed over; after an error, only one before any data is so for sure.
                kept.push_back(waiting);
            }
        }
        self.waiting = kept;
        self.held = self.waiting.iter().map(|waiting| weight(&waiting.what)).sum();
        bytes
    }
}

/// Bytes that something in the queue keeps alive, about.
fn weight(what: &What) -> usize {
    const EACH: usize = 64;
    let more = match what {
        What::Bind(bind) => {
            let values = bind.values.iter().flatten().map(Bytes::len);
            values.fold(bind.portal.len(), |sum, one| sum.saturating_add(one).saturating_add(EACH))
        }
        What::Parse { text, types, .. } => text.len().saturating_add(types.len().saturating_mul(4)),
        What::Query(text) => text.len(),
        What::Close(_)
        | What::Copy { .. }
        | What::Describe(_)
        | What::Execute(_)
        | What::Function
        | What::Sync { .. } => 0,
    };
    more.saturating_add(EACH)
}
