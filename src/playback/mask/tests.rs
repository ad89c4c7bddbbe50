//! What must not be readable in a masked copy, however it was printed.
//!
//! Each secret is cut in every place, wrapped in colours, typed with corrections; the judge is what a person would read
//! of the masked bytes, and the bytes themselves. What is no secret must come through as it was.

use bytes::Bytes;

use super::*;
use crate::recording::event::{Body, Event, Stream};

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
