//! The cases: sound recordings, and for every rule of `FORMAT.md` one that breaks it and nothing else.
//!
//! One fault each, so that a reader which reports another error than the one expected is wrong about something. The
//! bytes are deterministic: keys and nonces are fixed, and nothing is drawn.

use super::writer::*;

/// A recording, and what a verifier must say of it.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) bytes: Vec<u8>,
    /// The key wrapped again, which lies beside it.
    pub(crate) keys: Option<Vec<u8>>,
    without_key: &'static str,
    with_key: &'static str,
}

impl Case {
    pub(crate) fn describe(&self) -> serde_json::Value {
        serde_json::json!({
            "file": format!("{}.pstn", self.name),
            "without_key": self.without_key,
            "with_key": self.with_key,
        })
    }
}

pub(crate) struct Cases(Vec<Case>);

impl Cases {
    /// A case whose outcome does not depend on the key.
    pub(crate) fn both(&mut self, name: &'static str, outcome: &'static str, bytes: Vec<u8>) {
        self.differ(name, outcome, outcome, bytes);
    }

    /// A case that only who has the key sees through; without it, the recording is finished.
    pub(crate) fn keyed(&mut self, name: &'static str, with_key: &'static str, bytes: Vec<u8>) {
        self.differ(name, "finished", with_key, bytes);
    }

    pub(crate) fn differ(
        &mut self,
        name: &'static str,
        without_key: &'static str,
        with_key: &'static str,
        bytes: Vec<u8>,
    ) {
        self.0.push(Case { name, bytes, keys: None, without_key, with_key });
    }

    /// A case with a key wrapped again beside it.
    pub(crate) fn rewrapped(
        &mut self,
        name: &'static str,
        with_key: &'static str,
        bytes: Vec<u8>,
        again: &[u8],
    ) {
        self.0.push(Case { name, bytes, keys: Some(again.to_vec()), without_key: "finished", with_key });
    }
}

pub(crate) fn all(keys: &Keys) -> Vec<Case> {
    let mut cases = Cases(Vec::new());
    sound(&mut cases, keys);
    headers(&mut cases, keys);
    wrapped_keys(&mut cases, keys);
    structure(&mut cases, keys);
    signatures(&mut cases, keys);
    seals(&mut cases, keys);
    contents(&mut cases, keys);
    order(&mut cases, keys);
    super::age_cases::add(&mut cases);
    super::frame_cases::add(&mut cases, keys);
    super::event_cases::add(&mut cases, keys);
    super::json_cases::add(&mut cases, keys);
    cases.0
}

pub(crate) fn begin(keys: &Keys) -> Writer {
    Writer::new(HeaderFields::new(&keys.good).bytes(), NODE_SEED)
}

pub(crate) fn input(base: u16, data: &[u8]) -> Vec<u8> {
    content(base, &[event(2, 0, 1, data)])
}

/// Two chunks, a checkpoint, a third: what most cases break.
pub(crate) fn body(keys: &Keys) -> Writer {
    begin(keys)
        .chunk(&content(0, &[started(SESSION)]))
        .chunk(&input(10, b"ls\n"))
        .checkpoint()
        .chunk(&content(20, &[event(3, 0, 1, b"file\n"), event(4, 5, 1, b"no\n")]))
}

pub(crate) fn close(writer: Writer) -> Vec<u8> {
    writer.last(&content(200, &[ended()])).end(1).bytes()
}

fn sound(cases: &mut Cases, keys: &Keys) {
    let start = || begin(keys).chunk(&content(0, &[started(SESSION)]));
    cases.both("finished", "finished", close(body(keys)));
    cases.both("finished-small", "finished", start().last(&content(1, &[ended()])).end(1).bytes());
    cases.both(
        "finished-one-frame",
        "finished",
        begin(keys).last(&content(0, &[started(SESSION), ended()])).end(1).bytes(),
    );
    cases.both(
        "finished-compressed",
        "finished",
        close(start().sealed(CHUNK, &packed(&input(1, &[b'a'; 2000]), 2006))),
    );
    cases.both("finished-empty-input", "finished", close(start().chunk(&input(1, b""))));
    cases.both(
        "finished-many-checkpoints",
        "finished",
        close(begin(keys).checkpoint().checkpoint().chunk(&content(0, &[started(SESSION)])).checkpoint()),
    );
    let shell = event(1, 150, 2, br#"{"type":"shell"}"#);
    cases.both(
        "finished-json-events",
        "finished",
        close(start().chunk(&content(1, &[event(1, 0, 1, br#"{"type":"exec","command":"bHM="}"#), shell]))),
    );
    cases.both(
        "finished-same-time",
        "finished",
        close(start().chunk(&input(5, b"a")).chunk(&input(5, b"b"))),
    );
    cases.both("cut", "cut", body(keys).end(2).bytes());
    cases.both("cut-without-events", "cut", begin(keys).end(2).bytes());
    cases.both("cut-after-last-chunk", "cut", start().last(&content(1, &[ended()])).end(2).bytes());
}

fn headers(cases: &mut Cases, keys: &Keys) {
    let whole = close(body(keys));
    let edit = |at: usize, to: &[u8]| {
        let mut bytes = whole.clone();
        bytes[at..at + to.len()].copy_from_slice(to);
        bytes
    };
    let header = begin(keys).header.len();
    cases.both("empty", "not_a_recording", Vec::new());
    cases.both("magic-text-mode", "not_a_recording", edit(5, b"\n\n"));
    cases.both("magic-cut", "not_a_recording", whole[..7].to_vec());
    cases.both("version-0", "unknown_version", edit(8, &[0, 0]));
    cases.both("version-2", "unknown_version", edit(8, &[0, 2]));
    cases.both("prelude-cut", "header_damaged", whole[..12].to_vec());
    cases.both("header-cut", "header_damaged", whole[..header - 1].to_vec());
    cases.both("header-length-huge", "header_damaged", edit(10, &[0, 1, 0, 1]));
    cases.both("header-length-short", "header_damaged", edit(10, &176_u32.to_be_bytes()));
    cases.both(
        "header-length-off",
        "header_damaged",
        edit(10, &u32::try_from(header - 13).unwrap().to_be_bytes()),
    );
    cases.both("header-start-changed", "header_damaged", edit(57, &[1]));
    cases.both("header-signature-changed", "header_damaged", edit(header - 1, &[whole[header - 1] ^ 1]));
    cases.both("header-commitment-changed", "header_damaged", edit(90, &[whole[90] ^ 1]));
    let made = |change: &dyn Fn(&mut HeaderFields)| {
        let mut fields = HeaderFields::new(&keys.good);
        change(&mut fields);
        let writer = Writer::new(fields.bytes(), fields.seed);
        close(writer.chunk(&content(0, &[started(SESSION)])))
    };
    cases.both(
        "header-session-malformed",
        "header_damaged",
        made(&|h| "ses_../../etc/passwd".clone_into(&mut h.session)),
    );
    cases.both("header-no-wrapped-key", "header_damaged", made(&|h| h.wrapped = Vec::new()));
    cases.both("untrusted-signer", "untrusted_signer", made(&|h| h.seed = OTHER_SEED));
    let mut stolen = made(&|h| h.seed = OTHER_SEED);
    stolen[58..90].copy_from_slice(&public_key(NODE_SEED));
    cases.both("header-signed-by-another", "header_damaged", stolen);
}

fn wrapped_keys(cases: &mut Cases, keys: &Keys) {
    let with = |wrapped: &[u8], commitment: Option<[u8; 32]>| {
        let header = HeaderFields { commitment, ..HeaderFields::new(wrapped) };
        close(Writer::new(header.bytes(), NODE_SEED).chunk(&content(0, &[started(SESSION)])))
    };
    cases.keyed("wrong-key", "wrong_key", with(&keys.stranger, None));
    cases.keyed("wrapped-key-garbage", "header_damaged", with(b"this is no age file", None));
    cases.keyed("wrapped-key-cut", "header_damaged", with(&keys.good[..keys.good.len() - 1], None));
    cases.keyed("wrapped-key-31-bytes", "header_damaged", with(&keys.short, None));
    cases.keyed("wrapped-key-33-bytes", "header_damaged", with(&keys.long, None));
    cases.keyed("commitment-mismatch", "commitment_mismatch", with(&keys.good, Some([9; 32])));
    let others = with(&keys.stranger, None);
    cases.rewrapped("rewrapped", "finished", others.clone(), &keys.good);
    cases.rewrapped("rewrapped-for-others", "wrong_key", others.clone(), &keys.stranger);
    cases.rewrapped("rewrapped-garbage", "rewrap_damaged", others.clone(), b"this is no age file");
    cases.rewrapped("rewrapped-empty", "rewrap_damaged", others.clone(), b"");
    cases.rewrapped("rewrapped-cut", "rewrap_damaged", others.clone(), &keys.good[..keys.good.len() - 1]);
    cases.rewrapped("rewrapped-31-bytes", "rewrap_damaged", others.clone(), &keys.short);
    cases.rewrapped("rewrapped-33-bytes", "rewrap_damaged", others, &keys.long);
    let committed = with(&keys.stranger, Some([9; 32]));
    cases.rewrapped("rewrapped-another-key", "commitment_mismatch", committed, &keys.good);
    // The header's own is enough, or wrong, before the other is looked at.
    cases.rewrapped("rewrapped-in-vain", "finished", with(&keys.good, None), b"this is no age file");
    cases.rewrapped("rewrapped-header-damaged", "header_damaged", with(&keys.short, None), &keys.good);
}

fn structure(cases: &mut Cases, keys: &Keys) {
    let whole = body(keys).last(&content(200, &[ended()])).end(1);
    let rearranged = |change: &dyn Fn(&mut Vec<Vec<u8>>)| {
        let mut writer = whole.clone();
        change(&mut writer.frames);
        writer.bytes()
    };
    cases.both(
        "frame-length-huge",
        "limit_exceeded",
        rearranged(&|f| f[1][..4].copy_from_slice(&1_048_641_u32.to_be_bytes())),
    );
    cases.both("truncated-header-only", "truncated", begin(keys).header);
    cases.both("truncated-no-end", "truncated", rearranged(&|f| f.truncate(5)));
    cases.both("truncated-after-checkpoint", "truncated", rearranged(&|f| f.truncate(3)));
    cases.both("truncated-in-frame", "truncated", rearranged(&|f| f[5].truncate(50)));
    cases.both("truncated-in-head", "truncated", rearranged(&|f| f[5].truncate(5)));
    cases.both("missing-first", "missing", rearranged(&|f| drop(f.remove(0))));
    cases.both("missing-middle", "missing", rearranged(&|f| drop(f.remove(3))));
    cases.both("missing-checkpoint", "missing", rearranged(&|f| drop(f.remove(2))));
    cases.both("out-of-order", "out_of_order", rearranged(&|f| f.swap(0, 1)));
    cases.both("out-of-order-late", "out_of_order", rearranged(&|f| f.swap(1, 4)));
    cases.both("duplicate", "duplicate", rearranged(&|f| f.insert(2, f[1].clone())));
    cases.both("duplicate-old", "duplicate", rearranged(&|f| f.insert(5, f[0].clone())));
    cases.both("trailing-byte", "trailing_data", rearranged(&|f| f.push(vec![0])));
    cases.both("trailing-end", "trailing_data", rearranged(&|f| f.push(f[5].clone())));
    cases.both("kind-unknown", "frame_damaged", close(body(keys).frame(9, &[0; 40])));
    cases.both("kind-zero", "frame_damaged", close(body(keys).frame(0, &[0; 40])));
    cases.both("chunk-too-short", "frame_damaged", close(body(keys).frame(CHUNK, &[0; 17])));
    cases.both("checkpoint-too-short", "frame_damaged", close(body(keys).frame(CHECKPOINT, &[0; 95])));
    cases.both("end-too-long", "frame_damaged", body(keys).frame(END, &[1; 98]).bytes());
    let last = || body(keys).last(&content(200, &[ended()]));
    cases.both("end-state-unknown", "frame_damaged", last().end(3).bytes());
    cases.both("chunk-after-last", "misplaced", last().chunk(&input(300, b"x")).end(1).bytes());
    cases.both("last-chunk-twice", "misplaced", last().last(&content(300, &[ended()])).end(1).bytes());
    cases.both("checkpoint-after-last", "misplaced", last().checkpoint().end(1).bytes());
    cases.both("finished-without-last-chunk", "misplaced", body(keys).end(1).bytes());
}

fn signatures(cases: &mut Cases, keys: &Keys) {
    let claim = |state, seed, chain: Option<[u8; 32]>| {
        let writer = body(keys).last(&content(200, &[ended()]));
        let claim = writer.claim(state, seed, chain.unwrap_or_else(|| writer.chain()));
        writer.frame(END, &claim).bytes()
    };
    cases.both("end-forged", "checkpoint_forged", claim(Some(1), OTHER_SEED, None));
    cases.both("end-of-another-chain", "chain_broken", claim(Some(1), NODE_SEED, Some([7; 32])));
    let mut cut_called_finished = body(keys).last(&content(200, &[ended()])).end(2);
    cut_called_finished.frames[5][13] = 1;
    cases.both("end-state-changed", "checkpoint_forged", cut_called_finished.bytes());
    let writer = body(keys);
    let forged = writer.claim(None, OTHER_SEED, writer.chain());
    cases.both("checkpoint-forged", "checkpoint_forged", close(writer.frame(CHECKPOINT, &forged)));
    let mut changed = body(keys).last(&content(200, &[ended()])).end(1);
    changed.frames[2][20] ^= 1;
    cases.both("checkpoint-digest-changed", "checkpoint_forged", changed.bytes());
    // Somebody who holds the key seals other content in the place of what was recorded, and keeps the signatures.
    let mut resealed = body(keys).last(&content(200, &[ended()])).end(1);
    let other = begin(keys).chunk(&content(0, &[started(SESSION)])).chunk(&input(10, b"rm\n"));
    resealed.frames[1].clone_from(&other.frames[1]);
    cases.both("resealed-by-a-reviewer", "chain_broken", resealed.bytes());
    let mut resealed = body(keys).last(&content(200, &[ended()])).end(1);
    let other = body(keys).last(&content(199, &[ended()]));
    resealed.frames[4].clone_from(&other.frames[4]);
    cases.both("last-chunk-resealed", "chain_broken", resealed.bytes());
}

fn seals(cases: &mut Cases, keys: &Keys) {
    let whole = body(keys).last(&content(200, &[ended()])).end(1);
    let edited = |change: &dyn Fn(&mut Vec<Vec<u8>>)| {
        let mut writer = whole.clone();
        change(&mut writer.frames);
        writer.bytes()
    };
    cases.differ("ciphertext-changed", "chain_broken", "frame_damaged", edited(&|f| f[1][15] ^= 1));
    cases.differ("tag-changed", "chain_broken", "frame_damaged", edited(&|f| *f[1].last_mut().unwrap() ^= 1));
    cases.differ(
        "renumbered",
        "chain_broken",
        "frame_damaged",
        edited(&|f| {
            f.remove(0);
            f[0][12] = 0;
            f[1][12] = 1;
            f.insert(1, f[0].clone());
            f[1][12] = 1;
            f[2][12] = 2;
        }),
    );
    let mut other = HeaderFields::new(&keys.good);
    other.recording = [0x55; 16];
    let other = Writer::new(other.bytes(), NODE_SEED)
        .chunk(&content(0, &[started(SESSION)]))
        .chunk(&input(10, b"ls\n"));
    cases.differ(
        "frame-of-another-recording",
        "chain_broken",
        "frame_damaged",
        edited(&|f| f[1].clone_from(&other.frames[1])),
    );
    let plain = [vec![0], content(200, &[ended()])].concat();
    cases.keyed(
        "last-chunk-without-flag",
        "frame_damaged",
        body(keys).sealed_as(LAST, 0, 4, &plain).end(1).bytes(),
    );
    let plain = [vec![0], input(30, b"x")].concat();
    cases.keyed("chunk-with-last-flag", "frame_damaged", close(body(keys).sealed_as(CHUNK, 1, 4, &plain)));
    cases.keyed(
        "sealed-for-another-place",
        "frame_damaged",
        close(body(keys).sealed_as(CHUNK, 0, 5, &plain)),
    );
}

pub(crate) fn packed(content: &[u8], length: u32) -> Vec<u8> {
    [vec![1], length.to_be_bytes().to_vec(), zstd::bulk::compress(content, 1).unwrap()].concat()
}

fn contents(cases: &mut Cases, keys: &Keys) {
    let sealed = |plain: &[u8]| close(body(keys).sealed(CHUNK, plain));
    let chunk = |content: &[u8]| close(body(keys).chunk(content));
    let data = input(30, &[b'a'; 1000]);
    let length = u32::try_from(data.len()).unwrap();
    let malformed = "event_malformed";
    cases.keyed("compression-unknown", malformed, sealed(&[&[2], data.as_slice()].concat()));
    cases.keyed("zstd-garbage", malformed, sealed(&[1, 0, 0, 0, 4, 1, 2, 3, 4]));
    cases.keyed("zstd-shorter-than-said", malformed, sealed(&packed(&data, length + 1)));
    cases.keyed("zstd-longer-than-said", malformed, sealed(&packed(&data, length - 1)));
    cases.keyed("zstd-bomb", malformed, sealed(&packed(&vec![0; 8 << 20], 1 << 20)));
    cases.keyed(
        "zstd-two-frames",
        malformed,
        sealed(&[packed(&data, length), zstd::bulk::compress(b"", 1).unwrap()].concat()),
    );
    cases.keyed("zstd-trailing", malformed, sealed(&[packed(&data, length), vec![0]].concat()));
    cases.keyed(
        "content-too-long",
        "limit_exceeded",
        sealed(&packed(&vec![0; (1 << 20) + 1], (1 << 20) + 1)),
    );
    cases.keyed("raw-content-too-long", "limit_exceeded", sealed(&vec![0; (1 << 20) + 2]));
    cases.keyed("chunk-without-events", malformed, chunk(&number(30)));
    cases.keyed(
        "base-longer-than-needed",
        malformed,
        chunk(&[&[0x9e, 0x00], event(2, 0, 1, b"x").as_slice()].concat()),
    );
    cases.keyed(
        "base-above-64-bits",
        malformed,
        chunk(&[&[0xff; 10], event(2, 0, 1, b"x").as_slice()].concat()),
    );
    cases.keyed("first-delta-not-zero", malformed, chunk(&content(30, &[event(2, 1, 1, b"x")])));
    cases.keyed("event-kind-unknown", malformed, chunk(&content(30, &[event(5, 0, 1, b"x")])));
    cases.keyed("event-length-past-the-end", malformed, chunk(&[30, 2, 0, 1, 5, b'x']));
    cases.keyed("event-cut", malformed, chunk(&[30, 2, 0, 1, 1, b'x', 2, 0]));
    cases.keyed(
        "channel-above-32-bits",
        malformed,
        chunk(&[30, 2, 0, 0x80, 0x80, 0x80, 0x80, 0x10, 1, b'x']),
    );
    cases.keyed("json-broken", malformed, chunk(&content(30, &[event(1, 0, 1, b"{\"type\":")])));
    cases.keyed(
        "json-type-unknown",
        malformed,
        chunk(&content(30, &[event(1, 0, 1, br#"{"type":"telepathy"}"#)])),
    );
    cases.keyed("json-trailing", malformed, chunk(&content(30, &[event(1, 0, 1, br#"{"type":"shell"}x"#)])));
    cases.keyed(
        "json-holds-input",
        malformed,
        chunk(&content(30, &[event(1, 0, 1, br#"{"type":"input","data":"eA=="}"#)])),
    );
}

fn order(cases: &mut Cases, keys: &Keys) {
    let chunk = |content: &[u8]| close(body(keys).chunk(content));
    let malformed = "event_malformed";
    cases.keyed("started-missing", malformed, close(begin(keys).chunk(&input(1, b"x"))));
    cases.keyed(
        "started-for-another-session",
        malformed,
        close(begin(keys).chunk(&content(0, &[started("ses_bbbbbbbbbbbbbbbb")]))),
    );
    cases.keyed("ended-in-a-chunk", malformed, chunk(&content(30, &[ended()])));
    cases.keyed("last-chunk-without-ended", malformed, body(keys).last(&input(200, b"x")).end(1).bytes());
    cases.keyed(
        "ended-not-last",
        malformed,
        body(keys).last(&content(200, &[ended(), event(2, 0, 1, b"x")])).end(1).bytes(),
    );
    cases.keyed("time-reversed", "time_reversed", chunk(&input(24, b"x")));
    cases.keyed(
        "time-reversed-at-the-end",
        "time_reversed",
        body(keys).last(&content(1, &[ended()])).end(1).bytes(),
    );
}
