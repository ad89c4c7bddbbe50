//! A command on a real pseudo-terminal, as a person sees it: keys in, screen bytes out.
//!
//! The bytes are kept as they came; nothing interprets them. For commands without a terminal see `client`.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::client::contains;
use crate::keeper;
use crate::wait;

/// A terminal with a command on it. The command is killed when this is dropped.
pub(crate) struct Terminal {
    child: Child,
    pty: File,
    seen: Arc<Mutex<Vec<u8>>>,
    reader: std::thread::JoinHandle<()>,
}

impl Terminal {
    /// Starts `command` on a terminal of 100 columns and 30 rows.
    pub(crate) fn start(command: &Command) -> Self {
        let (pty, pts) = pty_process::blocking::open().unwrap();
        pty.resize(pty_process::Size::new(30, 100)).unwrap();
        let mut on_pty = pty_process::blocking::Command::new(command.get_program()).args(command.get_args());
        on_pty = on_pty.env_clear();
        for (name, value) in command.get_envs() {
            on_pty = on_pty.env(name, value.unwrap_or_default());
        }
        if let Some(dir) = command.get_current_dir() {
            on_pty = on_pty.current_dir(dir);
        }
        let child = on_pty.spawn(pts).unwrap();
        keeper::keep(child.id());
        let pty = File::from(OwnedFd::from(pty));
        let mut screen = pty.try_clone().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let gathered = Arc::clone(&seen);
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 16 * 1024];
            // Linux answers EIO, not an end of file, when the other side is gone: either is the end.
            while let Some(count) = screen.read(&mut buffer).ok().filter(|&count| count > 0) {
                gathered.lock().unwrap().extend_from_slice(&buffer[..count]);
            }
        });
        Self { child, pty, seen, reader }
    }

    /// Types.
    pub(crate) fn keys(&mut self, text: &str) {
        self.pty.write_all(text.as_bytes()).unwrap();
    }

    /// Waits until `wanted` has been on the screen.
    pub(crate) fn see(&mut self, wanted: &str) {
        let what = format!("{wanted:?} is on the screen");
        wait::until(wait::LONG, &what, || {
            // What it said last may still be on its way when it has ended.
            let over = self.child.try_wait().unwrap().is_some() && self.reader.is_finished();
            let seen = self.seen.lock().unwrap();
            if contains(&seen, wanted.as_bytes()) {
                return Some(());
            }
            assert!(!over, "it ended before {wanted:?}: {}", String::from_utf8_lossy(&seen));
            None
        });
    }

    /// Everything that came to the screen so far.
    pub(crate) fn seen(&self) -> Vec<u8> {
        self.seen.lock().unwrap().clone()
    }

    /// Changes the window's size.
    pub(crate) fn resize(&self, rows: u16, columns: u16) {
        let size = rustix::termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(self.pty.as_fd(), size).unwrap();
    }

    /// Waits until the command is over; gives its exit code.
    pub(crate) fn end(&mut self, bound: Duration) -> Option<i32> {
        wait::until(bound, "the terminal's command ends", || self.child.try_wait().unwrap()).code()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if self.child.kill().is_ok() && self.child.wait().is_ok() {
            keeper::release(self.child.id());
        }
    }
}
