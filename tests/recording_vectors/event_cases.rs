//! More cases of what is inside a sealed frame: compression, numbers, times and the order of events.
//!
//! Every frame is sealed and signed as it should be: only who has the key can see what is wrong. The JSON of events has
//! cases of its own, in `json_cases.rs`.

use super::cases::{Cases, begin, body, close, input, packed};
use super::writer::*;

const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

pub(crate) fn add(cases: &mut Cases, keys: &Keys) {
    lengths(cases, keys);
    compression(cases, keys);
    numbers(cases, keys);
    order(cases, keys);
}

fn lengths(cases: &mut Cases, keys: &Keys) {
    let sealed = |plain: &[u8]| close(body(keys).sealed(CHUNK, plain));
    // An event of this many bytes: base, kind, delta, channel, three bytes of length, and the data.
    let content_of = |length: usize| {
        let data = length - 7;
        let bits = |shift: usize| u8::try_from(data >> shift & 0x7f).unwrap();
        [&[30, 2, 0, 1, bits(0) | 0x80, bits(7) | 0x80, bits(14)][..], &vec![b'a'; data]].concat()
    };
    let said = |length: usize| packed(&content_of(length), u32::try_from(length).unwrap());
    cases.both("content-longest", "finished", sealed(&said(1 << 20)));
    cases.keyed("content-one-too-long", "limit_exceeded", sealed(&said((1 << 20) + 1)));
    let small = zstd::bulk::compress(&input(30, b"x"), 1).unwrap();
    cases.keyed(
        "content-said-huge",
        "limit_exceeded",
        sealed(&[&[1, 255, 255, 255, 255], small.as_slice()].concat()),
    );
    cases.keyed("content-length-cut", "event_malformed", sealed(&[1, 0, 0, 0]));
    cases.keyed("content-length-only", "event_malformed", sealed(&[1, 0, 0, 0, 9]));
    cases.keyed("content-shortest", "event_malformed", sealed(&[0, 30]));
    cases.keyed(
        "content-zero",
        "event_malformed",
        sealed(&[&[1, 0, 0, 0, 0], zstd::bulk::compress(b"", 1).unwrap().as_slice()].concat()),
    );
}

/// A zstd frame made by hand: what follows the magic up to the first block, and the content as one raw block.
fn framed(magic: [u8; 4], header: &[u8], content: &[u8], after: &[u8]) -> Vec<u8> {
    let block = u32::try_from(content.len()).unwrap() << 3 | 1;
    [&magic, header, &block.to_le_bytes()[..3], content, after].concat()
}

fn compression(cases: &mut Cases, keys: &Keys) {
    let malformed = "event_malformed";
    let data = input(30, b"some data");
    let length = u32::try_from(data.len()).unwrap();
    let sealed =
        |zstd: &[u8]| close(body(keys).sealed(CHUNK, &[&[1], &length.to_be_bytes()[..], zstd].concat()));
    let size = u8::try_from(length).unwrap();
    cases.both("zstd-size-unsaid", "finished", sealed(&framed(MAGIC, &[0, 0], &data, &[])));
    let more = |length: u32, by: &[u8]| {
        let frame = framed(MAGIC, &[0, 0], &[data.as_slice(), by].concat(), &[]);
        close(body(keys).sealed(CHUNK, &[&[1], &length.to_be_bytes()[..], &frame].concat()))
    };
    cases.keyed("zstd-size-unsaid-shorter", malformed, more(length + 1, &[]));
    cases.keyed("zstd-size-unsaid-longer", malformed, more(length, b"x"));
    cases.both("zstd-size-said", "finished", sealed(&framed(MAGIC, &[0x20, size], &data, &[])));
    cases.keyed("zstd-size-wrong", malformed, sealed(&framed(MAGIC, &[0x20, size + 1], &data, &[])));
    cases.keyed(
        "zstd-size-huge",
        malformed,
        sealed(&framed(MAGIC, &[0xe0, 0, 0, 0, 0, 0, 1, 0, 0], &data, &[])),
    );
    cases.both("zstd-window-largest", "finished", sealed(&framed(MAGIC, &[0, 13 << 3], &data, &[])));
    cases.keyed("zstd-window-above", malformed, sealed(&framed(MAGIC, &[0, 13 << 3 | 1], &data, &[])));
    cases.keyed("zstd-window-huge", malformed, sealed(&framed(MAGIC, &[0, 31 << 3], &data, &[])));
    cases.both("zstd-dictionary-zero", "finished", sealed(&framed(MAGIC, &[1, 0, 0], &data, &[])));
    cases.keyed("zstd-dictionary", malformed, sealed(&framed(MAGIC, &[1, 0, 7], &data, &[])));
    cases.keyed("zstd-descriptor-reserved", malformed, sealed(&framed(MAGIC, &[8, 0], &data, &[])));
    let mut checked = zstd::bulk::Compressor::new(1).unwrap();
    checked.include_checksum(true).unwrap();
    let mut checked = checked.compress(&data).unwrap();
    cases.both("zstd-checksum", "finished", sealed(&checked));
    *checked.last_mut().unwrap() ^= 1;
    cases.keyed("zstd-checksum-wrong", malformed, sealed(&checked));
    let mut reserved = framed(MAGIC, &[0, 0], &data, &[]);
    reserved[6] |= 6;
    cases.keyed("zstd-block-reserved", malformed, sealed(&reserved));
    let mut open = framed(MAGIC, &[0, 0], &data, &[]);
    open[6] &= !1;
    cases.keyed("zstd-no-last-block", malformed, sealed(&open));
    let good = framed(MAGIC, &[0, 0], &data, &[]);
    let skipped = [0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 0];
    cases.keyed("zstd-skippable-before", malformed, sealed(&[&skipped, good.as_slice()].concat()));
    cases.keyed("zstd-skippable-after", malformed, sealed(&[good.as_slice(), &skipped].concat()));
    cases.keyed("zstd-skippable-alone", malformed, sealed(&skipped));
    // Version 0.7: blocks have big-endian heads, and the last is empty.
    let head = [0x40, 0, size];
    let old = [&[0x27, 0xb5, 0x2f, 0xfd, 0, 0][..], &head, &data, &[0xc0, 0, 0]].concat();
    cases.keyed("zstd-of-version-0-7", malformed, sealed(&old));
    cases.keyed("zlib", malformed, sealed(&[0x78, 0x01, 0x01, 0, 0, 0xff, 0xff]));
}

fn numbers(cases: &mut Cases, keys: &Keys) {
    let malformed = "event_malformed";
    let chunk = |content: &[u8]| close(body(keys).chunk(content));
    let largest = [&[0xff; 9][..], &[1]].concat();
    let above = [&[0xff; 9][..], &[2]].concat();
    let more = [&[0x80; 10][..], &[0]].concat();
    let after = |base: &[u8], event: &[u8]| [base, event].concat();
    cases.both("time-largest", "finished", {
        let last = after(&largest, &ended());
        body(keys).chunk(&after(&largest, &event(2, 0, 1, b"x"))).last(&last).end(1).bytes()
    });
    cases.keyed(
        "time-above-64-bits",
        malformed,
        chunk(&[largest.as_slice(), &event(2, 0, 1, b"x"), &event(2, 1, 1, b"y")].concat()),
    );
    cases.keyed("base-just-above-64-bits", malformed, chunk(&after(&above, &event(2, 0, 1, b"x"))));
    cases.keyed("base-eleven-bytes", malformed, chunk(&after(&more, &event(2, 0, 1, b"x"))));
    cases.keyed("base-cut", malformed, chunk(&[0x9e]));
    cases.both("channel-largest", "finished", chunk(&[30, 2, 0, 0xff, 0xff, 0xff, 0xff, 0x0f, 1, b'x']));
    cases.both("channel-zero", "finished", chunk(&[30, 2, 0, 0, 1, b'x']));
    cases.keyed("delta-longer-than-needed", malformed, chunk(&[30, 2, 0x80, 0, 1, 1, b'x']));
    cases.keyed("channel-longer-than-needed", malformed, chunk(&[30, 2, 0, 0x81, 0, 1, b'x']));
    cases.keyed("length-longer-than-needed", malformed, chunk(&[30, 2, 0, 1, 0x81, 0, b'x']));
    cases.keyed("length-largest", malformed, chunk(&[&[30, 2, 0, 1], largest.as_slice(), b"x"].concat()));
    cases.keyed("length-above-64-bits", malformed, chunk(&[&[30, 2, 0, 1], above.as_slice(), b"x"].concat()));
    cases.keyed("length-cut", malformed, chunk(&[30, 2, 0, 1, 0x81]));
    cases.keyed("length-one-past-the-end", malformed, chunk(&[30, 2, 0, 1, 2, b'x']));
    cases.keyed("event-kind-zero", malformed, chunk(&content(30, &[event(0, 0, 1, b"x")])));
    cases.keyed("event-kind-only", malformed, chunk(&[30, 2]));
    cases.keyed(
        "event-second-malformed",
        malformed,
        chunk(&content(30, &[event(2, 0, 1, b"x"), event(9, 0, 1, b"y")])),
    );
}

fn order(cases: &mut Cases, keys: &Keys) {
    let malformed = "event_malformed";
    let chunk = |content: &[u8]| close(body(keys).chunk(content));
    cases.keyed("started-twice", malformed, chunk(&content(30, &[started(SESSION)])));
    cases.keyed(
        "started-twice-at-once",
        malformed,
        close(begin(keys).chunk(&content(0, &[started(SESSION), started(SESSION)]))),
    );
    cases.keyed(
        "started-second",
        malformed,
        close(begin(keys).chunk(&content(0, &[event(2, 0, 1, b"x"), started(SESSION)]))),
    );
    cases.keyed("ended-first", malformed, close(begin(keys).chunk(&content(0, &[ended()]))));
    cases.keyed("ended-twice", malformed, body(keys).last(&content(200, &[ended(), ended()])).end(1).bytes());
    cases.differ(
        "ended-before-the-cut",
        "cut",
        malformed,
        body(keys).chunk(&content(200, &[ended()])).end(2).bytes(),
    );
    cases.both(
        "ended-with-others-before",
        "finished",
        body(keys).last(&content(200, &[event(3, 0, 1, b"bye"), ended()])).end(1).bytes(),
    );
    cases.keyed(
        "time-one-back",
        "time_reversed",
        close(body(keys).chunk(&input(30, b"x")).chunk(&input(29, b"y"))),
    );
    cases.keyed("time-back-and-malformed", "time_reversed", chunk(&content(1, &[event(9, 0, 1, b"x")])));
    cases.keyed(
        "time-back-across-a-checkpoint",
        "time_reversed",
        close(body(keys).chunk(&input(90, b"x")).checkpoint().chunk(&input(89, b"y"))),
    );
    cases.both(
        "time-same-across-chunks",
        "finished",
        close(body(keys).chunk(&input(90, b"x")).checkpoint().chunk(&input(90, b"y"))),
    );
}
