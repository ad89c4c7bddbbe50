//! The journal's files and the records in them.
//!
//! A segment is a preallocated file: one page of header, then records up to its capacity. Its header carries a nonce
//! made when the segment is taken into use, and every record's check covers that nonce, so what an earlier use left
//! behind is never taken for a record. The layout is this program's own; the format of recordings is elsewhere.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use crate::model::SessionId;
use crate::recording::digest::Digest;
use crate::recording::disk::{Area, Disk};
use crate::recording::parse::Fields;

/// Length of a segment's header page.
pub(super) const HEADER_BYTES: usize = 4096;
/// Length of a record's head.
pub(super) const RECORD_HEAD: usize = 97;
/// The longest payload: a frame, or a recording's header.
pub(super) const MAX_PAYLOAD: usize = (1 << 20) + 128;
const MAGIC: [u8; 8] = *b"PSTNJRN1";
const RECORD_MAGIC: u32 = 0x7073_7265;
const CHECK_BYTES: usize = 16;
/// How much is zero-filled at once.
const ZEROES: usize = 1 << 20;

/// A segment's file, whatever its use.
#[derive(Debug, Clone)]
pub(super) struct SegmentFile {
    pub(super) file: Arc<File>,
    pub(super) path: PathBuf,
}

/// A segment in use.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) home: SegmentFile,
    pub(super) nonce: [u8; 16],
}

/// What a record is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum About {
    /// Bytes of a recording.
    Bytes,
    /// The recording is whole at its final name: nothing of it in the journal matters any more.
    Done,
}

/// A record's head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) about: About,
    pub(super) session: SessionId,
    pub(super) position: u64,
    /// Where in the recording the payload belongs.
    pub(super) offset: u64,
    pub(super) length: u32,
    /// BLAKE3 of the payload.
    pub(super) digest: Digest,
}

/// Which way a frame takes to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::recording) enum LaneKind {
    /// Through the journal, with all other small frames.
    Small,
    /// Through the journal, with all other larger ones.
    Bulk,
    /// Straight into its recording's file.
    Direct,
}

impl LaneKind {
    /// The file name of one of its segments.
    pub(super) fn segment_name(self, number: usize) -> String {
        format!("{}-{number:04}.seg", self.prefix())
    }

    /// The number in a segment's file name; `None` when it is not one of this lane's.
    pub(super) fn number_of(self, path: &Path) -> Option<usize> {
        let name = path.file_name()?.to_str()?.strip_prefix(self.prefix())?;
        name.strip_prefix('-')?.strip_suffix(".seg")?.parse().ok()
    }

    /// Which lane a segment file is of.
    pub(super) fn of(path: &Path) -> Option<Self> {
        [Self::Small, Self::Bulk].into_iter().find(|kind| kind.number_of(path).is_some())
    }

    const fn prefix(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Bulk => "bulk",
            // It has no segments of its own.
            Self::Direct => "direct",
        }
    }
}

impl SegmentFile {
    /// Makes and preallocates a file. Zeroes are written out where overwriting them later is to cost no metadata.
    pub(super) fn create(path: PathBuf, capacity: u64, zero: bool) -> io::Result<Self> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path)?;
        let can = rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, capacity);
        if let Err(error @ (Errno::NOSPC | Errno::DQUOT)) = can {
            // Trying it by hand would take the little room that live sessions still have.
            return Err(error.into());
        }
        if zero || can.is_err() {
            fill_with_zeroes(&file, capacity)?;
        }
        file.sync_all()?;
        Ok(Self { file: Arc::new(file), path })
    }

    /// Opens one that exists.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Self { file: Arc::new(file), path: path.to_owned() })
    }

    /// Takes it into use: from now on only records made for this nonce count.
    pub(super) fn begin(self, disk: &dyn Disk) -> io::Result<Segment> {
        let mut nonce = [0; 16];
        aws_lc_rs::rand::fill(&mut nonce).map_err(|_| io::Error::other("no randomness"))?;
        let header: Vec<u8> = MAGIC.into_iter().chain(nonce).collect();
        disk.write(Area::Journal, &self.file, &mut [IoSlice::new(&header)], 0)?;
        Ok(Segment { home: self, nonce })
    }

    /// Makes durable that nothing in it counts any more.
    pub(super) fn clear(&self, disk: &dyn Disk) -> io::Result<()> {
        disk.write(Area::Journal, &self.file, &mut [IoSlice::new(&[0; HEADER_BYTES])], 0)?;
        disk.sync(Area::Journal, &self.file)
    }
}

impl Record {
    pub(super) fn to_bytes(&self, nonce: &[u8; 16]) -> Vec<u8> {
        let mut head = Vec::with_capacity(RECORD_HEAD);
        head.extend_from_slice(&RECORD_MAGIC.to_be_bytes());
        head.extend_from_slice(&[u8::from(self.about == About::Done), 0, 0, 0, 0]);
        head.extend_from_slice(self.session.as_str().as_bytes());
        head.extend_from_slice(&self.position.to_be_bytes());
        head.extend_from_slice(&self.offset.to_be_bytes());
        head.extend_from_slice(&self.length.to_be_bytes());
        head.extend_from_slice(self.digest.as_bytes());
        let check = check(nonce, &head);
        head.extend_from_slice(&check);
        head
    }

    /// Reads the record at the front of `bytes`; gives it with its payload and what follows, when it is whole.
    pub(super) fn read<'a>(nonce: &[u8; 16], bytes: &'a [u8]) -> Option<(Self, &'a [u8], &'a [u8])> {
        let head = bytes.get(..RECORD_HEAD - CHECK_BYTES)?;
        let mut fields = Fields::new(bytes);
        if fields.u32()? != RECORD_MAGIC {
            return None;
        }
        let [about, ..] = fields.array::<5>()?;
        let record = Self {
            about: if about == 0 { About::Bytes } else { About::Done },
            session: std::str::from_utf8(fields.take(20)?).ok()?.parse().ok()?,
            position: fields.u64()?,
            offset: fields.u64()?,
            length: fields.u32()?,
            digest: Digest::new(fields.array()?),
        };
        let length = usize::try_from(record.length).ok().filter(|length| *length <= MAX_PAYLOAD)?;
        let is_ours = fields.array::<CHECK_BYTES>()? == check(nonce, head);
        let payload = fields.take(length)?;
        let is_whole = is_ours && crate::recording::digest::blake3(payload) == record.digest;
        is_whole.then_some((record, payload, fields.rest()))
    }
}

/// The records of a segment's bytes, up to the first that is not whole.
pub(super) fn records(segment: &[u8]) -> impl Iterator<Item = (Record, &[u8])> {
    let nonce = segment.strip_prefix(&MAGIC).and_then(|rest| rest.first_chunk::<16>());
    let mut rest = if nonce.is_some() { segment.get(HEADER_BYTES..).unwrap_or_default() } else { &[] };
    std::iter::from_fn(move || {
        let (record, payload, after) = Record::read(nonce?, rest)?;
        rest = after;
        Some((record, payload))
    })
}

/// A segment with the records of some sessions alone, as they stand in `segment`; `None` when it has none of them.
pub(super) fn excerpt(segment: &[u8], is_wanted: impl Fn(&SessionId) -> bool) -> Option<Vec<u8>> {
    let nonce = segment.strip_prefix(&MAGIC)?.first_chunk::<16>()?;
    let mut bytes = segment.get(..HEADER_BYTES)?.to_vec();
    for (record, payload) in records(segment).filter(|(record, _)| is_wanted(&record.session)) {
        bytes.extend(record.to_bytes(nonce));
        bytes.extend(payload);
    }
    (bytes.len() > HEADER_BYTES).then_some(bytes)
}

fn check(nonce: &[u8; 16], head: &[u8]) -> [u8; CHECK_BYTES] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(nonce).update(head);
    let mut out = [0; CHECK_BYTES];
    out.iter_mut().zip(hasher.finalize().as_bytes()).for_each(|(to, from)| *to = *from);
    out
}

fn fill_with_zeroes(file: &File, capacity: u64) -> io::Result<()> {
    use std::os::unix::fs::FileExt;
    let zeroes = vec![0; ZEROES];
    let mut offset = 0;
    while offset < capacity {
        let count = usize::try_from(capacity - offset).unwrap_or(ZEROES).min(ZEROES);
        file.write_all_at(zeroes.get(..count).unwrap_or_default(), offset)?;
        offset += count as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(payload: &[u8]) -> Record {
        Record {
            about: About::Bytes,
            session: "ses_aaaaaaaaaaaaaaaa".parse().unwrap(),
            position: 7,
            offset: 4711,
            length: u32::try_from(payload.len()).unwrap(),
            digest: crate::recording::digest::blake3(payload),
        }
    }

    fn segment(nonce: [u8; 16], payloads: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes: Vec<u8> = MAGIC.into_iter().chain(nonce).collect();
        bytes.resize(HEADER_BYTES, 0);
        for payload in payloads {
            bytes.extend(record(payload).to_bytes(&nonce));
            bytes.extend(payload);
        }
        bytes
    }

    proptest! {
        #[test]
        fn records_are_read_up_to_the_first_torn_one(
            payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..100), 1..6),
            cut: proptest::sample::Index,
        ) {
            let whole = segment([3; 16], &payloads);
            prop_assert_eq!(records(&whole).count(), payloads.len());
            let cut = HEADER_BYTES + cut.index(whole.len() - HEADER_BYTES);
            let torn: Vec<u8> = whole.iter().enumerate().map(|(at, b)| if at < cut { *b } else { 0 }).collect();
            for ((record, payload), expected) in records(&torn).zip(&payloads) {
                prop_assert_eq!(payload, expected.as_slice());
                prop_assert_eq!(record.offset, 4711);
            }
        }

        #[test]
        fn a_flipped_bit_never_gives_another_record(
            payload in proptest::collection::vec(any::<u8>(), 0..60), bit: proptest::sample::Index,
        ) {
            let mut bytes = segment([3; 16], std::slice::from_ref(&payload));
            let bit = HEADER_BYTES * 8 + bit.index((bytes.len() - HEADER_BYTES) * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(records(&bytes).count(), 0);
        }

        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(records(&bytes).count(), 0);
        }
    }

    #[test]
    fn records_of_an_earlier_use_do_not_count() {
        let mut bytes = segment([3; 16], &[vec![1], vec![2]]);
        bytes[8..24].copy_from_slice(&[4; 16]);
        assert_eq!(records(&bytes).count(), 0);
    }
}
