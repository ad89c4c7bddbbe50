//! A witness elsewhere: it signs what continues, and a ledger that does not continue lets nothing begin.
//!
//! The witness is the real one, a process of its own. The form of its call is C2SP `tlog-witness`; that its signature
//! is one is checked with the witness's key in `postern ledger verify`.

use std::path::PathBuf;

use serde_json::Value;

use crate::keeper::{self, Process};
use crate::postern::Hand;
use crate::terminal::Terminal;
use crate::wait;
use crate::world::World;
use crate::{campaign, ssh, sshd};

/// A witness's machine.
struct Witness {
    dir: PathBuf,
    hand: Hand,
    key: String,
    port: u16,
    process: Option<Process>,
}

impl Witness {
    fn start() -> Self {
        let home = keeper::directory();
        let (dir, hand) = (home.join("witness"), Hand::new("witness", &home, &[]));
        let path = dir.to_string_lossy().into_owned();
        let made = hand.ok(&["witness", "init", &path, "--name", "witness.example/w1", "--json"]);
        let key = serde_json::from_str::<Value>(&made).unwrap()["key"].as_str().unwrap().to_owned();
        let mut witness = Self { dir, hand, key, port: sshd::free_port(), process: None };
        witness.serve();
        witness
    }

    fn serve(&mut self) {
        let (dir, address) = (self.dir.to_string_lossy().into_owned(), format!("127.0.0.1:{}", self.port));
        let serve = self.hand.command(&["witness", "serve", &dir, "--listen", &address]);
        self.process = Some(Process::start(serve, &self.hand.home.join("witness.log")));
        wait::until(wait::LONG, "the witness listens", || {
            std::net::TcpStream::connect(("127.0.0.1", self.port)).ok().map(drop)
        });
    }

    fn stop(&mut self) {
        let mut process = self.process.take().unwrap();
        process.signal("TERM");
        assert!(process.end(wait::LONG).success());
    }

    /// Has a bastion ask this witness, and this witness know the bastion's ledger.
    fn attend(&self, world: &World, within: &str) {
        self.hand.ok(&["witness", "trust", &self.dir.to_string_lossy(), &world.ledger_key()]);
        world.configure(|table| {
            let text = format!(
                "witnesses = [{{ url = 'http://127.0.0.1:{}', key = '{}' }}]\ncosigned_within = '{within}'",
                self.port, self.key
            );
            table.insert("ledger".to_owned(), text.parse::<toml::Table>().unwrap().into());
        });
        world.restart();
    }

    /// How many entries it has signed.
    fn signed(&self) -> u64 {
        let shown = self.hand.ok(&["witness", "show", &self.dir.to_string_lossy(), "--json"]);
        serde_json::from_str::<Value>(&shown).unwrap()["ledgers"][0]["head"]["size"].as_u64().unwrap_or(0)
    }
}

fn size(world: &World) -> u64 {
    let status = world.machine.ok(&["status", "--json"]);
    serde_json::from_str::<Value>(&status).unwrap()["ledger"]["size"].as_u64().unwrap()
}

#[test]
fn a_rolled_back_or_rewritten_ledger_lets_nothing_begin() {
    let mut witness = Witness::start();
    let world = World::fresh();
    witness.attend(&world, "0s");
    let target = world.target();
    world.grant("alice", &target, ssh::ALL);
    assert_eq!(wait_for_session(&world, &target), "in");
    let head = wait::until(wait::LONG, "the witness signs the newest head", || {
        let size = size(&world);
        (witness.signed() == size).then_some(size)
    });
    let verified = world.machine.ok(&["ledger", "verify", "--witness", &witness.key]);
    assert!(verified.contains("witness.example/w1 signed its first"), "{verified}");
    assert!(world.machine.ok(&["status"]).contains("witness.example/w1 signed"));
    let stranger = Witness::start();
    let said = world.machine.refused(&["ledger", "verify", "--witness", &stranger.key]);
    assert!(said.contains("nothing here is signed by"), "{said}");

    // A backup, and what happened after it.
    world.stop();
    let [backup, newest] = ["backup", "newest"].map(|name| world.dir.join(name));
    campaign::copy(&world.state, &backup);
    world.serve_again();
    world.machine.ok(&["people", "add", "zoe", "--role", "operator"]);
    wait::until(wait::LONG, "the witness signs that too", || (witness.signed() > head).then_some(()));

    // The backup is put back: the bastion itself cannot tell.
    world.stop();
    std::fs::rename(&world.state, &newest).unwrap();
    campaign::copy(&backup, &world.state);
    world.serve_again();
    refused(&world, &target, "a backup was put back");
    let doctor = world.machine.run(&["doctor"]);
    assert!(doctor.code == 1 && doctor.out.contains("a backup was put back"), "{}", doctor.out);

    // It grows in another way, past what the witness has seen.
    for n in 0..12 {
        world.machine.ok(&["people", "add", &format!("other-{n}"), "--role", "operator"]);
    }
    wait::until(wait::LONG, "the other history is noticed", || {
        world.machine.ok(&["status"]).contains("another history").then_some(())
    });
    refused(&world, &target, "another history");
    assert!(
        std::fs::read_dir(witness.dir.join("evidence")).unwrap().count() > 0,
        "the witness kept what it saw"
    );

    // The true state comes back, and with it the sessions; also over a restart of the witness.
    world.stop();
    std::fs::rename(&world.state, world.dir.join("other")).unwrap();
    std::fs::rename(&newest, &world.state).unwrap();
    witness.stop();
    witness.serve();
    world.serve_again();
    assert_eq!(wait_for_session(&world, &target), "in");
    world.machine.ok(&["ledger", "verify", "--witness", &witness.key]);
}

#[test]
fn where_a_fresh_signature_is_wanted_nothing_begins_without_one() {
    let mut witness = Witness::start();
    let world = World::fresh();
    witness.attend(&world, "5s");
    let target = world.target();
    world.grant("alice", &target, ssh::ALL);
    assert_eq!(wait_for_session(&world, &target), "in");
    let mut pipes = world.client("alice").open(&target, &["cat"]);
    pipes.say("before\n").unwrap();
    pipes.hear("before");
    witness.stop();
    refused(&world, &target, "0 of the 1 witnesses wanted have signed");
    pipes.say("still\n").unwrap();
    pipes.hear("still");
    witness.serve();
    assert_eq!(wait_for_session(&world, &target), "in");
}

/// What a session prints, as soon as one may begin.
fn wait_for_session(world: &World, target: &str) -> String {
    let alice = world.client("alice");
    wait::until(wait::LONG, "a session begins", || {
        let said = alice.exec(target, "echo in");
        (said.code == 0).then(|| said.out.trim().to_owned())
    })
}

/// Waits until no session begins any more, and alice is told why.
fn refused(world: &World, target: &str, why: &str) {
    let alice = world.client("alice");
    wait::until(wait::LONG, "no session begins", || (alice.exec(target, "true").code != 0).then_some(()));
    // What the gate has to say before there is a session, OpenSSH shows at this level.
    let options = ["-o", "BatchMode=no", "-o", "LogLevel=INFO", "-tt", "echo let in"];
    let mut command = alice.ssh(target, &options);
    command.env("SSH_ASKPASS_REQUIRE", "never");
    let mut terminal = Terminal::start(&command);
    terminal.see(why);
    assert_ne!(terminal.end(wait::LONG), Some(0));
}
