//! Signing in and out: a challenge, a signature over it by an SSH key or certificate, a bearer token.
//!
//! There are no passwords and no cookies. A failed attempt tells a stranger nothing; the log has the reason. Signing
//! in is an entry in the ledger.

use serde::{Deserialize, Serialize};

use super::call::{Call, Reply};
use super::error::ApiError;
use crate::access::Command;
use crate::authn::{Challenges, SignIn};
use crate::ledger::entry::Actor;
use crate::model::{PersonId, PersonName, Role, Timestamp};

/// How long a challenge is good, in seconds.
const CHALLENGE_S: i64 = 60;

/// Something to sign.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(super) struct Challenge {
    /// A text that is good once.
    nonce: String,
    /// The server's name, part of what is signed. Compare it with the certificate you see.
    server: String,
    /// Until when it is good.
    expires: Timestamp,
}

/// The signed challenge.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Signed {
    /// A public key or certificate, in OpenSSH's form.
    key: String,
    /// The nonce.
    nonce: String,
    /// The server's name as signed.
    server: String,
    /// Armored SSHSIG, namespace `sign-in@postern`, over `postern sign-in v1\nserver SERVER\nnonce NONCE\n`.
    signature: String,
}

/// A token, and who it stands for.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(super) struct SignedIn {
    /// The bearer token.
    token: String,
    /// When it ends at the latest; an hour without use ends it too.
    until: Timestamp,
    /// The person.
    person: PersonId,
    /// What they are called.
    name: PersonName,
    /// Their roles.
    roles: Vec<Role>,
}

pub(super) async fn challenge(call: Call) -> Result<Reply, ApiError> {
    let nonce = challenges(&call)?.make().map_err(ApiError::failed)?;
    let expires =
        call.now().checked_add(jiff::SignedDuration::from_secs(CHALLENGE_S)).unwrap_or(Timestamp::MAX);
    Reply::json(&Challenge { nonce, server: call.gate.parts.node.fingerprint.clone(), expires })
}

pub(super) async fn sign_in(call: Call) -> Result<Reply, ApiError> {
    let signed: Signed = call.body()?;
    if signed.server != call.gate.parts.node.fingerprint {
        return Err(ApiError::bad_input("the signature is for another server than this one").hint(
            "if the bastion got a new certificate, run 'postern login' again and compare its fingerprint",
        ));
    }
    let given = SignIn {
        key: &signed.key,
        nonce: &signed.nonce,
        server: &signed.server,
        signature: &signed.signature,
        from: call.peer,
    };
    let who = call.gate.parts.authenticator.by_signature(given, challenges(&call)?)?;
    let by = Actor::Person { person: who.person().clone(), identity: who.identity().clone() };
    let client = call.peer.map_or_else(|| "local".to_owned(), |address| address.to_string());
    call.gate.parts.store.submit(by, Command::SignIn { client }).await?;
    let issued = call.gate.tokens.issue(&who).map_err(crate::authn::Rejected::from)?;
    Reply::json(&SignedIn {
        token: issued.token.expose().clone(),
        until: issued.until,
        person: who.person().clone(),
        name: who.name().clone(),
        roles: who.roles().iter().cloned().collect(),
    })
}

pub(super) async fn sign_out(call: Call) -> Result<Reply, ApiError> {
    if let Some(token) = &call.token {
        call.gate.tokens.take_back(token.expose());
    }
    Ok(Reply::empty())
}

fn challenges(call: &Call) -> Result<&Challenges, ApiError> {
    call.gate
        .challenges
        .as_ref()
        .ok_or_else(|| ApiError::failed("no randomness at the start: nobody can sign in"))
}
