//! The certificate table: one fault per row, and only the control is accepted.
//!
//! Each row changes one thing about a certificate that would be accepted (the D-08 table), so that a row which is
//! refused is refused for that thing. What is checked, and in which order, is in `ssh_certificate.rs`.

use std::net::IpAddr;
use std::time::Duration;

use russh::keys::ssh_key::certificate::{Builder, CertType};
use russh::keys::{Certificate, HashAlg, PrivateKey};

use super::tests::{World, authenticator, key, person};
use super::*;
use crate::model::{Clock, Identity, Proof, Timestamp};

const NOW: u64 = 1_800_000_000;

struct Spec {
    ca: u8,
    subject: u8,
    kind: CertType,
    from: u64,
    until: u64,
    principals: Vec<&'static str>,
    options: Vec<(&'static str, &'static str)>,
    extensions: Vec<(&'static str, &'static str)>,
    key_id: &'static str,
    serial: u64,
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            ca: 200,
            subject: 1,
            kind: CertType::User,
            from: NOW - 60,
            until: NOW + 3600,
            principals: vec!["erin"],
            options: vec![("source-address", "192.0.2.0/24,2001:db8::/32")],
            extensions: vec![("permit-pty", "")],
            key_id: "erin@corp",
            serial: 1,
        }
    }
}

fn certify(spec: &Spec) -> Certificate {
    let subject = key(spec.subject);
    let mut builder =
        Builder::new(vec![3; 16], subject.public_key().key_data().clone(), spec.from, spec.until).unwrap();
    builder.serial(spec.serial).unwrap().cert_type(spec.kind).unwrap().key_id(spec.key_id).unwrap();
    if spec.principals.is_empty() {
        builder.all_principals_valid().unwrap();
    }
    for principal in &spec.principals {
        builder.valid_principal(*principal).unwrap();
    }
    for (name, value) in &spec.options {
        builder.critical_option(*name, *value).unwrap();
    }
    for (name, value) in &spec.extensions {
        builder.extension(*name, *value).unwrap();
    }
    builder.sign(&key(spec.ca)).unwrap()
}

fn authorities() -> Authorities {
    let mut corp = UserCa::new("corp", public(200));
    corp.revoked_serials = [13].into();
    corp.revoked_key_ids = ["lost-laptop".to_owned()].into();
    let mut old = UserCa::new("old", public(201));
    old.revoked = true;
    Authorities::new([corp, old]).unwrap()
}

fn public(seed: u8) -> russh::keys::PublicKey {
    key(seed).public_key().clone()
}

fn world() -> World {
    let world = World::default();
    for key_id in ["erin@corp", "lost-laptop"] {
        let identity = Identity { issuer: "ssh-ca:corp".to_owned(), subject: key_id.to_owned() };
        world.link(identity, person("erin", ["operator"]));
    }
    world
}

fn clock() -> Clock {
    Clock::manual(Timestamp::from_second(NOW.try_into().unwrap()).unwrap())
}

fn office() -> Option<IpAddr> {
    Some("192.0.2.17".parse().unwrap())
}

#[test]
fn the_control_is_accepted_and_says_who() {
    let authn = authenticator(&world(), authorities(), &clock());
    let who = authn.by_ssh_certificate(&certify(&Spec::default()), office()).unwrap();
    assert_eq!((who.name().as_str(), who.proof()), ("erin", Proof::SshCertificate));
    assert_eq!(who.identity().to_string(), "ssh-ca:corp erin@corp");
    assert_eq!(who.certified().unwrap().until.as_second(), i64::try_from(NOW + 3600).unwrap());
}

#[test]
fn one_fault_each_is_refused_for_that_fault() {
    type Is = fn(&CertificateFault) -> bool;
    use CertificateFault as F;
    let control = Spec::default;
    let rows: Vec<(&str, Spec, Is)> = vec![
        ("no principals", Spec { principals: vec![], ..control() }, |f| matches!(f, F::NoPrincipals)),
        ("star", Spec { principals: vec!["*"], ..control() }, |f| matches!(f, F::Principal(_))),
        ("star beside", Spec { principals: vec!["erin", "*"], ..control() }, |f| {
            matches!(f, F::Principal(_))
        }),
        ("question mark", Spec { principals: vec!["er?n"], ..control() }, |f| matches!(f, F::Principal(_))),
        ("comma", Spec { principals: vec!["erin,root"], ..control() }, |f| matches!(f, F::Principal(_))),
        ("empty", Spec { principals: vec![""], ..control() }, |f| matches!(f, F::Principal(_))),
        ("wrong", Spec { principals: vec!["mallory"], ..control() }, |f| matches!(f, F::WrongPrincipal(_))),
        ("just over", Spec { until: NOW, ..control() }, |f| matches!(f, F::Expired(_))),
        ("over", Spec { until: NOW - 1, ..control() }, |f| matches!(f, F::Expired(_))),
        ("soon", Spec { from: NOW + 1, ..control() }, |f| matches!(f, F::NotYet(_))),
        ("host", Spec { kind: CertType::Host, ..control() }, |f| matches!(f, F::NotAUser)),
        ("unknown option", Spec { options: vec![("x@y", "1")], ..control() }, |f| {
            matches!(f, F::CriticalOption(_))
        }),
        ("command", Spec { options: vec![("force-command", "id")], ..control() }, |f| {
            matches!(f, F::ForceCommand)
        }),
        ("pin", Spec { options: vec![("verify-required", "")], ..control() }, |f| {
            matches!(f, F::VerifyRequired)
        }),
        ("extension", Spec { extensions: vec![("x@y", "")], ..control() }, |f| matches!(f, F::Extension(_))),
        ("elsewhere", Spec { options: vec![("source-address", "198.51.100.0/24")], ..control() }, |f| {
            matches!(f, F::SourceAddress(_))
        }),
        ("serial", Spec { serial: 13, ..control() }, |f| matches!(f, F::SerialRevoked(13))),
        ("revoked id", Spec { key_id: "lost-laptop", ..control() }, |f| matches!(f, F::KeyIdRevoked)),
        ("odd id", Spec { key_id: "erin\n", ..control() }, |f| matches!(f, F::KeyId)),
        ("no id", Spec { key_id: "", ..control() }, |f| matches!(f, F::KeyId)),
        ("revoked CA", Spec { ca: 201, ..control() }, |f| matches!(f, F::CaRevoked(_))),
        ("customer CA", Spec { ca: 202, ..control() }, |f| matches!(f, F::UntrustedCa(_))),
        ("own CA", Spec { ca: 1, ..control() }, |f| matches!(f, F::UntrustedCa(_))),
    ];
    for (name, spec, is) in rows {
        let authn = authenticator(&world(), authorities(), &clock());
        match authn.by_ssh_certificate(&certify(&spec), office()) {
            Err(Rejected::Certificate(fault)) => assert!(is(&fault), "{name}: {fault}"),
            other => panic!("{name}: {other:?}"),
        }
    }
    let authn = authenticator(&world(), authorities(), &clock());
    let unknown = certify(&Spec { key_id: "carol@corp", ..Spec::default() });
    assert!(matches!(authn.by_ssh_certificate(&unknown, office()), Err(Rejected::Unknown { .. })));
    assert!(
        authn.by_ssh_certificate(&certify(&Spec::default()), None).is_err(),
        "an address is needed to compare"
    );
}

#[test]
fn a_serial_given_out_twice_is_refused_and_the_first_holder_goes_on() {
    let authn = authenticator(&world(), authorities(), &clock());
    let first = certify(&Spec::default());
    assert!(authn.by_ssh_certificate(&first, office()).is_ok());
    let second = certify(&Spec { subject: 2, ..Spec::default() });
    assert!(matches!(
        authn.by_ssh_certificate(&second, office()),
        Err(Rejected::Certificate(CertificateFault::SerialReused(1)))
    ));
    assert!(authn.by_ssh_certificate(&first, office()).is_ok());
}

#[test]
fn a_certificate_is_never_a_ca_and_never_a_plain_key() {
    let line = certify(&Spec::default()).to_openssh().unwrap();
    assert_eq!(parse_public_key(&line), Err(KeyFault::IsCertificate));
    let twice = Authorities::new([UserCa::new("a", public(1)), UserCa::new("b", public(1))]);
    assert!(matches!(twice, Err(AuthorityFault::Twice(_))));
}

#[test]
fn a_changed_certificate_is_refused_whichever_byte_changed() {
    let authn = authenticator(&world(), authorities(), &clock());
    let bytes = certify(&Spec::default()).to_bytes().unwrap();
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        if let Ok(certificate) = Certificate::from_bytes(&changed) {
            assert!(authn.by_ssh_certificate(&certificate, office()).is_err(), "byte {at}");
        }
    }
    let mut longer = bytes;
    longer.push(0);
    assert!(Certificate::from_bytes(&longer).is_err(), "trailing bytes");
}

#[test]
fn signing_in_with_a_certificate_needs_its_key() {
    let (clock, world) = (clock(), world());
    let authn = authenticator(&world, authorities(), &clock);
    let challenges = Challenges::new(clock.clone()).unwrap();
    let line = certify(&Spec::default()).to_openssh().unwrap();
    let nonce = challenges.make().unwrap();
    let attempt = |signer: &PrivateKey| {
        let message = sign_in_message("gate", &nonce);
        let signature = signer.sign(SIGN_IN_NAMESPACE, HashAlg::Sha512, &message).unwrap().to_string();
        authn.by_signature(
            SignIn { key: &line, nonce: &nonce, server: "gate", signature: &signature, from: office() },
            &challenges,
        )
    };
    assert!(matches!(attempt(&key(2)), Err(Rejected::Signature(SignatureFault::WrongKey(_)))));
    let who = attempt(&key(1)).unwrap();
    let tokens = Tokens::new(clock.clone());
    let issued = tokens.issue(&who).unwrap();
    clock.advance(Duration::from_secs(1800));
    assert!(authn.by_token(issued.token.expose(), &tokens).is_ok());
    clock.advance(Duration::from_secs(1800));
    assert!(authn.by_token(issued.token.expose(), &tokens).is_err(), "it ends with its certificate");
}
