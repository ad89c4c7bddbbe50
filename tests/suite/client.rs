//! OpenSSH clients as one person has them, and commands with their pipes in our hands.
//!
//! Own configuration, own known hosts, own key, nothing inherited from the machine. `run` is for what ends by itself,
//! `Pipes` for what stays open; for a command on a terminal see `terminal`. Nothing here knows what a test expects.

use std::fs;
use std::io::{BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use crate::keeper;
use crate::postern::Said;
use crate::sshd;
use crate::wait;
use crate::world::World;

/// One person's SSH tools.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    home: PathBuf,
    known_hosts: PathBuf,
    port: u16,
}

impl Client {
    pub(crate) fn new(world: &World, name: &str) -> Self {
        let home = world.dir.join("home").join(name);
        Self { home, known_hosts: world.dir.join("known_hosts"), port: world.ssh_port }
    }

    /// The OpenSSH configuration file all tools are given; its host `gate` is the bastion.
    pub(crate) fn config(&self) -> PathBuf {
        self.home.join("ssh_config")
    }

    pub(crate) fn write_config(&self) {
        self.write_config_with(&self.home.join("key"), &self.config());
    }

    /// The same configuration with another key, and only that one.
    pub(crate) fn write_config_with(&self, key: &Path, path: &Path) {
        let text = format!(
            "Host gate\n  HostName 127.0.0.1\n  Port {}\n\nHost *\n  IdentityFile {}\n  IdentitiesOnly yes\n  \
             IdentityAgent none\n  UserKnownHostsFile {}\n  GlobalKnownHostsFile /dev/null\n  \
             StrictHostKeyChecking yes\n  BatchMode yes\n  LogLevel ERROR\n  ConnectTimeout 30\n",
            self.port,
            key.display(),
            self.known_hosts.display()
        );
        fs::write(path, text).unwrap();
    }

    /// `tool` with another key than the person's own, and nothing else to fall back on.
    pub(crate) fn tool_with(&self, tool: &str, key: &Path) -> Command {
        let config = key.with_extension("config");
        self.write_config_with(key, &config);
        let mut command = Command::new(tool);
        self.environment(&mut command);
        command.arg("-F").arg(config);
        command
    }

    /// `tool -F CONFIG`: `ssh`, `scp` or `sftp`, with a clean environment.
    pub(crate) fn tool(&self, tool: &str) -> Command {
        let mut command = Command::new(tool);
        self.environment(&mut command);
        command.arg("-F").arg(self.config());
        command
    }

    /// Only what a client needs, so that no agent, display or locale of the machine plays a part.
    pub(crate) fn environment(&self, command: &mut Command) {
        command.env_clear().env("HOME", &self.home).env("LC_ALL", "C.UTF-8").env("TERM", "xterm");
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).current_dir(&self.home);
    }

    /// `ssh LOGIN@TARGET@gate ARGS`.
    pub(crate) fn ssh(&self, target: &str, args: &[&str]) -> Command {
        let mut command = self.tool("ssh");
        command.arg(format!("{}@{target}@gate", sshd::login())).args(args);
        command
    }

    /// Runs `ssh LOGIN@TARGET@gate COMMAND` with nothing on its input.
    pub(crate) fn exec(&self, target: &str, command: &str) -> Said {
        run(self.ssh(target, &[command]).stdin(Stdio::null()))
    }

    /// Runs what must work and gives its output.
    pub(crate) fn ok(&self, target: &str, command: &str) -> String {
        let said = self.exec(target, command);
        assert_eq!(said.code, 0, "ssh {target} {command}: {said:?}");
        said.out
    }

    /// Runs `ssh` with `input` on its standard input; gives the bytes that came back.
    pub(crate) fn through(&self, target: &str, command: &str, input: Vec<u8>) -> Vec<u8> {
        let mut child = self
            .ssh(target, &[command])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let writer = std::thread::spawn(move || stdin.write_all(&input));
        let mut output = Vec::new();
        child.stdout.take().unwrap().read_to_end(&mut output).unwrap();
        assert!(child.wait().unwrap().success(), "ssh {target} {command}");
        writer.join().unwrap().unwrap();
        output
    }

    /// Starts a session that stays open, with pipes in our hands.
    pub(crate) fn open(&self, target: &str, args: &[&str]) -> Pipes {
        Pipes::start(self.ssh(target, args))
    }
}

/// Runs a command to its end, with nothing on its input. One that does not end is killed and fails the test.
pub(crate) fn run(command: &mut Command) -> Said {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|why| panic!("cannot run {command:?}: {why}"));
    keeper::keep(child.id());
    let (out, err) = (drain(child.stdout.take().unwrap()), drain(child.stderr.take().unwrap()));
    let began = wait::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break Some(status);
        }
        if began.elapsed() > wait::HUNG {
            child.kill().unwrap();
            child.wait().unwrap();
            break None;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    keeper::release(child.id());
    let (out, err) = (out.join().unwrap(), err.join().unwrap());
    let status = status.unwrap_or_else(|| panic!("{command:?} hung.\nout: {out}\nerr: {err}"));
    Said { code: status.code().unwrap_or(-1), out, err }
}

fn drain(mut from: impl std::io::Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // A pipe that breaks has no more to say.
        drop(from.read_to_end(&mut bytes));
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// A running command with its input and output in our hands. Killed when dropped.
pub(crate) struct Pipes {
    pub(crate) child: Child,
    stdin: Option<ChildStdin>,
    output: Receiver<Vec<u8>>,
    errors: Receiver<Vec<u8>>,
    /// All output so far.
    pub(crate) heard: Vec<u8>,
    /// All error output so far.
    pub(crate) complaints: Vec<u8>,
}

impl Pipes {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdin = child.stdin.take();
        let output = listen(child.stdout.take().unwrap());
        let errors = listen(child.stderr.take().unwrap());
        keeper::keep(child.id());
        Self { child, stdin, output, errors, heard: Vec::new(), complaints: Vec::new() }
    }

    /// Writes to the command; an error is the pipe being closed.
    pub(crate) fn say(&mut self, text: &str) -> std::io::Result<()> {
        let stdin = self.stdin.as_mut().expect("its input is open");
        stdin.write_all(text.as_bytes())?;
        stdin.flush()
    }

    /// Takes its input away, to write to it from elsewhere.
    pub(crate) fn take_input(&mut self) -> ChildStdin {
        self.stdin.take().expect("its input is open")
    }

    /// Waits until `wanted` has been heard.
    pub(crate) fn hear(&mut self, wanted: &str) {
        let what = format!("{wanted:?} is heard");
        wait::until(wait::LONG, &what, || {
            self.gather();
            let over = self.child.try_wait().unwrap().is_some();
            if contains(&self.heard, wanted.as_bytes()) {
                return Some(());
            }
            assert!(!over, "it ended before {wanted:?}: {:?}", self.said());
            None
        });
    }

    /// Waits until it is over; gives everything it said.
    pub(crate) fn end(&mut self, bound: Duration) -> Said {
        let status = wait::until(bound, "the client's command ends", || {
            self.gather();
            self.child.try_wait().unwrap()
        });
        // The readers see the end of the pipes soon after the process is gone.
        std::thread::sleep(Duration::from_millis(50));
        self.gather();
        Said { code: status.code().unwrap_or(-1), ..self.said() }
    }

    /// Takes in what has arrived.
    pub(crate) fn gather(&mut self) {
        self.heard.extend(self.output.try_iter().flatten());
        self.complaints.extend(self.errors.try_iter().flatten());
    }

    fn said(&self) -> Said {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Said { code: -1, out: text(&self.heard), err: text(&self.complaints) }
    }
}

impl Drop for Pipes {
    fn drop(&mut self) {
        if self.child.kill().is_ok() && self.child.wait().is_ok() {
            keeper::release(self.child.id());
        }
    }
}

/// Whether `bytes` has `wanted` in it.
pub(crate) fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

/// Reads on a thread into a bounded queue: when nobody gathers, the pipe fills up, as behind a stopped terminal.
fn listen(from: impl std::io::Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = sync_channel(4096);
    std::thread::spawn(move || {
        let _ended = (|| -> Option<()> {
            let mut from: BufReader<_> = BufReader::new(from);
            let mut buffer = vec![0; 64 * 1024];
            loop {
                let count = from.read(&mut buffer).ok().filter(|&count| count > 0)?;
                sender.send(buffer[..count].to_vec()).ok()?;
            }
        })();
    });
    receiver
}
