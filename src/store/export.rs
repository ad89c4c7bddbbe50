//! Writes the ledger out as static files (C2SP `tlog-tiles`), for monitors, witnesses and backups.
//!
//! Tiles never change once full, so exporting again writes only what is new. The checkpoint comes last, under a
//! temporary name first: whoever reads the directory at any moment finds every tile its checkpoint speaks of.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use super::backend::Reader;
use super::error::StoreError;
use super::store::Store;
use crate::ledger::tiles::{Tile, entry_bundle, hash_tile, tiles_between};
use crate::ledger::{CanonicalError, Checkpoint, TreeHash};

impl Store {
    /// Writes `checkpoint`, `tile/…` and `tile/entries/…` below a directory. Returns the checkpoint.
    ///
    /// # Errors
    /// When a file cannot be written, or what was exported there before is not an earlier state of this ledger.
    pub fn export(&self, to: &Path) -> Result<String, StoreError> {
        self.frozen(|reader| {
            let (note, head) = self.head(reader)?;
            let before = self.exported(to)?;
            if before > head.size {
                return Err(StoreError::RolledBack { found: head.size, signed: before });
            }
            for tile in tiles_between(before, head.size) {
                let bytes = contents(reader, tile)?;
                write(&to.join(tile.path()), &bytes).map_err(|e| failed(to, &e))?;
            }
            write(&to.join("checkpoint"), note.as_bytes()).map_err(|e| failed(to, &e))?;
            Ok(note)
        })
    }

    /// How many entries an earlier export into a directory has.
    fn exported(&self, to: &Path) -> Result<u64, StoreError> {
        match fs::read_to_string(to.join("checkpoint")) {
            Ok(note) => Ok(Checkpoint::open(&note, self.checkpoint_key())?.size),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(failed(to, &error)),
        }
    }
}

fn contents(reader: &dyn Reader, tile: Tile) -> Result<Vec<u8>, StoreError> {
    match tile.level {
        Some(level) => {
            let hashes: Vec<TreeHash> = reader.hashes(level, tile.first(), tile.width)?;
            if u64::try_from(hashes.len()).ok() == Some(tile.width) {
                Ok(hash_tile(&hashes))
            } else {
                Err(StoreError::TreeEdited)
            }
        }
        None => {
            let entries = reader.entries(tile.first(), tile.width)?;
            let bytes: Vec<Vec<u8>> = entries.into_iter().map(|entry| entry.bytes).collect();
            let longest = bytes.iter().map(Vec::len).max().unwrap_or(0);
            entry_bundle(&bytes).ok_or_else(|| CanonicalError::TooLong { bytes: longest }.into())
        }
    }
}

/// Writes a file whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent)?;
    let mut file = tempfile::NamedTempFile::new_in(parent)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

fn failed(path: &Path, cause: &io::Error) -> StoreError {
    StoreError::Directory { path: path.to_owned(), cause: cause.to_string() }
}
