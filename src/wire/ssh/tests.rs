//! Both file protocols against real transfers (`tests/corpus/wire/`), hostile bytes, and every way of cutting a stream.
//!
//! A stream here is a script of pieces, each from one side; what is found must depend on the bytes alone, never on how
//! they were cut. Helpers that build messages are at the bottom.

use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::file::{Operation, Outcome};
use super::scp::{ScpError, ScpSession, Way};
use super::sftp::{Answer, Ask, LONGEST_MESSAGE, Reply, Request, SftpError};
use super::sftp_session::{MOST_OPEN, SftpSession};

#[test]
fn every_captured_transfer_is_reported_as_expected() {
    let mut tried = 0;
    for (name, script) in corpus() {
        let expected = fs::read_to_string(folder().join(format!("{name}.expected"))).unwrap();
        let found = describe(&Following::named(&name).whole(&script));
        assert_eq!(found, expected, "{name}: as in {name}.expected?");
        tried += 1;
    }
    assert!(tried >= 6, "the corpus is missing");
}

#[test]
fn a_transfer_byte_by_byte_is_the_same_transfer() {
    for (name, script) in corpus().into_iter().filter(|(_, script)| size(script) < 2000) {
        let whole = Following::named(&name).whole(&script);
        let single: Vec<(Side, Vec<u8>)> =
            script.iter().flat_map(|(side, bytes)| bytes.iter().map(|b| (*side, vec![*b]))).collect();
        assert_eq!(Following::named(&name).whole(&single), whole, "{name}");
    }
}

#[test]
fn a_transfer_cut_off_anywhere_says_so_and_claims_no_more() {
    for (name, script) in corpus().into_iter().filter(|(_, script)| size(script) < 2000) {
        let whole = Following::named(&name).whole(&script).0;
        let done = |found: &[Operation]| found.iter().filter(|o| o.outcome == Outcome::Done).count();
        for length in 0..size(&script) {
            let (found, error) = Following::named(&name).whole(&cut(&script, length));
            assert_eq!(error, None, "{name} cut at {length}");
            assert!(done(&found) <= done(&whole), "{name} cut at {length}");
        }
    }
}

#[test]
fn an_upload_written_out_of_order_or_refused_has_no_hash() {
    let open = [string(b"f"), int(2), int(0)].concat();
    let write = |offset: u64| [string(b"h"), offset.to_be_bytes().to_vec(), string(b"abc")].concat();
    let run = |second: u64, code: u32| {
        sftp(&[
            (Side::Client, packet(3, 1, &open)),
            (Side::Target, packet(102, 1, &string(b"h"))),
            (Side::Client, packet(6, 2, &write(0))),
            (Side::Client, packet(6, 3, &write(second))),
            (Side::Target, packet(101, 2, &int(0))),
            (Side::Target, packet(101, 3, &int(code))),
            (Side::Client, packet(4, 4, &string(b"h"))),
            (Side::Target, packet(101, 4, &int(0))),
        ])
    };
    let (found, _) = run(3, 0);
    assert!(found[0].sha256.is_some() && found[0].bytes == Some(6) && found[0].outcome == Outcome::Done);
    let (found, _) = run(4, 0);
    assert!(found[0].sha256.is_none() && found[0].outcome == Outcome::Done);
    let (found, _) = run(3, 4);
    assert!(found[0].sha256.is_none());
    assert_eq!(found[0].outcome, Outcome::Failed("failure".to_owned()));
}

#[test]
fn a_handle_given_out_again_after_a_close_is_another_file() {
    let open = |path: &[u8]| [string(path), int(2), int(0)].concat();
    let (found, error) = sftp(&[
        (Side::Client, packet(3, 1, &open(b"one"))),
        (Side::Target, packet(102, 1, &string(b"h"))),
        (Side::Client, packet(4, 2, &string(b"h"))),
        (Side::Client, packet(3, 3, &open(b"two"))),
        (Side::Target, packet(101, 2, &int(0))),
        (Side::Target, packet(102, 3, &string(b"h"))),
        (Side::Client, packet(4, 4, &string(b"h"))),
        (Side::Target, packet(101, 4, &int(0))),
    ]);
    assert_eq!(error, None);
    assert_eq!(found.iter().map(|o| &o.path[..]).collect::<Vec<_>>(), [b"one", b"two"]);
}

#[test]
fn sftp_that_cannot_be_followed_ends_each_with_its_own_error() {
    let open = [string(b"f"), int(1), int(0)].concat();
    let opened = [(Side::Client, packet(3, 1, &open)), (Side::Target, packet(102, 1, &string(b"h")))];
    let then = |more: &[(Side, Vec<u8>)]| sftp(&[&opened, more].concat()).1;
    let failed = |error: SftpError| Some(error.to_string());
    let again = [(Side::Client, packet(3, 2, &open)), (Side::Target, packet(102, 2, &string(b"h")))];
    assert_eq!(then(&again), failed(SftpError::HandleInUse));
    let twice = [(Side::Client, packet(3, 2, &open)), (Side::Client, packet(3, 2, &open))];
    assert_eq!(then(&twice), failed(SftpError::IdInUse));
    assert_eq!(then(&[(Side::Target, packet(101, 9, &int(0)))]), failed(SftpError::Unasked));
    assert_eq!(then(&[(Side::Target, packet(2, 6, &[]))]), failed(SftpError::Version(6)));
    assert_eq!(then(&[(Side::Client, packet(99, 0, &[]))]), failed(SftpError::UnknownType(99)));
    assert_eq!(then(&[(Side::Client, int(0))]), failed(SftpError::Length(0)));
    let long = u32::try_from(LONGEST_MESSAGE + 1).unwrap();
    assert_eq!(then(&[(Side::Client, int(long))]), failed(SftpError::Length(long)));
    let late = [
        (Side::Client, packet(5, 2, &[string(b"h"), vec![0; 12]].concat())),
        (Side::Client, packet(4, 3, &string(b"h"))),
        (Side::Target, packet(101, 3, &int(0))),
        (Side::Target, packet(103, 2, &string(b"x"))),
    ];
    assert_eq!(then(&late), failed(SftpError::Closed));
    assert!(then(&[(Side::Client, packet(13, 2, &int(5)))]).is_some(), "a path that ends early");
}

/// A client that guesses the handle it will get and does not wait for it: nothing may be done with it unnamed.
#[test]
fn a_handle_used_before_it_is_given_is_refused() {
    let open = (Side::Client, packet(3, 1, &[string(b"f"), int(2), int(0)].concat()));
    let write = [string(b"h"), vec![0; 8], string(b"data")].concat();
    let copy = [string(b"copy-data"), string(b"h"), vec![0; 16], string(b"h"), vec![0; 8]].concat();
    for asked in
        [packet(6, 2, &write), packet(10, 2, &[string(b"h"), int(0)].concat()), packet(200, 2, &copy)]
    {
        let (_, error) = sftp(&[open.clone(), (Side::Client, asked)]);
        assert_eq!(error, Some(SftpError::UnknownHandle.to_string()), "what changes a file is not passed on");
    }
    let given = (Side::Target, packet(102, 1, &string(b"h")));
    let names = [int(0)].concat();
    for (asked, answer) in [
        (packet(5, 2, &[string(b"h"), vec![0; 12]].concat()), packet(103, 2, &string(b"content"))),
        (packet(12, 2, &string(b"h")), packet(104, 2, &names)),
        (packet(4, 2, &string(b"h")), packet(101, 2, &int(0))),
    ] {
        let asked = [open.clone(), (Side::Client, asked), given.clone()];
        assert_eq!(sftp(&asked).1, None, "it may still be refused");
        let refused = (Side::Target, packet(101, 2, &int(4)));
        assert_eq!(sftp(&[&asked[..], &[refused]].concat()).1, None, "as by a target that goes by the order");
        let (_, error) = sftp(&[&asked[..], &[(Side::Target, answer)]].concat());
        assert_eq!(error, Some(SftpError::UnknownHandle.to_string()), "an answer is not passed on");
    }
}

#[test]
fn sftp_holds_no_more_than_its_caps() {
    let most = u32::try_from(MOST_OPEN).unwrap();
    let open = |number: u32| packet(3, number, &[string(b"f"), int(1), int(0)].concat());
    let mut session = SftpSession::new();
    let mut found = Vec::new();
    for number in 0..most {
        session.client(&open(number)).unwrap();
        // The last few are still on their way.
        if number < most - 5 {
            session.target(&packet(102, number, &string(&number.to_be_bytes())), &mut found).unwrap();
        }
    }
    assert_eq!(session.client(&open(most)), Err(SftpError::TooManyHandles(MOST_OPEN)));
    assert_eq!(
        session.client(&packet(1, 3, &[])),
        Err(SftpError::TooManyHandles(MOST_OPEN)),
        "an error is final"
    );

    let mut session = SftpSession::new();
    let path = vec![b'p'; 4096];
    let asked = (0..100_000_u32).find_map(|id| session.client(&packet(13, id, &string(&path))).err());
    assert!(matches!(asked, Some(SftpError::TooManyRequests(_))));
}

#[test]
fn scp_that_cannot_be_followed_ends_each_with_its_own_error() {
    let upload = |parts: &[(Side, &[u8])]| {
        let script: Vec<_> = parts.iter().map(|(side, bytes)| (*side, bytes.to_vec())).collect();
        Following::named("scp-upload").whole(&script).1
    };
    let failed = |error: ScpError| Some(error.to_string());
    let (ready, client) = ((Side::Target, &b"\0"[..]), Side::Client);
    assert_eq!(upload(&[ready, (client, b"C0644 -1 x\n")]), failed(ScpError::Record));
    assert_eq!(upload(&[ready, (client, b"C0644 99999999999999999999 x\n")]), failed(ScpError::Record));
    assert_eq!(upload(&[ready, (client, b"E\n")]), failed(ScpError::Record));
    assert_eq!(upload(&[ready, (client, b"\0")]), failed(ScpError::Record));
    assert_eq!(upload(&[ready, ready]), failed(ScpError::Unasked));
    assert_eq!(upload(&[ready, (client, &[b'C'; 9000])]), failed(ScpError::Line));
    assert_eq!(upload(&[(client, &vec![0; 300 * 1024])]), failed(ScpError::Ahead));
    let deep: Vec<(Side, &[u8])> =
        std::iter::repeat_n([(client, &b"D0755 0 d\n"[..]), ready], 200).flatten().collect();
    assert_eq!(upload(&[&[ready][..], &deep].concat()), failed(ScpError::Deep));
}

#[test]
fn content_sent_ahead_of_a_refusal_is_read_as_the_receiver_reads_it() {
    let mut scp = ScpSession::new(Way::Upload, b"/srv".to_vec());
    let mut found = Vec::new();
    scp.target(b"\0", &mut found).unwrap();
    scp.client(b"C0644 17 no\nC0644 5 evil\nhello\0", &mut found).unwrap();
    scp.target(b"\x01scp: no: Permission denied\n", &mut found).unwrap();
    scp.target(b"\0\0", &mut found).unwrap();
    assert_eq!(found[0].outcome, Outcome::Failed("scp: no: Permission denied".to_owned()));
    assert_eq!(
        (&found[1].path[..], found[1].bytes, &found[1].outcome),
        (&b"evil"[..], Some(5), &Outcome::Done)
    );
}

/// What is held is used up piece by piece, in place.
#[test]
fn many_small_files_sent_far_ahead_are_each_reported() {
    let mut scp = ScpSession::new(Way::Upload, b"/srv".to_vec());
    let mut found = Vec::new();
    scp.target(b"\0", &mut found).unwrap();
    let records: Vec<u8> =
        (0..10_000).flat_map(|number| format!("C0644 4 {number:04}\n{number:04}\0").into_bytes()).collect();
    for piece in records.chunks(100_000) {
        scp.client(piece, &mut found).unwrap();
    }
    for _ in 0..10_000 {
        scp.target(b"\0\0", &mut found).unwrap();
    }
    for (number, file) in found.iter().enumerate() {
        assert_eq!((file.path.clone(), file.bytes), (format!("{number:04}").into_bytes(), Some(4)));
        assert_eq!(file.outcome, Outcome::Done);
    }
    assert_eq!(found.len(), 10_000);
    let up = [b"D0755 0 d\n".to_vec(), b"C0644 0 f\n\0".to_vec(), b"E\n".to_vec(), b"C0644 0 g\n\0".to_vec()]
        .concat();
    scp.client(&up, &mut found).unwrap();
    scp.target(&[0; 6], &mut found).unwrap();
    let paths: Vec<&[u8]> = found[10_000..].iter().map(|file| &file.path[..]).collect();
    assert_eq!(paths, [&b"d"[..], b"d/f", b"g"]);
}

proptest! {
    #[test]
    fn any_sftp_bytes_cut_anyhow_give_the_same_answer(
        script in proptest::collection::vec((any::<Side>(), sftp_bytes()), 0..12),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        prop_assert_eq!(sftp(&recut(&script, &cuts)), sftp(&script));
    }

    #[test]
    fn any_scp_bytes_cut_anyhow_give_the_same_answer(
        name in prop_oneof!["scp-upload", "scp-download"],
        script in proptest::collection::vec((any::<Side>(), scp_bytes()), 0..12),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let whole = Following::named(&name).whole(&script);
        prop_assert_eq!(Following::named(&name).whole(&recut(&script, &cuts)), whole);
    }

    #[test]
    fn requests_survive(id: u32, path in bytes(40), other in bytes(40), offset: u64, flags: u32) {
        let two = [string(&path), string(&other)].concat();
        let handle = [string(&path), offset.to_be_bytes().to_vec()].concat();
        let messages = [
            (packet(3, id, &[string(&path), int(flags)].concat()), Ask::Open { path: &path, flags }),
            (packet(4, id, &string(&path)), Ask::Close { handle: &path }),
            (packet(5, id, &handle), Ask::Read { handle: &path, offset }),
            (packet(6, id, &[handle.clone(), string(&other)].concat()), Ask::Write { handle: &path, offset, data: &other }),
            (packet(18, id, &two), Ask::Rename { from: &path, to: &other }),
            (packet(20, id, &two), Ask::SymLink { points_at: &path, link: &other }),
            (packet(200, id, &[string(&path), other.clone()].concat()), Ask::Extended { name: &path, data: &other }),
        ];
        for (message, ask) in &messages {
            prop_assert_eq!(Request::parse(&message[4..]), Ok(Request::Numbered { id, ask: *ask }));
        }
    }

    #[test]
    fn answers_survive(id: u32, code: u32, data in bytes(40)) {
        let messages = [
            (packet(101, id, &[int(code), string(&data), string(b"en")].concat()), Reply::Status { code, message: &data }),
            (packet(102, id, &string(&data)), Reply::Handle(&data)),
            (packet(103, id, &string(&data)), Reply::Data(&data)),
        ];
        for (message, reply) in &messages {
            prop_assert_eq!(Answer::parse(&message[4..]), Ok(Answer::Numbered { id, reply: *reply }));
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Client,
    Target,
}

impl Arbitrary for Side {
    type Parameters = ();
    type Strategy = BoxedStrategy<Self>;
    fn arbitrary_with((): ()) -> Self::Strategy {
        prop_oneof![Just(Self::Client), Just(Self::Target)].boxed()
    }
}

type Script = Vec<(Side, Vec<u8>)>;

/// A stream being followed, whichever protocol; reports what was found and the error that ended it.
enum Following {
    Scp(ScpSession),
    Sftp(SftpSession),
}

impl Following {
    fn named(name: &str) -> Self {
        let scp = |way| Self::Scp(ScpSession::new(way, b"ARGUMENT".to_vec()));
        match name {
            _ if name.starts_with("scp-upload") => scp(Way::Upload),
            _ if name.starts_with("scp-download") => scp(Way::Download),
            _ => Self::Sftp(SftpSession::new()),
        }
    }

    fn whole(mut self, script: &[(Side, Vec<u8>)]) -> (Vec<Operation>, Option<String>) {
        let mut found = Vec::new();
        for (side, bytes) in script {
            if let Some(error) = self.feed(*side, bytes, &mut found) {
                return (found, Some(error));
            }
        }
        found.extend(match self {
            Self::Scp(scp) => scp.finish(),
            Self::Sftp(sftp) => sftp.finish(),
        });
        (found, None)
    }

    fn feed(&mut self, side: Side, bytes: &[u8], found: &mut Vec<Operation>) -> Option<String> {
        match (self, side) {
            (Self::Scp(scp), Side::Client) => scp.client(bytes, found).err().map(|e| e.to_string()),
            (Self::Scp(scp), Side::Target) => scp.target(bytes, found).err().map(|e| e.to_string()),
            (Self::Sftp(sftp), Side::Client) => sftp.client(bytes).err().map(|e| e.to_string()),
            (Self::Sftp(sftp), Side::Target) => sftp.target(bytes, found).err().map(|e| e.to_string()),
        }
    }
}

fn sftp(script: &[(Side, Vec<u8>)]) -> (Vec<Operation>, Option<String>) {
    Following::named("sftp").whole(script)
}

/// One line an operation, as in the corpus.
fn describe((found, error): &(Vec<Operation>, Option<String>)) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut lines = String::new();
    for o in found {
        let outcome = match &o.outcome {
            Outcome::Done => "done".to_owned(),
            Outcome::Failed(why) => format!("failed ({why})"),
            Outcome::Interrupted => "interrupted".to_owned(),
        };
        let bytes = o.bytes.map_or_else(|| "-".to_owned(), |b| b.to_string());
        let hash = o.sha256.map_or_else(|| "-".to_owned(), |h| data_encoding::HEXLOWER.encode(&h));
        let other = o.other_path.as_deref().map_or_else(|| "-".to_owned(), text);
        lines += &format!("{:?} {outcome} {bytes} {hash} {} {other}\n", o.verb, text(&o.path));
    }
    lines + &error.as_ref().map_or_else(String::new, |e| format!("error: {e}\n"))
}

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/wire")
}

fn corpus() -> Vec<(String, Script)> {
    let files = fs::read_dir(folder()).unwrap().map(|f| f.unwrap().path());
    let captures = files.filter(|path| path.extension().is_some_and(|e| e == "cap"));
    let read = |path: std::path::PathBuf| {
        let mut rest = &fs::read(&path).unwrap()[..];
        let mut script = Vec::new();
        while let [side, a, b, c, d, after @ ..] = rest {
            let length = usize::try_from(u32::from_be_bytes([*a, *b, *c, *d])).unwrap();
            script.push((if *side == b'c' { Side::Client } else { Side::Target }, after[..length].to_vec()));
            rest = &after[length..];
        }
        (path.file_stem().unwrap().to_str().unwrap().to_owned(), script)
    };
    captures.map(read).collect()
}

fn size(script: &[(Side, Vec<u8>)]) -> usize {
    script.iter().map(|(_, bytes)| bytes.len()).sum()
}

fn cut(script: &[(Side, Vec<u8>)], mut length: usize) -> Script {
    let mut short = Vec::new();
    for (side, bytes) in script {
        let take = length.min(bytes.len());
        short.push((*side, bytes[..take].to_vec()));
        length -= take;
    }
    short
}

/// The same stream in other pieces.
fn recut(script: &[(Side, Vec<u8>)], cuts: &[prop::sample::Index]) -> Script {
    let mut pieces = script.to_vec();
    for at in cuts {
        if pieces.is_empty() {
            break;
        }
        let index = at.index(pieces.len());
        let (side, bytes) = pieces[index].clone();
        let (one, two) = bytes.split_at(at.index(bytes.len() + 1));
        pieces.splice(index..=index, [(side, one.to_vec()), (side, two.to_vec())]);
    }
    pieces
}

fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..most)
}

/// Mostly well-formed messages with few ids and handles, so that they meet; sometimes anything.
fn sftp_bytes() -> impl Strategy<Value = Vec<u8>> {
    let name = prop_oneof![Just(b"a".to_vec()), Just(b"h".to_vec())];
    let kind = prop_oneof![3_u8..21, Just(101), Just(102), Just(103), Just(200)];
    let message = (kind, 0_u32..3, name, bytes(24)).prop_map(|(kind, id, name, tail)| match kind {
        101 => packet(kind, id, &int(tail.first().map_or(0, |b| u32::from(b % 3)))),
        3 => packet(kind, id, &[string(&name), int(3), int(0)].concat()),
        5 => packet(kind, id, &[string(&name), vec![0; 12]].concat()),
        6 => packet(kind, id, &[string(&name), vec![0; 8], string(&tail)].concat()),
        18 | 20 => packet(kind, id, &[string(&name), string(&tail)].concat()),
        _ => packet(kind, id, &[string(&name), tail].concat()),
    });
    prop_oneof![9 => message, 1 => bytes(24)]
}

fn scp_bytes() -> impl Strategy<Value = Vec<u8>> {
    let parts = [
        "\0",
        "C0644 5 a\n",
        "hello\0",
        "D0755 0 d\n",
        "E\n",
        "T1 0 1 0\n",
        "\u{1}no\n",
        "C0600 0 e\n",
        "\0\0",
    ];
    let part = prop::sample::select(parts.to_vec()).prop_map(|part| part.as_bytes().to_vec());
    prop_oneof![9 => part, 1 => bytes(12)]
}

fn packet(kind: u8, id: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 5).unwrap();
    [&int(length)[..], &[kind], &int(id), body].concat()
}

fn int(value: u32) -> Vec<u8> {
    value.to_be_bytes().to_vec()
}

fn string(bytes: &[u8]) -> Vec<u8> {
    [&int(u32::try_from(bytes.len()).unwrap()), bytes].concat()
}
