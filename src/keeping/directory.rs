//! A directory as a place for recordings: another disk, or a mounted share.
//!
//! A file gets its name when it is whole and synced, by a link, which never takes the place of another file. The parts
//! of an upload are written into one file beside it. Everything here blocks; `place.rs` calls it where that is allowed.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::fault::Fault;

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
        let make = || {
            DirBuilder::new().recursive(true).mode(0o700).create(&self.0)?;
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(self.part_path(name))
        };
        make().map_err(|error| self.fault("write into", &error))?;
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
        fs::metadata(self.path(name)).map(|facts| facts.len()).map_err(|error| self.fault("read", &error))
    }

    pub(super) fn open(&self, name: &str) -> Result<File, Fault> {
        File::open(self.path(name)).map_err(|error| self.fault("read", &error))
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
