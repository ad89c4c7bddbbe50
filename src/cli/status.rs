//! `postern status`: how the bastion is, and what one needs to reach it.
//!
//! Public facts only; whether it is well is `doctor`'s question.

use std::collections::BTreeSet;
use std::process::ExitCode;

use russh::keys::HashAlg;
use serde::Deserialize;
use serde_json::Value;

use super::args::Invocation;
use super::client::{Client, shaped};
use super::exit::{CliError, Outcome};
use super::{out, words};
use crate::model::Timestamp;

/// What `/status` answers, as far as commands need it.
#[derive(Debug, Deserialize)]
pub(crate) struct Status {
    pub(crate) node: String,
    pub(crate) version: String,
    pub(crate) started: Timestamp,
    pub(crate) sessions_live: u64,
    pub(crate) ledger: Head,
    pub(crate) witnesses: Vec<Witness>,
    pub(crate) policy: String,
    pub(crate) recording: Room,
    pub(crate) store: Option<Keeping>,
    pub(crate) api: Api,
    pub(crate) ssh: Ssh,
    pub(crate) user_ca: String,
    pub(crate) database_ca: String,
    pub(crate) reviewers: BTreeSet<String>,
    pub(crate) you: Option<You>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Head {
    pub(crate) size: u64,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Witness {
    pub(crate) name: String,
    pub(crate) signed: Option<Timestamp>,
    pub(crate) trouble: Option<String>,
    pub(crate) is_alarm: bool,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Room {
    pub(crate) free_bytes: u64,
    pub(crate) admits: bool,
}

/// How it stands with the store that recordings are moved to.
#[derive(Debug, Deserialize)]
pub(crate) struct Keeping {
    pub(crate) url: String,
    waiting: u64,
    waiting_bytes: u64,
    pub(crate) trouble: Option<String>,
    pub(crate) needs_somebody: bool,
    refused: Vec<Refused>,
}

#[derive(Debug, Deserialize)]
struct Refused {
    session: String,
    why: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Api {
    pub(crate) fingerprint: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Ssh {
    pub(crate) listen: Option<String>,
    pub(crate) public_name: Option<String>,
    pub(crate) host_key: String,
    pub(crate) host_ca: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct You {
    pub(crate) name: String,
    pub(crate) roles: BTreeSet<String>,
}

/// Asks the bastion how it is.
pub(crate) async fn fetch(client: &Client) -> Result<(Status, Value), CliError> {
    let value = client.get("/status").await?;
    Ok((shaped(value.clone())?, value))
}

/// Shows how the bastion is.
pub(crate) async fn run(run: &Invocation) -> Outcome {
    let (status, value) = fetch(&run.connect().await?).await?;
    if run.json {
        out::json(&value);
        return Ok(ExitCode::SUCCESS);
    }
    let now = run.clock.now();
    let served = status.ssh.listen.as_deref().unwrap_or("nobody serves it: 'postern serve' does");
    let room = words::bytes(status.recording.free_bytes);
    let recording = match (&status.ssh.listen, status.recording.admits) {
        (None, _) => "-".to_owned(),
        (Some(_), true) => format!("{room} free"),
        (Some(_), false) => format!("{room} free: too little, new sessions are refused"),
    };
    let reviewers = match status.reviewers.len() {
        0 => "none: no session can be recorded, so none can start".to_owned(),
        count => format!("{count} can read new recordings"),
    };
    out::fields(&[
        ("bastion", format!("{} (postern {})", status.node, status.version)),
        ("started", words::relative(status.started, now)),
        ("ssh", served.to_owned()),
        ("sessions", format!("{} live", status.sessions_live)),
        ("recording", recording),
        ("store", status.store.as_ref().map_or_else(|| "none: recordings stay here".to_owned(), keeping)),
        ("reviewers", reviewers),
        ("ledger", format!("{} entries", status.ledger.size)),
        ("witnesses", witnesses(&status.witnesses, now)),
        ("policy", status.policy.chars().take(16).collect()),
        ("API certificate", status.api.fingerprint),
        ("SSH host key", with_fingerprint(&status.ssh.host_key)),
        ("host CA", status.ssh.host_ca),
        ("user CA", status.user_ca),
        ("you", you(status.you.as_ref())),
    ]);
    Ok(ExitCode::SUCCESS)
}

/// A public key with what a client shows of it.
fn with_fingerprint(line: &str) -> String {
    match russh::keys::PublicKey::from_openssh(line) {
        Ok(key) => format!("{} ({line})", key.fingerprint(HashAlg::Sha256)),
        Err(_) => line.to_owned(),
    }
}

/// The store for recordings, in words.
pub(crate) fn keeping(store: &Keeping) -> String {
    let mut said = match store.waiting {
        0 => format!("{}, everything is there", store.url),
        waiting => format!(
            "{}, {waiting} recordings ({}) are not there yet",
            store.url,
            words::bytes(store.waiting_bytes)
        ),
    };
    if let Some(trouble) = &store.trouble {
        said.push_str(&format!("; {trouble}"));
    }
    for refused in &store.refused {
        said.push_str(&format!("; {}: {}", refused.session, refused.why));
    }
    if store.needs_somebody {
        said.push_str("; when that is mended: 'postern recordings upload'");
    }
    said
}

/// The ledger's witnesses, in words.
pub(crate) fn witnesses(all: &[Witness], now: Timestamp) -> String {
    if all.is_empty() {
        return "none: nobody elsewhere would notice a rollback".to_owned();
    }
    let one = |witness: &Witness| match (&witness.trouble, witness.signed) {
        (Some(trouble), _) => format!("{}: {trouble}", witness.name),
        (None, Some(signed)) => format!("{} signed {}", witness.name, words::relative(signed, now)),
        (None, None) => format!("{} has signed nothing yet", witness.name),
    };
    all.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// Who is asking, in words.
pub(crate) fn you(you: Option<&You>) -> String {
    match you {
        None => "the machine's operator".to_owned(),
        Some(you) => {
            let roles: Vec<&str> = you.roles.iter().map(String::as_str).collect();
            format!("{} ({})", you.name, roles.join(", "))
        }
    }
}
