//! Signatures must be what OpenSSH itself accepts: `ssh-keygen -Y verify` and a real `ssh-agent` judge.
//!
//! They need OpenSSH's tools, which `tests/run` installs. What is signed and why is in `signer.rs`.

use std::io::Write as _;
use std::process::{Command, Stdio};

use super::*;

const NAMESPACE: &str = "sign-in@postern";
const MESSAGE: &[u8] = b"postern sign-in v1\nserver x\nnonce y\n";

fn keygen(path: &Path, passphrase: &str) {
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-C", "test", "-N", passphrase, "-f"])
        .arg(path)
        .status()
        .expect("these tests need OpenSSH's ssh-keygen");
    assert!(made.success());
}

/// Whether OpenSSH finds that `key` signed [`MESSAGE`].
fn openssh_accepts(place: &Path, key: &str, armored: &str, namespace: &str) -> bool {
    let signers = place.join("signers");
    let signature = place.join("signature");
    std::fs::write(&signers, format!("alice {key}\n")).unwrap();
    std::fs::write(&signature, armored).unwrap();
    let mut child = Command::new("ssh-keygen")
        .args(["-Y", "verify", "-I", "alice", "-n", namespace, "-f"])
        .arg(&signers)
        .arg("-s")
        .arg(&signature)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(MESSAGE).unwrap();
    child.wait().unwrap().success()
}

#[tokio::test]
async fn a_key_file_signs_as_openssh_does() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("id");
    keygen(&path, "");
    let signers = Signer::candidates(Some(&path), None).await.unwrap();
    assert_eq!(signers.len(), 1);
    let armored = signers[0].sign(NAMESPACE, MESSAGE).await.unwrap();
    assert!(openssh_accepts(place.path(), signers[0].presented(), &armored, NAMESPACE));
    assert!(!openssh_accepts(place.path(), signers[0].presented(), &armored, "approval@postern"));
    let ours = crate::authn::verify_sshsig(&armored, NAMESPACE, MESSAGE).unwrap();
    assert_eq!(ours.fingerprint(), signers[0].fingerprint());
}

#[tokio::test]
async fn an_agent_signs_as_openssh_does() {
    let place = tempfile::tempdir().unwrap();
    let (path, socket) = (place.path().join("id"), place.path().join("agent"));
    keygen(&path, "");
    let mut server = Command::new("ssh-agent")
        .args(["-D", "-a"])
        .arg(&socket)
        .stdout(Stdio::null())
        .spawn()
        .expect("these tests need OpenSSH's ssh-agent");
    for _ in 0..200 {
        if socket.exists() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let added = Command::new("ssh-add").arg("-q").arg(&path).env("SSH_AUTH_SOCK", &socket).status().unwrap();
    assert!(added.success());
    let agent = AgentClient::connect_uds(&socket).await.unwrap().dynamic();
    let signers = held_by(agent).await;
    assert_eq!(signers.len(), 1);
    let agent = AgentClient::connect_uds(&socket).await.unwrap().dynamic();
    let armored = sign_with(agent, &signers[0].public, NAMESPACE, MESSAGE).await.unwrap();
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(openssh_accepts(place.path(), signers[0].presented(), &armored, NAMESPACE));
    crate::authn::verify_sshsig(&armored, NAMESPACE, MESSAGE).unwrap();
}

#[tokio::test]
async fn a_certificate_beside_the_key_is_offered_too_and_no_key_says_what_to_do() {
    let place = tempfile::tempdir().unwrap();
    let (path, ca) = (place.path().join("id"), place.path().join("ca"));
    keygen(&path, "");
    keygen(&ca, "");
    let signed = Command::new("ssh-keygen")
        .args(["-q", "-s"])
        .arg(&ca)
        .args(["-I", "alice", "-n", "alice"])
        .arg(place.path().join("id.pub"))
        .status()
        .unwrap();
    assert!(signed.success());
    let signers = Signer::candidates(Some(&path), None).await.unwrap();
    assert_eq!(signers.len(), 2);
    assert!(signers[1].presented().starts_with("ssh-ed25519-cert-v01@openssh.com "));
    std::fs::write(&path, "hello").unwrap();
    assert!(Signer::candidates(Some(&path), None).await.is_err());
}

#[tokio::test]
async fn an_encrypted_key_is_not_opened_before_it_signs_and_then_asks() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("id");
    keygen(&path, "correct horse");
    let signers = Signer::candidates(Some(&path), None).await.unwrap();
    // Tests have no terminal to ask on.
    let error = signers[0].sign(NAMESPACE, MESSAGE).await.unwrap_err();
    assert!(error.next_step().unwrap().contains("ssh-add"), "{error}");
}
