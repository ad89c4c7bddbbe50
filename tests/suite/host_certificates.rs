//! Targets that are trusted by the CA of their host certificates, with real SSH servers behind them.
//!
//! Each server shows a certificate with one thing wrong; only the sound one is talked to. What is refused is refused
//! before anything is sent that a wrong target could use, and the session says that it was the host key.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::client::run;
use crate::postern::end_reason;
use crate::ssh::ALL;
use crate::sshd::{self, Sshd};
use crate::world::World;

/// Signs the host key in `dir` with the CA at `ca`.
fn certify(dir: &Path, ca: &Path, options: &[&str]) {
    let said = run(Command::new("ssh-keygen")
        .args(["-q", "-s"])
        .arg(ca)
        .args(["-I", "host"])
        .args(options)
        .arg(dir.join("host.pub")));
    assert_eq!(said.code, 0, "{options:?}: {said:?}");
}

/// A server with a host key of its own, and a certificate for it where `certificate` says with what.
fn server(world: &World, name: &str, certificate: Option<(&Path, &[&str])>) -> Sshd {
    let dir = world.dir.join(name);
    fs::create_dir_all(&dir).unwrap();
    sshd::keygen(&dir.join("host"), "ed25519");
    let user_ca = fs::read_to_string(world.sshd.dir.join("user_ca.pub")).unwrap();
    let Some((ca, options)) = certificate else { return Sshd::start(&dir, &user_ca, "") };
    certify(&dir, ca, options);
    let line = format!("HostCertificate {}", dir.join("host-cert.pub").display());
    Sshd::start(&dir, &user_ca, &line)
}

fn register(world: &World, name: &str, server: &Sshd, ca: &Path, how: &str) {
    let ca: PathBuf = ca.with_extension("pub");
    let address = format!("127.0.0.1:{}", server.port);
    let (login, ca) = (sshd::login(), ca.to_string_lossy());
    world.machine.ok(&["targets", "add", name, &address, "--login", &login, how, &ca]);
    world.grant("alice", name, ALL);
}

/// A target's name, its certificate's CA and options, and whether it is sound.
type Vector<'a> = (&'static str, Option<(&'a Path, Vec<&'static str>)>, bool);

#[test]
fn only_a_sound_host_certificate_is_talked_to() {
    let world = World::shared();
    let dir = world.dir.join("host-cas");
    fs::create_dir_all(&dir).unwrap();
    for name in ["ca", "other"] {
        sshd::keygen(&dir.join(name), "ed25519");
    }
    let (ca, other) = (dir.join("ca"), dir.join("other"));
    let now = ["-V", "-1m:+5m"];
    let with = |options: &[&'static str]| [&["-h"][..], options, &now].concat();
    let vectors: Vec<Vector<'_>> = vec![
        ("hc-by-name", Some((&ca, with(&["-n", "hc-by-name"]))), true),
        ("hc-by-address", Some((&ca, with(&["-n", "other.example.org,127.0.0.1"]))), true),
        ("hc-wrong-name", Some((&ca, with(&["-n", "hc-by-name"]))), false),
        ("hc-no-names", Some((&ca, with(&[]))), false),
        ("hc-wildcard", Some((&ca, with(&["-n", "*"]))), false),
        ("hc-expired", Some((&ca, vec!["-h", "-n", "hc-expired", "-V", "-10m:-1s"])), false),
        ("hc-not-yet", Some((&ca, vec!["-h", "-n", "hc-not-yet", "-V", "+5m:+10m"])), false),
        ("hc-other-ca", Some((&other, with(&["-n", "hc-other-ca"]))), false),
        ("hc-user", Some((&ca, [&["-n", "hc-user"][..], &now].concat())), false),
        ("hc-option", Some((&ca, with(&["-n", "hc-option", "-O", "critical:no@example.org=1"]))), false),
        ("hc-bare", None, false),
    ];
    for (name, certificate, is_sound) in &vectors {
        let certificate = certificate.as_ref().map(|(ca, options)| (*ca, options.as_slice()));
        let server = server(world, name, certificate);
        register(world, name, &server, &ca, "--host-ca");
        let said = world.client("alice").exec(name, "echo in");
        assert_eq!(said.out == "in\n" && said.code == 0, *is_sound, "{name}: {said:?}");
        if !is_sound {
            assert_eq!(end_reason(&world.ended(name)), "target_key_changed", "{name}");
            assert!(!server.log().contains("Accepted"), "{name}: {}", server.log());
        }
    }
}

/// A CA that is pinned as if it were a host key vouches for nothing.
#[test]
fn a_pinned_key_is_not_taken_for_a_ca() {
    let world = World::shared();
    let dir = world.dir.join("pinned-cas");
    fs::create_dir_all(&dir).unwrap();
    let ca = dir.join("ca");
    sshd::keygen(&ca, "ed25519");
    let server = server(world, "hc-pinned", Some((&ca, &["-h", "-n", "hc-pinned", "-V", "-1m:+5m"])));
    register(world, "hc-pinned", &server, &ca, "--host-key");
    let said = world.client("alice").exec("hc-pinned", "echo in");
    assert!(said.code != 0 && said.out.is_empty(), "{said:?}");
    assert_eq!(end_reason(&world.ended("hc-pinned")), "target_key_changed");
}
