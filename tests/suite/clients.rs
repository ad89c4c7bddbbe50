//! SSH clients that are not OpenSSH: PuTTY's, Dropbear's, Paramiko and AsyncSSH, and ssh-audit's judgement.
//!
//! Also the way to the Python programs in `tests/clients/`, one of which breaks the protocol on purpose. `tests/run`
//! installs them all; a missing one fails the test with those words.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::client::run;
use crate::postern::{Said, noise, sha256};
use crate::ssh::ALL;
use crate::sshd;
use crate::world::World;

/// A program from the environment that `tests/run` makes (`POSTERN_CLIENTS`, or `clients` in the target directory).
pub(crate) fn program(name: &str) -> PathBuf {
    installed(&format!("bin/{name}"))
}

/// A file in that environment.
pub(crate) fn installed(name: &str) -> PathBuf {
    let root = std::env::var_os("POSTERN_CLIENTS").map_or_else(
        || {
            let target = std::env::var_os("CARGO_TARGET_DIR")
                .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target"), PathBuf::from);
            target.join("clients")
        },
        PathBuf::from,
    );
    let path = root.join(name);
    assert!(path.exists(), "{} is missing: `tests/run install` puts it there", path.display());
    path
}

/// Runs one of the Python clients in `tests/clients` with the facts of a session as its arguments.
pub(crate) fn python(world: &World, script: &str, target: &str, args: &[&str]) -> Said {
    let mut command = Command::new(program("python3"));
    let client = world.client("alice");
    client.environment(&mut command);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(script));
    command.args(["--port", &world.ssh_port.to_string(), "--user", &World::address(target), "--key"]);
    command.arg(world.hand("alice").key()).arg("--known-hosts").arg(world.dir.join("known_hosts"));
    run(command.args(args).stdin(Stdio::null()))
}

fn ready() -> (&'static World, String) {
    let world = World::shared();
    let target = world.target();
    world.grant("alice", &target, ALL);
    (world, target)
}

/// The gate's host key fingerprint, as PuTTY wants it.
fn fingerprint(world: &World) -> String {
    let said = run(Command::new("ssh-keygen").arg("-lf").arg(world.dir.join("known_hosts")));
    said.out
        .lines()
        .find(|line| line.contains("ED25519"))
        .and_then(|line| line.split_whitespace().find(|word| word.starts_with("SHA256:")))
        .unwrap_or_else(|| panic!("an Ed25519 host key: {said:?}"))
        .to_owned()
}

/// alice's key in PuTTY's format.
fn ppk(world: &World, target: &str) -> PathBuf {
    let path = world.dir.join(format!("{target}.ppk"));
    let key = world.hand("alice").key();
    // puttygen is in putty-tools beside plink, and reads OpenSSH's own key format.
    let said = run(Command::new("puttygen").arg(key).args(["-O", "private", "-o"]).arg(&path));
    assert_eq!(said.code, 0, "{said:?}");
    path
}

#[test]
fn plink_runs_a_command() {
    let (world, target) = ready();
    let mut command = Command::new("plink");
    world.client("alice").environment(&mut command);
    command
        .args(["-ssh", "-batch", "-noagent", "-P", &world.ssh_port.to_string(), "-i"])
        .arg(ppk(world, &target));
    command.args(["-hostkey", &fingerprint(world), "-l", &World::address(&target), "127.0.0.1"]);
    let said = run(command.arg("echo from plink; exit 3"));
    assert_eq!((said.code, said.out.as_str()), (3, "from plink\n"), "{said:?}");
}

#[test]
fn psftp_moves_a_file_both_ways() {
    let (world, target) = ready();
    let (here, there, back) = (
        world.dir.join(format!("{target}-here")),
        world.dir.join(format!("{target}-there")),
        world.dir.join(format!("{target}-back")),
    );
    fs::write(&here, noise(29, 400_000)).unwrap();
    let batch = world.dir.join(format!("{target}-psftp"));
    let lines = format!(
        "put {} {}\nget {} {}\nquit\n",
        here.display(),
        there.display(),
        there.display(),
        back.display()
    );
    fs::write(&batch, lines).unwrap();
    let mut command = Command::new("psftp");
    world.client("alice").environment(&mut command);
    command.args(["-batch", "-noagent", "-P", &world.ssh_port.to_string(), "-i"]).arg(ppk(world, &target));
    command.args(["-hostkey", &fingerprint(world), "-l", &World::address(&target), "-b"]).arg(&batch);
    let said = run(command.arg("127.0.0.1"));
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(sha256(&fs::read(&back).unwrap()), sha256(&fs::read(&here).unwrap()));
}

#[test]
fn dbclient_runs_a_command() {
    let (world, target) = ready();
    let key = world.dir.join(format!("{target}.dropbear"));
    let said = run(Command::new("dropbearconvert")
        .args(["openssh", "dropbear"])
        .arg(world.hand("alice").key())
        .arg(&key));
    assert_eq!(said.code, 0, "{said:?}");
    let mut command = Command::new("dbclient");
    world.client("alice").environment(&mut command);
    // dbclient splits `user@host` at the last `@` only in newer versions: `-l` works in all.
    command.args(["-y", "-i"]).arg(&key).args(["-p", &world.ssh_port.to_string(), "-l"]);
    command.args([World::address(&target).as_str(), "127.0.0.1", "echo from dropbear; exit 4"]);
    let said = run(command.stdin(Stdio::null()));
    assert_eq!((said.code, said.out.as_str()), (4, "from dropbear\n"), "{said:?}");
}

#[test]
fn paramiko_runs_commands_and_moves_files() {
    let (world, target) = ready();
    let scratch = world.dir.join(format!("{target}-paramiko"));
    let said = python(world, "paramiko_client.py", &target, &["--scratch", &scratch.to_string_lossy()]);
    assert_eq!((said.code, said.out.trim()), (0, "ok"), "{said:?}");
}

#[test]
fn asyncssh_runs_commands_and_moves_files() {
    let (world, target) = ready();
    let scratch = world.dir.join(format!("{target}-asyncssh"));
    let said = python(world, "asyncssh_client.py", &target, &["--scratch", &scratch.to_string_lossy()]);
    assert_eq!((said.code, said.out.trim()), (0, "ok"), "{said:?}");
}

#[test]
fn ssh_audit_finds_nothing_to_fail_or_warn_about() {
    let world = World::shared();
    let mut command = Command::new(program("ssh-audit"));
    world.client("alice").environment(&mut command);
    let said =
        run(command.args(["--no-colors", "--level=warn", "-p", &world.ssh_port.to_string(), "127.0.0.1"]));
    // Clients older than OpenSSH 9.9 share no post-quantum key exchange with us, so plain curve25519 has to be offered
    // beside the hybrid one; every other complaint counts.
    let complaints: Vec<&str> = said
        .out
        .lines()
        .filter(|line| line.contains("[fail]") || line.contains("[warn]"))
        .filter(|line| !(line.contains("curve25519-sha256") && line.contains("post-quantum")))
        .collect();
    assert!([0, 2].contains(&said.code), "ssh-audit could not finish: {said:?}");
    assert!(complaints.is_empty(), "{complaints:#?}");
}

#[test]
fn hostile_messages_after_the_key_exchange_break_nothing() {
    let (world, target) = ready();
    for attack in [
        "unproven-key",
        "foreign-session",
        "phase-confusion",
        "principal-switch",
        "dialogue-count",
        "terminal-modes",
        "terminal-sizes",
        "window-overflow",
        "packet-size-zero",
        "channel-storm",
        "stray-replies",
        "message-numbers",
        "environment",
        "agent-and-x11",
        "unknown-requests",
    ] {
        let bob = world.hand("bob").key();
        let said = python(
            world,
            "hostile_client.py",
            &target,
            &["--attack", attack, "--other-key", &bob.to_string_lossy()],
        );
        assert_eq!((said.code, said.out.trim()), (0, "ok"), "{attack}: {said:?}");
    }
    let log = world.log();
    assert!(!log.contains("panicked at"), "{log}");
    assert_eq!(world.client("alice").ok(&target, "echo alive"), "alive\n");
    assert!(!sshd::login().is_empty());
}
