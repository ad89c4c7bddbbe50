//! The demo's target where the machine has OpenSSH's server: a real `sshd` on loopback, in a throw-away directory, that
//! trusts the demo's user CA and nothing else. It ends with the value that holds it.
//!
//! The other target, for machines without OpenSSH's server, is in `target/`.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::DemoError;

/// Where Debian, Fedora, Alpine and the BSDs put it.
const PLACES: [&str; 3] = ["/usr/sbin/sshd", "/usr/local/sbin/sshd", "/usr/bin/sshd"];
/// How long it may take to listen.
const START: Duration = Duration::from_secs(10);

/// A running `sshd`.
pub(super) struct Sshd {
    child: Child,
    address: SocketAddr,
    log: PathBuf,
}

impl Sshd {
    /// The server's program, where there is one.
    pub(super) fn program() -> Option<&'static Path> {
        PLACES.into_iter().map(Path::new).find(|path| path.exists())
    }

    /// Starts it in `directory`, with the host key in `directory/host_key`, trusting the CA in `directory/user_ca.pub`.
    pub(super) fn start(program: &Path, directory: &Path) -> Result<Self, DemoError> {
        let address = free_port()?;
        let log = directory.join("sshd.log");
        let sftp =
            ["/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/lib/ssh/sftp-server"]
                .into_iter()
                .find(|path| Path::new(path).exists())
                .unwrap_or("internal-sftp");
        let shown = directory.display();
        let config = format!(
            "ListenAddress {address}\nHostKey {shown}/host_key\nPidFile none\nTrustedUserCAKeys {shown}/user_ca.pub\n\
             AuthorizedKeysFile none\nAuthenticationMethods publickey\nPasswordAuthentication no\n\
             KbdInteractiveAuthentication no\nUsePAM no\nStrictModes no\nPermitRootLogin prohibit-password\n\
             AcceptEnv LANG LC_*\nSubsystem sftp {sftp}\nLogLevel VERBOSE\n"
        );
        let path = directory.join("sshd_config");
        std::fs::write(&path, config)?;
        if rustix::process::getuid().is_root() {
            std::fs::create_dir_all("/run/sshd")?;
        }
        let child = Command::new(program)
            .args(["-D", "-E"])
            .arg(&log)
            .arg("-f")
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let sshd = Self { child, address, log };
        sshd.wait_until_listening()?;
        Ok(sshd)
    }

    /// Where it listens.
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The lines of its log that mention `text`.
    pub(super) fn log_lines(&self, text: &str) -> Vec<String> {
        let Ok(file) = std::fs::File::open(&self.log) else { return Vec::new() };
        BufReader::new(file).lines().map_while(Result::ok).filter(|line| line.contains(text)).collect()
    }

    fn wait_until_listening(&self) -> Result<(), DemoError> {
        let step = Duration::from_millis(20);
        let mut waited = Duration::ZERO;
        while waited < START {
            if TcpStream::connect(self.address).is_ok() {
                return Ok(());
            }
            std::thread::sleep(step);
            waited += step;
        }
        Err(DemoError::new(format!("sshd did not start; see {}", self.log.display())))
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is reaped.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A port that is free now.
fn free_port() -> Result<SocketAddr, DemoError> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
