//! TLS towards targets: what they must prove, and the certificate we show them.
//!
//! A target proves itself by a CA (and then its certificate must name the host that was registered) or by the key in
//! its certificate. There is no third way: no system roots, no first use. What is spoken inside, and who asks for TLS
//! how, is the protocol's.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest;
use data_encoding::BASE64;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, TrustAnchor, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::model::HostTrust;

/// What a pinned key's text begins with.
const PIN: &str = "sha256/";
/// PostgreSQL's name in ALPN; servers that know it refuse a client that speaks something else.
const POSTGRESQL: &[u8] = b"postgresql";

/// Why there is no TLS towards a target.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// What the target was registered with is not for TLS.
    #[error("nothing is pinned that it could prove itself with over TLS: postern targets trust")]
    NotPinned,
    /// The library refused.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
    /// A CA that is trusted for it cannot be read.
    #[error("the CA that is trusted for it cannot be read: postern targets trust")]
    Unreadable,
    /// The CA and the provider do not fit.
    #[error("TLS cannot be set up: {0}")]
    Verifier(#[from] rustls::client::VerifierBuilderError),
}

/// A certificate of ours, and its key.
pub struct ClientCertificate {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl ClientCertificate {
    /// Takes a certificate and its key.
    #[must_use]
    pub const fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Self {
        Self { chain, key }
    }

    /// The certificate.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }
}

/// What is spoken to a target that proves itself as `trust` says, with our certificate if the target knows us by one.
///
/// # Errors
/// See [`TlsError`].
pub fn tls_to_target(trust: &HostTrust, ours: Option<ClientCertificate>) -> Result<ClientConfig, TlsError> {
    let provider = provider();
    let verifier: Arc<dyn ServerCertVerifier> = match trust {
        HostTrust::TlsAuthority(certificates) => {
            let mut roots = RootCertStore::empty();
            for text in certificates {
                roots.roots.push(anchor(text).ok_or(TlsError::Unreadable)?);
            }
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build()?
        }
        HostTrust::TlsKeys(pins) => {
            let pins = pins.clone();
            let is_pinned =
                move |shown: &CertificateDer<'_>| key_pin(shown).is_some_and(|key| pins.contains(&key));
            by_certificate(Arc::clone(&provider), is_pinned)
        }
        HostTrust::Authority(_) | HostTrust::Keys(_) | HostTrust::Unpinned => {
            return Err(TlsError::NotPinned);
        }
    };
    config(provider, verifier, ours)
}

/// TLS that believes any server that it has the key of the certificate it shows: to look at that certificate and hang
/// up. Nothing may be said inside.
///
/// # Errors
/// When the library refuses.
pub fn tls_to_look() -> Result<ClientConfig, TlsError> {
    let provider = provider();
    let verifier = by_certificate(Arc::clone(&provider), |shown| key_pin(shown).is_some());
    config(provider, verifier, None)
}

/// Believes a server by the certificate it shows, if it has its key and `judge` says so; names, dates and issuers are not
/// looked at.
pub fn by_certificate(
    provider: Arc<CryptoProvider>,
    judge: impl Fn(&CertificateDer<'_>) -> bool + Send + Sync + 'static,
) -> Arc<dyn ServerCertVerifier> {
    Arc::new(ByCertificate { judge, provider })
}

/// The key in a certificate as it is pinned; `None` when it is no certificate.
#[must_use]
pub fn key_pin(certificate: &CertificateDer<'_>) -> Option<String> {
    let parsed = ParsedCertificate::try_from(certificate).ok()?;
    let hash = digest::digest(&digest::SHA256, &parsed.subject_public_key_info());
    Some(format!("{PIN}{}", BASE64.encode(hash.as_ref())))
}

/// Whether a text is a key as [`key_pin`] writes it.
#[must_use]
pub fn is_key_pin(text: &str) -> bool {
    let hash = text.strip_prefix(PIN).and_then(|hash| BASE64.decode(hash.as_bytes()).ok());
    hash.is_some_and(|hash| hash.len() == digest::SHA256_OUTPUT_LEN)
}

/// A CA from the base64 of its certificate's DER; `None` when it cannot vouch for anything.
#[must_use]
pub fn anchor(text: &str) -> Option<TrustAnchor<'static>> {
    let der = CertificateDer::from(BASE64.decode(text.as_bytes()).ok()?);
    let mut roots = RootCertStore::empty();
    roots.add(der).ok()?;
    roots.roots.pop()
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn config(
    provider: Arc<CryptoProvider>,
    verifier: Arc<dyn ServerCertVerifier>,
    ours: Option<ClientCertificate>,
) -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match ours {
        Some(ClientCertificate { chain, key }) => builder.with_client_auth_cert(chain, key)?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![POSTGRESQL.to_vec()];
    // A session resumed is one whose certificate was not looked at.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

struct ByCertificate<F> {
    judge: F,
    provider: Arc<CryptoProvider>,
}

impl<F> fmt::Debug for ByCertificate<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ByCertificate")
    }
}

impl<F: Fn(&CertificateDer<'_>) -> bool + Send + Sync> ServerCertVerifier for ByCertificate<F> {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if (self.judge)(shown) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A certificate for `localhost` by a CA of its own; the CA's, and the server's with its key.
    fn made() -> (String, CertificateDer<'static>, PrivateKeyDer<'static>) {
        let ca_key = rcgen::KeyPair::generate().unwrap();
        let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let issuer = rcgen::CertifiedIssuer::self_signed(ca, ca_key).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let asked = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = asked.signed_by(&key, &issuer).unwrap();
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        (BASE64.encode(issuer.der()), certificate.der().clone(), key)
    }

    /// What a client that trusts so has against a server that calls itself `name`.
    fn met(
        trust: &HostTrust,
        name: &'static str,
        server: (&CertificateDer<'static>, &PrivateKeyDer<'static>),
    ) -> Option<String> {
        let config = rustls::ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![server.0.clone()], server.1.clone_key())
            .unwrap();
        let mut server = rustls::ServerConnection::new(Arc::new(config)).unwrap();
        let client = match tls_to_target(trust, None) {
            Ok(client) => client,
            Err(error) => return Some(error.to_string()),
        };
        let name = ServerName::try_from(name).unwrap();
        let mut client = rustls::ClientConnection::new(Arc::new(client), name).unwrap();
        let mut wire = Vec::new();
        while client.is_handshaking() {
            wire.clear();
            client.write_tls(&mut wire).unwrap();
            server.read_tls(&mut wire.as_slice()).unwrap();
            if let Err(error) = server.process_new_packets() {
                return Some(error.to_string());
            }
            wire.clear();
            while server.wants_write() {
                server.write_tls(&mut wire).unwrap();
            }
            client.read_tls(&mut wire.as_slice()).unwrap();
            if let Err(error) = client.process_new_packets() {
                return Some(error.to_string());
            }
        }
        None
    }

    #[test]
    fn a_target_is_believed_by_its_ca_and_name_or_by_its_key_and_in_no_other_way() {
        let (ca, certificate, key) = made();
        let (other_ca, other, _) = made();
        let server = (&certificate, &key);
        let authority = |ca: &str| HostTrust::TlsAuthority(vec![ca.to_owned()]);
        let pin = |certificate| HostTrust::TlsKeys(vec![key_pin(certificate).unwrap()]);
        assert_eq!(met(&authority(&ca), "localhost", server), None);
        assert_eq!(met(&pin(&certificate), "another.example", server), None);
        for (trust, name) in [
            (authority(&ca), "another.example"),
            (authority(&other_ca), "localhost"),
            (pin(&other), "localhost"),
            (HostTrust::TlsKeys(Vec::new()), "localhost"),
            (HostTrust::TlsAuthority(vec!["AAAA".to_owned()]), "localhost"),
            (HostTrust::Unpinned, "localhost"),
            (HostTrust::Keys(vec!["ssh-ed25519 AAAA".to_owned()]), "localhost"),
        ] {
            assert!(met(&trust, name, server).is_some(), "{trust:?} {name}");
        }
    }

    #[test]
    fn a_pin_is_the_hash_of_the_public_key_alone() {
        let (ca, certificate, _) = made();
        let pin = key_pin(&certificate).unwrap();
        assert!(pin.starts_with(PIN) && pin.len() == PIN.len() + 44, "{pin}");
        assert!(key_pin(&CertificateDer::from(b"no certificate".as_slice())).is_none());
        assert!(
            is_key_pin(&pin) && !is_key_pin("sha256/AAAA") && !is_key_pin(&pin.replace("sha256", "sha1"))
        );
        assert!(anchor(&ca).is_some() && anchor("AAAA").is_none() && anchor("not base64").is_none());
    }
}
