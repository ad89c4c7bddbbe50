//! The searchers: as many threads as cores, each opening one recording at a time as it comes from the fetching.
//!
//! Recordings are handed out in order, so the one whose turn it is at the desk is always in some searcher's hands.

use std::sync::{Mutex, PoisonError};

use futures_util::{Stream, StreamExt as _};
use tokio::sync::mpsc;

use super::desk::{Desk, Hit, Told};
use crate::cli::exit::CliError;
use crate::cli::progress::Recordings;
use crate::cli::source::{Events, Held};
use crate::playback::Search;
use crate::recording::{RecordingError, ReviewerIdentity};

/// Events between two looks at how far a recording has been read.
const LOOK: usize = 64;

/// What to look for, and with what.
pub(super) struct Question<'a> {
    pub(super) text: &'a str,
    pub(super) ignore_case: bool,
    pub(super) identity: &'a ReviewerIdentity,
}

/// A recording that came, or why it did not.
pub(super) struct Job {
    pub(super) name: String,
    pub(super) held: Result<Held, CliError>,
    /// Whether the bastion says that it is being written, so that having no end is no damage.
    pub(super) is_live: bool,
}

/// Searches all jobs as they come; what is found goes to `told`, in the order of the jobs.
pub(super) async fn search_all<T: Told>(
    jobs: impl Stream<Item = Job>,
    question: &Question<'_>,
    told: T,
    bar: &Recordings,
) -> T {
    let searchers = std::thread::available_parallelism().map_or(1, usize::from);
    let desk = Desk::new(told);
    let (to, from) = mpsc::channel::<(usize, Job)>(1);
    let from = Mutex::new(from);
    let (mut jobs, mut number) = (std::pin::pin!(jobs), 0);
    // Fetching needs this thread's runtime; the searchers borrow from this function, so they end inside it.
    std::thread::scope(|scope| {
        for _ in 0..searchers {
            scope.spawn(|| {
                loop {
                    let next = from.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
                    let Some((number, job)) = next else { break };
                    let why = look(&job, number, question, &desk, bar).err().map(|why| why.to_string());
                    desk.done(number, job.name, why);
                    bar.done();
                }
            });
        }
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                while let Some(job) = jobs.next().await {
                    if to.send((number, job)).await.is_err() {
                        break;
                    }
                    number += 1;
                }
            });
        });
        drop(to);
    });
    desk.close()
}

/// Searches one recording as far as it can be read.
fn look<T: Told>(
    job: &Job,
    number: usize,
    question: &Question<'_>,
    desk: &Desk<T>,
    bar: &Recordings,
) -> Result<(), CliError> {
    let held = job.held.as_ref().map_err(|error| CliError::failed(error.to_string()))?;
    let mut search = Search::new(question.text, question.ignore_case).map_err(CliError::usage)?;
    let mut events = Events::open(held, question.identity)?;
    let session = events.session().to_string();
    let take = |found: Vec<_>| {
        for found in found {
            let hit = Hit { session: session.clone(), recording: held.name().to_owned(), found };
            desk.hit(number, hit);
        }
    };
    let (mut seen, mut counted) = (0_usize, 0_u64);
    while let Some(event) = events.next() {
        if let Ok(event) = event {
            take(search.observe(&event));
        }
        seen = seen.wrapping_add(1);
        if seen.is_multiple_of(LOOK) {
            let bytes = events.bytes();
            bar.read(bytes.saturating_sub(counted));
            counted = bytes;
        }
    }
    take(search.finish());
    bar.read(events.bytes().saturating_sub(counted));
    match events.stopped() {
        None => Ok(()),
        Some(RecordingError::Truncated { .. }) if job.is_live => Ok(()),
        Some(error) => Err(CliError::failed(error)),
    }
}
