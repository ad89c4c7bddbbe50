//! A real OpenSSH server as target: loopback, a throw-away directory, the current user.
//!
//! It trusts one user CA (the bastion's), knows no password and no authorised key of its own, and logs who logged in
//! with which certificate: that log is what the tests compare with what Postern says.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::keeper::Process;
use crate::wait;

/// A running sshd.
pub(crate) struct Sshd {
    pub(crate) port: u16,
    pub(crate) dir: PathBuf,
    process: Process,
}

impl Sshd {
    /// Starts one in `dir`, trusting the certificates of `user_ca` (a public key line). `more` is added to its
    /// configuration.
    pub(crate) fn start(dir: &Path, user_ca: &str, more: &str) -> Self {
        fs::create_dir_all(dir).unwrap();
        for name in ["host", "other_ca"] {
            if !dir.join(name).exists() {
                keygen(&dir.join(name), "ed25519");
            }
        }
        let (login, port) = (login(), free_port());
        fs::write(dir.join("user_ca.pub"), format!("{}\n", user_ca.trim())).unwrap();
        let here = dir.display();
        // A shell that takes itself for an inner one leaves the account's own start-up files alone.
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {here}/host\nPidFile none\n\
             TrustedUserCAKeys {here}/user_ca.pub\nAuthorizedKeysFile none\n\
             AuthenticationMethods publickey\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
             UsePAM no\nStrictModes no\nPermitRootLogin prohibit-password\nAllowUsers {login}\n\
             AllowTcpForwarding yes\nAllowAgentForwarding yes\nAllowStreamLocalForwarding yes\nPermitTunnel yes\n\
             PermitUserEnvironment no\nSetEnv SHLVL=1\nAcceptEnv LANG LC_*\nMaxSessions 200\nMaxStartups 500\n\
             Subsystem sftp {}\nLogLevel VERBOSE\n{more}\n",
            sftp_server()
        );
        fs::write(dir.join("sshd_config"), config).unwrap();
        let mut command = Command::new("/usr/sbin/sshd");
        command.arg("-D").arg("-e").arg("-f").arg(dir.join("sshd_config"));
        let mut process = Process::start(command, &dir.join("sshd.log"));
        wait::until(wait::LONG, "sshd listens", || {
            if let Some(status) = process.exited() {
                panic!("sshd ended ({status}): {}", process.log());
            }
            std::net::TcpStream::connect(("127.0.0.1", port)).ok()
        });
        Self { port, dir: dir.to_owned(), process }
    }

    /// Its log so far.
    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    /// How many connections it holds: it has a process for each.
    pub(crate) fn connections(&self) -> usize {
        let id = self.process.id().to_string();
        let output = Command::new("ps").args(["-o", "pid=", "--ppid", &id]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).lines().count()
    }

    /// Its host key, as a public key file.
    pub(crate) fn host_key(&self) -> PathBuf {
        self.dir.join("host.pub")
    }
}

/// The account all targets log in to: whoever runs the tests.
pub(crate) fn login() -> String {
    let output = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A loopback port that nobody listens on and that this process gives out once. Below those the system gives to
/// clients, or a connection of another test could take it before it is listened on.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let range = 12_000..32_000_u32;
    let first = std::process::id().wrapping_mul(97);
    loop {
        let step = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % (range.end - range.start);
        let port = u16::try_from(range.start + step).unwrap();
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A fresh key pair at `path` and `path.pub`, without a passphrase.
pub(crate) fn keygen(path: &Path, kind: &str) {
    let status = Command::new("ssh-keygen")
        .args(["-q", "-t", kind, "-N", "", "-C", &path.file_name().unwrap().to_string_lossy(), "-f"])
        .arg(path)
        .status()
        .unwrap();
    assert!(status.success(), "ssh-keygen failed for {}", path.display());
}

fn sftp_server() -> &'static str {
    ["/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/lib/ssh/sftp-server"]
        .into_iter()
        .find(|path| Path::new(path).exists())
        .expect("no sftp-server: run tests/run, which installs it")
}
