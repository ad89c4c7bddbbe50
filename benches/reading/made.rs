//! Recordings and plain files made for the benchmark, and running one thing beside another.
//!
//! Nothing is measured here: `parts.rs` does that. Recordings are made by the real recorder, so that their frames have
//! the sizes that frames have.

use std::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use postern::model::{Clock, EndReason, Protocol, Secret, SessionId, Signer, SigningKey, Timestamp};
use postern::recording::event::{Body, SessionFacts, Stream};
use postern::recording::{Disk, Journal, JournalSettings, Recorder, RecordingSpec, ReviewerIdentity};

pub(crate) type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Bytes of one read from a target.
pub(crate) const READ: usize = 32 << 10;
/// Reads recorded together, as a transfer at full speed gives them.
const READS: usize = 8;

/// A journal, and who may read what it records.
pub(crate) struct Desk {
    pub(crate) journal: Journal,
    pub(crate) identity: ReviewerIdentity,
    pub(crate) key: [u8; 32],
    recordings: PathBuf,
}

impl Desk {
    pub(crate) fn new(place: &Path, disk: Option<Arc<dyn Disk>>, clock: Clock) -> Outcome<Self> {
        let signer: Arc<dyn Signer> = Arc::new(SigningKey::from_seed(&Secret::new([1; 32]))?);
        let (key, recordings) = (signer.public_key(), place.join("recordings"));
        let mut settings = JournalSettings::new(place.join("journal"), recordings.clone(), signer, clock);
        settings.disk = disk.unwrap_or(settings.disk);
        let journal = Journal::open(settings)?.0;
        Ok(Self { journal, identity: ReviewerIdentity::generate(), key, recordings })
    }

    pub(crate) fn recorder(&self) -> Outcome<(Recorder, SessionId)> {
        let session = SessionId::random()?;
        let spec = RecordingSpec { facts: facts(&session)?, recipients: self.identity.recipients() };
        Ok((Recorder::open(&self.journal, spec)?, session))
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
        fs::write(&path, self.identity.to_secret_text().expose_secret())?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        Ok(path)
    }
}

fn facts(session: &SessionId) -> Outcome<SessionFacts> {
    Ok(SessionFacts {
        session: session.clone(),
        person: "per_aaaaaaaaaaaaaaaa".parse()?,
        person_name: "olga".parse()?,
        identity: "SHA256:x".to_owned(),
        login: "deploy".parse()?,
        target: "web-1".parse()?,
        protocol: Protocol::Ssh,
        grant: "grn_aaaaaaaaaaaaaaaa".parse()?,
        reason: "bench".to_owned(),
        client: "192.0.2.1:5".to_owned(),
        started: Timestamp::UNIX_EPOCH,
    })
}

/// Lines of a log, as a terminal gets them; `coloured` with a sequence in every line.
pub(crate) fn text(count: usize, seed: u64, coloured: bool) -> Bytes {
    let mut text = String::with_capacity(count + 200);
    let mut n = seed | 1;
    while text.len() < count {
        n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (open, close) = if coloured { ("\x1b[01;31m", "\x1b[0m") } else { ("", "") };
        text.push_str(&format!(
            "-rw-r--r-- 1 deploy deploy {:>8} Nov 23 06:{:02} {open}release-{:x}.tar{close}\r\n",
            n >> 44,
            n % 60,
            n >> 40
        ));
    }
    text.truncate(count);
    Bytes::from(text)
}

pub(crate) fn random(count: usize) -> Outcome<Bytes> {
    let mut bytes = vec![0; count];
    aws_lc_rs::rand::fill(&mut bytes)?;
    Ok(Bytes::from(bytes))
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
