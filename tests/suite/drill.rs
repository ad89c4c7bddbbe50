//! The restore drill: what `docs/operations.md` says is done, command by command, and then a bastion works as before.
//!
//! The commands are taken from the document itself, so that it cannot say what nobody has done.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::client::run;
use crate::postern::BINARY;
use crate::review::recorded;
use crate::ssh::ALL;
use crate::wait;
use crate::world::World;

/// The commands under a heading of the manual, block by block.
fn commands(heading: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let text = fs::read_to_string(path).unwrap();
    let (_, section) = text.split_once(&format!("\n## {heading}\n")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let blocks = section.split("```sh\n").skip(1).map(|rest| rest.split_once("```").unwrap().0.to_owned());
    let blocks: Vec<String> = blocks.collect();
    assert!(!blocks.is_empty(), "the manual has commands under {heading}");
    blocks
}

/// Runs a block as its reader would, with the names that the manual uses; gives what was printed.
fn follow(block: &str, world: &World, backup: &Path, sealing_key: &Path) -> String {
    let mut shell = Command::new("bash");
    let programs = Path::new(BINARY).parent().unwrap().display().to_string();
    let path = format!("{programs}:{}", std::env::var("PATH").unwrap());
    shell
        .arg("-euc")
        .arg(block)
        .env("S", &world.state)
        .env("B", backup)
        .env("K", sealing_key)
        .env("PATH", path);
    let said = run(shell.env("HOME", &world.machine.home));
    assert_eq!(said.code, 0, "{block}\n{}{}", said.out, said.err);
    said.out
}

#[test]
fn a_bastion_is_restored_from_its_backup_by_the_manual() {
    let world = World::fresh();
    let target = world.target();
    world.grant("alice", &target, ALL);
    let before = recorded(&world, "echo before the backup");
    let sealing_key = world.dir.join("sealing.key.elsewhere");
    fs::copy(world.state.join("sealing.key"), &sealing_key).unwrap();
    let mut live = world.client("alice").open(&target, &["cat"]);
    live.say("while it is made\n").unwrap();
    live.hear("while it is made");
    let interrupted = world.session(&target);

    let backup = world.dir.join("backup");
    for block in commands("Back up") {
        follow(&block, &world, &backup, &sealing_key);
    }
    assert!(!backup.join("sealing.key").exists(), "the sealing key stays out");
    let after = recorded(&world, "echo after the backup");

    // The machine is lost.
    world.kill();
    live.end(wait::LONG);
    fs::remove_dir_all(&world.state).unwrap();
    let restoring = commands("Restore");
    follow(&restoring[0], &world, &backup, &sealing_key);
    let looked = follow(&restoring[1], &world, &backup, &sealing_key);
    assert!(looked.contains("every one hashed and in its place"), "{looked}");
    world.serve_again();

    let ended = world.ended(&target);
    assert!(ended.to_string().contains("crashed") && ended.to_string().contains(&interrupted), "{ended}");
    let carol = world.hand("carol");
    let verified = carol.run(&["verify", "--all", "--json"]);
    let items: Value = serde_json::from_str(&verified.out).unwrap();
    let state = |session: &str| {
        let items = items["items"].as_array().unwrap();
        let item = items.iter().find(|item| item["session"] == session);
        item.map(|item| item["state"].as_str().unwrap().to_owned())
    };
    assert_eq!(state(&before).as_deref(), Some("verified"));
    assert_eq!(state(&interrupted).as_deref(), Some("missing"), "it was still being written");
    assert_eq!(state(&after), None, "the backup does not know it");
    let reading_key = world.reading_key();
    let played = carol.ok(&["export", &before, "--format", "jsonl", "--identity", &reading_key]);
    assert!(played.contains("session_ended"), "{played}");
    // What was granted before still is, and sessions are recorded as ever.
    let again = recorded_on(&world, &target);
    world.hand("carol").ok(&["verify", &again, "--identity", &reading_key]);
}

/// A session on a target that has had others; its id.
fn recorded_on(world: &World, target: &str) -> String {
    assert_eq!(world.client("alice").ok(target, "echo as before").trim(), "as before");
    let last = world.ended(target);
    crate::postern::id(&last.to_string(), "ses_").unwrap()
}
