//! New keys in the middle of a session (D-10): under load, never finished, or with things said in between.
//!
//! The clients that misuse a key exchange are in `tests/clients/hostile_client.py`; targets that do are tried in
//! `hostile_target`. Nothing here depends on which side asks first.

use std::fs;
use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

use crate::clients::python;
use crate::postern::{end_reason, noise, sha256};
use crate::ssh::ALL;
use crate::sshd::Sshd;
use crate::world::World;

/// How much goes each way under load.
const LOAD: usize = 200 << 20;
/// New keys after this much.
const LIMIT: &str = "RekeyLimit=64K";

/// The bytes of a finished recording in one direction, as `postern export` gives them.
fn recorded(world: &World, session: &str, more: &[&str]) -> String {
    let output = world.dir.join(format!("{session}.raw"));
    let path = output.to_string_lossy();
    let key = world.reading_key();
    let mut args = vec!["export", session, "--format", "raw", "--identity", &key, "--output", &path];
    args.extend(more);
    world.hand("carol").ok(&args);
    let bytes = fs::read(&output).unwrap();
    fs::remove_file(&output).unwrap();
    sha256(&bytes)
}

/// D-10: both the client and the target ask for new keys every 64 KiB while 200 MiB go each way; what arrived, what
/// came back and what was recorded is the same.
#[test]
fn new_keys_under_load_lose_nothing() {
    let world = World::shared();
    let dir = world.dir.join("rekeying");
    fs::create_dir_all(&dir).unwrap();
    for name in ["host", "host.pub"] {
        fs::copy(world.sshd.dir.join(name), dir.join(name)).unwrap();
    }
    let ca = fs::read_to_string(world.sshd.dir.join("user_ca.pub")).unwrap();
    let sshd = Sshd::start(&dir, &ca, &format!("{}\n", LIMIT.replace('=', " ")));
    world.add_target("rekeying", sshd.port);
    world.grant("alice", "rekeying", ALL);
    let sent = noise(13, LOAD);
    let want = sha256(&sent);
    let mut command = world.client("alice").ssh("rekeying", &["-v", "-o", LIMIT, "cat"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stderr = child.stderr.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(&sent));
    let words = std::thread::spawn(move || {
        let mut words = String::new();
        stderr.read_to_string(&mut words).map(|_| words)
    });
    let mut back = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut back).unwrap();
    let status = child.wait().unwrap();
    writer.join().unwrap().unwrap();
    let words = words.join().unwrap().unwrap();
    assert!(status.success(), "{status}");
    assert_eq!(sha256(&back), want);
    let rounds = words.matches("SSH2_MSG_NEWKEYS received").count();
    assert!(rounds > LOAD / (1 << 20), "new keys only {rounds} times");
    let session = world.session("rekeying");
    world.ended("rekeying");
    assert_eq!(recorded(world, &session, &[]), want, "what was shown");
    assert_eq!(recorded(world, &session, &["--input"]), want, "what was typed");
}

/// D-10: a client that talks in the middle of a key exchange, or does not finish one, loses its session for that reason.
#[test]
fn a_client_that_misuses_a_key_exchange_is_hung_up_on() {
    let world = World::shared();
    let attacks = [
        ("data-in-rekey", "protocol_violated"),
        ("stalled-rekey", "client_stalled"),
        ("quiet-rekey", "client_left"),
    ];
    std::thread::scope(|scope| {
        for (attack, reason) in attacks {
            scope.spawn(move || {
                let target = world.target();
                world.grant("alice", &target, ALL);
                let other = world.hand("bob").key();
                let args = ["--attack", attack, "--other-key", &other.to_string_lossy()];
                let said = python(world, "hostile_client.py", &target, &args);
                assert_eq!((said.code, said.out.trim()), (0, "ok"), "{attack}: {said:?}");
                world.ended(&target);
                let first = world.sessions(&target).into_iter().next().expect("a session");
                assert_eq!(end_reason(&first), reason, "{attack}");
            });
        }
    });
}

/// The twin of a stalled key exchange: a client that does not read, and a target that does not, for longer than a key
/// exchange may take. Both sessions wait and then go on, with every byte.
#[test]
fn a_peer_that_only_does_not_read_is_waited_for() {
    const QUIET: &str = "sleep 40";
    const BYTES: usize = 30 << 20;
    let world = World::shared();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let target = world.target();
            world.grant("alice", &target, ALL);
            let command = format!("head -c {BYTES} /dev/zero");
            let mut ssh = world.client("alice").ssh(&target, &[&command]);
            let mut child = ssh.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
            let reader = child.stdout.take().unwrap();
            let line = format!("{QUIET}; wc -c");
            let count = Command::new("sh").args(["-c", &line]).stdin(reader).output().unwrap();
            assert_eq!(
                String::from_utf8_lossy(&count.stdout).trim(),
                BYTES.to_string(),
                "the client read late"
            );
            assert!(child.wait().unwrap().success());
        });
        scope.spawn(|| {
            let target = world.target();
            world.grant("alice", &target, ALL);
            let line = format!("{QUIET}; wc -c");
            let said = world.client("alice").through(&target, &line, vec![0; BYTES]);
            assert_eq!(String::from_utf8_lossy(&said).trim(), BYTES.to_string(), "the target read late");
        });
    });
}
