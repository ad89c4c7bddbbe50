//! What of a recording was sent so far, noted in a file beside the recordings: `sending/SESSION.json`.
//!
//! A note that is lost or does not fit costs another upload and nothing else: what it says is held against the file
//! before it counts. Read next: `upload.rs`.

use std::io::{self, ErrorKind, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

/// The largest note read, in bytes: ten thousand parts.
const LARGEST: u64 = 4 << 20;

/// An upload under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Note {
    /// Where it goes.
    pub(super) location: String,
    /// What the store calls the upload.
    pub(super) upload: String,
    /// The length of every part but the last.
    pub(super) part_bytes: u64,
    /// The parts that are there.
    pub(super) parts: Vec<Part>,
}

/// A part that was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Part {
    /// What the store calls it.
    pub(super) name: String,
    /// SHA-256 of its bytes, lower-case hex.
    pub(super) sha256: String,
}

impl Note {
    /// The note in a file; none when there is none, or nothing that makes sense.
    pub(super) fn load(path: &Path) -> io::Result<Option<Self>> {
        match std::fs::metadata(path) {
            Ok(facts) if facts.len() <= LARGEST => Ok(serde_json::from_slice(&std::fs::read(path)?).ok()),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes it in place of an older one, whole or not at all. One that a crash takes costs another upload, which is
    /// less than every part waiting for the disk.
    pub(super) fn save(&self, path: &Path) -> io::Result<()> {
        let directory = path.parent().unwrap_or(path);
        std::fs::create_dir_all(directory)?;
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        serde_json::to_writer(&mut file, self)?;
        file.flush()?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    }

    /// Forgets it.
    pub(super) fn remove(path: &Path) -> io::Result<()> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}
