//! The target against the real `ssh` and `ssh-keygen`: what an operator's tools see.
//!
//! Without those programs the tests fail with that reason: a machine that builds Postern has them.

use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;

use super::*;
use crate::model::Clock;

struct World {
    directory: tempfile::TempDir,
    target: Target,
}

struct Outcome {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl World {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for name in ["host", "ca", "key"] {
            keygen(&["-q", "-t", "ed25519", "-N", "", "-f", name], directory.path()).await;
        }
        let read = |name| std::fs::read_to_string(directory.path().join(name)).unwrap();
        let target = Target::start(Settings {
            host_key: russh::keys::PrivateKey::from_openssh(read("host")).unwrap(),
            user_ca: russh::keys::PublicKey::from_openssh(&read("ca.pub")).unwrap(),
            port: 0,
            shell: Some("/bin/sh".into()),
            directory: directory.path().to_owned(),
            clock: Clock::system(),
        })
        .await
        .unwrap();
        let known =
            format!("[127.0.0.1]:{} {}\n", target.address().port(), target.host_key().to_openssh().unwrap());
        std::fs::write(directory.path().join("known"), known).unwrap();
        Self { directory, target }
    }

    /// Certifies the key for `deploy`, with more options of `ssh-keygen -s`.
    async fn certify(&self, options: &[&str]) {
        let mut arguments = vec!["-q", "-s", "ca", "-I", "ses_test alice", "-n", "deploy", "-V", "-1m:+5m"];
        arguments.extend_from_slice(options);
        arguments.push("key.pub");
        keygen(&arguments, self.directory.path()).await;
    }

    fn ssh(&self, options: &[&str], command: &[&str]) -> Command {
        let mut ssh = Command::new("ssh");
        ssh.current_dir(self.directory.path())
            .args(["-F", "none", "-i", "key", "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes"])
            .args(["-o", "UserKnownHostsFile=known", "-o", "StrictHostKeyChecking=yes"])
            .args(["-o", "SendEnv=LC_TEST LEAK", "-p", &self.target.address().port().to_string()])
            .args(options)
            .arg("deploy@127.0.0.1")
            .args(command)
            .env("LC_TEST", "passed on")
            .env("LEAK", "not passed on")
            .env_remove("SSH_AUTH_SOCK")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        ssh
    }

    async fn run(&self, options: &[&str], command: &[&str]) -> Outcome {
        finish(self.ssh(options, command)).await
    }
}

async fn finish(mut command: Command) -> Outcome {
    let limit = std::time::Duration::from_secs(30);
    let output = tokio::time::timeout(limit, command.output()).await.expect("ssh hangs").expect("ssh runs");
    Outcome {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

async fn keygen(arguments: &[&str], directory: &Path) {
    let status = Command::new("ssh-keygen").args(arguments).current_dir(directory).status().await;
    assert!(status.expect("ssh-keygen runs").success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_have_their_status_streams_and_environment() {
    let world = World::new().await;
    world.certify(&[]).await;
    let script = "echo out; echo err >&2; echo \"$LC_TEST/$LEAK\"; cat; exit 7";
    let ran = world.run(&[], &[script]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(7), "out\npassed on/\n"), "{}", ran.stderr);
    assert_eq!(ran.stderr, "err\n");
    let killed = world.run(&[], &["kill -TERM $$"]).await;
    assert_eq!(killed.code, Some(255), "ssh says 255 for a signal: {}", killed.stderr);
    let log = world.target.log().join("\n");
    assert!(
        log.contains("Accepted certificate ID \"ses_test alice\"") && log.contains("for deploy"),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_is_a_real_one() {
    let world = World::new().await;
    world.certify(&[]).await;
    let ran = world.run(&["-tt"], &["tty; stty size; echo $TERM; exit 3"]).await;
    assert_eq!(ran.code, Some(3), "{}", ran.stderr);
    assert!(ran.stdout.starts_with("/dev/pts/"), "{}", ran.stdout);
    let plain = world.run(&[], &["tty"]).await;
    assert_eq!((plain.code, plain.stdout.as_str()), (Some(1), "not a tty\n"));
    world.certify(&["-O", "no-pty"]).await;
    let refused = world.run(&["-tt"], &["tty"]).await;
    assert!(!refused.stdout.contains("/dev/pts/"), "{}", refused.stdout);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interactive_shell_takes_lines() {
    use tokio::io::AsyncWriteExt as _;

    let world = World::new().await;
    world.certify(&[]).await;
    let mut ssh = world.ssh(&["-tt"], &[]);
    let mut child = ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(b"echo six$((2*3)); exit 4\n").await.unwrap();
    let limit = std::time::Duration::from_secs(30);
    let output = tokio::time::timeout(limit, child.wait_with_output()).await.expect("hangs").unwrap();
    assert_eq!(output.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&output.stdout).contains("six6"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn megabytes_both_ways_do_not_jam() {
    let world = World::new().await;
    world.certify(&[]).await;
    let big = vec![b'x'; 24 << 20];
    std::fs::write(world.directory.path().join("big"), &big).unwrap();
    let mut ssh = world.ssh(&[], &["cat"]);
    ssh.stdin(std::fs::File::open(world.directory.path().join("big")).unwrap());
    let ran = finish(ssh).await;
    assert_eq!((ran.code, ran.stdout.len()), (Some(0), big.len()), "{}", ran.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_gets_in_without_a_certificate_that_fits() {
    let world = World::new().await;
    let bare = world.run(&[], &["true"]).await;
    assert!(bare.code == Some(255) && bare.stderr.contains("Permission denied"), "{}", bare.stderr);
    for wrong in [["-n", "root"], ["-O", "source-address=10.0.0.0/8"], ["-O", "force-command=id"]] {
        world.certify(&wrong).await;
        let ran = world.run(&[], &["true"]).await;
        assert!(ran.code == Some(255) && ran.stderr.contains("Permission denied"), "{wrong:?}");
    }
    assert!(world.target.log().iter().any(|line| line.starts_with("Refused certificate")));
    world.certify(&[]).await;
    assert_eq!(world.run(&[], &["true"]).await.code, Some(0), "the control gets in");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_the_target_ends_what_runs() {
    let World { directory, target } = World::new().await;
    let world = World { directory, target };
    world.certify(&[]).await;
    let mut ssh = world.ssh(&[], &["echo $$ > pid; exec sleep 300"]);
    let mut child = ssh.spawn().unwrap();
    let file = world.directory.path().join("pid");
    let id = loop {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        if text.ends_with('\n') {
            break text.trim().to_owned();
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    let World { directory, target } = world;
    drop(target);
    let limit = std::time::Duration::from_secs(10);
    let status = tokio::time::timeout(limit, child.wait()).await.expect("the client is cut").unwrap();
    assert_eq!(status.code(), Some(255));
    let is_gone = async {
        loop {
            let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
            if stat.is_empty() || stat.contains(") Z ") {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(limit, is_gone).await.expect("the program is ended");
    drop(directory);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forwards_reach_this_machine_only() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let world = World::new().await;
    world.certify(&[]).await;
    let echo = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = echo.local_addr().unwrap().to_string();
    let mut ssh = world.ssh(&["-W", &address], &[]);
    let mut child = ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut socket, _) = echo.accept().await.unwrap();
    socket.write_all(b"server speaks first\n").await.unwrap();
    child.stdin.take().unwrap().write_all(b"and the client last").await.unwrap();
    let mut heard = String::new();
    socket.read_to_string(&mut heard).await.unwrap();
    drop(socket);
    let output = child.wait_with_output().await.unwrap();
    assert_eq!(
        (heard.as_str(), output.stdout.as_slice()),
        ("and the client last", &b"server speaks first\n"[..])
    );
    let outside = world.run(&["-W", "192.0.2.1:80"], &[]).await;
    assert!(outside.stderr.contains("prohibited"), "{}", outside.stderr);
}
