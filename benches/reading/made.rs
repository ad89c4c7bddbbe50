//! Recordings and plain files made for the benchmark, and running one thing beside another.
//!
//! Nothing is measured here: `parts.rs` does that. The recorder is `desk.rs`'s.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use postern::model::{Clock, EndReason, SessionId};
use postern::recording::event::{Body, Stream};
use postern::recording::{Disk, Recorder, ReviewerIdentity};

use crate::desk::{self, random};
pub(crate) use crate::desk::{Outcome, text};

/// Bytes of one read from a target.
pub(crate) const READ: usize = 32 << 10;
/// Reads recorded together, as a transfer at full speed gives them.
const READS: usize = 8;

/// A desk whose recordings are found again.
pub(crate) struct Desk {
    desk: desk::Desk,
    pub(crate) key: [u8; 32],
    recordings: PathBuf,
}

impl Desk {
    pub(crate) fn new(place: &Path, disk: Option<Arc<dyn Disk>>, clock: Clock) -> Outcome<Self> {
        let (key, recordings) = (desk::signer()?.public_key(), desk::recordings(place));
        Ok(Self { desk: desk::Desk::new(place, disk, clock)?, key, recordings })
    }

    pub(crate) const fn identity(&self) -> &ReviewerIdentity {
        &self.desk.identity
    }

    pub(crate) fn recorder(&self) -> Outcome<(Recorder, SessionId)> {
        self.desk.recorder()
    }

    /// Records bulk output and answers with the file.
    pub(crate) async fn record(&self, data: &Bytes) -> Outcome<PathBuf> {
        let (recorder, session) = self.recorder()?;
        for begin in (0..data.len()).step_by(READ * READS) {
            let piece = data.slice(begin..(begin + READ * READS).min(data.len()));
            let reads =
                (0..piece.len()).step_by(READ).map(|at| piece.slice(at..(at + READ).min(piece.len())));
            let events = reads.map(|data| (1, Body::Output { stream: Stream::Stdout, data })).collect();
            let at = recorder.record(events)?;
            recorder.written(at).await?;
            recorder.make_way().await;
        }
        recorder.finish(EndReason::ClientLeft).await?;
        self.file(&session).await
    }

    /// The recording's file, once it has its name.
    pub(crate) async fn file(&self, session: &SessionId) -> Outcome<PathBuf> {
        let path = self.recordings.join(format!("{session}.pstn"));
        for _ in 0..1000 {
            if path.exists() {
                return Ok(path);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Err("the recording did not get its file".into())
    }

    pub(crate) fn identity_file(&self, place: &Path) -> Outcome<PathBuf> {
        use std::os::unix::fs::PermissionsExt as _;

        use age::secrecy::ExposeSecret as _;
        let path = place.join("identity.txt");
        fs::write(&path, self.identity().to_secret_text().expose_secret())?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        Ok(path)
    }
}

/// Lines that shrink to three quarters, as what a terminal shows at its worst.
pub(crate) fn letters(count: usize) -> Outcome<Bytes> {
    let text = data_encoding::BASE64.encode(&random(count * 3 / 4)?);
    let lines = text.as_bytes().chunks(70).flat_map(|line| [b"\x1b[36m", line, b"\x1b[0m\r\n"].concat());
    Ok(lines.take(count).collect::<Vec<u8>>().into())
}

/// How long something takes.
pub(crate) fn timed<T>(work: impl FnOnce() -> Outcome<T>) -> Outcome<(Duration, T)> {
    let clock = Clock::system();
    let begin = clock.since_boot();
    let done = work()?;
    Ok((clock.since_boot().saturating_sub(begin), done))
}

/// The middle of three runs of each of two things, run in turns.
pub(crate) fn in_turns(
    mut ours: impl FnMut() -> Outcome<()>,
    mut peer: impl FnMut() -> Outcome<()>,
) -> Outcome<(Duration, Duration)> {
    let (mut our_times, mut peer_times) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        our_times.push(timed(&mut ours)?.0);
        peer_times.push(timed(&mut peer)?.0);
    }
    our_times.sort_unstable();
    peer_times.sort_unstable();
    let middle = |times: &[Duration]| times.get(1).copied().unwrap_or_default();
    Ok((middle(&our_times), middle(&peer_times)))
}

/// Runs a program; answers with what it printed.
pub(crate) fn run(command: &mut Command) -> Outcome<String> {
    let output = command.output()?;
    if output.status.code().is_none_or(|code| code > 1) {
        return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The program under measurement.
pub(crate) fn postern() -> Command {
    Command::new(env!("CARGO_BIN_EXE_postern"))
}
