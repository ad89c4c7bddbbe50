//! Watching a session as it happens, from memory. A watcher that is too slow is dropped, never the session.
//!
//! Nothing here is paid for while nobody watches: the recorder asks `Watchers::is_empty` first.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc;

use super::event::{Body, Event};

/// The most batches waiting for one watcher.
const MAX_BATCHES: usize = 1024;
/// The most bytes of bulk data waiting for one watcher.
const MAX_BYTES: usize = 8 << 20;

/// One watcher's end: the events recorded since it began.
#[derive(Debug)]
pub struct Watch {
    batches: mpsc::Receiver<Arc<[Event]>>,
    waiting: Arc<AtomicUsize>,
}

impl Watch {
    /// The next events; `None` when the session is over, or this watcher was too slow.
    pub async fn next(&mut self) -> Option<Arc<[Event]>> {
        let batch = self.batches.recv().await?;
        self.waiting.fetch_sub(weight(&batch), Ordering::Relaxed);
        Some(batch)
    }
}

/// The recorder's end of every watcher.
#[derive(Default)]
pub(super) struct Watchers(Vec<Watcher>);

/// The way to one watcher, and the bytes waiting for it.
type Watcher = (mpsc::Sender<Arc<[Event]>>, Arc<AtomicUsize>);

impl Watchers {
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn add(&mut self) -> Watch {
        let (sender, batches) = mpsc::channel(MAX_BATCHES);
        let waiting = Arc::new(AtomicUsize::new(0));
        self.0.push((sender, Arc::clone(&waiting)));
        Watch { batches, waiting }
    }

    /// Hands a batch to every watcher that keeps up; forgets the others.
    pub(super) fn tell(&mut self, events: Vec<Event>) {
        let batch: Arc<[Event]> = events.into();
        let weight = weight(&batch);
        self.0.retain(|(sender, waiting)| {
            let before = waiting.fetch_add(weight, Ordering::Relaxed);
            before + weight <= MAX_BYTES && sender.try_send(Arc::clone(&batch)).is_ok()
        });
    }

    /// Lets every watcher see the end.
    pub(super) fn close(&mut self) {
        self.0 = Vec::new();
    }
}

fn weight(batch: &[Event]) -> usize {
    let mut bytes = 0;
    for event in batch {
        if let Body::Input { data } | Body::Output { data, .. } = &event.body {
            bytes += data.len();
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn event(size: usize) -> Event {
        Event { at: 0, channel: 1, body: Body::Input { data: Bytes::from(vec![0; size]) } }
    }

    #[tokio::test]
    async fn a_slow_watcher_is_dropped_and_the_others_go_on() {
        let mut watchers = Watchers::default();
        let (mut quick, mut slow) = (watchers.add(), watchers.add());
        for _ in 0..20 {
            watchers.tell(vec![event(1 << 20)]);
            assert!(quick.next().await.is_some());
        }
        assert_eq!(watchers.0.len(), 1);
        let mut seen = 0;
        while slow.next().await.is_some() {
            seen += 1;
        }
        assert_eq!(seen, MAX_BYTES >> 20);
        watchers.close();
        assert!(quick.next().await.is_none());
    }

    #[tokio::test]
    async fn small_batches_are_bounded_too() {
        let mut watchers = Watchers::default();
        let _slow = watchers.add();
        for _ in 0..=MAX_BATCHES {
            watchers.tell(vec![event(1)]);
        }
        assert!(watchers.is_empty());
    }
}
