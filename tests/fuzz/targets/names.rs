//! What a client says before anything runs: the address it types, its command line, its environment.
//!
//! One input is all three. Nothing is taken over into a log or a target's environment that could act there.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postern::wire::ssh::address;
use postern::wire::ssh::command::classify;
use postern::wire::ssh::environment::{Environment, MOST, is_terminal_name};

fuzz_target!(|bytes: &[u8]| {
    let _kind = classify(bytes);
    let text = String::from_utf8_lossy(bytes);
    if let Ok(parsed) = address::parse(&text) {
        assert!(text.len() >= format!("{parsed:?}").matches('"').count() / 2, "parts come from the whole");
    }
    if is_terminal_name(&text) {
        assert!(!text.is_empty() && text.chars().all(|c| c.is_ascii_graphic()), "{text:?}");
    }
    let mut environment = Environment::default();
    let mut accepted = 0_usize;
    for pair in text.split('\n') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if environment.accept(name, value).is_ok() {
            accepted += 1;
            assert!(!name.is_empty() && !value.contains('\0'), "{pair:?}");
        }
    }
    assert!(accepted <= MOST, "{accepted} variables were accepted");
});
