//! Security keys (`sk-…`) from enrolment to approval, with the real OpenSSH client.
//!
//! The key is `tests/clients/security_key_agent.py`, an ssh-agent that signs as a FIDO key does and can be told not to
//! have been touched. Approvals check the touch; logins cannot (see `docs/threat-model.md`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::client::run;
use crate::clients::program;
use crate::keeper::Process;
use crate::postern::{Hand, Said, id};
use crate::ssh::ALL;
use crate::wait;
use crate::world::World;

/// Bits of the flags in a signature: touched, and PIN or fingerprint asked.
const TOUCHED: u8 = 1;
const VERIFIED: u8 = 4;

/// Somebody whose only key is in an agent.
struct Holder {
    hand: Hand,
    socket: PathBuf,
    public: PathBuf,
    flags: PathBuf,
    _agent: Process,
}

impl Holder {
    fn start(world: &World, name: &str, application: &str) -> Self {
        let hand = Hand::new(name, &world.dir.join("home").join(name), &[]);
        let (socket, public, flags) =
            (hand.home.join("agent"), hand.home.join("key.pub"), hand.home.join("flags"));
        let mut command = Command::new(program("python3"));
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/security_key_agent.py"));
        command.arg("--socket").arg(&socket).arg("--public").arg(&public).arg("--flags").arg(&flags);
        command.args(["--application", application]);
        let agent = Process::start(command, &hand.home.join("agent.log"));
        wait::until(wait::LONG, "the agent listens", || public.exists().then_some(()));
        let holder = Self { hand, socket, public, flags, _agent: agent };
        holder.next(TOUCHED);
        holder
    }

    /// What every signature says from now on.
    fn next(&self, flags: u8) {
        fs::write(&self.flags, flags.to_string()).unwrap();
    }

    fn run(&self, args: &[&str]) -> Said {
        let mut command = self.hand.command(args);
        run(command.env("SSH_AUTH_SOCK", &self.socket).env("POSTERN_SSH_KEY", &self.public))
    }

    fn sign_in(&self, world: &World) -> Said {
        let status: Value = serde_json::from_str(&world.machine.ok(&["status", "--json"])).unwrap();
        let fingerprint = status["api"]["fingerprint"].as_str().unwrap();
        let url = format!("https://127.0.0.1:{}", world.api_port);
        self.run(&["login", &url, "--fingerprint", fingerprint])
    }

    fn ssh(&self, world: &World, target: &str, command: &str) -> Said {
        let mut ssh = world.client("alice").tool_with("ssh", &self.public);
        ssh.arg("-o").arg(format!("IdentityAgent={}", self.socket.display()));
        run(ssh.arg(format!("{}@gate", World::address(target))).arg(command))
    }
}

fn enrol(world: &World, holder: &Holder, role: &str) {
    let public = holder.public.to_string_lossy();
    world.machine.ok(&["people", "add", &holder.hand.name, "--role", role, "--key", &public]);
}

#[test]
fn a_security_key_logs_in_and_another_one_does_not() {
    let world = World::shared();
    let holder = Holder::start(world, "frank", "ssh:");
    enrol(world, &holder, "operator");
    let said = holder.sign_in(world);
    assert_eq!(said.code, 0, "{said:?}");
    let target = world.target();
    let before = holder.ssh(world, &target, "echo in");
    assert!(before.code != 0 && before.out.is_empty(), "without a grant: {before:?}");
    let address = World::address(&target);
    let said = holder.run(&["request", &address, "--for", "1h", "--reason", "r", "--can", ALL]);
    assert_eq!(said.code, 0, "{said:?}");
    world.hand("bob").ok(&["approve", &id(&said.out, "req_").unwrap(), "--yes"]);
    let said = holder.ssh(world, &target, "echo in");
    assert_eq!((said.code, said.out.as_str()), (0, "in\n"), "{said:?}");
    let row = world.ended(&target);
    assert!(row.to_string().contains("frank"), "{row}");
    let stranger = Holder::start(world, "frank2", "ssh:");
    let said = stranger.ssh(world, &target, "echo in");
    assert!(said.code != 0 && said.out.is_empty(), "another security key: {said:?}");
}

#[test]
fn an_approval_needs_the_approvers_touch() {
    let world = World::shared();
    let holder = Holder::start(world, "grace", "ssh:");
    enrol(world, &holder, "approver");
    holder.next(0);
    let said = holder.sign_in(world);
    assert_ne!(said.code, 0, "signed in without a touch: {said:?}");
    holder.next(TOUCHED);
    let said = holder.sign_in(world);
    assert_eq!(said.code, 0, "{said:?}");
    let target = world.target();
    for (flags, counts) in [(0, false), (VERIFIED, false), (TOUCHED, true), (TOUCHED | VERIFIED, true)] {
        let request = world.request("alice", &target, ALL, "1h");
        holder.next(flags);
        let said = holder.run(&["approve", &request, "--yes"]);
        assert_eq!(said.code == 0, counts, "flags {flags}: {said:?}");
        let granted =
            world.hand("alice").list(&["grants"]).iter().any(|row| row.to_string().contains(&request));
        assert_eq!(granted, counts, "flags {flags}: a grant of {request}");
    }
    assert_eq!(world.client("alice").ok(&target, "echo in"), "in\n");
}

#[test]
fn a_security_key_made_for_a_web_site_is_not_enrolled() {
    let world = World::shared();
    let holder = Holder::start(world, "heidi", "example.org");
    let public = holder.public.to_string_lossy();
    let words = world.machine.refused(&["people", "add", "heidi", "--role", "operator", "--key", &public]);
    assert!(words.contains("example.org"), "{words}");
}

/// An agent may hold a key that it cannot use now: the next one is tried. The bastion's address may be typed in any of
/// its forms.
#[test]
fn a_key_that_cannot_sign_does_not_keep_another_from_signing_in() {
    let world = World::shared();
    let holder = Holder::start(world, "ivan", "ssh:");
    fs::write(&holder.flags, "none").unwrap();
    let directory = holder.hand.home.join(".ssh");
    fs::create_dir_all(&directory).unwrap();
    crate::sshd::keygen(&directory.join("id_ed25519"), "ed25519");
    let public = directory.join("id_ed25519.pub");
    world.machine.ok(&["people", "add", "ivan", "--role", "operator", "--key", &public.to_string_lossy()]);
    let status: Value = serde_json::from_str(&world.machine.ok(&["status", "--json"])).unwrap();
    let fingerprint = status["api"]["fingerprint"].as_str().unwrap();
    let url = format!("https://localhost:{}", world.api_port);
    let run = |args: &[&str]| {
        let mut command = holder.hand.command(args);
        run(command.env("SSH_AUTH_SOCK", &holder.socket).env_remove("POSTERN_SSH_KEY"))
    };
    let said = run(&["login", &url, "--fingerprint", fingerprint]);
    assert_eq!(said.code, 0, "{said:?}");
    for form in
        [format!("{url}/"), format!("HTTPS://LocalHost:{}", world.api_port), url.replace("https://", "")]
    {
        let said = run(&["whoami", "--server", &form]);
        assert_eq!((said.code, said.out.trim()), (0, "ivan (operator)"), "{form}: {said:?}");
    }
    assert_ne!(run(&["whoami", "--server", "https://127.0.0.2:1"]).code, 0);
}
