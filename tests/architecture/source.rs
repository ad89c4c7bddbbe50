//! Reading the tree as text: its files, what they import, their links and words.
//!
//! Text is enough: what it misses, such as an import made by a macro, shows in review. Never here: a rule about the tree;
//! those are in `architecture.rs`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The top-level modules a file imports, with the line and the first part inside.
pub(super) fn imports(file: &Path) -> Vec<(usize, String)> {
    let inside = file.strip_prefix(root().join("src")).unwrap();
    let is_front = file.ends_with("mod.rs");
    imports_of(&read(file), inside.components().count() - usize::from(is_front))
}

/// `depth` is how many `super::` lead from the file to the crate's root. Comments do not import.
pub(super) fn imports_of(source: &str, depth: usize) -> Vec<(usize, String)> {
    let code: Vec<&str> = source.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
    let code = code.join("\n");
    let to_root = "super::".repeat(depth);
    let mut found = Vec::new();
    for marker in ["crate::", to_root.as_str()] {
        for (at, _) in code.match_indices(marker) {
            let is_start =
                !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':' || c == '$');
            let line = code[..at].matches('\n').count() + 1;
            let rest = &code[at + marker.len()..];
            if is_start && let Some(group) = rest.strip_prefix('{') {
                found.extend(group_members(group).into_iter().map(|member| (line, first_two(member))));
            } else if is_start {
                found.push((line, first_two(rest)));
            }
        }
    }
    found.retain(|(_, path)| path.split("::").next().is_some_and(super::is_module));
    found
}

/// The members of a braced import, up to its closing brace; nested braces belong to their member.
fn group_members(group: &str) -> Vec<&str> {
    let (mut depth, mut start, mut members) = (0_usize, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                members.push(&group[start..at]);
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                members.push(&group[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    members
}

/// `a::b` of `a::b::c`, also of `a::{b, c}`.
fn first_two(path: &str) -> String {
    let word = |text: &str| -> String {
        text.trim_start()
            .trim_start_matches('{')
            .trim_start()
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    let first = word(path);
    let rest = path.trim_start().strip_prefix(first.as_str()).and_then(|rest| rest.strip_prefix("::"));
    format!("{first}::{}", rest.map(word).unwrap_or_default())
}

pub(super) fn names_an_issue(line: &str) -> bool {
    let digit_after =
        |at: usize| line[at..].trim_start_matches(['#', ' ']).starts_with(|c: char| c.is_ascii_digit());
    let lower = line.to_ascii_lowercase();
    let is_issue = lower.match_indices("issue ").any(|(at, word)| digit_after(at + word.len()));
    is_issue
        || line
            .match_indices("(#")
            .any(|(at, mark)| line[at + mark.len()..].starts_with(|c: char| c.is_ascii_digit()))
}

/// Targets of Markdown links, outside code.
pub(super) fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut is_code = false;
    for line in text.lines() {
        is_code ^= line.trim_start().starts_with("```");
        let prose: String = line.split('`').step_by(2).collect();
        for (at, mark) in prose.match_indices("](").filter(|_| !is_code) {
            let target = prose[at + mark.len()..].split([')', ' ']).next().unwrap_or_default();
            found.push(target.to_owned());
        }
    }
    found
}

/// `policy` for `src/policy/engine.rs`, `config` for `src/config.rs`.
pub(super) fn top_module(file: &Path) -> String {
    let inside = file.strip_prefix(root().join("src")).unwrap();
    inside.iter().next().unwrap().to_string_lossy().trim_end_matches(".rs").to_owned()
}

pub(super) fn all_rust_files() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        ["src", "tests", "benches"].iter().flat_map(|folder| rust_files(folder)).collect();
    // Programs that must not compile are as short as the mistake they show.
    files.retain(|file| !file.starts_with(root().join("tests/compile_fail")));
    files
}

pub(super) fn rust_files(folder: &str) -> Vec<PathBuf> {
    let mut files = files_below(&root().join(folder));
    files.retain(|file| file.extension().is_some_and(|e| e == "rs"));
    files
}

/// Everything people read: sources, documents, policies, scripts.
pub(super) fn text_files() -> Vec<PathBuf> {
    let folders = ["src", "tests", "benches", "docs", "policies", "recordings-schema", ".ci", ".cargo"];
    let mut files: Vec<PathBuf> =
        folders.iter().flat_map(|folder| files_below(&root().join(folder))).collect();
    files.extend(
        ["README.md", "Cargo.toml", ".clippy.toml"]
            .map(|name| root().join(name))
            .into_iter()
            .filter(|f| f.exists()),
    );
    let kinds = BTreeSet::from([
        "rs",
        "md",
        "toml",
        "cedar",
        "cedarschema",
        "sql",
        "sh",
        "py",
        "mjs",
        "js",
        "html",
        "css",
    ]);
    files.retain(|file| file.extension().is_some_and(|e| kinds.contains(&*e.to_string_lossy())));
    files
}

/// In order, so that failures read the same everywhere; what tools leave behind is skipped.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut entries: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    let is_ours = |path: &PathBuf| {
        !["node_modules", "__pycache__", "target", ".venv"].iter().any(|skip| path.ends_with(skip))
    };
    let below = |path: PathBuf| if path.is_dir() { files_below(&path) } else { vec![path] };
    entries.into_iter().filter(is_ours).flat_map(below).collect()
}

pub(super) fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", show(file)))
}

pub(super) fn show(file: &Path) -> String {
    file.strip_prefix(root()).unwrap_or(file).display().to_string()
}

pub(super) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
