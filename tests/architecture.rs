//! Promises about the whole tree, kept by listing the tree: who imports whom, headers, sizes, names, words, links.
//!
//! Review catches what changed; only a list catches what was forgotten. Every failure says what to do about it. The
//! tables are at the top, to be read and, with a reason, changed; how they are checked comes after.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "these are tests, helpers and all: a failure is a finding"
)]
#![expect(clippy::string_slice, reason = "every index comes from a match in the same string")]

#[path = "architecture/source.rs"]
mod source;

use source::{
    all_rust_files, imports, imports_of, links, names_an_issue, read, root, rust_files, show, text_files,
    top_module,
};

/// Who may import whom, and why not others. Imports point down the levels; sideways only where named here.
const IMPORTS: &[(&str, &[&str], &str)] = &[
    ("model", &[], "it is the shared language: everybody reads it, so it may depend on nobody"),
    ("wire", &[], "it meets hostile bytes, so it must be able to reach nothing"),
    ("policy", &["model"], "rules stay testable without a database"),
    ("ledger", &["model"], "the log's format stays checkable without a database"),
    ("thread", &[], "it starts threads and knows nothing of what they do"),
    ("recording", &["model", "thread"], "a recording knows no protocol, no session and no database"),
    ("config", &["model"], "configuration is values; what they configure comes to it"),
    ("telemetry", &["model"], "logging must not be able to do anything else"),
    ("access", &["model", "ledger"], "the request workflow is a pure function of what it is given"),
    ("playback", &["model", "recording"], "what reviewers see comes from recordings alone"),
    ("witness", &["model", "ledger"], "whoever runs one trusts as little code as can be"),
    ("keeping", &["model", "config"], "it moves files, whatever is in them and whoever they are about"),
    ("net", &["model"], "sockets know nothing of who is at the other end"),
    ("store", &["model", "thread", "access", "ledger"], "storage does not act"),
    // Approvals are signatures over ledger entries, so their verification reads the entry types.
    ("authn", &["model", "ledger", "store"], "who somebody is, is not what they may do"),
    ("credential", &["model", "wire", "net", "store"], "a lease does not know its user"),
    (
        "session",
        &[
            "model",
            "thread",
            "wire",
            "policy",
            "ledger",
            "recording",
            "config",
            "telemetry",
            "access",
            "net",
            "store",
            "authn",
            "credential",
        ],
        "the lifecycle does not know which protocol or route called it, nor how recordings look",
    ),
    // What an adapter may use of `session` and `recording` is narrower still: see PARTS.
    (
        "protocol",
        &["model", "wire", "net", "session", "recording"],
        "an adapter speaks; it does not decide, store, mint or audit",
    ),
    (
        "api",
        &[
            "model",
            "policy",
            "access",
            "ledger",
            "config",
            "telemetry",
            "store",
            "authn",
            "recording",
            "playback",
            "net",
            "session",
        ],
        "the control plane does not speak target protocols, and parses no peer's bytes but HTTP",
    ),
];

/// These put everything together, and may import everything.
const COMPOSITION: &[&str] = &["cli", "serve", "main", "lib"];

/// Where only part of another module may be imported.
const PARTS: &[(&str, &str, &[&str], &str)] = &[
    (
        "protocol",
        "recording",
        &["event"],
        "an adapter says what happened; the guard records it, so that no adapter can leave it out",
    ),
    (
        "protocol",
        "session",
        &["adapter", "relay"],
        "an adapter supplies pieces and never sequences them: what it needs belongs in session::adapter",
    ),
];

/// Names that say nothing about what is inside.
const BANNED_NAMES: &[&str] =
    &["util", "utils", "common", "helper", "helpers", "misc", "manager", "handler", "types", "core"];

const FEWEST_HEADER_LINES: usize = 3;
const MOST_HEADER_LINES: usize = 15;
/// The crate's front page carries the module map.
const MOST_FRONT_PAGE_LINES: usize = 25;
const MOST_LINES: usize = 500;

/// Words that belong in a tracker or on one machine, in pieces so that this file passes its own test.
const BANNED_WORDS: &[(&str, &str)] = &[
    (concat!("TO", "DO"), "do it now, or open an issue and leave the code whole"),
    (concat!("FIX", "ME"), "fix it now, or open an issue and leave the code whole"),
    (concat!("/wo", "rk/"), "a path of one machine: nobody else has it"),
    (concat!("/tmp/", "wt/"), "a path of one machine: nobody else has it"),
    (concat!("/tmp/", "brief"), "a path of one machine: nobody else has it"),
];

/// Files that must stay copies of others, because people copy them by folder.
const COPIES: &[(&str, &[&str])] = &[(
    "policies/default.cedar",
    &[
        "policies/examples/business-hours/default.cedar",
        "policies/examples/certificates-only/default.cedar",
        "policies/examples/small-team/default.cedar",
    ],
)];

#[test]
fn imports_point_down() {
    let mut wrong = Vec::new();
    for file in rust_files("src") {
        let module = top_module(&file);
        if COMPOSITION.contains(&module.as_str()) {
            continue;
        }
        let Some((_, allowed, why)) = IMPORTS.iter().find(|(name, ..)| *name == module) else {
            wrong.push(format!("{}: module `{module}` is not in IMPORTS: give it a row", show(&file)));
            continue;
        };
        for (line, path) in imports(&file) {
            let (to, part) = path.split_once("::").unwrap_or((&path, ""));
            if to != module && !allowed.contains(&to) {
                wrong.push(format!(
                    "{}:{line}: `{module}` must not import `{to}`: {why}. Pass in what it needs, or move the code up.",
                    show(&file)
                ));
            }
            let narrow = PARTS.iter().find(|(from, of, ..)| *from == module && *of == to);
            if let Some((.., parts, why)) = narrow
                && !parts.contains(&part)
            {
                let parts = parts.join("`, `");
                wrong.push(format!(
                    "{}:{line}: of `{to}`, `{module}` may import only `{parts}`, and not `{part}`: {why}.",
                    show(&file)
                ));
            }
        }
    }
    report(&wrong);
}

#[test]
fn every_module_is_in_the_table_and_on_the_front_page() {
    let front = read(&root().join("src/lib.rs"));
    let mut wrong = Vec::new();
    for name in front.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')) {
        if !is_module(name) {
            wrong.push(format!(
                "src/lib.rs: `{name}` is not in IMPORTS of tests/architecture.rs: give it a row"
            ));
        }
        if !front.contains(&format!("[`{name}`]")) {
            wrong.push(format!("src/lib.rs: the module map does not name [`{name}`]: add it with its level"));
        }
    }
    report(&wrong);
}

#[test]
fn every_file_opens_by_saying_what_it_is() {
    let mut wrong = Vec::new();
    for file in all_rust_files() {
        let lines = read(&file).lines().take_while(|line| line.starts_with("//!")).count();
        let most = if file.ends_with("src/lib.rs") { MOST_FRONT_PAGE_LINES } else { MOST_HEADER_LINES };
        if !(FEWEST_HEADER_LINES..=most).contains(&lines) {
            wrong.push(format!(
                "{}: opens with `//!` on {lines} lines: give it {FEWEST_HEADER_LINES} to {most} that say what lives \
                 here, what must never be here, and what to read next",
                show(&file)
            ));
        }
    }
    report(&wrong);
}

#[test]
fn files_are_short_and_named_for_what_they_hold() {
    let mut wrong = Vec::new();
    for file in all_rust_files() {
        let lines = read(&file).lines().count();
        if lines > MOST_LINES {
            wrong.push(format!(
                "{}: {lines} lines: split it by what a reader looks for, or move its tests to x/tests.rs; {MOST_LINES} is the limit",
                show(&file)
            ));
        }
        for part in file.strip_prefix(root()).unwrap().iter().map(|part| part.to_string_lossy()) {
            let stem = part.trim_end_matches(".rs");
            if BANNED_NAMES.contains(&stem) {
                wrong.push(format!("{}: `{stem}` says nothing: name it for what it holds", show(&file)));
            }
        }
    }
    report(&wrong);
}

#[test]
fn a_front_page_has_no_logic() {
    let mut wrong = Vec::new();
    // A folder of tests is not a front page: its `mod.rs` holds what the tests share.
    let is_front_page =
        |file: &std::path::PathBuf| file.ends_with("mod.rs") && !file.ends_with("tests/mod.rs");
    for file in rust_files("src").into_iter().filter(is_front_page) {
        for (number, line) in read(&file).lines().enumerate() {
            let words: Vec<&str> = line.split_whitespace().take_while(|word| !word.contains("//")).collect();
            if words.contains(&"fn") {
                wrong.push(format!(
                    "{}:{}: a function in a front page: move it to a file named for it, and re-export it here",
                    show(&file),
                    number + 1
                ));
            }
        }
    }
    report(&wrong);
}

/// A dependency's comment says what it is for and what we would do without it. Companions of one crate (`clap_complete`
/// under `clap`) share their comment.
#[test]
fn every_dependency_has_its_reason() {
    let manifest = read(&root().join("Cargo.toml"));
    let mut wrong = Vec::new();
    let mut is_dependencies = false;
    let mut reasoned: Option<String> = None;
    let mut is_after_comment = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            is_dependencies = line.contains("dependencies");
        }
        let Some((name, _)) = line.split_once(" = ").filter(|_| is_dependencies && !line.starts_with('#'))
        else {
            is_after_comment = line.starts_with('#');
            continue;
        };
        let family = name.split(['-', '_', '.']).next().unwrap_or(name).to_owned();
        if is_after_comment {
            reasoned = Some(family);
        } else if reasoned.as_ref() != Some(&family) {
            wrong.push(format!(
                "Cargo.toml: `{name}` has no comment above it: say what for, and what we would do without it"
            ));
        }
        is_after_comment = false;
    }
    report(&wrong);
}

#[test]
fn no_words_that_only_we_understand() {
    let mut wrong = Vec::new();
    for file in text_files() {
        for (number, line) in read(&file).lines().enumerate() {
            for (word, why) in BANNED_WORDS.iter().filter(|(word, _)| line.contains(word)) {
                wrong.push(format!("{}:{}: `{word}`: {why}", show(&file), number + 1));
            }
            if names_an_issue(line) {
                wrong.push(format!(
                    "{}:{}: names an issue by number: say what it is",
                    show(&file),
                    number + 1
                ));
            }
        }
    }
    report(&wrong);
}

#[test]
fn every_relative_link_leads_somewhere() {
    let mut wrong = Vec::new();
    for file in text_files().into_iter().filter(|file| file.extension().is_some_and(|e| e == "md")) {
        for link in links(&read(&file)) {
            let path = link.split('#').next().unwrap_or_default();
            let is_elsewhere = path.is_empty() || path.contains("://") || path.starts_with("mailto:");
            let folder = file.parent().unwrap();
            if !is_elsewhere && !folder.join(path).exists() {
                wrong.push(format!("{}: the link to `{path}` leads nowhere: mend or remove it", show(&file)));
            }
        }
    }
    report(&wrong);
}

/// An alert on a metric that nobody sets never fires.
#[test]
fn every_metric_in_the_documents_is_one_that_is_set() {
    let set: String = rust_files("src").iter().map(|path| read(path)).collect();
    let text = read(&root().join("docs/operations.md"));
    let names = text.split('`').filter(|word| word.starts_with("postern_"));
    let missing: Vec<&str> = names.filter(|name| !set.contains(&format!("\"{name}\""))).collect();
    assert!(missing.is_empty(), "docs/operations.md names metrics that src/ does not set: {missing:?}");
}

#[test]
fn copies_are_copies() {
    let mut wrong = Vec::new();
    for (original, copies) in COPIES {
        let text = read(&root().join(original));
        for copy in copies.iter().filter(|copy| read(&root().join(copy)) != text) {
            wrong.push(format!("{copy} differs from {original}: `cp {original} {copy}`"));
        }
    }
    report(&wrong);
}

#[test]
fn the_checks_see_what_they_look_for() {
    let source = "use crate::{\n    model::{Action, Login},\n    store,\n};\nlet x = crate::api::y(); // crate::cli\n\
                  use super::super::policy::Engine;\n";
    let found: Vec<String> = imports_of(source, 2).into_iter().map(|(_, path)| path).collect();
    assert_eq!(found, ["model::Action", "store::", "api::y", "policy::Engine"]);
    assert_eq!(imports_of("use super::super::policy::Engine;", 3), []);
    assert!(
        names_an_issue(concat!("see iss", "ue 12"))
            && names_an_issue(concat!("(", "#7)"))
            && !names_an_issue("issue a certificate")
    );
    assert_eq!(links("[a](b.md) `[x](y)` [c](d#e)\n```\n[no](no.md)\n```\n"), ["b.md", "d#e"]);
}

/// Whether a name is one of ours, and not a crate's or an item's.
fn is_module(name: &str) -> bool {
    IMPORTS.iter().any(|(module, ..)| *module == name) || COMPOSITION.contains(&name)
}

fn report(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{} to mend:\n{}\n", wrong.len(), wrong.join("\n"));
}
