//! Reading any part of a recording again, without what comes before it.
//!
//! Whoever read a recording once knows where its frames lie ([`super::Reader::place`]). Each frame opens by itself: its
//! nonce is its counter. So a player can go anywhere by reading a few hundred kilobytes. What is read here was in its
//! place in the first reading: whether the whole holds is that reading's business, and [`super::verify()`]'s.

use std::fmt;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use super::error::RecordingError;
use super::event::Event;
use super::frame::{HEAD_BYTES, Head, Kind, MAX_BODY};
use super::header::Header;
use super::open::Opener;
use super::reader::RawFrame;

/// The most bytes read at once; a player asks for far less.
const MOST: u64 = 64 << 20;

/// A recording's file, to read parts of it again.
pub struct Again {
    file: File,
    header: Header,
    opener: Opener,
}

impl fmt::Debug for Again {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Again({})", self.header.session)
    }
}

impl Again {
    /// The file of a recording that was opened.
    pub(super) fn new(file: File, header: Header, opener: &Opener) -> Self {
        Self { file, header, opener: opener.anywhere() }
    }

    /// The events of the frames in a place, which is one that [`super::Reader::place`] gave or joins several.
    ///
    /// # Errors
    /// When the file is no longer what it was, or somebody asks for too much at once.
    pub fn events(&mut self, place: Range<u64>) -> Result<Vec<Event>, RecordingError> {
        let length = place.end.saturating_sub(place.start);
        if length > MOST {
            return Err(RecordingError::LimitExceeded { counter: 0, length, limit: MOST });
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        self.file.read_exact_at(&mut bytes, place.start)?;
        self.opener.resume();
        let (mut events, mut rest) = (Vec::new(), bytes.as_slice());
        while let Some((head, after)) = rest.split_first_chunk::<HEAD_BYTES>() {
            let Head { length, code, counter } = Head::parse(*head);
            let damaged = |what| RecordingError::FrameDamaged { counter, what };
            let kind = Kind::from_code(code).ok_or_else(|| damaged("its kind is unknown"))?;
            let length = usize::try_from(length.min(MAX_BODY)).unwrap_or(0);
            let (body, next) =
                after.split_at_checked(length).ok_or_else(|| damaged("it is not where it was"))?;
            if matches!(kind, Kind::Chunk | Kind::LastChunk) {
                let (head, body, chain) = (*head, body.to_vec(), self.header.hash());
                events.append(&mut self.opener.open(RawFrame { counter, kind, head, body, chain })?);
            }
            rest = next;
        }
        Ok(events)
    }
}
