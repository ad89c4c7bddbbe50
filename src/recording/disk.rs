//! The few disk operations whose failure must end sessions, behind a trait so that tests can make them fail.
//!
//! A write or sync that fails is told to the caller once and never tried again: what a device has dropped, a second
//! sync cannot bring back. Where files live and what they are called is in `spool.rs`.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The most pieces one `pwritev` takes (`IOV_MAX`).
const MAX_PIECES: usize = 1024;

/// What a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Area {
    /// The journal.
    Journal,
    /// A recording.
    Recording,
}

/// Space on a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes an unprivileged process may still write.
    pub free: u64,
    /// Bytes there are.
    pub total: u64,
}

/// Where recordings and their journal are written.
pub trait Disk: Send + Sync {
    /// Writes all pieces, one behind the other, at an offset.
    ///
    /// # Errors
    /// When not all of them could be written.
    fn write(&self, area: Area, file: &File, pieces: &mut [IoSlice<'_>], offset: u64) -> io::Result<()>;

    /// Makes a file's data durable (`fdatasync`).
    ///
    /// # Errors
    /// When the device cannot say so; nothing written since the last success may be relied on.
    fn sync(&self, area: Area, file: &File) -> io::Result<()>;

    /// Makes everything on a directory's file system durable (`syncfs`): cheaper than many files one by one.
    ///
    /// # Errors
    /// As for [`Self::sync`].
    fn sync_all(&self, area: Area, directory: &File) -> io::Result<()>;

    /// The space around a path.
    ///
    /// # Errors
    /// When it cannot be asked.
    fn space(&self, path: &Path) -> io::Result<Space>;
}

/// Whether an error only says that there is no room now.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// The machine's disks.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn write(&self, _: Area, file: &File, pieces: &mut [IoSlice<'_>], mut offset: u64) -> io::Result<()> {
        let mut rest = pieces;
        if let [only] = rest {
            return file.write_all_at(only, offset);
        }
        while !rest.is_empty() {
            let some = rest.get(..rest.len().min(MAX_PIECES)).unwrap_or_default();
            match rustix::io::pwritev(file, some, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    offset += count as u64;
                    IoSlice::advance_slices(&mut rest, count);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn sync(&self, _: Area, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn sync_all(&self, _: Area, directory: &File) -> io::Result<()> {
        Ok(rustix::fs::syncfs(directory)?)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let stat = rustix::fs::statvfs(path)?;
        let unit = stat.f_frsize;
        Ok(Space { free: stat.f_bavail.saturating_mul(unit), total: stat.f_blocks.saturating_mul(unit) })
    }
}
