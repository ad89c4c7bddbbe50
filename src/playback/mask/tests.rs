//! What must not be readable in a masked copy, however it was printed.
//!
//! Each secret is cut in every place, wrapped in colours, typed with corrections; the judge is what a person would read
//! of the masked bytes, and the bytes themselves. What is no secret must come through as it was.

use bytes::Bytes;

use super::*;
use crate::recording::event::{Body, Event, FileOperation, FileVerb, Stream};

fn output(at: u64, channel: u32, data: &[u8]) -> Event {
    let data = Bytes::copy_from_slice(data);
    Event { at, channel, body: Body::Output { stream: Stream::Stdout, data } }
}

fn masked(events: Vec<Event>, more: &[&str]) -> (Vec<Event>, u64) {
    let mask = Mask::new(&more.iter().map(|&pattern| pattern.to_owned()).collect::<Vec<_>>()).unwrap();
    let mut masked = Masked::new(events.into_iter().map(Ok::<_, ()>), &mask);
    let events = masked.by_ref().map(Result::unwrap).collect();
    (events, masked.found())
}

/// What was printed, put together.
fn printed(events: &[Event]) -> String {
    let bytes = events.iter().filter_map(|event| {
        if let Body::Output { data, .. } = &event.body { Some(data.to_vec()) } else { None }
    });
    String::from_utf8_lossy(&bytes.flatten().collect::<Vec<u8>>()).into_owned()
}

/// Prints in pieces of `size` bytes.
fn in_pieces(text: &str, size: usize) -> Vec<Event> {
    (0..).zip(text.as_bytes().chunks(size)).map(|(at, piece)| output(at, 1, piece)).collect()
}

#[test]
fn secrets_of_known_forms_are_starred_out_wherever_they_are_cut() {
    let cases = [
        ("export AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE\r\n", "AKIAIOSFODNN7EXAMPLE"),
        ("Authorization: Bearer abcdef0123456789\r\n", "abcdef0123456789"),
        ("mysql --password hunter22\r\n", "hunter22"),
        ("db_password = \"hunter 22\"\r\n", "hunter 22"),
        ("DATABASE=postgres://app:hunter22@db/x\r\n", "hunter22"),
        ("pass\x1b[31mword=hun\x1b]0;title\x1b\\\x1b[0mter22\r\n", "hunter22"),
        ("pass\x1b]0;x\x07word=hunter22", "hunter22"),
        ("passworx\x08d=huntex\x08r22\r\n", "hunter22"),
        ("\x1b]0;token=hunter22\x07$ ", "hunter22"),
        ("\u{9b}31mtoken: hun\u{9b}0mter22\n", "hunter22"),
    ];
    for (text, secret) in cases {
        for size in [1, 2, 3, 7, 1000] {
            let (events, count) = masked(in_pieces(text, size), &[]);
            let printed = printed(&events);
            assert!(
                count > 0 && printed.contains('*') && printed.len() == text.len(),
                "{text:?}: {printed:?}"
            );
            assert!(!printed.contains(secret), "{text:?}: {printed:?}");
            let mut screen = crate::playback::Screen::new(80, 5);
            screen.feed(printed.as_bytes());
            let shown = screen.text().concat();
            assert!(!shown.contains("hun") && !shown.contains("r22"), "{text:?}: {shown:?}");
        }
    }
}

#[test]
fn a_private_key_is_starred_out_from_its_beginning_to_its_end() {
    let key = "a\r\n-----BEGIN OPENSSH PRIVATE KEY-----\r\nb3BlbnNzaA\r\nAAAAB3Nz\r\n\
               -----END OPENSSH PRIVATE KEY-----\r\nafter\r\n";
    for size in [1, 5, 1000] {
        let (events, _) = masked(in_pieces(key, size), &[]);
        let printed = printed(&events);
        assert!(printed.starts_with("a\r\n***") && printed.ends_with("\r\nafter\r\n"), "{printed}");
        assert!(!printed.contains("b3Blb") && !printed.contains("AAAAB") && !printed.contains("BEGIN"));
    }
}

#[test]
fn what_is_no_secret_stays_and_so_do_times_and_order() {
    let text = "[sudo] password for bob: \r\n$ cat notes\r\nthe password policy: none\x1b[0m";
    let mut events = in_pieces(text, 4);
    events.insert(3, Event { at: 2, channel: 0, body: Body::Marker { label: "look".to_owned() } });
    events.push(output(99, 2, b"other"));
    let (given, count) = masked(events.clone(), &[]);
    assert_eq!((given, count), (events, 0));
}

#[test]
fn texts_of_other_events_are_masked_and_patterns_can_be_added() {
    let command = Bytes::from_static(b"mysql --password=hunter22 db");
    let (name, value) = ("API_TOKEN".to_owned(), "hunter22".to_owned());
    let events = vec![
        Event { at: 1, channel: 1, body: Body::Exec { command } },
        Event { at: 1, channel: 1, body: Body::Environment { name, value } },
        output(2, 1, b"customer 4711-0815\n"),
    ];
    let (events, _) = masked(events, &["customer ([0-9-]+)"]);
    let all = serde_json::to_string(&events).unwrap();
    let Body::Exec { command } = &events[0].body else { panic!("{all}") };
    assert_eq!(&command[..], b"mysql --password=******** db");
    assert!(!all.contains("hunter22"), "{all}");
    assert_eq!(printed(&events), "customer *********\n");
    assert!(Mask::new(&["(".to_owned()]).is_err() && Mask::new(&["x*".to_owned()]).is_err());
}

#[test]
fn a_line_without_end_is_masked_in_pieces() {
    let text = "x".repeat(40_000) + " password=hunter22 " + &"y".repeat(40_000);
    for lead in 0..40 {
        let text = "z".repeat(lead * 400) + &text;
        let (events, _) = masked(in_pieces(&text, 1000), &[]);
        let printed = printed(&events);
        assert!(!printed.contains("hunter22") && printed.len() == text.len());
    }
}

#[test]
fn a_pattern_may_take_in_an_environments_name_and_value() {
    let environment = || Body::Environment { name: "API_TOKEN".to_owned(), value: "hunter22".to_owned() };
    for pattern in ["API_TOKEN=.*", "(?:API_TOKEN)(=.*)", "TOKEN=hun"] {
        let events = vec![Event { at: 1, channel: 1, body: environment() }];
        let (events, count) = masked(events, &[pattern]);
        let Body::Environment { name, value } = &events[0].body else { panic!("{events:?}") };
        assert!(count > 0 && name.len() == 9 && value == "********", "{pattern}: {name}={value}");
    }
}

#[test]
fn whatever_the_client_or_the_target_says_is_masked() {
    let secret = || "x --password hunter22".to_owned();
    let file = FileOperation {
        operation: FileVerb::List,
        path: secret(),
        other_path: Some(secret()),
        bytes: None,
        sha256: None,
        outcome: secret(),
    };
    let bodies = [
        Body::ChannelOpened { kind: secret() },
        Body::Terminal { columns: 80, rows: 24, term: secret(), modes: Vec::new() },
        Body::Subsystem { name: secret() },
        Body::Forward { host: secret(), port: 1, origin: secret() },
        Body::Signal { name: secret() },
        Body::ExitSignal { name: secret(), core_dumped: false, message: secret() },
        Body::File(file),
        Body::Refused { what: secret(), why: secret() },
        Body::Decision { action: secret(), allowed: true, why: secret() },
        Body::Marker { label: secret() },
    ];
    for body in bodies {
        let (events, _) = masked(vec![Event { at: 1, channel: 1, body }], &[]);
        let text = serde_json::to_string(&events).unwrap();
        assert!(text.contains("--password ********") && !text.contains("hunter22"), "{text}");
    }
}

#[test]
fn keys_typed_are_read_with_their_corrections() {
    for text in ["passworx\x7fd=huntex\x7fr22\r", "passworx\x08d=huntex\x08r22\r"] {
        let data = Bytes::copy_from_slice(text.as_bytes());
        let (events, count) = masked(vec![Event { at: 1, channel: 1, body: Body::Input { data } }], &[]);
        let Some((_, data)) = events[0].body.data() else { panic!("{events:?}") };
        assert!(count > 0 && data.ends_with(b"*\r") && !data.ends_with(b"r22\r"), "{data:?}");
    }
}

#[test]
fn a_second_key_on_the_line_that_ends_the_first_is_starred_out_too() {
    let text = "-----BEGIN PRIVATE KEY-----\nfirst\n-----END PRIVATE KEY----------BEGIN PRIVATE KEY-----\n\
                second\n-----END PRIVATE KEY-----\nafter\n";
    let printed = printed(&masked(in_pieces(text, 7), &[]).0);
    assert!(!printed.contains("second") && printed.ends_with("\nafter\n"), "{printed}");
    let once = "x -----BEGIN PRIVATE KEY-----MII-----END PRIVATE KEY-----\nafter\n";
    assert!(self::printed(&masked(in_pieces(once, 7), &[]).0).ends_with("*\nafter\n"));
}

#[test]
fn text_that_a_shell_wrapped_at_the_edge_is_joined() {
    let text = "$ mysql --user app --pass \rword hunter22 db\r\n";
    let printed = printed(&masked(in_pieces(text, 5), &[]).0);
    assert!(!printed.contains("hunter22") && printed.len() == text.len(), "{printed}");
}

#[test]
fn what_was_corrected_behind_the_edge_is_read_as_it_stands() {
    let terminal = Body::Terminal { columns: 20, rows: 5, term: "xterm".to_owned(), modes: Vec::new() };
    let mut events = vec![Event { at: 0, channel: 1, body: terminal }];
    events.extend(in_pieces("$ mysql --user a pas \rsworx\x08d=\u{4e2d}hunter22\r\n", 3));
    let printed = printed(&masked(events, &[]).0);
    assert!(printed.contains("=***********\r") && !printed.contains("hunter22"), "{printed}");
}

/// The rest of a line, long after its beginning had to be let go.
fn after_much_else(others: impl Iterator<Item = Event>) -> String {
    let events = [output(0, 1, b"password=")].into_iter().chain(others);
    let events = events.chain([output(9, 1, b"hunter22\r\n")]);
    let mask = Mask::new(&[]).unwrap();
    let masked = Masked::new(events.map(Ok::<_, ()>), &mask).map(Result::unwrap);
    printed(&masked.filter(|event| event.channel == 1).collect::<Vec<_>>())
}

#[test]
fn a_line_that_could_not_wait_is_remembered() {
    let others = (0..60_000).map(|_| output(1, 2, b"tick\r\n"));
    assert_eq!(after_much_else(others), "password=********\r\n");
}

#[test]
fn what_waits_is_bounded_in_bytes() {
    let read = std::cell::Cell::new(0_usize);
    let data = Bytes::from(vec![b'\n'; 1 << 20]);
    let body = || Body::Output { stream: Stream::Stdout, data: data.clone() };
    let others =
        (0..200).map(|_| Event { at: 1, channel: 2, body: body() }).inspect(|_| read.set(read.get() + 1));
    let events = [output(0, 1, b"password=")].into_iter().chain(others).map(Ok::<_, ()>);
    let mask = Mask::new(&[]).unwrap();
    let mut masked = Masked::new(events, &mask);
    assert!(masked.next().is_some());
    assert!((20..=40).contains(&read.get()), "{} MiB", read.get());
    let others = (0..50).map(|_| Event { at: 1, channel: 2, body: body() });
    assert_eq!(after_much_else(others), "password=********\r\n");
}
