//! Programs that must not compile: each file in `tests/compile_fail/` is one mistake that the types rule out.
//!
//! Each says in its last line of `//!` which error it must fail with, so that none can fail for another reason. They are
//! compiled by `rustc` against the library this test itself was linked with: a second, which a build of every
//! dependency in a project of its own would turn into minutes.

#![expect(clippy::unwrap_used, reason = "these are tests, helpers and all: a failure is a finding")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What introduces the error a program must fail with.
const MARK: &str = "//! Must fail with ";

#[test]
fn programs_that_must_not_compile_do_not() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compile_fail");
    let mut wrong = Vec::new();
    let mut tried = 0;
    for program in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let source = fs::read_to_string(&program).unwrap();
        let code = source.lines().find_map(|line| line.strip_prefix(MARK)?.strip_suffix('.'));
        let code = code.unwrap_or_else(|| panic!("{}: add a line `{MARK}E0000.`", program.display()));
        match compile(&program) {
            None => wrong.push(format!("{} compiles: what it shows is possible", program.display())),
            Some(said) if codes(&said) != [code] => {
                wrong.push(format!("{} must fail with {code} alone, and said:\n{said}", program.display()));
            }
            Some(_) => {}
        }
        tried += 1;
    }
    assert!(tried > 0, "there are no programs in tests/compile_fail");
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

/// Without this, a broken compiler call would look like programs that rightly fail.
#[test]
fn a_program_without_a_mistake_compiles() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("sound.rs");
    let source = "fn main() { let secret = postern::model::Secret::new(String::new()); drop(secret); }";
    fs::write(&program, source).unwrap();
    assert_eq!(compile(&program), None);
}

/// What the compiler said, when it refused.
fn compile(program: &Path) -> Option<String> {
    let out = tempfile::tempdir().unwrap();
    let dependencies = dependencies();
    let result = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
        .args(["--edition=2024", "--crate-type=bin", "--emit=metadata", "--color=never"])
        .arg("-L")
        .arg(format!("dependency={}", dependencies.display()))
        .arg("--extern")
        .arg(format!("postern={}", library(&dependencies).display()))
        .arg("--out-dir")
        .arg(out.path())
        .arg(program)
        .output()
        .unwrap();
    (!result.status.success()).then(|| String::from_utf8_lossy(&result.stderr).into_owned())
}

/// The error codes the compiler gave, each once.
fn codes(said: &str) -> Vec<&str> {
    let mut codes: Vec<&str> =
        said.lines().filter_map(|line| line.strip_prefix("error[")?.split(']').next()).collect();
    codes.sort_unstable();
    codes.dedup();
    codes
}

/// Where cargo put this test, and beside it the library and all it needs.
fn dependencies() -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().to_owned()
}

/// The library as built last, which is the one this test was linked with.
fn library(dependencies: &Path) -> PathBuf {
    let files = fs::read_dir(dependencies).unwrap().map(|entry| entry.unwrap().path());
    let is_library = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.starts_with("libpostern-") && name.ends_with(".rlib")
    };
    files.filter(is_library).max_by_key(|path| fs::metadata(path).unwrap().modified().unwrap()).unwrap()
}
