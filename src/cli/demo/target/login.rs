//! Who gets in: the checks an sshd makes on a user certificate. Pure but for its arguments.
//!
//! russh has verified that the client holds the certified key. Everything that makes the certificate count is checked
//! here: its CA, type, window, principal, and every critical option, of which unknown ones refuse.

use std::net::IpAddr;

use russh::keys::{Certificate, HashAlg, PublicKey};

use crate::model::Timestamp;

/// What a certificate lets its holder do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extensions {
    /// Ask for a terminal.
    pub(super) terminal: bool,
    /// Open forwards.
    pub(super) forwarding: bool,
}

/// Why a certificate does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("it is not signed by the trusted CA, or not valid at this time")]
    Authority,
    #[error("it is a host certificate")]
    Host,
    #[error("it does not name the login {0:?}")]
    Principal(String),
    #[error("it may not be used from {0}")]
    Source(IpAddr),
    #[error("its critical option {0:?} is not known here")]
    CriticalOption(String),
}

/// Judges a certificate presented for `login` from `peer`.
pub(super) fn judge(
    certificate: &Certificate,
    login: &str,
    peer: IpAddr,
    authority: &PublicKey,
    now: Timestamp,
) -> Result<Extensions, Refused> {
    let now = u64::try_from(now.as_second()).map_err(|_| Refused::Authority)?;
    let trusted = authority.fingerprint(HashAlg::Sha256);
    certificate.validate_at(now, [&trusted]).map_err(|_| Refused::Authority)?;
    if !certificate.cert_type().is_user() {
        return Err(Refused::Host);
    }
    // A certificate without principals would be good for every login: not here.
    if !certificate.valid_principals().iter().any(|principal| principal == login) {
        return Err(Refused::Principal(login.to_owned()));
    }
    for (name, value) in certificate.critical_options().iter() {
        match name.as_str() {
            "source-address" if value.split(',').any(|range| contains(range.trim(), peer)) => {}
            "source-address" => return Err(Refused::Source(peer)),
            _ => return Err(Refused::CriticalOption(name.clone())),
        }
    }
    let has = |name: &str| certificate.extensions().iter().any(|(given, _)| given == name);
    Ok(Extensions { terminal: has("permit-pty"), forwarding: has("permit-port-forwarding") })
}

/// Whether an address is in `ADDRESS` or `ADDRESS/BITS`.
fn contains(range: &str, address: IpAddr) -> bool {
    let (network, bits) =
        range.split_once('/').map_or((range, None), |(network, bits)| (network, Some(bits)));
    let Ok(network) = network.parse::<IpAddr>() else { return false };
    let (network, address, width) = match (network, address.to_canonical()) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            (u128::from(network.to_bits()), u128::from(address.to_bits()), 32)
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => (network.to_bits(), address.to_bits(), 128),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return false,
    };
    let Some(bits) = bits.map_or(Some(width), |bits| bits.parse::<u32>().ok().filter(|bits| *bits <= width))
    else {
        return false;
    };
    let host_bits = width.saturating_sub(bits);
    network.checked_shr(host_bits).unwrap_or(0) == address.checked_shr(host_bits).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use russh::keys::PrivateKey;
    use russh::keys::ssh_key::certificate::{Builder, CertType};

    use super::*;

    fn key(seed: u8) -> PrivateKey {
        russh::keys::ssh_key::private::Ed25519Keypair::from_seed(&[seed; 32]).into()
    }

    fn certificate(shape: impl FnOnce(&mut Builder)) -> Certificate {
        certificate_of(CertType::User, shape)
    }

    fn certificate_of(kind: CertType, shape: impl FnOnce(&mut Builder)) -> Certificate {
        let mut builder =
            Builder::new(vec![7; 16], key(2).public_key().key_data().clone(), 1000, 2000).unwrap();
        builder.key_id("ses_x alice").unwrap().cert_type(kind).unwrap();
        shape(&mut builder);
        builder.sign(&key(1)).unwrap()
    }

    fn ask(certificate: &Certificate, login: &str, now: i64) -> Result<Extensions, Refused> {
        let at = Timestamp::from_second(now).map_err(|_| Refused::Authority)?;
        judge(certificate, login, [127, 0, 0, 1].into(), key(1).public_key(), at)
    }

    #[test]
    fn only_a_certificate_that_fits_gets_in() {
        let good = certificate(|b| {
            b.valid_principal("deploy").unwrap().extension("permit-pty", "").unwrap();
            b.critical_option("source-address", "10.0.0.0/8,127.0.0.0/8").unwrap();
        });
        assert_eq!(ask(&good, "deploy", 1500), Ok(Extensions { terminal: true, forwarding: false }));
        assert_eq!(ask(&good, "root", 1500), Err(Refused::Principal("root".to_owned())));
        assert_eq!(ask(&good, "deploy", 999), Err(Refused::Authority));
        assert_eq!(ask(&good, "deploy", 2000), Err(Refused::Authority));
        let other = judge(
            &good,
            "deploy",
            [127, 0, 0, 1].into(),
            key(3).public_key(),
            Timestamp::from_second(1500).unwrap(),
        );
        assert_eq!(other, Err(Refused::Authority));
        let elsewhere = certificate(|b| {
            b.valid_principal("deploy").unwrap().critical_option("source-address", "10.0.0.0/8").unwrap();
        });
        assert_eq!(ask(&elsewhere, "deploy", 1500), Err(Refused::Source([127, 0, 0, 1].into())));
        let forced = certificate(|b| {
            b.valid_principal("deploy").unwrap().critical_option("force-command", "id").unwrap();
        });
        assert_eq!(ask(&forced, "deploy", 1500), Err(Refused::CriticalOption("force-command".to_owned())));
        let host = certificate_of(CertType::Host, |b| {
            b.valid_principal("deploy").unwrap();
        });
        assert_eq!(ask(&host, "deploy", 1500), Err(Refused::Host));
        let wildcard = certificate(|b| {
            b.all_principals_valid().unwrap();
        });
        assert_eq!(ask(&wildcard, "deploy", 1500), Err(Refused::Principal("deploy".to_owned())));
    }

    #[test]
    fn address_ranges() {
        let v4: IpAddr = [192, 168, 3, 4].into();
        let mapped: IpAddr = "::ffff:192.168.3.4".parse().unwrap();
        for inside in ["192.168.3.4", "192.168.3.4/32", "192.168.0.0/16", "0.0.0.0/0"] {
            assert!(contains(inside, v4) && contains(inside, mapped), "{inside}");
        }
        for outside in ["192.168.3.5", "10.0.0.0/8", "192.168.3.4/33", "::/0", "", "x/8"] {
            assert!(!contains(outside, v4), "{outside}");
        }
        assert!(contains("fd00::/8", "fd12::1".parse().unwrap()));
    }
}
