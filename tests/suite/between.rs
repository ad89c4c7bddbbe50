//! Somebody in between (D-09): a proxy on loopback that adds and drops packets before the keys are in force.
//!
//! It stands between the OpenSSH client and the gate, or between the gate and a target, and reads every packet up to
//! NEWKEYS in the clear. Under strict key exchange whoever gets an added packet hangs up at once; what must not happen
//! is told by what the gate still says after it. The twin of each is the same proxy leaving everything as it is.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use crate::client::run;
use crate::postern::{Said, end_reason};
use crate::ssh::ALL;
use crate::wire;
use crate::world::World;

const KEXINIT: u8 = 20;
const NEWKEYS: u8 = 21;
const EXCHANGE: u8 = 30;
const REPLY: u8 = 31;

/// What the proxy does to one direction.
#[derive(Debug, Clone)]
enum Meddling {
    Nothing,
    /// Adds this payload before the first packet of this number.
    Add(u8, Vec<u8>),
    /// Leaves out the first packet after NEWKEYS (a server's EXT_INFO). Its length can be read, because the cipher is AES-GCM.
    DropFirst,
}

/// Which direction is meddled with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    ToServer,
    ToClient,
}

/// Something the proxy saw pass, or did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Packet(Way, u8),
    /// Bytes under the new keys.
    Encrypted(Way),
    Meddled,
}

type Seen = Arc<Mutex<Vec<Event>>>;

/// A proxy to a port of this machine, for the connections of one test.
struct Between {
    port: u16,
    seen: Seen,
}

impl Between {
    fn start(to: u16, way: Way, meddling: &Meddling) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Seen::default();
        let (events, meddling) = (Arc::clone(&seen), meddling.clone());
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(("127.0.0.1", to)) else { continue };
                for (from, into, this) in
                    [(&client, &server, Way::ToServer), (&server, &client, Way::ToClient)]
                {
                    let (from, into) = (from.try_clone().unwrap(), into.try_clone().unwrap());
                    let meddling = if this == way { meddling.clone() } else { Meddling::Nothing };
                    let events = Arc::clone(&events);
                    std::thread::spawn(move || {
                        // However it ends, the other side hears of it.
                        drop(pass(&from, &into, this, &meddling, &events));
                        into.shutdown(Shutdown::Write).ok();
                    });
                }
            }
        });
        Self { port, seen }
    }

    /// What passed after the meddling.
    fn after(&self) -> Vec<Event> {
        let seen = self.seen.lock().unwrap();
        let at = seen.iter().position(|event| *event == Event::Meddled).expect("the proxy found its moment");
        seen[at + 1..].to_vec()
    }

    fn saw(&self, event: Event) -> bool {
        self.seen.lock().unwrap().contains(&event)
    }
}

fn pass(
    mut from: &TcpStream,
    mut into: &TcpStream,
    way: Way,
    meddling: &Meddling,
    seen: &Mutex<Vec<Event>>,
) -> std::io::Result<()> {
    let note = |event| seen.lock().unwrap().push(event);
    let mut byte = [0];
    while byte != [b'\n'] {
        from.read_exact(&mut byte)?;
        into.write_all(&byte)?;
    }
    let mut last = 0;
    let mut is_done = false;
    while last != NEWKEYS {
        let packet = packet(from, 0)?;
        last = packet[5];
        if let (Meddling::Add(before, payload), false) = (meddling, is_done)
            && *before == last
        {
            is_done = true;
            note(Event::Meddled);
            into.write_all(&wire::framed(payload))?;
        }
        note(Event::Packet(way, last));
        into.write_all(&packet)?;
    }
    if matches!(meddling, Meddling::DropFirst) {
        packet(from, 16)?;
        note(Event::Meddled);
    }
    let mut buffer = [0; 32 << 10];
    loop {
        let count = from.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        note(Event::Encrypted(way));
        into.write_all(&buffer[..count])?;
    }
}

/// One packet as it stands on the wire, with `tag` bytes behind it.
fn packet(mut from: &TcpStream, tag: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; 4];
    from.read_exact(&mut bytes)?;
    let length = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
    assert!((2..=35_000).contains(&length), "a packet of {length} bytes");
    bytes.resize(4 + length + tag, 0);
    from.read_exact(&mut bytes[4..])?;
    Ok(bytes)
}

/// IGNORE, DEBUG, UNIMPLEMENTED and, for the gate, what belongs behind a login.
fn additions() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("IGNORE", vec![2, 0, 0, 0, 0]),
        ("UNIMPLEMENTED", vec![3, 0, 0, 0, 0]),
        ("DEBUG", vec![4, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    ]
}

fn through(world: &World, between: &Between, target: &str, cipher: &str) -> Said {
    let client = world.client("alice");
    let mut command = client.tool("ssh");
    command.args(["-vvv", "-o", &format!("Port={}", between.port), "-o", "HostKeyAlias=gate"]);
    // The gate's key is known under its own port.
    let known = world.dir.join("known_hosts_between");
    let keys = std::fs::read_to_string(world.dir.join("known_hosts")).unwrap();
    let renamed: String = keys
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(' '))
        .map(|(_, key)| format!("gate {key}\n"))
        .collect();
    std::fs::write(&known, renamed).unwrap();
    command.args(["-o", &format!("UserKnownHostsFile={}", known.display()), "-c", cipher]);
    run(command.arg(format!("{}@gate", World::address(target))).arg("echo in").stdin(Stdio::null()))
}

const CHACHA: &str = "chacha20-poly1305@openssh.com";
const GCM: &str = "aes256-gcm@openssh.com";

/// The twin: through a proxy that only looks, the client gets in under strict key exchange, which with this cipher works
/// only when both sides have set their sequence numbers back to zero.
#[test]
fn a_client_gets_in_past_somebody_who_only_looks() {
    let world = World::shared();
    let target = world.target();
    world.grant("alice", &target, ALL);
    for cipher in [CHACHA, GCM] {
        let between = Between::start(world.ssh_port, Way::ToServer, &Meddling::Nothing);
        let said = through(world, &between, &target, cipher);
        assert_eq!((said.code, said.out.as_str()), (0, "in\n"), "{cipher}: {said:?}");
        assert!(said.err.contains("will use strict KEX ordering"), "{cipher}: {}", said.err);
        assert!(between.saw(Event::Encrypted(Way::ToClient)), "{cipher}");
    }
}

#[test]
fn nothing_can_be_added_between_a_client_and_the_gate() {
    let world = World::shared();
    let target = world.target();
    world.grant("alice", &target, ALL);
    let mut added = additions();
    added.push(("SERVICE_REQUEST", [&[5, 0, 0, 0, 12][..], b"ssh-userauth"].concat()));
    added.push((
        "USERAUTH_REQUEST",
        vec![50, 0, 0, 0, 1, b'a', 0, 0, 0, 0, 0, 0, 0, 4, b'n', b'o', b'n', b'e'],
    ));
    added.push(("CHANNEL_OPEN", vec![90, 0, 0, 0, 7, b's', b'e', b's', b's', b'i', b'o', b'n', 0, 0, 0, 0]));
    for (name, payload) in added {
        for (before, forbidden) in [
            (KEXINIT, Event::Packet(Way::ToClient, REPLY)),
            (EXCHANGE, Event::Packet(Way::ToClient, REPLY)),
            (NEWKEYS, Event::Encrypted(Way::ToClient)),
        ] {
            let between =
                Between::start(world.ssh_port, Way::ToServer, &Meddling::Add(before, payload.clone()));
            let said = through(world, &between, &target, CHACHA);
            assert!(said.code != 0 && said.out.is_empty(), "{name} before {before}: {said:?}");
            let after = between.after();
            assert!(!after.contains(&forbidden), "{name} before {before}: the gate went on: {after:?}");
        }
    }
    assert!(world.sessions(&target).is_empty(), "none of them came as far as a session");
}

/// The same between the gate and a target, whose host key is pinned and right: the gate is the client there.
#[test]
fn nothing_can_be_added_or_left_out_between_the_gate_and_a_target() {
    let world = World::shared();
    let mut meddlings =
        vec![("nothing".to_owned(), Meddling::Nothing), ("drop".to_owned(), Meddling::DropFirst)];
    for (name, payload) in additions() {
        for before in [KEXINIT, REPLY, NEWKEYS] {
            let name = format!("{}-{before}", name.to_lowercase());
            meddlings.push((name, Meddling::Add(before, payload.clone())));
        }
    }
    for (name, meddling) in meddlings {
        let between = Between::start(world.sshd.port, Way::ToClient, &meddling);
        let target = format!("between-{name}");
        world.add_target(&target, between.port);
        world.grant("alice", &target, ALL);
        let said = world.client("alice").exec(&target, "echo in");
        if matches!(meddling, Meddling::Nothing) {
            assert_eq!((said.code, said.out.as_str()), (0, "in\n"), "{said:?}");
            continue;
        }
        assert!(said.code != 0 && said.out.is_empty(), "{name}: {said:?}");
        assert_eq!(end_reason(&world.ended(&target)), "target_unreachable", "{name}");
        let forbidden = match meddling {
            Meddling::Add(KEXINIT, _) => Event::Packet(Way::ToServer, NEWKEYS),
            Meddling::Add(..) | Meddling::DropFirst | Meddling::Nothing => Event::Encrypted(Way::ToServer),
        };
        let after = between.after();
        // Before the gate has heard it, it may have said what it would have said anyway.
        let first = usize::from(matches!(meddling, Meddling::DropFirst));
        let count = after.iter().filter(|event| **event == forbidden).count();
        assert!(count <= first, "{name}: the gate went on: {after:?}");
    }
}
