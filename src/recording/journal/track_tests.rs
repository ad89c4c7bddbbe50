//! How far a recording has come, in whatever order its frames get on.
//!
//! What becomes of the bytes on disk is tested with the recorder, in `../recorder_tests.rs` and its neighbour.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::recording::disk::RealDisk;
use crate::recording::journal::segment::SegmentFile;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    /// Whatever the order in which two lanes get on, what counts is the prefix.
    #[test]
    fn acknowledgements_are_of_the_prefix(
        writes in Just((0..24_u64).collect::<Vec<_>>()).prop_shuffle(),
        syncs in Just((0..24_u64).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let file = SegmentFile::create(directory.path().join("x.seg"), 8192, false).unwrap();
        let segment = Arc::new(file.begin(&RealDisk).unwrap());
        let track = Track::new(SessionId::random().unwrap());
        for n in 0..24 {
            let lane = if n % 3 == 0 { LaneKind::Bulk } else { LaneKind::Small };
            prop_assert_eq!(track.admit(Bytes::from_static(b"12345"), lane, n == 23), (n, n * 5));
        }
        let prefix = |done: &BTreeSet<u64>| (0..24).take_while(|n| done.contains(n)).count() as u64;
        let (mut written, mut synced) = (BTreeSet::new(), BTreeSet::new());
        for position in writes {
            track.mark_written(position, Some(&segment));
            written.insert(position);
            prop_assert_eq!(track.written.load(Ordering::Acquire), prefix(&written));
            prop_assert_eq!(track.in_flight(), (24 - written.len()) * 5);
            prop_assert!(track.take_pieces(usize::MAX).is_empty());
        }
        let mut filled = 0;
        for position in syncs {
            track.mark_durable(position);
            synced.insert(position);
            prop_assert_eq!(track.durable.load(Ordering::Acquire), prefix(&synced));
            prop_assert_eq!(track.outstanding().iter().flatten().count() > 0, synced.len() < 24);
            for piece in track.take_pieces(7) {
                prop_assert_eq!(piece.offset, filled);
                filled += piece.bytes.len() as u64;
            }
            prop_assert!(filled <= prefix(&synced) * 5);
        }
        prop_assert!(!track.is_complete());
        let rest = track.take_pieces(usize::MAX);
        prop_assert_eq!(rest.iter().map(|piece| piece.bytes.len() as u64).sum::<u64>() + filled, 120);
        prop_assert!(track.is_complete());
        track.filled(rest);
        prop_assert!(track.pins(&segment));
        track.synced();
        prop_assert!(!track.pins(&segment));
    }
}
