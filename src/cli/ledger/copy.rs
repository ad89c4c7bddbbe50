//! `postern ledger export`: a copy of the whole ledger that needs no bastion to be checked.
//!
//! The directory gets `entries.jsonl` (the canonical bytes, one entry a line), the static files of C2SP `tlog-tiles`,
//! and the signed checkpoint last: whoever reads it finds everything its checkpoint speaks of. What is written was
//! recomputed on the way; a ledger that does not hold gets no checkpoint.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use super::audit::Step;
use crate::ledger::TreeHash;
use crate::ledger::tiles::{TILE_WIDTH, Tile, entry_bundle, hash_tile, tiles_between};

const ENTRIES: &str = "entries.jsonl";
const CHECKPOINT: &str = "checkpoint";

/// A copy being written.
pub(super) struct Copy {
    directory: PathBuf,
    lines: BufWriter<File>,
    /// Complete hashes by tile level.
    hashes: BTreeMap<u8, Vec<TreeHash>>,
    /// The entries of the bundle being filled.
    bundle: Vec<Vec<u8>>,
    size: u64,
    /// The first thing that went wrong; nothing is written after it.
    failed: Option<io::Error>,
}

impl Copy {
    /// Begins a copy in a directory, made if need be.
    pub(super) fn begin(directory: &Path) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let checkpoint = directory.join(CHECKPOINT);
        if checkpoint.exists() {
            // While the files change, the old checkpoint speaks of nothing that is surely there.
            fs::remove_file(checkpoint)?;
        }
        Ok(Self {
            directory: directory.to_owned(),
            lines: BufWriter::new(File::create(directory.join(ENTRIES))?),
            hashes: BTreeMap::new(),
            bundle: Vec::new(),
            size: 0,
            failed: None,
        })
    }

    /// Takes the next entry.
    pub(super) fn take(&mut self, step: Step<'_>) {
        if self.failed.is_none() {
            self.failed = self.write(step).err();
        }
    }

    /// Writes what is left, and the checkpoint last.
    pub(super) fn finish(mut self, checkpoint: &str) -> io::Result<()> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        self.lines.flush()?;
        self.lines.get_ref().sync_all()?;
        if !self.bundle.is_empty() {
            self.write_bundle()?;
        }
        for tile in tiles_between(0, self.size) {
            let Some(level) = tile.level else { continue };
            let held = self.hashes.get(&level).map(Vec::as_slice).unwrap_or_default();
            let first = usize::try_from(tile.first()).unwrap_or(usize::MAX);
            let width = usize::try_from(tile.width).unwrap_or(usize::MAX);
            let end = first.saturating_add(width);
            let hashes = held.get(first..end).ok_or_else(|| io::Error::other("a tile has too few hashes"))?;
            save(&self.directory.join(tile.path()), &hash_tile(hashes))?;
        }
        save(&self.directory.join(CHECKPOINT), checkpoint.as_bytes())
    }

    fn write(&mut self, step: Step<'_>) -> io::Result<()> {
        self.lines.write_all(step.bytes)?;
        self.lines.write_all(b"\n")?;
        self.hashes.entry(0).or_default().push(step.leaf);
        for node in step.nodes {
            self.hashes.entry(node.level).or_default().push(node.hash);
        }
        self.bundle.push(step.bytes.to_vec());
        self.size += 1;
        if self.bundle.len() as u64 == TILE_WIDTH { self.write_bundle() } else { Ok(()) }
    }

    fn write_bundle(&mut self) -> io::Result<()> {
        let bundle = std::mem::take(&mut self.bundle);
        let index = (self.size - 1) / TILE_WIDTH;
        let tile = Tile { level: None, index, width: bundle.len() as u64 };
        let bytes =
            entry_bundle(&bundle).ok_or_else(|| io::Error::other("an entry is too long for a bundle"))?;
        save(&self.directory.join(tile.path()), &bytes)
    }
}

/// Writes a file whole or not at all.
fn save(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent)?;
    let mut file = tempfile::NamedTempFile::new_in(parent)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::audit::Auditor;
    use super::*;
    use crate::ledger::Frontier;
    use crate::ledger::entry::{Actor, Entry, Fact};
    use crate::model::Timestamp;

    #[test]
    fn a_copy_has_every_entry_and_every_tile() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("copy");
        let mut copy = Copy::begin(&directory).unwrap();
        let (mut auditor, mut tree) = (Auditor::new(None), Frontier::default());
        for seq in 0..300 {
            let fact = Fact::PolicyLoaded { hash: format!("{seq:064x}") };
            let entry = Entry { v: 1, seq, at: Timestamp::UNIX_EPOCH, by: Actor::Node, fact };
            let (bytes, leaf, nodes) = auditor.take(&entry).unwrap();
            drop(tree.push(leaf));
            copy.take(Step { entry: &entry, bytes: &bytes, leaf, nodes });
        }
        copy.finish("signed\n").unwrap();

        let lines = fs::read_to_string(directory.join(ENTRIES)).unwrap();
        assert_eq!(lines.lines().count(), 300);
        let mut again = Frontier::default();
        lines.lines().for_each(|line| drop(again.push(TreeHash::leaf(line.as_bytes()))));
        assert_eq!(again.root(), tree.root(), "the lines alone give the root");
        for tile in tiles_between(0, 300) {
            assert!(directory.join(tile.path()).is_file(), "{}", tile.path());
        }
        assert_eq!(fs::metadata(directory.join("tile/0/001.p/44")).unwrap().len(), 44 * 32);
        assert_eq!(fs::read_to_string(directory.join(CHECKPOINT)).unwrap(), "signed\n");
    }
}
