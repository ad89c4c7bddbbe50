//! How the node is: what a person needs to connect, and what an operator needs to know.
//!
//! Public facts only: names, addresses, public keys, counts. Nothing here says what a session does. The metrics are on
//! a listener of their own (`serve/listeners.rs`).

use std::collections::BTreeSet;

use serde::Serialize;

use super::call::{Call, Reply, Who};
use super::error::ApiError;
use super::live::{Keeping, Room, Witness};
use crate::model::{PersonId, PersonName, Role, Timestamp};

/// How the node is.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(super) struct Status {
    /// Its name.
    node: String,
    version: String,
    /// When this process began.
    started: Timestamp,
    sessions_live: usize,
    ledger: LedgerHead,
    /// Who signs the ledger's heads elsewhere.
    witnesses: Vec<Witness>,
    /// SHA-256 of the policy set in force.
    policy: String,
    recording: Room,
    /// Where finished recordings are moved to; nothing when they stay.
    store: Option<Keeping>,
    api: Api,
    ssh: Ssh,
    /// What `TrustedUserCAKeys` on targets must hold, `TYPE BASE64`.
    user_ca: String,
    /// What `ssl_ca_file` on PostgreSQL targets must hold, in PEM.
    database_ca: String,
    /// age recipients of new recordings.
    reviewers: BTreeSet<String>,
    /// Who is asking; nobody when it is the machine's operator.
    you: Option<You>,
}

/// The ledger's head.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(super) struct LedgerHead {
    size: u64,
    /// Signed (C2SP tlog-checkpoint).
    checkpoint: String,
}

/// How to know the API.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(super) struct Api {
    /// The fingerprint of its certificate.
    fingerprint: String,
}

/// How to reach the gate.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(super) struct Ssh {
    /// Nothing when nobody serves.
    listen: Option<String>,
    public_name: Option<String>,
    /// The bastion's own host key, `TYPE BASE64`.
    host_key: String,
    /// The CA that vouches for targets behind `ssh -J`, `TYPE BASE64`.
    host_ca: String,
}

/// Who is asking.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(super) struct You {
    person: PersonId,
    name: PersonName,
    roles: BTreeSet<Role>,
}

pub(super) async fn status(call: Call) -> Result<Reply, ApiError> {
    let checkpoint = call.history(crate::store::Store::checkpoint).await?;
    let parts = &call.gate.parts;
    let you = match &call.who {
        Who::Nobody | Who::Operator => None,
        Who::Person(who) => {
            Some(You { person: who.person().clone(), name: who.name().clone(), roles: who.roles().clone() })
        }
    };
    Reply::json(&Status {
        node: parts.node.name.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started: call.gate.started,
        sessions_live: parts.live.count(),
        ledger: LedgerHead { size: super::ledger::size(&call, &checkpoint)?, checkpoint },
        witnesses: parts.live.witnesses(),
        policy: parts.policy.hash(),
        recording: parts.live.room(),
        store: parts.live.keeping(),
        api: Api { fingerprint: parts.node.fingerprint.clone() },
        ssh: Ssh {
            listen: parts.node.ssh_listen.clone(),
            public_name: parts.node.ssh_public_name.clone(),
            host_key: parts.node.host_key.clone(),
            host_ca: parts.node.host_ca.clone(),
        },
        user_ca: parts.node.user_ca.clone(),
        database_ca: parts.node.database_ca.clone(),
        reviewers: call.look(|state| state.node().reviewers.clone()),
        you,
    })
}
