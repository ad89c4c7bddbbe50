//! TLS to a bastion whose certificate is pinned: not a CA's word but one fingerprint, seen at `postern login`.
//!
//! A bastion's certificate is its own; who runs it reads the fingerprint out from `postern status` on the machine.
//! Names and dates in the certificate are not looked at: the pin says more than they do.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;

use super::exit::CliError;
use crate::credential::keystore::fingerprint;
use crate::net::by_certificate;

/// What a server showed, when nothing is pinned so far.
pub(crate) type Seen = Arc<Mutex<Option<String>>>;

/// A client configuration that accepts one certificate.
pub(crate) fn pinned(wanted: &str) -> Result<ClientConfig, CliError> {
    let wanted = wanted.to_owned();
    configuration(move |shown| fingerprint(shown) == wanted)
}

/// A client configuration that accepts any certificate and notes its fingerprint. For looking, never for sending:
/// whoever uses it hangs up after the handshake.
pub(crate) fn looking() -> Result<(ClientConfig, Seen), CliError> {
    let seen = Seen::default();
    let noted = Arc::clone(&seen);
    let note = move |shown: &CertificateDer<'_>| {
        *noted.lock().unwrap_or_else(PoisonError::into_inner) = Some(fingerprint(shown));
        true
    };
    Ok((configuration(note)?, seen))
}

fn configuration(
    judge: impl Fn(&CertificateDer<'_>) -> bool + Send + Sync + 'static,
) -> Result<ClientConfig, CliError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = by_certificate(Arc::clone(&provider), judge);
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| CliError::failed(format!("TLS cannot be set up: {error}")))?;
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}
