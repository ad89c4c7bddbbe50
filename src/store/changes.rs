//! The change feed: every committed entry, in order, to those it concerns; and how stale the feed is.
//!
//! An entry wakes the watchers of the sessions, grants, people, targets and requests it changed, not everybody: ten
//! thousand idle sessions cost nothing when one grant ends. Watchers are called on the feed's own thread and must not
//! block. The writer sends a beat while it lives; a feed that has not heard one for longer than a node's lease must be
//! believed dead, and permission with it ([`Changes::age`]). Read next: `writer.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::access::Effect;
use crate::ledger::entry::{Entry, Fact, Scope};
use crate::model::{Clock, GrantId, PersonId, RequestId, SessionId, TargetName};
use crate::thread::{Urgency, spawn};

/// Messages between writer and feed; the writer waits when a watcher holds the feed up this long.
const QUEUE: usize = 256;

/// Somebody who wants to hear of changes.
pub trait Watcher: Send + Sync {
    /// An entry that concerns the watcher was committed. Called in order on the feed's thread: must not block.
    fn changed(&self, entry: &Arc<Entry>);
    /// The feed has failed: what comes next may not be heard. [`Changes::age`] grows until it works again.
    fn lost(&self);
}

/// Something entries can be about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// A grant.
    Grant(GrantId),
    /// A person; also hears of their owner being disabled.
    Person(PersonId),
    /// A request.
    Request(RequestId),
    /// A session.
    Session(SessionId),
    /// A target.
    Target(TargetName),
}

/// What a watcher wants to hear of. Entries that concern everybody (policy, configuration, a revocation of
/// everything) always come.
#[derive(Debug, Clone, Default)]
pub struct Interest {
    topics: BTreeSet<Topic>,
    everything: bool,
}

impl Interest {
    /// Every entry.
    #[must_use]
    pub const fn everything() -> Self {
        Self { topics: BTreeSet::new(), everything: true }
    }

    /// Entries about these.
    #[must_use]
    pub fn in_topics(topics: impl IntoIterator<Item = Topic>) -> Self {
        Self { topics: topics.into_iter().collect(), everything: false }
    }
}

/// The feed's front. Cloning shares it.
#[derive(Clone)]
pub struct Changes {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Clock,
    watchers: Mutex<Watchers>,
    /// Microseconds since boot when the feed last heard from a healthy writer.
    alive: AtomicU64,
}

#[derive(Default)]
struct Watchers {
    next: u64,
    all: BTreeMap<u64, (Interest, Arc<dyn Watcher>)>,
    by_topic: BTreeMap<Topic, BTreeSet<u64>>,
    of_everything: BTreeSet<u64>,
}

/// A watcher's place in the feed; dropping it ends it. One call that was under way may still arrive.
#[must_use = "dropping a subscription ends it"]
pub struct Subscription {
    id: u64,
    shared: Weak<Shared>,
}

impl Changes {
    /// Adds a watcher. Whatever is committed after this returns reaches it, and perhaps what was committed a moment
    /// before; subscribe first, then look at the state.
    pub fn subscribe(&self, interest: Interest, watcher: Arc<dyn Watcher>) -> Subscription {
        let mut watchers = self.shared.watchers();
        let id = watchers.next;
        watchers.next += 1;
        for topic in &interest.topics {
            watchers.by_topic.entry(topic.clone()).or_default().insert(id);
        }
        if interest.everything {
            watchers.of_everything.insert(id);
        }
        watchers.all.insert(id, (interest, watcher));
        Subscription { id, shared: Arc::downgrade(&self.shared) }
    }

    /// How long ago the feed last heard from a writer that could commit: well under a second while all is well.
    #[must_use]
    pub fn age(&self) -> Duration {
        let alive = Duration::from_micros(self.shared.alive.load(Ordering::Acquire));
        self.shared.clock.since_boot().saturating_sub(alive)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.watchers().remove(self.id);
        }
    }
}

/// What the writer tells the feed.
pub(super) enum News {
    /// The writer lives and could commit.
    Beat,
    /// Entries were committed.
    Committed(Vec<(Arc<Entry>, Concern)>),
    /// A commit failed.
    Failed,
}

/// Whom an entry concerns.
pub(super) struct Concern {
    topics: Vec<Topic>,
    everybody: bool,
}

impl Concern {
    /// Worked out from what the entry changed.
    pub(super) fn of(entry: &Entry, effects: &[Effect]) -> Self {
        let everybody = matches!(
            entry.fact,
            Fact::PolicyLoaded { .. }
                | Fact::ConfigurationLoaded { .. }
                | Fact::Revoked { scope: Scope::Everything, .. }
        );
        let topic = |effect: &Effect| match effect {
            Effect::GrantOpen(id) => Some(Topic::Grant(id.clone())),
            Effect::GrantOver(grant, _) => Some(Topic::Grant(grant.facts.grant.clone())),
            Effect::LeftOver(id) | Effect::SessionOpen(id) => Some(Topic::Session(id.clone())),
            Effect::Node
            | Effect::Recording(_)
            | Effect::RecordingGone(_, _)
            | Effect::RecordingRewrapped(_)
            | Effect::RecordingStored(_) => None,
            Effect::Person(id) => Some(Topic::Person(id.clone())),
            Effect::RequestOpen(id) => Some(Topic::Request(id.clone())),
            Effect::RequestOver(request, _) => Some(Topic::Request(request.facts.request.clone())),
            Effect::SessionOver(session, _) => Some(Topic::Session(session.facts.session.clone())),
            Effect::Target(name) => Some(Topic::Target(name.clone())),
        };
        // Where everybody hears it anyway, ten thousand topics need not be looked up.
        let topics = if everybody { Vec::new() } else { effects.iter().filter_map(topic).collect() };
        Self { topics, everybody }
    }
}

/// Starts the feed. It ends when the sender is dropped, telling every watcher that it is lost.
pub(super) fn start(clock: Clock) -> std::io::Result<(Changes, SyncSender<News>, JoinHandle<()>)> {
    let alive = AtomicU64::new(micros(clock.since_boot()));
    let shared = Arc::new(Shared { clock, watchers: Mutex::default(), alive });
    let (sender, news) = sync_channel(QUEUE);
    let changes = Changes { shared: Arc::clone(&shared) };
    let thread = spawn("ledger-feed", Urgency::Cut, move || shared.run(&news))?;
    Ok((changes, sender, thread))
}

impl Shared {
    fn run(&self, news: &Receiver<News>) {
        while let Ok(news) = news.recv() {
            match news {
                News::Beat => self.stamp(),
                News::Committed(entries) => {
                    for (entry, concern) in &entries {
                        self.announce(entry, concern);
                    }
                    self.stamp();
                }
                News::Failed => self.lose(),
            }
        }
        self.lose();
    }

    fn stamp(&self) {
        self.alive.store(micros(self.clock.since_boot()), Ordering::Release);
    }

    fn announce(&self, entry: &Arc<Entry>, concern: &Concern) {
        // Taken first: no watcher is called with the lock held, for it may subscribe or leave.
        let concerned = self.watchers().concerned(concern);
        for (id, watcher) in concerned {
            self.call(id, watcher.as_ref(), |watcher| watcher.changed(entry));
        }
    }

    fn lose(&self) {
        let everybody: Vec<(u64, Arc<dyn Watcher>)> =
            self.watchers().all.iter().map(|(id, (_, watcher))| (*id, Arc::clone(watcher))).collect();
        for (id, watcher) in everybody {
            self.call(id, watcher.as_ref(), |watcher| watcher.lost());
        }
    }

    /// A watcher that panics loses its place, and no other watcher loses anything.
    fn call(&self, id: u64, watcher: &dyn Watcher, tell: impl Fn(&dyn Watcher)) {
        if catch_unwind(AssertUnwindSafe(|| tell(watcher))).is_err() {
            tracing::error!(watcher = id, "a watcher of the change feed panicked and was removed");
            self.watchers().remove(id);
            if catch_unwind(AssertUnwindSafe(|| watcher.lost())).is_err() {
                tracing::error!(watcher = id, "it panicked again when told so");
            }
        }
    }

    fn watchers(&self) -> MutexGuard<'_, Watchers> {
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watchers {
    fn concerned(&self, concern: &Concern) -> BTreeMap<u64, Arc<dyn Watcher>> {
        let watcher = |id: &u64| self.all.get(id).map(|(_, watcher)| (*id, Arc::clone(watcher)));
        if concern.everybody {
            return self.all.keys().filter_map(watcher).collect();
        }
        let by_topic = concern.topics.iter().filter_map(|topic| self.by_topic.get(topic)).flatten();
        by_topic.chain(&self.of_everything).filter_map(watcher).collect()
    }

    fn remove(&mut self, id: u64) {
        let Some((interest, _)) = self.all.remove(&id) else { return };
        self.of_everything.remove(&id);
        for topic in &interest.topics {
            if let Some(ids) = self.by_topic.get_mut(topic) {
                ids.remove(&id);
                if ids.is_empty() {
                    self.by_topic.remove(topic);
                }
            }
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
