//! A real PostgreSQL server as target: loopback, TLS, a throw-away directory, no rights of the machine's.
//!
//! As root it runs as the user `postgres`, for PostgreSQL refuses root. It starts as a server does that never heard of
//! Postern; [`Server::apply`] does with what `targets sql` prints what an administrator does. `POSTERN_PGBIN` names
//! another version's programs than the newest that is installed.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::keeper::{self, Process};
use crate::wait;

/// A running server.
pub(crate) struct Server {
    pub(crate) port: u16,
    /// Where its certificate's CA is, in PEM.
    pub(crate) ca: PathBuf,
    data: PathBuf,
    sockets: PathBuf,
    process: Process,
}

impl Server {
    /// Starts one with TLS.
    pub(crate) fn start() -> Self {
        Self::with("ssl = on\n")
    }

    /// Starts one with more in its configuration.
    pub(crate) fn with(more: &str) -> Self {
        let dir = keeper::directory();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o711)).unwrap();
        let (data, ca) = (dir.join("data"), dir.join("ca.crt"));
        must(Command::new("cp").arg("-a").arg(template()).arg(&data));
        certify(&ca, &data);
        let config = format!(
            "ssl_cert_file = 'server.crt'\nssl_key_file = 'server.key'\nlisten_addresses = '127.0.0.1'\n\
             unix_socket_directories = '{}'\nfsync = off\nmax_connections = 60\nmax_prepared_transactions = 4\n\
             shared_buffers = 16MB\nlog_connections = on\npassword_encryption = 'scram-sha-256'\n{more}",
            data.display()
        );
        fs::write(data.join("postgresql.auto.conf"), "").unwrap();
        fs::write(data.join("postgresql.conf"), config).unwrap();
        fs::write(data.join("pg_hba.conf"), LINES).unwrap();
        own(&data);
        let port = free_port();
        let mut command = as_postgres(&program("postgres"));
        command.arg("-D").arg(&data).arg("-p").arg(port.to_string());
        let process = Process::start(command, &dir.join("postgres.log"));
        let mut server = Self { port, ca, sockets: data.clone(), data, process };
        wait::until(wait::LONG, "PostgreSQL answers", || {
            if let Some(status) = server.process.exited() {
                panic!("PostgreSQL ended ({status}): {}", server.process.log());
            }
            let said = server.client("postgres").arg("-c").arg("SELECT 1").output().unwrap();
            said.status.success().then_some(())
        });
        server
    }

    /// Runs statements as a superuser; gives what they say, unadorned.
    pub(crate) fn superuser(&self, database: &str, statements: &str) -> String {
        let said = self.client(database).arg("-c").arg(statements).output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
        assert!(said.status.success(), "{statements}: {err}");
        out.trim().to_owned()
    }

    /// Does what `targets sql` says: the statements as a superuser, the CA and the lines into their files.
    pub(crate) fn apply(&self, printed: &str) {
        let file = self.data.join("setup.sql");
        fs::write(&file, printed).unwrap();
        let said = self.client("postgres").arg("-f").arg(&file).output().unwrap();
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        let (_, rest) = printed.split_once("-----BEGIN CERTIFICATE-----").expect("it prints the CA");
        let (body, _) = rest.split_once("-----END CERTIFICATE-----").unwrap();
        let pem = format!("-----BEGIN CERTIFICATE-----{body}-----END CERTIFICATE-----\n");
        fs::write(self.data.join("postern_ca.crt"), pem).unwrap();
        let rules: Vec<String> = printed
            .lines()
            .filter(|line| line.starts_with("host") || line.starts_with("local"))
            .map(|line| line.replace("BASTION_ADDRESS", "127.0.0.1"))
            .collect();
        assert!(rules.len() >= 4, "it prints the lines for pg_hba.conf: {printed}");
        fs::write(self.data.join("pg_hba.conf"), format!("{}\n{LINES}", rules.join("\n"))).unwrap();
        self.superuser("postgres", "ALTER SYSTEM SET ssl_ca_file = 'postern_ca.crt'");
        self.superuser("postgres", "SELECT pg_reload_conf()");
        wait::until(wait::LONG, "PostgreSQL reads its files again", || {
            (self.superuser("postgres", "SHOW ssl_ca_file") == "postern_ca.crt").then_some(())
        });
    }

    /// Its log so far.
    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    /// `psql` as a superuser, over its socket.
    fn client(&self, database: &str) -> Command {
        let mut command = Command::new("psql");
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.args(["-X", "-At", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", database]);
        command.arg("-h").arg(&self.sockets).arg("-p").arg(self.port.to_string()).stdin(Stdio::null());
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // At once, and with its children: SIGKILL would leave those to find out.
        self.process.signal("QUIT");
        self.process.end(wait::LONG);
    }
}

/// What it lets in before it knows of Postern: a superuser at its socket, anybody with a password over TLS.
const LINES: &str = "local all postgres trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n";

/// A server's directory as `initdb` makes it, made once.
fn template() -> &'static Path {
    static TEMPLATE: OnceLock<PathBuf> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let dir = keeper::directory();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o711)).unwrap();
        let data = dir.join("data");
        fs::create_dir(&data).unwrap();
        own(&data);
        let mut command = as_postgres(&program("initdb"));
        command.arg("-D").arg(&data).args([
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
            "--no-sync",
        ]);
        must(&mut command);
        data
    })
}

/// A certificate for `localhost` and its address, by a CA that is thrown away.
fn certify(ca_file: &Path, data: &Path) {
    let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    ca.distinguished_name.push(rcgen::DnType::CommonName, "the database's own CA");
    let issuer = rcgen::CertifiedIssuer::self_signed(ca, rcgen::KeyPair::generate().unwrap()).unwrap();
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
    fs::write(ca_file, issuer.pem()).unwrap();
    fs::write(data.join("server.crt"), certificate.pem()).unwrap();
    fs::write(data.join("server.key"), key.serialize_pem()).unwrap();
    fs::set_permissions(data.join("server.key"), fs::Permissions::from_mode(0o600)).unwrap();
}

/// One of PostgreSQL's programs.
fn program(name: &str) -> PathBuf {
    let named = std::env::var_os("POSTERN_PGBIN").map(PathBuf::from);
    let newest = || {
        let installed = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        installed.map(|version| version.path().join("bin")).filter(|bin| bin.join("postgres").exists()).max()
    };
    let bin = named.or_else(newest).expect("no PostgreSQL server: run tests/run, which installs it");
    bin.join(name)
}

fn is_root() -> bool {
    let said = Command::new("id").arg("-u").output().unwrap();
    String::from_utf8_lossy(&said.stdout).trim() == "0"
}

/// A program run as somebody PostgreSQL accepts.
fn as_postgres(program: &Path) -> Command {
    let mut command = match is_root() {
        true => {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=postgres", "--regid=postgres", "--init-groups", "--"]).arg(program);
            command
        }
        false => Command::new(program),
    };
    command.env("LC_ALL", "C").current_dir("/");
    command
}

fn own(path: &Path) {
    if is_root() {
        must(Command::new("chown").args(["-R", "postgres:postgres"]).arg(path));
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
}

fn must(command: &mut Command) {
    let said = command.stdin(Stdio::null()).output().unwrap();
    assert!(said.status.success(), "{command:?}: {}", String::from_utf8_lossy(&said.stderr));
}

/// A loopback port nobody listens on, below those that are given out by `sshd::free_port`.
fn free_port() -> u16 {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let range = 7_000..12_000_u32;
    loop {
        let next = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let step = std::process::id().wrapping_mul(131).wrapping_add(next * 7) % (range.end - range.start);
        let port = u16::try_from(range.start + step).unwrap();
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
