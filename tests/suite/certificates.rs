//! The certificate table (D-08) against the real gate: byte by byte, one fault each, and only the controls get in.
//!
//! The certificates are made and used by `tests/clients/certificates.py`; which check refuses which is beside the code
//! (`src/authn/certificate_tests.rs`). Here it matters that nothing between the wire and those checks lets one through.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::client::run;
use crate::clients::{program, python};
use crate::keeper;
use crate::ssh::ALL;
use crate::world::World;

/// Those that must get in: each is the twin of a faulty one.
const SOUND: [&str; 4] = ["control", "touched-ca", "serial-first", "control-again"];

/// Rows in the table, so that a program that gives up early is not taken for one that found nothing.
const ROWS: usize = 38;

fn prepare() -> PathBuf {
    let dir = keeper::directory();
    let mut command = Command::new(program("python3"));
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/certificates.py"));
    let said = run(command.arg("--prepare").arg(&dir));
    assert_eq!(said.code, 0, "{said:?}");
    dir
}

fn authority(dir: &Path, name: &str) -> toml::Table {
    let mut ca = toml::Table::new();
    ca.insert("public_key".into(), fs::read_to_string(dir.join(name)).unwrap().into());
    ca
}

#[test]
fn only_the_controls_get_in() {
    let dir = prepare();
    let world = World::with(|table| {
        let mut corp = authority(&dir, "corp");
        corp.insert("revoked_serials".into(), toml::Value::Array(vec![13.into()]));
        corp.insert("revoked_key_ids".into(), toml::Value::Array(vec!["lost-laptop".into()]));
        let mut old = authority(&dir, "old");
        old.insert("revoked".into(), true.into());
        let mut cas = toml::Table::new();
        for (name, ca) in [("corp", corp), ("old", old), ("touched", authority(&dir, "touched"))] {
            cas.insert(name.into(), ca.into());
        }
        let authn = table.entry("authn").or_insert_with(|| toml::Value::Table(toml::Table::new()));
        authn.as_table_mut().unwrap().insert("user_cas".into(), cas.into());
    });
    // What is refused must not be refused for want of a person: the key ids stand for alice, under every CA.
    for identity in ["corp=alice@corp", "corp=lost-laptop", "old=alice@corp", "touched=alice@touched"] {
        world.machine.ok(&["people", "link", "alice", "--certificate", identity]);
    }
    let target = world.target();
    world.grant("alice", &target, ALL);
    let said = python(&world, "certificates.py", &target, &[]);
    assert_eq!(said.code, 0, "{said:?}");
    let rows: Vec<(&str, &str)> = said.out.lines().filter_map(|line| line.split_once(' ')).collect();
    assert_eq!(rows.len(), ROWS, "{rows:?}");
    for (name, outcome) in rows {
        let expected = if SOUND.contains(&name) { "in" } else { "out" };
        assert_eq!(outcome, expected, "{name}");
    }
    let log = world.log();
    assert!(!log.contains("panicked at"), "{log}");
}
