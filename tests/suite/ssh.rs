//! What only SSH does: the tools people use, channels, forwards, jump hosts, exit codes, big transfers.
//!
//! Also the SSH driver for the scenarios in `lifecycle`. Real OpenSSH tools throughout; other makers' clients are in
//! `clients`, attacks in `adversarial`.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use crate::client::{Client, Pipes, run};
use crate::lifecycle::{Driver, Live};
use crate::postern::{Said, noise, sha256};
use crate::sshd::{self, Sshd};
use crate::terminal::Terminal;
use crate::wait;
use crate::world::World;

/// Everything an operator may ask for on an SSH target.
pub(crate) const ALL: &str = "shell,exec,sftp";

/// SSH, for the scenarios every protocol runs.
pub(crate) struct Ssh;

struct SshLive(Pipes);

impl Driver for Ssh {
    fn open(&self, world: &World, who: &str, target: &str) -> Box<dyn Live> {
        Box::new(SshLive(world.client(who).open(target, &["cat"])))
    }

    fn open_as_stranger(&self, world: &World, target: &str) -> Box<dyn Live> {
        let key = world.dir.join(format!("stranger-{target}"));
        sshd::keygen(&key, "ed25519");
        let mut command = world.client("alice").tool_with("ssh", &key);
        command.arg(format!("{}@gate", World::address(target))).arg("cat");
        Box::new(SshLive(Pipes::start(command)))
    }

    fn flood(&self, world: &World, who: &str, target: &str) -> Box<dyn Live> {
        let mut pipes = world.client(who).open(target, &["yes"]);
        pipes.hear("y\ny\n");
        Box::new(SshLive(pipes))
    }

    fn logins(&self, world: &World) -> usize {
        world.sshd.log().matches("Accepted publickey").count()
    }

    fn held(&self, world: &World) -> usize {
        world.sshd.connections()
    }

    fn absent_target(&self, world: &World) -> String {
        let name = format!("absent-{}", sshd::free_port());
        world.add_target(&name, sshd::free_port());
        name
    }

    fn distrusting_target(&self, world: &World) -> String {
        let other = world.dir.join("sshd/other_ca.pub");
        let name = format!("distrusting-{}", sshd::free_port());
        let dir = world.dir.join(&name);
        fs::create_dir_all(&dir).unwrap();
        for file in ["host", "host.pub"] {
            fs::copy(world.sshd.dir.join(file), dir.join(file)).unwrap();
        }
        let sshd = Sshd::start(&dir, &fs::read_to_string(other).unwrap(), "");
        world.add_target(&name, sshd.port);
        // It must outlive this call; the keeper ends it with the suite.
        std::mem::forget(sshd);
        name
    }

    fn capability(&self) -> &'static str {
        ALL
    }
}

impl Live for SshLive {
    fn say(&mut self, line: &str) -> bool {
        self.0.say(&format!("{line}\n")).is_ok()
    }

    fn hear(&mut self, line: &str) {
        self.0.hear(line);
    }

    fn leave(&mut self) {
        drop(self.0.take_input());
    }

    fn freeze(&mut self) {
        let id = self.0.child.id().to_string();
        assert!(Command::new("kill").args(["-s", "STOP", &id]).status().unwrap().success());
    }

    fn end(&mut self, bound: Duration) -> Said {
        self.0.end(bound)
    }
}

/// A target of one's own in the shared world, with a grant for alice.
fn ready(can: &str) -> (&'static World, String) {
    let world = World::shared();
    let target = world.target();
    world.grant("alice", &target, can);
    (world, target)
}

#[test]
fn exit_codes_and_streams_arrive_unchanged() {
    let (world, target) = ready(ALL);
    let said = world.client("alice").exec(&target, "echo out; echo err >&2; exit 42");
    assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (42, "out\n", "err\n"));
    assert_eq!(world.client("alice").exec(&target, "true").code, 0);
    let killed = world.client("alice").exec(&target, "kill -TERM $$");
    assert_ne!(killed.code, 0, "{killed:?}");
}

#[test]
fn the_plus_form_of_an_address_works() {
    let (world, target) = ready(ALL);
    let client = world.client("alice");
    let said = run(client.tool("ssh").arg(format!("{}+{target}@gate", sshd::login())).arg("echo plus"));
    assert_eq!(said.out, "plus\n", "{said:?}");
}

#[test]
fn a_shell_on_a_terminal() {
    let (world, target) = ready(ALL);
    let mut terminal = Terminal::start(&world.client("alice").ssh(&target, &["-tt"]));
    terminal.keys("stty size; echo m''ark; exec sh\n");
    terminal.see("30 100");
    terminal.see("mark");
    terminal.resize(40, 120);
    terminal.keys("sleep 0.3; stty size\n");
    terminal.see("40 120");
    terminal.keys("yes\n");
    terminal.see("y\r\ny\r\n");
    terminal.keys("\u{3}");
    terminal.keys("echo after''wards; exit 7\n");
    terminal.see("afterwards");
    assert_eq!(terminal.end(wait::LONG), Some(7));
    let session = world.session(&target);
    world.ended(&target);
    let events = world.events(&session);
    assert!(
        events.iter().any(|e| e["type"] == "resize" && e["columns"] == 120 && e["rows"] == 40),
        "{events:?}"
    );
    assert!(events.iter().any(|e| e["type"] == "exit" && e["status"] == 7));
}

#[test]
fn half_close_lets_the_target_finish() {
    let (world, target) = ready(ALL);
    let back = world.client("alice").through(&target, "cat; echo done", b"last words ".to_vec());
    assert_eq!(back, b"last words done\n");
}

#[test]
fn what_was_typed_and_shown_is_in_the_recording_byte_for_byte() {
    let (world, target) = ready(ALL);
    let sent = noise(7, 300_000);
    let back = world.client("alice").through(&target, "cat", sent.clone());
    assert_eq!(sha256(&back), sha256(&sent));
    let session = world.session(&target);
    world.ended(&target);
    let events = world.events(&session);
    assert_eq!(sha256(&crate::review::bytes(&events, "input")), sha256(&sent));
    assert_eq!(sha256(&crate::review::bytes(&events, "output")), sha256(&sent));
}

#[test]
fn big_transfers_both_ways() {
    let (world, target) = ready(ALL);
    let sent = noise(11, 64 * 1024 * 1024);
    let want = sha256(&sent);
    let back = world.client("alice").through(&target, "cat", sent);
    assert_eq!(sha256(&back), want);
}

#[test]
fn scp_in_both_modes_and_both_directions() {
    let (world, target) = ready(ALL);
    let client = world.client("alice");
    for mode in [&["-O"][..], &[]] {
        let content = noise(17, 1_500_000);
        let here = world.dir.join(format!("{target}-here"));
        let there = world.dir.join(format!("{target}-there"));
        let back = world.dir.join(format!("{target}-back"));
        fs::write(&here, &content).unwrap();
        let remote = format!("{}@gate:{}", World::address(&target), there.display());
        let said = run(client.tool("scp").args(mode).arg("-q").arg(&here).arg(&remote));
        assert_eq!(said.code, 0, "{said:?}");
        assert_eq!(sha256(&fs::read(&there).unwrap()), sha256(&content));
        let said = run(client.tool("scp").args(mode).arg("-q").arg(&remote).arg(&back));
        assert_eq!(said.code, 0, "{said:?}");
        assert_eq!(sha256(&fs::read(&back).unwrap()), sha256(&content));
    }
    let want = sha256(&noise(17, 1_500_000));
    let files: Vec<_> = world
        .sessions(&target)
        .iter()
        .flat_map(|row| world.events(&crate::postern::id(&row.to_string(), "ses_").unwrap()))
        .filter(|event| event["type"] == "file" && event["sha256"] == want.as_str())
        .collect();
    let verbs = |verb: &str| files.iter().filter(|file| file["operation"] == verb).count();
    assert_eq!((verbs("upload"), verbs("download")), (2, 2), "{files:?}");
}

#[test]
fn sftp_works_and_each_operation_is_an_event() {
    let (world, target) = ready(ALL);
    let client = world.client("alice");
    let dir = world.dir.join(format!("{target}-files"));
    fs::create_dir(&dir).unwrap();
    let here = world.dir.join(format!("{target}-local"));
    fs::write(&here, noise(19, 200_000)).unwrap();
    let batch = world.dir.join(format!("{target}-batch"));
    let (d, h) = (dir.display(), here.display());
    let commands = format!(
        "mkdir {d}/sub\nput {h} {d}/sub/a\nrename {d}/sub/a {d}/sub/b\nchmod 600 {d}/sub/b\nsymlink {d}/sub/b {d}/link\n\
         ls {d}/sub\nget {d}/sub/b {h}-back\nrm {d}/sub/b\nrm {d}/link\nrmdir {d}/sub\n"
    );
    fs::write(&batch, commands).unwrap();
    let said =
        run(client.tool("sftp").arg("-b").arg(&batch).arg(format!("{}@gate", World::address(&target))));
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(fs::read(format!("{h}-back")).unwrap(), fs::read(&here).unwrap());
    let session = world.session(&target);
    world.ended(&target);
    let events = world.events(&session);
    let operations: Vec<&str> = events
        .iter()
        .filter(|event| event["type"] == "file")
        .filter_map(|event| event["operation"].as_str())
        .collect();
    for verb in ["make_directory", "upload", "rename", "set_attributes", "link", "list", "download", "remove"]
    {
        assert!(operations.contains(&verb), "{verb} is missing in {operations:?}");
    }
}

#[test]
fn rsync_in_both_directions() {
    let (world, target) = ready(ALL);
    let client = world.client("alice");
    let (here, there, back) = (
        world.dir.join(format!("{target}-here")),
        world.dir.join(format!("{target}-there")),
        world.dir.join(format!("{target}-back")),
    );
    fs::create_dir_all(here.join("deep/er")).unwrap();
    for (index, name) in ["one", "deep/two", "deep/er/three"].into_iter().enumerate() {
        fs::write(here.join(name), noise(index as u64, 150_000)).unwrap();
    }
    let remote = format!("{}+{target}@gate:{}/", sshd::login(), there.display());
    let shell = format!("ssh -F {}", client.config().display());
    for (from, to) in
        [(format!("{}/", here.display()), remote.clone()), (remote, format!("{}/", back.display()))]
    {
        let mut command = Command::new("rsync");
        client.environment(&mut command);
        let said = run(command.args(["-a", "-e", &shell, &from, &to]));
        assert_eq!(said.code, 0, "rsync {from} {to}: {said:?}");
    }
    for name in ["one", "deep/two", "deep/er/three"] {
        assert_eq!(fs::read(back.join(name)).unwrap(), fs::read(here.join(name)).unwrap(), "{name}");
    }
}

#[test]
fn git_clones_and_pushes() {
    let (world, target) = ready(ALL);
    let client = world.client("alice");
    let bare = world.dir.join(format!("{target}.git"));
    let clone = world.dir.join(format!("{target}-clone"));
    let git = |args: &[&str]| {
        let mut command = Command::new("git");
        client.environment(&mut command);
        command.env("GIT_SSH_COMMAND", format!("ssh -F {}", client.config().display()));
        command.args(["-c", "user.name=alice", "-c", "user.email=alice@example.org"]);
        command.args(["-c", "init.defaultBranch=main", "-c", "protocol.version=2"]);
        let said = run(command.args(args));
        assert_eq!(said.code, 0, "git {args:?}: {said:?}");
        said.out
    };
    let (bare, clone) = (bare.to_string_lossy(), clone.to_string_lossy());
    git(&["init", "-q", "--bare", &bare]);
    let url = format!("{}@gate:{bare}", World::address(&target));
    git(&["clone", "-q", &url, &clone]);
    fs::write(format!("{clone}/file"), noise(23, 100_000)).unwrap();
    git(&["-C", &clone, "add", "file"]);
    git(&["-C", &clone, "commit", "-q", "-m", "a file"]);
    git(&["-C", &clone, "push", "-q", "origin", "HEAD:main"]);
    let head = git(&["-C", &clone, "rev-parse", "HEAD"]);
    assert_eq!(git(&["-C", &bare, "rev-parse", "main"]), head);
}

#[test]
fn several_channels_over_one_connection() {
    let (world, target) = ready(ALL);
    let client = world.client("alice");
    let socket = world.dir.join(format!("{target}.mux"));
    let control = format!("ControlPath={}", socket.display());
    let mut master = Pipes::start(client.ssh(&target, &["-o", "ControlMaster=yes", "-o", &control, "cat"]));
    master.say("master\n").unwrap();
    master.hear("master");
    for round in 0..5 {
        let said = run(&mut client.ssh(&target, &["-o", &control, &format!("echo {round}; exit {round}")]));
        assert_eq!((said.code, said.out.as_str()), (round, format!("{round}\n").as_str()), "{said:?}");
    }
    master.say("still here\n").unwrap();
    master.hear("still here");
    drop(master.take_input());
    assert_eq!(master.end(wait::LONG).code, 0);
    let session = world.session(&target);
    world.ended(&target);
    let commands = world.events(&session).iter().filter(|event| event["type"] == "exec").count();
    assert_eq!(commands, 6, "each channel's command is an event");
}

#[test]
fn a_stalled_channel_does_not_stop_the_others() {
    let (world, target) = ready(ALL);
    let client = world.client("alice");
    let control = format!("ControlPath={}", world.dir.join(format!("{target}.mux")).display());
    let mut master = Pipes::start(client.ssh(&target, &["-o", "ControlMaster=yes", "-o", &control, "cat"]));
    master.say("up\n").unwrap();
    master.hear("up");
    let mut stalled = Pipes::start(client.ssh(&target, &["-o", &control, "yes"]));
    stalled.hear("y\n");
    let id = stalled.child.id().to_string();
    assert!(Command::new("kill").args(["-s", "STOP", &id]).status().unwrap().success());
    std::thread::sleep(Duration::from_secs(1));
    for round in 0..5 {
        let line = format!("line {round}");
        master.say(&format!("{line}\n")).unwrap();
        master.hear(&line);
    }
}

#[test]
fn a_granted_forward_works_and_another_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            // The server speaks first, as databases and mail servers do.
            let mut stream = stream.unwrap();
            stream.write_all(b"welcome\n").unwrap();
            let mut line = [0; 5];
            stream.read_exact(&mut line).unwrap();
            stream.write_all(&line).unwrap();
        }
    });
    let (world, target) = ready(&format!("exec,forward=127.0.0.1:{port}"));
    let (granted, refused) = (sshd::free_port(), sshd::free_port());
    let mut tunnel = Pipes::start(world.client("alice").ssh(
        &target,
        &[
            "-L",
            &format!("{granted}:127.0.0.1:{port}"),
            "-L",
            &format!("{refused}:127.0.0.1:{}", world.sshd.port),
            "cat",
        ],
    ));
    tunnel.say("up\n").unwrap();
    tunnel.hear("up");
    let mut stream = TcpStream::connect(("127.0.0.1", granted)).unwrap();
    let mut greeting = [0; 8];
    stream.read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting, b"welcome\n");
    stream.write_all(b"hello").unwrap();
    let mut echo = [0; 5];
    stream.read_exact(&mut echo).unwrap();
    assert_eq!(&echo, b"hello");
    let mut other = TcpStream::connect(("127.0.0.1", refused)).unwrap();
    let mut nothing = Vec::new();
    other.set_read_timeout(Some(wait::LONG)).unwrap();
    assert_eq!(other.read_to_end(&mut nothing).unwrap_or(0), 0, "a forward nobody granted gave {nothing:?}");
    drop((stream, other));
    drop(tunnel.take_input());
    tunnel.end(wait::LONG);
    let session = world.session(&target);
    world.ended(&target);
    let events = world.events(&session);
    assert!(events.iter().any(|event| event["type"] == "forward" && event["port"] == port), "{events:?}");
    assert!(events.iter().any(|event| event["type"] == "refused"), "{events:?}");
}

/// `ssh` through the gate as a jump host: what `postern ssh-config` prints is all a person needs.
pub(crate) fn jump(world: &World, client: &Client, target: &str, args: &[&str]) -> Command {
    let printed = world.hand("alice").ok(&["ssh-config"]);
    let authority = printed
        .lines()
        .find_map(|line| line.find("@cert-authority").and_then(|at| line.get(at..)))
        .expect("`ssh-config` prints the @cert-authority line");
    let hosts = world.dir.join(format!("{target}-known_hosts"));
    let gate = fs::read_to_string(world.dir.join("known_hosts")).unwrap();
    let key = authority.split_whitespace().skip(2).collect::<Vec<_>>().join(" ");
    fs::write(&hosts, format!("{gate}\n@cert-authority * {key}\n")).unwrap();
    let known = format!("UserKnownHostsFile={}", hosts.display());
    let outer = format!("ProxyCommand=ssh -F {} -o {known} -W %h:%p gate", client.config().display());
    let mut command = client.tool("ssh");
    command.args(["-o", &known, "-o", &outer]).arg(World::address(target)).args(args);
    command
}

#[test]
fn the_jump_form_is_ended_at_the_gate_and_recorded() {
    let (world, target) = ready(ALL);
    let client = world.client("alice");
    let said = run(&mut jump(world, &client, &target, &["echo through the gate"]));
    assert_eq!(said.out, "through the gate\n", "{said:?}");
    let session = world.session(&target);
    world.ended(&target);
    let output = crate::review::bytes(&world.events(&session), "output");
    assert_eq!(output, b"through the gate\n");
}

#[test]
fn a_jump_that_is_refused_says_why() {
    let (world, target) = ready(ALL);
    let to = format!("{target}-not:22");
    let args = ["-o", "LogLevel=INFO", "-W", &to, "gate"];
    let said = run(world.client("alice").tool("ssh").args(args));
    assert!(said.code != 0 && said.err.contains(&format!("there is no target {target}-not")), "{said:?}");
}

#[test]
fn ansible_pings_and_copies() {
    let (world, target) = ready(ALL);
    let client = world.client("alice");
    let inventory = world.dir.join(format!("{target}.ini"));
    let line = format!(
        "{target} ansible_host=gate ansible_user={}@{target} ansible_ssh_common_args='-F {}' \
         ansible_python_interpreter=/usr/bin/python3 ansible_remote_tmp={}\n",
        sshd::login(),
        client.config().display(),
        world.dir.join(format!("{target}-ansible")).display()
    );
    fs::write(&inventory, line).unwrap();
    let file = world.dir.join(format!("{target}-file"));
    fs::write(&file, "copied by ansible\n").unwrap();
    let there = world.dir.join(format!("{target}-copied"));
    let ansible = |args: &[&str]| {
        let mut command = Command::new(crate::clients::program("ansible"));
        client.environment(&mut command);
        command.env("ANSIBLE_HOST_KEY_CHECKING", "True").env("ANSIBLE_NOCOLOR", "1");
        let said = run(command.arg("-i").arg(&inventory).arg(&target).args(args));
        assert_eq!(said.code, 0, "ansible {args:?}: {said:?}");
        said.out
    };
    assert!(ansible(&["-m", "ping"]).contains("pong"));
    ansible(&["-m", "copy", "-a", &format!("src={} dest={}", file.display(), there.display())]);
    assert_eq!(fs::read_to_string(&there).unwrap(), "copied by ansible\n");
}

#[test]
fn the_targets_own_log_names_the_session() {
    let (world, target) = ready(ALL);
    world.client("alice").ok(&target, "true");
    let session = world.session(&target);
    let log = world.sshd.log();
    assert!(log.contains(&session), "sshd logs the certificate's key id with {session}: {log}");
}

#[test]
fn a_session_needs_the_capability_it_uses() {
    let (world, target) = ready("sftp");
    let said = world.client("alice").exec(&target, "id");
    assert_ne!(said.code, 0, "exec without the capability: {said:?}");
    assert!(!said.out.contains("uid="), "{said:?}");
    let said = run(world
        .client("alice")
        .tool("sftp")
        .args(["-b", "/dev/null"])
        .arg(format!("{}@gate", World::address(&target))));
    assert_eq!(said.code, 0, "{said:?}");
}
