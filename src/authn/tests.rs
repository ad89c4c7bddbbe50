//! Signing in, approvals and keys, against a directory in memory. `World` serves the other test files too.
//!
//! No socket and no store: evidence in, a principal or a refusal out. Certificates have a file of their own,
//! `certificate_tests.rs`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::keys::{HashAlg, PrivateKey};

use super::*;
use crate::ledger::entry::Approval;
use crate::model::{Clock, Identity, PersonId, PrincipalKind, Proof, RequestId, Timestamp};

/// A directory a test fills by hand.
#[derive(Clone, Default)]
pub(super) struct World(Arc<Mutex<BTreeMap<Identity, Known>>>);

impl World {
    pub(super) fn with<const N: usize>(people: [Known; N]) -> Self {
        let world = Self::default();
        for known in people {
            world.link(Identity::ssh_key(&format!("SHA256:{}", known.name)), known);
        }
        world
    }

    pub(super) fn link(&self, identity: Identity, known: Known) {
        self.0.lock().unwrap().insert(identity, known);
    }

    pub(super) fn disable(&self, name: &str) {
        for known in self.0.lock().unwrap().values_mut().filter(|known| known.name.as_str() == name) {
            known.enabled = false;
        }
    }

    pub(super) fn remove(&self, name: &str) {
        self.0.lock().unwrap().retain(|_, known| known.name.as_str() != name);
    }
}

impl Directory for World {
    fn holder_of(&self, identity: &Identity) -> Option<Known> {
        self.0.lock().unwrap().get(identity).cloned()
    }
}

pub(super) fn person<const N: usize>(name: &str, roles: [&str; N]) -> Known {
    Known {
        person: PersonId::random().unwrap(),
        name: name.parse().unwrap(),
        kind: PrincipalKind::Person,
        roles: roles.iter().map(|role| role.parse().unwrap()).collect(),
        enabled: true,
    }
}

pub(super) fn key(seed: u8) -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
}

pub(super) fn authenticator(world: &World, authorities: Authorities, clock: &Clock) -> Authenticator {
    Authenticator::new(Arc::new(world.clone()), authorities, clock.clone())
}

fn enrol(world: &World, key: &PrivateKey, known: Known) -> Identity {
    let identity = Identity::ssh_key(&key.fingerprint(HashAlg::Sha256).to_string());
    world.link(identity.clone(), known);
    identity
}

fn sign(key: &PrivateKey, namespace: &str, message: &[u8]) -> String {
    key.sign(namespace, HashAlg::Sha512, message).unwrap().to_string()
}

#[test]
fn a_key_admits_its_person_and_nobody_else() {
    let (world, clock) = (World::default(), Clock::manual(Timestamp::UNIX_EPOCH));
    enrol(&world, &key(1), person("erin", ["operator"]));
    let authn = authenticator(&world, Authorities::default(), &clock);

    let who = authn.by_ssh_key(key(1).public_key()).unwrap();
    assert_eq!((who.name().as_str(), who.proof()), ("erin", Proof::SshKey));
    assert!(authn.knows_key(key(1).public_key()));
    assert!(!authn.knows_key(key(2).public_key()));
    assert!(matches!(authn.by_ssh_key(key(2).public_key()), Err(Rejected::Unknown { .. })));

    world.disable("erin");
    assert!(matches!(authn.by_ssh_key(key(1).public_key()), Err(Rejected::Disabled { .. })));
    assert!(!authn.knows_key(key(1).public_key()));
}

#[test]
fn signing_in_takes_the_right_key_server_and_nonce_once() {
    let (world, clock) = (World::default(), Clock::manual(Timestamp::UNIX_EPOCH));
    enrol(&world, &key(1), person("erin", ["operator"]));
    let authn = authenticator(&world, Authorities::default(), &clock);
    let challenges = Challenges::new(clock.clone()).unwrap();
    let line = key(1).public_key().to_openssh().unwrap();
    let other_line = key(2).public_key().to_openssh().unwrap();
    let nonce = challenges.make().unwrap();
    let good = sign(&key(1), SIGN_IN_NAMESPACE, &sign_in_message("gate", &nonce));
    let attempt = |key: &str, nonce: &str, server: &str, signature: &str| {
        authn.by_signature(SignIn { key, nonce, server, signature, from: None }, &challenges)
    };

    assert!(matches!(
        attempt(&line, &nonce, "elsewhere", &good),
        Err(Rejected::Signature(SignatureFault::Wrong))
    ));
    let other = sign(&key(2), SIGN_IN_NAMESPACE, &sign_in_message("gate", &nonce));
    assert!(matches!(
        attempt(&line, &nonce, "gate", &other),
        Err(Rejected::Signature(SignatureFault::WrongKey(_)))
    ));
    assert!(matches!(attempt(&other_line, &nonce, "gate", &other), Err(Rejected::Unknown { .. })));
    let purpose = sign(&key(1), Approval::NAMESPACE, &sign_in_message("gate", &nonce));
    assert!(matches!(
        attempt(&line, &nonce, "gate", &purpose),
        Err(Rejected::Signature(SignatureFault::Namespace { .. }))
    ));
    assert!(matches!(
        attempt(&line, &nonce, "gate", "junk"),
        Err(Rejected::Signature(SignatureFault::Malformed(_)))
    ));

    assert_eq!(attempt(&line, &nonce, "gate", &good).unwrap().name().as_str(), "erin");
    assert!(
        matches!(attempt(&line, &nonce, "gate", &good), Err(Rejected::Challenge(_))),
        "a nonce is good once"
    );

    let late = challenges.make().unwrap();
    let signature = sign(&key(1), SIGN_IN_NAMESPACE, &sign_in_message("gate", &late));
    clock.advance(Duration::from_secs(61));
    assert!(matches!(attempt(&line, &late, "gate", &signature), Err(Rejected::Challenge(_))));
}

#[test]
fn an_approval_is_worth_something_only_with_the_approvers_own_signature() {
    let (world, clock) = (World::default(), Clock::manual(Timestamp::UNIX_EPOCH));
    let (alice, bob) = (person("alice", ["approver"]), person("bob", ["approver"]));
    let identity = enrol(&world, &key(1), alice.clone());
    let bobs = enrol(&world, &key(2), bob.clone());
    let authn = authenticator(&world, Authorities::default(), &clock);
    let request = RequestId::random().unwrap();
    let hash = "ab".repeat(32);
    let message = Approval::message(&request, &hash, 3600);
    let good = Approval {
        request,
        hash,
        approver: alice.person,
        identity,
        duration_s: 3600,
        signature: sign(&key(1), Approval::NAMESPACE, &message),
    };
    let proof = authn.check_approval(&good).unwrap();
    assert_eq!(proof, ApprovalProof { security_key: false, user_verified: false });

    let edits: [(&str, Approval); 6] = [
        ("longer", Approval { duration_s: 7200, ..good.clone() }),
        ("other request", Approval { request: RequestId::random().unwrap(), ..good.clone() }),
        ("other hash", Approval { hash: "cd".repeat(32), ..good.clone() }),
        ("other approver", Approval { approver: bob.person, ..good.clone() }),
        ("other key", Approval { identity: bobs, ..good.clone() }),
        (
            "certificate",
            Approval {
                identity: Identity { issuer: "ssh-ca:x".into(), subject: "alice".into() },
                ..good.clone()
            },
        ),
    ];
    for (what, edited) in edits {
        assert!(authn.check_approval(&edited).is_err(), "{what}");
    }
    world.remove("alice");
    assert!(matches!(authn.check_approval(&good), Err(ApprovalFault::NotTheirs(_))), "the key was unlinked");
}

#[test]
fn a_security_key_must_be_touched_and_tells_whether_the_pin_was_asked() {
    for (flags, expected) in [(0_u8, None), (4, None), (1, Some(false)), (5, Some(true))] {
        let armored = security_key_signature("ssh:", flags, "x@postern", b"hello");
        let verified = verify_sshsig(&armored, "x@postern", b"hello");
        match expected {
            None => assert_eq!(verified, Err(SignatureFault::NotTouched), "{flags}"),
            Some(pin) => {
                let signed = verified.unwrap();
                assert_eq!((signed.is_security_key(), signed.is_user_verified()), (true, pin), "{flags}");
            }
        }
    }
    let web = security_key_signature("example.org", 5, "x@postern", b"hello");
    assert!(matches!(
        verify_sshsig(&web, "x@postern", b"hello"),
        Err(SignatureFault::Key(KeyFault::Application(_)))
    ));
}

/// What a FIDO key with an Ed25519 secret would answer (`PROTOCOL.u2f`).
pub(super) fn security_key_signature(
    application: &str,
    flags: u8,
    namespace: &str,
    message: &[u8],
) -> String {
    use aws_lc_rs::{digest, signature::Ed25519KeyPair};
    use russh::keys::ssh_key::public::{Ed25519PublicKey, KeyData, SkEd25519};
    use russh::keys::ssh_key::{Algorithm, LineEnding, Signature, SshSig};

    let secret = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let public = key(7).public_key().key_data().ed25519().copied().unwrap_or(Ed25519PublicKey([0; 32]));
    let key = KeyData::SkEd25519(SkEd25519::new(public, application));
    let data = SshSig::signed_data(namespace, HashAlg::Sha256, message).unwrap();
    let mut signed = digest::digest(&digest::SHA256, application.as_bytes()).as_ref().to_vec();
    let trailer = [flags, 0, 0, 0, 9];
    signed.extend_from_slice(&trailer);
    signed.extend_from_slice(digest::digest(&digest::SHA256, &data).as_ref());
    let mut bytes = secret.sign(&signed).as_ref().to_vec();
    bytes.extend_from_slice(&trailer);
    let signature = Signature::new(Algorithm::SkEd25519, bytes).unwrap();
    SshSig::new(key, namespace, HashAlg::Sha256, signature).unwrap().to_pem(LineEnding::LF).unwrap()
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_text_is_a_signature_by_accident(text in ".{0,200}", body in "[A-Za-z0-9+/=\n]{0,400}") {
            let armored = format!("-----BEGIN SSH SIGNATURE-----\n{body}\n-----END SSH SIGNATURE-----");
            prop_assert!(verify_sshsig(&text, "n", b"").is_err());
            prop_assert!(verify_sshsig(&armored, "n", b"").is_err());
        }

        #[test]
        fn any_flipped_character_spoils_a_signature(at in 0_usize..260, with in any::<prop::sample::Index>()) {
            let armored = sign(&key(1), "n", b"message");
            let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
            let mut bytes = armored.into_bytes();
            let start = "-----BEGIN SSH SIGNATURE-----\n".len();
            let at = start + at.min(bytes.len() - start - 30);
            let new = alphabet.as_bytes()[with.index(64)];
            prop_assume!(bytes[at] != new && alphabet.as_bytes().contains(&bytes[at]));
            bytes[at] = new;
            let spoiled = String::from_utf8(bytes).unwrap();
            prop_assert!(verify_sshsig(&spoiled, "n", b"message").is_err());
        }
    }
}
