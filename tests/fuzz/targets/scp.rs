//! Both directions of an scp stream, as a hostile client and a hostile target would make it together.
//!
//! Read as an upload and as a download. What is found depends on the bytes alone, never on how they were cut, and an
//! error is final.
#![no_main]

mod script;

use libfuzzer_sys::fuzz_target;
use postern::wire::ssh::file::Operation;
use postern::wire::ssh::scp::{ScpSession, Way};

type Found = (Vec<Operation>, Option<String>);

fuzz_target!(|bytes: &[u8]| {
    let pieces = script::pieces(bytes);
    for way in [Way::Upload, Way::Download] {
        let whole = follow(way, pieces.iter().copied());
        let halves = pieces.iter().flat_map(|(is_client, bytes)| {
            let (one, two) = bytes.split_at(bytes.len() / 2);
            [(*is_client, one), (*is_client, two)]
        });
        assert_eq!(whole, follow(way, halves), "the same however it is cut");
    }
});

fn follow<'a>(way: Way, pieces: impl Iterator<Item = (bool, &'a [u8])>) -> Found {
    let mut session = ScpSession::new(way, b"ARGUMENT".to_vec());
    let mut found = Vec::new();
    for (is_client, bytes) in pieces {
        let followed =
            if is_client { session.client(bytes, &mut found) } else { session.target(bytes, &mut found) };
        if let Err(error) = followed {
            assert_eq!(session.client(b"", &mut found).err(), Some(error), "an error is final");
            return (found, Some(error.to_string()));
        }
    }
    found.extend(session.finish());
    (found, None)
}
