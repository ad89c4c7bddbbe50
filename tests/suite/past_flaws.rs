//! Keeps `docs/past-flaws.md` honest: every guard it names is a test that exists.
//!
//! The document lists what went wrong in other systems; the guards are in the files beside this one. Rename a test in
//! both places.

use std::path::Path;

#[test]
fn every_guard_named_in_the_document_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("docs/past-flaws.md")).unwrap();
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(rows.len() >= 20, "the table has rows: {}", rows.len());
    for row in rows {
        let guards: Vec<&str> =
            row.rsplit('|').nth(1).unwrap().split('`').filter(|part| part.contains("::")).collect();
        assert!(!guards.is_empty(), "this row names no guard: {row}");
        for guard in guards {
            let (file, test) = guard.split_once("::").unwrap();
            let source =
                std::fs::read_to_string(root.join(format!("tests/suite/{file}.rs"))).unwrap_or_default();
            assert!(
                source.contains(&format!("fn {test}(")),
                "docs/past-flaws.md names `{guard}`, which is not in tests/suite/{file}.rs: rename it in both"
            );
        }
    }
}
