//! The SSH server that the client sees: who is in, what may be asked, and the table of channels.
//!
//! Nothing but the login is reachable before the lifecycle has answered ([`Mode`]), and a channel that was not confirmed
//! by us takes nothing, whatever the library lets through (GHSA-47hw, CVE-2026-68930). What the library calls is in
//! `callbacks.rs`; no bytes are moved here.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use russh::server::{Auth, ChannelOpenHandle, Handle, Msg, Session};
use russh::{Channel, ChannelId, ChannelOpenFailure};

use super::carrier::{self, CARRIERS, Counted, Flooded, Front};
use super::channel::{self, Kind, Opening, Targets, Tasks};
use super::inbound::{Inbound, Request};
use super::login::{Doorbell, Wanted, wanted};
use crate::model::{Action, Capability, EndReason, TargetName};
use crate::net::{Busy, Pressure, Traffic};
use crate::session::adapter::{Authenticated, Authenticator, Tap};
use crate::wire::ssh::environment::Environment;

/// Channels one connection may have open.
const CHANNELS: usize = 10;
/// Channels that are over and still remembered, because what the client sent before it knew may be on its way.
const REMEMBERED: usize = 256;
/// How often a connection may be refused something, and each of its channels beside that.
const REFUSALS: u32 = 1_000;

/// The client's side of one connection.
pub(super) struct ClientSide {
    pub(super) desk: Authenticator,
    pub(super) front: Arc<dyn Front>,
    pub(super) client: carrier::Origin,
    pub(super) carried_to: Option<TargetName>,
    pub(super) doorbell: Doorbell,
    pub(super) pressure: Pressure,
    /// What goes to and comes from the client.
    pub(super) traffic: Traffic,
    pub(super) targets: Arc<Targets>,
    pub(super) mode: Mode,
    pub(super) channels: HashMap<ChannelId, Entry>,
    pub(super) openings: u32,
    pub(super) refusals: u32,
    pub(super) tasks: Arc<Tasks>,
}

/// What may be asked of this connection.
pub(super) enum Mode {
    /// Only the login.
    Login,
    /// Only channels to registered targets, each a connection of its own.
    Carrier(#[expect(dead_code, reason = "it counts for as long as it is held")] Counted),
    /// Whatever the grant says.
    Session(Box<Tap>),
}

/// Our own table of channels, beside the library's.
pub(super) struct Entry {
    pub(super) number: u32,
    pub(super) inbound: Arc<Inbound>,
    confirmed: Arc<AtomicBool>,
    pub(super) environment: Environment,
    is_started: bool,
    refusals: u32,
}

impl Entry {
    /// Whether anything runs in it that could take bytes.
    pub(super) const fn is_started(&self) -> bool {
        self.is_started
    }

    /// Counts a refusal on this channel. A connection that lives long may have many, each refused a little.
    pub(super) fn count_refusal(&mut self, tap: &Tap) -> Result<(), Hangup> {
        self.refusals += 1;
        if self.refusals <= REFUSALS {
            return Ok(());
        }
        tap.end(EndReason::ProtocolViolated);
        Err(Hangup::Violated)
    }
}

/// The connection is over: the client broke the protocol, or the library did.
#[derive(Debug, thiserror::Error)]
pub(super) enum Hangup {
    #[error("the client sent more than is held for it")]
    Flooded,
    #[error(transparent)]
    Library(#[from] russh::Error),
    #[error("the client used a channel that was never confirmed, or was refused too much")]
    Violated,
}

impl Hangup {
    /// Why a session ends that ends like this. A connection that broke is one the client has left.
    pub(super) fn reason(&self) -> EndReason {
        use russh::Error as E;
        match self {
            Self::Flooded => EndReason::ClientFlooded,
            Self::Library(E::IO(error)) if error.get_ref().is_some_and(|inner| inner.is::<Flooded>()) => {
                EndReason::ClientFlooded
            }
            Self::Violated
            | Self::Library(
                E::DecryptionError
                | E::Inconsistent
                | E::IndexOutOfBounds
                | E::Kex
                | E::KexInit
                | E::NoCommonAlgo { .. }
                | E::PacketAuth
                | E::PacketSize(_)
                | E::Pending
                | E::SshEncoding(_)
                | E::StrictKeyExchangeViolation { .. },
            ) => EndReason::ProtocolViolated,
            Self::Library(_) => EndReason::ClientLeft,
        }
    }
}

impl ClientSide {
    pub(super) async fn knock(&mut self, user: &str, who: Authenticated) -> Auth {
        match wanted(user, self.carried_to.as_ref()) {
            Wanted::Nonsense => Auth::reject(),
            Wanted::Carrier => self.begin_carrier(user, &who).await,
            Wanted::Target(login, target) => {
                let outcome = self.doorbell.proved(user, who, login, target).await;
                self.enter(outcome)
            }
        }
    }

    async fn begin_carrier(&mut self, user: &str, who: &Authenticated) -> Auth {
        let client = self.client.address;
        let Some(counted) = self.front.carriers().count(who.person()) else {
            metrics::counter!("postern_carriers_refused_total").increment(1);
            tracing::warn!(person = %who.name(), %client, "carrier refused: this person has too many");
            let words = format!("You have {CARRIERS} jump connections open already.\n");
            return self.doorbell.farewell(user, words);
        };
        if !self.doorbell.carrier().await {
            return Auth::reject();
        }
        tracing::info!(person = %who.name(), %client, "carrier opened");
        self.mode = Mode::Carrier(counted);
        Auth::Accept
    }

    /// Ends a carrier whose client sends more than is held for it, and says so to the sessions in it.
    pub(super) fn flooded(&self) -> Hangup {
        for entry in self.channels.values() {
            entry.inbound.flood();
        }
        Hangup::Flooded
    }

    pub(super) fn enter(&mut self, outcome: Result<Box<Tap>, Auth>) -> Auth {
        match outcome {
            Ok(tap) => {
                self.mode = Mode::Session(tap);
                Auth::Accept
            }
            Err(auth) => auth,
        }
    }

    /// The confirmed channel `id`, or the end of the connection.
    pub(super) fn entry(&mut self, id: ChannelId) -> Result<(&Tap, &mut Entry), Hangup> {
        let Mode::Session(tap) = &self.mode else { return Err(Hangup::Violated) };
        match self.channels.get_mut(&id) {
            Some(entry) if entry.confirmed.load(Ordering::Acquire) => Ok((tap, entry)),
            _ => {
                tap.end(EndReason::ProtocolViolated);
                Err(Hangup::Violated)
            }
        }
    }

    /// Asks for one capability on a channel and queues the request it allows.
    pub(super) fn start(
        &mut self,
        id: ChannelId,
        wants: Capability,
        request: Request,
        session: &mut Session,
    ) -> Result<(), Hangup> {
        let (tap, entry) = self.entry(id)?;
        if entry.is_started {
            tap.refused(entry.number, &wants.to_string(), "something runs in this channel already");
        } else if tap.allows(entry.number, &Action::Use(wants)) {
            entry.is_started = true;
            return answer(entry.inbound.request(request), id, session);
        }
        entry.count_refusal(tap)?;
        answer(false, id, session)
    }

    /// Queues a request that needs no capability of its own.
    pub(super) fn pass(
        &mut self,
        id: ChannelId,
        request: Request,
        session: &mut Session,
    ) -> Result<(), Hangup> {
        let (_, entry) = self.entry(id)?;
        answer(entry.inbound.request(request), id, session)
    }

    pub(super) fn refuse(
        &mut self,
        id: ChannelId,
        what: &str,
        why: &str,
        session: &mut Session,
    ) -> Result<(), Hangup> {
        let (tap, entry) = self.entry(id)?;
        tap.refused(entry.number, what, why);
        entry.count_refusal(tap)?;
        answer(false, id, session)
    }

    /// Whether one more channel may be opened. Channels that are over are forgotten when many are remembered.
    fn has_place(&mut self) -> bool {
        if self.channels.len() >= REMEMBERED {
            self.channels.retain(|_, entry| !entry.inbound.is_closed());
        }
        let open = self.channels.values().filter(|entry| !entry.inbound.is_closed()).count();
        open < CHANNELS && self.tasks.count() < CHANNELS * 2
    }

    /// Counts a refusal that no channel is there for: each is recorded, and a client that does nothing else is hung up on.
    pub(super) fn count_refusal(&mut self) -> Result<(), Hangup> {
        self.refusals += 1;
        if self.refusals <= REFUSALS {
            return Ok(());
        }
        if let Mode::Session(tap) = &self.mode {
            tap.end(EndReason::ProtocolViolated);
        }
        Err(Hangup::Violated)
    }

    /// Refuses a channel that is not a session or a granted forward.
    pub(super) async fn turn_away(&mut self, what: &str, reply: ChannelOpenHandle) -> Result<(), Hangup> {
        self.count_refusal()?;
        if let Mode::Session(tap) = &self.mode {
            tap.refused(0, what, "not offered through this gate");
        }
        reply.reject(prohibited("not offered through this gate")).await;
        Ok(())
    }

    pub(super) async fn open(
        &mut self,
        channel: Channel<Msg>,
        kind: Kind,
        reply: ChannelOpenHandle,
        handle: Handle,
    ) -> Result<(), Hangup> {
        self.openings += 1;
        let has_place = self.has_place();
        let Mode::Session(tap) = &self.mode else { return Err(Hangup::Violated) };
        let tap = Tap::clone(tap);
        if !has_place {
            self.count_refusal()?;
            let words = "too many channels are open";
            tap.refused(0, "channel", words);
            reply.reject(no_room(words)).await;
            return Ok(());
        }
        if let Kind::Forward { host, port, .. } = &kind {
            let wants = Capability::Forward { host: host.to_ascii_lowercase(), port: *port };
            let words = format!("no grant of yours allows {wants}");
            if !tap.allows(0, &Action::Use(wants)) {
                self.count_refusal()?;
                reply.reject(prohibited(&words)).await;
                return Ok(());
            }
        }
        let inbound = Arc::new(Inbound::new(self.pressure.clone()));
        let confirmed = Arc::new(AtomicBool::new(false));
        let number = self.openings;
        let entry = Entry {
            number,
            inbound: Arc::clone(&inbound),
            confirmed: Arc::clone(&confirmed),
            environment: Environment::default(),
            // Nothing is started on a forward: it carries bytes and no requests.
            is_started: matches!(kind, Kind::Forward { .. }),
            refusals: 0,
        };
        self.channels.insert(channel.id(), entry);
        let opening = Opening {
            tap,
            number,
            kind,
            inbound,
            confirmed,
            targets: Arc::clone(&self.targets),
            handle,
            traffic: self.traffic.clone(),
            delivering: Busy::default(),
        };
        self.tasks.spawn(channel::serve(opening, channel, reply));
        Ok(())
    }

    /// A connection through a carrier: it gets a lifecycle of its own.
    pub(super) async fn carry(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        reply: ChannelOpenHandle,
    ) -> Result<(), Hangup> {
        self.openings += 1;
        let target = host.parse::<TargetName>().ok().filter(|target| self.front.knows_target(target));
        let Some(target) = target else {
            self.count_refusal()?;
            let host: String = host.chars().filter(char::is_ascii_graphic).take(64).collect();
            let words = format!("there is no target {host}; postern targets list shows them");
            reply.reject(prohibited(&words)).await;
            return Ok(());
        };
        if !self.has_place() {
            self.count_refusal()?;
            reply.reject(no_room("too many connections are open in this one")).await;
            return Ok(());
        }
        let id = channel.id();
        let (carried, inbound, pump) =
            carrier::open(channel, target, self.client.clone(), self.pressure.clone());
        if self.front.carry(carried).is_err() {
            metrics::counter!("postern_connections_refused_total").increment(1);
            reply.reject(no_room("the gate takes no more connections now")).await;
            return Ok(());
        }
        let entry = Entry {
            number: self.openings,
            inbound,
            confirmed: Arc::new(AtomicBool::new(true)),
            environment: Environment::default(),
            is_started: true,
            refusals: 0,
        };
        self.channels.insert(id, entry);
        self.tasks.spawn(pump);
        reply.accept().await;
        Ok(())
    }
}

/// A channel that may not be opened, with the words that OpenSSH shows beside it.
fn prohibited(why: &str) -> ChannelOpenFailure {
    let code = ChannelOpenFailure::AdministrativelyProhibited.code();
    ChannelOpenFailure::Other { code, reason: why.to_owned() }
}

fn no_room(why: &str) -> ChannelOpenFailure {
    ChannelOpenFailure::Other { code: ChannelOpenFailure::ResourceShortage.code(), reason: why.to_owned() }
}

fn answer(is_allowed: bool, id: ChannelId, session: &mut Session) -> Result<(), Hangup> {
    if is_allowed {
        session.channel_success(id)?
    } else {
        session.channel_failure(id)?
    }
    Ok(())
}

impl Drop for ClientSide {
    fn drop(&mut self) {
        for entry in self.channels.values() {
            entry.inbound.close();
        }
    }
}
