//! A session channel and what runs in it: a shell or command on a pseudo-terminal or on pipes, or the SFTP server.
//!
//! A channel's requests say what to start and how; `relay.rs` moves the bytes; the exit status goes back at the end.
//! Dropping the task ends the program with its whole process group.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use russh::server::{Handle, Msg};
use russh::{Channel, ChannelMsg, Sig};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Child;

use super::relay::{self, Endpoints, Inflow};
use super::server::Shared;

/// Variables a client may set.
const MOST_VARIABLES: usize = 64;
/// How long a client may take from opening a channel to saying what to run.
const START_TIME: Duration = Duration::from_secs(60);
/// Where systems keep their SFTP server.
const SFTP_SERVERS: [&str; 4] = [
    "/usr/lib/openssh/sftp-server",
    "/usr/libexec/openssh/sftp-server",
    "/usr/libexec/sftp-server",
    "/usr/lib/ssh/sftp-server",
];

/// Whether a client may set an environment variable.
pub(super) fn is_accepted_variable(name: &str) -> bool {
    name == "LANG" || name.starts_with("LC_")
}

/// The program that serves a subsystem.
pub(super) fn subsystem(name: &str) -> Option<PathBuf> {
    let servers = || SFTP_SERVERS.iter().map(Path::new);
    if name == "sftp" { servers().find(|path| path.exists()).map(Path::to_owned) } else { None }
}

/// Serves one session channel from its opening to its end.
pub(super) async fn run(
    mut channel: Channel<Msg>,
    handle: Handle,
    peer: SocketAddr,
    shared: Arc<Shared>,
    inflow: Inflow,
) {
    let wanted = tokio::time::timeout(START_TIME, Wanted::read(&mut channel)).await;
    let Ok(Some(wanted)) = wanted else { return };
    let id = channel.id();
    let (ends, mut child) = match wanted.start(&shared, peer) {
        Ok(started) => started,
        Err(error) => {
            let words = format!("the demo's target cannot start this: {error}\r\n");
            let said = channel.extended_data_bytes(1, words.into_bytes()).await;
            let ended = channel.exit_status(255).await;
            if said.is_ok() && ended.is_ok() && channel.close().await.is_err() {
                shared.note("a client left before its command began");
            }
            return;
        }
    };
    let mut group = Group(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw));
    let (read, write) = channel.split();
    let status = relay::with_program(read, &write, ends, &mut child, &group, inflow).await;
    let Some(status) = status else { return };
    group.release();
    let told = match status.signal().and_then(signal_name) {
        Some(signal) => {
            let core = status.core_dumped();
            handle.exit_signal_request(id, signal, core, String::new(), String::new()).await.is_ok()
        }
        None => write.exit_status(exit_code(status)).await.is_ok(),
    };
    if told && write.eof().await.is_ok() && write.close().await.is_err() {
        shared.note("a client left as its command ended");
    }
}

/// What a client asked to run, and how.
#[derive(Default)]
struct Wanted {
    terminal: Option<(String, pty_process::Size)>,
    variables: Vec<(String, String)>,
    command: Option<Vec<u8>>,
    program: Option<PathBuf>,
}

impl Wanted {
    /// Reads a channel's requests up to the one that starts something.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "russh's messages may grow; what we do not know means nothing"
    )]
    async fn read(channel: &mut Channel<Msg>) -> Option<Self> {
        let mut wanted = Self::default();
        loop {
            match channel.wait().await? {
                ChannelMsg::RequestPty { term, col_width, row_height, .. } => {
                    wanted.terminal = Some((term, size(col_width, row_height)));
                }
                ChannelMsg::SetEnv { variable_name, variable_value, .. }
                    if is_accepted_variable(&variable_name) && wanted.variables.len() < MOST_VARIABLES =>
                {
                    wanted.variables.push((variable_name, variable_value));
                }
                ChannelMsg::RequestShell { .. } => return Some(wanted),
                ChannelMsg::Exec { command, .. } => {
                    wanted.command = Some(command);
                    return Some(wanted);
                }
                ChannelMsg::RequestSubsystem { name, .. } => {
                    wanted.program = subsystem(&name);
                    if wanted.program.is_some() {
                        return Some(wanted);
                    }
                }
                ChannelMsg::Close => return None,
                // Everything else before the start is refused in the callbacks, or means nothing yet.
                _ => {}
            }
        }
    }

    fn start(self, shared: &Shared, peer: SocketAddr) -> Result<(Endpoints, Child), pty_process::Error> {
        let settings = &shared.settings;
        let from_environment =
            || std::env::var_os("SHELL").map(PathBuf::from).filter(|path| path.is_absolute());
        let shell =
            settings.shell.clone().or_else(from_environment).unwrap_or_else(|| PathBuf::from("/bin/sh"));
        let mut command = tokio::process::Command::new(self.program.as_ref().unwrap_or(&shell));
        if self.program.is_none() {
            match &self.command {
                Some(line) => command.arg("-c").arg(OsStr::from_bytes(line)),
                None => command.arg0(format!("-{}", name_of(&shell))),
            };
        }
        command.env_clear().kill_on_drop(true).current_dir(&settings.directory);
        for name in ["HOME", "USER", "LOGNAME", "PATH", "TZ", "LANG"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command
            .env("SHELL", &shell)
            .env("SSH_CONNECTION", format!("{} {} 127.0.0.1 22", peer.ip(), peer.port()));
        command.envs(self.variables);
        match self.terminal {
            Some((term, size)) => start_on_terminal(command.into(), &term, size),
            None => start_on_pipes(command),
        }
    }
}

fn start_on_terminal(
    command: pty_process::Command,
    term: &str,
    size: pty_process::Size,
) -> Result<(Endpoints, Child), pty_process::Error> {
    let (pty, pts) = pty_process::open()?;
    pty.resize(size)?;
    let child = command.env("TERM", term.replace('\0', "")).spawn(pts)?;
    let (read, write) = pty.into_split();
    Ok((Endpoints::of_terminal(read, write), child))
}

fn start_on_pipes(mut command: tokio::process::Command) -> Result<(Endpoints, Child), pty_process::Error> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn()?;
    let missing = || std::io::Error::other("a pipe is missing");
    let input = child.stdin.take().ok_or_else(missing)?;
    let output = child.stdout.take().ok_or_else(missing)?;
    let errors = child.stderr.take().ok_or_else(missing)?;
    Ok((Endpoints::of_pipes(input, output, errors), child))
}

/// The process group of a program, ended when dropped.
pub(super) struct Group(Option<Pid>);

impl Group {
    /// Passes a client's signal on.
    pub(super) fn signal(&self, signal: &Sig) {
        let signal = match signal {
            Sig::ABRT => Signal::ABORT,
            Sig::ALRM => Signal::ALARM,
            Sig::FPE => Signal::FPE,
            Sig::HUP => Signal::HUP,
            Sig::ILL => Signal::ILL,
            Sig::INT => Signal::INT,
            Sig::KILL => Signal::KILL,
            Sig::PIPE => Signal::PIPE,
            Sig::QUIT => Signal::QUIT,
            Sig::SEGV => Signal::SEGV,
            Sig::TERM => Signal::TERM,
            Sig::USR1 => Signal::USR1,
            Sig::Custom(_) => return,
        };
        self.send(signal);
    }

    /// Says that the program ended by itself, and that what it left running may stay.
    fn release(&mut self) {
        self.0 = None;
    }

    fn send(&self, signal: Signal) {
        if let Some(leader) = self.0 {
            // An error means that the group is gone already.
            kill_process_group(leader, signal).ok();
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.send(Signal::HUP);
        self.send(Signal::KILL);
    }
}

/// A terminal's size, within what a terminal can have.
pub(super) fn size(columns: u32, rows: u32) -> pty_process::Size {
    let side = |wanted: u32| u16::try_from(wanted).unwrap_or(u16::MAX).max(1);
    pty_process::Size::new(side(rows), side(columns))
}

fn name_of(shell: &Path) -> String {
    shell.file_name().map_or_else(|| "sh".to_owned(), |name| name.to_string_lossy().into_owned())
}

fn exit_code(status: ExitStatus) -> u32 {
    status.code().and_then(|code| u32::try_from(code).ok()).unwrap_or(255)
}

fn signal_name(number: i32) -> Option<Sig> {
    Some(match Signal::from_named_raw(number)? {
        Signal::ABORT => Sig::ABRT,
        Signal::ALARM => Sig::ALRM,
        Signal::FPE => Sig::FPE,
        Signal::HUP => Sig::HUP,
        Signal::ILL => Sig::ILL,
        Signal::INT => Sig::INT,
        Signal::KILL => Sig::KILL,
        Signal::PIPE => Sig::PIPE,
        Signal::QUIT => Sig::QUIT,
        Signal::SEGV => Sig::SEGV,
        Signal::TERM => Sig::TERM,
        Signal::USR1 => Sig::USR1,
        _ => return None,
    })
}
