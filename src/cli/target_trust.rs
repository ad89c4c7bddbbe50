//! How a target proves itself, as given on the command line: keys, a CA, or what the server shows and a person confirms.
//!
//! There is no trust on first use: what a server shows is pinned only when somebody said that it is right. The commands
//! are in `targets.rs`.

use std::path::Path;

use clap::Args;
use data_encoding::BASE64;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;
use serde_json::json;

use super::client::{Client, shaped};
use super::exit::{CliError, io_error};
use super::out;
use super::people::public_key;
use crate::model::{HostTrust, Protocol, TargetName};

/// What a server may prove itself with.
#[derive(Debug, Args)]
pub(super) struct TrustGiven {
    /// Pin this host key: a file, or TYPE BASE64; may be given several times.
    #[arg(long = "host-key", value_name = "FILE", conflicts_with_all = ["host_ca", "tls_ca", "tls_keys"])]
    pub(super) host_keys: Vec<String>,
    /// Trust host certificates of this CA: a file, or TYPE BASE64.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["tls_ca", "tls_keys"])]
    pub(super) host_ca: Option<String>,
    /// Of a database: trust TLS certificates of this CA, a PEM file, if they name the host.
    #[arg(long, value_name = "FILE", conflicts_with = "tls_keys")]
    pub(super) tls_ca: Option<String>,
    /// Of a database: pin the key in its TLS certificate; may be given several times.
    #[arg(long = "tls-key", value_name = "sha256/…")]
    pub(super) tls_keys: Vec<String>,
}

#[derive(Deserialize)]
pub(super) struct HostKeys {
    keys: Vec<HostKey>,
}

#[derive(Deserialize)]
struct HostKey {
    line: String,
    fingerprint: String,
}

impl TrustGiven {
    /// What was given, if something was.
    pub(super) fn read(&self) -> Result<Option<HostTrust>, CliError> {
        if let Some(ca) = &self.host_ca {
            return Ok(Some(HostTrust::Authority(public_key(ca)?)));
        }
        if let Some(file) = &self.tls_ca {
            return authorities(Path::new(file)).map(Some);
        }
        if !self.tls_keys.is_empty() {
            return Ok(Some(HostTrust::TlsKeys(self.tls_keys.clone())));
        }
        if self.host_keys.is_empty() {
            return Ok(None);
        }
        let keys: Result<_, _> = self.host_keys.iter().map(|key| public_key(key)).collect();
        keys.map(|keys| Some(HostTrust::Keys(keys)))
    }
}

/// The CAs in a PEM file.
fn authorities(file: &Path) -> Result<HostTrust, CliError> {
    let text = std::fs::read(file).map_err(io_error("read", file))?;
    let certificates: Result<Vec<CertificateDer<'_>>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match certificates {
        Ok(all) if !all.is_empty() => {
            Ok(HostTrust::TlsAuthority(all.iter().map(|one| BASE64.encode(one)).collect()))
        }
        Ok(_) | Err(_) => Err(CliError::usage(format!("{} holds no certificate in PEM", file.display()))),
    }
}

/// What was confirmed of what a server shows.
pub(super) fn shown_trust(protocol: Protocol, lines: Vec<String>) -> HostTrust {
    match protocol {
        Protocol::Postgres => HostTrust::TlsKeys(lines),
        Protocol::Ssh => HostTrust::Keys(lines),
    }
}

/// The keys a server shows that is not registered so far.
pub(super) async fn look(
    client: &Client,
    host: &str,
    port: u16,
    protocol: Protocol,
) -> Result<HostKeys, CliError> {
    let body = json!({ "endpoint": { "host": host, "port": port }, "protocol": protocol });
    let shown = client.post("/host-keys", &body).await.map_err(|error| {
        let hint = match error.next_step() {
            Some(hint) => hint.to_owned(),
            None => {
                "is the address right, and does its server listen? To register it all the same, leave out \
                     --scan; 'postern targets trust' pins its keys later"
                    .to_owned()
            }
        };
        error.about("nothing was registered").hint(hint)
    })?;
    shaped(shown)
}

/// The keys a server shows, once somebody said that they are right.
pub(super) fn confirm(
    name: &TargetName,
    protocol: Protocol,
    shown: HostKeys,
    fingerprints: &[String],
    yes: bool,
) -> Result<Vec<String>, CliError> {
    let (compare, instead) = match protocol {
        Protocol::Postgres => (
            "is it the right server? 'postern targets add --help' says how the key is written",
            "give --fingerprint sha256/… (on the server: openssl x509 -in server.crt -pubkey -noout | openssl pkey \
             -pubin -outform der | openssl dgst -sha256 -binary | base64)",
        ),
        Protocol::Ssh => (
            "is it the right machine? compare with 'ssh-keygen -lf' on it",
            "give --fingerprint SHA256:… (from 'ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub' on the target)",
        ),
    };
    if !fingerprints.is_empty() {
        let fits: Vec<String> = shown
            .keys
            .into_iter()
            .filter(|key| fingerprints.contains(&key.fingerprint))
            .map(|key| key.line)
            .collect();
        if fits.is_empty() {
            return Err(CliError::failed(format!(
                "{name} shows no host key with that fingerprint; nothing was changed"
            ))
            .hint(compare));
        }
        return Ok(fits);
    }
    let mut table = out::Table::new(&["type", "fingerprint"], "The server shows no host keys.");
    for key in &shown.keys {
        let kind = match protocol {
            Protocol::Postgres => "tls",
            Protocol::Ssh => key.line.split(' ').next().unwrap_or_default(),
        };
        table.row([kind, key.fingerprint.as_str()]);
    }
    out::note(&table.text());
    if yes || out::confirm(&format!("Are these the keys of {name}? Pin them"), instead)? {
        return Ok(shown.keys.into_iter().map(|key| key.line).collect());
    }
    Err(CliError::failed("nothing was changed"))
}
