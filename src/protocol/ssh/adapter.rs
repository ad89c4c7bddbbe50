//! The SSH adapter as the lifecycle sees it.
//!
//! The library runs the client's connection in a task of its own ([`ClientSide`]); this value holds the other end of
//! the login's conversation and the fuse over the socket. Dropping it does not have to stop that task: the lifecycle
//! blows the fuse, and a loop without a socket ends by itself.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use russh::Disconnect;
use russh::server::{self, RunningSession};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::carrier::{self, Carried, CarriedStream, Front, Origin};
use super::channel::{DELIVERY, Targets, Tasks};
use super::client_side::{ClientSide, Hangup, Mode};
use super::login::{self, Answer, Knock, Porch};
use super::offer;
use super::target_side::TargetConnection;
use crate::model::{EndReason, Protocol, TargetName};
use crate::net::{Fuse, PacedStream, Place, Pressure, QuickStream, Traffic, WatchedStream};
use crate::session::adapter::{Adapter, Authenticator, ConnectError, Greeted, Page, Parted, Reply, Tap, Way};

/// How long a client has to prove somebody.
const LOGIN: Duration = Duration::from_secs(60);
/// How long a client has to answer a page.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long a client has to hear why it is refused: a few round trips on a slow line.
const FAREWELL: Duration = Duration::from_secs(15);
/// How long a word inside a carrier takes to leave it.
const CARRIED_WORD: Duration = Duration::from_millis(5);

/// A connection that has arrived.
pub struct Arrival {
    stream: Stream,
    origin: Origin,
    carried_to: Option<TargetName>,
    place: Option<Place>,
}

impl Arrival {
    /// A connection from the listener.
    ///
    /// # Errors
    /// When the socket is already dead.
    pub fn direct(socket: TcpStream, address: SocketAddr, place: Place) -> io::Result<Self> {
        let held = Arc::new(socket.as_fd().try_clone_to_owned()?);
        let stream = Stream::Direct(QuickStream::new(socket)?);
        Ok(Self { stream, origin: Origin { address, socket: held }, carried_to: None, place: Some(place) })
    }

    /// A connection inside a carrier.
    #[must_use]
    pub fn carried(carried: Carried) -> Self {
        let Carried { stream, target, origin } = carried;
        Self { stream: Stream::Carried(stream), origin, carried_to: Some(target), place: None }
    }

    /// Where it comes from.
    #[must_use]
    pub const fn client(&self) -> SocketAddr {
        self.origin.address
    }

    /// Puts its socket under a fuse.
    ///
    /// # Errors
    /// When the fuse has blown.
    pub fn hold_by(&self, fuse: &Fuse) -> Result<(), crate::net::Blown> {
        match &self.stream {
            Stream::Carried(stream) => fuse.hold_carrier(Arc::clone(&self.origin.socket), stream.leave()),
            Stream::Direct(_) => fuse.hold_client(&*self.origin.socket),
        }
    }
}

/// One SSH connection's adapter.
pub struct SshAdapter {
    arrival: Option<Arrival>,
    front: Arc<dyn Front>,
    targets: Arc<Targets>,
    tasks: Arc<Tasks>,
    porch: Option<Porch>,
    running: Option<RunningSession<ClientSide>>,
    place: Option<Place>,
    client: SocketAddr,
    is_carried: bool,
}

impl SshAdapter {
    /// An adapter for a connection that has arrived.
    #[must_use]
    pub fn new(arrival: Arrival, front: Arc<dyn Front>) -> Self {
        Self {
            client: arrival.client(),
            is_carried: arrival.carried_to.is_some(),
            arrival: Some(arrival),
            front,
            targets: Arc::default(),
            tasks: Arc::default(),
            porch: None,
            running: None,
            place: None,
        }
    }

    /// Starts the library on the connection.
    async fn start(&mut self, desk: &Authenticator) -> Result<(), Parted> {
        let Some(arrival) = self.arrival.take() else { return Err(Parted::Left) };
        let config = self.config(arrival.carried_to.as_ref()).ok_or(Parted::Left)?;
        let (doorbell, porch) = login::pair();
        let (pressure, traffic) = (Pressure::default(), Traffic::default());
        let side = ClientSide {
            desk: desk.clone(),
            front: Arc::clone(&self.front),
            client: arrival.origin,
            carried_to: arrival.carried_to,
            doorbell,
            pressure: pressure.clone(),
            traffic: traffic.clone(),
            targets: Arc::clone(&self.targets),
            mode: Mode::Login,
            channels: HashMap::new(),
            openings: 0,
            refusals: 0,
            tasks: Arc::clone(&self.tasks),
        };
        self.porch = Some(porch);
        self.place = arrival.place;
        let stream = WatchedStream::new(PacedStream::new(arrival.stream, pressure), traffic);
        let running = server::run_stream(config, stream, side).await.map_err(|_: Hangup| Parted::Left)?;
        self.running = Some(running);
        Ok(())
    }

    fn config(&self, carried_to: Option<&TargetName>) -> Option<Arc<server::Config>> {
        let certificates = match carried_to {
            Some(target) => vec![self.front.host_certificate(target)?],
            None => Vec::new(),
        };
        let keys = vec![self.front.host_key().clone()];
        Some(Arc::new(server::Config { keys, certificates, ..offer::to_clients() }))
    }

    /// The next knock, or `None` when the client is gone.
    async fn knock(&mut self) -> Option<Knock> {
        let (Some(porch), Some(running)) = (&mut self.porch, &mut self.running) else { return None };
        tokio::select! {
            biased;
            knock = porch.knocks.recv() => knock,
            // However it ended, the client is gone; the handle is spent.
            _ = &mut *running => { self.running = None; None }
        }
    }

    /// Lets a carrier carry until its client is gone, or until nothing has been inside it for long.
    async fn carry(&mut self) {
        let (tasks, client) = (Arc::clone(&self.tasks), self.client);
        tokio::select! {
            reason = self.over() => if reason != EndReason::ClientLeft {
                metrics::counter!("postern_carriers_cut_total", "reason" => reason.name()).increment(1);
                tracing::warn!(%client, ?reason, "carrier cut");
            },
            () = carrier::unused(|| tasks.use_so_far()) => {
                metrics::counter!("postern_carriers_cut_total", "reason" => EndReason::Idle.name()).increment(1);
                tracing::info!(%client, "carrier closed: it carried nothing for long");
                let words = self.part("postern: this connection carried nothing for half an hour");
                tokio::time::timeout(FAREWELL, words).await.ok();
            }
        }
    }

    async fn answer(&mut self, answer: Answer) {
        if let Some(porch) = &self.porch {
            // A client that is gone needs no answer.
            porch.answers.send(answer).await.ok();
        }
    }

    /// Waits until the connection is over; says why, as far as the library knows.
    async fn over(&mut self) -> EndReason {
        match &mut self.running {
            Some(running) => {
                let ended = running.await;
                self.running = None;
                ended.map_or_else(|hangup| hangup.reason(), |()| EndReason::ClientLeft)
            }
            None => EndReason::ClientLeft,
        }
    }
}

impl Adapter for SshAdapter {
    fn protocol(&self) -> Protocol {
        Protocol::Ssh
    }

    async fn greet(&mut self, desk: &Authenticator) -> Result<Greeted, Parted> {
        let opening = async {
            self.start(desk).await?;
            self.knock().await.ok_or(Parted::Rejected)
        };
        let knock = tokio::time::timeout(LOGIN, opening).await.map_err(|_| Parted::Left)??;
        self.place = None;
        match knock {
            Knock::Proved(greeted) => Ok(*greeted),
            Knock::Carrier => {
                self.carry().await;
                Err(Parted::Carried)
            }
            Knock::Reply(_) => Err(Parted::Left),
        }
    }

    async fn converse(&mut self, page: Page) -> Reply {
        self.answer(Answer::Converse(page)).await;
        match tokio::time::timeout(PATIENCE, self.knock()).await {
            Ok(Some(Knock::Reply(reply))) => reply,
            Ok(Some(Knock::Carrier | Knock::Proved(_)) | None) | Err(_) => Reply::Nobody,
        }
    }

    async fn refuse(&mut self, why: &str) {
        self.answer(Answer::Refuse(why.to_owned())).await;
        // The client hears the words through its dialogue, if it has one, and hangs up.
        tokio::time::timeout(FAREWELL, self.over()).await.ok();
    }

    async fn connect(&mut self, way: &Way) -> Result<(), ConnectError> {
        self.targets.keep(TargetConnection::open(way).await?);
        Ok(())
    }

    async fn welcome(&mut self, tap: Tap) {
        self.answer(Answer::Accept(Box::new(tap))).await;
    }

    async fn relay(&mut self) -> EndReason {
        let reason = self.over().await;
        if reason == EndReason::ClientLeft {
            // What the client sent before it left reaches the target, and how its transfers ended is recorded.
            tokio::time::timeout(DELIVERY, self.tasks.finish()).await.ok();
        }
        reason
    }

    async fn part(&mut self, why: &str) {
        let Some(running) = &self.running else { return };
        // A client that is gone needs no word.
        let said =
            running.handle().disconnect(Disconnect::ByApplication, why.to_owned(), String::new()).await;
        if said.is_ok() {
            self.over().await;
        }
        if self.is_carried {
            // The word still has to get through the carrier.
            tokio::time::sleep(CARRIED_WORD).await;
        }
    }
}

/// Either way a connection can come.
enum Stream {
    Carried(CarriedStream),
    Direct(QuickStream),
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Carried(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Direct(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Carried(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Direct(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Carried(stream) => Pin::new(stream).poll_flush(cx),
            Self::Direct(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Carried(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Direct(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
