//! What witnesses signed of a ledger, held against the ledger as it is now.
//!
//! Which head is shown is the bastion's choice; that the witness signed it, when, and that the ledger continues it, is
//! checked here. An old time is a finding too: the bastion may not want to ask that witness any more.

use jiff::Timestamp;
use serde::Serialize;

use super::super::client::Client;
use super::super::exit::CliError;
use super::memory;
use crate::ledger::{Checkpoint, Note, VerifierKey, WitnessKey};

/// What one witness signed.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Signed {
    /// Its name.
    pub(crate) witness: String,
    /// How many entries the head had.
    pub(crate) size: u64,
    /// When.
    pub(crate) at: Timestamp,
}

/// Checks that every witness signed a head, and that the ledger with the head `now` continues it.
pub(crate) async fn check(
    client: &Client,
    key: &VerifierKey,
    witnesses: &[WitnessKey],
    now: (&Checkpoint, &str),
) -> Result<Vec<Signed>, CliError> {
    if witnesses.is_empty() {
        return Ok(Vec::new());
    }
    let text = client.text("/ledger/cosigned").await?;
    let signed = read(&text, key, witnesses)?;
    let head = Checkpoint::open(&text, key).map_err(CliError::failed)?;
    let contradicts = || {
        CliError::failed(format!(
            "a witness signed a head of {} entries that this ledger does not continue",
            head.size
        ))
        .hint("the ledger was rolled back or rewritten since: ask whoever runs the witness for what it keeps")
    };
    if head.size > now.0.size {
        return Err(contradicts());
    }
    let now = (now.0.clone(), now.1.to_owned());
    memory::continues(client, key, &head, now).await?.ok_or_else(contradicts)?;
    Ok(signed)
}

/// When each witness signed a head, which must be the ledger's own too.
pub(crate) fn read(text: &str, key: &VerifierKey, witnesses: &[WitnessKey]) -> Result<Vec<Signed>, CliError> {
    let head = Checkpoint::open(text, key).map_err(CliError::failed)?;
    let note: Note = text.parse().map_err(CliError::failed)?;
    let signed = |witness: &WitnessKey| {
        let at = witness.signed(&note).map_err(|error| {
            CliError::failed(error).hint("compare the key given with the one 'postern witness show' prints")
        })?;
        let at = i64::try_from(at).ok().and_then(|at| Timestamp::from_second(at).ok());
        let at = at.ok_or_else(|| CliError::failed("a witness's time is none"))?;
        Ok(Signed { witness: witness.name().to_owned(), size: head.size, at })
    };
    witnesses.iter().map(signed).collect()
}
