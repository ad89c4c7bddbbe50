//! What an entry changed in the state, so that tables and watchers follow without deciding anything themselves.
//!
//! One entry can end many things (a person disabled: their requests, grants and sessions). [`super::apply`] returns
//! every change; what left the state is carried whole, for history. Read next: `apply.rs`.

use serde::{Deserialize, Serialize};

use super::recording::Recording;
use super::state::{Grant, Request, Session};
use crate::ledger::entry::{EndFacts, RewrapFacts, StoredFacts};
use crate::model::{GrantId, PersonId, RequestId, SessionId, TargetName};

/// One change to the state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// A grant was issued or started.
    GrantOpen(GrantId),
    /// A grant is over and has left the state.
    GrantOver(Box<Grant>, GrantEnd),
    /// What is still to be cleaned after a session changed.
    LeftOver(SessionId),
    /// Facts about the node itself changed.
    Node,
    /// A person was added or changed.
    Person(PersonId),
    /// What was decided about a recording changed.
    Recording(SessionId),
    /// Nothing is left of a deleted recording, which has left the state.
    RecordingGone(SessionId, Box<Recording>),
    /// A recording's key was wrapped again.
    RecordingRewrapped(Box<RewrapFacts>),
    /// A recording is in a store.
    RecordingStored(Box<StoredFacts>),
    /// A request was made, or its approvals changed.
    RequestOpen(RequestId),
    /// A request is over and has left the state.
    RequestOver(Box<Request>, RequestEnd),
    /// A session started, or has to end and is still there.
    SessionOpen(SessionId),
    /// A session is over and has left the state.
    SessionOver(Box<Session>, Box<EndFacts>),
    /// A target was added, changed or removed.
    Target(TargetName),
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RequestEnd {
    /// Somebody denied it.
    Denied,
    /// It became a grant.
    Granted,
    /// Nobody answered in time.
    Lapsed,
    /// The person or target it was about is gone, or everything was revoked.
    Revoked,
    /// It was taken back.
    Withdrawn,
}

/// How a grant ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GrantEnd {
    /// Its window is over, or it was not used in time.
    Expired,
    /// It, its person, its target or everything was revoked.
    Revoked,
    /// Its approvals no longer come from enough other people who may approve, and it was not used yet.
    Voided,
}
