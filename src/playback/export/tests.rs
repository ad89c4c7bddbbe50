//! What other programs would read in our exports; `asciicast`'s own types are the judge of version 2.
//!
//! Hostile bytes and characters cut in two by an event's border are what these formats break on, so that is what is
//! fed here. Whether `asciinema` itself accepts the files is tested with the real program.

use bytes::Bytes;
use serde_json::Value;

use super::*;
use crate::playback::Mask;
use crate::recording::event::{Body, Event, Stream};

type Read = Result<Event, std::convert::Infallible>;

fn event(at: u64, body: Body) -> Read {
    Ok(Event { at, channel: 1, body })
}

fn output(at: u64, data: &'static [u8]) -> Read {
    event(at, Body::Output { stream: Stream::Stdout, data: Bytes::from_static(data) })
}

fn terminal(columns: u32, rows: u32) -> Read {
    event(0, Body::Terminal { columns, rows, term: "xterm\u{1b}".to_owned(), modes: Vec::new() })
}

fn settings(format: Format) -> Settings {
    Settings { format, channel: None, input: false, unsanitised: false, is_masked: false }
}

fn run(events: Vec<Read>, settings: Settings) -> String {
    let mut written = Vec::new();
    export(events, settings, None, &mut written).unwrap();
    String::from_utf8(written).unwrap()
}

fn session() -> Vec<Read> {
    vec![
        terminal(100, 30),
        output(1_500_000, b"caf\xc3"),
        event(1_600_000, Body::Input { data: Bytes::from_static(b"hunter2\r") }),
        output(2_000_000, b"\xa9\r\n\x1b]52;c;AAAA\x07\xff"),
        event(2_500_600, Body::Resize { columns: 1 << 31, rows: 0 }),
        Ok(Event { at: 3_000_000, channel: 0, body: Body::Marker { label: "look\n\u{202e}".to_owned() } }),
        Ok(Event { at: 3_100_000, channel: 2, body: Body::Exit { status: 9 } }),
        event(3_200_000, Body::Exit { status: 3 }),
    ]
}

#[test]
fn version_two_is_what_the_format_says() {
    let text = run(session(), settings(Format::Asciicast));
    let mut lines = text.lines();
    let header: ::asciicast::Header = serde_json::from_str(lines.next().unwrap()).unwrap();
    assert_eq!((header.version, header.width, header.height), (2, 100, 30));
    assert_eq!(header.env.unwrap()["TERM"], "xterm\\u{1b}");
    assert!(header.title.unwrap().ends_with("(exported copy, not evidence)"));
    let rest: Vec<&str> = lines.collect();
    assert_eq!(
        rest,
        [
            r#"[1.5,"o","caf"]"#,
            "[2.0,\"o\",\"é\\r\\n\u{fffd}\"]",
            r#"[2.5006,"r","1000x1"]"#,
            r#"[3.0,"m","look\\n\\u{202e}"]"#,
        ]
    );
    let entry: ::asciicast::Entry = serde_json::from_str(rest[1]).unwrap();
    assert_eq!(entry.event_data, "é\r\n\u{fffd}");
}

#[test]
fn version_three_counts_from_event_to_event_and_has_exits() {
    let text = run(session(), settings(Format::AsciicastV3));
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[0]["version"], &lines[0]["term"]["cols"]), (&Value::from(3), &Value::from(100)));
    let times: Vec<f64> = lines[1..].iter().map(|line| line[0].as_f64().unwrap()).collect();
    assert_eq!(times, [1.5, 0.5, 0.5, 0.5, 0.2]);
    assert_eq!(lines.last().unwrap()[2], "3");
    assert_eq!(lines.last().unwrap()[1], "x");
}

#[test]
fn version_three_rounding_does_not_add_up() {
    let ticks: Vec<Read> = (1..=3000).map(|n| output(n * 1_000_700 / 1000, b"x")).collect();
    let text = run(ticks, settings(Format::AsciicastV3));
    let sum: f64 = text
        .lines()
        .skip(1)
        .map(|line| serde_json::from_str::<Value>(line).unwrap()[0].as_f64().unwrap())
        .sum();
    assert!((sum - 3.002_1).abs() < 0.002, "{sum}");
}

#[test]
fn input_is_there_only_when_asked_for() {
    for format in [Format::Asciicast, Format::AsciicastV3, Format::JsonLines] {
        assert!(!run(session(), settings(format)).contains("hunter2"));
        let with = run(session(), Settings { input: true, ..settings(format) });
        assert!(with.contains("hunter2") || with.contains("aHVudGVyMg0="), "{with}");
    }
    assert_eq!(run(session(), Settings { input: true, ..settings(Format::Raw) }), "hunter2\r");
}

#[test]
fn output_without_a_terminal_gets_returns_and_only_one() {
    let text = run(vec![output(0, b"a\nb\r"), output(1, b"\nc")], settings(Format::Asciicast));
    assert!(text.contains(r#""a\r\nb\r""#) && text.contains(r#""\nc""#), "{text}");
}

#[test]
fn raw_is_exact_and_unsanitised_is_on_request() {
    let mut written = Vec::new();
    export(session(), settings(Format::Raw), None, &mut written).unwrap();
    assert_eq!(written, b"caf\xc3\xa9\r\n\x1b]52;c;AAAA\x07\xff");
    let text = run(session(), Settings { unsanitised: true, ..settings(Format::Asciicast) });
    assert!(text.contains("\\u001b]52;c;AAAA"), "{text}");
}

#[test]
fn json_lines_are_the_events() {
    let text = run(session(), Settings { input: true, ..settings(Format::JsonLines) });
    let read: Vec<Event> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let given: Vec<Event> = session().into_iter().map(Result::unwrap).collect();
    assert_eq!(read, given);
}

#[test]
fn a_broken_recording_and_an_empty_one_are_errors() {
    let broken: Vec<Result<Event, std::io::Error>> = vec![Err(std::io::Error::other("cut"))];
    let result = export(broken, settings(Format::Raw), None, &mut Vec::new());
    assert!(matches!(result, Err(ExportError::Recording(_))));
    let result =
        export(session(), Settings { channel: Some(9), ..settings(Format::Raw) }, None, &mut Vec::new());
    assert!(matches!(result, Err(ExportError::NoSuchChannel(9))));
    let result = export(Vec::<Read>::new(), settings(Format::Asciicast), None, &mut Vec::new());
    assert!(matches!(result, Err(ExportError::NothingPrinted)));
}

#[test]
fn a_transcript_reads_as_a_log_and_acts_on_nothing() {
    let mut events = session();
    events.insert(1, event(1, Body::Shell));
    events.push(output(3_661_500_000, b"tail"));
    let text = run(events.clone(), settings(Format::Text));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines,
        [
            "0:00:00.000  1  shell      shell",
            "0:00:02.000  1  command    café",
            "0:00:03.000  0  marker     look\\n\\u{202e}",
            "0:00:03.100  2  exit       status 9",
            "0:00:03.200  1  exit       status 3",
            "1:01:01.500  1  output     \u{fffd}tail",
        ]
    );
    let with = run(events, Settings { input: true, ..settings(Format::Text) });
    assert!(with.contains("0:00:01.600  1  typed      hunter2"), "{with}");
}

#[test]
fn a_transcript_has_wrapped_and_long_lines_whole() {
    let long: &'static str = String::leak((0..4000).map(|n| format!("{n} ")).collect::<String>());
    let events = vec![
        terminal(20, 5),
        event(1, Body::Input { data: Bytes::from_static(b"x\r") }),
        output(2, b"$ mysql --user app - \r-pass hidden1234 db\r\n"),
        output(3, long.as_bytes()),
        output(4, b"\r\n"),
    ];
    let mask = Mask::new(&[]).unwrap();
    let mut written = Vec::new();
    export(events, settings(Format::Text), Some(&mask), &mut written).unwrap();
    let text = String::from_utf8(written).unwrap();
    let lines: Vec<&str> = text.lines().filter_map(|line| line.splitn(3, "  ").nth(2)).collect();
    assert_eq!(lines[0], "command    $ mysql --user app --pass ********** db", "{text}");
    let rest: String = lines[1..].iter().map(|line| line.strip_prefix("output     ").unwrap()).collect();
    assert_eq!(rest, long.trim_end());
}

#[test]
fn what_is_not_exported_counts_no_secrets() {
    let secret = |channel| {
        let data = Bytes::from_static(b"password=hunter22\r\n");
        Ok::<_, std::convert::Infallible>(Event {
            at: 1,
            channel,
            body: Body::Output { stream: Stream::Stdout, data },
        })
    };
    let only = Settings { channel: Some(1), ..settings(Format::JsonLines) };
    let keys = event(1, Body::Input { data: Bytes::from_static(b"password=hunter22\r") });
    let events = vec![secret(1), keys, secret(2)];
    let exported = export(events, only, Some(&Mask::new(&[]).unwrap()), &mut Vec::new()).unwrap();
    assert_eq!((exported.events, exported.masked), (1, 1));
}

#[test]
fn a_masked_copy_says_so_in_every_format() {
    let events = || vec![terminal(80, 24), output(1, b"token=hunt"), output(2, b"er22\r\n")];
    let mask = Mask::new(&[]).unwrap();
    for format in [Format::Asciicast, Format::AsciicastV3, Format::JsonLines, Format::Text] {
        let mut written = Vec::new();
        let exported = export(events(), settings(format), Some(&mask), &mut written).unwrap();
        let text = String::from_utf8(written).unwrap();
        assert_eq!(exported.masked, 1, "{text}");
        assert!(!text.contains("hunt") && !text.contains("aHVudA"), "{text}");
        assert!(format == Format::Text || text.contains("secrets masked"), "{text}");
    }
}
