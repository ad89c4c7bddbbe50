//! What is kept of recordings whose own files failed, so that the next start can finish them.
//!
//! Their frames stand in segments among those of others. A segment that nobody else needs any more would stand in the
//! way of all that follow; so the failed recordings' records are copied to a file of their own, in a segment's layout,
//! and the segment goes back to use. The next start reads such a file as it reads segments, and removes it.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Shared;
use super::segment::{Segment, excerpt};
use super::track::Track;
use crate::model::SessionId;
use crate::recording::disk::Area;

/// The most bytes kept this way: with more broken files than that, the disk is what is broken.
const AT_MOST: usize = 256 << 20;

/// The failed recordings, and what is still needed of them.
#[derive(Default)]
pub(super) struct Rescue {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    sessions: BTreeSet<SessionId>,
    /// Segments in use that have frames of theirs.
    segments: Vec<Arc<Segment>>,
    files: usize,
    bytes: usize,
}

impl Rescue {
    /// Whether no recording's file has failed, so that the journal is not needed after a clean stop.
    pub(super) fn is_empty(&self) -> bool {
        self.lock().sessions.is_empty()
    }

    /// Keeps what a recording whose file failed has in segments.
    pub(super) fn keep(&self, track: &Track) {
        let mut inner = self.lock();
        inner.sessions.insert(track.session.clone());
        for segment in track.take_pinned() {
            if !inner.segments.iter().any(|other| Arc::ptr_eq(other, &segment)) {
                inner.segments.push(segment);
            }
        }
    }

    /// Makes a full segment unneeded that only failed recordings need; says whether it was one. Everything in it must be
    /// durable.
    pub(super) fn copy_out(&self, shared: &Shared, segment: &Arc<Segment>) -> io::Result<bool> {
        let mut inner = self.lock();
        let Some(at) = inner.segments.iter().position(|other| Arc::ptr_eq(other, segment)) else {
            return Ok(false);
        };
        // The lane's, the one here, and the caller's.
        if Arc::strong_count(segment) > 3 {
            return Ok(false);
        }
        let whole = fs::read(&segment.home.path)?;
        if let Some(bytes) = excerpt(&whole, |session| inner.sessions.contains(session)) {
            inner.bytes += bytes.len();
            if inner.bytes > AT_MOST {
                return Err(io::Error::other("the files of too many recordings failed"));
            }
            inner.files += 1;
            let path = shared.directory.join(format!("rescued-{:04}.seg", inner.files));
            let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
            shared.disk.write(Area::Journal, &file, &mut [IoSlice::new(&bytes)], 0)?;
            shared.disk.sync(Area::Journal, &file)?;
            File::open(&shared.directory)?.sync_all()?;
        }
        inner.segments.swap_remove(at);
        Ok(true)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
