//! Files that only repeat what the entries and the checkpoint say, in the forms that other tools take, and the page.
//!
//! They are made from the proven parts by one function, when a directory is written and again when it is checked, so that
//! none of them can say something else.

use std::collections::BTreeMap;
use std::path::Path;

use data_encoding::BASE64;

use super::super::source::key_beside;
use super::collect::Kept;
use super::contents::{Index, PAGE, RECORDING};
use super::page;
use crate::ledger::entry::{Approval, Fact, SessionFacts};
use crate::ledger::{Note, VerifierKey};

/// The files, by name; `None` when the entries lack the session's start, or the checkpoint is none.
pub(super) fn derived(
    index: &Index,
    entries: &[Kept],
    checkpoint: &str,
    key: &VerifierKey,
) -> Option<BTreeMap<String, Vec<u8>>> {
    let note: Note = checkpoint.parse().ok()?;
    let facts = started(index, entries)?;
    let mut files = BTreeMap::from([
        ("checkpoint.text".to_owned(), note.text().as_bytes().to_vec()),
        ("checkpoint.sig".to_owned(), note.signature_of(key)?.to_vec()),
        ("node.pub.pem".to_owned(), page::public_key(key.public_key()).into_bytes()),
    ]);
    let grant = entries.iter().find_map(|kept| {
        let Fact::GrantIssued(grant) = &kept.entry.fact else { return None };
        (grant.grant == facts.grant).then_some(grant)
    })?;
    let (mut approvals, mut others, mut rewrapped) = (0, 1, 0);
    for kept in entries {
        if let Fact::RequestMade { request, .. } = &kept.entry.fact {
            let is_own = request.request == grant.request;
            others += usize::from(!is_own);
            let name = if is_own { "request.json".to_owned() } else { format!("request-{others}.json") };
            files.insert(name, serde_json::to_vec(request).ok()?);
        }
        if let Fact::RecordingRewrapped(again) = &kept.entry.fact
            && again.session == index.session
        {
            rewrapped += 1;
            let name = key_beside(Path::new(RECORDING), rewrapped);
            files.insert(name.to_str()?.to_owned(), BASE64.decode(again.wrapped.as_bytes()).ok()?);
        }
        let Fact::RequestApproved(approval) = &kept.entry.fact else { continue };
        approvals += 1;
        let Approval { request, hash, duration_s, approver, .. } = approval;
        let (folder, public) = (format!("approvals/{approvals}"), key_of(entries, approval));
        let signers = format!("{approver} namespaces=\"{}\" {public}\n", Approval::NAMESPACE);
        files.insert(format!("{folder}/message"), Approval::message(request, hash, *duration_s));
        files.insert(format!("{folder}/message.sig"), approval.signature.clone().into_bytes());
        files.insert(format!("{folder}/allowed_signers"), signers.into_bytes());
    }
    files.insert(PAGE.to_owned(), page::page(index, facts, entries, approvals).into_bytes());
    Some(files)
}

fn started<'a>(index: &Index, entries: &'a [Kept]) -> Option<&'a SessionFacts> {
    entries.iter().find_map(|kept| {
        let Fact::SessionStarted(facts) = &kept.entry.fact else { return None };
        (facts.session == index.session).then_some(facts)
    })
}

/// The approver's public key as it was enrolled, in OpenSSH form.
fn key_of(entries: &[Kept], approval: &Approval) -> String {
    let linked = entries.iter().rev().find_map(|kept| {
        let Fact::IdentityLinked { person, identity, public_key } = &kept.entry.fact else { return None };
        (*person == approval.approver && *identity == approval.identity).then(|| public_key.clone())?
    });
    linked.unwrap_or_default()
}
