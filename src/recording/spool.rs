//! The recordings' own files: `open/SESSIONID.pstn` while a session lives, `SESSIONID.pstn` when it is over.
//!
//! A name is only ever a session id, which is our own text. A file moves to its final name after its last byte is
//! synced, so what has that name is whole; recovery looks into `open/` alone.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::model::SessionId;

/// What a recording's file name ends with.
pub const EXTENSION: &str = "pstn";

/// The directory of recordings.
#[derive(Debug, Clone)]
pub(super) struct Spool {
    kept: PathBuf,
    open: PathBuf,
}

impl Spool {
    /// Makes the directories, readable by their owner alone.
    pub(super) fn prepare(directory: &Path) -> io::Result<Self> {
        let open = directory.join("open");
        DirBuilder::new().recursive(true).mode(0o700).create(&open)?;
        Ok(Self { kept: directory.to_owned(), open })
    }

    pub(super) fn directory(&self) -> &Path {
        &self.kept
    }

    /// Where a recording is while it is written.
    pub(super) fn open_path(&self, session: &SessionId) -> PathBuf {
        self.open.join(format!("{session}.{EXTENSION}"))
    }

    /// Where it is afterwards.
    pub(super) fn kept_path(&self, session: &SessionId) -> PathBuf {
        self.kept.join(format!("{session}.{EXTENSION}"))
    }

    /// Where the n-th recovery puts bytes that follow the last whole frame: evidence is never thrown away.
    pub(super) fn tail_path(&self, session: &SessionId, number: usize) -> PathBuf {
        match number {
            1 => self.kept.join(format!("{session}.tail")),
            _ => self.kept.join(format!("{session}.{number}.tail")),
        }
    }

    /// Opens a live recording's file. Only its first bytes may make it: one that is gone later is an error.
    pub(super) fn writer(&self, session: &SessionId, may_make: bool) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(may_make).truncate(false).mode(0o600);
        options.open(self.open_path(session))
    }

    /// Opens a live recording's file so that writes go past the page cache.
    pub(super) fn past_cache(&self, session: &SessionId) -> io::Result<File> {
        let flags = i32::try_from(rustix::fs::OFlags::DIRECT.bits()).map_err(io::Error::other)?;
        OpenOptions::new().write(true).custom_flags(flags).open(self.open_path(session))
    }

    /// Gives a synced file its final name. Durable after [`Self::sync_directories`].
    pub(super) fn keep(&self, session: &SessionId) -> io::Result<()> {
        fs::rename(self.open_path(session), self.kept_path(session))
    }

    /// The directory itself, for syncing all of its file system.
    pub(super) fn handle(&self) -> io::Result<File> {
        File::open(&self.kept)
    }

    /// Makes new names durable.
    pub(super) fn sync_directories(&self) -> io::Result<()> {
        File::open(&self.kept)?.sync_all()?;
        File::open(&self.open)?.sync_all()
    }

    /// Makes durable which live recordings have a file.
    pub(super) fn sync_open(&self) -> io::Result<()> {
        File::open(&self.open)?.sync_all()
    }

    /// The sessions whose recordings are not at their final name.
    pub(super) fn unfinished(&self) -> io::Result<Vec<SessionId>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.open)? {
            let name = entry?.file_name();
            let stem = name.to_str().and_then(|name| name.strip_suffix(EXTENSION)?.strip_suffix('.'));
            found.extend(stem.and_then(|stem| stem.parse().ok()));
        }
        found.sort();
        Ok(found)
    }
}

/// Where a session's recording is now, live or finished; `None` when there is none here.
#[must_use]
pub fn locate(directory: &Path, session: &SessionId) -> Option<PathBuf> {
    let name = format!("{session}.{EXTENSION}");
    [directory.join(&name), directory.join("open").join(&name)].into_iter().find(|path| path.is_file())
}
