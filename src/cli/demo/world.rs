//! The demo's world: a temporary directory with a bastion, a target and four people, each with a key of their own.
//!
//! The bastion runs in this process; what people do, they do through this program's own commands, run as children with
//! a configuration directory of their own, so that the demo shows exactly what a user would type.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};
use russh::keys::{PrivateKey, PublicKey};
use tempfile::TempDir;
use tokio::process::Command;

use super::DemoError;
use super::sshd::Sshd;
use super::target::{self, Target};
use crate::model::Clock;
use crate::serve::Node;

/// Everybody in the story, and their roles.
const PEOPLE: [(&str, &str); 3] = [("alice", "operator"), ("bob", "approver"), ("carol", "reviewer")];
/// Who runs the bastion.
const ADMIN: &str = "dave";
/// The target's registered name.
pub(super) const TARGET: &str = "web-1";
/// Everything on loopback, on ports the system chooses.
const CONFIG: &str = "[ssh]\nlisten = '127.0.0.1:0'\n[api]\nlisten = '127.0.0.1:0'\n\
                      server_names = ['localhost', '127.0.0.1']\n[metrics]\nlisten = '127.0.0.1:0'\n\
                      [recording]\nmin_free_bytes = 268435456\n";

/// A demo in progress; its directory goes with it.
pub(super) struct World {
    directory: TempDir,
    program: PathBuf,
    node: Node,
    target: Host,
    login: String,
}

enum Host {
    BuiltIn(Target),
    OpenSsh(Sshd),
}

/// What a child said.
pub(super) struct Said {
    pub(super) is_ok: bool,
    pub(super) code: Option<i32>,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: String,
}

impl Said {
    /// Its standard output as text.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Its standard output as JSON.
    pub(super) fn json(&self) -> Result<serde_json::Value, DemoError> {
        serde_json::from_slice(&self.stdout)
            .map_err(|error| DemoError::new(format!("not JSON: {error}; {}{}", self.text(), self.stderr)))
    }
}

impl World {
    /// Builds everything, from `postern init` to an enrolled target.
    pub(super) async fn build(builtin_target: bool) -> Result<Self, DemoError> {
        let directory = tempfile::Builder::new().prefix("postern-demo-").tempdir()?;
        let root = directory.path().to_owned();
        let program = std::env::current_exe()?;
        for name in PEOPLE.iter().map(|(name, _)| *name).chain([ADMIN]) {
            let home = root.join(name);
            std::fs::create_dir_all(&home)?;
            write_key(&home.join("id_ed25519"), name)?;
        }
        let bastion = shown(&root.join("bastion"));
        let reviewer = shown(&root.join("carol/reviewer.txt"));
        let setup = Setup { program: &program, root: &root };
        let keygen = setup.run(&["keygen", "--output", &reviewer, "--json"]).await?.json()?;
        let recipient = keygen.get("recipient").and_then(|r| r.as_str()).unwrap_or_default().to_owned();
        let admin_key = shown(&root.join(ADMIN).join("id_ed25519.pub"));
        setup
            .run(&["init", &bastion, "--admin", ADMIN, "--admin-key", &admin_key, "--reviewer", &recipient])
            .await?;
        std::fs::write(root.join("bastion/postern.toml"), CONFIG)?;
        let node =
            Node::start(&root.join("bastion")).await.map_err(|error| DemoError::new(error.to_string()))?;
        let status = setup.run(&["--dir", &bastion, "status", "--json"]).await?.json()?;
        let user_ca = status.get("user_ca").and_then(|ca| ca.as_str()).unwrap_or_default().to_owned();
        let target = Host::start(&root, &user_ca, builtin_target).await?;
        let login = target.login().await?;
        let world = Self { directory, program, node, target, login };
        world.enrol(&bastion).await?;
        Ok(world)
    }

    async fn enrol(&self, bastion: &str) -> Result<(), DemoError> {
        let setup = Setup { program: &self.program, root: self.root() };
        for (name, role) in PEOPLE {
            let key = shown(&self.home(name).join("id_ed25519.pub"));
            setup.run(&["--dir", bastion, "people", "add", name, "--role", role, "--key", &key]).await?;
        }
        let host_key = shown(&self.root().join("target/host_key.pub"));
        let address = self.target.address().to_string();
        setup.run(&["--dir", bastion, "targets", "add", TARGET, &address, "--host-key", &host_key]).await?;
        let server = format!("https://{}", self.node.addresses().api);
        let fingerprint = setup.run(&["--dir", bastion, "status", "--json"]).await?.json()?;
        let fingerprint =
            fingerprint.pointer("/api/fingerprint").and_then(|f| f.as_str()).unwrap_or_default();
        for name in PEOPLE.iter().map(|(name, _)| *name).chain([ADMIN]) {
            // Once: the later commands have to find the key by themselves, as everybody's do.
            let key = shown(&self.home(name).join("id_ed25519"));
            self.postern(name, &["login", &server, "--fingerprint", fingerprint, "--ssh-key", &key])
                .await?
                .or_fail("login")?;
        }
        Ok(())
    }

    /// Where everything is.
    pub(super) fn root(&self) -> &Path {
        self.directory.path()
    }

    /// Somebody's own directory.
    pub(super) fn home(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    /// `LOGIN@TARGET`.
    pub(super) fn address(&self) -> String {
        format!("{}@{TARGET}", self.login)
    }

    /// What the target's own log says about `text`.
    pub(super) fn target_log(&self, text: &str) -> Vec<String> {
        match &self.target {
            Host::BuiltIn(target) => target.log().into_iter().filter(|line| line.contains(text)).collect(),
            Host::OpenSsh(sshd) => sshd.log_lines(text),
        }
    }

    /// Runs one of this program's commands as somebody.
    pub(super) async fn postern(&self, name: &str, arguments: &[&str]) -> Result<Said, DemoError> {
        let mut command = Command::new(&self.program);
        command.args(arguments);
        self.environment(&mut command, name);
        output(command).await
    }

    /// `ssh` as somebody, to the target, with the options that keep it inside the demo's directory.
    pub(super) fn ssh(&self, name: &str, options: &[&str], words: &[&str]) -> Command {
        let mut command = Command::new("ssh");
        command
            .args(self.ssh_options(name))
            .args(options)
            .arg(format!("{}@127.0.0.1", self.address()))
            .args(words);
        command
    }

    /// The options of [`Self::ssh`].
    pub(super) fn ssh_options(&self, name: &str) -> Vec<String> {
        let key = shown(&self.home(name).join("id_ed25519"));
        let known = shown(&self.root().join("known_hosts"));
        let port = self.node.addresses().ssh.port();
        let mut options = vec!["-F".to_owned(), "none".to_owned(), "-i".to_owned(), key];
        for option in [
            format!("Port={port}"),
            format!("UserKnownHostsFile={known}"),
            "IdentitiesOnly=yes".to_owned(),
            "IdentityAgent=none".to_owned(),
            "StrictHostKeyChecking=accept-new".to_owned(),
            "LogLevel=ERROR".to_owned(),
        ] {
            options.extend(["-o".to_owned(), option]);
        }
        options
    }

    /// `scp` as somebody.
    pub(super) fn scp(&self, name: &str, from: &str, to: &str) -> Command {
        let mut command = Command::new("scp");
        command.args(self.ssh_options(name)).args([from, to]);
        command
    }

    /// `ssh -J` as somebody: the connection to the target is inside one to the bastion, and is trusted by its host CA.
    pub(super) fn ssh_through_jump(&self, name: &str, words: &[&str]) -> Command {
        let options: String = self.ssh_options(name).iter().map(|option| format!("'{option}' ")).collect();
        let mut command = Command::new("ssh");
        command
            .args(self.ssh_options(name))
            .args(["-o", &format!("ProxyCommand=ssh {options}-W %h:%p {name}@127.0.0.1")])
            .arg(format!("{}@{TARGET}", self.login))
            .args(words);
        command
    }

    /// carol's key to the recordings.
    pub(super) fn identity(&self) -> String {
        shown(&self.home("carol").join("reviewer.txt"))
    }

    /// Where the bastion keeps a session's recording.
    pub(super) fn recording(&self, session: &str) -> PathBuf {
        self.root().join("bastion/recordings").join(format!("{session}.pstn"))
    }

    /// Stops the bastion; the target and the directory go with the value.
    pub(super) async fn stop(self) {
        self.node.stop().await;
    }

    /// What to paste, and where. Each person gets a command of their own, so that there is little to paste.
    pub(super) fn guide(&self) -> Result<String, DemoError> {
        let bin = self.root().join("bin");
        std::fs::create_dir_all(&bin)?;
        for name in PEOPLE.iter().map(|(name, _)| *name).chain([ADMIN]) {
            let config = shown(&self.home(name).join("config.toml"));
            let identity = match name {
                "carol" => format!("POSTERN_IDENTITY='{}' ", self.identity()),
                _ => String::new(),
            };
            let program = self.program.display();
            write_script(
                &bin.join(name),
                &format!("{identity}POSTERN_CONFIG='{config}' exec '{program}' \"$@\""),
            )?;
        }
        // Quieter than usual would hide the dialogue.
        let options: String = self
            .ssh_options("alice")
            .iter()
            .filter(|option| !option.starts_with("LogLevel"))
            .map(|option| if option == "-o" { String::new() } else { option.clone() })
            .map(|option| match option.as_str() {
                "" => String::new(),
                option if option.contains('=') => format!("-o '{option}' "),
                option => format!("'{option}' "),
            })
            .collect();
        let address = self.address();
        write_script(&bin.join("ssh-alice"), &format!("exec ssh {options}'{address}@127.0.0.1' \"$@\""))?;
        let bin = bin.display();
        Ok(format!(
            "\nPostern is running in {root}, with the target {TARGET} and four people.\nPaste these in other terminals, \
             in this order. Ctrl-C here ends everything.\n\n\
             1. alice connects ({address}@127.0.0.1), gives a reason when asked, and waits:\n\n   {bin}/ssh-alice\n\n\
             2. bob reads the request and approves it; alice's terminal carries on:\n\n   {bin}/bob requests\n   \
             {bin}/bob approve req_…\n\n\
             3. carol watches the session as it happens:\n\n   {bin}/carol sessions --live\n   {bin}/carol watch ses_…\n\n\
             4. dave revokes the grant; alice is cut at once, and the receipt says when:\n\n   {bin}/dave grants\n   \
             {bin}/dave revoke grn_… --reason 'enough'\n   {bin}/dave receipt ses_…\n\n\
             5. carol plays the recording back and verifies it:\n\n   {bin}/carol play ses_…\n   {bin}/carol verify \
             ses_…\n",
            root = self.root().display(),
        ))
    }

    fn environment(&self, command: &mut Command, name: &str) {
        let home = self.home(name);
        command
            .env("POSTERN_CONFIG", home.join("config.toml"))
            .env_remove("POSTERN_SSH_KEY")
            .env_remove("POSTERN_DIR")
            .env_remove("SSH_AUTH_SOCK");
    }
}

impl Said {
    /// The output of a step that has to work.
    pub(super) fn or_fail(self, what: &str) -> Result<Self, DemoError> {
        if self.is_ok {
            Ok(self)
        } else {
            Err(DemoError::new(format!("{what}: {}{}", self.text(), self.stderr)))
        }
    }
}

impl Host {
    async fn start(root: &Path, user_ca: &str, builtin: bool) -> Result<Self, DemoError> {
        let directory = root.join("target");
        std::fs::create_dir_all(&directory)?;
        write_key(&directory.join("host_key"), TARGET)?;
        std::fs::write(directory.join("user_ca.pub"), format!("{user_ca}\n"))?;
        match Sshd::program() {
            Some(program) if !builtin => {
                let at = directory.clone();
                let started = tokio::task::spawn_blocking(move || Sshd::start(program, &at)).await;
                Ok(Self::OpenSsh(started.map_err(|error| DemoError::new(error.to_string()))??))
            }
            _ => Ok(Self::BuiltIn(builtin_target(&directory, user_ca).await?)),
        }
    }

    fn address(&self) -> std::net::SocketAddr {
        match self {
            Self::BuiltIn(target) => target.address(),
            Self::OpenSsh(sshd) => sshd.address(),
        }
    }

    /// The login that works on it: the built-in one takes any, OpenSSH's runs sessions as who started it.
    async fn login(&self) -> Result<String, DemoError> {
        match self {
            Self::BuiltIn(_) => Ok("demo".to_owned()),
            Self::OpenSsh(_) => {
                let mut id = Command::new("id");
                id.arg("-un");
                Ok(output(id).await?.text().trim().to_owned())
            }
        }
    }
}

async fn builtin_target(directory: &Path, user_ca: &str) -> Result<Target, DemoError> {
    let failed = |error: russh::keys::ssh_key::Error| DemoError::new(error.to_string());
    let settings = target::Settings {
        host_key: PrivateKey::read_openssh_file(directory.join("host_key")).map_err(failed)?,
        user_ca: PublicKey::from_openssh(user_ca).map_err(failed)?,
        port: 0,
        shell: None,
        directory: directory.to_owned(),
        clock: Clock::system(),
    };
    Target::start(settings).await.map_err(|error| DemoError::new(error.to_string()))
}

/// Commands run before anybody is enrolled.
struct Setup<'a> {
    program: &'a Path,
    root: &'a Path,
}

impl Setup<'_> {
    async fn run(&self, arguments: &[&str]) -> Result<Said, DemoError> {
        let mut command = Command::new(self.program);
        command.args(arguments).env_remove("POSTERN_DIR").env("POSTERN_CONFIG", self.root.join("setup.toml"));
        output(command).await?.or_fail(&format!("postern {}", arguments.join(" ")))
    }
}

/// Runs a command without a terminal and takes what it says.
pub(super) async fn output(mut command: Command) -> Result<Said, DemoError> {
    let program = command.as_std().get_program().display().to_string();
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await;
    let output = output.map_err(|error| DemoError::new(format!("{program} does not run: {error}")))?;
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok(Said { is_ok: output.status.success(), code: output.status.code(), stdout: output.stdout, stderr })
}

/// A fresh Ed25519 key pair in OpenSSH's files.
fn write_key(path: &Path, comment: &str) -> Result<(), DemoError> {
    let failed = |error: russh::keys::ssh_key::Error| DemoError::new(error.to_string());
    let mut seed = zeroize::Zeroizing::new([0_u8; 32]);
    aws_lc_rs::rand::fill(&mut *seed).map_err(|_| DemoError::new("the system has no randomness"))?;
    let key =
        PrivateKey::new(KeypairData::Ed25519(Ed25519Keypair::from_seed(&seed)), comment).map_err(failed)?;
    key.write_openssh_file(path, LineEnding::LF).map_err(failed)?;
    let public = key.public_key().to_openssh().map_err(failed)?;
    std::fs::write(path.with_extension("pub"), format!("{public}\n"))?;
    Ok(())
}

/// A shell script for its owner to run.
fn write_script(path: &Path, line: &str) -> Result<(), DemoError> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, format!("#!/bin/sh\n{line}\n"))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))?;
    Ok(())
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
