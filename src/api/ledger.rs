//! The ledger, for reading and proving: entries, the signed checkpoint, inclusion and consistency.
//!
//! Nothing here is needed to trust a proof: it is checked by whoever asks, against the node's checkpoint key.

use std::io::ErrorKind;

use data_encoding::HEXLOWER;
use serde::Serialize;

use super::call::{Call, Reply};
use super::error::ApiError;
use crate::ledger::entry::Entry;
use crate::ledger::{Checkpoint, TreeHash};
use crate::store::{Store, StoreError};

/// Entries in one answer unless said otherwise, and at most.
const PAGE: u64 = 100;
const LARGEST_PAGE: u64 = 1000;

/// That one entry is in the tree of a size.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(super) struct Proven {
    /// The entry's index.
    index: u64,
    /// The tree's size.
    size: u64,
    /// The hashes on the way to the root, lower-case hex (RFC 6962 part 2.1.1).
    hashes: Vec<String>,
}

/// A proof with the checkpoint it leads to.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(super) struct ProvenAt {
    #[serde(flatten)]
    proof: Proven,
    /// The signed checkpoint (C2SP tlog-checkpoint).
    checkpoint: String,
}

/// That the tree of one size is the beginning of the tree of another.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(super) struct Consistent {
    /// The older size.
    from: u64,
    /// The newer size.
    to: u64,
    /// The proof, lower-case hex (RFC 6962 part 2.1.2).
    hashes: Vec<String>,
    /// The signed checkpoint in force.
    checkpoint: String,
}

pub(super) async fn entries(call: Call) -> Result<Reply, ApiError> {
    let from: u64 = call.query("from")?.unwrap_or(0);
    let limit: u64 = call.query("limit")?.unwrap_or(PAGE).clamp(1, LARGEST_PAGE);
    let entries = call.history(move |store| store.entries(from, limit)).await?;
    let is_full = u64::try_from(entries.len()).is_ok_and(|count| count >= limit);
    let next = entries.last().filter(|_| is_full).map(|last| last.seq.saturating_add(1).to_string());
    Reply::page(entries, next)
}

pub(super) async fn checkpoint(call: Call) -> Result<Reply, ApiError> {
    Ok(Reply::Text(call.history(Store::checkpoint).await?))
}

pub(super) async fn cosigned(call: Call) -> Result<Reply, ApiError> {
    let note = tokio::fs::read_to_string(&call.gate.parts.cosigned).await;
    note.map(Reply::Text).map_err(|error| {
        if error.kind() == ErrorKind::NotFound {
            return ApiError::not_found("checkpoint that a witness signed");
        }
        ApiError::failed(error)
    })
}

pub(super) async fn proof(call: Call) -> Result<Reply, ApiError> {
    let index: u64 = call.parse_param("seq", "entry")?;
    let wanted: Option<u64> = call.query("size")?;
    let (_, proof, checkpoint) = prove(&call, index).await?;
    if wanted.is_some_and(|wanted| wanted != proof.size) {
        return Err(only_today(proof.size));
    }
    Reply::json(&ProvenAt { proof, checkpoint })
}

pub(super) async fn consistency(call: Call) -> Result<Reply, ApiError> {
    let from: u64 = call.query("from")?.ok_or_else(|| ApiError::bad_input("give the older size: from"))?;
    let wanted: Option<u64> = call.query("to")?;
    let (hashes, checkpoint) = call.history(move |store| store.prove_consistency(from)).await?;
    let to = size(&call, &checkpoint)?;
    if wanted.is_some_and(|wanted| wanted != to) {
        return Err(only_today(to));
    }
    Reply::json(&Consistent { from, to, hashes: hex(&hashes), checkpoint })
}

/// An entry, the proof that it is in the ledger, and the signed checkpoint the proof leads to.
pub(super) async fn prove(call: &Call, index: u64) -> Result<(Entry, Proven, String), ApiError> {
    let (proof, entry) = call
        .history(move |store| {
            let entry = store.entries(index, 1)?.into_iter().find(|entry| entry.seq == index);
            Ok((store.prove(index)?, entry.ok_or(StoreError::NotFound("such entry"))?))
        })
        .await?;
    let size = size(call, &proof.checkpoint)?;
    Ok((entry, Proven { index, size, hashes: hex(&proof.proof) }, proof.checkpoint))
}

/// The size a checkpoint speaks of.
pub(super) fn size(call: &Call, checkpoint: &str) -> Result<u64, ApiError> {
    let opened = Checkpoint::open(checkpoint, call.gate.parts.store.checkpoint_key());
    Ok(opened.map_err(ApiError::failed)?.size)
}

/// Only the newest checkpoint is signed, so a proof to any other size would lead nowhere.
fn only_today(size: u64) -> ApiError {
    ApiError::bad_input(format!(
        "proofs lead to the signed checkpoint, whose size is {size}: leave the size out"
    ))
}

fn hex(hashes: &[TreeHash]) -> Vec<String> {
    hashes.iter().map(|hash| HEXLOWER.encode(hash.as_bytes())).collect()
}
