//! Malformed SSH (D-12) where no library helps: during the key exchange, and from a target.
//!
//! The peers are written byte by byte here. After each, somebody else gets a session, the bastion has not grown, nothing
//! panicked, and no connection's task broke. What comes before a client's key exchange is in `adversarial`, what comes
//! after it in `tests/clients/hostile_client.py`.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};

use crate::postern::end_reason;
use crate::service::get;
use crate::ssh::ALL;
use crate::wait;
use crate::wire;
use crate::world::World;

/// How much the bastion may grow over all attacks of one test, in KiB. Its buffers fill once and stay.
const GROWTH: u64 = 64 << 10;

/// A world whose bastion is watched.
struct Watched {
    world: World,
    canary: String,
    before: u64,
}

impl Watched {
    fn start() -> Self {
        let world = World::fresh();
        let canary = world.target();
        world.grant("erin", &canary, ALL);
        let watched = Self { world, canary, before: 0 };
        is_well(&watched.world, &watched.canary, "nothing");
        let before = watched.resident();
        Self { before, ..watched }
    }

    fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.world.serve_id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a resident size");
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    fn has_not_grown(&self) {
        let grown = self.resident().saturating_sub(self.before);
        assert!(grown < GROWTH, "the bastion grew by {grown} KiB");
    }
}

/// Somebody else (erin, on a target of hers) gets in, nothing panicked, and no connection's task broke.
pub(crate) fn is_well(world: &World, canary: &str, after: &str) {
    assert_eq!(world.client("erin").ok(canary, "echo well"), "well\n", "after {after}");
    let log = world.log();
    assert!(!log.contains("panicked at"), "after {after}: {log}");
    let metrics = get(world, "/metrics");
    assert!(metrics.contains("postern_"), "the metrics are there: {metrics}");
    let broken: Vec<&str> = metrics
        .lines()
        .filter(|line| line.starts_with("postern_lifecycles_broken_total") && !line.ends_with(" 0"))
        .collect();
    assert!(broken.is_empty(), "after {after}: {broken:?}");
}

fn string(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

/// A client's first message of a plain X25519 exchange.
fn exchange(point: &[u8]) -> Vec<u8> {
    [&[30][..], &string(point)].concat()
}

/// Points that are none, or that lead to no secret.
fn points() -> Vec<(String, Vec<u8>)> {
    let mut points: Vec<(String, Vec<u8>)> = [0, 1, 31, 33, 64, 30_000]
        .into_iter()
        .map(|length| (format!("a point of {length} bytes"), vec![9; length]))
        .collect();
    points.push(("the zero point".into(), vec![0; 32]));
    let mut order_four = vec![0; 32];
    order_four[0] = 1;
    points.push(("a point of small order".into(), order_four));
    points
}

/// Only plain X25519, so that the next message can be written here.
fn plain(lists: &mut [Vec<String>]) {
    lists[0] = vec!["curve25519-sha256".into()];
}

/// A connection on which both sides have said what they can, and the exchange comes next.
fn begun(world: &World) -> TcpStream {
    let mut stream = wire::connect(world);
    wire::greet(&mut stream);
    let mut lists = wire::name_lists(&wire::packet(&mut stream).unwrap());
    stream.write_all(&wire::framed(&wire::kexinit(&mut lists, plain))).unwrap();
    stream
}

/// Every message number where keys are being exchanged, and points that are none.
#[test]
fn nothing_malformed_in_a_key_exchange_harms_the_gate() {
    let watched = Watched::start();
    for (name, point) in points() {
        let mut stream = begun(&watched.world);
        stream.write_all(&wire::framed(&exchange(&point))).unwrap();
        let answer = wire::packet(&mut stream).ok();
        assert_ne!(answer.and_then(|answer| answer.first().copied()), Some(31), "{name} was answered");
    }
    let mut attacks = Vec::new();
    let good = exchange(&[9; 32]);
    for number in 0..=255_u8 {
        let message = [&[number][..], &[0, 0, 0, 1, b'x', 0, 0, 0, 0]].concat();
        // Instead of the exchange, and between it and the new keys.
        attacks.push((format!("message {number} for the exchange"), vec![message.clone()]));
        attacks.push((format!("message {number} for the new keys"), vec![good.clone(), message]));
    }
    attacks.push(("the exchange twice".into(), vec![good.clone(), good.clone()]));
    attacks.push(("trailing bytes".into(), vec![[&good[..], &[0]].concat()]));
    for (name, messages) in attacks {
        let mut stream = begun(&watched.world);
        // The gate may close before it has taken everything.
        for message in &messages {
            stream.write_all(&wire::framed(message)).ok();
        }
        stream.shutdown(Shutdown::Write).ok();
        assert!(wire::closes(&mut stream), "{name}: still open");
    }
    is_well(&watched.world, &watched.canary, "the exchanges");
    watched.has_not_grown();
}

/// The twin: a point that is one is answered.
#[test]
fn a_well_formed_exchange_is_answered() {
    let mut stream = begun(World::shared());
    stream.write_all(&wire::framed(&exchange(&[9; 32]))).unwrap();
    assert_eq!(wire::packet(&mut stream).unwrap().first(), Some(&31));
}

/// What a target says before any keys: first raw bytes, then messages.
struct Says {
    name: String,
    greeting: Vec<u8>,
    messages: Vec<Vec<u8>>,
}

fn greetings() -> Vec<Says> {
    let raw = |name: &str, greeting: Vec<u8>| Says { name: name.into(), greeting, messages: Vec::new() };
    vec![
        raw("a megabyte without an end", vec![b'A'; 1 << 20]),
        raw("many lines", [&b"hello\r\n".repeat(100_000)[..], b"SSH-2.0-x\r\n"].concat()),
        raw("SSH 1", b"SSH-1.5-old\r\n".to_vec()),
        raw("zeros", vec![0; 100_000]),
        raw("length 0", [&b"SSH-2.0-x\r\n"[..], &[0; 64]].concat()),
        raw("length 1", [&b"SSH-2.0-x\r\n"[..], &[0, 0, 0, 1], &[0; 64]].concat()),
        raw("length 2^32-1", [&b"SSH-2.0-x\r\n"[..], &[255; 4], &[0; 64]].concat()),
        raw(
            "padding longer than the packet",
            [&b"SSH-2.0-x\r\n"[..], &[0, 0, 0, 12, 255], &[0; 64]].concat(),
        ),
        raw("nothing", Vec::new()),
    ]
}

/// A KEXINIT of a server that agrees with the gate's in everything but what `change` says.
fn server_kexinit(gates: &[u8], change: impl FnOnce(&mut [Vec<String>])) -> Vec<u8> {
    wire::kexinit(&mut wire::name_lists(gates), change)
}

/// The reply to an exchange: host key, point, signature.
fn reply(point: &[u8]) -> Vec<u8> {
    let key = [string(b"ssh-ed25519"), string(&[5; 32])].concat();
    let signature = [string(b"ssh-ed25519"), string(&[6; 64])].concat();
    [&[31][..], &string(&key), &string(point), &string(&signature)].concat()
}

fn exchanges() -> Vec<Says> {
    let greeting = b"SSH-2.0-x\r\n".to_vec();
    let mut all = Vec::new();
    let mut add = |name: String, messages: Vec<Vec<u8>>| {
        all.push(Says { name, greeting: greeting.clone(), messages });
    };
    for (name, point) in points() {
        add(name, vec![reply(&point)]);
    }
    // In place of the answer to the exchange.
    for number in (0..=255_u8).filter(|number| number % 5 == 0 || *number < 60 || *number > 250) {
        let message = [&[number][..], &[0, 0, 0, 1, b'x', 0, 0, 0, 0]].concat();
        add(format!("message {number}"), vec![message]);
    }
    let commas = [&[20][..], &[7; 16], &string(&vec![b','; 1_000_000])].concat();
    add("a million commas".into(), vec![commas]);
    add("a reply without a signature".into(), vec![[&[31][..], &string(b"x"), &string(&[9; 32])].concat()]);
    add("a reply with a key of a gigabyte".into(), vec![vec![31, 64, 0, 0, 0, 1, 2, 3]]);
    all
}

/// Speaks to whoever connects, and then hangs up. The gate hangs up first when it has been told nonsense.
fn speak(mut stream: TcpStream, says: &Says) -> std::io::Result<()> {
    stream.set_read_timeout(Some(wait::LONG))?;
    stream.write_all(&says.greeting)?;
    if says.messages.is_empty() {
        return stream.shutdown(Shutdown::Write);
    }
    let mut byte = [0];
    while byte != [b'\n'] {
        stream.read_exact(&mut byte)?;
    }
    let gates = wire::packet(&mut stream)?;
    stream.write_all(&wire::framed(&server_kexinit(&gates, plain)))?;
    for message in &says.messages {
        stream.write_all(&wire::framed(message))?;
    }
    stream.shutdown(Shutdown::Write)
}

#[test]
fn nothing_malformed_from_a_target_harms_the_gate() {
    let watched = Watched::start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    watched.world.add_target("nonsense", port);
    watched.world.grant("alice", "nonsense", ALL);
    let client = watched.world.client("alice");
    let attacks: Vec<Says> = greetings().into_iter().chain(exchanges()).collect();
    for says in &attacks {
        std::thread::scope(|scope| {
            let session = scope.spawn(|| client.exec("nonsense", "echo in"));
            let (stream, _) = listener.accept().unwrap();
            // What cannot be written any more was answered by hanging up.
            let kept = stream.try_clone().unwrap();
            drop(speak(stream, says));
            let said = session.join().unwrap();
            drop(kept);
            assert!(said.code != 0 && said.out.is_empty(), "{}: {said:?}", says.name);
        });
    }
    let rows = watched.world.sessions("nonsense");
    assert_eq!(rows.len(), attacks.len(), "each came as far as a session");
    watched.world.ended("nonsense");
    for row in watched.world.sessions("nonsense") {
        let reason = end_reason(&row);
        assert!(["target_unreachable", "target_key_changed"].contains(&reason), "{row}");
    }
    is_well(&watched.world, &watched.canary, "the targets");
    watched.has_not_grown();
}
