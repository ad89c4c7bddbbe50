//! Conversations as they are on the wire, and what is made of them; whatever bytes come, an answer or an error.
//!
//! A real server's answers are compared elsewhere; here stand the ones that are hard to bring about.

use bytes::{BufMut as _, Bytes, BytesMut};
use proptest::prelude::*;

use super::client::{Bind, Message as Asked, Named};
use super::frame::{self, Frame};
use super::outcome::{Done, End, Unfollowable};
use super::server::{Message as Answer, Report, Transaction};
use super::startup::{self, Cancel, First};
use super::statements::Statements;
use super::{Malformed, client, server};

fn message(kind: u8, body: &[u8]) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u8(kind);
    bytes.put_u32(u32::try_from(body.len() + 4).unwrap());
    bytes.put_slice(body);
    bytes.freeze()
}

fn frame(kind: u8, body: &[u8]) -> Frame {
    Frame { kind, bytes: message(kind, body) }
}

fn b(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn report(code: &str) -> Report {
    Report { severity: b("ERROR"), code: b(code), message: b("no") }
}

/// A conversation, and what has become of what was asked.
#[derive(Default)]
struct Talk {
    statements: Statements,
    done: Vec<Done>,
}

impl Talk {
    fn ask(&mut self, message: &Asked) -> Option<u64> {
        self.statements.ask(message, &mut self.done).unwrap()
    }

    fn parse(&mut self, name: &str, text: &str) -> u64 {
        self.ask(&Asked::Parse { name: b(name), text: b(text), types: Vec::new() }).unwrap()
    }

    fn bind(&mut self, statement: &str, values: &[&str]) -> u64 {
        let values = values.iter().map(|value| Some(b(value))).collect();
        let (portal, statement) = (b(""), b(statement));
        let bind = Bind { portal, statement, formats: Vec::new(), values, results: Vec::new() };
        self.ask(&Asked::Bind(bind)).unwrap()
    }

    fn execute(&mut self) -> u64 {
        self.ask(&Asked::Execute { portal: b(""), most: 0 }).unwrap()
    }

    fn query(&mut self, text: &str) -> u64 {
        self.ask(&Asked::Query { text: b(text) }).unwrap()
    }

    fn answer(&mut self, answer: &Answer) {
        self.statements.answer(answer, &mut self.done).unwrap();
    }

    fn complete(&mut self, tag: &str) {
        self.answer(&Answer::CommandComplete { tag: b(tag) });
    }

    fn ready(&mut self) {
        self.answer(&Answer::Ready { transaction: Transaction::None });
    }

    /// Number, text, tags and end of everything that is over, once.
    fn over(&mut self) -> Vec<(u64, String, String, End)> {
        let one = |done: Done| {
            let text = done.ran.and_then(|ran| ran.text).unwrap_or_default();
            let tags: Vec<String> =
                done.tags.iter().map(|tag| String::from_utf8_lossy(tag).into_owned()).collect();
            (done.number, String::from_utf8_lossy(&text).into_owned(), tags.join(","), done.end)
        };
        self.done.drain(..).map(one).collect()
    }
}

fn over(number: u64, text: &str, tags: &str, end: End) -> (u64, String, String, End) {
    (number, text.to_owned(), tags.to_owned(), end)
}

#[test]
fn first_packets_are_told_apart() {
    let packet = |code: u32, rest: &[u8]| Bytes::from([&code.to_be_bytes(), rest].concat());
    assert_eq!(startup::parse(packet(80_877_103, b"")), Ok(First::Tls));
    assert_eq!(startup::parse(packet(80_877_104, b"")), Ok(First::Gss));
    let cancel = startup::parse(packet(80_877_102, &[0, 0, 0, 9, 1, 2, 3, 4]));
    assert_eq!(cancel, Ok(First::Cancel(Cancel { process: 9, key: Bytes::from_static(&[1, 2, 3, 4]) })));
    let Ok(First::Start(start)) =
        startup::parse(packet(0x3_0002, b"user\0readonly@orders\0database\0shop\0\0"))
    else {
        panic!("a start");
    };
    assert_eq!((start.minor, start.get("user"), start.get("x")), (2, Some("readonly@orders"), None));
    for (code, rest) in [
        (80_877_103, &b"x"[..]),
        (80_877_102, b"\0\0\0\x09\x01\x02\x03"),
        (0x2_0000, b"\0"),
        (0x3_0000, b"user\0a\0user\0b\0\0"),
        (0x3_0000, b"user\0a\0\0more"),
        (0x3_0000, b"user\0a"),
        (0x3_0000, b"user\0\xff\0\0"),
    ] {
        assert!(matches!(startup::parse(packet(code, rest)), Err(Malformed::Startup(_))), "{code} {rest:?}");
    }
    assert!(startup::length([0, 0, 0, 7]).is_err() && startup::length([0, 0, 0x27, 0x11]).is_err());
}

#[test]
fn messages_are_read_to_their_last_byte() {
    let read = |kind, body: &[u8]| client::Message::parse(&frame(kind, body));
    assert_eq!(read(b'Q', b"select 1\0"), Ok(Asked::Query { text: b("select 1") }));
    assert_eq!(read(b'D', b"Sone\0"), Ok(Asked::Describe { what: Named::Statement(b("one")) }));
    let bind = read(b'B', b"\0one\0\0\x01\0\x01\0\x02\0\0\0\x01x\xff\xff\xff\xff\0\0");
    let Ok(Asked::Bind(bind)) = bind else { panic!("{bind:?}") };
    assert_eq!((bind.formats, bind.values), (vec![1], vec![Some(b("x")), None]));
    // The server stops at the zero byte; what stands behind it is not hidden from the record, it is refused.
    for (kind, body) in [
        (b'Q', &b"select 1\0drop table t\0"[..]),
        (b'Q', b"select 1"),
        (b'D', b"Xone\0"),
        (b'B', b"\0one\0\0\x03\0\x01\0\x01\0\x01\0\x01\0\0\0\x01x\0\0"),
        (b'B', b"\0one\0\0\0\xff\xff"),
        (b'P', b"one\0text\0\0\x01"),
        (b'S', b"x"),
        (b'p', b"password\0"),
    ] {
        assert!(read(kind, body).is_err(), "{} {body:?}", char::from(kind));
    }
    let read = |kind, body: &[u8]| server::Message::parse(&frame(kind, body));
    let error = read(b'E', b"SFEHLER\0VERROR\0C42P01\0Mno such table\0\0");
    let Ok(Answer::Error(error)) = error else { panic!("{error:?}") };
    assert_eq!((error.code.as_ref(), error.is_fatal()), (&b"42P01"[..], false));
    assert_eq!(read(b'D', b"\0\x02\0\0\0\x01x\xff\xff\xff\xff"), Ok(Answer::DataRow { bytes: 9 }));
    for (kind, body) in [(b'Z', &b"X"[..]), (b'D', b"\0\x02\0\0\0\x01x"), (b'R', b"\0\0\0\0"), (b'Z', b"II")]
    {
        assert!(read(kind, body).is_err(), "{} {body:?}", char::from(kind));
    }
}

#[test]
fn simple_queries_end_with_everything_in_them() {
    let mut talk = Talk::default();
    talk.query("insert into t values (1); select 2");
    talk.complete("INSERT 0 1");
    talk.answer(&Answer::RowDescription { columns: vec![b("?column?")] });
    talk.answer(&Answer::DataRow { bytes: 5 });
    talk.complete("SELECT 1");
    assert!(talk.over().is_empty());
    talk.ready();
    assert_eq!((talk.done[0].rows, talk.done[0].bytes_out), (1, 5));
    let text = "insert into t values (1); select 2";
    assert_eq!(talk.over(), [over(1, text, "INSERT 0 1,SELECT 1", End::Complete)]);
    talk.query("select 1; select broken; select 3");
    talk.complete("SELECT 1");
    talk.answer(&Answer::Error(report("42703")));
    talk.ready();
    let text = "select 1; select broken; select 3";
    assert_eq!(talk.over(), [over(2, text, "SELECT 1", End::Failed(report("42703")))]);
    talk.query("");
    talk.answer(&Answer::EmptyQuery);
    talk.ready();
    assert_eq!(talk.over(), [over(3, "", "", End::Empty)]);
}

#[test]
fn an_error_skips_to_the_next_sync_also_what_is_sent_later() {
    let mut talk = Talk::default();
    talk.parse("one", "select $1");
    talk.bind("one", &["a"]);
    talk.execute();
    talk.ask(&Asked::Sync);
    talk.bind("one", &["b"]);
    talk.execute();
    talk.query("select 'not run'");
    talk.answer(&Answer::ParseComplete);
    talk.answer(&Answer::BindComplete);
    talk.complete("SELECT 1");
    talk.ready();
    assert_eq!(talk.over(), [over(3, "select $1", "SELECT 1", End::Complete)]);
    talk.answer(&Answer::Error(report("22P02")));
    // Sent before the client could know, and still before its Sync.
    let late = talk.execute();
    talk.ask(&Asked::Sync);
    let fresh = talk.query("select 5");
    talk.ready();
    talk.complete("SELECT 1");
    talk.ready();
    assert_eq!(
        talk.over(),
        [
            over(4, "select $1", "", End::Failed(report("22P02"))),
            over(5, "", "", End::Skipped),
            over(6, "", "", End::Skipped),
            over(late, "", "", End::Skipped),
            over(fresh, "select 5", "SELECT 1", End::Complete),
        ]
    );
}

/// What a name means is what the server says it does: a Parse that fails leaves the older one in place.
#[test]
fn a_name_means_what_it_means_to_the_server() {
    let mut talk = Talk::default();
    talk.parse("one", "select 'harmless'");
    talk.answer(&Answer::ParseComplete);
    talk.parse("one", "delete from everything");
    talk.ask(&Asked::Sync);
    talk.bind("one", &[]);
    talk.execute();
    talk.ask(&Asked::Sync);
    talk.answer(&Answer::Error(report("42P05")));
    talk.ready();
    talk.answer(&Answer::BindComplete);
    talk.complete("SELECT 1");
    talk.ready();
    let ran = talk.over().pop().unwrap();
    assert_eq!(ran.1, "select 'harmless'");
    // Taken away by SQL, the name may mean anything: no text is given then.
    for (text, tag, is_known) in [
        ("DEALLOCATE other", "DEALLOCATE", true),
        ("deallocate /* */ one", "DEALLOCATE", false),
        ("DEALLOCATE ALL", "DEALLOCATE ALL", false),
        ("DEALLOCATE PREPARE \"one\" ;", "DEALLOCATE", false),
        ("DISCARD ALL", "DISCARD ALL", false),
    ] {
        talk.parse("one", "select 1");
        talk.answer(&Answer::ParseComplete);
        talk.query(text);
        talk.complete(tag);
        talk.ready();
        talk.bind("one", &[]);
        let number = talk.execute();
        talk.answer(&Answer::BindComplete);
        talk.complete("SELECT 1");
        let wanted = if is_known { "select 1" } else { "" };
        assert_eq!(talk.over().pop(), Some(over(number, wanted, "SELECT 1", End::Complete)), "{text}");
        talk.ask(&Asked::Sync);
        talk.ready();
    }
}

#[test]
fn portals_go_on_where_they_were_suspended_until_the_transaction_ends() {
    let mut talk = Talk::default();
    talk.parse("", "select generate_series(1, 9)");
    talk.bind("", &[]);
    let (first, second) = (talk.execute(), talk.execute());
    talk.answer(&Answer::ParseComplete);
    talk.answer(&Answer::BindComplete);
    talk.answer(&Answer::DataRow { bytes: 5 });
    talk.answer(&Answer::PortalSuspended);
    talk.complete("SELECT 8");
    talk.ask(&Asked::Sync);
    talk.answer(&Answer::Ready { transaction: Transaction::Open });
    let text = "select generate_series(1, 9)";
    assert_eq!(
        talk.over(),
        [over(first, text, "", End::Suspended), over(second, text, "SELECT 8", End::Complete)]
    );
    talk.query("commit");
    talk.complete("COMMIT");
    talk.ready();
    talk.over();
    let third = talk.execute();
    talk.answer(&Answer::Error(report("34000")));
    assert_eq!(talk.over(), [over(third, "", "", End::Failed(report("34000")))]);
}

#[test]
fn what_is_copied_in_belongs_to_its_statement_and_sync_in_between_is_none() {
    let mut talk = Talk::default();
    // As libpq does it: the Sync comes right behind Execute, and another behind the data.
    talk.parse("", "copy t from stdin");
    talk.bind("", &[]);
    let copy = talk.execute();
    talk.ask(&Asked::Sync);
    talk.answer(&Answer::ParseComplete);
    talk.answer(&Answer::BindComplete);
    talk.answer(&Answer::CopyIn);
    talk.ask(&Asked::CopyData(b("1\n2\n")));
    talk.ask(&Asked::CopyData(b("3\n")));
    let refused = talk.statements.ask(&Asked::Query { text: b("select 1") }, &mut Vec::new());
    assert_eq!(refused, Err(Unfollowable::InCopy));
    talk.ask(&Asked::CopyDone);
    talk.ask(&Asked::Sync);
    let after = talk.query("select 1");
    talk.complete("COPY 3");
    talk.ready();
    assert_eq!(talk.done[0].bytes_in, 6);
    assert_eq!(talk.over(), [over(copy, "copy t from stdin", "COPY 3", End::Complete)]);
    talk.complete("SELECT 1");
    talk.ready();
    assert_eq!(talk.over(), [over(after, "select 1", "SELECT 1", End::Complete)]);
    assert_eq!(talk.statements.held(), 0);
}

#[test]
fn an_error_while_data_comes_in_leaves_the_rest_of_it_to_nobody() {
    let mut talk = Talk::default();
    // A query: the server is ready at once, and passes over what is still on its way.
    let copy = talk.query("copy t from stdin");
    talk.answer(&Answer::CopyIn);
    talk.ask(&Asked::CopyData(b("x\n")));
    talk.answer(&Answer::Error(report("22P02")));
    talk.ask(&Asked::CopyData(b("y\n")));
    talk.ask(&Asked::CopyDone);
    talk.ready();
    let after = talk.query("select 1");
    talk.complete("SELECT 1");
    talk.ready();
    assert_eq!(
        talk.over(),
        [
            over(copy, "copy t from stdin", "", End::Failed(report("22P02"))),
            over(after, "select 1", "SELECT 1", End::Complete),
        ]
    );
    // A batch: up to the Sync behind the data.
    talk.parse("", "copy t from stdin");
    talk.bind("", &[]);
    talk.execute();
    talk.ask(&Asked::Sync);
    talk.answer(&Answer::ParseComplete);
    talk.answer(&Answer::BindComplete);
    talk.answer(&Answer::CopyIn);
    talk.ask(&Asked::CopyData(b("x\n")));
    talk.answer(&Answer::Error(report("22P02")));
    talk.ask(&Asked::CopyFail { why: b("error") });
    talk.ask(&Asked::Sync);
    talk.ready();
    talk.over();
    let after = talk.query("select 1");
    talk.complete("SELECT 1");
    talk.ready();
    assert_eq!(talk.over(), [over(after, "select 1", "SELECT 1", End::Complete)]);
}

#[test]
fn a_commit_that_fails_says_so_of_what_had_completed() {
    let mut talk = Talk::default();
    talk.parse("", "insert into deferred values (1)");
    talk.bind("", &[]);
    let insert = talk.execute();
    talk.ask(&Asked::Sync);
    talk.answer(&Answer::ParseComplete);
    talk.answer(&Answer::BindComplete);
    talk.complete("INSERT 0 1");
    talk.answer(&Answer::Error(report("23503")));
    talk.ready();
    assert_eq!(
        talk.over(),
        [
            over(insert, "insert into deferred values (1)", "INSERT 0 1", End::Complete),
            over(insert, "", "", End::FailedAtCommit(report("23503"))),
        ]
    );
}

#[test]
fn what_nobody_asked_for_is_an_error_and_what_has_no_answer_is_cut() {
    for answer in [
        Answer::ParseComplete,
        Answer::CommandComplete { tag: b("SELECT 1") },
        Answer::CopyIn,
        Answer::DataRow { bytes: 0 },
        Answer::Ready { transaction: Transaction::None },
        Answer::CopyBoth,
    ] {
        let unfollowable = Statements::new().answer(&answer, &mut Vec::new());
        assert!(unfollowable.is_err(), "{answer:?}");
    }
    let mut talk = Talk::default();
    talk.query("select pg_sleep(9)");
    talk.parse("", "select 1");
    talk.answer(&Answer::Notice(Report::default()));
    let Talk { mut statements, mut done } = talk;
    statements.finish(&mut done);
    assert_eq!(done.len(), 2);
    assert!(done.iter().all(|one| one.end == End::Cut));
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    // Kinds and lengths that exist are met often enough to get behind them.
    let message = (
        prop::sample::select(b"BCDEFHPQSXcdfZ12tTnIs3AGV".to_vec()),
        prop::collection::vec(any::<u8>(), 0..24),
    )
        .prop_map(|(kind, body)| message(kind, &body).to_vec());
    prop::collection::vec(prop_oneof![4 => message, 1 => prop::collection::vec(any::<u8>(), 0..9)], 0..12)
        .prop_map(|all| all.concat())
}

proptest! {
    #[test]
    fn any_bytes_are_messages_or_an_error(bytes in bytes()) {
        let (mut rest, mut statements, mut done) = (BytesMut::from(bytes.as_slice()), Statements::new(), Vec::new());
        while let Ok(Some(frame)) = frame::next(&mut rest) {
            if let Ok(asked) = client::Message::parse(&frame) {
                statements.ask(&asked, &mut done).ok();
            }
            if let Ok(answer) = server::Message::parse(&frame) {
                statements.answer(&answer, &mut done).ok();
            }
        }
        statements.finish(&mut done);
        prop_assert_eq!(statements.held(), 0);
    }

    #[test]
    fn a_stream_gives_the_same_messages_however_it_is_cut(bytes in bytes(), cut in 1_usize..40) {
        let whole = frames(std::iter::once(bytes.as_slice()));
        prop_assert_eq!(whole, frames(bytes.chunks(cut)));
    }

    #[test]
    fn any_first_packet_is_one_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        startup::parse(Bytes::from(bytes)).ok();
    }
}

fn frames<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Frame>, Option<Malformed>) {
    let (mut rest, mut found) = (BytesMut::new(), Vec::new());
    for piece in pieces {
        rest.extend_from_slice(piece);
        loop {
            match frame::next(&mut rest) {
                Ok(Some(frame)) => found.push(frame),
                Ok(None) => break,
                Err(wrong) => return (found, Some(wrong)),
            }
        }
    }
    (found, None)
}
