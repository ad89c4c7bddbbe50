//! A PostgreSQL connection, both ways: whose bytes come next is in the input, as the first byte of each piece.
//!
//! Every message that reads is taken, in the order it comes; what was asked for is over once, whatever comes.
#![no_main]

use std::collections::BTreeSet;

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use postern::wire::postgres::outcome::End;
use postern::wire::postgres::statements::Statements;
use postern::wire::postgres::{client, frame, server, startup};

fuzz_target!(|bytes: &[u8]| {
    startup::parse(Bytes::copy_from_slice(bytes)).ok();
    let mut rest = BytesMut::from(bytes);
    let (mut statements, mut done, mut asked) = (Statements::new(), Vec::new(), 0);
    while let Some(from_client) = (!rest.is_empty()).then(|| rest.split_to(1)[0] & 1 == 0) {
        let Ok(Some(frame)) = frame::next(&mut rest) else { break };
        let held = if from_client {
            let Ok(message) = client::Message::parse(&frame) else { break };
            statements.ask(&message, &mut done).map(|number| asked = number.unwrap_or(asked))
        } else {
            let Ok(message) = server::Message::parse(&frame) else { break };
            statements.answer(&message, &mut done)
        };
        if held.is_err() {
            break;
        }
    }
    statements.finish(&mut done);
    assert_eq!(statements.held(), 0, "nothing is held once it is over");
    let mut seen = BTreeSet::new();
    for one in &done {
        assert!(one.number >= 1 && one.number <= asked, "{one:?} was never asked for");
        let is_first = seen.insert(one.number);
        assert!(is_first || matches!(one.end, End::FailedAtCommit(_)), "{one:?} is over twice");
    }
});
