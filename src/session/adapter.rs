//! What a protocol must supply, and nothing else. An adapter never decides, never sequences, never stores.
//!
//! `greet` runs the protocol's opening up to a proven identity and a wanted `LOGIN@TARGET`; `converse` shows the
//! dialogue a person without a grant gets; `refuse` says no; `connect` logs in to the target; `welcome` tells the
//! client it may go on; `relay` moves bytes through the [`Tap`] until one side is done; `part` tells a client that is
//! cut why. The order is [`lifecycle`](super::lifecycle)'s.

use std::future::Future;
use std::sync::Arc;

use crate::credential::{Lease, MintError};
use crate::model::{EndReason, Login, Protocol, Target, TargetName};
use crate::net::{DialError, Fuse, Hold};
use crate::store::Store;

pub use super::relay::{Over, Tap};
pub use crate::authn::{Authenticated, Authenticator};
pub use crate::credential::SshCredential;

/// One protocol's side of a session.
pub trait Adapter: Send {
    /// Which protocol.
    fn protocol(&self) -> Protocol;

    /// Runs the opening dialogue. Only `desk` can turn evidence into somebody.
    fn greet(&mut self, desk: &Authenticator) -> impl Future<Output = Result<Greeted, Parted>> + Send;

    /// Shows one page of the dialogue before a grant and waits for the answer.
    fn converse(&mut self, page: Page) -> impl Future<Output = Reply> + Send;

    /// Says no, in the protocol's words, with a reason fit for the person's eyes.
    fn refuse(&mut self, why: &str) -> impl Future<Output = ()> + Send;

    /// Logs in to the target.
    fn connect(&mut self, way: &Way) -> impl Future<Output = Result<(), ConnectError>> + Send;

    /// Tells the client that it may go on. `tap` is where everything it does from now on goes through.
    fn welcome(&mut self, tap: Tap) -> impl Future<Output = ()> + Send;

    /// Moves bytes until one side is done, and says which. Dropped when the session ends for any other reason.
    fn relay(&mut self) -> impl Future<Output = EndReason> + Send;

    /// Tells the client why its session is over; its target is already gone. Done when the client has hung up, and
    /// dropped when it does not: the cut waits for nobody.
    fn part(&mut self, why: &str) -> impl Future<Output = ()> + Send;
}

/// Somebody has proved who they are and said where they want to go.
pub struct Greeted {
    /// Who, from the only maker of principals.
    pub who: Authenticated,
    /// The login wanted.
    pub login: Login,
    /// The target wanted.
    pub target: TargetName,
}

/// The opening ended without a session to open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parted {
    /// The connection carried other sessions and is over.
    Carried,
    /// The client left, or broke the protocol, before it proved anything.
    Left,
    /// Nothing the client offered proved anybody.
    Rejected,
}

/// A page of the dialogue before a grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// What is said.
    pub text: String,
    /// A question, when an answer is wanted; shown as typed.
    pub question: Option<String>,
}

/// What came back from a [`Page`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// An answer, or an acknowledgement of a page that asked nothing.
    Answer(String),
    /// The client has no dialogue, or is gone.
    Nobody,
}

/// The way to the target: where it is, how it proves itself, and the credential for it.
#[derive(Clone)]
pub struct Way {
    store: Store,
    target: TargetName,
    lease: Arc<Lease>,
    fuse: Fuse,
}

/// Why the target side could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// It could not be dialled.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// It is not the host that was pinned.
    #[error("{0}")]
    HostKey(String),
    /// No credential could be made.
    #[error(transparent)]
    Mint(#[from] MintError),
    /// The bastion has no descriptor left to hold the connection with.
    #[error("the bastion has too many connections open; tell an administrator")]
    NoDescriptor,
    /// The session ended meanwhile.
    #[error("the session is over")]
    Over,
    /// It did not accept the credential.
    #[error(
        "the target did not accept the certificate: check its TrustedUserCAKeys and that the login exists"
    )]
    Refused,
    /// It is not registered any more.
    #[error("the target was removed")]
    Removed,
    /// It spoke the protocol wrongly, or hung up.
    #[error("the target hung up during the opening: {0}")]
    Wire(String),
}

impl ConnectError {
    /// The end reason this leads to.
    #[must_use]
    pub const fn reason(&self) -> EndReason {
        match self {
            Self::Dial(_) | Self::NoDescriptor | Self::Wire(_) => EndReason::TargetUnreachable,
            Self::HostKey(_) => EndReason::TargetKeyChanged,
            Self::Mint(_) => EndReason::MintFailed,
            Self::Over => EndReason::ClientLeft,
            Self::Refused => EndReason::TargetRefused,
            Self::Removed => EndReason::TargetRevoked,
        }
    }
}

impl Way {
    /// A way that can be walked until `fuse` blows.
    pub(super) const fn new(store: Store, target: TargetName, lease: Arc<Lease>, fuse: Fuse) -> Self {
        Self { store, target, lease, fuse }
    }

    /// The target, as it is registered now: a host key that is no longer trusted is not trusted here either.
    ///
    /// # Errors
    /// [`ConnectError::Removed`].
    pub fn target(&self) -> Result<Target, ConnectError> {
        self.store.read(|state| state.target(&self.target).cloned()).ok_or(ConnectError::Removed)
    }

    /// The login on it.
    #[must_use]
    pub fn login(&self) -> &Login {
        self.lease.login()
    }

    /// Dials the target; the socket is held by the session's fuse before anything is said on it, and closed when the
    /// hold is dropped.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn dial(&self, target: &Target) -> Result<(tokio::net::TcpStream, Hold), ConnectError> {
        let socket = crate::net::dial(&target.endpoint).await?;
        let held = self.fuse.hold_target(&socket).map_err(|_| match self.fuse.is_blown() {
            true => ConnectError::Over,
            false => ConnectError::NoDescriptor,
        });
        Ok((socket, held?))
    }

    /// A credential for one login over `socket`.
    ///
    /// # Errors
    /// [`ConnectError::Mint`], or [`ConnectError::Over`] when the lease has been taken back.
    pub fn credential(&self, socket: &tokio::net::TcpStream) -> Result<SshCredential, ConnectError> {
        let source = socket.local_addr().ok().map(|address| address.ip());
        self.lease.credential(source)?.ok_or(ConnectError::Over)
    }
}
