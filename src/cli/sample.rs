//! A small recording made with the real recorder, for the tests of the review commands.
//!
//! Never anything else: nothing here is compiled into the program.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;

use crate::model::{Clock, EndReason, Protocol, Secret, SessionId, Signer as _, SigningKey, Timestamp};
use crate::recording::event::{Body, SessionFacts, Stream};
use crate::recording::{
    Finished, Journal, JournalSettings, Pin, Recorder, RecordingSpec, ReviewerIdentity, locate,
};

/// How long a recording that nobody finished may take to get its end.
const PATIENCE: Duration = Duration::from_secs(20);

/// A recording of a shell in which somebody looks for a password, and what is known about it.
pub(crate) struct Sample {
    pub(crate) place: TempDir,
    pub(crate) path: PathBuf,
    pub(crate) session: SessionId,
    pub(crate) identity: ReviewerIdentity,
    /// The node's public key.
    pub(crate) key: [u8; 32],
    pub(crate) header: String,
    pub(crate) pin: Pin,
    /// Its end; none when it was cut.
    pub(crate) finished: Option<Finished>,
}

impl Sample {
    /// A recording with an orderly end.
    pub(crate) async fn record() -> Self {
        Self::make(true).await
    }

    /// A recording that the bastion dropped.
    pub(crate) async fn cut() -> Self {
        Self::make(false).await
    }

    async fn make(is_finished: bool) -> Self {
        let place = TempDir::new().unwrap();
        let signer = Arc::new(SigningKey::from_seed(&Secret::new([7; 32])).unwrap());
        let (key, clock) = (signer.public_key(), Clock::system());
        let recordings = place.path().join("recordings");
        let mut settings =
            JournalSettings::new(place.path().join("journal"), recordings.clone(), signer, clock);
        settings.limits.segment_bytes = 4 << 20;
        settings.limits.segments_per_lane = 2;
        settings.limits.floor_bytes = 1 << 20;
        settings.limits.hard_floor_bytes = 1 << 20;
        let (journal, _) = Journal::open(settings).unwrap();
        let identity = ReviewerIdentity::generate();
        let session = SessionId::random().unwrap();
        let spec = RecordingSpec { facts: facts(&session), recipients: identity.recipients() };
        let recorder = Recorder::open(&journal, spec).unwrap();
        let header = recorder.header_hash().to_string();
        recorder.record(beginning()).unwrap();
        let (pin, at) = recorder.checkpoint().unwrap();
        recorder.durable(at).await.unwrap();
        // Bytes that do not compress: the last chunk but one is long, so tests can hit it.
        let mut noise = vec![0; 2000];
        aws_lc_rs::rand::fill(&mut noise).unwrap();
        recorder.record(vec![(1, output(&noise)), (1, Body::Exit { status: 0 })]).unwrap();
        let finished = if is_finished {
            Some(recorder.finish(EndReason::ClientLeft).await.unwrap())
        } else {
            drop(recorder);
            None
        };
        let path = recordings.join(format!("{session}.pstn"));
        let clock = Clock::system();
        let begun = clock.since_boot();
        while !path.exists() && clock.since_boot() < begun + PATIENCE {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        drop(journal);
        assert_eq!(locate(&recordings, &session).as_deref(), Some(path.as_path()));
        Self { place, path, session, identity, key, header, pin, finished }
    }

    /// Writes another file beside the recording.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.place.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// The directory it is in.
    pub(crate) fn recordings(&self) -> &Path {
        self.path.parent().unwrap()
    }
}

/// What a shell shows and takes until the checkpoint.
fn beginning() -> Vec<(u32, Body)> {
    vec![
        (1, Body::ChannelOpened { kind: "session".to_owned() }),
        (1, Body::Terminal { columns: 80, rows: 24, term: "xterm".to_owned(), modes: Vec::new() }),
        (1, Body::Shell),
        (1, output(b"$ ")),
        (1, Body::Input { data: Bytes::from_static(b"grep password /etc/app\r") }),
        (1, output(b"grep password /etc/app\r\n\x1b]0;owned\x07the password is hunter2\r\n$ ")),
        (2, Body::ChannelOpened { kind: "session".to_owned() }),
        (2, Body::Exec { command: Bytes::from_static(b"uptime") }),
        (2, output(b"up 3 days\n")),
    ]
}

fn output(data: &[u8]) -> Body {
    Body::Output { stream: Stream::Stdout, data: Bytes::copy_from_slice(data) }
}

fn facts(session: &SessionId) -> SessionFacts {
    SessionFacts {
        session: session.clone(),
        person: "per_aaaaaaaaaaaaaaaa".parse().unwrap(),
        person_name: "olga".parse().unwrap(),
        identity: "SHA256:x".to_owned(),
        login: "deploy".parse().unwrap(),
        target: "web-1".parse().unwrap(),
        protocol: Protocol::Ssh,
        grant: "grn_aaaaaaaaaaaaaaaa".parse().unwrap(),
        reason: "look".to_owned(),
        client: "192.0.2.1:5".to_owned(),
        started: Timestamp::UNIX_EPOCH,
    }
}
