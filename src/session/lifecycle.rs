//! The steps of a session in order, in one function. Start reading here.
//!
//! authenticate → permit → open recording → mint → connect → relay and record → close. *Open the recording before
//! minting*, or a full disk leaves a live credential; *append the start before connecting*, or a session could begin
//! that the ledger does not know.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use super::adapter::{Adapter, Greeted, Parted};
use super::ending::Ending;
use super::gate::Gate;
use super::last_word::MOMENT;
use super::permit::{NoPermit, Permit, Subject};
use super::registry::{Beginning, LiveSession};
use super::relay::reason_of;
use super::stage::Armed;
use super::{close, dialogue, guard};
use crate::access::Command;
use crate::credential::Lease;
use crate::ledger::entry::{Actor, SessionFacts};
use crate::model::{EndReason, Protocol, SessionId};
use crate::recording::{Recorder, RecorderError, RecordingSpec, event, parse_recipients};
use crate::store::SubmitError;

/// Why a session did not come about; told to the client, counted and logged.
struct Refused {
    reason: EndReason,
    words: String,
}

/// Takes one connection from its first byte to its last.
pub async fn run<A: Adapter>(gate: Arc<Gate>, mut adapter: A, ending: Ending, client: SocketAddr) {
    let _hang_up = HangUp(ending.clone());
    let greeted = match adapter.greet(&gate.authenticator).await {
        Ok(greeted) => greeted,
        Err(parted) => return parted_without_session(parted, client),
    };
    if let Err(refused) = open(&gate, &mut adapter, &greeted, &ending, client).await {
        tracing::info!(
            person = %greeted.who.name(), login = %greeted.login, target = %greeted.target, %client,
            reason = ?refused.reason, "session refused"
        );
        metrics::counter!("postern_sessions_refused_total").increment(1);
        adapter.refuse(&refused.words).await;
    }
}

/// What a client hears whose session is over.
fn parting(reason: EndReason) -> String {
    format!("postern: the session is over: {}", reason.sentence())
}

/// Nothing outlives its lifecycle: not a client that never said who it is, nor a session whose task broke. Dropping an
/// adapter does not end what its library runs in a task of its own; a dead socket does.
struct HangUp(Ending);

impl Drop for HangUp {
    fn drop(&mut self) {
        self.0.hang_up();
    }
}

/// Everything between a proven person and the end of their session.
async fn open<A: Adapter>(
    gate: &Arc<Gate>,
    adapter: &mut A,
    greeted: &Greeted,
    ending: &Ending,
    client: SocketAddr,
) -> Result<(), Refused> {
    is_vouched_for(gate)?;
    speaks(gate, adapter.protocol(), greeted)?;
    let session = SessionId::random().map_err(|_| Refused::new(EndReason::MintFailed))?;
    let permit = permit(gate, adapter, &session, greeted, ending, client).await?;
    // Again: somebody may have been in the dialogue meanwhile.
    is_vouched_for(gate)?;
    let armed = match gate.registry.begin() {
        Some(beginning) => arm(gate, adapter.protocol(), permit, ending, client, beginning).await?,
        None => return Err(Refused::new(EndReason::Drained)),
    };
    let way = armed.way(gate, ending);
    let connected = tokio::select! {
        biased;
        reason = ending.wait() => {
            if ending.has_last_word() {
                tokio::time::timeout(MOMENT, adapter.refuse(&parting(reason))).await.ok();
            }
            close::close(gate, armed, ending.sever()).await;
            return Ok(());
        }
        connected = adapter.connect(&way) => connected,
    };
    if let Err(error) = connected {
        ending.refuse(error.reason());
        let ended = ending.sever();
        close::close(gate, armed, ended).await;
        return Err(Refused { reason: ended.reason, words: format!("postern: {error}") });
    }
    let live = armed.go_live(gate, ending);
    // Before the client can open a channel: what that takes up of other grants shortens this.
    live.armed.permit.begin(gate);
    adapter.welcome(live.tap().clone()).await;
    tracing::info!(%session, person = %greeted.who.name(), target = %greeted.target, "session started");
    let reason = guard::run(gate, &live, ending, adapter.relay()).await;
    if ending.has_last_word() {
        tokio::time::timeout(MOMENT, adapter.part(&parting(reason))).await.ok();
    }
    let ended = ending.sever();
    tracing::info!(%session, ?reason, "session ended");
    close::close(gate, live.armed, ended).await;
    Ok(())
}

/// Nothing begins on a ledger that its witnesses do not know as it is.
fn is_vouched_for(gate: &Gate) -> Result<(), Refused> {
    let refusal = |why| Refused {
        reason: EndReason::LedgerUnwitnessed,
        words: format!("postern: no session begins now: {why}; tell an administrator"),
    };
    gate.witnesses.refusal().map_or(Ok(()), |why| Err(refusal(why)))
}

/// A target is reached by its own protocol only.
fn speaks(gate: &Gate, protocol: Protocol, greeted: &Greeted) -> Result<(), Refused> {
    let theirs = gate.store.read(|state| state.target(&greeted.target).map(|target| target.protocol));
    match theirs {
        Some(theirs) if theirs != protocol => Err(Refused {
            reason: EndReason::TargetUnreachable,
            words: format!("postern: {} is no {protocol} target, it speaks {theirs}", greeted.target),
        }),
        Some(_) | None => Ok(()),
    }
}

/// A permit from a live grant, or from one that the dialogue brings about.
async fn permit<A: Adapter>(
    gate: &Arc<Gate>,
    adapter: &mut A,
    session: &SessionId,
    greeted: &Greeted,
    ending: &Ending,
    client: SocketAddr,
) -> Result<Permit, Refused> {
    let address = (&greeted.login, &greeted.target);
    let obtain = || Permit::obtain(gate, session, &greeted.who, address, client.ip(), ending);
    match obtain() {
        Err(NoPermit::NoGrant) => {
            dialogue::ask(gate, adapter, greeted, client)
                .await
                .map_err(|words| Refused { reason: EndReason::GrantRevoked, words })?;
            obtain().map_err(|no| refusal(no, greeted))
        }
        other => other.map_err(|no| refusal(no, greeted)),
    }
}

/// Recording, credential, ledger entry: after this the session exists.
async fn arm(
    gate: &Arc<Gate>,
    protocol: Protocol,
    permit: Permit,
    ending: &Ending,
    client: SocketAddr,
    beginning: Beginning,
) -> Result<Armed, Refused> {
    let subject = Arc::clone(&permit.subject);
    let recipients = gate.store.read(|state| state.node().reviewers.clone());
    let facts = recorded_facts(gate, &subject, protocol, client);
    let recorder = Arc::new(record(gate, facts, &recipients).await.map_err(|error| Refused {
        reason: reason_of(&error),
        words: format!("postern: nothing is let through unrecorded: {error}"),
    })?);
    let lease = Lease::mint(
        gate.user_authority.clone(),
        subject.session.clone(),
        subject.name.clone(),
        subject.login.clone(),
        subject.capabilities.clone(),
        gate.clock.clone(),
    );
    let lease = match lease {
        Ok(lease) => Arc::new(lease),
        Err(error) => return Err(unstarted(&recorder, EndReason::MintFailed, &error).await),
    };
    let started = SessionFacts {
        session: subject.session.clone(),
        grant: subject.grant.clone(),
        person: subject.person.clone(),
        identity: subject.identity.clone(),
        login: subject.login.clone(),
        target: subject.target.clone(),
        client: client.to_string(),
        recording: recorder.header_hash().to_string(),
        credential: lease.key_id(),
    };
    let command = Command::StartSession(Box::new(started.clone()));
    if let Err(error) = gate.store.submit(Actor::Node, command).await {
        let reason = match (&error, subject.still(gate)) {
            (SubmitError::Failed(_), _) => EndReason::LedgerFailed,
            (SubmitError::Denied(_), Err(no)) => no.reason,
            // Its right was taken away after the question, and what says so is on its way here.
            (SubmitError::Denied(_), Ok(())) => EndReason::GrantRevoked,
        };
        return Err(unstarted(&recorder, reason, &error).await);
    }
    let live = LiveSession {
        facts: started,
        ending: ending.clone(),
        recorder: Arc::clone(&recorder),
        subject: Arc::clone(&subject),
    };
    let entry = gate.registry.enter(live, beginning);
    // A reload asks those in the registry, and this one was not there a moment ago.
    if let Err(no) = subject.still(gate) {
        ending.end(no.reason);
    }
    Ok(Armed { permit, recorder, lease, entry })
}

/// A session that the ledger never knew. Its recording stays: what was opened is never thrown away, it ends.
async fn unstarted(recorder: &Recorder, reason: EndReason, error: &impl std::fmt::Display) -> Refused {
    recorder.finish(reason).await.ok();
    Refused { reason, words: format!("postern: {error}") }
}

/// Opens the recording and waits until its first chunk is on disk: before that nothing is minted.
async fn record(
    gate: &Gate,
    facts: event::SessionFacts,
    reviewers: &BTreeSet<String>,
) -> Result<Recorder, RecorderError> {
    let recipients = parse_recipients(reviewers)?;
    let recorder = Recorder::open(&gate.journal, RecordingSpec { facts, recipients })?;
    recorder.durable(recorder.opened()).await?;
    Ok(recorder)
}

fn recorded_facts(
    gate: &Gate,
    subject: &Subject,
    protocol: Protocol,
    client: SocketAddr,
) -> event::SessionFacts {
    event::SessionFacts {
        session: subject.session.clone(),
        person: subject.person.clone(),
        person_name: subject.name.clone(),
        identity: subject.identity.to_string(),
        login: subject.login.clone(),
        target: subject.target.clone(),
        protocol,
        grant: subject.grant.clone(),
        reason: subject.reason.clone(),
        client: client.to_string(),
        started: gate.clock.now(),
    }
}

impl Refused {
    fn new(reason: EndReason) -> Self {
        Self { reason, words: format!("postern: {reason}") }
    }
}

fn refusal(no: NoPermit, greeted: &Greeted) -> Refused {
    let address = format!("{}@{}", greeted.login, greeted.target);
    match no {
        NoPermit::Forged(words) => {
            tracing::warn!(%address, %words, "no grant that verifies");
            Refused {
                reason: EndReason::GrantRevoked,
                words: "postern: the grant does not verify; tell an administrator".to_owned(),
            }
        }
        NoPermit::NoGrant => Refused { reason: EndReason::GrantRevoked, words: dialogue::missing(&address) },
        NoPermit::Refused { reason, words } => {
            Refused { reason, words: format!("postern: {address}: {words}") }
        }
        NoPermit::UnknownTarget => Refused {
            reason: EndReason::TargetRevoked,
            words: format!("postern: there is no target {}; postern targets list shows them", greeted.target),
        },
    }
}

fn parted_without_session(parted: Parted, client: SocketAddr) {
    match parted {
        Parted::Carried => tracing::debug!(%client, "carrier closed"),
        Parted::Left => tracing::debug!(%client, "left before logging in"),
        Parted::Rejected => {
            metrics::counter!("postern_logins_rejected_total").increment(1);
            tracing::info!(%client, "nobody was proved");
        }
    }
}
