//! What an operator, a stranger or a target might try, and what must come of it.
//!
//! Each test names the attack; the labels (D-01…) are explained in `docs/threat-model.md`. Attacks that need a client
//! of their own are in `tests/clients/hostile_client.py`, called from `clients`; misbehaving targets in
//! `hostile_target`. Nothing here may depend on how the gate is built.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use crate::client::{Pipes, run};
use crate::postern::end_reason;
use crate::ssh::ALL;
use crate::sshd::{self, Sshd};
use crate::wait;
use crate::wire;
use crate::world::World;

fn ready(can: &str) -> (&'static World, String) {
    let world = World::shared();
    let target = world.target();
    world.grant("alice", &target, can);
    (world, target)
}

/// D-01: a second channel of the same connection, without a terminal, is as recorded as the first.
#[test]
fn a_command_in_a_second_channel_is_recorded() {
    let (world, target) = ready(ALL);
    let client = world.client("alice");
    let control = format!("ControlPath={}", world.dir.join(format!("{target}.mux")).display());
    let mut first = Pipes::start(client.ssh(&target, &["-tt", "-o", "ControlMaster=yes", "-o", &control]));
    first.say("echo fi''rst\n").unwrap();
    first.hear("first");
    let second = run(&mut client.ssh(&target, &["-o", &control, "id; cat /etc/hostname"]));
    let mut third = Pipes::start(client.ssh(&target, &["-T", "-o", &control]));
    third.say("echo thi''rd; exit\n").unwrap();
    third.hear("third");
    third.end(wait::LONG);
    first.say("exit\n").unwrap();
    first.end(wait::LONG);
    let session = world.session(&target);
    world.ended(&target);
    let events = world.events(&session);
    let mut channels: Vec<u64> =
        events.iter().filter(|e| e["type"] == "output").filter_map(|e| e["channel"].as_u64()).collect();
    channels.sort_unstable();
    channels.dedup();
    assert_eq!(channels.len(), 3, "three streams: {channels:?}");
    assert!(
        channels.iter().any(|&channel| {
            let own: Vec<Value> = events.iter().filter(|e| e["channel"] == channel).cloned().collect();
            crate::review::bytes(&own, "output") == second.out.as_bytes()
        }),
        "the second command's output is in the recording byte for byte"
    );
}

/// D-02: forwards nobody granted: refused, and not one connection is made for them.
#[test]
fn tunnels_that_were_not_granted_reach_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let reached = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&reached);
    std::thread::spawn(move || {
        for _ in listener.incoming() {
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    let (world, target) = ready(ALL);
    let client = world.client("alice");
    for destination in [format!("127.0.0.1:{port}"), format!("localhost:{port}"), "169.254.169.254:80".into()]
    {
        let said = run(client
            .tool("ssh")
            .args(["-W", &destination])
            .arg(format!("{}@gate", World::address(&target)))
            .stdin(Stdio::null()));
        assert_ne!(said.code, 0, "-W {destination}: {said:?}");
    }
    let remote = format!("{}:127.0.0.1:{port}", sshd::free_port());
    let said = run(client
        .ssh(&target, &["-o", "ExitOnForwardFailure=yes", "-R", &remote, "true"])
        .stdin(Stdio::null()));
    assert_ne!(said.code, 0, "-R: {said:?}");
    let socket = world.dir.join(format!("{target}.sock"));
    let remote = format!("{}:127.0.0.1:{port}", socket.display());
    let said = run(client
        .ssh(&target, &["-o", "ExitOnForwardFailure=yes", "-R", &remote, "true"])
        .stdin(Stdio::null()));
    assert_ne!(said.code, 0, "-R with a socket: {said:?}");
    let said = run(client.ssh(&target, &["-w", "any", "true"]).stdin(Stdio::null()));
    assert!(said.code != 0 || !said.err.is_empty(), "-w: {said:?}");
    assert_eq!(reached.load(Ordering::SeqCst), 0, "something was dialled");
}

/// D-03: agent and X11 forwarding are refused, and the target sees no trace of them.
#[test]
fn agent_and_x11_stay_behind() {
    let (world, target) = ready(ALL);
    let client = world.client("alice");
    let mut command = client.ssh(&target, &["-A", "-X", "echo agent=$SSH_AUTH_SOCK display=$DISPLAY"]);
    command.env("DISPLAY", "127.0.0.1:99").stdin(Stdio::null());
    let said = run(&mut command);
    assert_eq!(said.out.trim(), "agent= display=", "{said:?}");
}

/// D-04: names in transfers that try to leave their place, or to be options, change nothing for the gate.
#[test]
fn strange_file_names_are_only_names() {
    let (world, target) = ready(ALL);
    let client = world.client("alice");
    let dir = world.dir.join(format!("{target}-names"));
    fs::create_dir(&dir).unwrap();
    for name in ["-oProxyCommand=touch owned", "line\nbreak", "..x", "ünïcode", "quote'\"`$(touch owned)"] {
        let here = dir.join(name);
        fs::write(&here, name).unwrap();
        let there = dir.join("there");
        let said = run(client.tool("scp").args(["-q", "-p", "--"]).arg(&here).arg(format!(
            "{}@gate:{}",
            World::address(&target),
            there.display()
        )));
        assert_eq!(said.code, 0, "{name:?}: {said:?}");
        assert_eq!(fs::read(&there).unwrap(), name.as_bytes());
    }
    assert!(!dir.join("owned").exists() && !world.state.join("owned").exists());
}

/// D-05: only harmless variables pass.
#[test]
fn the_environment_is_an_allowlist() {
    let (world, target) = ready(ALL);
    let client = world.client("alice");
    let names = ["LANG", "LC_TIME", "LD_PRELOAD", "BASH_ENV", "ENV", "PS4", "GIT_SSH_COMMAND", "EVIL"];
    let mut command = client.tool("ssh");
    for name in names {
        command.args(["-o", &format!("SendEnv={name}")]);
    }
    command.arg(format!("{}@gate", World::address(&target))).arg("env").stdin(Stdio::null());
    for name in names.iter().skip(3) {
        command.env(name, "/tmp/evil");
    }
    let said = run(command.env("LANG", "C.UTF-8").env("LC_TIME", "C"));
    assert!(said.out.contains("LANG=C.UTF-8"), "{said:?}");
    assert!(!said.out.contains("/tmp/evil"), "{said:?}");
    let session = world.session(&target);
    world.ended(&target);
    let events = world.events(&session);
    let passed: Vec<&str> =
        events.iter().filter(|e| e["type"] == "environment").filter_map(|e| e["name"].as_str()).collect();
    assert!(passed.iter().all(|name| *name == "LANG" || name.starts_with("LC_")), "{passed:?}");
}

/// D-08, from outside: certificates of a configured user CA, of which only the good one gets in.
#[test]
fn only_the_sound_certificate_gets_in() {
    let ca_dir = crate::keeper::directory();
    for key in ["ca", "other_ca", "key"] {
        sshd::keygen(&ca_dir.join(key), "ed25519");
    }
    let ca = fs::read_to_string(ca_dir.join("ca.pub")).unwrap();
    let world = World::with(|table| {
        let authn = table.entry("authn").or_insert_with(|| toml::Value::Table(toml::Table::new()));
        let mut cas = toml::Table::new();
        let mut corp = toml::Table::new();
        corp.insert("public_key".into(), ca.trim().into());
        cas.insert("corp".into(), corp.into());
        authn.as_table_mut().unwrap().insert("user_cas".into(), toml::Value::Table(cas));
    });
    let target = world.target();
    world.machine.ok(&["people", "link", "alice", "--certificate", "corp=alice@corp"]);
    world.grant("alice", &target, ALL);
    let vectors: &[(&str, &str, &[&str], bool)] = &[
        ("control", "ca", &["-n", "alice", "-V", "-1m:+5m"], true),
        ("no principals", "ca", &["-V", "-1m:+5m"], false),
        ("wildcard principal", "ca", &["-n", "*", "-V", "-1m:+5m"], false),
        ("expired", "ca", &["-n", "alice", "-V", "-10m:-1s"], false),
        ("not yet valid", "ca", &["-n", "alice", "-V", "+5m:+10m"], false),
        ("host certificate", "ca", &["-h", "-n", "alice", "-V", "-1m:+5m"], false),
        ("another CA", "other_ca", &["-n", "alice", "-V", "-1m:+5m"], false),
        (
            "unknown critical option",
            "ca",
            &["-n", "alice", "-V", "-1m:+5m", "-O", "critical:no@example=1"],
            false,
        ),
        ("force-command", "ca", &["-n", "alice", "-V", "-1m:+5m", "-O", "force-command=id"], false),
        (
            "source address",
            "ca",
            &["-n", "alice", "-V", "-1m:+5m", "-O", "source-address=192.0.2.0/24"],
            false,
        ),
        (
            "right source address",
            "ca",
            &["-n", "alice", "-V", "-1m:+5m", "-O", "source-address=127.0.0.0/8"],
            true,
        ),
    ];
    for (name, signer, options, is_good) in vectors {
        let said = run(Command::new("ssh-keygen")
            .args(["-q", "-s"])
            .arg(ca_dir.join(signer))
            .args(["-I", "alice@corp"])
            .args(*options)
            .arg(ca_dir.join("key.pub")));
        assert_eq!(said.code, 0, "{name}: {said:?}");
        let mut command = world.client("alice").tool_with("ssh", &ca_dir.join("key"));
        command.arg("-o").arg(format!("CertificateFile={}", ca_dir.join("key-cert.pub").display()));
        let said =
            run(command.arg(format!("{}@gate", World::address(&target))).arg("echo in").stdin(Stdio::null()));
        assert_eq!(said.out == "in\n", *is_good, "{name}: {said:?}");
    }
}

/// D-09 and D-11: strict key exchange is offered; compression, CBC, SHA-1 and unauthenticated ciphers are not.
#[test]
fn the_offer_is_strict_and_modern() {
    let world = World::shared();
    let mut stream = wire::connect(world);
    let greeting = wire::greet(&mut stream);
    assert!(greeting.starts_with("SSH-2.0-"), "{greeting}");
    let lists = wire::name_lists(&wire::packet(&mut stream).unwrap());
    assert!(lists[0].iter().any(|name| name == "kex-strict-s-v00@openssh.com"), "{:?}", lists[0]);
    assert_eq!(
        (lists[6].as_slice(), lists[7].as_slice()),
        (&["none".to_owned()][..], &["none".to_owned()][..])
    );
    for name in lists.iter().take(6).flatten() {
        let is_weak =
            ["cbc", "3des", "arcfour", "sha1", "ssh-rsa", "ssh-dss", "md5", "group1-"].iter().any(|weak| {
                name.contains(weak) && !name.contains("rsa-sha2") && !name.ends_with("group14-sha256")
            });
        assert!(!is_weak && name != "none", "{name} is offered");
    }
}

/// D-11: a client that insists on compression is turned away.
#[test]
fn compression_cannot_be_negotiated() {
    let world = World::shared();
    let mut stream = wire::connect(world);
    wire::greet(&mut stream);
    let mut lists = wire::name_lists(&wire::packet(&mut stream).unwrap());
    let payload = wire::kexinit(&mut lists, |lists| {
        lists[6] = vec!["zlib@openssh.com".into(), "zlib".into()];
        lists[7] = lists[6].clone();
    });
    stream.write_all(&wire::framed(&payload)).unwrap();
    assert!(wire::closes(&mut stream));
}

/// D-12, before the key exchange: malformed bytes close that connection and nothing else.
#[test]
fn malformed_openings_are_closed() {
    let world = World::shared();
    let length = |bytes: [u8; 4]| [&bytes[..], &[0; 64]].concat();
    let mut huge_list = vec![20];
    huge_list.extend([7; 16]);
    huge_list.extend(1_000_000_u32.to_be_bytes());
    huge_list.extend([b','; 20_000]);
    let attacks: Vec<(&str, Vec<u8>)> = vec![
        ("length 0", length([0; 4])),
        ("length 1", length([0, 0, 0, 1])),
        ("length 2^32-1", length([255; 4])),
        ("length 2^31", length([128, 0, 0, 0])),
        ("padding longer than the packet", [&[0, 0, 0, 12, 255][..], &[0; 64]].concat()),
        ("a list longer than its packet", wire::framed(&huge_list)),
        ("a list of commas", wire::framed(&[&[20][..], &[7; 16], &[0, 0, 78, 32], &[b','; 20_000]].concat())),
        (
            "a list of a million commas",
            wire::framed(&[&[20][..], &[7; 16], &1_000_000_u32.to_be_bytes(), &[b','; 1_000_000]].concat()),
        ),
        ("login before keys", wire::framed(&[50, 0, 0, 0, 1, b'a'])),
        ("channel before keys", wire::framed(&[90, 0, 0, 0, 7])),
        ("message 255", wire::framed(&[255; 32])),
        ("empty payload", wire::framed(&[])),
    ];
    for (name, bytes) in attacks {
        let mut stream = wire::connect(world);
        wire::greet(&mut stream);
        drop(wire::packet(&mut stream).unwrap());
        // The gate may close before it has taken everything.
        let written = stream.write_all(&bytes);
        stream.shutdown(std::net::Shutdown::Write).ok();
        assert!(wire::closes(&mut stream), "{name}: still open ({written:?})");
    }
    gate_is_well(world);
}

/// D-12: identification lines that are too long, too many, or for another protocol.
#[test]
fn strange_greetings_are_closed() {
    let world = World::shared();
    let attacks: Vec<(&str, Vec<u8>)> = vec![
        ("a megabyte of banner", vec![b'A'; 1 << 20]),
        ("many lines", b"hello\r\n".repeat(100_000)),
        ("SSH 1", b"SSH-1.5-old\r\n".to_vec()),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: gate\r\n\r\n".to_vec()),
        ("TLS", [&[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3][..], &[9; 500]].concat()),
        ("zeros", vec![0; 10_000]),
    ];
    for (name, bytes) in attacks {
        let mut stream = wire::connect(world);
        let written = stream.write_all(&bytes);
        stream.shutdown(std::net::Shutdown::Write).ok();
        assert!(wire::closes(&mut stream), "{name}: still open ({written:?})");
    }
    gate_is_well(world);
}

/// D-40's SSH part: connections that say nothing do not keep others out.
#[test]
fn silent_connections_keep_nobody_out() {
    let (world, target) = ready(ALL);
    let silent: Vec<_> = (0..50).map(|_| wire::connect(world)).collect();
    assert_eq!(world.client("alice").ok(&target, "echo in"), "in\n");
    drop(silent);
}

/// D-33: nobody approves for themselves, by any of the ways to try.
#[test]
fn nobody_approves_their_own_request() {
    let world = World::shared();
    let target = world.target();
    let request = world.request("erin", &target, ALL, "1h");
    world.hand("erin").refused(&["approve", &request, "--yes"]);
    let other = world.request("alice", &target, ALL, "1h");
    world.hand("alice").refused(&["approve", &other, "--yes"]);
    world.hand("dave").refused(&["approve", &other, "--yes"]);
    world.machine.refused(&["approve", &other, "--yes"]);
    assert!(world.hand("erin").ok(&["approve", &other, "--yes"]).len() > 1, "erin may approve for alice");
    assert_ne!(world.client("erin").exec(&target, "true").code, 0, "erin's own request gave her nothing");
}

/// D-33: an approver whose second identity is the requester is the requester.
#[test]
fn a_linked_identity_is_the_same_person() {
    let world = World::fresh();
    let target = world.target();
    let other = crate::postern::Hand::new("erin2", &world.dir.join("home/erin2"), &[]);
    sshd::keygen(&other.key(), "ed25519");
    let public = format!("{}.pub", other.key().display());
    world.machine.ok(&["people", "link", "erin", "--key", &public]);
    let request = world.request("erin", &target, ALL, "1h");
    world.sign_in(&other);
    other.refused(&["approve", &request, "--yes"]);
}

/// D-34: many openings around the deadline; none starts after it, none outlives it.
#[test]
fn nothing_opens_after_the_deadline() {
    let world = World::shared();
    let target = world.target();
    world.grant_for("alice", &target, ALL, "6s");
    let client = world.client("alice");
    let opened: Vec<_> = (0..12)
        .map(|round| {
            let (client, target) = (client.clone(), target.clone());
            std::thread::spawn(move || {
                std::thread::sleep(std::time::Duration::from_millis(round * 700));
                client.exec(&target, "sleep 20; echo outlived")
            })
        })
        .collect();
    for thread in opened {
        let said = thread.join().unwrap();
        assert!(!said.out.contains("outlived") && said.code != 0, "{said:?}");
    }
    world.ended(&target);
    for row in world.sessions(&target) {
        assert_eq!(end_reason(&row), "grant_expired", "{row}");
    }
    let said = client.exec(&target, "true");
    assert_ne!(said.code, 0, "after the deadline: {said:?}");
}

/// D-35: every way to take access away ends the session it covers, and leaves the others alone.
#[test]
fn each_kind_of_revocation_ends_what_it_covers() {
    let world = World::fresh();
    let canary_target = world.target();
    world.grant("erin", &canary_target, ALL);
    let mut canary = world.client("erin").open(&canary_target, &["cat"]);
    canary.say("canary\n").unwrap();
    canary.hear("canary");
    for how in ["grant", "session", "target", "person"] {
        let target = world.target();
        let grant = world.grant("alice", &target, ALL);
        let mut live = world.client("alice").open(&target, &["cat"]);
        live.say("live\n").unwrap();
        live.hear("live");
        let session = world.session(&target);
        let dave = world.hand("dave");
        match how {
            "grant" => dave.ok(&["revoke", &grant, "--reason", "r"]),
            "session" => dave.ok(&["terminate", &session, "--reason", "r"]),
            "target" => dave.ok(&["revoke", "--target", &target, "--reason", "r"]),
            _ => dave.ok(&["people", "disable", "alice", "--reason", "r"]),
        };
        assert_ne!(live.end(wait::SHORT).code, 0, "{how}");
        world.ended(&target);
        canary.say(&format!("after {how}\n")).unwrap();
        canary.hear(&format!("after {how}"));
    }
    let target = world.target();
    world.hand("alice").refused(&["request", &World::address(&target), "--for", "1h", "--reason", "r"]);
    world.hand("dave").ok(&["revoke", "--all", "--reason", "r"]);
    assert_ne!(canary.end(wait::SHORT).code, 0);
}

/// A target that changed its host key is not talked to.
#[test]
fn a_changed_host_key_is_refused() {
    let world = World::fresh();
    let dir = world.dir.join("imposter");
    let user_ca = fs::read_to_string(world.sshd.dir.join("user_ca.pub")).unwrap();
    let imposter = Sshd::start(&dir, &user_ca, "");
    let target = "imposter";
    world.add_target(target, imposter.port);
    world.grant("alice", target, ALL);
    let said = world.client("alice").exec(target, "echo in");
    assert!(said.code != 0 && !said.out.contains("in"), "{said:?}");
    assert!(!imposter.log().contains("Accepted"), "{}", imposter.log());
    assert_eq!(end_reason(&world.ended(target)), "target_key_changed");
}

/// The gate still lets people in and has not panicked.
fn gate_is_well(world: &World) {
    let target = world.target();
    world.grant("alice", &target, ALL);
    assert_eq!(world.client("alice").ok(&target, "echo well"), "well\n");
    let log = world.log();
    assert!(!log.contains("panicked at"), "{log}");
}
