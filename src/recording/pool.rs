//! Opening frames on several threads, given back in their order.
//!
//! Decrypting and expanding is most of what it costs to read a recording, and a frame needs no other for it. The caller
//! reads frames and tests their chain, the threads open them, and the caller takes what comes out to the rules about
//! order. Threads are started once a recording turns out to be long; how much is under way at once is bounded.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex};

use super::error::RecordingError;
use super::open::{Unsealed, Unsealer};
use super::reader::RawFrame;
use crate::thread::{self, Urgency};

/// Bytes of frames that are opened before threads are worth their start.
const SHORT: usize = 1 << 20;
/// Threads that open frames, at most.
const MOST_THREADS: usize = 8;
/// Bytes of frames that go to a thread together.
const BATCH: usize = 256 << 10;
/// Frames that go to a thread together: what each holds may be as long as a frame's content may be.
const BATCH_FRAMES: usize = 16;
/// Batches under way for each thread.
const AHEAD: usize = 2;

/// A sealed frame and its place in the file.
struct Sealed {
    place: Range<u64>,
    frame: RawFrame,
}

/// What a frame held.
pub(super) struct Opened {
    pub(super) place: Range<u64>,
    pub(super) content: Result<Unsealed, RecordingError>,
}

/// Frames to open, and where to give what they hold.
struct Job {
    frames: Vec<Sealed>,
    answer: SyncSender<Vec<Opened>>,
}

/// Opens frames; it gives them back in the order in which they came.
pub(super) struct Pool {
    unsealer: Arc<Unsealer>,
    /// Where threads take their work from, once there are any.
    jobs: Option<Sender<Job>>,
    threads: usize,
    passed: usize,
    gathered: Vec<Sealed>,
    gathered_bytes: usize,
    under_way: VecDeque<Receiver<Vec<Opened>>>,
    ready: VecDeque<Opened>,
}

impl Pool {
    /// A pool of this thread alone.
    pub(super) fn calm(unsealer: Arc<Unsealer>) -> Self {
        Self {
            unsealer,
            jobs: None,
            threads: 1,
            passed: 0,
            gathered: Vec::new(),
            gathered_bytes: 0,
            under_way: VecDeque::new(),
            ready: VecDeque::new(),
        }
    }

    /// A pool that takes a thread for each core, once it has enough to do.
    pub(super) fn eager(unsealer: Arc<Unsealer>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { threads: cores.min(MOST_THREADS), ..Self::calm(unsealer) }
    }

    /// Whether to take something back before another frame is given.
    pub(super) fn is_full(&self) -> bool {
        !self.ready.is_empty() || self.under_way.len() >= self.threads.saturating_mul(AHEAD)
    }

    /// Takes a sealed frame.
    pub(super) fn push(&mut self, place: Range<u64>, frame: RawFrame) {
        self.passed = self.passed.saturating_add(frame.body.len());
        if self.jobs.is_none() && self.passed > SHORT && self.threads > 1 {
            self.jobs = self.start();
            self.threads = if self.jobs.is_some() { self.threads } else { 1 };
        }
        let sealed = Sealed { place, frame };
        if self.jobs.is_none() {
            self.ready.push_back(sealed.open(&self.unsealer));
            return;
        }
        self.gathered_bytes = self.gathered_bytes.saturating_add(sealed.frame.body.len());
        self.gathered.push(sealed);
        if self.gathered_bytes >= BATCH || self.gathered.len() >= BATCH_FRAMES {
            self.send();
        }
    }

    /// What the next frame held, in the order in which they came; `None` when all were given back.
    pub(super) fn pop(&mut self) -> Option<Opened> {
        while self.ready.is_empty() {
            if self.under_way.is_empty() {
                self.send();
            }
            match self.under_way.pop_front()?.recv() {
                Ok(opened) => self.ready.extend(opened),
                // A thread that died took its frames with it.
                Err(_) => self.ready.push_back(Opened {
                    place: 0..0,
                    content: Err(io::Error::other("a thread that opened frames is gone").into()),
                }),
            }
        }
        self.ready.pop_front()
    }

    fn send(&mut self) {
        let Some(jobs) = self.jobs.as_ref().filter(|_| !self.gathered.is_empty()) else { return };
        let (answer, receiver) = sync_channel(1);
        self.gathered_bytes = 0;
        let job = Job { frames: std::mem::take(&mut self.gathered), answer };
        if let Err(unsent) = jobs.send(job) {
            // Nobody is left to do it.
            self.ready.extend(unsent.0.frames.into_iter().map(|sealed| sealed.open(&self.unsealer)));
            return;
        }
        self.under_way.push_back(receiver);
    }

    /// Starts the threads; they end with the pool.
    fn start(&self) -> Option<Sender<Job>> {
        let (jobs, receiver) = channel::<Job>();
        let receiver = Arc::new(Mutex::new(receiver));
        let mut started = None;
        for _ in 0..self.threads {
            let (receiver, unsealer) = (Arc::clone(&receiver), Arc::clone(&self.unsealer));
            let work = move || {
                loop {
                    let Ok(job) = receiver.lock().map(|jobs| jobs.recv()) else { return };
                    let Ok(Job { frames, answer }) = job else { return };
                    let opened = frames.into_iter().map(|sealed| sealed.open(&unsealer)).collect();
                    // Whoever gave the work may have lost interest; there may be more from others.
                    answer.send(opened).unwrap_or_default();
                }
            };
            started = thread::spawn("open-frames", Urgency::Usual, work).ok().or(started);
        }
        started.map(|_| jobs)
    }
}

impl Sealed {
    fn open(self, unsealer: &Unsealer) -> Opened {
        let Self { place, frame } = self;
        Opened { place, content: unsealer.open(frame) }
    }
}
