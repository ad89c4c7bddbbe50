//! `postern ledger export`: a copy of the whole ledger that needs no bastion to be checked.
//!
//! The directory gets `entries.jsonl` (the canonical bytes, one entry a line), the static files of C2SP `tlog-tiles`,
//! and the signed checkpoint last: whoever reads it finds everything its checkpoint speaks of. What is written was
//! recomputed on the way; a ledger that does not hold gets no checkpoint. A copy that is there already is evidence: it
//! is added to, and a ledger that does not go on from it changes none of its files.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use super::audit::Step;
use crate::ledger::tiles::{TILE_WIDTH, Tile, entry_bundle, hash_tile, tiles_between};
use crate::ledger::{Frontier, TreeHash};

const ENTRIES: &str = "entries.jsonl";
const CHECKPOINT: &str = "checkpoint";

/// A copy being written.
pub(super) struct Copy {
    directory: PathBuf,
    lines: BufWriter<tempfile::NamedTempFile>,
    /// Complete hashes by tile level.
    hashes: BTreeMap<u8, Vec<TreeHash>>,
    /// The entries of the bundle being filled.
    bundle: Vec<Vec<u8>>,
    size: u64,
    tree: Frontier,
    /// The checkpoint of the copy that is here already.
    before: Option<(u64, TreeHash)>,
    /// The first thing that went wrong; nothing is written after it.
    failed: Option<io::Error>,
}

impl Copy {
    /// Begins a copy in a directory, made if need be.
    pub(super) fn begin(directory: &Path) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let before = match fs::read_to_string(directory.join(CHECKPOINT)) {
            Ok(note) => {
                Some(size_and_root(&note).ok_or_else(|| io::Error::other("its checkpoint cannot be read"))?)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok(Self {
            directory: directory.to_owned(),
            lines: BufWriter::new(tempfile::NamedTempFile::new_in(directory)?),
            hashes: BTreeMap::new(),
            bundle: Vec::new(),
            size: 0,
            tree: Frontier::default(),
            before,
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
        if self.before.as_ref().is_some_and(|(size, _)| *size > self.size) {
            return Err(other_ledger());
        }
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
            keep(&self.directory.join(tile.path()), &hash_tile(hashes))?;
        }
        let lines = self.lines.into_inner().map_err(io::IntoInnerError::into_error)?;
        lines.as_file().sync_all()?;
        lines.persist(self.directory.join(ENTRIES)).map_err(|error| error.error)?;
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
        drop(self.tree.push(step.leaf));
        if let Some((size, root)) = &self.before
            && *size == self.size
            && *root != self.tree.root()
        {
            return Err(other_ledger());
        }
        if self.bundle.len() as u64 == TILE_WIDTH { self.write_bundle() } else { Ok(()) }
    }

    fn write_bundle(&mut self) -> io::Result<()> {
        let bundle = std::mem::take(&mut self.bundle);
        let index = (self.size - 1) / TILE_WIDTH;
        let tile = Tile { level: None, index, width: bundle.len() as u64 };
        let bytes =
            entry_bundle(&bundle).ok_or_else(|| io::Error::other("an entry is too long for a bundle"))?;
        keep(&self.directory.join(tile.path()), &bytes)
    }
}

/// The second and third line of a checkpoint: the number of entries and the tree's root.
fn size_and_root(note: &str) -> Option<(u64, TreeHash)> {
    let mut lines = note.lines().skip(1);
    Some((lines.next()?.parse().ok()?, TreeHash::from_base64(lines.next()?)?))
}

fn other_ledger() -> io::Error {
    io::Error::other(
        "this is not the ledger that was copied here before, or it was changed since: keep what is there as evidence, \
         and copy into another directory",
    )
}

/// Writes a tile. One of the same place and width never changes.
fn keep(path: &Path, bytes: &[u8]) -> io::Result<()> {
    match fs::read(path) {
        Ok(there) if there == bytes => Ok(()),
        Ok(_) => Err(other_ledger()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => save(path, bytes),
        Err(error) => Err(error),
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
    use crate::ledger::entry::{Actor, Entry, Fact};
    use crate::model::Timestamp;

    /// Copies a ledger of `size` entries, of which the first says `first`.
    fn copy(directory: &Path, size: u64, first: &str) -> io::Result<Frontier> {
        let mut copy = Copy::begin(directory)?;
        let (mut auditor, mut tree) = (Auditor::new(None), Frontier::default());
        for seq in 0..size {
            let hash = if seq == 0 { first.to_owned() } else { format!("{seq:064x}") };
            let entry = Entry {
                v: 1,
                seq,
                at: Timestamp::UNIX_EPOCH,
                by: Actor::Node,
                fact: Fact::PolicyLoaded { hash, rules: crate::model::PolicyChanges::default() },
            };
            let (bytes, leaf, nodes) =
                auditor.take(&entry).map_err(|error| io::Error::other(error.to_string()))?;
            drop(tree.push(leaf));
            copy.take(Step { entry: &entry, bytes: &bytes, leaf, nodes });
        }
        copy.finish(&format!("test\n{size}\n{}\n", tree.root().to_base64()))?;
        Ok(tree)
    }

    fn files(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut found = BTreeMap::new();
        let mut folders = vec![directory.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    found.insert(path.clone(), fs::read(path).unwrap());
                }
            }
        }
        found
    }

    #[test]
    fn a_copy_is_added_to_and_never_replaced_by_another_ledger() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path();
        copy(directory, 300, "a").unwrap();
        copy(directory, 700, "a").unwrap();
        let evidence = files(directory);
        for (size, first) in [(700, "b"), (900, "b"), (299, "a")] {
            let error = copy(directory, size, first).unwrap_err();
            assert!(error.to_string().contains("evidence"), "{error}");
            assert_eq!(files(directory), evidence, "{size} {first}");
        }
    }

    #[test]
    fn a_copy_has_every_entry_and_every_tile() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("copy");
        let tree = copy(&directory, 300, "a").unwrap();

        let lines = fs::read_to_string(directory.join(ENTRIES)).unwrap();
        assert_eq!(lines.lines().count(), 300);
        let mut again = Frontier::default();
        lines.lines().for_each(|line| drop(again.push(TreeHash::leaf(line.as_bytes()))));
        assert_eq!(again.root(), tree.root(), "the lines alone give the root");
        for tile in tiles_between(0, 300) {
            assert!(directory.join(tile.path()).is_file(), "{}", tile.path());
        }
        assert_eq!(fs::metadata(directory.join("tile/0/001.p/44")).unwrap().len(), 44 * 32);
        assert!(fs::read_to_string(directory.join(CHECKPOINT)).unwrap().starts_with("test\n300\n"));
    }
}
