//! A recording from anybody: walked without a key, verified with and without one, read.
//!
//! What one way of reading accepts, the others accept and say the same of; and nothing that does not verify is read to
//! an end as if it had. Begin with the vectors in `recordings-schema/`.
#![no_main]

#[path = "../../recording_vectors/writer.rs"]
#[allow(dead_code, reason = "the vectors use more of it")]
mod writer;

use std::path::Path;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use postern::recording::{Frames, Reader, ReviewerIdentity, verify_source};

static IDENTITY: LazyLock<ReviewerIdentity> = LazyLock::new(|| {
    writer::identity(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recordings-schema/vectors"))
});
static TRUSTED: LazyLock<[[u8; 32]; 1]> = LazyLock::new(|| [writer::public_key(writer::NODE_SEED)]);

fuzz_target!(|bytes: &[u8]| {
    let without = verify_source(bytes, &*TRUSTED, None, |_| {});
    let mut seen = 0;
    let with = verify_source(bytes, &*TRUSTED, Some(&IDENTITY), |_| seen += 1);
    if let Ok(with) = &with {
        let without = without.as_ref().expect("what verifies with a key verifies without one");
        assert_eq!(
            (with.last_frame, with.digest, with.bytes),
            (without.last_frame, without.digest, without.bytes)
        );
        assert_eq!((with.outcome, with.events), (without.outcome, Some(seen)));
    }
    let Ok(frames) = Frames::new(bytes) else {
        assert!(without.is_err() && with.is_err(), "without a header there is no recording");
        return;
    };
    let Ok(mut reader) = Reader::new(frames, &IDENTITY) else {
        return assert!(with.is_err(), "verified, and not to be opened");
    };
    let mut events = 0;
    let mut at = 0;
    let mut broken = None;
    for event in reader.by_ref() {
        match event {
            Ok(event) => {
                assert!(event.at >= at, "time never goes back");
                (events, at) = (events + 1, event.at);
            }
            Err(error) => broken = Some(error),
        }
    }
    if let Ok(with) = with {
        assert!(broken.is_none(), "verified, and not to be read: {broken:?}");
        assert_eq!((Some(events), Some(at)), (with.events, with.duration_us));
        assert_eq!(reader.outcome(), Some(with.outcome));
    }
});
