//! The lane for what is large: straight into the recording's own file, without the way through the journal.
//!
//! A frame of a bulk transfer would only be written twice. The file never has a gap: whatever it still lacks before the
//! frame is written with it, though that may not be durable yet in the journal. What finds no room here, or a file that
//! fails, takes the way through the journal after all, so nothing that was taken in is lost.
//!
//! The write of such a frame may be torn by a crash, and without the file key nobody can tell. So the recorder puts a
//! checkpoint behind it, and recovery believes a frame of this size only when a later checkpoint covers it.
//!
//! Whole blocks are written past the page cache where the file system can: a cache full of bytes that nobody reads soon
//! costs more processor time than the copy it saves, and its write-back would hold up the journal's syncs.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;

use super::lane::{Item, Lane, Place, Written};
use super::segment::LaneKind;
use super::track::Track;
use super::{Shared, filler};
use crate::recording::disk::{self, Area};

/// Frames above this many bytes take this way: a transfer's, not a screenful.
pub(in crate::recording) const DIRECT_FRAME: usize = 96 << 10;
/// What offsets, lengths and addresses are multiples of when a write goes past the page cache. Every common file system
/// on every common device takes this.
const BLOCK: usize = 4096;
/// Bytes one write past the page cache takes.
const STAGE: usize = 1 << 20;

/// What the lane's writer keeps between groups.
pub(super) struct Stage {
    memory: Vec<u8>,
    /// Where in the memory an aligned stretch of [`STAGE`] bytes begins.
    aligned: usize,
}

impl Stage {
    pub(super) fn new() -> Self {
        let memory = vec![0; STAGE + BLOCK];
        let aligned = memory.as_ptr().align_offset(BLOCK).min(BLOCK);
        Self { memory, aligned }
    }

    fn bytes(&mut self) -> &mut [u8] {
        self.memory.get_mut(self.aligned..self.aligned + STAGE).unwrap_or_default()
    }
}

/// Frames of one recording in a group, with their numbers in the lane.
type Items = Vec<(u64, Item)>;

/// Writes a group, recording by recording.
pub(super) fn write(shared: &Shared, lane: &Lane, stage: &mut Stage, group: Items) {
    let mut by_track: BTreeMap<usize, (Arc<Track>, Items)> = BTreeMap::new();
    for (number, item) in group {
        // Only frames of recordings come this way.
        let Some(track) = item.track.clone() else { continue };
        let entry = by_track.entry(Arc::as_ptr(&track).addr()).or_insert_with(|| (track, Vec::new()));
        entry.1.push((number, item));
    }
    for (track, items) in by_track.into_values() {
        match write_one(shared, stage, &track, &items) {
            Ok(file) => {
                let mut written = Vec::with_capacity(items.len());
                for (number, Item { record, bytes, track }) in items {
                    let place = Place::File { file: Arc::clone(&file), bytes: bytes.len() };
                    if let Some(track) = &track {
                        track.mark_written(record.position, None);
                    }
                    written.push(Written { number, position: record.position, track, place });
                }
                lane.hand_to_syncer(written);
            }
            Err(error) => send_around(shared, &track, items, &error),
        }
    }
    lane.wait_for_syncer();
}

/// Writes what the file lacks up to the last of the items.
fn write_one(
    shared: &Shared,
    stage: &mut Stage,
    track: &Track,
    items: &[(u64, Item)],
) -> io::Result<Arc<File>> {
    if track.file_failure().is_some() {
        return Err(io::Error::other("its file has failed before"));
    }
    let last = items.last().map_or(0, |(_, item)| item.record.position);
    track.await_journal(last, || shared.failure().is_some());
    let (offset, pieces) = track.lacking(last);
    let length: usize = pieces.iter().map(Bytes::len).sum();
    let file = track.file(&shared.spool)?;
    let past_cache = shared.spool.past_cache(&track.session);
    let is_past_cache = past_cache.as_ref().is_ok_and(|past_cache| {
        // Whatever the reason, the other way is tried next, and its error counts.
        write_blocks(shared, stage, &file, past_cache, offset, &pieces).is_ok()
    });
    if !is_past_cache {
        let mut slices: Vec<_> = pieces.iter().map(|bytes| IoSlice::new(bytes)).collect();
        shared.disk.write(Area::Recording, &file, &mut slices, offset)?;
    }
    track.reaches(offset + length as u64);
    Ok(Arc::new(file))
}

/// Writes all whole blocks past the page cache, the rest of a block at the end through it.
fn write_blocks(
    shared: &Shared,
    stage: &mut Stage,
    file: &File,
    past_cache: &File,
    offset: u64,
    pieces: &[Bytes],
) -> io::Result<()> {
    let into_block = usize::try_from(offset % BLOCK as u64).unwrap_or(0);
    let mut at = offset - into_block as u64;
    let stage = stage.bytes();
    let mut filled = into_block;
    // What the block has already, so that it can be written whole.
    file.read_exact_at(stage.get_mut(..into_block).unwrap_or_default(), at)?;
    let mut flush = |stage: &mut [u8], filled: usize, is_last: bool| {
        let whole = filled - filled % BLOCK;
        let (blocks, rest) =
            stage.get(..filled).unwrap_or_default().split_at_checked(whole).unwrap_or_default();
        if !blocks.is_empty() {
            shared.disk.write(Area::Recording, past_cache, &mut [IoSlice::new(blocks)], at)?;
            at += whole as u64;
        }
        if is_last && !rest.is_empty() {
            shared.disk.write(Area::Recording, file, &mut [IoSlice::new(rest)], at)?;
        }
        Ok::<_, io::Error>(())
    };
    for piece in pieces {
        let mut piece: &[u8] = piece;
        while !piece.is_empty() {
            let room = stage.get_mut(filled..).unwrap_or_default();
            let count = room.len().min(piece.len());
            let (now, later) = piece.split_at_checked(count).unwrap_or((piece, &[]));
            room.get_mut(..count).unwrap_or_default().copy_from_slice(now);
            (filled, piece) = (filled + count, later);
            if filled == STAGE {
                flush(stage, filled, false)?;
                filled = 0;
            }
        }
    }
    flush(stage, filled, true)
}

/// Gives the items to the journal. Their session ends: its file has no room, or is broken.
fn send_around(shared: &Shared, track: &Arc<Track>, items: Items, error: &io::Error) {
    if disk::is_full(error) {
        filler::stall(shared, track);
    } else {
        filler::give_up(shared, track, error);
    }
    for (_, item) in items {
        let position = item.record.position;
        track.moved(position, LaneKind::Bulk);
        let number = shared.bulk.push(item);
        track.numbered(LaneKind::Bulk, number);
    }
}
