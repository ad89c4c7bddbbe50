//! The bastion as a service: health, metrics, reload, private files, and what its logs may say.
//!
//! Only what an operations team sees from outside. Crashes and stops are in `recovery`.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::ssh::ALL;
use crate::wait;
use crate::world::World;

/// One plain HTTP request to the metrics listener; gives the whole answer.
pub(crate) fn get(world: &World, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", world.metrics_port)).unwrap();
    stream.set_read_timeout(Some(wait::LONG)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn health_and_metrics_answer_on_their_own_listener() {
    let world = World::shared();
    for path in ["/healthz", "/readyz"] {
        let health = get(world, path);
        assert!(health.starts_with("HTTP/1.1 200"), "{path}: {health}");
    }
    let target = world.target();
    world.grant("alice", &target, ALL);
    world.client("alice").ok(&target, "true");
    world.ended(&target);
    let metrics = get(world, "/metrics");
    assert!(metrics.starts_with("HTTP/1.1 200") && metrics.contains("postern_"), "{metrics}");
    assert!(get(world, "/api/v1/status").starts_with("HTTP/1.1 404"), "the API is not on this listener");
}

#[test]
fn a_bad_configuration_never_replaces_a_good_one() {
    let world = World::fresh();
    let target = world.target();
    world.grant("alice", &target, ALL);
    let path = world.state.join("postern.toml");
    let good = fs::read(&path).unwrap();
    fs::write(&path, "[limits]\nidle = 'whenever'\n").unwrap();
    world.signal("HUP");
    wait::until(wait::LONG, "the bastion says that it refused the file", || {
        world.log().contains("whenever").then_some(())
    });
    assert_eq!(world.client("alice").ok(&target, "echo on"), "on\n");
    fs::write(&path, good).unwrap();
    world.signal("HUP");
    assert_eq!(world.client("alice").ok(&target, "echo on"), "on\n");
}

#[test]
fn logs_hold_no_secret_and_no_content() {
    let world = World::fresh();
    let target = world.target();
    world.grant("alice", &target, ALL);
    world.client("alice").ok(&target, "echo canary-in-a-command");
    let back = world.client("alice").through(&target, "cat", b"canary-in-the-input".to_vec());
    assert_eq!(back, b"canary-in-the-input");
    world.ended(&target);
    let log = world.log();
    for canary in ["canary-in", "PRIVATE KEY", "AGE-SECRET-KEY", "pst_api_"] {
        assert!(!log.contains(canary), "{canary:?} is in the log");
    }
    assert!(log.lines().filter(|line| line.starts_with('{')).count() > 0, "logs are lines of JSON: {log}");
}

#[test]
fn the_directory_is_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::shared();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&world.state), 0o700);
    let mut pending = vec![world.state.clone()];
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                pending.push(entry.path());
            } else if kind.is_file() && !is_public(&entry.path()) {
                assert_eq!(mode(&entry.path()) & 0o077, 0, "{} is open to others", entry.path().display());
                let bytes = fs::read(entry.path()).unwrap_or_default();
                assert!(
                    !crate::client::contains(&bytes, b"OPENSSH PRIVATE KEY"),
                    "{} holds a key in clear",
                    entry.path().display()
                );
            }
        }
    }
}

/// Public keys and certificates are for showing.
fn is_public(path: &std::path::Path) -> bool {
    path.extension().is_some_and(|extension| extension == "pub" || extension == "pem")
}
