//! What passes through a channel and what does not, D-01 to D-05, judged by taps at both ends and by the recording.
//!
//! Each refusal is looked for in the recording, not only at the client: an attempt nobody can see later is half a
//! success. The same attacks against the protocol itself are in `adversarial` and `tests/clients/hostile_client.py`.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use crate::client::{Pipes, run};
use crate::clients;
use crate::postern::{end_reason, noise, sha256};
use crate::review::bytes;
use crate::ssh::ALL;
use crate::sshd;
use crate::wait;
use crate::world::World;

fn ready(can: &str) -> (&'static World, String) {
    let world = World::shared();
    let target = world.target();
    world.grant("alice", &target, can);
    (world, target)
}

/// Everything recorded of the one session on a target, once it is over.
fn recorded(world: &World, target: &str) -> Vec<Value> {
    let session = world.session(target);
    world.ended(target);
    world.events(&session)
}

/// What was refused, in the order it was.
fn refused(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .filter(|event| event["type"] == "refused")
        .filter_map(|event| event["what"].as_str())
        .collect()
}

fn is_refused(events: &[Value], what: &str) {
    assert!(refused(events).iter().any(|one| one.contains(what)), "{what} in {:?}", refused(events));
}

/// Makes text for a line that is nobody else's, of a length that several packets share.
fn lines(seed: u64) -> String {
    let noise = data_encoding::BASE64.encode(&noise(seed, 60_000));
    noise.as_bytes().chunks(76).map(|line| format!("{}\n", String::from_utf8_lossy(line))).collect()
}

/// D-01: three channels of one connection, of which two came later and have no terminal. For each, what the target got
/// and what the client got is what the recording holds, byte for byte.
#[test]
fn every_channel_is_recorded_in_both_directions() {
    let (world, target) = ready(ALL);
    let client = world.client("alice");
    let control = format!("ControlPath={}", world.dir.join(format!("{target}.mux")).display());
    let tap = |name: &str| world.dir.join(format!("{target}-tap-{name}"));
    let tee = |name: &str| format!("tee {}", tap(name).display());
    let first = ["-o", "ControlMaster=yes", "-o", &control, &tee("first")];
    let mut first = Pipes::start(client.ssh(&target, &first));
    first.say("first\n").unwrap();
    first.hear("first\n");
    let mut second = Pipes::start(client.ssh(&target, &["-o", &control, &tee("second")]));
    // A shell without a terminal, fed from a pipe: what follows its first line goes to that line's command.
    let mut third = Pipes::start(client.ssh(&target, &["-T", "-o", &control]));
    let command = format!("exec {}\n", tee("third"));
    third.say(&command).unwrap();
    let (of_first, of_second, of_third) = (lines(1), lines(2), lines(3));
    for (channel, text) in [(&mut first, &of_first), (&mut second, &of_second), (&mut third, &of_third)] {
        channel.say(text).unwrap();
        channel.say("last words\n").unwrap();
        channel.hear("last words\n");
    }
    for channel in [&mut second, &mut third, &mut first] {
        drop(channel.take_input());
        assert_eq!(channel.end(wait::LONG).code, 0);
    }
    let events = recorded(world, &target);
    let of_channel = |number: u64| -> Vec<Value> {
        events.iter().filter(|event| event["channel"] == number).cloned().collect()
    };
    let channels: BTreeSet<u64> = events
        .iter()
        .filter(|event| event["type"] == "output")
        .filter_map(|e| e["channel"].as_u64())
        .collect();
    assert_eq!(channels.len(), 3, "three streams: {channels:?}");
    let mut expected = Vec::new();
    for (name, heard, before) in
        [("first", &first.heard, ""), ("second", &second.heard, ""), ("third", &third.heard, &*command)]
    {
        let got = fs::read(tap(name)).unwrap();
        assert_eq!(sha256(&got), sha256(heard), "{name}: the target sent back what it got");
        expected.push((sha256(&[before.as_bytes(), &got].concat()), sha256(heard)));
    }
    let mut found: Vec<_> = channels
        .iter()
        .map(|number| of_channel(*number))
        .map(|own| (sha256(&bytes(&own, "input")), sha256(&bytes(&own, "output"))))
        .collect();
    expected.sort();
    found.sort();
    assert_eq!(found, expected, "input and output of each channel");
}

/// Asks a SOCKS proxy on a port of this machine for a connection; gives its answer code, or nothing when it hung up.
fn socks(port: u16, host: &str, to: u16) -> Option<u8> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(wait::LONG)).unwrap();
    stream.write_all(&[5, 1, 0]).unwrap();
    let mut greeting = [0; 2];
    stream.read_exact(&mut greeting).unwrap();
    assert_eq!(greeting, [5, 0]);
    let length = u8::try_from(host.len()).unwrap();
    stream.write_all(&[&[5, 1, 0, 3, length], host.as_bytes(), &to.to_be_bytes()].concat()).unwrap();
    let mut answer = [0; 10];
    stream.read_exact(&mut answer).ok()?;
    // OpenSSH says yes before it asks; then it closes, or what was reached speaks.
    let mut word = [0; 1];
    stream.read_exact(&mut word).ok()?;
    Some(answer[1])
}

/// D-02: tunnels beyond the one that was granted, of every kind: none is dialled, and each is in the recording.
#[test]
fn tunnels_beyond_the_grant_reach_nothing_and_are_recorded() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let reached = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&reached);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            count.fetch_add(1, Ordering::SeqCst);
            stream.unwrap().write_all(b"reached\n").ok();
        }
    });
    let granted = TcpListener::bind("127.0.0.1:0").unwrap();
    let granted_port = granted.local_addr().unwrap().port();
    std::thread::spawn(move || {
        granted.incoming().for_each(|stream| stream.unwrap().write_all(b"!").unwrap())
    });
    let (world, target) = ready(&format!("exec,forward=127.0.0.1:{granted_port}"));
    let (proxy, local) = (sshd::free_port(), sshd::free_port());
    let options = ["-D", &proxy.to_string(), "-L", &format!("{local}:127.0.0.1:{port}"), "cat"];
    let mut tunnels = Pipes::start(world.client("alice").ssh(&target, &options));
    tunnels.say("up\n").unwrap();
    tunnels.hear("up");
    assert_eq!(socks(proxy, "127.0.0.1", granted_port), Some(0), "the control: what was granted is reached");
    let hosts =
        ["127.0.0.1", "localhost", "ip6-localhost", "0.0.0.0", "127.1", "2130706433", "0x7f.1", "::1"];
    for host in hosts {
        assert_eq!(socks(proxy, host, port), None, "{host}");
    }
    // A granted address by another name, and a port beside it.
    assert_eq!(socks(proxy, "localhost", granted_port), None);
    assert_eq!(socks(proxy, "169.254.169.254", 80), None);
    assert_eq!(socks(proxy, "metadata.google.internal", 80), None);
    let mut stream = TcpStream::connect(("127.0.0.1", local)).unwrap();
    stream.set_read_timeout(Some(wait::LONG)).unwrap();
    assert_eq!(stream.read(&mut [0; 1]).unwrap_or(0), 0, "-L");
    drop(tunnels.take_input());
    tunnels.end(wait::LONG);
    let events = recorded(world, &target);
    for host in hosts {
        let host = if host == "::1" { "[::1]" } else { host };
        is_refused(&events, &format!("forward={host}:{port}"));
    }
    is_refused(&events, &format!("localhost:{granted_port}"));
    is_refused(&events, "169.254.169.254:80");
    is_refused(&events, "metadata.google.internal:80");
    let forwards: Vec<_> = events.iter().filter(|event| event["type"] == "forward").collect();
    assert_eq!(forwards.len(), 1, "only the control was opened: {forwards:?}");

    let again = world.target();
    world.grant("alice", &again, ALL);
    let (socket, remote) = (world.dir.join(format!("{again}.sock")), sshd::free_port());
    let socket = format!("{}:127.0.0.1:{port}", socket.display());
    let remote = format!("{remote}:127.0.0.1:{port}");
    let options = ["-o", "LogLevel=INFO", "-R", &remote, "-R", &socket, "sleep 1"];
    let said = run(&mut world.client("alice").ssh(&again, &options));
    assert_eq!(said.err.matches("forwarding failed").count(), 2, "{said:?}");
    let events = recorded(world, &again);
    is_refused(&events, "remote forward");
    is_refused(&events, "remote socket forward");
    assert_eq!(reached.load(Ordering::SeqCst), 0, "something was dialled");
}

/// D-03: what was asked for in vain is in the recording.
#[test]
fn refused_agents_and_displays_are_recorded() {
    let (world, target) = ready(ALL);
    let other = world.hand("bob").key();
    let args = ["--attack", "agent-and-x11", "--other-key", &other.to_string_lossy()];
    let said = clients::python(world, "hostile_client.py", &target, &args);
    assert_eq!((said.code, said.out.trim()), (0, "ok"), "{said:?}");
    world.ended(&target);
    let events: Vec<Value> = world
        .sessions(&target)
        .iter()
        .flat_map(|row| world.events(&crate::postern::id(&row.to_string(), "ses_").unwrap()))
        .collect();
    is_refused(&events, "agent forwarding");
    is_refused(&events, "x11 forwarding");
}

/// The file events of all sessions on a target, as operation, path, other path, size, digest and outcome.
fn files(world: &World, target: &str) -> Vec<Value> {
    world.ended(target);
    let rows = world.sessions(target);
    let sessions = rows.iter().map(|row| crate::postern::id(&row.to_string(), "ses_").unwrap());
    sessions.flat_map(|session| world.events(&session)).filter(|event| event["type"] == "file").collect()
}

fn place(world: &World, target: &str) -> PathBuf {
    let dir = world.dir.join(format!("{target}-files"));
    fs::create_dir_all(dir.join("deep/er")).unwrap();
    dir
}

/// D-04 over SFTP: names that climb, rename and link say in the recording what they did, with size and digest.
#[test]
fn sftp_names_are_recorded_as_they_crossed_the_wire() {
    let (world, target) = ready(ALL);
    let dir = place(world, &target);
    let (d, content) = (dir.display(), noise(29, 10 << 20));
    fs::write(dir.join("here"), &content).unwrap();
    fs::write(dir.join("secret"), "not yours\n").unwrap();
    let batch = dir.join("batch");
    let commands = format!(
        "put {d}/here {d}/deep/er/../../up\nrename {d}/up {d}/moved\nsymlink /etc {d}/a\n\
         get {d}/deep/er/../../secret {d}/back\nget {d}/a/hostname {d}/hostname\nget {d}/moved {d}/again\n"
    );
    fs::write(&batch, commands).unwrap();
    let client = world.client("alice");
    let said =
        run(client.tool("sftp").arg("-b").arg(&batch).arg(format!("{}@gate", World::address(&target))));
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(sha256(&fs::read(dir.join("again")).unwrap()), sha256(&content));
    let files = files(world, &target);
    let is_there = |operation: &str, path: &str, content: &[u8]| {
        let found = files.iter().any(|file| {
            file["operation"] == operation
                && file["path"] == path
                && file["bytes"] == content.len()
                && file["sha256"] == sha256(content).as_str()
                && file["outcome"] == "ok"
        });
        assert!(found, "{operation} of {path}: {files:#?}");
    };
    is_there("upload", &format!("{d}/deep/er/../../up"), &content);
    is_there("download", &format!("{d}/deep/er/../../secret"), b"not yours\n");
    is_there("download", &format!("{d}/a/hostname"), &fs::read("/etc/hostname").unwrap());
    is_there("download", &format!("{d}/moved"), &content);
    let is_pair = |operation: &str, one: &str, other: &str| {
        let both = BTreeSet::from([one.to_owned(), other.to_owned()]);
        let found = files.iter().filter(|file| file["operation"] == operation).any(|file| {
            let names = [&file["path"], &file["other_path"]].map(|name| name.as_str().unwrap_or_default());
            names.iter().map(|&name| name.to_owned()).collect::<BTreeSet<_>>() == both
        });
        assert!(found, "{operation} of {one} and {other}: {files:#?}");
    };
    is_pair("rename", &format!("{d}/up"), &format!("{d}/moved"));
    is_pair("link", "/etc", &format!("{d}/a"));
}

/// A client cannot switch off what is written down of its files: one that uses handles before it is given them ends,
/// before that has any effect; one that has very many open is followed.
#[test]
fn no_file_moves_over_sftp_unnamed() {
    let (world, target) = ready("sftp");
    let dir = place(world, &target);
    fs::write(dir.join("secret"), "seen\n").unwrap();
    for (attack, name) in [("guessed-write", "new"), ("guessed-read", "secret"), ("many", "secret")] {
        let path = dir.join(name);
        let args = ["--attack", attack, "--place", &path.to_string_lossy()];
        let said = clients::python(world, "hostile_sftp.py", &target, &args);
        assert_eq!((said.code, said.out.trim()), (0, "ok"), "{attack}: {said:?}");
    }
    assert!(!dir.join("new").exists(), "the piece with the guess in it never reached the target");
    let named =
        files(world, &target).iter().filter(|file| file["sha256"] == sha256(b"seen\n").as_str()).count();
    assert_eq!(named, 600);
    let rows = world.sessions(&target);
    let violated = rows.iter().filter(|row| end_reason(row) == "protocol_violated").count();
    assert_eq!(violated, 2, "{rows:?}");
}

/// D-04 over the old protocol of scp: names no honest scp sends. The target decides; the recording says what was tried.
#[test]
fn scp_names_that_climb_or_break_lines_are_recorded() {
    let (world, target) = ready(ALL);
    let dir = place(world, &target);
    for name in ["../x", "line\\^Jbreak", "-oProxyCommand=touch owned", "plain"] {
        let input = format!("C0644 4 {name}\nabc\n\0E\n");
        let receive = format!("scp -r -t {}/deep", dir.display());
        let mut pipes = Pipes::start(world.client("alice").ssh(&target, &[&receive]));
        pipes.say(&input).unwrap();
        drop(pipes.take_input());
        pipes.end(wait::LONG);
    }
    assert!(!dir.join("x").exists(), "the target's own scp refuses to climb");
    assert!(!dir.join("owned").exists() && !world.state.join("owned").exists());
    let files = files(world, &target);
    for name in ["../x", "-oProxyCommand=touch owned", "plain"] {
        let found = files.iter().find(|file| file["path"].as_str().is_some_and(|path| path.ends_with(name)));
        let found = found.unwrap_or_else(|| panic!("{name}: {files:#?}"));
        assert_eq!(found["operation"], "upload", "{found}");
        if name == "plain" {
            let whole = (&found["bytes"], &found["sha256"], &found["outcome"]);
            assert_eq!(whole, (&4.into(), &sha256(b"abc\n").into(), &"ok".into()), "{found}");
        }
    }
    assert!(
        files.iter().any(|file| file["path"].as_str().is_some_and(|path| path.contains("break"))),
        "{files:#?}"
    );
}

/// D-01: a client that leaves behind its upload has sent it: all of it goes to the target, and all of it is recorded.
#[test]
fn an_upload_whose_client_has_left_arrives_whole() {
    let (world, _) = ready(ALL);
    let other = world.hand("bob").key();
    let content: String = (0..200_000).map(|number| format!("{number:015}\n")).collect();
    for attack in ["leave-a-slow-target", "leave-an-echo"] {
        let target = world.target();
        world.grant("alice", &target, ALL);
        let to = world.dir.join(format!("{target}-upload"));
        let (other, place) = (other.to_string_lossy(), to.to_string_lossy());
        let args = ["--attack", attack, "--other-key", &other, "--place", &place];
        let said = clients::python(world, "hostile_client.py", &target, &args);
        assert_eq!((said.code, said.out.trim()), (0, "ok"), "{attack}: {said:?}");
        let done = world.dir.join(format!("{target}-upload-done"));
        wait::until(wait::LONG, "the command ends", || done.exists().then_some(()));
        let got = fs::read(&to).unwrap();
        assert!(content.as_bytes().starts_with(&got), "{attack}: nothing that was not sent");
        // A channel that is closed is no longer read by sshd either, which ends a command that goes on talking.
        assert!(attack == "leave-an-echo" || got.len() == content.len(), "{attack}: {} bytes", got.len());
        world.ended(&target);
        let rows = world.sessions(&target);
        let inputs = rows.iter().map(|row| crate::postern::id(&row.to_string(), "ses_").unwrap());
        let inputs = inputs.map(|session| bytes(&world.events(&session), "input"));
        assert!(inputs.into_iter().any(|input| input == content.as_bytes()), "{attack}: the recording");
    }
}

/// D-01: what is started in vain is bounded, and each attempt stands in the recording.
#[test]
fn starts_that_are_denied_or_come_second_are_counted_and_recorded() {
    let (world, few) = ready("sftp");
    let target = world.target();
    world.grant("alice", &target, ALL);
    let other = world.hand("bob").key();
    let attack = |target: &str, name: &str| {
        let args = ["--attack", name, "--other-key", &other.to_string_lossy()];
        let said = clients::python(world, "hostile_client.py", target, &args);
        assert_eq!((said.code, said.out.trim()), (0, "ok"), "{name}: {said:?}");
    };
    attack(&few, "denied-starts");
    assert_eq!(end_reason(&world.ended(&few)), "protocol_violated");
    is_refused(&recorded(world, &few), "exec");
    attack(&target, "second-start");
    world.ended(&target);
    let rows = world.sessions(&target);
    let sessions = rows.iter().map(|row| crate::postern::id(&row.to_string(), "ses_").unwrap());
    let events: Vec<Value> = sessions.flat_map(|session| world.events(&session)).collect();
    for what in ["exec", "shell"] {
        let is_it = |event: &&Value| {
            event["type"] == "refused"
                && event["what"] == what
                && event["why"] == "something runs in this channel already"
        };
        assert_eq!(events.iter().filter(is_it).count(), 1, "{what}: {events:?}");
    }
}

/// D-05: ten thousand variables by hand: the listed ones pass up to the cap, the rest is refused until the gate has
/// had enough of it, and the recording holds both.
#[test]
fn a_flood_of_variables_ends_in_the_cap_and_in_the_recording() {
    let (world, target) = ready(ALL);
    let other = world.hand("bob").key();
    for attack in ["environment-cap", "environment-flood", "variables-of-many-channels"] {
        let args = ["--attack", attack, "--other-key", &other.to_string_lossy()];
        let said = clients::python(world, "hostile_client.py", &target, &args);
        assert_eq!((said.code, said.out.trim()), (0, "ok"), "{attack}: {said:?}");
    }
    world.ended(&target);
    let rows = world.sessions(&target);
    let violated = rows.iter().filter(|row| end_reason(row) == "protocol_violated").count();
    assert_eq!(violated, 1, "the flood was hung up on: {rows:?}");
    for row in &rows {
        let events = world.events(&crate::postern::id(&row.to_string(), "ses_").unwrap());
        let passed: Vec<&str> = events
            .iter()
            .filter(|event| event["type"] == "environment")
            .filter_map(|event| event["name"].as_str())
            .collect();
        assert!(passed.len() <= 32 && passed.iter().all(|name| name.starts_with("LC_")), "{passed:?}");
        if passed.is_empty() {
            continue;
        }
        assert_eq!(passed.len(), 32);
        for name in ["LD_PRELOAD", "BASH_ENV", "ENV", "PS4", "PATH", "GIT_SSH_COMMAND"] {
            is_refused(&events, &format!("environment variable {name:?}"));
        }
    }
}
