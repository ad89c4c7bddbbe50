//! A directory as a place for recordings: another disk, or a mounted share.
//!
//! A file gets its name when it is whole and synced, by a link, which never takes the place of another file. The parts
//! of an upload are written into one file beside it. The directory itself is never made: one that is not there may be a
//! share that is not mounted. Everything here blocks; `place.rs` calls it where that is allowed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::fault::Fault;
use super::place::Removal;

/// The directory.
#[derive(Debug, Clone)]
pub(super) struct Directory(pub(super) PathBuf);

impl Directory {
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Where parts are gathered.
    fn part_path(&self, name: &str) -> PathBuf {
        self.0.join(format!(".{name}.part"))
    }

    pub(super) fn begin(&self, name: &str) -> Result<String, Fault> {
        let mut options = OpenOptions::new();
        let part = options.write(true).create(true).truncate(true).mode(0o600).open(self.part_path(name));
        part.map_err(|error| self.fault("write into", &error))?;
        Ok("part".to_owned())
    }

    pub(super) fn part(&self, name: &str, offset: u64, bytes: &[u8]) -> Result<String, Fault> {
        let write = || {
            let file = OpenOptions::new().write(true).open(self.part_path(name))?;
            file.write_all_at(bytes, offset)
        };
        write().map_err(|error| self.fault("write into", &error))?;
        Ok(offset.to_string())
    }

    pub(super) fn complete(&self, name: &str, bytes: u64) -> Result<(), Fault> {
        let part = self.part_path(name);
        let link = || {
            let file = OpenOptions::new().write(true).open(&part)?;
            file.set_len(bytes)?;
            file.sync_all()?;
            fs::hard_link(&part, self.path(name))?;
            fs::remove_file(&part)?;
            File::open(&self.0)?.sync_all()
        };
        link().map_err(|error| self.fault("write into", &error))
    }

    pub(super) fn abort(&self, name: &str) -> Result<(), Fault> {
        absent_is_fine(fs::remove_file(self.part_path(name)))
            .map_err(|error| self.fault("write into", &error))
    }

    pub(super) fn size(&self, name: &str) -> Result<u64, Fault> {
        fs::metadata(self.path(name)).map(|facts| facts.len()).map_err(|error| self.unread(&error))
    }

    pub(super) fn open(&self, name: &str) -> Result<File, Fault> {
        File::open(self.path(name)).map_err(|error| self.unread(&error))
    }

    /// Removes a file, durably; one that is gone is gone.
    pub(super) fn remove(&self, name: &str) -> Result<Removal, Fault> {
        let denied = [ErrorKind::PermissionDenied, ErrorKind::ReadOnlyFilesystem];
        match fs::remove_file(self.path(name)) {
            Err(error) if denied.contains(&error.kind()) => {
                let why = format!("cannot remove it from {}: {error}", self.0.display());
                return Ok(Removal::Kept { why, until: None });
            }
            Err(error) if error.kind() == ErrorKind::NotFound && self.0.is_dir() => {}
            other => other.map_err(|error| self.unread(&error))?,
        }
        let synced = File::open(&self.0).and_then(|directory| directory.sync_all());
        synced.map_err(|error| self.fault("sync", &error))?;
        Ok(Removal::Gone)
    }

    /// Whether it is this directory or lies in it, by whatever link or mount.
    pub(super) fn is_within(&self, other: &Path) -> bool {
        let Some(other) = identity(other) else { return false };
        let Ok(whole) = self.0.canonicalize() else { return false };
        whole.ancestors().any(|place| identity(place) == Some(other))
    }

    /// Whether what has this name here is that very file.
    pub(super) fn is_file(&self, name: &str, file: &Path) -> bool {
        identity(file).is_some_and(|file| identity(&self.path(name)) == Some(file))
    }

    /// One file that is gone says nothing of others, unless the whole directory is: that may come back.
    fn unread(&self, error: &io::Error) -> Fault {
        if error.kind() == ErrorKind::NotFound && !self.0.is_dir() {
            return Fault::Transient(format!("{} is not there: is it mounted?", self.0.display()));
        }
        self.fault("read", error)
    }

    fn fault(&self, doing: &str, error: &io::Error) -> Fault {
        let words = format!("cannot {doing} {}: {error}", self.0.display());
        let is = |kinds: &[ErrorKind]| kinds.contains(&error.kind());
        if is(&[ErrorKind::AlreadyExists]) {
            Fault::Exists
        } else if is(&[ErrorKind::NotFound]) {
            Fault::Missing(words)
        } else if is(&[ErrorKind::PermissionDenied, ErrorKind::ReadOnlyFilesystem, ErrorKind::NotADirectory])
        {
            Fault::Barred(words)
        } else {
            Fault::Transient(words)
        }
    }
}

/// What a file or directory is, whatever it is called.
fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|facts| (facts.dev(), facts.ino()))
}

fn absent_is_fine(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Reads a stretch of a file; shorter only at its end.
pub(super) fn stretch(path: &Path, offset: u64, most: usize) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let mut bytes = vec![0; most];
    let mut filled = 0;
    while let Some(room) = bytes.get_mut(filled..).filter(|room| !room.is_empty()) {
        match file.read_at(room, offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}
