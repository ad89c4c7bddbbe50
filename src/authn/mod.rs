//! From evidence to a principal.
//!
//! A client presents a key, a certificate or a signature; the [`Authenticator`] is the only thing that turns it into
//! an [`Authenticated`], by asking the [`Directory`] whose identity it is. Example: russh has proved that the client
//! holds a key; `authenticator.by_ssh_key(&key)` answers with Erin, or says why not.
//!
//! What somebody may do is no business of this module: that is `policy`. Read `ssh_certificate.rs` for
//! the longest list of reasons to say no, and `approval.rs` for what makes an approval worth something.

mod approval;
mod authenticator;
mod challenge;
mod directory;
mod evidence;
mod ssh_certificate;
mod ssh_key;
mod sshsig;
mod tokens;

#[cfg(test)]
mod certificate_tests;
#[cfg(test)]
mod tests;

pub use approval::{ApprovalFault, ApprovalProof};
pub use authenticator::{Authenticator, SIGN_IN_NAMESPACE, SignIn, sign_in_message};
pub use challenge::Challenges;
pub use directory::{Directory, Known};
pub use evidence::{Authenticated, Certified, Rejected};
pub use ssh_certificate::{Authorities, AuthorityFault, CertificateFault, UserCa};
pub use ssh_key::{KeyFault, parse_public_key, proof_with};
pub use sshsig::{SignatureFault, Signed, signer_of, verify as verify_sshsig};
pub use tokens::{Issued, TokenFault, Tokens};
