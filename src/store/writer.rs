//! The one writer: decides commands in order, appends what they make, and tells everybody, on a thread of its own.
//!
//! Group commit: what waits when a commit begins shares one transaction, one signature and one sync; what takes a right
//! away goes first. Each command is decided against the state the earlier ones left; readers see that state only when
//! it is durable. When a commit fails, nothing of it happened: the draft is thrown away and everybody in it is told.
//! Read next: `changes.rs`.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use super::backend::{Backend, Batch, StoredEntry};
use super::changes::{Concern, News};
use super::directory::Directory;
use super::error::{BackendError, StoreError, SubmitError};
use super::project;
use crate::access::{self, Command, Fresh, State};
use crate::ledger::entry::{Actor, Entry, Fact};
use crate::ledger::{Checkpoint, Frontier, TreeHash, VerifierKey};
use crate::model::{Clock, Signer, Timestamp};

/// How often the feed hears that the writer lives, and what is due is looked at.
const BEAT: Duration = Duration::from_millis(200);
/// How far the machine's clock may be behind the ledger's last entry before nothing is granted any more.
const BEHIND: Duration = Duration::from_secs(60);
/// Most commands in one transaction: a revocation waits for at most one that has begun.
const GROUP: usize = 128;
/// Most commands that wait, beside those that take a right away.
const BACKLOG: usize = 16_384;

/// The way to the writer. What takes a right away has a queue of its own, however long the other is.
#[derive(Clone)]
pub(super) struct Jobs {
    urgent: Sender<Job>,
    others: SyncSender<Option<Job>>,
}

/// The writer's end of [`Jobs`].
pub(super) struct Queue {
    urgent: Receiver<Job>,
    /// `None` only wakes the writer.
    others: Receiver<Option<Job>>,
}

/// A way for commands, and where they arrive.
pub(super) fn queue() -> (Jobs, Queue) {
    let (urgent, urgent_jobs) = channel();
    let (others, other_jobs) = sync_channel(BACKLOG);
    (Jobs { urgent, others }, Queue { urgent: urgent_jobs, others: other_jobs })
}

/// Why a command was not taken.
pub(super) enum NotTaken {
    /// There is no writer any more.
    Gone,
    /// Its queue is full; here is the command.
    Full(Box<Job>),
}

impl Jobs {
    /// Hands a command over without waiting.
    pub(super) fn offer(&self, job: Job) -> Result<(), NotTaken> {
        if job.command.takes_away() {
            self.urgent.send(job).map_err(|_| NotTaken::Gone)?;
            // A full queue means that the writer is awake.
            self.others.try_send(None).ok();
            return Ok(());
        }
        self.others.try_send(Some(job)).map_err(|error| match error {
            TrySendError::Full(Some(job)) => NotTaken::Full(Box::new(job)),
            TrySendError::Full(None) | TrySendError::Disconnected(_) => NotTaken::Gone,
        })
    }

    /// Hands a command over, and waits while the queue is full. Says whether there is a writer.
    pub(super) fn send(&self, job: Job) -> bool {
        match self.offer(job) {
            Ok(()) => true,
            Err(NotTaken::Full(job)) => self.others.send(Some(*job)).is_ok(),
            Err(NotTaken::Gone) => false,
        }
    }
}

/// A command, and how to answer it.
pub(super) struct Job {
    pub(super) by: Actor,
    pub(super) command: Command,
    pub(super) answer: Answer,
}

/// Called once with what became of a command.
pub(super) type Answer = Box<dyn FnOnce(Outcome) + Send>;

/// What became of a command.
pub(super) type Outcome = Result<Vec<Arc<Entry>>, SubmitError>;

/// Everything the writer's thread owns.
pub(super) struct Writer {
    pub(super) backend: Box<dyn Backend>,
    pub(super) directory: Directory,
    pub(super) signer: Arc<dyn Signer>,
    pub(super) key: VerifierKey,
    pub(super) clock: Clock,
    pub(super) frontier: Frontier,
    pub(super) last: Timestamp,
    /// What later commands of a batch are decided against; ahead of `shared` only while a batch is being made.
    pub(super) draft: State,
    pub(super) shared: Arc<RwLock<State>>,
    pub(super) news: SyncSender<News>,
    /// Whether the last commit succeeded. While it has not, the feed hears nothing and grows old.
    pub(super) healthy: bool,
    /// Why nothing can be written any more.
    pub(super) stopped: Option<StoreError>,
}

/// Commands that wait for their turn. Those that take a right away go before all others, however many there are.
#[derive(Default)]
struct Waiting {
    urgent: Vec<Job>,
    others: Vec<Job>,
}

impl Waiting {
    /// Takes what has come; waits for a beat when there is nothing to do. Says whether there is anybody left to serve.
    fn fill(&mut self, queue: &Queue) -> bool {
        if self.others.is_empty() {
            match queue.others.recv_timeout(BEAT) {
                Ok(job) => self.others.extend(job),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
        self.urgent.extend(queue.urgent.try_iter());
        let room = GROUP.saturating_sub(self.others.len());
        self.others.extend(queue.others.try_iter().take(room).flatten());
        true
    }

    /// What is decided next.
    fn next(&mut self) -> Vec<Job> {
        if self.urgent.is_empty() {
            std::mem::take(&mut self.others)
        } else {
            std::mem::take(&mut self.urgent)
        }
    }
}

/// Commands decided and not yet durable.
struct Group {
    batch: Batch,
    frontier: Frontier,
    entries: Vec<(Arc<Entry>, Concern)>,
    answers: Vec<(Answer, Outcome)>,
    now: Timestamp,
}

impl Writer {
    /// Works until every sender of jobs is gone.
    pub(super) fn run(mut self, queue: &Queue) {
        let mut waiting = Waiting::default();
        while waiting.fill(queue) {
            let group = waiting.next();
            self.group(group);
            if !self.healthy && self.stopped.is_none() {
                self.probe();
            }
            // The feed ends only with us; when it has died, its age says so to everybody who asks.
            if self.healthy && self.news.send(News::Beat).is_err() {
                tracing::error!("the change feed is gone");
            }
        }
    }

    /// Decides and commits; answers everybody.
    fn group(&mut self, jobs: Vec<Job>) {
        let now = self.clock.now().max(self.last);
        let mut group = Group {
            batch: Batch::default(),
            frontier: self.frontier.clone(),
            entries: Vec::new(),
            answers: Vec::new(),
            now,
        };
        if self.draft.next_due().is_some_and(|due| due <= now) && self.stopped.is_none() {
            // What is due is not a command anybody waits for; the next round tries again.
            if let Err(error) = self.decide(&mut group, &Actor::Node, Command::Tick) {
                tracing::error!(%error, "what is due could not be let pass");
            }
        }
        for job in jobs {
            let outcome = match &self.stopped {
                Some(error) => Err(error.clone().into()),
                None => self.decide(&mut group, &job.by, job.command),
            };
            group.answers.push((job.answer, outcome));
        }
        let committed = if group.entries.is_empty() { Ok(()) } else { self.commit(&mut group) };
        let Group { frontier, entries, answers, .. } = group;
        match committed {
            Ok(()) => {
                self.publish(frontier, entries, now);
                answers.into_iter().for_each(|(answer, outcome)| answer(outcome));
            }
            Err(error) => {
                self.fail(&error);
                answers.into_iter().for_each(|(answer, outcome)| {
                    answer(outcome.and(Err(error.clone().into())));
                });
            }
        }
    }

    /// Tries whether the ledger can be written again, with nothing but its head as it is.
    fn probe(&mut self) {
        let tried = self.sign(&self.frontier).and_then(|head| {
            let batch = Batch { head, ..Batch::default() };
            Ok(self.backend.commit(&batch)?)
        });
        match tried {
            Ok(()) => self.healthy = true,
            Err(error) => self.stop_unless_it_may_recover(&error),
        }
    }

    /// Decides one command and adds what it makes to the group, all of it or nothing.
    fn decide(&mut self, group: &mut Group, by: &Actor, command: Command) -> Outcome {
        // The ledger's time never goes back. If it ran ahead, what is counted from it would end too late.
        let behind = Duration::try_from(self.last.duration_since(self.clock.now())).unwrap_or_default();
        if behind > BEHIND && command.begins_a_window() {
            return Err(StoreError::ClockBehind { behind_s: behind.as_secs() }.into());
        }
        let fresh = Fresh::random().map_err(|_| StoreError::NoRandomness)?;
        let facts = access::decide(&self.draft, by, command, group.now, fresh)?;
        let mut made = Vec::with_capacity(facts.len());
        for (seq, fact) in (group.frontier.size()..).zip(facts) {
            made.push(entry(seq, group.now, by, fact)?);
        }
        let mut entries = Vec::with_capacity(made.len());
        for (entry, stored) in made {
            let effects = access::apply(&mut self.draft, &entry);
            group.batch.nodes.extend(group.frontier.push(stored.leaf));
            group.batch.rows.extend(project::rows(&self.draft, &entry, &effects));
            group.batch.entries.push(stored);
            let entry = Arc::new(entry);
            group.entries.push((Arc::clone(&entry), Concern::of(&entry, &effects)));
            entries.push(entry);
        }
        Ok(entries)
    }

    fn commit(&mut self, group: &mut Group) -> Result<(), StoreError> {
        group.batch.head = self.sign(&group.frontier)?;
        self.backend.commit(&group.batch)?;
        self.healthy = true;
        // The commit stands whatever becomes of the copy, which only has to be no newer than it.
        if let Err(error) = self.directory.note_head(&group.batch.head) {
            tracing::error!(%error, "the copy of the ledger's head could not be written");
        }
        Ok(())
    }

    fn sign(&self, frontier: &Frontier) -> Result<String, StoreError> {
        let head =
            Checkpoint { origin: self.key.name().to_owned(), size: frontier.size(), root: frontier.root() };
        let note = head.sign(&self.key, self.signer.as_ref());
        Ok(note.map_err(|e| StoreError::Sign(e.to_string()))?.to_string())
    }

    /// Lets readers see the new state, then announces the entries in order.
    fn publish(&mut self, frontier: Frontier, entries: Vec<(Arc<Entry>, Concern)>, now: Timestamp) {
        if entries.is_empty() {
            return;
        }
        self.frontier = frontier;
        self.last = now;
        {
            let mut shared = self.shared.write().unwrap_or_else(PoisonError::into_inner);
            for (entry, _) in &entries {
                // The draft's effects of this very entry were projected when it was decided.
                drop(access::apply(&mut shared, entry));
            }
        }
        if self.news.send(News::Committed(entries)).is_err() {
            tracing::error!("the change feed is gone");
        }
    }

    fn fail(&mut self, error: &StoreError) {
        tracing::error!(%error, "the ledger could not be written");
        self.draft = self.shared.read().unwrap_or_else(PoisonError::into_inner).clone();
        self.healthy = false;
        self.stop_unless_it_may_recover(error);
        if self.news.send(News::Failed).is_err() {
            tracing::error!("the change feed is gone");
        }
    }

    fn stop_unless_it_may_recover(&mut self, error: &StoreError) {
        // A full disk and another's lock refuse before anything is written, and a key may work again. After any other
        // failure what is on disk is unknown until it is checked at the next start.
        let may_recover = matches!(
            error,
            StoreError::Backend(BackendError::Busy | BackendError::Full) | StoreError::Sign(_)
        );
        if !may_recover {
            self.stopped = Some(StoreError::Stopped(error.to_string()));
        }
    }
}

fn entry(seq: u64, at: Timestamp, by: &Actor, fact: Fact) -> Result<(Entry, StoredEntry), StoreError> {
    let entry = Entry { v: Entry::VERSION, seq, at, by: by.clone(), fact };
    let bytes = entry.canonical()?;
    let stored = StoredEntry { seq, leaf: TreeHash::leaf(&bytes), bytes };
    Ok((entry, stored))
}
