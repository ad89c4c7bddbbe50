//! More cases of the container: bounds of the header's fields, frames in places and of lengths they may not have, and
//! signatures that are genuine and for something else.
//!
//! Nothing here needs the key to be seen. Read `cases.rs` first.

use super::cases::{Cases, begin, body, close, input};
use super::writer::*;

pub(crate) fn add(cases: &mut Cases, keys: &Keys) {
    headers(cases, keys);
    heads(cases, keys);
    ends(cases, keys);
    claims(cases, keys);
}

fn headers(cases: &mut Cases, keys: &Keys) {
    let damaged = "header_damaged";
    let made = |change: &dyn Fn(&mut HeaderFields)| {
        let mut fields = HeaderFields::new(&keys.good);
        change(&mut fields);
        close(Writer::new(fields.bytes(), NODE_SEED).chunk(&content(0, &[started(SESSION)])))
    };
    let length = u32::try_from(keys.good.len()).unwrap();
    cases.both("header-w-one-less", damaged, made(&|h| h.said = Some(length - 1)));
    cases.both("header-w-one-more", damaged, made(&|h| h.said = Some(length + 1)));
    cases.both("header-w-huge", damaged, made(&|h| h.said = Some(u32::MAX)));
    cases.both("header-start-first", "finished", made(&|h| h.start = -377_705_023_201_000_000));
    cases.both("header-start-last", "finished", made(&|h| h.start = 253_402_207_200_000_000));
    cases.both("header-start-too-early", damaged, made(&|h| h.start = -377_705_023_201_000_001));
    cases.both("header-start-too-late", damaged, made(&|h| h.start = 253_402_207_200_000_001));
    let session = |text: &str| made(&|h| text.clone_into(&mut h.session));
    cases.both("header-session-upper-case", damaged, session("ses_ABCDEFGH234567AB"));
    cases.both("header-session-other-kind", damaged, session("grn_abcdefgh234567ab"));
    cases.both("header-session-digit-8", damaged, session("ses_abcdefgh234567a8"));
    cases.both("header-label-of-another", damaged, made(&|h| h.label = b"postern recording v1 checkpoint\n"));
    let whole = close(body(keys));
    let edit = |at: usize, to: &[u8]| {
        let mut bytes = whole.clone();
        bytes[at..at + to.len()].copy_from_slice(to);
        bytes
    };
    let header = begin(keys).header.len();
    let mut signature = whole[header - 64..header].to_vec();
    above_the_order(&mut signature);
    cases.both("header-signature-above-the-order", damaged, edit(header - 64, &signature));
    cases.both("header-recording-changed", damaged, edit(14, &[0x45]));
    cases.both("header-wrapped-key-changed", damaged, edit(14 + 112, b"b"));
    cases.both("version-little-endian", "unknown_version", edit(8, &[1, 0]));
    cases.both("magic-after-a-line", "not_a_recording", [b"\n", whole.as_slice()].concat());
    cases.both("magic-without-high-bit", "not_a_recording", edit(0, &[0x09]));
    cases.both("magic-alone", damaged, whole[..8].to_vec());
}

fn heads(cases: &mut Cases, keys: &Keys) {
    let data = input(10, b"x");
    let started = content(0, &[started(SESSION)]);
    cases.both("counter-from-one", "missing", close(begin(keys).numbered(1).chunk(&started).chunk(&data)));
    cases.both(
        "counter-little-endian",
        "missing",
        begin(keys).chunk(&started).numbered(1 << 56).last(&content(200, &[ended()])).end(1).bytes(),
    );
    cases.both("counter-largest", "missing", body(keys).numbered(u64::MAX).frame(CHUNK, &[0; 18]).bytes());
    let whole = body(keys).last(&content(200, &[ended()])).end(1);
    let rearranged = |change: &dyn Fn(&mut Vec<Vec<u8>>)| {
        let mut writer = whole.clone();
        change(&mut writer.frames);
        writer.bytes()
    };
    let huge = |counter: u64| [&1_048_641_u32.to_be_bytes()[..], &[CHUNK], &counter.to_be_bytes()].concat();
    cases.both(
        "missing-and-cut",
        "missing",
        rearranged(&|f| {
            f.remove(1);
            f.truncate(2);
        }),
    );
    cases.both(
        "missing-then-a-huge-frame",
        "missing",
        rearranged(&|f| {
            let late = f.remove(1);
            f.insert(2, huge(4));
            f.insert(3, late);
        }),
    );
    cases.both(
        "late-after-the-end",
        "out_of_order",
        rearranged(&|f| {
            let late = f.remove(1);
            f.push(late);
        }),
    );
    cases.both("huge-frame-in-the-wrong-place", "limit_exceeded", rearranged(&|f| f.insert(1, huge(9))));
    cases.both(
        "huge-frame-cut",
        "limit_exceeded",
        rearranged(&|f| {
            f.truncate(2);
            f.push(huge(2));
        }),
    );
    cases.both("duplicate-first-twice", "duplicate", rearranged(&|f| f.insert(1, f[0].clone())));
    cases.both("kind-five", "frame_damaged", close(body(keys).frame(5, &[0; 40])));
    cases.both("kind-255-empty", "frame_damaged", close(body(keys).frame(255, &[])));
    cases.both("chunk-empty", "frame_damaged", close(body(keys).frame(CHUNK, &[])));
    cases.both("last-chunk-too-short", "frame_damaged", body(keys).frame(LAST, &[0; 17]).end(1).bytes());
    cases.both("checkpoint-too-long", "frame_damaged", close(body(keys).frame(CHECKPOINT, &[0; 97])));
    cases.both("kind-unknown-after-last", "frame_damaged", {
        body(keys).last(&content(200, &[ended()])).frame(5, &[0; 40]).end(1).bytes()
    });
}

fn ends(cases: &mut Cases, keys: &Keys) {
    let last = || body(keys).last(&content(200, &[ended()]));
    cases.both("end-too-short", "frame_damaged", body(keys).frame(END, &[2; 96]).bytes());
    cases.both("end-state-zero", "frame_damaged", last().end(0).bytes());
    cases.both("end-state-unknown-anywhere", "frame_damaged", body(keys).end(3).bytes());
    cases.both("finished-at-once", "misplaced", begin(keys).end(1).bytes());
    cases.both("finished-after-checkpoint", "misplaced", body(keys).checkpoint().end(1).bytes());
    cases.both("end-last-byte-missing", "truncated", {
        let bytes = last().end(1).bytes();
        bytes[..bytes.len() - 1].to_vec()
    });
    cases.both("end-head-only", "truncated", {
        let bytes = last().end(1).bytes();
        bytes[..bytes.len() - 97].to_vec()
    });
    cases.both("trailing-after-cut", "trailing_data", {
        let cut = body(keys).end(2);
        close(cut.chunk(&input(100, b"more")))
    });
    cases.both("trailing-header", "trailing_data", [last().end(1).bytes(), begin(keys).header].concat());
    cases.both("cut-after-checkpoint", "cut", body(keys).checkpoint().end(2).bytes());
}

fn claims(cases: &mut Cases, keys: &Keys) {
    let forged = "checkpoint_forged";
    // A checkpoint whose signature is over other bytes than it should be.
    let checkpoint = |label: &[u8], counter_off: u64, hash: Option<[u8; 32]>| {
        let writer = body(keys);
        let counter = 4 + counter_off;
        let hash = hash.unwrap_or_else(|| writer.header_hash());
        let message = [label, &hash, &counter.to_be_bytes(), &writer.chain()].concat();
        let claim = [writer.chain().to_vec(), sign(NODE_SEED, &message)].concat();
        close(writer.frame(CHECKPOINT, &claim))
    };
    let label = b"postern recording v1 checkpoint\n";
    cases.both("checkpoint-sound", "finished", checkpoint(label, 0, None));
    cases.both("checkpoint-label-of-the-end", forged, checkpoint(b"postern recording v1 end\n", 0, None));
    cases.both(
        "checkpoint-label-of-version-2",
        forged,
        checkpoint(b"postern recording v2 checkpoint\n", 0, None),
    );
    cases.both("checkpoint-of-another-counter", forged, checkpoint(label, 1, None));
    cases.both("checkpoint-of-another-recording", forged, checkpoint(label, 0, Some([0x12; 32])));
    let writer = body(keys);
    let claim = writer.claim(None, NODE_SEED, writer.header_hash());
    cases.both("checkpoint-of-the-beginning", "chain_broken", close(writer.frame(CHECKPOINT, &claim)));
    let both_wrong = writer_claim(keys, OTHER_SEED);
    cases.both("checkpoint-forged-and-broken", forged, both_wrong);
    let mut whole = body(keys).last(&content(200, &[ended()])).end(1);
    above_the_order(&mut whole.frames[5][13 + 33..]);
    cases.both("end-signature-above-the-order", forged, whole.bytes());
    let mut whole = body(keys).last(&content(200, &[ended()])).end(1);
    above_the_order(&mut whole.frames[2][13 + 32..]);
    cases.both("checkpoint-signature-above-the-order", forged, whole.bytes());
    let writer = body(keys).last(&content(200, &[ended()]));
    let mut claim = writer.claim(None, NODE_SEED, writer.chain());
    claim.insert(0, 1);
    cases.both("end-signed-as-checkpoint", forged, writer.frame(END, &claim).bytes());
    // The frame the end covers, and the digest it would have without it.
    let writer = body(keys);
    let before = writer.chain();
    let writer = writer.last(&content(200, &[ended()]));
    let claim = writer.claim(Some(1), NODE_SEED, before);
    cases.both("end-without-the-last-chunk", "chain_broken", writer.frame(END, &claim).bytes());
}

fn writer_claim(keys: &Keys, seed: [u8; 32]) -> Vec<u8> {
    let writer = body(keys);
    let claim = writer.claim(None, seed, [7; 32]);
    close(writer.frame(CHECKPOINT, &claim))
}
