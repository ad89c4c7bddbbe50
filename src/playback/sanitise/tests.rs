//! The hostile corpus, and properties that hold for any bytes.
//!
//! The judge here is a second, much simpler reading of the output: [`is_safe`] knows only what may appear and nothing of
//! how the filter works. When a property fails, the filter is wrong, not the judge.

use proptest::prelude::*;

use super::*;
use crate::model::is_invisible;

/// What a target could send to a reviewer, and nothing of which may arrive.
const ATTACKS: &[&[u8]] = &[
    b"\x1b]0;title\x07",
    b"\x1b]2;title\x1b\\",
    b"\x1b]4;1;?\x07",
    b"\x1b]7;file:///etc\x07",
    b"\x1b]8;;javascript:alert(1)\x07",
    b"\x1b]10;?\x07",
    b"\x1b]52;c;cm0gLXJmIC8K\x07",
    b"\x1b]133;A\x07",
    b"\x1b]777;notify;a;b\x07",
    b"\x1b]1337;File=inline=1:AAAA\x07",
    b"\x1b]9;4;1;50\x1b\\",
    b"\x1bP$q\"p\x1b\\",
    b"\x1bP+q544e\x1b\\",
    b"\x1bPq#0;2;0;0;0#0~~@@vv\x1b\\",
    b"\x1b_Gi=31,s=1,v=1,a=q;AAAA\x1b\\",
    b"\x1b^private\x1b\\",
    b"\x1bXstring\x1b\\",
    b"\x1bZ",
    b"\x1b[c",
    b"\x1b[0c",
    b"\x1b[>c",
    b"\x1b[=c",
    b"\x1b[5n",
    b"\x1b[6n",
    b"\x1b[?6n",
    b"\x1b[?15n",
    b"\x1b[?1$p",
    b"\x1b[4$p",
    b"\x1b[21t",
    b"\x1b[14t",
    b"\x1b[8;9999;9999t",
    b"\x1b[3;0;0t",
    b"\x1b[22;0t",
    b"\x1b[x",
    b"\x1b[?u",
    b"\x1b[>1u",
    b"\x1b[>q",
    b"\x1b[>4;2m",
    b"\x1b[5i",
    b"\x1b[?5i",
    b"\x1b[1;2'z",
    b"\x1b[1;1;1;1*y",
    b"\x1b[?1000h",
    b"\x1b[?1003;1006h",
    b"\x1b[?2004h",
    b"\x1b[?1004h",
    b"\x1b[?1h",
    b"\x1b[?3h",
    b"\x1b[?5h",
    b"\x1b[?69h",
    b"\x1b[20h",
    b"\x1b[2h",
    b"\x1b[3J",
    b"\x1b[1000000000b",
    b"\x1b[257b",
    b"\x1b[1;2;3;4;5T",
    b"\x1b[2 q",
    b"\x1b[61;1\"p",
    b"\x1b=",
    b"\x1b>",
    b"\x1b#8",
    b"\x1b%G",
    b"\x1b(A",
    b"\x1bn",
    b"\x1bl",
    b"\x1b F",
    b"\x07\x00\x05\x11\x13\x7f",
    b"\xc2\x9d0;title\x07",
    b"\xc2\x9b6n",
    b"\xc2\x90$qm\xc2\x9c",
];

fn clean(bytes: &[u8]) -> String {
    let mut sanitiser = Sanitiser::new();
    let mut safe = sanitiser.feed(bytes);
    safe.push_str(&sanitiser.finish());
    safe
}

/// A second opinion: walks over safe text and says what should not be there.
fn is_safe(text: &str) -> Result<(), String> {
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let wrong = || Err(format!("at {:?}", rest.chars().take(24).collect::<String>()));
        if c != '\x1b' {
            if (c.is_control() && !"\r\n\t\x08".contains(c)) || is_invisible(c) {
                return wrong();
            }
            rest = rest.split_at(c.len_utf8()).1;
            continue;
        }
        let body = rest.split_at(1).1;
        if body.starts_with(['7', '8', 'D', 'E', 'M']) {
            rest = body.split_at(1).1;
            continue;
        }
        let Some(body) = body.strip_prefix('[') else { return wrong() };
        let end = body.find(|c: char| c.is_ascii_alphabetic() || "@`".contains(c));
        let Some(end) = end else { return wrong() };
        let (parameters, last) = body.split_at(end);
        let (last, after) = last.split_at(1);
        let numbers =
            || parameters.trim_start_matches(['?', '!']).split([';', ':']).filter(|n| !n.is_empty());
        let fits = numbers().all(|n| n.parse::<u16>().is_ok_and(|n| n <= 1049));
        let plain = parameters.chars().all(|c| c.is_ascii_digit() || c == ';');
        let is_known = match last {
            "m" => parameters.chars().all(|c| c.is_ascii_digit() || ";:".contains(c)),
            "h" | "l" if parameters == "4" => true,
            "h" | "l" if parameters.starts_with('?') => are_modes(&numbers().collect::<Vec<_>>()),
            "p" => parameters == "!",
            "J" | "K" => ["", "0", "1", "2"].contains(&parameters),
            "s" | "u" => parameters.is_empty(),
            "b" => plain && numbers().all(|n| n.parse::<u16>().unwrap() <= 256),
            "T" => plain && !parameters.contains(';'),
            _ => plain && "@ABCDEFGHILMPSXZ`adefr".contains(last),
        };
        if !fits || !is_known {
            return wrong();
        }
        rest = after;
    }
    Ok(())
}

fn are_modes(modes: &[&str]) -> bool {
    !modes.is_empty()
        && modes.iter().all(|mode| ["6", "7", "25", "47", "1047", "1048", "1049"].contains(mode))
}

#[test]
fn no_attack_arrives_and_the_text_around_it_does() {
    for attack in ATTACKS {
        let around = [b"before", *attack, b"after"].concat();
        assert_eq!(clean(&around), "beforeafter", "{:?}", String::from_utf8_lossy(attack));
        let mut sanitiser = Sanitiser::new();
        assert_eq!(sanitiser.feed(attack), "");
        assert!(sanitiser.dropped() > 0 || attack.starts_with(b"\x1b(A"), "{attack:?}");
    }
}

#[test]
fn what_programs_need_arrives() {
    for (given, expected) in [
        ("plain täxt 漢字 😀", "plain täxt 漢字 😀"),
        ("\x1b[1;31mred\x1b[m", "\x1b[1;31mred\x1b[m"),
        ("\x1b[38;2;1;2;3;4:3mx", "\x1b[38;2;1;2;3;4:3mx"),
        ("\x1b[2J\x1b[H\x1b[K", "\x1b[2J\x1b[H\x1b[K"),
        ("\x1b[?1049h\x1b[3;20r\x1b[20;1H", "\x1b[?1049h\x1b[3;20r\x1b[20;1H"),
        ("\x1b[?1;25;2004h", "\x1b[?25h"),
        ("\x1b[99999;99999H", "\x1b[1000;1000H"),
        ("\x1b[;5H", "\x1b[;5H"),
        ("a\x1b[80b", "a\x1b[80b"),
        ("\x1b(0lqk\x1b(Blqk", "┌─┐lqk"),
        ("\x1b)0\x0ex\x0fx", "│x"),
        ("\x1b7\x1b8\x1bM\x1bD\x1bE", "\x1b7\x1b8\x1bM\x1bD\x1bE"),
        ("\x1b[3\r1m", "\r\x1b[31m"),
        ("\x1b[3\x18x", "x"),
        ("\x1b]0;cut\x1b[31mred", "\x1b[31mred"),
    ] {
        assert_eq!(clean(given.as_bytes()), expected, "{given:?}");
    }
    assert!(is_safe(&clean(b"\x1bc")).is_ok());
}

#[test]
fn what_deceives_the_eye_is_seen() {
    assert_eq!(clean("a\u{202e}b\u{200b}c\u{feff}".as_bytes()), "a\u{fffd}b\u{fffd}c\u{fffd}");
    assert_eq!(clean(b"raw c1 \x9b6n \x9d"), "raw c1 \u{fffd}6n \u{fffd}");
    let zalgo = format!("z{}y", "\u{301}".repeat(100));
    assert_eq!(clean(zalgo.as_bytes()), "z\u{301}\u{301}\u{301}\u{301}y");
}

#[test]
fn a_line_is_escaped() {
    assert_eq!(escape_text("plain täxt"), "plain täxt");
    assert_eq!(escape_text("a\nb\r\t\x1b[31m\u{9b}"), "a\\nb\\r\\t\\u{1b}[31m\\u{9b}");
    assert_eq!(escape_text("x\u{202e}\u{200d}\u{e0041}"), "x\\u{202e}\\u{200d}\\u{e0041}");
}

#[test]
fn a_string_that_never_ends_hides_at_most_a_part_and_costs_no_memory() {
    for start in ["\x1b]52;c;", "\x1bP", "\x1b_", "\x1b^", "\x1bX", "\x1b[", "\x1b "] {
        let mut sanitiser = Sanitiser::new();
        assert_eq!(sanitiser.feed(start.as_bytes()), "");
        let megabyte = vec![b' '; 1 << 20];
        let shown: usize = (0..16).map(|_| sanitiser.feed(&megabyte).len()).sum();
        assert!((15 << 20..16 << 20).contains(&shown), "{start:?}: {shown}");
    }
}

#[test]
fn text_cannot_be_hidden_in_a_string() {
    assert_eq!(clean(b"\x1b]0;never ended\nrm -rf /\n"), "\nrm -rf /\n");
    let long = "x".repeat(1000);
    for (begin, end) in [("\x1b]0;", "\x07"), ("\x1bP", "\x1b\\"), ("\x1b_", "\u{9c}"), ("\u{9d}", "\x18")] {
        assert_eq!(clean(format!("a{begin}{long}{end}b").as_bytes()), "a\u{fffd}b", "{begin:?}");
        assert_eq!(clean(format!("a{begin}title{end}b").as_bytes()), "ab", "{begin:?}");
    }
}

#[test]
fn time_grows_with_length_only() {
    let clock = crate::model::Clock::system();
    let measure = |size: usize| {
        let hostile: Vec<u8> = ATTACKS.concat().into_iter().cycle().take(size).collect();
        let started = clock.since_boot();
        let safe = clean(&hostile);
        assert!(safe.len() <= size);
        clock.since_boot().saturating_sub(started).as_secs_f64()
    };
    let (small, large) = (measure(1 << 18), measure(1 << 22));
    assert!(large < small.max(0.002) * 16.0 * 8.0, "16 times the input took {large} s after {small} s");
}

/// Bytes in which sequences are frequent.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => proptest::sample::select(ATTACKS).prop_map(<[u8]>::to_vec),
        4 => "\\x1b[\\[\\]P_^X(7c#]{1,2}[0-9;:?>!$ ]{0,8}[@-~]?".prop_map(String::into_bytes),
        2 => "[ -~\\r\\n]{0,8}".prop_map(String::into_bytes),
        2 => "\\PC{0,4}|\u{202e}|\u{200b}|[\u{80}-\u{9f}]|\u{301}{0,9}".prop_map(String::into_bytes),
        2 => proptest::collection::vec(any::<u8>(), 0..6),
    ];
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn nothing_outside_the_list_ever_comes_out(bytes in hostile()) {
        let safe = clean(&bytes);
        prop_assert!(is_safe(&safe).is_ok(), "{:?} became {:?}: {:?}", bytes, safe, is_safe(&safe));
    }

    #[test]
    fn cutting_the_input_anywhere_changes_nothing(
        bytes in hostile(), cuts in proptest::collection::vec(1_usize..40, 1..20),
    ) {
        let mut sanitiser = Sanitiser::new();
        let (mut rest, mut pieces) = (bytes.as_slice(), String::new());
        for cut in cuts.into_iter().cycle() {
            let (piece, later) = rest.split_at(cut.min(rest.len()));
            pieces.push_str(&sanitiser.feed(piece));
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        pieces.push_str(&sanitiser.finish());
        prop_assert_eq!(pieces, clean(&bytes));
    }

    #[test]
    fn safe_text_is_left_as_it_is(bytes in hostile()) {
        let safe = clean(&bytes);
        prop_assert_eq!(clean(safe.as_bytes()), safe);
    }

    #[test]
    fn an_escaped_line_has_nothing_to_fear(text in any::<String>()) {
        let escaped = escape_text(&text);
        prop_assert!(escaped.chars().all(|c| !c.is_control() && !is_invisible(c)));
    }
}
