//! The page in an evidence directory: what is there, what it shows, and how to check it without this program.
//!
//! Every command on it is run by the suite, against a directory written by the real binary.

use std::collections::BTreeMap;

use data_encoding::BASE64;

use super::super::ledger::sentence;
use super::collect::Kept;
use super::contents::{CHECKPOINT, COSIGNED, Index, OLDER, RECORDING};
use crate::ledger::entry::{Fact, SessionFacts};
use crate::model::{PersonId, PersonName};

/// What comes before an Ed25519 public key in a SubjectPublicKeyInfo (RFC 8410 part 4).
const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// Checks one entry's way to the root, with Python's standard library alone.
const INCLUSION: &str = r#"import base64, hashlib, json
sha = lambda data: hashlib.sha256(data).digest()
size, root = open("checkpoint.text").read().split("\n")[1:3]
for entry in json.load(open("evidence.json"))["entries"]:
    node, last = entry["seq"], int(size) - 1
    h = sha(b"\x00" + open(entry["file"], "rb").read())
    for sibling in map(bytes.fromhex, entry["proof"]):
        if node & 1 or node == last:
            h = sha(b"\x01" + sibling + h)
            while node and not node & 1:
                node, last = node >> 1, last >> 1
        else:
            h = sha(b"\x01" + h + sibling)
        node, last = node >> 1, last >> 1
    assert last == 0 and h == base64.b64decode(root), entry["file"]
print("every entry is in the ledger")
"#;

/// An Ed25519 public key as OpenSSL reads it.
pub(super) fn public_key(key: &[u8; 32]) -> String {
    let bytes: Vec<u8> = SPKI.iter().chain(key).copied().collect();
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", BASE64.encode(&bytes))
}

/// The page.
pub(super) fn page(index: &Index, facts: &SessionFacts, entries: &[Kept], approvals: usize) -> String {
    let mut page = format!(
        "# Evidence of session {session}\n\n\
         {login}@{target}, by {person}, from {client}. Written {made}.\n\n\
         Everything here is checked against one key: the bastion's, `{key}`. Get it from somebody you trust, not from \
         here. With Postern: `postern verify DIRECTORY --key KEY`, offline, on any machine. Without:\n\n",
        session = facts.session,
        login = facts.login,
        target = facts.target,
        person = facts.person,
        client = facts.client,
        made = index.made,
        key = index.ledger_key,
    );
    let mut step = |title: &str, text: &str, command: &str| {
        page.push_str(&format!("## {title}\n\n{text}\n\n"));
        if !command.is_empty() {
            page.push_str(&format!("```sh\n{command}\n```\n\n"));
        }
    };
    step(
        "Nothing was changed since it was written",
        "The digest of every file:",
        "sha256sum --check --quiet SHA256SUMS",
    );
    step(
        "The bastion signed the ledger's head",
        &format!(
            "`{CHECKPOINT}` is a C2SP checkpoint: the ledger's name, its number of entries, the root over them. \
             `checkpoint.text`, `checkpoint.sig` and `node.pub.pem` are its parts as OpenSSL takes them. The second \
             command prints the key in `node.pub.pem` as 64 hex digits: it has to be the one you trust (`postern ledger \
             verify` prints it on the bastion)."
        ),
        "openssl pkeyutl -verify -pubin -inkey node.pub.pem -rawin -in checkpoint.text -sigfile checkpoint.sig\n\
         openssl pkey -pubin -in node.pub.pem -outform DER | tail -c 32 | od -An -v -tx1 | tr -d ' \\n'; echo",
    );
    step(
        "These entries are in that ledger",
        "Each file in `entries/` is an entry as it was hashed; `evidence.json` has its way to the root (RFC 6962 part \
         2.1.1).",
        &format!("python3 - <<'END'\n{INCLUSION}END"),
    );
    if index.continues.iter().any(|continued| continued.file == COSIGNED) {
        step(
            "Somebody else saw that ledger at the time",
            &format!(
                "`{COSIGNED}` is an earlier head with witnesses' signatures (C2SP `tlog-cosignature`), and \
                 `evidence.json` has the proof that the ledger continues it (RFC 6962 part 2.1.2). With Postern: \
                 `--witness KEY`."
            ),
            "",
        );
    }
    if index.continues.iter().any(|continued| continued.file == OLDER) {
        step(
            "Nothing was taken back since an older head",
            &format!(
                "`{OLDER}` is a head that whoever wrote this had kept from before; `evidence.json` has the proof that the \
                 ledger continues it."
            ),
            "",
        );
    }
    if approvals > 0 {
        step(
            "People approved exactly this request",
            "`request.json` is the request as its hash is made, and each `request-N.json` that of another grant for the same \
             address, which the session could use too. Each `approvals/N/message` names such a hash and the time \
             approved, and is signed with the approver's SSH key, which is in the entry that enrolled it.",
            "sha256sum request*.json && grep ^hash approvals/*/message\n\
             for a in approvals/*; do ssh-keygen -Y verify -f $a/allowed_signers -I $(cut -d' ' -f1 $a/allowed_signers) \
             -n approval@postern -s $a/message.sig < $a/message; done",
        );
    }
    step(
        "The recording is the one the ledger knows",
        &format!(
            "`{RECORDING}` is sealed; its format is public (`recordings-schema/FORMAT.md` in Postern's source, with a \
             second verifier in Python beside it). Its header's hash is in the entry of the session's start, its last \
             frame and chain digest in that of the end. Opening it takes the identity of somebody who was a reviewer \
             then, or, where there is a `recording.keys`, when its key was wrapped again. `opened.jsonl` (every event) and `opened.cast` (to play with asciinema), where they are here, are \
             what whoever wrote this read in it: go by the sealed one, and by `postern verify --identity`, which compares \
             them."
        ),
        "",
    );
    let called: BTreeMap<&PersonId, &PersonName> = entries
        .iter()
        .filter_map(|kept| {
            if let Fact::PersonAdded(added) = &kept.entry.fact {
                Some((&added.person, &added.name))
            } else {
                None
            }
        })
        .collect();
    let name = |person: &PersonId| called.get(person).map_or_else(|| person.to_string(), ToString::to_string);
    page.push_str("## What the entries say\n\n| Entry | At | By | Says |\n|---|---|---|---|\n");
    for Kept { entry, .. } in entries {
        let by = sentence::by(&entry.by, &name);
        let says = sentence::of(&entry.fact, &name).replace('|', "\\|");
        page.push_str(&format!("| {} | {} | {by} | {says} |\n", entry.seq, entry.at));
    }
    if let Some(end) = entries
        .iter()
        .find_map(|kept| if let Fact::SessionEnded(end) = &kept.entry.fact { Some(end) } else { None })
    {
        page.push_str(&format!(
            "\nThe session was cut {} µs after its end was decided ({}): {}.\n",
            end.receipt.decided_to_cut_us, end.receipt.decided, end.reason
        ));
    }
    page
}
