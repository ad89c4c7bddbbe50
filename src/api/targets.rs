//! Targets: what is registered, how each proves that it is itself, and whether the gate gets in.
//!
//! There is no trust on first use: a target without a pinned key or CA is registered and unusable. The host keys a
//! server shows can be asked for; trusting them is a decision of its own, and an entry.

use std::collections::{BTreeMap, BTreeSet};

use russh::keys::PublicKey;
use serde::{Deserialize, Serialize};

use super::call::{self, Call, Reply};
use super::ended;
use super::error::ApiError;
use super::live::{HostKey, Step};
use super::people::Reason;
use crate::access::Command;
use crate::authn::parse_public_key;
use crate::model::{
    Action, Administration, Endpoint, HostTrust, Login, Plane, Protocol, Sensitivity, Target, TargetName,
};
use crate::policy::Resource;

/// Keys pinned for one target at most.
const MOST_KEYS: usize = 16;

/// A target to register.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewTarget {
    name: TargetName,
    endpoint: Endpoint,
    /// `ssh` unless said otherwise.
    protocol: Option<Protocol>,
    /// Unpinned unless said otherwise: connecting is refused until somebody pins.
    trust: Option<HostTrust>,
    /// `platform` unless said otherwise.
    plane: Option<Plane>,
    #[serde(default)]
    environment: String,
    /// `normal` unless said otherwise.
    sensitivity: Option<Sensitivity>,
    tenant: Option<String>,
    /// The logins that may be asked for; empty means any.
    #[serde(default)]
    logins: BTreeSet<Login>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    /// Of databases: `postern_admin` in `postgres` unless said otherwise.
    administration: Option<Administration>,
}

/// A target, and the CA key to put on it.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(super) struct Added {
    target: Target,
    /// What `TrustedUserCAKeys` on the target must hold.
    user_ca: String,
    /// What `ssl_ca_file` of a PostgreSQL server must hold.
    database_ca: String,
}

/// How a target is recognised from now on.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Trust {
    trust: HostTrust,
}

/// Where a server listens that is no target so far.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Place {
    endpoint: Endpoint,
    /// `ssh` unless said otherwise.
    protocol: Option<Protocol>,
}

/// The keys a server proves itself with.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(super) struct HostKeys {
    keys: Vec<HostKey>,
}

/// Whom to log in as.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AsLogin {
    login: Login,
}

/// What testing a target found.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(super) struct Tested {
    steps: Vec<Step>,
}

pub(super) async fn list(call: Call) -> Result<Reply, ApiError> {
    let all: Vec<Target> = call.look(|state| state.targets().cloned().collect());
    let mut seen = Vec::new();
    for (index, target) in all.into_iter().enumerate() {
        call::breathe(index).await;
        if call.may(&Action::TargetRead, Resource::Target { target: &target, login: None }) {
            seen.push(target);
        }
    }
    Reply::items(seen)
}

pub(super) async fn add(call: Call) -> Result<Reply, ApiError> {
    let given: NewTarget = call.body()?;
    let target = Target {
        name: given.name,
        protocol: given.protocol.unwrap_or(Protocol::Ssh),
        endpoint: given.endpoint,
        trust: check_trust(given.trust.unwrap_or(HostTrust::Unpinned))?,
        plane: given.plane.unwrap_or(Plane::Platform),
        environment: given.environment,
        sensitivity: given.sensitivity.unwrap_or(Sensitivity::Normal),
        tenant: given.tenant,
        logins: given.logins,
        labels: given.labels,
        administration: given.administration.unwrap_or_default(),
    };
    check_endpoint(&target.endpoint)?;
    call.submit(Command::AddTarget(Box::new(target.clone()))).await?;
    let node = &call.gate.parts.node;
    Reply::json(&Added { target, user_ca: node.user_ca.clone(), database_ca: node.database_ca.clone() })
}

pub(super) async fn trust(call: Call) -> Result<Reply, ApiError> {
    let target = known(&call, &Action::TargetManage)?;
    let given: Trust = call.body()?;
    let trust = check_trust(given.trust)?;
    call.submit(Command::TrustTarget { target: target.name.clone(), trust }).await?;
    Reply::json(&known(&call, &Action::TargetManage)?)
}

pub(super) async fn host_keys(call: Call) -> Result<Reply, ApiError> {
    let target = known(&call, &Action::TargetManage)?;
    keys_at(&call, target.endpoint, target.protocol).await
}

/// The same for a server that is not registered, so that its keys can be compared before it is.
pub(super) async fn host_keys_at(call: Call) -> Result<Reply, ApiError> {
    let given: Place = call.body()?;
    check_endpoint(&given.endpoint)?;
    keys_at(&call, given.endpoint, given.protocol.unwrap_or(Protocol::Ssh)).await
}

async fn keys_at(call: &Call, endpoint: Endpoint, protocol: Protocol) -> Result<Reply, ApiError> {
    let keys = call.gate.parts.live.host_keys(endpoint, protocol).await;
    Reply::json(&HostKeys { keys: keys.map_err(|why| ApiError::conflict("target_unreachable", why))? })
}

pub(super) async fn test(call: Call) -> Result<Reply, ApiError> {
    let target = known(&call, &Action::TargetManage)?;
    let given: AsLogin = call.body()?;
    // A credential that is minted leaves an entry, also one that runs nothing.
    call.submit(Command::TestTarget { target: target.name.clone(), login: given.login.clone() }).await?;
    Reply::json(&Tested { steps: call.gate.parts.live.test_target(target, given.login).await })
}

pub(super) async fn remove(call: Call) -> Result<Reply, ApiError> {
    let target = known(&call, &Action::TargetManage)?.name;
    let given: Reason = call.body()?;
    let sessions = ended::sessions_where(&call, |session| session.facts.target == target);
    let command = Command::RemoveTarget { target, reason: given.reason };
    ended::revoke(&call, sessions, command).await
}

/// The target a path names, if the caller may see it and do this to it.
fn known(call: &Call, action: &Action) -> Result<Target, ApiError> {
    let name: TargetName = call.parse_param("target", "target")?;
    let target =
        call.look(|state| state.target(&name).cloned()).ok_or_else(|| ApiError::not_found("target"))?;
    let resource = Resource::Target { target: &target, login: None };
    call.ask_seeing(&Action::TargetRead, action, resource, "target")?;
    Ok(target)
}

/// Host keys and CAs are plain keys of kinds we accept, stored without comments.
fn check_trust(trust: HostTrust) -> Result<HostTrust, ApiError> {
    match trust {
        HostTrust::Unpinned => Ok(HostTrust::Unpinned),
        HostTrust::Keys(lines) if (1..=MOST_KEYS).contains(&lines.len()) => {
            lines.iter().map(|line| bare(line)).collect::<Result<_, _>>().map(HostTrust::Keys)
        }
        HostTrust::Keys(_) => Err(ApiError::bad_input(format!("pin between 1 and {MOST_KEYS} host keys"))),
        HostTrust::Authority(line) => bare(&line).map(HostTrust::Authority),
        HostTrust::TlsAuthority(certificates) => {
            let is_ca = |one: &String| crate::net::anchor(one).is_some();
            match (1..=MOST_KEYS).contains(&certificates.len()) && certificates.iter().all(is_ca) {
                true => Ok(HostTrust::TlsAuthority(certificates)),
                false => Err(ApiError::bad_input(format!(
                    "give between 1 and {MOST_KEYS} CA certificates, each as base64 of its DER"
                ))),
            }
        }
        HostTrust::TlsKeys(pins) => {
            let is_pin = |one: &String| crate::net::is_key_pin(one);
            match (1..=MOST_KEYS).contains(&pins.len()) && pins.iter().all(is_pin) {
                true => Ok(HostTrust::TlsKeys(pins)),
                false => Err(ApiError::bad_input(format!(
                    "give between 1 and {MOST_KEYS} keys as sha256/ and base64 of SHA-256 over the public key"
                ))),
            }
        }
    }
}

fn bare(line: &str) -> Result<String, ApiError> {
    let mut key: PublicKey = parse_public_key(line)?;
    key.set_comment("");
    key.to_openssh().map(|text| text.trim().to_owned()).map_err(ApiError::failed)
}

/// A host is a name or an address and nothing that a resolver, shell or log could misread.
fn check_endpoint(endpoint: &Endpoint) -> Result<(), ApiError> {
    let host = &endpoint.host;
    let is_host = (1..=255).contains(&host.len())
        && !host.starts_with('-')
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':'));
    if is_host && endpoint.port != 0 {
        return Ok(());
    }
    Err(ApiError::bad_input("the endpoint needs a host name or address, and a port from 1 to 65535"))
}
