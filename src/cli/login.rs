//! `postern login`, `logout` and `whoami`: signing in to a bastion's API with an SSH key.
//!
//! The first time, the certificate's fingerprint is shown and must be confirmed (or given with `--fingerprint`); it is
//! part of what is signed, so a server in between gains nothing from the signature. There are no passwords.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use clap::Args;
use rustls::pki_types::ServerName;
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::args::Invocation;
use super::client::{Client, shaped};
use super::exit::{CliError, Outcome};
use super::profile::{Profile, Token};
use super::signer::Signer;
use super::{out, pin, status, words};
use crate::authn::{SIGN_IN_NAMESPACE, sign_in_message};
use crate::model::Timestamp;

/// The API's port when nobody says another.
const PORT: u16 = 8443;
/// How long looking at the certificate may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sign in to a bastion with your SSH key.
#[derive(Debug, Args)]
pub(crate) struct LoginArgs {
    /// The bastion's API: https://HOST:PORT, or just HOST. Unset: the one logged in to before.
    server: Option<String>,
    /// The fingerprint its certificate must have (from 'postern status' on its machine); unset: shown and asked.
    #[arg(long, value_name = "SHA256:…")]
    fingerprint: Option<String>,
    /// The SSH key to sign with: a private key's file, or a public one that an ssh-agent holds. Unset: what the agent
    /// holds, then ~/.ssh/id_ed25519.
    #[arg(long, alias = "identity", value_name = "FILE", env = "POSTERN_SSH_KEY")]
    ssh_key: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Challenge {
    nonce: String,
    server: String,
}

#[derive(Deserialize)]
struct SignedIn {
    token: Token,
    until: Timestamp,
    name: String,
    roles: Vec<String>,
}

/// Signs in and keeps the token.
pub(crate) async fn run(args: LoginArgs, run: &Invocation) -> Outcome {
    let before = Profile::load(&run.place.profile)?;
    let given = args.server.or_else(|| run.place.server.clone());
    let server = match (given, &before) {
        (Some(server), _) => address(&server)?,
        (None, Some(before)) => before.server.clone(),
        (None, None) => {
            return Err(CliError::usage("which bastion?").hint("postern login https://BASTION:8443"));
        }
    };
    let known = before.as_ref().filter(|before| before.server == server);
    let fingerprint = match (args.fingerprint, known) {
        (Some(fingerprint), _) => expect(&server, fingerprint).await?,
        (None, Some(known)) => known.fingerprint.clone(),
        (None, None) => meet(&server).await?,
    };
    let client = Client::pinned(&server, &fingerprint)?;
    let preferred = known.and_then(|known| known.key.clone());
    let named = args.ssh_key.or_else(|| known.and_then(Profile::key_file));
    let (signed_in, signer) = sign_in(&client, &fingerprint, named.as_deref(), preferred.as_deref()).await?;
    let profile = Profile {
        server,
        fingerprint,
        person: Some(signed_in.name.clone()),
        key: Some(signer.fingerprint()),
        key_file: signer.file(),
        token: Some(signed_in.token),
        until: Some(signed_in.until),
    };
    profile.save(&run.place.profile)?;
    if run.json {
        out::json(
            &json!({ "server": profile.server, "person": signed_in.name, "roles": signed_in.roles, "until": signed_in.until }),
        );
    } else {
        out::line(&format!(
            "Signed in to {} as {} ({}). It ends {}.",
            out::safe(&profile.server),
            out::safe(&signed_in.name),
            out::safe(&signed_in.roles.join(", ")),
            words::moment(signed_in.until, run.clock.now())
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// Forgets the login, on both sides.
pub(crate) async fn logout(run: &Invocation) -> Outcome {
    let Some(mut profile) = Profile::load(&run.place.profile)? else {
        out::note("nobody is logged in");
        return Ok(ExitCode::SUCCESS);
    };
    let place = super::client::Place { directory: None, server: None, ..run.place.clone() };
    let told = match Client::connect(&place).await {
        Ok(client) => client.post("/sign-out", &json!({})).await.map(|_| ()),
        Err(error) => Err(error),
    };
    profile.token = None;
    profile.until = None;
    profile.save(&run.place.profile)?;
    if let Err(error) = told {
        out::note(&format!(
            "forgotten here; the bastion could not be told: {}",
            out::safe(&error.to_string())
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows who one is to the bastion.
pub(crate) async fn whoami(run: &Invocation) -> Outcome {
    let (status, value) = status::fetch(&run.connect().await?).await?;
    if run.json {
        out::json(value.get("you").unwrap_or(&serde_json::Value::Null));
    } else {
        out::line(&out::safe(&status::you(status.you.as_ref())));
    }
    Ok(ExitCode::SUCCESS)
}

/// Tries the keys in turn; answers with the token and the key that was let in.
async fn sign_in(
    client: &Client,
    fingerprint: &str,
    named: Option<&std::path::Path>,
    preferred: Option<&str>,
) -> Result<(SignedIn, Signer), CliError> {
    let (mut refused, mut unsigned) = (None, None);
    for signer in Signer::candidates(named, preferred).await? {
        let challenge: Challenge = shaped(client.post("/sign-in/challenge", &json!({})).await?)?;
        if challenge.server != fingerprint {
            return Err(CliError::failed("the server says it is another one than its certificate")
                .hint("somebody may be in between: ask the bastion's operator"));
        }
        let message = sign_in_message(&challenge.server, &challenge.nonce);
        // An agent may hold a key that it cannot use now; another may do.
        let signature = match signer.sign(SIGN_IN_NAMESPACE, &message).await {
            Ok(signature) => signature,
            Err(error) => {
                unsigned = Some(error);
                continue;
            }
        };
        let body = json!({
            "key": signer.presented(),
            "nonce": challenge.nonce,
            "server": challenge.server,
            "signature": signature,
        });
        match client.post("/sign-in", &body).await {
            Ok(value) => return Ok((shaped(value)?, signer)),
            Err(error) if error.code() == CliError::failed("").code() => refused = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(refused.or(unsigned).unwrap_or_else(|| CliError::failed("no key was tried")))
}

/// Looks at a server's certificate and asks whether it is the right one.
async fn meet(server: &str) -> Result<String, CliError> {
    let shown = look(server).await?;
    out::note(&format!("{} shows a certificate with the fingerprint\n\n  {shown}\n", out::safe(server)));
    let instead = format!("compare it with 'postern status' on the bastion, then give --fingerprint {shown}");
    if out::confirm("Is it the one that 'postern status' shows on the bastion?", &instead)? {
        Ok(shown)
    } else {
        Err(CliError::failed("not signed in"))
    }
}

/// The fingerprint given, if it is what the server shows.
async fn expect(server: &str, fingerprint: String) -> Result<String, CliError> {
    let shown = look(server).await?;
    if shown == fingerprint {
        return Ok(fingerprint);
    }
    Err(CliError::failed(format!(
        "{server} shows a certificate with the fingerprint {shown}, not {fingerprint}; nothing was sent to it"
    ))
    .hint("compare with 'postern status' on the bastion: another server may answer in its place, or the fingerprint given is an old one"))
}

/// A server's certificate fingerprint. Nothing is sent after the handshake.
async fn look(server: &str) -> Result<String, CliError> {
    let authority = server.trim_start_matches("https://");
    let gone = |why: String| CliError::unreachable(format!("cannot reach {server}: {why}"));
    let (configuration, seen) = pin::looking()?;
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host).trim_matches(['[', ']']);
    let name = ServerName::try_from(host.to_owned()).map_err(CliError::usage)?;
    let handshake = async {
        let socket = TcpStream::connect(authority).await?;
        TlsConnector::from(Arc::new(configuration)).connect(name, socket).await
    };
    let connected = tokio::time::timeout(PATIENCE, handshake).await;
    connected.map_err(|_| gone("it does not answer".into()))?.map_err(|error| gone(error.to_string()))?;
    let shown = seen.lock().unwrap_or_else(PoisonError::into_inner).take();
    shown.ok_or_else(|| gone("it showed no certificate".into()))
}

/// `https://HOST:PORT` from what somebody typed: one bastion has one such address, whatever the case of its name.
pub(super) fn address(given: &str) -> Result<String, CliError> {
    let wrong = || CliError::usage(format!("{given:?} is no address: give https://HOST:PORT"));
    let rest = match given.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => rest,
        Some(_) => return Err(wrong().hint("the API speaks TLS: https://")),
        None => given,
    };
    let rest = rest.trim_end_matches('/').to_ascii_lowercase();
    let rest = rest.as_str();
    if rest.is_empty() || rest.contains(['/', '?', '#', '@', ' ']) {
        return Err(wrong());
    }
    let has_port = match rest.rsplit_once(':') {
        Some((host, port)) => (!host.contains(':') || host.ends_with(']')) && port.parse::<u16>().is_ok(),
        None => false,
    };
    let host = if has_port || rest.starts_with('[') || !rest.contains(':') {
        rest.to_owned()
    } else {
        format!("[{rest}]")
    };
    Ok(if has_port { format!("https://{host}") } else { format!("https://{host}:{PORT}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_as_typed() {
        for (given, means) in [
            ("bastion", "https://bastion:8443"),
            ("bastion:9000", "https://bastion:9000"),
            ("https://bastion/", "https://bastion:8443"),
            ("https://127.0.0.1:8443", "https://127.0.0.1:8443"),
            ("[::1]:9", "https://[::1]:9"),
            ("::1", "https://[::1]:8443"),
            ("[::1]", "https://[::1]:8443"),
            ("HTTPS://Bastion.Example:8443/", "https://bastion.example:8443"),
        ] {
            assert_eq!(address(given).unwrap(), means, "{given}");
        }
        for bad in ["", "http://bastion", "ftp://x", "a/b", "user@host", "https://"] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }
}
