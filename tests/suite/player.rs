//! The player on a real terminal: its keys, and a hostile recording that must not reach through it (D-38).
//!
//! A terminal answers what asks it something by typing, and obeys what commands it: so the judge here lets nothing to it
//! but the few sequences that draw. The filter's own properties are tested beside its code; this is what arrives.

use std::fs;

use serde_json::Value;

use crate::client::contains;
use crate::review::recorded;
use crate::ssh::ALL;
use crate::terminal::Terminal;
use crate::wait;
use crate::world::World;

/// What a target can send to act on a terminal, each with the name of what it tries; as `printf` writes it.
const ATTACKS: [(&str, &str); 24] = [
    ("title", r"\033]0;owned\007\033]2;owned\033\\"),
    ("colour query", r"\033]4;1;?\007\033]10;?\007"),
    ("directory", r"\033]7;file:///etc\007"),
    ("link", r"\033]8;;javascript:alert(1)\007link\033]8;;\007"),
    ("clipboard", r"\033]52;c;cm0gLXJmIC8K\007\033]52;c;?\007"),
    ("prompt marks", r"\033]133;A\007"),
    ("notification", r"\033]777;notify;a;b\007\033]9;hello\007"),
    ("inline file", r"\033]1337;File=inline=1:AAAA\007"),
    ("DECRQSS", r"\033P$q\042p\033\\\033P+q544e\033\\"),
    ("device attributes", r"\033[c\033[>c\033[=c\033Z"),
    ("device status", r"\033[5n\033[6n\033[?6n"),
    ("title report", r"\033[21t\033[14t"),
    ("repeat", r"x\033[1000000000b"),
    ("resize", r"\033[8;2147483648;2147483648t"),
    ("sixel", r"\033Pq#0;2;0;0;0#0~~@@vv\033\\"),
    ("mode query", r"\033[?1$p\033[?u\033[>q"),
    ("mouse and paste", r"\033[?1000h\033[?1003h\033[?2004h\033[?1004h"),
    ("printer", r"\033[5i\033[?5i"),
    ("bidi", r"\342\200\256gro.live\342\201\246"),
    ("zalgo", r"z\314\201\314\202\314\203\314\204\314\205\314\206\314\207\314\210a"),
    ("nul and bell", r"\000\005\007\021\023"),
    ("C1 in UTF-8", r"\302\2350;owned\007\302\2336n"),
    ("C1 raw", r"\2350;owned\007\2336n"),
    ("unterminated", r"\033]0;never ended"),
];

/// Sequences that only draw: their last characters, when no `?` or other sign stands in them.
const DRAWING: &str = "mHJKABCDEFGILMPSXZ@`abdefrsu";
/// Private modes that a player may set and reset: origin, wrap, cursor, alternate screen.
const MODES: [&str; 7] = ["6", "7", "25", "47", "1047", "1048", "1049"];

/// Fails on the first thing that is not text or drawing.
fn judge(what: &str, bytes: &[u8]) {
    if let Err(found) = look(bytes) {
        panic!("{what}: {found}");
    }
}

/// Reads to the first thing that is not text or drawing.
fn look(bytes: &[u8]) -> Result<(), String> {
    let mut rest = std::str::from_utf8(bytes).map_err(|why| format!("not UTF-8: {why}"))?;
    while let Some(character) = rest.chars().next() {
        let here = || format!("{:?}", rest.chars().take(40).collect::<String>());
        if character != '\u{1b}' {
            let hides = matches!(character, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
            if hides || (character.is_control() && !"\r\n\t\u{8}".contains(character)) {
                return Err(here());
            }
            rest = rest.split_at(character.len_utf8()).1;
            continue;
        }
        let after = rest.split_at(1).1;
        if after.starts_with(['7', '8', 'D', 'E', 'M']) {
            rest = after.split_at(1).1;
            continue;
        }
        let body = after.strip_prefix('[').ok_or_else(here)?;
        let end = body.find(|c: char| ('@'..='~').contains(&c)).ok_or_else(here)?;
        let (parameters, from_last) = body.split_at(end);
        let (last, after) = from_last.split_at(1);
        if !draws(parameters, last) {
            return Err(here());
        }
        rest = after;
    }
    Ok(())
}

/// Whether a control sequence only draws, with numbers a terminal can have.
fn draws(parameters: &str, last: &str) -> bool {
    let is_plain = parameters.chars().all(|c| c.is_ascii_digit() || ";:".contains(c));
    let is_mode =
        parameters.strip_prefix('?').is_some_and(|modes| modes.split(';').all(|mode| MODES.contains(&mode)));
    let is_small = |n: &str| n.is_empty() || n.parse::<u16>().is_ok_and(|n| n <= 1049);
    let fits = match last {
        "h" | "l" => is_mode || parameters == "4",
        "p" => return parameters == "!",
        "T" => is_plain && !parameters.contains(';'),
        "s" | "u" => parameters.is_empty(),
        "J" => is_plain && parameters != "3",
        last => is_plain && DRAWING.contains(last),
    };
    fits && parameters.split([';', ':', '?']).all(is_small)
}

/// A script that prints every attack, each ended and followed by a mark, and one that never ends at the end.
fn script() -> String {
    let marked = ATTACKS.iter().enumerate();
    let all = marked.map(|(n, (_, attack))| format!("printf '{attack}'; printf '\\033\\\\mark-%s\\n' {n}"));
    all.collect::<Vec<_>>().join("; ")
}

/// Each attack as it was sent is one to the judge, or its silence would mean nothing. Zalgo is ugly, and only text.
fn the_judge_knows(sent: &[u8]) {
    let mut rest = sent;
    for (n, (name, _)) in ATTACKS.iter().enumerate() {
        let mark = format!("\u{1b}\\mark-{n}\r\n");
        let at = rest.windows(mark.len()).position(|window| window == mark.as_bytes());
        let (attack, after) = rest.split_at(at.unwrap_or_else(|| panic!("{mark:?} was sent")));
        assert_eq!(look(attack).is_ok(), *name == "zalgo", "{name}");
        rest = &after[mark.len()..];
    }
}

#[test]
fn the_keys_pause_seek_change_speed_and_leave() {
    let world = World::shared();
    let session = recorded(world, "printf first; sleep 4; printf second");
    let mut command = world.hand("carol").command(&[
        "play",
        &session,
        "--speed",
        "0.25",
        "--identity",
        &world.reading_key(),
    ]);
    command.env("TERM", "xterm");
    let mut terminal = Terminal::start(&command);
    terminal.see("first");
    terminal.see("▶");
    terminal.keys(" ");
    terminal.see("‖");
    terminal.keys("+");
    terminal.see("×0.5");
    assert!(!contains(&terminal.seen(), b"second"), "it is paused before that");
    terminal.keys("\u{1b}[F");
    terminal.see("second");
    terminal.keys("?");
    terminal.see("space pause");
    let drawn = |terminal: &Terminal| String::from_utf8_lossy(&terminal.seen()).matches("second").count();
    let before = drawn(&terminal);
    terminal.resize(12, 60);
    wait::until(wait::LONG, "everything is drawn again", || (drawn(&terminal) > before).then_some(()));
    terminal.keys("q");
    assert_eq!(terminal.end(wait::LONG), Some(0));
    wait::until(wait::LONG, "the terminal is given back", || {
        contains(&terminal.seen(), b"\x1b[?1049l").then_some(())
    });
    judge("the player's own drawing", &terminal.seen());
}

/// D-38 for the terminal: nothing of the corpus gets through any way of looking at it.
#[test]
fn a_hostile_recording_acts_on_no_terminal() {
    let world = World::shared();
    let session = recorded(world, &script());
    let (carol, key) = (world.hand("carol"), world.reading_key());
    let last = format!("mark-{}", ATTACKS.len() - 1);
    // It is all there: what the bastion recorded is what was sent.
    let raw = carol.ok(&["export", &session, "--format", "jsonl", "--identity", &key]);
    let sent: Vec<Value> = raw.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let sent = crate::review::bytes(&sent, "output");
    assert!(contains(&sent, b"\x1b]52;c;") && contains(&sent, b"\x9d0;owned"), "the attacks are recorded");
    the_judge_knows(&sent);

    let printed = carol.ok(&["play", &session, "--print", "--identity", &key]);
    assert!(printed.contains("mark-0") && printed.contains(&last), "{printed:?}");
    judge("play --print", printed.as_bytes());

    let mut command = carol.command(&["play", &session, "--at", "1:00", "--identity", &key]);
    command.env("TERM", "xterm");
    let mut terminal = Terminal::start(&command);
    terminal.see(&last);
    terminal.keys("q");
    assert_eq!(terminal.end(wait::LONG), Some(0));
    judge("play", &terminal.seen());

    let cast = world.dir.join(format!("{session}-hostile.cast"));
    let path = cast.to_string_lossy().into_owned();
    carol.ok(&["export", &session, "--format", "asciicast", "--identity", &key, "--output", &path]);
    let text = fs::read_to_string(&cast).unwrap();
    let shown: String = text
        .lines()
        .skip(1)
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|event| event[1] == "o")
        .map(|event| event[2].as_str().unwrap().to_owned())
        .collect();
    assert!(shown.contains(&last), "{text}");
    judge("asciicast", shown.as_bytes());
    judge("the asciicast file itself", text.as_bytes());

    let found = carol.run(&["search", "mark-", &session, "--identity", &key]);
    assert!(found.code == 0 && found.out.contains(&last), "{found:?}");
    judge("search", found.out.as_bytes());
    judge("search's notes", found.err.as_bytes());
}

#[test]
fn a_hostile_session_acts_on_no_watchers_terminal() {
    let world = World::shared();
    let target = world.target();
    world.grant("alice", &target, ALL);
    let mut live = world.client("alice").open(&target, &["sh"]);
    live.say("echo ready\n").unwrap();
    live.hear("ready");
    let session = world.session(&target);
    let mut watcher = Terminal::start(&world.hand("carol").command(&["watch", &session]));
    watcher.see("watching");
    // The stream begins some time after that line: something is said until it is seen.
    wait::until(wait::LONG, "the watcher sees the session", || {
        live.say("echo beat\n").unwrap();
        contains(&watcher.seen(), b"beat").then_some(())
    });
    live.say(&format!("{}\n", script())).unwrap();
    watcher.see(&format!("mark-{}", ATTACKS.len() - 1));
    drop(live.take_input());
    live.end(wait::LONG);
    watcher.end(wait::LONG);
    judge("watch", &watcher.seen());
}

/// Strings that never end cost no more than their length, and nothing is kept of them.
#[test]
fn an_endless_control_string_costs_no_more_than_its_length() {
    let world = World::shared();
    let session = recorded(
        world,
        "printf 'before\\n\\033P'; head -c 4000000 /dev/zero | tr '\\0' A; printf '\\033]0;'; head -c 4000000 /dev/zero | tr '\\0' B",
    );
    let (carol, key) = (world.hand("carol"), world.reading_key());
    let printed = carol.ok(&["play", &session, "--print", "--identity", &key]);
    assert!(printed.contains("before"), "{:.200}", printed);
    judge("an endless string", printed.as_bytes());
    let found = carol.ok(&["search", "before", &session, "--identity", &key]);
    assert!(found.contains("before") && found.len() < 100_000, "{} bytes", found.len());
}
