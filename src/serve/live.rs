//! What the API asks of live sessions and of the machinery behind them, answered from the session registry.
//!
//! The API knows no session and no protocol; sessions know no API. Testing a target and scanning its host keys dial it
//! from here, with a certificate that can run nothing.

use std::sync::Arc;
use std::time::Duration;

use russh::keys::{HashAlg, PublicKey};

use super::keeping::Keeper;
use crate::api::{Cut, Fetched, HostKey, Keeping, Later, Live, Refused, Room, Step, Witness};
use crate::credential::postgres;
use crate::model::{Endpoint, Login, PersonName, Protocol, SessionId, Target};
use crate::protocol::ssh;
use crate::recording::Watch;
use crate::session::adapter::ConnectError;
use crate::session::{Gate, LiveSession, Standing};

/// The node's side of [`Live`].
pub(super) struct NodeLive {
    pub(super) gate: Arc<Gate>,
    pub(super) keeper: Arc<Keeper>,
}

impl Live for NodeLive {
    fn count(&self) -> usize {
        self.gate.registry.count()
    }

    fn wait_ended<'a>(&'a self, sessions: &'a [SessionId], at_most: Duration) -> Later<'a, Vec<Cut>> {
        let known: Vec<_> = sessions.iter().filter_map(|session| self.gate.registry.get(session)).collect();
        Box::pin(async move {
            let all_gone = self.gate.registry.gone(sessions, at_most).await;
            tracing::debug!(all_gone, sessions = sessions.len(), "waited for sessions to end");
            let cut = |session: LiveSession| {
                session.ending.ended().map(|ended| Cut { session: session.facts.session, cut: ended.cut })
            };
            known.into_iter().filter_map(cut).collect()
        })
    }

    fn watch(&self, session: &SessionId) -> Option<Watch> {
        self.gate.registry.get(session).map(|session| session.recorder.watch())
    }

    fn test_target(&self, target: Target, login: Login) -> Later<'_, Vec<Step>> {
        Box::pin(async move {
            match target.protocol {
                Protocol::Postgres => self.try_database(&target, &login).await,
                Protocol::Ssh => {
                    let now = self.gate.clock.now();
                    let authority = &self.gate.user_authority;
                    let mint = |source| authority.probe(&login, source, now).map_err(ConnectError::from);
                    steps(&target, &login, ssh::probe(&target, &login, mint).await)
                }
            }
        })
    }

    fn host_keys(&self, endpoint: Endpoint, protocol: Protocol) -> Later<'_, Result<Vec<HostKey>, String>> {
        Box::pin(host_keys(endpoint, protocol))
    }

    fn witnesses(&self) -> Vec<Witness> {
        let witness = |standing: Standing| Witness {
            is_alarm: standing.is_alarm(),
            size: standing.cosigned.map(|head| head.size),
            signed: standing.cosigned.map(|head| head.at),
            trouble: standing.trouble.map(|trouble| trouble.to_string()),
            name: standing.name,
        };
        self.gate.witnesses.standings().into_iter().map(witness).collect()
    }

    fn keeping(&self) -> Option<Keeping> {
        let (url, status) = self.keeper.status()?;
        let refused = status.refused.into_iter().map(|one| Refused { session: one.session, why: one.why });
        Some(Keeping {
            url,
            waiting: status.waiting,
            waiting_bytes: status.waiting_bytes,
            trouble: status.trouble,
            needs_somebody: status.needs_somebody,
            refused: refused.collect(),
        })
    }

    fn move_again(&self) {
        self.keeper.again();
    }

    fn fetch<'a>(&'a self, location: &'a str) -> Later<'a, Result<Option<Fetched>, String>> {
        Box::pin(self.keeper.fetch(location))
    }

    fn room(&self) -> Room {
        let room = self.gate.journal.room();
        Room { free_bytes: room.free, admits: room.suffices() && self.gate.journal.failure().is_none() }
    }
}

impl NodeLive {
    /// The steps of a database's trial.
    async fn try_database(&self, target: &Target, login: &Login) -> Vec<Step> {
        // Whoever asked for it is in the ledger; the role's comment names nobody.
        let Ok(who) = "targets-test".parse::<PersonName>() else { return Vec::new() };
        let tried = postgres::probe(self.gate.databases.by(), target, login, &who).await;
        let step = |tried: postgres::Tried| Step {
            name: tried.name.to_owned(),
            ok: tried.outcome.is_ok(),
            detail: tried.outcome.unwrap_or_else(|why| why),
        };
        tried.into_iter().map(step).collect()
    }
}

/// The keys a server proves itself with.
pub(super) async fn host_keys(endpoint: Endpoint, protocol: Protocol) -> Result<Vec<HostKey>, String> {
    if protocol == Protocol::Postgres {
        let pin = postgres::look(&endpoint).await?;
        return Ok(vec![HostKey { fingerprint: pin.clone(), line: pin }]);
    }
    let lines = ssh::scan_host_keys(&endpoint).await.map_err(|error| error.to_string())?;
    Ok(lines.into_iter().map(host_key).collect())
}

/// A login in three steps, up to the one that failed.
fn steps(target: &Target, login: &Login, outcome: Result<(), ConnectError>) -> Vec<Step> {
    let reached = format!("{} answers", target.endpoint);
    let trusted = "its host key is the trusted one".to_owned();
    let entered = format!("{login} is let in with a certificate of the user CA");
    let failed_at = match &outcome {
        Ok(()) => 3,
        Err(ConnectError::Dial(_) | ConnectError::NoDescriptor | ConnectError::Removed) => 0,
        Err(ConnectError::HostKey(_) | ConnectError::Wire(_)) => 1,
        Err(ConnectError::Mint(_) | ConnectError::Over | ConnectError::Refused) => 2,
    };
    let error = outcome.err().map_or_else(String::new, |error| error.to_string());
    let names = [("reach", reached), ("host key", trusted), ("log in", entered)];
    let step = |(at, (name, good)): (usize, (&str, String))| Step {
        name: name.to_owned(),
        ok: at < failed_at,
        detail: if at < failed_at { good } else { error.clone() },
    };
    names.into_iter().enumerate().take(failed_at + 1).map(step).collect()
}

fn host_key(line: String) -> HostKey {
    let fingerprint = PublicKey::from_openssh(&line)
        .map_or_else(|_| String::new(), |key| key.fingerprint(HashAlg::Sha256).to_string());
    HostKey { line, fingerprint }
}
