//! Where a recording comes from: a file, or a bastion that has it under its session's id.
//!
//! What is fetched stays encrypted and lies in a file without a name, for its owner alone, that is gone however this
//! process ends. [`Events`] reads as far as can be read and remembers what stopped it, so that damage at the end never
//! hides what came before it, and is never passed over either. Read next: `verify/mod.rs`.

use std::fs::File;
use std::io::{BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};

use data_encoding::BASE64;
use futures_util::StreamExt as _;
use serde::Deserialize;

use super::args::Invocation;
use super::client::{Client, segment};
use super::exit::{CliError, io_error};
use super::{out, progress};
use crate::model::SessionId;
use crate::recording::event::Event;
use crate::recording::{Again, Frames, Header, Reader, RecordingError, ReviewerIdentity};

/// The largest one, in bytes, and the most of one recording.
const LARGEST_KEY: u64 = 64 << 10;
const MOST_KEYS: usize = 32;
/// Bytes read from a recording at once.
const PIECE: usize = 256 << 10;

/// Which recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// A file on this machine.
    File(PathBuf),
    /// A session's id, or the beginning of one.
    Session(String),
}

impl Source {
    /// What somebody typed: a path that exists is a file.
    pub(crate) fn parse(text: &str) -> Result<Self, CliError> {
        if Path::new(text).exists() {
            return Ok(Self::File(PathBuf::from(text)));
        }
        if text.starts_with(SessionId::PREFIX) {
            return Ok(Self::Session(text.to_owned()));
        }
        Err(CliError::usage(format!("{text:?} is neither a file here nor a session's id"))
            .hint("ids begin with ses_: 'postern recordings' lists those you may read"))
    }

    /// Opens the file, or fetches the recording; `how` is what the ledger will say it was fetched for.
    pub(crate) async fn hold(&self, how: &str, run: &Invocation) -> Result<Held, CliError> {
        match self {
            Self::File(path) => Held::open(path),
            Self::Session(session) => fetch(&run.connect().await?, session, how).await,
        }
    }
}

/// A recording at hand, still encrypted.
#[derive(Debug)]
pub(crate) struct Held {
    file: File,
    name: String,
    /// Its keys as they were wrapped again.
    rewrapped: Vec<Vec<u8>>,
}

/// What the bastion says of a recording's key.
#[derive(Debug, Deserialize)]
pub(crate) struct Rewrapped {
    wrapped: Vec<String>,
    pub(crate) is_current: bool,
}

impl Rewrapped {
    /// The age files, the newest first.
    pub(crate) fn keys(&self) -> Result<Vec<Vec<u8>>, CliError> {
        let decoded =
            self.wrapped.iter().map(|text| BASE64.decode(text.as_bytes())).collect::<Result<_, _>>();
        decoded
            .map_err(|_| CliError::failed("what the bastion says about this recording's key makes no sense"))
    }
}

/// Where the `number`th of a recording's keys that were wrapped again lies, from 1 on (`FORMAT.md` part 3).
pub(crate) fn key_beside(recording: &Path, number: usize) -> PathBuf {
    match number {
        1 => recording.with_extension("keys"),
        _ => recording.with_extension(format!("{number}.keys")),
    }
}

/// A key beside a recording; only a plain file is one.
fn key_file(path: &Path) -> Option<Vec<u8>> {
    let is_file = std::fs::metadata(path).is_ok_and(|facts| facts.is_file());
    let file = is_file.then(|| File::open(path).ok())??;
    let mut bytes = Vec::new();
    file.take(LARGEST_KEY).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// A recording's keys as they were wrapped again.
pub(crate) async fn rewrapped(client: &Client, session: &str) -> Result<Rewrapped, CliError> {
    client.get_as(&format!("/recordings/{}/key", segment(session))).await
}

impl Held {
    /// A file on this machine. Its keys wrapped again, where there are any, lie beside it.
    pub(crate) fn open(path: &Path) -> Result<Self, CliError> {
        let file = File::open(path).map_err(io_error("read", path))?;
        let names = (1..=MOST_KEYS).map(|number| key_beside(path, number));
        // One that cannot be read keeps nobody from opening the recording with the header's.
        let rewrapped = names.map_while(|name| key_file(&name)).collect();
        Ok(Self { file, name: path.display().to_string(), rewrapped })
    }

    /// Tells an identity of the keys that were wrapped again.
    pub(crate) fn teach(&self, identity: &ReviewerIdentity, header: &Header) {
        if !self.rewrapped.is_empty() {
            identity.learn(header, self.rewrapped.clone());
        }
    }

    /// What to call it: its path or its session.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// How long it is.
    pub(crate) fn bytes(&self) -> Option<u64> {
        self.file.metadata().ok().map(|metadata| metadata.len())
    }

    /// Its bytes, from the beginning. One reader at a time: they share a position.
    pub(crate) fn read(&self) -> Result<BufReader<File>, CliError> {
        let failed = |error| io_error("read", Path::new(&self.name))(error);
        let mut file = self.file.try_clone().map_err(failed)?;
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        Ok(BufReader::with_capacity(PIECE, file))
    }
}

/// Fetches a session's recording into a file without a name, and shows how far it is.
pub(crate) async fn fetch(client: &Client, session: &str, how: &str) -> Result<Held, CliError> {
    let bar = progress::bytes("fetching", None);
    let held = fetch_quietly(client, session, how, |bytes| bar.inc(bytes)).await;
    bar.finish_and_clear();
    held
}

/// As [`fetch`], telling `came` of every piece.
pub(crate) async fn fetch_quietly(
    client: &Client,
    session: &str,
    how: &str,
    came: impl Fn(u64),
) -> Result<Held, CliError> {
    let failed = |error| CliError::failed(format!("cannot keep what is fetched: {error}"));
    let mut stream = client.stream(&format!("/recordings/{}/content?how={how}", segment(session))).await?;
    let mut file = tempfile::tempfile().map_err(failed)?;
    while let Some(piece) = stream.next().await {
        let piece = piece?;
        file.write_all(&piece).map_err(failed)?;
        came(piece.len() as u64);
    }
    let rewrapped = rewrapped(client, session).await?.keys()?;
    Ok(Held { file, name: session.to_owned(), rewrapped })
}

/// A recording's events, as far as it can be read.
pub(crate) struct Events {
    reader: Reader<BufReader<File>>,
    stopped: Option<RecordingError>,
}

impl Events {
    /// Opens a recording.
    pub(crate) fn open(held: &Held, identity: &ReviewerIdentity) -> Result<Self, CliError> {
        let named = |error| unreadable(held.name(), &error);
        let frames = Frames::new(held.read()?).map_err(named)?;
        held.teach(identity, frames.header());
        let reader = Reader::new(frames, identity).map_err(named)?;
        Ok(Self { reader, stopped: None })
    }

    /// Opens its frames on all cores: for one recording, which somebody waits for.
    pub(crate) fn on_all_cores(self) -> Self {
        Self { reader: self.reader.on_all_cores(), ..self }
    }

    /// The session it records.
    pub(crate) fn session(&self) -> &SessionId {
        &self.reader.header().session
    }

    /// Bytes of the file read so far.
    pub(crate) const fn bytes(&self) -> u64 {
        self.reader.bytes()
    }

    /// Where in the file the last event lies.
    pub(crate) fn place(&self) -> Range<u64> {
        self.reader.place()
    }

    /// A way to read any part again.
    pub(crate) fn again(&self, held: &Held) -> std::io::Result<Again> {
        Ok(self.reader.again(held.file.try_clone()?))
    }

    /// What stopped the reading before the end, if anything did.
    pub(crate) const fn stopped(&self) -> Option<&RecordingError> {
        self.stopped.as_ref()
    }

    /// Says what stopped the reading: a missing end is worth a note, anything else is an error.
    pub(crate) fn finish(&self, name: &str) -> Result<(), CliError> {
        match &self.stopped {
            None => Ok(()),
            Some(error @ RecordingError::Truncated { .. }) => {
                let (name, error) = (out::safe(name), out::safe(&error.to_string()));
                out::note(&format!("{name}: {error}; 'postern verify' says which"));
                Ok(())
            }
            Some(error) => Err(unreadable(name, error)
                .hint("what comes before that was read; 'postern verify' says more about it")),
        }
    }
}

impl Iterator for Events {
    type Item = Result<Event, RecordingError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.reader.next()? {
            Ok(event) => Some(Ok(event)),
            Err(error) => {
                self.stopped = Some(error);
                None
            }
        }
    }
}

fn unreadable(name: &str, error: &RecordingError) -> CliError {
    let said = CliError::failed(format!("{name}: {error}"));
    if matches!(error, RecordingError::WrongKey) {
        return said
            .hint("use the identity of somebody who was a reviewer when it was made: --identity FILE");
    }
    said
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn a_file_wins_over_an_id_and_anything_else_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("ses_x");
        std::fs::write(&path, "").unwrap();
        assert_eq!(Source::parse(path.to_str().unwrap()).unwrap(), Source::File(path));
        assert_eq!(Source::parse("ses_ab2").unwrap(), Source::Session("ses_ab2".to_owned()));
        assert!(Source::parse("web-1").unwrap_err().next_step().unwrap().contains("ses_"));
    }

    #[tokio::test]
    async fn a_damaged_recording_is_read_up_to_the_damage_and_says_so() {
        let sample = sample::Sample::record().await;
        let whole: Vec<Event> = events(&sample.path, &sample.identity).map(Result::unwrap).collect();
        let bytes = std::fs::read(&sample.path).unwrap();

        let mut cut = events(&sample.write("cut.pstn", &bytes[..bytes.len() - 30]), &sample.identity);
        assert_eq!(cut.by_ref().count(), whole.len());
        assert!(matches!(cut.stopped(), Some(RecordingError::Truncated { .. })));
        assert!(cut.finish("cut").is_ok(), "a recording without an end is shown as far as it goes");

        let mut damaged = bytes;
        let place = damaged.len() - 300;
        damaged[place] ^= 1;
        let mut damaged = events(&sample.write("damaged.pstn", &damaged), &sample.identity);
        assert!(damaged.by_ref().count() < whole.len());
        assert!(damaged.finish("damaged").unwrap_err().to_string().contains("damaged"));
    }

    #[tokio::test]
    async fn a_strangers_identity_opens_nothing() {
        let sample = sample::Sample::record().await;
        let held = Held::open(&sample.path).unwrap();
        let error = Events::open(&held, &ReviewerIdentity::generate()).err().unwrap();
        assert!(error.next_step().unwrap().contains("--identity"));
    }

    #[tokio::test]
    async fn keys_beside_a_recording_are_plain_files_or_none() {
        let sample = sample::Sample::record().await;
        let beside = |name: &str| sample.path.with_extension(name);
        std::fs::write(beside("keys"), "first").unwrap();
        std::fs::write(beside("2.keys"), "second").unwrap();
        let keys = Held::open(&sample.path).unwrap().rewrapped;
        assert_eq!(keys, [b"first".to_vec(), b"second".to_vec()]);
        std::fs::remove_file(beside("keys")).unwrap();
        let fifo = std::process::Command::new("mkfifo").arg(beside("keys")).status().unwrap();
        assert!(fifo.success());
        assert!(Held::open(&sample.path).unwrap().rewrapped.is_empty(), "opening it would wait for a writer");
        std::fs::remove_file(beside("keys")).unwrap();
        std::fs::create_dir(beside("keys")).unwrap();
        assert!(Held::open(&sample.path).unwrap().rewrapped.is_empty());
        assert!(events(&sample.path, &sample.identity).count() > 0, "the header's key opens it all the same");
    }

    fn events(path: &Path, identity: &ReviewerIdentity) -> Events {
        Events::open(&Held::open(path).unwrap(), identity).unwrap()
    }
}
