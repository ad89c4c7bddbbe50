//! What the API needs of the part that runs sessions, as one small trait, so that neither knows the other.
//!
//! Whoever composes the process implements it: over the session registry, or over nothing where no session lives. The
//! tests have one of their own.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use axum::body::Bytes;
use futures_util::stream::BoxStream;
use serde::Serialize;

use crate::model::{Endpoint, Login, Protocol, SessionId, Target, Timestamp};
use crate::recording::Watch;

/// A future behind a pointer, so that the trait can be used as an object.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The sessions that are alive in this process, and what only their machinery can do.
pub trait Live: Send + Sync {
    /// How many sessions are alive now.
    fn count(&self) -> usize;

    /// Waits until none of `sessions` is alive, at most `at_most`; answers with those that are cut, and when.
    ///
    /// Takes hold of the sessions when it is called and waits when it is awaited, so that a revocation can be submitted
    /// in between. A session that was not alive here by then is not in the answer.
    fn wait_ended<'a>(&'a self, sessions: &'a [SessionId], at_most: Duration) -> Later<'a, Vec<Cut>>;

    /// Follows a session's events from now on; `None` when it is not alive here.
    fn watch(&self, session: &SessionId) -> Option<Watch>;

    /// Logs in to a target as `login` the way a session would, and runs nothing there. The ledger has it by then.
    fn test_target(&self, target: Target, login: Login) -> Later<'_, Vec<Step>>;

    /// The keys a server proves itself with, without trusting any.
    fn host_keys(&self, endpoint: Endpoint, protocol: Protocol) -> Later<'_, Result<Vec<HostKey>, String>>;

    /// What the ledger's witnesses last said.
    fn witnesses(&self) -> Vec<Witness>;

    /// Where finished recordings are moved to, and how that goes; `None` when they stay.
    fn keeping(&self) -> Option<Keeping>;

    /// Tries to move again what was not taken, with credentials read anew.
    fn move_again(&self);

    /// A recording from where the ledger says it was moved to; `None` when it is not there.
    fn fetch<'a>(&'a self, location: &'a str) -> Later<'a, Result<Option<Fetched>, String>>;

    /// Whether new recordings are admitted, and how much room there is.
    fn room(&self) -> Room;
}

/// A file's length, and its bytes as they come.
pub type Fetched = (u64, BoxStream<'static, std::io::Result<Bytes>>);

/// How it stands with the store that finished recordings are moved to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Keeping {
    /// Its address.
    pub url: String,
    /// Finished recordings that are only here.
    pub waiting: u64,
    /// Their bytes.
    pub waiting_bytes: u64,
    /// What keeps recordings from being moved, if something does.
    pub trouble: Option<String>,
    /// Whether somebody has to see to it: it is not tried again by itself.
    pub needs_somebody: bool,
    /// Recordings that are not taken.
    pub refused: Vec<Refused>,
}

/// A recording that the store does not take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Refused {
    /// Whose recording.
    pub session: SessionId,
    /// Why.
    pub why: String,
}

/// A session that is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Cut {
    /// Which.
    pub session: SessionId,
    /// When its sockets were shut down.
    pub cut: Timestamp,
}

/// One step of testing a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Step {
    /// What was tried.
    pub name: String,
    /// Whether it went well.
    pub ok: bool,
    /// What was seen, or what to do about it.
    pub detail: String,
}

/// A host key as a server shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct HostKey {
    /// `TYPE BASE64`, or `sha256/…` of the key in a TLS certificate.
    pub line: String,
    /// `SHA256:…`, or the same as the line.
    pub fingerprint: String,
}

/// A witness of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Witness {
    /// Its name.
    pub name: String,
    /// The size of the newest head it signed; nothing before the first.
    pub size: Option<u64>,
    /// When.
    pub signed: Option<Timestamp>,
    /// Why it does not sign, if it does not.
    pub trouble: Option<String>,
    /// Whether that says that the ledger was rolled back or rewritten: then no session begins.
    pub is_alarm: bool,
}

/// Room for recordings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Room {
    /// Bytes free where recordings are kept.
    pub free_bytes: u64,
    /// Whether a new session would be admitted.
    pub admits: bool,
}
