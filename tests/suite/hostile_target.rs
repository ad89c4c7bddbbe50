//! Targets that do not behave: they open channels of their own, never greet, or never stop greeting.
//!
//! The target itself is `tests/clients/hostile_target.py`. It is in the shared world, because one bad target must not
//! disturb the sessions to others.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::clients::program;
use crate::keeper::Process;
use crate::malformed::is_well;
use crate::postern::end_reason;
use crate::ssh::ALL;
use crate::sshd;
use crate::wait;
use crate::world::World;

/// A misbehaving target, registered in the shared world with a grant for alice.
struct Hostile {
    world: &'static World,
    name: String,
    report: PathBuf,
    process: Process,
}

impl Hostile {
    fn start(mode: &str) -> Self {
        let world = World::shared();
        let (name, port) = (format!("hostile-{mode}"), sshd::free_port());
        let dir = world.dir.join(&name);
        fs::create_dir_all(&dir).unwrap();
        let ca = fs::read_to_string(world.sshd.dir.join("user_ca.pub")).unwrap();
        fs::write(dir.join("authorized"), format!("cert-authority {ca}")).unwrap();
        let mut command = Command::new(program("python3"));
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/hostile_target.py"));
        command.args(["--port", &port.to_string(), "--mode", mode, "--host-key"]);
        command.arg(world.sshd.dir.join("host")).arg("--authorized").arg(dir.join("authorized"));
        command.arg("--report").arg(dir.join("report"));
        let process = Process::start(command, &dir.join("log"));
        wait::until(wait::LONG, "the hostile target listens", || {
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
        world.add_target(&name, port);
        world.grant("alice", &name, ALL);
        Self { world, name, report: dir.join("report"), process }
    }
}

/// D-03, the other way round: nothing is reached through the gate from behind.
#[test]
fn a_target_cannot_open_channels_into_the_gate() {
    let hostile = Hostile::start("channels");
    let said = hostile.world.client("alice").exec(&hostile.name, "anything");
    assert_eq!(said.out, "attacked\n", "{said:?}: {}", hostile.process.log());
    let report = fs::read_to_string(&hostile.report).unwrap();
    assert_eq!(report, "auth-agent refused\ndirect-tcpip refused\nforwarded-tcpip refused\nx11 refused\n");
    let session = hostile.world.session(&hostile.name);
    hostile.world.ended(&hostile.name);
    let events = hostile.world.events(&session);
    for what in ["auth-agent", "direct-tcpip", "forwarded-tcpip", "x11"] {
        let is_it = |event: &&serde_json::Value| event["type"] == "refused" && event["what"] == what;
        assert!(events.iter().any(|event| is_it(&event)), "{what}: {events:?}");
    }
}

#[test]
fn a_target_that_never_greets_is_given_up() {
    given_up("silent");
}

#[test]
fn a_target_that_never_stops_greeting_is_given_up() {
    given_up("endless");
}

/// D-12: after the login, every message number and floods of what nobody asked for. The session may end by it, with what
/// it said so far delivered or not; nothing else happens.
#[test]
fn noise_from_a_target_harms_nobody_else() {
    let hostile = Hostile::start("noise");
    let canary = hostile.world.target();
    hostile.world.grant("erin", &canary, ALL);
    let client = hostile.world.client("alice");
    let floods =
        ["windows", "replies", "requests", "channels", "strangers", "lengths", "statuses"].map(str::to_owned);
    // Not a disconnect, and no key exchange: those have tests of their own.
    let numbers = (2..=255).filter(|number| !(20..=49).contains(number)).map(|number| number.to_string());
    let mut survived = 0;
    for word in floods.into_iter().chain(numbers) {
        let said = client.exec(&hostile.name, &word);
        assert!(said.out.is_empty() || said.out.ends_with("survived\n"), "{word}: {said:?}");
        survived += usize::from(said.code == 0 && said.out.ends_with("survived\n"));
        if word == "strangers" {
            is_told_with_a_number(&hostile);
        }
    }
    assert!(survived > 0, "the target has been heard at all: {}", hostile.process.log());
    is_well(hostile.world, &canary, "the noise");
}

/// Of ten thousand channels that a target asked for, the first hundred are events, and then one says that there are more,
/// and one how many there were.
fn is_told_with_a_number(hostile: &Hostile) {
    hostile.world.ended(&hostile.name);
    let refused = |row: &serde_json::Value| {
        let events = hostile.world.events(&crate::postern::id(&row.to_string(), "ses_").unwrap());
        let refused = events.into_iter().filter(|event| event["type"] == "refused");
        refused.filter_map(|event| event["what"].as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    let all: Vec<Vec<String>> = hostile.world.sessions(&hostile.name).iter().map(refused).collect();
    let flood = all.iter().max_by_key(|refused| refused.len()).unwrap();
    assert_eq!(flood.len(), 102, "{all:?}");
    assert!(flood[100].contains("only counted"), "{flood:?}");
    assert!(flood[101].contains("further channels"), "{flood:?}");
}

/// D-10: the twin of those below. New keys that the target asks for are exchanged, and the session goes on.
#[test]
fn a_target_may_ask_for_new_keys() {
    let hostile = Hostile::start("renew");
    let said = hostile.world.client("alice").exec(&hostile.name, "anything");
    assert_eq!(
        (said.code, said.out.as_str()),
        (0, "running\nrenewed\n"),
        "{said:?}: {}",
        hostile.process.log()
    );
}

/// D-10: a key exchange that the target begins and does not finish ends the session, whatever the client does.
#[test]
fn a_target_that_stalls_a_key_exchange_is_left() {
    let hostile = Hostile::start("stall");
    let mut live = hostile.world.client("alice").open(&hostile.name, &["anything"]);
    live.hear("running");
    assert_ne!(live.end(wait::LONG).code, 0);
    assert_eq!(end_reason(&hostile.world.ended(&hostile.name)), "target_stalled");
}

/// D-10: output between a target's KEXINIT and its NEWKEYS is not taken.
#[test]
fn a_target_that_talks_during_a_key_exchange_is_left() {
    let hostile = Hostile::start("chatter");
    let mut live = hostile.world.client("alice").open(&hostile.name, &["anything"]);
    live.hear("running");
    let said = live.end(wait::LONG);
    assert!(said.code != 0 && !said.out.contains("chatter"), "{said:?}");
    assert_eq!(end_reason(&hostile.world.ended(&hostile.name)), "target_left");
}

fn given_up(mode: &str) {
    let hostile = Hostile::start(mode);
    let said = hostile.world.client("alice").exec(&hostile.name, "anything");
    assert_ne!(said.code, 0, "{said:?}");
    assert_eq!(end_reason(&hostile.world.ended(&hostile.name)), "target_unreachable");
}
