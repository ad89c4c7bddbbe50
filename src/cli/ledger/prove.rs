//! `postern ledger prove`: that one entry is in the ledger, checked here and not by the bastion.
//!
//! For a session, the entry is its end with the receipt. The bastion's answer is only material: the entry is hashed, the
//! proof followed to the root, the root's signature checked, and the checkpoint held against the one last seen.

use std::process::ExitCode;

use serde::Deserialize;
use serde_json::json;

use super::super::args::Invocation;
use super::super::client::{Client, segment};
use super::super::exit::{CliError, Outcome};
use super::super::out;
use super::memory::{self, Memory};
use super::sentence;
use crate::ledger::entry::{Entry, Fact};
use crate::ledger::{Checkpoint, TreeHash, VerifierKey, verify_inclusion};
use crate::model::SessionId;

/// What to prove.
#[derive(Debug, clap::Args)]
pub(crate) struct ProveArgs {
    /// An entry's number, or a session's id for the receipt of its end.
    #[arg(value_name = "SEQ|ID")]
    what: String,
    /// The ledger's key, as NAME+HASH+KEY. [default: the one remembered, else the one the ledger names]
    #[arg(long, value_name = "KEY")]
    key: Option<VerifierKey>,
}

#[derive(Debug, Clone, Deserialize)]
struct Path {
    index: u64,
    size: u64,
    hashes: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct PathAt {
    #[serde(flatten)]
    path: Path,
    checkpoint: String,
}

#[derive(Debug, Deserialize)]
struct Receipt {
    entry: Entry,
    proof: Path,
    checkpoint: String,
}

#[derive(Debug, Deserialize)]
struct Page {
    items: Vec<Entry>,
}

/// An entry, and the proof that it is in the ledger.
#[derive(Debug)]
struct Proof {
    entry: Entry,
    path: Path,
    checkpoint: String,
}

/// Proves, and prints the proof.
pub(super) async fn run(args: ProveArgs, run: &Invocation) -> Outcome {
    let client = run.connect().await?;
    let proof = fetch(&client, &args.what).await?;
    let memory = Memory::of(run)?;
    let key = memory::key(&client, args.key, &memory).await?;
    let root = proof.check(&key)?;
    memory::follow(&client, &memory, &key).await?;
    let Proof { entry, path, checkpoint } = proof;
    if run.json {
        out::json(&json!({
            "ok": true, "entry": entry, "key": key.to_string(), "root": root.to_string(), "checkpoint": checkpoint,
            "proof": { "index": path.index, "size": path.size, "hashes": path.hashes },
        }));
        return Ok(ExitCode::SUCCESS);
    }
    let mut rows = vec![
        ("entry", entry.seq.to_string()),
        ("at", entry.at.to_string()),
        ("says", sentence::of(&entry.fact, &|person| person.to_string())),
    ];
    if let Fact::SessionEnded(end) = &entry.fact {
        rows.push(("decided", end.receipt.decided.to_string()));
        rows.push(("cut", format!("{} ({} us later)", end.receipt.cut, end.receipt.decided_to_cut_us)));
        let dead = |verified: &Option<crate::ledger::entry::Verified>| {
            verified.as_ref().map_or_else(|| "not yet".to_owned(), |v| format!("{}: {}", v.at, v.how))
        };
        rows.push(("target ended", dead(&end.receipt.target_ended)));
        rows.push(("credential dead", dead(&end.receipt.credential_dead)));
    }
    rows.push(("proven", format!("in the ledger of {} entries, by {} hashes", path.size, path.hashes.len())));
    rows.push(("root", root.to_string()));
    rows.push(("signed by", key.to_string()));
    out::fields(&rows);
    Ok(ExitCode::SUCCESS)
}

async fn fetch(client: &Client, what: &str) -> Result<Proof, CliError> {
    if what.starts_with(SessionId::PREFIX) {
        let receipt: Receipt = client.get_as(&format!("/sessions/{}/receipt", segment(what))).await?;
        let Receipt { entry, proof, checkpoint } = receipt;
        return Ok(Proof { entry, path: proof, checkpoint });
    }
    let index: u64 = what
        .parse()
        .map_err(|_| CliError::usage(format!("{what:?} is neither an entry's number nor a session's id")))?;
    let page: Page = client.get_as(&format!("/ledger/entries?from={index}&limit=1")).await?;
    let entry = page.items.into_iter().find(|entry| entry.seq == index);
    let entry = entry.ok_or_else(|| CliError::failed(format!("the ledger has no entry {index}")))?;
    let PathAt { path, checkpoint } = client.get_as(&format!("/ledger/proof/{index}")).await?;
    Ok(Proof { entry, path, checkpoint })
}

impl Proof {
    /// Follows the proof to the signed root.
    fn check(&self, key: &VerifierKey) -> Result<TreeHash, CliError> {
        let head = Checkpoint::open(&self.checkpoint, key).map_err(CliError::failed)?;
        let hashes = memory::hashes(&self.path.hashes)?;
        let leaf = TreeHash::leaf(&self.entry.canonical().map_err(CliError::failed)?);
        let is_its = self.path.index == self.entry.seq && self.path.size == head.size;
        if is_its && verify_inclusion(leaf, self.path.index, self.path.size, &hashes, &head.root) {
            return Ok(head.root);
        }
        Err(CliError::failed(format!(
            "the proof does not show that entry {} is in the ledger",
            self.entry.seq
        ))
        .hint("the entry was changed, or the bastion is not telling the truth: run 'postern ledger verify'"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Frontier;
    use crate::ledger::entry::Actor;
    use crate::model::{Secret, Signer as _, SigningKey, Timestamp};

    #[test]
    fn a_proof_holds_for_its_entry_only() {
        let entry = |seq, hash: &str| {
            let fact =
                Fact::PolicyLoaded { hash: hash.to_owned(), rules: crate::model::PolicyChanges::default() };
            Entry { v: 1, seq, at: Timestamp::UNIX_EPOCH, by: Actor::Node, fact }
        };
        let leaf = |entry: &Entry| TreeHash::leaf(&entry.canonical().unwrap());
        let (zero, one) = (entry(0, "a"), entry(1, "b"));
        let mut tree = Frontier::default();
        [&zero, &one].into_iter().for_each(|entry| drop(tree.push(leaf(entry))));
        let signer = SigningKey::from_seed(&Secret::new([5; 32])).unwrap();
        let key = VerifierKey::new("gate", signer.public_key()).unwrap();
        let head = Checkpoint { origin: "gate".to_owned(), size: 2, root: tree.root() };
        let checkpoint = head.sign(&key, &signer).unwrap().to_string();
        let path = Path { index: 1, size: 2, hashes: vec![leaf(&zero).to_string()] };
        let proof = |entry: &Entry, path: &Path| Proof {
            entry: entry.clone(),
            path: path.clone(),
            checkpoint: checkpoint.clone(),
        };
        assert_eq!(proof(&one, &path).check(&key).unwrap(), tree.root());
        assert!(proof(&entry(1, "c"), &path).check(&key).is_err(), "another entry");
        assert!(proof(&one, &Path { index: 0, ..path.clone() }).check(&key).is_err(), "another place");
        assert!(proof(&one, &Path { hashes: Vec::new(), ..path }).check(&key).is_err(), "no proof");
        let other = VerifierKey::new("gate", [9; 32]).unwrap();
        assert!(proof(&one, &path).check(&other).is_err(), "another key");
        let value = json!({ "index": 1, "size": 2, "hashes": path.hashes, "checkpoint": checkpoint });
        let read: PathAt = serde_json::from_value(value).unwrap();
        assert_eq!(read.path.index, 1);
    }
}
