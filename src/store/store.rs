//! The store's front: open it, submit commands, look at the state, listen for changes.
//!
//! Cloning shares it. When the last clone is dropped, what was submitted is finished and the directory is free again.
//! Questions about the past are in `history.rs`. Read next: `writer.rs`.

use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use super::backend::{Backend, Reader, Row};
use super::changes::{self, Changes};
use super::check::{self, Checked};
use super::directory::Directory;
use super::error::{StoreError, SubmitError};
use super::sqlite::{self, Sqlite};
use super::writer::{Job, Jobs, NotTaken, Outcome, Writer, queue};
use crate::access::{Command, State};
use crate::ledger::VerifierKey;
use crate::ledger::entry::{Actor, Entry};
use crate::model::{Clock, Signer};
use crate::thread::{Urgency, spawn};

/// How long a caller pauses before trying again when the queue is full.
const PAUSE: Duration = Duration::from_millis(1);

/// The ledger and the state it gives.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    /// None in a store that only looks, and while closing.
    jobs: Option<Jobs>,
    threads: Vec<JoinHandle<()>>,
    state: Arc<RwLock<State>>,
    changes: Changes,
    reader: Mutex<Box<dyn Reader>>,
    key: VerifierKey,
    /// Held by a store that only looks; else the writer has it.
    _held: Option<Directory>,
}

impl Store {
    /// Opens the ledger in a directory, making both if need be, after checking every entry in it.
    ///
    /// `origin` names the ledger in its checkpoints; it can never change.
    ///
    /// # Errors
    /// When another process has it, or it is not whole: see [`StoreError`].
    pub fn open(
        directory: &Path,
        signer: Arc<dyn Signer>,
        origin: &str,
        clock: Clock,
    ) -> Result<Self, StoreError> {
        let held = Directory::take(directory)?;
        let backend = Box::new(Sqlite::open(&held.database()?)?);
        Self::over(backend, held, signer, origin, clock)
    }

    /// Opens the ledger in a directory to look at it: checks the database's own structure and every entry, as
    /// [`Self::open`] does, against the node's public key, and changes no byte of the directory, which may be a copy on a medium that cannot be written.
    ///
    /// # Errors
    /// When another process writes it, or it is not whole; every later [`Self::submit`] is [`StoreError::ReadOnly`].
    pub fn look(
        directory: &Path,
        public_key: [u8; 32],
        origin: &str,
        clock: Clock,
    ) -> Result<Self, StoreError> {
        let (held, database) = Directory::look(directory)?;
        let key = ledger_key(origin, public_key)?;
        let reader = sqlite::look(&database)?;
        reader.integrity()?;
        let found = check::whole(reader.as_ref(), &key)?;
        check::not_rolled_back(reader.as_ref(), &key, &found, held.head()?.as_deref())?;
        let failed = |e: std::io::Error| StoreError::Stopped(e.to_string());
        // There will be no news.
        let (changes, _, feed) = changes::start(clock).map_err(failed)?;
        Ok(Self {
            inner: Arc::new(Inner {
                jobs: None,
                threads: vec![feed],
                state: Arc::new(RwLock::new(found.state)),
                changes,
                reader: Mutex::new(reader),
                key,
                _held: Some(held),
            }),
        })
    }

    /// Makes every table that can be made from the entries again, after checking the entries themselves.
    ///
    /// # Errors
    /// When another process has the ledger, or its entries are not whole.
    pub fn rebuild(directory: &Path, signer: &dyn Signer, origin: &str) -> Result<Checked, StoreError> {
        let held = Directory::take(directory)?;
        let key = ledger_key(origin, signer.public_key())?;
        let mut backend = Sqlite::open(&held.database()?)?;
        let reader = backend.reader()?;
        let (mut nodes, mut rows): (Vec<_>, Vec<Row>) = (Vec::new(), Vec::new());
        let found = check::replay(reader.as_ref(), &key, |more_nodes, more_rows| {
            nodes.extend(more_nodes);
            rows.extend(more_rows);
        })?;
        check::not_rolled_back(reader.as_ref(), &key, &found, held.head()?.as_deref())?;
        backend.replace_derived(&nodes, &rows)?;
        Ok(check::whole(reader.as_ref(), &key)?.checked())
    }

    pub(super) fn over(
        backend: Box<dyn Backend>,
        directory: Directory,
        signer: Arc<dyn Signer>,
        origin: &str,
        clock: Clock,
    ) -> Result<Self, StoreError> {
        let key = ledger_key(origin, signer.public_key())?;
        let reader = backend.reader()?;
        let found = check::whole(reader.as_ref(), &key)?;
        check::not_rolled_back(reader.as_ref(), &key, &found, directory.head()?.as_deref())?;
        let failed = |e: std::io::Error| StoreError::Stopped(e.to_string());
        let (changes, news, feed) = changes::start(clock.clone()).map_err(failed)?;
        let state = Arc::new(RwLock::new(found.state.clone()));
        let is_new = found.frontier.size() == 0;
        let writer = Writer {
            backend,
            directory,
            signer,
            key: key.clone(),
            clock,
            frontier: found.frontier,
            last: found.last,
            draft: found.state,
            shared: Arc::clone(&state),
            news,
            healthy: true,
            stopped: None,
        };
        let (jobs, queue) = queue();
        let thread = spawn("ledger-writer", Urgency::Cut, move || writer.run(&queue)).map_err(failed)?;
        let threads = vec![thread, feed];
        let reader = Mutex::new(reader);
        let inner =
            Inner { jobs: Some(jobs), threads, state, changes, reader, key: key.clone(), _held: None };
        let store = Self { inner: Arc::new(inner) };
        if is_new {
            let first = Command::Initialise { origin: origin.to_owned(), checkpoint_key: key.to_string() };
            store.submit_blocking(Actor::Node, first).map_err(|error| match error {
                SubmitError::Denied(denied) => StoreError::Stopped(denied.to_string()),
                SubmitError::Failed(error) => error,
            })?;
        }
        Ok(store)
    }

    /// Submits a command and waits until what it made is durable and visible. Nothing made is an answer too: the
    /// state already was so.
    ///
    /// # Errors
    /// When the rules deny it, or the ledger cannot be written. Then nothing was appended.
    pub async fn submit(&self, by: Actor, command: Command) -> Result<Vec<Arc<Entry>>, SubmitError> {
        let (answer, outcome) = tokio::sync::oneshot::channel();
        // Whoever stopped waiting does not want the answer.
        let answer = Box::new(move |result: Outcome| drop(answer.send(result)));
        let mut job = Job { by, command, answer };
        loop {
            match self.jobs()?.offer(job) {
                Ok(()) => break,
                Err(NotTaken::Full(back)) => job = *back,
                Err(NotTaken::Gone) => return Err(gone()),
            }
            tokio::time::sleep(PAUSE).await;
        }
        outcome.await.unwrap_or_else(|_| Err(gone()))
    }

    /// [`Self::submit`] for threads that may block; never call it inside the async runtime or a watcher.
    ///
    /// # Errors
    /// As [`Self::submit`].
    pub fn submit_blocking(&self, by: Actor, command: Command) -> Result<Vec<Arc<Entry>>, SubmitError> {
        let (answer, outcome) = sync_channel(1);
        let answer = Box::new(move |result: Outcome| drop(answer.send(result)));
        if !self.jobs()?.send(Job { by, command, answer }) {
            return Err(gone());
        }
        outcome.recv().unwrap_or_else(|_| Err(gone()))
    }

    /// Looks at the state as of the last commit. `look` must be short: the next commit waits for it to be seen.
    pub fn read<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        look(&self.inner.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The change feed.
    #[must_use]
    pub fn changes(&self) -> &Changes {
        &self.inner.changes
    }

    /// The key that checks this ledger's checkpoints.
    #[must_use]
    pub fn checkpoint_key(&self) -> &VerifierKey {
        &self.inner.key
    }

    /// Checks everything again: the database's own structure, every entry, the tree, the signature, every table row.
    ///
    /// # Errors
    /// The first thing that is wrong.
    #[cfg(test)]
    pub(super) fn verify(&self) -> Result<Checked, StoreError> {
        self.frozen(|reader| {
            reader.integrity()?;
            Ok(check::whole(reader, &self.inner.key)?.checked())
        })
    }

    /// Reads several things as of one moment.
    pub(super) fn frozen<R>(
        &self,
        look: impl FnOnce(&dyn Reader) -> Result<R, StoreError>,
    ) -> Result<R, StoreError> {
        let reader = self.reader();
        reader.freeze()?;
        let _thaw = Thaw(reader.as_ref());
        look(reader.as_ref())
    }

    fn jobs(&self) -> Result<&Jobs, StoreError> {
        self.inner.jobs.as_ref().ok_or(StoreError::ReadOnly)
    }

    pub(super) fn reader(&self) -> MutexGuard<'_, Box<dyn Reader>> {
        self.inner.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The writer ends when its last sender goes.
        self.jobs = None;
        // The last clone may be dropped by a watcher or an answer, on one of these very threads. The others wait for
        // that one, so none of them is waited for there; they end by themselves.
        let here = std::thread::current().id();
        if self.threads.iter().any(|thread| thread.thread().id() == here) {
            return;
        }
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the ledger panicked");
            }
        }
    }
}

/// Lets the reader see later moments again, also when what it froze for has panicked.
struct Thaw<'a>(&'a dyn Reader);

impl Drop for Thaw<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.0.thaw() {
            tracing::error!(%error, "a reader of the ledger stays at one moment");
        }
    }
}

fn ledger_key(origin: &str, public_key: [u8; 32]) -> Result<VerifierKey, StoreError> {
    VerifierKey::new(origin, public_key).map_err(|e| StoreError::Checkpoint(e.into()))
}

fn gone() -> SubmitError {
    StoreError::Stopped("its writer is gone".to_owned()).into()
}
