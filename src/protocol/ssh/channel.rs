//! One channel of a session: a target connection of its own and two pumps that never wait for each other.
//!
//! Input: the client's loop pushes to [`Inbound`]; `submit` seals what has gathered and hands it to the recorder;
//! `forward` waits until it is durable and writes it to the target. Output is in `output.rs`. The target's loop may park
//! on a client that does not read, which is true back-pressure and stops nobody else; the client's loop never parks. The
//! channel's read half is dropped before the channel is confirmed, because the library would otherwise feed it inside
//! the client's loop.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use russh::server::{ChannelOpenHandle, Handle, Msg};
use russh::{Channel, ChannelId, ChannelOpenFailure, ChannelWriteHalf, client};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::inbound::{Inbound, Item, Request};
use super::observe::Observer;
use super::output::output;
use super::pulse;
use super::target_side::TargetConnection;
use crate::model::EndReason;
use crate::net::{Busy, Traffic};
use crate::recording::event::{Body, Direction};
use crate::session::adapter::{ConnectError, Over, Tap, Way};
use crate::session::relay::Position;

/// Batches sealed and not yet forwarded, per channel.
const IN_FLIGHT: usize = 8;
/// How long a target may take to close a channel that the client has closed, once it has taken everything.
const TO_CLOSE: Duration = Duration::from_secs(10);
/// How long nothing may move either way on a channel that the client has closed, before everything it sent was taken.
const TO_TAKE: Duration = Duration::from_secs(20);
/// How long targets may take in all for what a client sent that has closed the channel, or has left: one that goes on
/// talking and takes nothing moves something for ever.
pub(super) const DELIVERY: Duration = Duration::from_secs(300);

/// What a channel is for.
pub(super) enum Kind {
    Forward { host: String, port: u16, origin: String },
    Session,
}

/// A channel that a client has asked for and that was allowed.
pub(super) struct Opening {
    pub(super) tap: Tap,
    pub(super) number: u32,
    pub(super) kind: Kind,
    pub(super) inbound: Arc<Inbound>,
    pub(super) confirmed: Arc<AtomicBool>,
    pub(super) targets: Arc<Targets>,
    pub(super) handle: Handle,
    /// What goes to and comes from the client.
    pub(super) traffic: Traffic,
    /// Marked while nobody takes what the target sends, which its loop may be waiting for.
    pub(super) delivering: Busy,
}

/// Target connections: the one made at login waits for the first channel, every other is made when it is wanted.
#[derive(Default)]
pub(super) struct Targets {
    first: Mutex<Option<TargetConnection>>,
}

impl Targets {
    /// Keeps the connection made at login.
    pub(super) fn keep(&self, connection: TargetConnection) {
        *self.first.lock().unwrap_or_else(PoisonError::into_inner) = Some(connection);
    }

    async fn next(&self, way: &Way) -> Result<TargetConnection, ConnectError> {
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner).take();
        match first.filter(TargetConnection::is_open) {
            Some(connection) => Ok(connection),
            None => TargetConnection::open(way).await,
        }
    }
}

/// The tasks of one connection's channels. They belong to the adapter, so that a client that is gone does not take them
/// with it before they have recorded how its transfers ended.
#[derive(Default)]
pub(super) struct Tasks {
    running: Mutex<JoinSet<()>>,
    begun: AtomicU64,
}

/// What a carrier is used for, as far as can be seen at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Use {
    pub(super) running: usize,
    /// How many have begun in all: what began and ended between two looks shows here alone.
    pub(super) begun: u64,
}

impl Tasks {
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut running = self.running();
        while running.try_join_next().is_some() {}
        running.spawn(task);
        self.begun.fetch_add(1, Ordering::Relaxed);
    }

    /// How many run.
    pub(super) fn count(&self) -> usize {
        let mut running = self.running();
        while running.try_join_next().is_some() {}
        running.len()
    }

    /// How many run, and how many have begun.
    pub(super) fn use_so_far(&self) -> Use {
        Use { running: self.count(), begun: self.begun.load(Ordering::Relaxed) }
    }

    /// Waits for those that run. Dropping the future ends them.
    pub(super) async fn finish(&self) {
        let mut running = std::mem::take(&mut *self.running());
        while running.join_next().await.is_some() {}
    }

    fn running(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves one channel from its opening to its end.
pub(super) async fn serve(opening: Opening, channel: Channel<Msg>, reply: ChannelOpenHandle) {
    run(&opening, channel, reply).await;
    // From here on the channel no longer counts, whether or not the client ever says that it has closed its side.
    opening.inbound.discard();
}

async fn run(opening: &Opening, channel: Channel<Msg>, reply: ChannelOpenHandle) {
    match open(opening).await {
        Ok((connection, target)) => {
            let (unused, client) = channel.split();
            drop(unused);
            opening.confirmed.store(true, Ordering::Release);
            reply.accept().await;
            let pumped = pump(opening, &connection, target, &client).await;
            connection.report_rest();
            drop(connection);
            // `Over` means that the session was cut, and why is already on record. A client whose channel is closed
            // hangs up before it hears that.
            if pumped.is_ok() {
                client.close().await.ok();
            }
        }
        Err(words) => {
            opening.tap.refused(opening.number, "channel", &words);
            reply.reject(ChannelOpenFailure::Other { code: 2, reason: words }).await;
        }
    }
}

type TargetChannel = Channel<client::Msg>;

async fn open(opening: &Opening) -> Result<(TargetConnection, TargetChannel), String> {
    let connection = opening.targets.next(opening.tap.way()).await.map_err(|error| error.to_string())?;
    connection.report_to(&opening.tap, opening.number);
    let (opened, body) = match &opening.kind {
        Kind::Session => (connection.session().await, None),
        Kind::Forward { host, port, origin } => {
            let body = Body::Forward { host: host.clone(), port: *port, origin: origin.clone() };
            (connection.forward(host, *port).await, Some(body))
        }
    };
    let channel = opened.map_err(|error| format!("the target refused the channel: {error}"))?;
    let kind = match opening.kind {
        Kind::Forward { .. } => "direct-tcpip",
        Kind::Session => "session",
    };
    let events = [Body::ChannelOpened { kind: kind.to_owned() }].into_iter().chain(body);
    opening.tap.submit(opening.number, events.collect()).map_err(|Over| Over.to_string())?;
    Ok((connection, channel))
}

/// Runs both pumps until the channel is over on both sides.
async fn pump(
    opening: &Opening,
    connection: &TargetConnection,
    target: TargetChannel,
    client: &ChannelWriteHalf<Msg>,
) -> Result<(), Over> {
    let (mut from_target, to_target) = target.split();
    let observer = Mutex::new(Observer::default());
    let output = output(opening, &mut from_target, client, &observer);
    tokio::pin!(output);
    tokio::select! {
        done = &mut output => done?,
        done = input(opening, &to_target, &observer) => {
            done?;
            // The client has closed the channel: the target gets to say its last words, which nobody hears but the
            // recording.
            to_target.close().await.ok();
            tokio::time::timeout(TO_CLOSE, output).await.unwrap_or(Ok(()))?;
        }
        reason = stalled(opening, connection, to_target.id(), client.id()) => {
            opening.tap.end(reason);
            return Err(Over);
        }
        () = overdue(&opening.inbound, connection.traffic()) => {
            to_target.close().await.ok();
        }
    }
    let left = lock(&observer).finish();
    opening.tap.submit(opening.number, left.into_iter().chain([Body::ChannelClosed]).collect())?;
    Ok(())
}

/// One side has begun a key exchange and does not finish it; says which.
async fn stalled(
    opening: &Opening,
    connection: &TargetConnection,
    target: ChannelId,
    client: ChannelId,
) -> EndReason {
    let to_client = |piece| async { drop(opening.handle.data(client, piece).await) };
    let to_target = |piece| connection.take(target, piece);
    tokio::select! {
        () = pulse::stopped(
            to_client,
            || opening.traffic.is_waiting(),
            || opening.traffic.moved(),
        ) => EndReason::ClientStalled,
        // Both are looked at each time: the mark of either is spent by looking.
        () = pulse::stopped(
            to_target,
            || connection.traffic().is_waiting() | opening.delivering.lately(),
            || connection.traffic().moved(),
        ) => EndReason::TargetStalled,
    }
}

/// The client has closed the channel, and what it sent before is not taken in time.
async fn overdue(inbound: &Inbound, traffic: &Traffic) {
    inbound.closed().await;
    let stands_still = async {
        let mut seen = None;
        loop {
            let now = Some(traffic.moved());
            if std::mem::replace(&mut seen, now) == now {
                return;
            }
            tokio::time::sleep(TO_TAKE).await;
        }
    };
    tokio::time::timeout(DELIVERY, stands_still).await.ok();
}

/// Ends the session when what runs in the channel can no longer be followed and has to be.
pub(super) fn end_if_violated(opening: &Opening, observer: &Mutex<Observer>) -> Result<(), Over> {
    match lock(observer).violated() {
        Some(reason) => {
            opening.tap.end(reason);
            Err(Over)
        }
        None => Ok(()),
    }
}

pub(super) fn lock(observer: &Mutex<Observer>) -> MutexGuard<'_, Observer> {
    observer.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn input(
    opening: &Opening,
    target: &ChannelWriteHalf<client::Msg>,
    observer: &Mutex<Observer>,
) -> Result<(), Over> {
    let (sealed, forwards) = mpsc::channel(IN_FLIGHT);
    let (submitted, forwarded) =
        tokio::join!(submit(opening, sealed, observer), forward(opening, forwards, target));
    submitted.and(forwarded)
}

async fn submit(
    opening: &Opening,
    sealed: mpsc::Sender<(Position, Vec<Item>)>,
    observer: &Mutex<Observer>,
) -> Result<(), Over> {
    loop {
        let items = opening.inbound.take().await;
        if items.is_empty() {
            return Ok(());
        }
        let events = items.iter().flat_map(|item| input_events(item, observer)).collect();
        let position = opening.tap.submit(opening.number, events)?;
        end_if_violated(opening, observer)?;
        if sealed.send((position, items)).await.is_err() {
            return Ok(());
        }
    }
}

fn input_events(item: &Item, observer: &Mutex<Observer>) -> Vec<Body> {
    match item {
        Item::Data(data, _) => {
            let files = lock(observer).input(data);
            [Body::Input { data: data.clone() }].into_iter().chain(files).collect()
        }
        Item::Eof => vec![Body::Closed { direction: Direction::Input }],
        Item::Request(request) => vec![request_event(request, observer)],
    }
}

fn request_event(request: &Request, observer: &Mutex<Observer>) -> Body {
    match request {
        Request::Environment { name, value } => {
            Body::Environment { name: name.clone(), value: value.clone() }
        }
        Request::Exec { command } => {
            lock(observer).exec(command);
            Body::Exec { command: command.clone() }
        }
        Request::Resize { columns, rows } => Body::Resize { columns: *columns, rows: *rows },
        Request::Sftp => {
            lock(observer).sftp();
            Body::Subsystem { name: "sftp".to_owned() }
        }
        Request::Shell => Body::Shell,
        Request::Signal(signal) => Body::Signal { name: signal.name().to_owned() },
        Request::Terminal { term, columns, rows, modes } => Body::Terminal {
            columns: *columns,
            rows: *rows,
            term: term.clone(),
            modes: modes.iter().map(|(mode, value)| (*mode as u8, *value)).collect(),
        },
    }
}

async fn forward(
    opening: &Opening,
    mut sealed: mpsc::Receiver<(Position, Vec<Item>)>,
    target: &ChannelWriteHalf<client::Msg>,
) -> Result<(), Over> {
    while let Some((position, items)) = sealed.recv().await {
        opening.tap.durable(position).await?;
        for item in items {
            let sent = match &item {
                Item::Data(data, _) => target.data_bytes(data.clone()).await,
                Item::Eof => target.eof().await,
                Item::Request(request) => send_request(request, target).await,
            };
            if sent.is_err() {
                // The target is gone. The other pump says so, when its last words have been heard.
                opening.inbound.discard();
                opening.inbound.closed().await;
                return Ok(());
            }
        }
    }
    Ok(())
}

async fn send_request(request: &Request, target: &ChannelWriteHalf<client::Msg>) -> Result<(), russh::Error> {
    match request {
        Request::Environment { name, value } => target.set_env(false, name.as_str(), value.as_str()).await,
        Request::Exec { command } => target.exec(true, command.to_vec()).await,
        Request::Resize { columns, rows } => target.window_change(*columns, *rows, 0, 0).await,
        Request::Sftp => target.request_subsystem(true, "sftp").await,
        Request::Shell => target.request_shell(true).await,
        Request::Signal(signal) => target.signal(signal.to_ssh()).await,
        Request::Terminal { term, columns, rows, modes } => {
            target.request_pty(false, term, *columns, *rows, 0, 0, modes).await
        }
    }
}
