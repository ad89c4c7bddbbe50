//! What a start does with the journal an earlier run left: puts every whole record into its recording's file.
//!
//! Running it twice does no harm: a record says where its bytes belong. Afterwards `recover.rs` ends each recording,
//! and only then are the segments cleared.

use std::collections::BTreeSet;
use std::fs;
use std::io::IoSlice;
use std::path::{Path, PathBuf};

use super::segment::{About, LaneKind, SegmentFile, records};
use crate::model::SessionId;
use crate::recording::disk::{Area, Disk};
use crate::recording::failure::JournalError;
use crate::recording::spool::Spool;

/// A longer file is no segment of ours.
const MAX_SEGMENT: u64 = 1 << 30;

/// The journal's segment files, in the order of their names.
pub(super) fn segment_paths(directory: &Path) -> Result<Vec<PathBuf>, JournalError> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory).map_err(JournalError::io("read", directory))? {
        let path = entry.map_err(JournalError::io("read", directory))?.path();
        if path.extension().is_some_and(|extension| extension == "seg") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Puts the journal's records into the recordings' files.
pub(super) fn replay(paths: &[PathBuf], spool: &Spool, disk: &dyn Disk) -> Result<(), JournalError> {
    let (mut done, mut begun) = (BTreeSet::new(), BTreeSet::new());
    for path in paths {
        for (record, _) in records(&read(path)?) {
            if record.about == About::Done {
                done.insert(record.session);
            } else if record.offset == 0 {
                begun.insert(record.session);
            }
        }
    }
    // A recording that was done may be anywhere by now. One that is neither begun here nor open has been moved too.
    let is_wanted = |session: &SessionId| {
        let has_file = spool.open_path(session).exists();
        !done.contains(session) && !spool.kept_path(session).exists() && (has_file || begun.contains(session))
    };
    for path in paths {
        let segment = read(path)?;
        let mut found: Vec<_> =
            records(&segment).filter(|(record, _)| record.about == About::Bytes).collect();
        found.sort_by(|(a, _), (b, _)| (&a.session, a.offset).cmp(&(&b.session, b.offset)));
        for group in found.chunk_by(|(a, _), (b, _)| a.session == b.session) {
            let Some((first, _)) = group.first().filter(|(record, _)| is_wanted(&record.session)) else {
                continue;
            };
            let path = spool.open_path(&first.session);
            let file = spool.writer(&first.session, true).map_err(JournalError::io("open", &path))?;
            for (record, payload) in group {
                disk.write(Area::Recording, &file, &mut [IoSlice::new(payload)], record.offset)
                    .map_err(JournalError::io("write", &path))?;
            }
            disk.sync(Area::Recording, &file).map_err(JournalError::io("sync", &path))?;
        }
    }
    Ok(())
}

/// Empties the segments. Only after everything in them is safe elsewhere.
pub(super) fn clear(
    paths: &[PathBuf],
    disk: &dyn Disk,
    limit: u64,
) -> Result<Vec<SegmentFile>, JournalError> {
    let mut files = Vec::new();
    for path in paths {
        let file = SegmentFile::open(path).map_err(JournalError::io("open", path))?;
        file.clear(disk).map_err(JournalError::io("clear", path))?;
        let length = file.file.metadata().map_err(JournalError::io("read", path))?.len();
        if length == limit && LaneKind::of(path).is_some() {
            files.push(file);
        } else {
            fs::remove_file(path).map_err(JournalError::io("remove", path))?;
        }
    }
    Ok(files)
}

fn read(path: &Path) -> Result<Vec<u8>, JournalError> {
    let length = fs::metadata(path).map_err(JournalError::io("read", path))?.len();
    if length > MAX_SEGMENT {
        return Ok(Vec::new());
    }
    fs::read(path).map_err(JournalError::io("read", path))
}
