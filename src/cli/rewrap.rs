//! `postern recordings rewrap`: recordings made for earlier reviewers, made readable for those of today.
//!
//! Somebody who can read a recording wraps its key to today's reviewers, on their own machine; the bastion keeps that beside
//! the recording, in its ledger. The recording itself is not touched, and who could read it before still can.

use std::process::ExitCode;

use axum::http::Method;
use data_encoding::BASE64;
use futures_util::StreamExt as _;
use serde::Deserialize;
use serde_json::{Value, json};

use super::args::Invocation;
use super::client::{Client, segment};
use super::exit::{CliError, Outcome};
use super::keygen::IdentityArgs;
use super::recordings::{self, ListedState};
use super::source::rewrapped;
use super::{out, progress};
use crate::recording::{
    Frames, Header, Recipient, RecordingError, ReviewerIdentity, RewrapError, parse_recipients, rewrap,
};

/// Bytes in which every header is over.
const HEADER: usize = 66 << 10;

/// Make recordings readable for the reviewers of today.
///
/// Needs the identity of somebody who can read them. Those that are readable for today's reviewers this way already are
/// passed over; recordings made since the reviewers last changed are wrapped as well, which does no harm.
#[derive(Debug, clap::Args)]
pub(crate) struct RewrapArgs {
    /// Whose: sessions' ids, or the beginnings of such.
    #[arg(value_name = "ID", required_unless_present = "all", conflicts_with = "all")]
    sessions: Vec<String>,
    /// Every recording you may read.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    identity: IdentityArgs,
}

#[derive(Debug, Deserialize)]
struct Reviewers {
    recipients: Vec<String>,
}

/// What became of one.
enum Became {
    Current,
    Closed,
    Wrapped,
}

/// Wraps again.
pub(crate) async fn run(args: &RewrapArgs, run: &Invocation) -> Outcome {
    let identity = args.identity.need(run)?;
    let client = run.connect().await?;
    let reviewers: Reviewers = client.get_as("/reviewers").await?;
    let recipients = parse_recipients(&reviewers.recipients).map_err(CliError::failed)?;
    let sessions = if args.all { all(&client).await? } else { args.sessions.clone() };
    let bar = progress::things("wrapping", u64::try_from(sessions.len()).ok());
    let (mut wrapped, mut current, mut closed, mut failed) = (0_usize, 0_usize, Vec::new(), Vec::new());
    for session in sessions {
        match one(&client, &session, &identity, (&reviewers.recipients, &recipients)).await {
            Ok(Became::Wrapped) => wrapped += 1,
            Ok(Became::Current) => current += 1,
            Ok(Became::Closed) => closed.push(session),
            Err(error) => failed.push((session, error.to_string())),
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    if run.json {
        let failed: Vec<Value> =
            failed.iter().map(|(session, why)| json!({ "session": session, "why": why })).collect();
        out::json(&json!({ "wrapped": wrapped, "current": current, "closed": closed, "failed": failed }));
    } else {
        out::line(&format!("{wrapped} wrapped to the reviewers of today, {current} were already"));
        for session in &closed {
            out::note(&format!("{}: closed to this identity", out::safe(session)));
        }
        for (session, why) in &failed {
            out::note(&format!("{}: {}", out::safe(session), out::safe(why)));
        }
    }
    match closed.len() + failed.len() {
        0 => Ok(ExitCode::SUCCESS),
        left => Err(CliError::failed(format!("{left} recordings were not wrapped"))
            .hint("the identity of somebody who was a reviewer when they were made opens them")),
    }
}

/// Everything that may be read and is there.
async fn all(client: &Client) -> Result<Vec<String>, CliError> {
    let listed = recordings::all(client).await?;
    let is_there = |state| matches!(state, ListedState::Cut | ListedState::Finished | ListedState::Live);
    Ok(listed.into_iter().filter(|one| is_there(one.state)).map(|one| one.session.to_string()).collect())
}

async fn one(
    client: &Client,
    session: &str,
    identity: &ReviewerIdentity,
    (reviewers, recipients): (&[String], &[Recipient]),
) -> Result<Became, CliError> {
    let known = rewrapped(client, session).await?;
    if known.is_current {
        return Ok(Became::Current);
    }
    let header = header(client, session).await?;
    if let Some(key) = known.key()? {
        identity.learn(&header, key);
    }
    let key = match rewrap(&header, identity, recipients) {
        Ok(key) => key,
        Err(RewrapError::Recording(RecordingError::WrongKey)) => return Ok(Became::Closed),
        Err(error) => return Err(CliError::failed(error)),
    };
    let body = json!({ "wrapped": BASE64.encode(&key), "reviewers": reviewers });
    client.call(Method::PUT, &format!("/recordings/{}/key", segment(session)), Some(&body)).await?;
    Ok(Became::Wrapped)
}

/// A recording's header, and no more of it than that takes.
async fn header(client: &Client, session: &str) -> Result<Header, CliError> {
    let mut stream = client.stream(&format!("/recordings/{}/content?how=rewrap", segment(session))).await?;
    let mut bytes = Vec::new();
    while bytes.len() < HEADER
        && let Some(piece) = stream.next().await
    {
        bytes.extend_from_slice(&piece?);
    }
    let frames = Frames::new(bytes.as_slice()).map_err(CliError::failed)?;
    Ok(frames.header().clone())
}
