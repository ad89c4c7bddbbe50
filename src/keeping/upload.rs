//! The way of one recording's file into a place: sent, made one object, read back.
//!
//! A short file is one request. A long one goes in parts, those that are certain already while it is still written. A
//! crash may have taken bytes off its end by the time it is finished, so every part that was sent is held against the
//! file again before the parts become an object. Read next: `note.rs`.

use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256, digest};
use bytes::Bytes;
use data_encoding::HEXLOWER;
use futures_util::StreamExt as _;
use tokio::sync::mpsc;

use super::directory::stretch;
use super::fault::Fault;
use super::note::{Note, Part};
use super::place::Place;

/// The length of a part. Stores take at least 5 MiB, and ten thousand parts.
const PART: u64 = 16 << 20;
const MOST_PARTS: u64 = 10_000;
/// A recording is sent while it is written once it has this many whole parts…
const LONG: u64 = 2;
/// …and this many bytes stay behind, which are the likeliest to change in a crash.
const MARGIN: u64 = 4 << 20;
/// How often an upload that the store has forgotten begins anew before that waits for later.
const ANEW: usize = 3;
/// Pieces read back that may wait to be hashed.
const PIECES: usize = 4;

/// One file to be sent.
pub struct Job<'a> {
    /// Where to.
    pub place: &'a Place,
    /// Its name there.
    pub name: &'a str,
    /// The file.
    pub file: PathBuf,
    /// Where what was sent is noted.
    pub note: PathBuf,
}

/// What was sent, and read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// Its length.
    pub bytes: u64,
    /// SHA-256 of it, lower-case hex.
    pub sha256: String,
}

/// A file's digests.
struct Known {
    bytes: u64,
    sha256: String,
    /// Of each part, lower-case hex.
    parts: Vec<String>,
}

impl Job<'_> {
    /// Sends the parts that are certain of a file that is still written; whether there were any.
    ///
    /// # Errors
    /// As [`Self::finish`].
    pub async fn ahead(&self) -> Result<bool, Fault> {
        let length = tokio::fs::metadata(&self.file).await.map_err(unread)?.len();
        let whole = length.saturating_sub(MARGIN) / PART;
        if !(LONG..MOST_PARTS).contains(&whole) {
            return Ok(false);
        }
        let mut note = match self.load().await? {
            Some(note) if note.location == self.location() && note.part_bytes == PART => note,
            Some(stale) => self.anew(Some(&stale)).await?,
            None => self.anew(None).await?,
        };
        let before = note.parts.len();
        match self.send(&mut note, whole).await {
            Ok(()) => Ok(note.parts.len() > before),
            // The store has forgotten it: the next round, or the end, begins anew.
            Err(Fault::Missing(_)) => self.forget().await.map(|()| false),
            Err(error) => Err(error),
        }
    }

    /// Sends what is left of a file that is whole, makes one object of it, and reads that back.
    ///
    /// # Errors
    /// When it is not there for sure. [`Fault::Refused`] when another object has its name.
    pub async fn finish(&self) -> Result<Sent, Fault> {
        let file = self.file.clone();
        let known = apart(move || digests(&file)).await?;
        let note = self.load().await?;
        let sent = match &note {
            None if known.bytes <= PART => self.put(&known).await,
            _ => self.in_parts(&known, note).await,
        };
        let was_there = match sent {
            Ok(()) => false,
            Err(Fault::Exists) => true,
            Err(error) => return Err(error),
        };
        // A file is no evidence for itself.
        if was_there && self.place.is_file(self.name, &self.file).await? {
            return Err(Fault::Barred(format!("{} is where recordings are made", self.place.address())));
        }
        self.read_back(&known, was_there).await?;
        self.forget().await?;
        Ok(Sent { bytes: known.bytes, sha256: known.sha256 })
    }

    /// Throws away what was sent of a file that is not to be sent after all.
    ///
    /// # Errors
    /// When the store could not be told.
    pub async fn throw_away(&self) -> Result<(), Fault> {
        let Some(note) = self.load().await? else { return Ok(()) };
        self.abandon(&note).await?;
        self.forget().await
    }

    async fn put(&self, known: &Known) -> Result<(), Fault> {
        let (bytes, sha256) = self.stretch(0).await?;
        if sha256 != known.sha256 {
            return Err(Fault::Transient("the file changed while it was read".to_owned()));
        }
        self.place.put(self.name, bytes).await.map_err(no_bucket)
    }

    async fn in_parts(&self, known: &Known, mut note: Option<Note>) -> Result<(), Fault> {
        let count = known.parts.len() as u64;
        if count > MOST_PARTS {
            return Err(Fault::Refused(format!(
                "it is longer than {MOST_PARTS} parts, which no store takes"
            )));
        }
        for _ in 0..ANEW {
            let mut under_way = match note.take() {
                Some(note) if self.fits(&note, known) => note,
                other => self.anew(other.as_ref()).await?,
            };
            let sent = match self.send(&mut under_way, count).await {
                Ok(()) => {
                    let parts = under_way.parts.iter().map(|part| part.name.clone()).collect();
                    self.place.complete(self.name, &under_way.upload, parts, known.bytes).await
                }
                Err(error) => Err(error),
            };
            match sent {
                Err(Fault::Missing(_)) => {
                    // Gone because it was completed just before a crash, or because the store lost it.
                    if self.place.size(self.name).await.is_ok() {
                        return Err(Fault::Exists);
                    }
                    self.forget().await?;
                }
                Err(Fault::Exists) => {
                    self.place.abort(self.name, &under_way.upload).await.ok();
                    return Err(Fault::Exists);
                }
                other => return other,
            }
        }
        Err(Fault::Transient("the store forgets uploads before they are complete".to_owned()))
    }

    /// Begins an upload, and notes it before anything is sent. An older one is thrown away.
    async fn anew(&self, stale: Option<&Note>) -> Result<Note, Fault> {
        if let Some(stale) = stale {
            self.abandon(stale).await?;
        }
        let upload = self.place.begin(self.name).await.map_err(no_bucket)?;
        let note = Note { location: self.location(), upload, part_bytes: PART, parts: Vec::new() };
        self.save(&note).await?;
        Ok(note)
    }

    async fn abandon(&self, note: &Note) -> Result<(), Fault> {
        if note.location != self.location() {
            return Ok(());
        }
        match self.place.abort(self.name, &note.upload).await {
            Ok(()) | Err(Fault::Missing(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Sends the parts up to the `count`-th that are not there yet.
    async fn send(&self, note: &mut Note, count: u64) -> Result<(), Fault> {
        while (note.parts.len() as u64) < count {
            let index = note.parts.len();
            let offset = (index as u64).saturating_mul(PART);
            let (bytes, sha256) = self.stretch(offset).await?;
            let name = self.place.part(self.name, &note.upload, (index, offset), bytes).await?;
            note.parts.push(Part { name, sha256 });
            self.save(note).await?;
        }
        Ok(())
    }

    /// Whether what was sent is what the file holds.
    fn fits(&self, note: &Note, known: &Known) -> bool {
        note.location == self.location()
            && note.part_bytes == PART
            && note.parts.len() <= known.parts.len()
            && note.parts.iter().zip(&known.parts).all(|(sent, part)| sent.sha256 == *part)
    }

    /// Reads the object back and compares it with the file.
    async fn read_back(&self, known: &Known, was_there: bool) -> Result<(), Fault> {
        let (_, mut pieces) = match self.place.read(self.name).await {
            Ok(found) => found,
            Err(Fault::Missing(words)) => {
                return Err(Fault::Transient(format!("it is not there after all: {words}")));
            }
            Err(error) => return Err(error),
        };
        let (feed, mut fed) = mpsc::channel(PIECES);
        let hashing = apart(move || {
            let (mut context, mut length) = (Context::new(&SHA256), 0_u64);
            while let Some(piece) = fed.blocking_recv() {
                let piece: Bytes = piece;
                context.update(&piece);
                length += piece.len() as u64;
            }
            Ok((length, HEXLOWER.encode(context.finish().as_ref())))
        });
        let reading = async move {
            while let Some(piece) = pieces.next().await {
                let broken = |error| Fault::Transient(format!("reading it back broke off: {error}"));
                feed.send(piece.map_err(broken)?).await.ok();
            }
            Ok(())
        };
        let ((length, sha256), ()) = tokio::try_join!(hashing, reading)?;
        if length == known.bytes && sha256 == known.sha256 {
            return Ok(());
        }
        let location = self.location();
        Err(Fault::Refused(if was_there {
            format!("{location} exists and is something else; nothing was overwritten")
        } else {
            format!("what {location} gives back is not what was sent")
        }))
    }

    /// The part that begins there, and its SHA-256.
    async fn stretch(&self, offset: u64) -> Result<(Bytes, String), Fault> {
        let file = self.file.clone();
        let read = move || {
            let bytes = part(&file, offset)?;
            let sha256 = hex(&bytes);
            Ok((Bytes::from(bytes), sha256))
        };
        apart(read).await
    }

    fn location(&self) -> String {
        self.place.address().of(self.name)
    }

    async fn load(&self) -> Result<Option<Note>, Fault> {
        let path = self.note.clone();
        let load = move || Note::load(&path).map_err(|e| Fault::local("read what was sent so far", &e));
        apart(load).await
    }

    async fn save(&self, note: &Note) -> Result<(), Fault> {
        let (path, note) = (self.note.clone(), note.clone());
        apart(move || note.save(&path).map_err(|e| Fault::local("note what was sent", &e))).await
    }

    async fn forget(&self) -> Result<(), Fault> {
        let path = self.note.clone();
        apart(move || Note::remove(&path).map_err(|e| Fault::local("forget what was sent", &e))).await
    }
}

/// Does something where it may block.
async fn apart<R: Send + 'static>(
    act: impl FnOnce() -> Result<R, Fault> + Send + 'static,
) -> Result<R, Fault> {
    tokio::task::spawn_blocking(act).await.map_err(|error| Fault::Transient(error.to_string()))?
}

/// What is missing when an object is to be made is the bucket.
fn no_bucket(error: Fault) -> Fault {
    if let Fault::Missing(words) = error {
        return Fault::Barred(format!("the bucket or directory does not exist: {words}"));
    }
    error
}

#[expect(clippy::needless_pass_by_value, reason = "it is for map_err")]
fn unread(error: std::io::Error) -> Fault {
    Fault::local("read the recording", &error)
}

fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(digest(&SHA256, bytes).as_ref())
}

fn part(path: &Path, offset: u64) -> Result<Vec<u8>, Fault> {
    stretch(path, offset, usize::try_from(PART).unwrap_or(usize::MAX)).map_err(unread)
}

fn digests(path: &Path) -> Result<Known, Fault> {
    let (mut whole, mut parts, mut length) = (Context::new(&SHA256), Vec::new(), 0_u64);
    loop {
        let part = part(path, length)?;
        if part.is_empty() {
            break;
        }
        whole.update(&part);
        length += part.len() as u64;
        parts.push(hex(&part));
    }
    Ok(Known { bytes: length, sha256: HEXLOWER.encode(whole.finish().as_ref()), parts })
}

/// A client that trusts no server, for places where none is asked.
#[cfg(test)]
pub(super) fn test_client() -> reqwest::Client {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let tls = rustls::ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    reqwest::Client::builder().no_proxy().tls_backend_preconfigured(tls).build().unwrap()
}

#[cfg(test)]
#[path = "upload_tests.rs"]
mod tests;
