//! What makes an approval worth something: a signature over the request's hash by a key of the approver.
//!
//! Checked when somebody approves and, on the stored approval, again when a session starts: a row edited in a table
//! has no signature that fits. Whether the approver may approve is for `access` and `policy`.

use super::directory::Directory;
use super::sshsig::{self, SignatureFault};
use crate::ledger::entry::Approval;
use crate::model::Identity;

/// An approval whose signature was verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApprovalProof {
    /// Whether a security key signed, with a touch.
    pub security_key: bool,
    /// Whether that key verified the person by PIN or fingerprint.
    pub user_verified: bool,
}

/// Why an approval is worth nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApprovalFault {
    /// The identity it names is not a key.
    #[error(
        "an approval is signed with an enrolled SSH key, and {0} is none; enrol one with 'postern people link'"
    )]
    NotAKey(Identity),
    /// The key is not the approver's, or no longer.
    #[error("the key {0} is not enrolled for the approver")]
    NotTheirs(Identity),
    /// The signature does not fit.
    #[error("the approval's signature is refused: {0}")]
    Signature(#[from] SignatureFault),
}

/// Verifies an approval against the keys enrolled for its approver.
pub(super) fn verify(approval: &Approval, directory: &dyn Directory) -> Result<ApprovalProof, ApprovalFault> {
    if approval.identity.issuer != Identity::SSH_KEY {
        return Err(ApprovalFault::NotAKey(approval.identity.clone()));
    }
    let message = Approval::message(&approval.request, &approval.hash, approval.duration_s);
    let signed = sshsig::verify(&approval.signature, Approval::NAMESPACE, &message)?;
    if signed.fingerprint() != approval.identity.subject {
        return Err(SignatureFault::WrongKey(signed.fingerprint()).into());
    }
    let holder = directory.holder_of(&approval.identity);
    if holder.is_none_or(|known| known.person != approval.approver) {
        return Err(ApprovalFault::NotTheirs(approval.identity.clone()));
    }
    Ok(ApprovalProof { security_key: signed.is_security_key(), user_verified: signed.is_user_verified() })
}
