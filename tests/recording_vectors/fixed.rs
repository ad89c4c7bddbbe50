//! Vectors are released once and stay what they are, their outcomes too: what was written years ago must open for ever.
//!
//! `SHA256SUMS` beside them has the digest of every file but the list; `sha256sum -c SHA256SUMS` compares it as well. Only
//! what is missing is ever written here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::cases::Case;

/// The digests of every file beside it but the list, as `sha256sum` writes them.
const SUMS: &str = "SHA256SUMS";

/// Adds what is new, and changes neither a file nor an outcome that is there.
pub(crate) fn write_missing(directory: &Path, cases: &[Case], list: &str) {
    let path = directory.join("vectors.json");
    let before: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    let after: serde_json::Value = serde_json::from_str(list).unwrap();
    for vector in before["vectors"].as_array().unwrap() {
        let stays = after["vectors"].as_array().unwrap().contains(vector);
        assert!(stays, "{vector} is released: it stays what it is, and a new rule gets a new vector");
    }
    for case in cases {
        let path = directory.join(format!("{}.pstn", case.name));
        if !path.exists() {
            fs::write(path, &case.bytes).unwrap();
        }
        let path = directory.join(format!("{}.keys", case.name));
        if let Some(keys) = case.keys.as_ref().filter(|_| !path.exists()) {
            fs::write(path, keys).unwrap();
        }
    }
    let sums: String =
        fixed(directory).iter().map(|name| format!("{}  {name}\n", sha256(&directory.join(name)))).collect();
    fs::write(directory.join(SUMS), sums).unwrap();
    fs::write(path, list).unwrap();
}

/// The names of the files that are never changed.
fn fixed(directory: &Path) -> BTreeSet<String> {
    let names =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name != "vectors.json" && name != SUMS).collect()
}

fn sha256(path: &Path) -> String {
    let bytes = fs::read(path).unwrap();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &bytes);
    data_encoding::HEXLOWER.encode(digest.as_ref())
}

#[test]
fn no_vector_was_changed_or_taken_away() {
    let directory = super::directory();
    let sums = fs::read_to_string(directory.join(SUMS)).unwrap();
    let sums: BTreeMap<&str, &str> =
        sums.lines().map(|line| line.split_once("  ").unwrap()).map(|(sum, name)| (name, sum)).collect();
    for (name, sum) in &sums {
        let path = directory.join(name);
        assert!(path.exists(), "{name} is released and must stay");
        assert_eq!(sha256(&path), *sum, "{name} is released and must stay what it is");
    }
    for name in fixed(&directory) {
        assert!(sums.contains_key(name.as_str()), "{name} is not in {SUMS}");
    }
}
