//! What a hostile target prints, on its way to a reviewer's terminal: the sanitiser, the screen, the lines.
//!
//! The first four bytes give the screen's size and where the output is cut; the rest is output. Nothing that acts on a
//! terminal comes out, however the bytes are cut; and a screen frozen in between goes on as if it had not been.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use postern::playback::lines::Lines;
use postern::playback::{Sanitiser, Screen, escape_text};

fuzz_target!(|bytes: &[u8]| {
    let Some((&[columns, rows, cut, flags], output)) = bytes.split_first_chunk::<4>() else { return };
    let (one, two) = output.split_at(output.len() * usize::from(cut) / 256);
    let whole = sanitised(&[output]);
    assert_eq!(whole, sanitised(&[one, two]), "the same however it is cut");
    is_harmless(&whole);
    assert_eq!(whole, sanitised(&[whole.as_bytes()]), "what is safe stays as it is");

    // Small ones, for more of them.
    let (columns, rows) = (columns & 63, rows & 63);
    let mut screen = Screen::new(u32::from(columns), u32::from(rows));
    if flags & 1 == 1 {
        screen.open_terminal(u32::from(rows), u32::from(columns));
    }
    screen.feed(one);
    let mut thawed = Screen::thaw(&screen.freeze());
    assert_eq!(seen(&screen), seen(&thawed), "a picture is of the whole screen");
    for screen in [&mut screen, &mut thawed] {
        screen.pass(Duration::from_secs(1));
        screen.feed(two);
    }
    assert_eq!(seen(&screen), seen(&thawed), "a picture is enough to go on from");
    if flags & 2 == 2 {
        screen.resize(u32::from(cut), u32::from(flags));
        screen.feed(one);
    }
    screen.text().iter().for_each(|line| is_harmless(line));

    let mut lines = Lines::new();
    lines.set_width((flags & 4 == 4).then_some(u32::from(columns)));
    let mut last = 0;
    let mut check = |line: postern::playback::lines::Line<'_>| {
        assert!(line.number >= last);
        last = line.number;
        is_harmless(line.text);
    };
    lines.feed(one, &mut check);
    lines.feed(two, &mut check);
    lines.finish(&mut check);
    is_harmless(&escape_text(&String::from_utf8_lossy(output)));
});

fn sanitised(pieces: &[&[u8]]) -> String {
    let mut sanitiser = Sanitiser::new();
    let mut safe = String::new();
    for piece in pieces {
        safe.push_str(&sanitiser.feed(piece));
    }
    safe.push_str(&sanitiser.finish());
    safe
}

/// Nothing a terminal acts on but movement and colour. What exactly is allowed is tested beside the filter.
fn is_harmless(text: &str) {
    let mut before = ' ';
    for c in text.chars() {
        let is_control = c.is_control() && !"\r\n\t\u{8}\u{1b}".contains(c);
        let is_sequence = before != '\u{1b}' || "[78DEM".contains(c);
        assert!(!is_control && is_sequence, "{c:?} after {before:?} in {text:?}");
        before = c;
    }
}

fn seen(screen: &Screen) -> (Vec<String>, Vec<Vec<postern::playback::screen::Run>>, Option<(usize, usize)>) {
    (screen.text(), screen.styled(), screen.cursor())
}
