//! The change feed, failing commits, and time passing.
//!
//! Watchers hear every entry that concerns them, in order, and hear when they can no longer be sure to. Timers here are
//! driven by hand.

use super::*;
use crate::model::Clock;

/// Passes on what it hears from an index on.
struct Hears(u64, Mutex<Sender<Option<Arc<Entry>>>>);

impl Watcher for Hears {
    fn changed(&self, entry: &Arc<Entry>) {
        if entry.seq >= self.0 {
            self.1.lock().unwrap().send(Some(Arc::clone(entry))).unwrap();
        }
    }
    fn lost(&self) {
        drop(self.1.lock().unwrap().send(None));
    }
}

fn watch(store: &Store, interest: Interest) -> (Subscription, Receiver<Option<Arc<Entry>>>) {
    let (sender, receiver) = channel();
    // The feed may still be announcing what was committed a moment ago.
    let size = Checkpoint::open(&store.checkpoint().unwrap(), store.checkpoint_key()).unwrap().size;
    (store.changes().subscribe(interest, Arc::new(Hears(size, Mutex::new(sender)))), receiver)
}

/// A backend that fails when told to.
struct Fails {
    inner: Sqlite,
    how: Arc<Mutex<Option<BackendError>>>,
}

impl Backend for Fails {
    fn commit(&mut self, batch: &backend::Batch) -> Result<(), BackendError> {
        let how = self.how.lock().map(|how| how.clone()).unwrap_or(Some(BackendError::Full));
        match how {
            Some(error) => Err(error),
            None => self.inner.commit(batch),
        }
    }
    fn replace_derived(&mut self, n: &[crate::ledger::TileNode], r: &[Row]) -> Result<(), BackendError> {
        self.inner.replace_derived(n, r)
    }
    fn reader(&self) -> Result<Box<dyn backend::Reader>, BackendError> {
        self.inner.reader()
    }
}

fn open_failing(path: &Path, clock: Clock) -> (Store, Arc<Mutex<Option<BackendError>>>) {
    let held = directory::Directory::take(path).unwrap();
    let how = Arc::new(Mutex::new(None));
    let inner = Sqlite::open(&held.database().unwrap()).unwrap();
    let backend = Box::new(Fails { inner, how: Arc::clone(&how) });
    (Store::over(backend, held, signer(), ORIGIN, clock).unwrap(), how)
}

#[test]
fn an_entry_wakes_those_it_concerns_in_order_and_nobody_else() {
    let directory = scratch();
    let store = open(directory.path()).unwrap();
    let story = story(&store);
    for n in 0..2 {
        store.submit_blocking(story.erin.1.clone(), start(&story, n)).unwrap();
    }
    let topic = |n| Topic::Session(id("ses_", n));
    let (_one, hears_one) = watch(&store, Interest::in_topics([topic(0), Topic::Person(story.erin.0)]));
    let (_two, hears_two) = watch(&store, Interest::in_topics([topic(1)]));
    let (_all, hears_all) = watch(&store, Interest::everything());
    let (gone, hears_nothing) = watch(&store, Interest::everything());
    drop(gone);
    let why = || "because".to_owned();
    let terminate = Command::TerminateSession { session: id("ses_", 0), reason: why() };
    store.submit_blocking(Actor::Operator, terminate).unwrap();
    store
        .submit_blocking(
            Actor::Node,
            Command::LoadPolicy { hash: "aa".to_owned(), rules: crate::model::PolicyChanges::default() },
        )
        .unwrap();
    store
        .submit_blocking(Actor::Operator, Command::Revoke { scope: Scope::Everything, reason: why() })
        .unwrap();
    let heard = |receiver: &Receiver<Option<Arc<Entry>>>, count: usize| -> Vec<u64> {
        (0..count).map(|_| receiver.recv_timeout(SOON).unwrap().unwrap().seq).collect()
    };
    let first = heard(&hears_all, 3);
    assert_eq!(first, [first[0], first[0] + 1, first[0] + 2]);
    assert_eq!(heard(&hears_one, 3), first);
    assert_eq!(heard(&hears_two, 2), first[1..], "another session's end is no concern of this one");
    assert!(hears_nothing.try_recv().is_err());
    store.read(|state| {
        assert_eq!(state.session(&id("ses_", 0)).unwrap().ending, Some(EndReason::SessionTerminated));
        assert_eq!(state.session(&id("ses_", 1)).unwrap().ending, Some(EndReason::EverythingRevoked));
    });
}

#[test]
fn a_watcher_that_panics_is_removed_and_the_feed_goes_on() {
    struct Panics;
    impl Watcher for Panics {
        fn changed(&self, _: &Arc<Entry>) {
            panic!("on purpose");
        }
        fn lost(&self) {}
    }
    let directory = scratch();
    let store = open(directory.path()).unwrap();
    let _bad = store.changes().subscribe(Interest::everything(), Arc::new(Panics));
    let (_good, hears) = watch(&store, Interest::everything());
    for hash in ["aa", "bb"] {
        store
            .submit_blocking(
                Actor::Node,
                Command::LoadPolicy { hash: hash.to_owned(), rules: crate::model::PolicyChanges::default() },
            )
            .unwrap();
        assert!(hears.recv_timeout(SOON).unwrap().is_some());
    }
    assert!(store.changes().age() < SOON);
}

#[test]
fn a_full_disk_refuses_changes_nothing_and_is_forgotten_when_there_is_room() {
    let directory = scratch();
    let clock = Clock::manual(at(0));
    let (store, how) = open_failing(directory.path(), clock.clone());
    let (_held, hears) = watch(&store, Interest::everything());
    let before = store.read(Clone::clone);
    *how.lock().unwrap() = Some(BackendError::Full);
    let load =
        || Command::LoadPolicy { hash: "aa".to_owned(), rules: crate::model::PolicyChanges::default() };
    let failed = store.submit_blocking(Actor::Node, load()).unwrap_err();
    assert_eq!(failed, SubmitError::Failed(StoreError::Backend(BackendError::Full)));
    assert_eq!(hears.recv_timeout(SOON).unwrap(), None, "watchers are told");
    assert_eq!(store.read(Clone::clone), before);
    clock.advance(Duration::from_secs(11));
    std::thread::sleep(Duration::from_millis(600));
    assert!(store.changes().age() >= Duration::from_secs(11), "nobody may go on believing the feed");
    *how.lock().unwrap() = None;
    let is_young = || store.changes().age() < Duration::from_secs(1);
    assert!((0..100).any(|_| is_young() || {
        std::thread::sleep(Duration::from_millis(100));
        false
    }));
    assert_eq!(store.submit_blocking(Actor::Node, load()).unwrap().len(), 1);
    store.verify().unwrap();
}

#[test]
fn after_any_other_failure_nothing_is_written_until_the_next_start_and_the_feed_grows_old() {
    let directory = scratch();
    let clock = Clock::manual(at(0));
    let (store, how) = open_failing(directory.path(), clock.clone());
    *how.lock().unwrap() = Some(BackendError::Failed("fsync: input/output error".to_owned()));
    let load =
        || Command::LoadPolicy { hash: "aa".to_owned(), rules: crate::model::PolicyChanges::default() };
    assert!(store.submit_blocking(Actor::Node, load()).is_err());
    *how.lock().unwrap() = None;
    let again = store.submit_blocking(Actor::Node, load()).unwrap_err();
    assert!(matches!(again, SubmitError::Failed(StoreError::Stopped(_))), "{again}");
    clock.advance(Duration::from_secs(11));
    std::thread::sleep(Duration::from_millis(600));
    assert!(store.changes().age() >= Duration::from_secs(11));
    drop(store);
    open(directory.path()).unwrap().submit_blocking(Actor::Node, load()).unwrap();
}

#[test]
fn what_is_due_passes_by_itself_and_the_ledgers_time_never_goes_back() {
    let directory = scratch();
    let clock = Clock::manual(at(0));
    let store = Store::open(directory.path(), signer(), ORIGIN, clock.clone()).unwrap();
    let story = story(&store);
    store.submit_blocking(story.erin.1.clone(), start(&story, 0)).unwrap();
    let (_held, hears) = watch(&store, Interest::in_topics([Topic::Session(id("ses_", 0))]));
    clock.advance(Duration::from_secs(3600));
    let entry = hears.recv_timeout(SOON).unwrap().unwrap();
    assert!(matches!(entry.fact, Fact::GrantEnded { .. }));
    assert_eq!(entry.by, Actor::Node);
    drop(store);
    // The machine's clock is set back: the ledger goes on from where it was.
    let store = Store::open(directory.path(), signer(), ORIGIN, Clock::manual(at(-5000))).unwrap();
    let made = store.submit_blocking(Actor::Node, end(0, EndReason::GrantExpired)).unwrap();
    assert_eq!(made[0].at, at(3600));
    // But a window that began there would last too long: nothing is granted until the clock is right.
    let behind = store.submit_blocking(story.erin.1.clone(), start(&story, 1)).unwrap_err();
    assert_eq!(behind, SubmitError::Failed(StoreError::ClockBehind { behind_s: 8600 }));
}

/// Holds a store until it hears of something, then lets it go on the feed's own thread.
struct LetsGo {
    store: Mutex<Option<Store>>,
    go: Mutex<Receiver<()>>,
    gone: Sender<()>,
}

impl Watcher for LetsGo {
    fn changed(&self, _: &Arc<Entry>) {
        if let Some(store) = self.store.lock().unwrap().take() {
            self.go.lock().unwrap().recv().unwrap();
            drop(store);
            self.gone.send(()).unwrap();
        }
    }
    fn lost(&self) {}
}

#[test]
fn the_last_clone_can_go_on_the_feeds_thread_while_the_writer_waits_for_it() {
    use futures_util::FutureExt as _;
    let directory = scratch();
    let store = open(directory.path()).unwrap();
    let ((go, wait), (gone, is_gone)) = (channel(), channel());
    let watcher = LetsGo { store: Mutex::new(Some(store.clone())), go: Mutex::new(wait), gone };
    let subscription = store.changes().subscribe(Interest::everything(), Arc::new(watcher));
    // Nobody waits for these: the feed stands still, and sooner or later the writer with it.
    for n in 0..200 {
        let command =
            Command::LoadPolicy { hash: format!("{n:064x}"), rules: crate::model::PolicyChanges::default() };
        drop(store.submit(Actor::Node, command).now_or_never());
        std::thread::sleep(Duration::from_millis(10));
    }
    drop(store);
    go.send(()).unwrap();
    is_gone.recv_timeout(Duration::from_secs(20)).expect("neither thread waits for the other");
    drop(subscription);
}

#[test]
fn a_question_that_panics_leaves_the_reader_as_it_was() {
    let directory = scratch();
    let store = open(directory.path()).unwrap();
    let asked =
        std::panic::AssertUnwindSafe(|| store.frozen(|_| -> Result<(), StoreError> { panic!("asked") }));
    assert!(std::panic::catch_unwind(asked).is_err());
    story(&store);
    assert!(store.prove(1).is_ok(), "it sees what came later");
    assert!(store.verify().is_ok());
}
