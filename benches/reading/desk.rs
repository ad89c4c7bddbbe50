//! A journal to record with, and what is recorded: shared by the benchmarks of recording and of reading.
//!
//! Recordings are made by the real recorder, so that their frames have the sizes that frames have. Nothing is measured
//! here.

use std::error::Error;
use std::fs::File;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use postern::model::{Clock, Protocol, Secret, SessionId, Signer, SigningKey, Timestamp};
use postern::recording::event::SessionFacts;
use postern::recording::{
    Area, Disk, Journal, JournalSettings, RealDisk, Recorder, RecordingSpec, ReviewerIdentity, Space,
};
use rustix::time::{ClockId, clock_gettime};

pub(crate) type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// A journal, and who may read what it records.
pub(crate) struct Desk {
    pub(crate) journal: Journal,
    pub(crate) identity: ReviewerIdentity,
}

impl Desk {
    pub(crate) fn new(place: &Path, disk: Option<Arc<dyn Disk>>, clock: Clock) -> Outcome<Self> {
        let mut settings = JournalSettings::new(place.join("journal"), recordings(place), signer()?, clock);
        settings.disk = disk.unwrap_or(settings.disk);
        Ok(Self { journal: Journal::open(settings)?.0, identity: ReviewerIdentity::generate() })
    }

    pub(crate) fn recorder(&self) -> Outcome<(Recorder, SessionId)> {
        let session = SessionId::random()?;
        let spec = RecordingSpec { facts: facts(&session)?, recipients: self.identity.recipients() };
        Ok((Recorder::open(&self.journal, spec)?, session))
    }
}

/// Where a desk's recordings lie.
pub(crate) fn recordings(place: &Path) -> PathBuf {
    place.join("recordings")
}

/// Who signs all of them.
pub(crate) fn signer() -> Outcome<Arc<dyn Signer>> {
    Ok(Arc::new(SigningKey::from_seed(&Secret::new([1; 32]))?))
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

/// Takes bytes and forgets them.
pub(crate) struct NoDisk;

impl Disk for NoDisk {
    fn write(&self, _: Area, _: &File, _: &mut [IoSlice<'_>], _: u64) -> io::Result<()> {
        Ok(())
    }
    fn sync(&self, _: Area, _: &File) -> io::Result<()> {
        Ok(())
    }
    fn sync_all(&self, _: Area, _: &File) -> io::Result<()> {
        Ok(())
    }
    fn space(&self, path: &Path) -> io::Result<Space> {
        RealDisk.space(path)
    }
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

/// Processor time of this thread, or of the whole process.
pub(crate) fn cpu(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
}
