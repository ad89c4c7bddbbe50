//! TLS to a bastion whose certificate is pinned: not a CA's word but one fingerprint, seen at `postern login`.
//!
//! A bastion's certificate is its own; who runs it reads the fingerprint out from `postern status` on the machine.
//! Names and dates in the certificate are not looked at: the pin says more than they do.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

use super::exit::CliError;
use crate::credential::keystore::fingerprint;

/// What a server showed, when nothing is pinned so far.
pub(crate) type Seen = Arc<Mutex<Option<String>>>;

/// A client configuration that accepts one certificate.
pub(crate) fn pinned(fingerprint: &str) -> Result<ClientConfig, CliError> {
    configuration(Rule::Only(fingerprint.to_owned()))
}

/// A client configuration that accepts any certificate and notes its fingerprint. For looking, never for sending:
/// whoever uses it hangs up after the handshake.
pub(crate) fn looking() -> Result<(ClientConfig, Seen), CliError> {
    let seen = Seen::default();
    Ok((configuration(Rule::Look(Arc::clone(&seen)))?, seen))
}

fn configuration(rule: Rule) -> Result<ClientConfig, CliError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = Pin { rule, provider: Arc::clone(&provider) };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| CliError::failed(format!("TLS cannot be set up: {error}")))?;
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth())
}

#[derive(Debug)]
enum Rule {
    Look(Seen),
    Only(String),
}

#[derive(Debug)]
struct Pin {
    rule: Rule,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pin {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let shown = fingerprint(end_entity);
        match &self.rule {
            Rule::Look(seen) => {
                *seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(shown);
                Ok(ServerCertVerified::assertion())
            }
            Rule::Only(wanted) if *wanted == shown => Ok(ServerCertVerified::assertion()),
            Rule::Only(_) => Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
