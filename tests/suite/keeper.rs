//! Child processes and scratch directories that cannot outlive the suite, however it ends.
//!
//! A keeper process (a few lines of shell) holds the list of our children by process id and the list of our
//! directories; when our end of its pipe closes, also by a crash of the suite, it kills and removes exactly those.
//! Nothing is ever found or killed by name.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use crate::wait;

/// A child process of the suite: killed when dropped, or when the suite dies.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with its output going to `log`.
    pub(crate) fn start(mut command: Command, log: &Path) -> Self {
        let out = File::options().create(true).append(true).open(log).unwrap();
        command.stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(out);
        let child = command.spawn().unwrap_or_else(|why| panic!("cannot start {command:?}: {why}"));
        tell("add", child.id());
        Self { child, log: log.to_owned() }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote so far.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Its exit status, when it is over.
    pub(crate) fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Sends a signal, by its number's name as `kill` knows it.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", name, &id]).status().unwrap();
        assert!(status.success(), "no process {id} to send {name}");
    }

    /// Waits for it to end by itself.
    pub(crate) fn end(&mut self, bound: Duration) -> ExitStatus {
        let id = self.child.id();
        wait::until(bound, &format!("process {id} ends"), || self.child.try_wait().unwrap())
    }

    /// `kill -9`, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.child.kill().is_ok() && self.child.wait().is_ok() {
            tell("drop", self.child.id());
        }
    }
}

/// Puts a process that something else starts and reaps under the keeper's eye.
pub(crate) fn keep(id: u32) {
    tell("add", id);
}

/// Takes it out of the keeper's care, once it is reaped.
pub(crate) fn release(id: u32) {
    tell("drop", id);
}

/// A private directory, removed when the suite is over (it stays for the logs until then).
pub(crate) fn directory() -> PathBuf {
    let path = tempfile::Builder::new().prefix("postern-suite-").tempdir().unwrap().keep();
    tell("dir", path.display());
    path
}

fn tell(what: &str, which: impl std::fmt::Display) {
    static KEEPER: OnceLock<Mutex<Child>> = OnceLock::new();
    let keeper = KEEPER.get_or_init(|| {
        let child = Command::new("bash")
            .args(["-c", SCRIPT])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Mutex::new(child)
    });
    let mut keeper = keeper.lock().unwrap();
    writeln!(keeper.stdin.as_mut().unwrap(), "{what} {which}").unwrap();
}

/// The keeper. A Ctrl-C at the terminal reaches it too, and must not end it before its work.
const SCRIPT: &str = r#"
trap '' INT TERM HUP
declare -A ids
dirs=()
while read -r what which; do
    case $what in
        add) ids[$which]=1 ;;
        drop) unset "ids[$which]" ;;
        dir) dirs+=("$which") ;;
    esac
done
for id in "${!ids[@]}"; do kill -9 "$id"; done
[ -n "$POSTERN_KEEP" ] && exit
sleep 0.2
for dir in "${dirs[@]}"; do
    case $dir in */postern-suite-*)
        ! mountpoint -q "$dir" || umount -l "$dir"
        rm -rf -- "$dir" ;;
    esac
done
"#;
