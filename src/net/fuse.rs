//! The fuse of a session: a second handle on each of its sockets, through which it is cut.
//!
//! Asking a protocol library to disconnect waits for whatever it is doing, and a library that waits for a peer that
//! has stopped reading waits for ever. The kernel does not: `connect(AF_UNSPEC)` drops a TCP connection at once, throws
//! away what is still in its send buffer and sends a reset (Linux `tcp_disconnect`).

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::net::Shutdown;

/// A handle on every socket of one session. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub struct Fuse {
    held: Arc<Mutex<Sockets>>,
}

#[derive(Debug, Default)]
struct Sockets {
    is_blown: bool,
    held: Vec<OwnedFd>,
}

/// The fuse has blown: the session is over and takes no more sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the session is over")]
pub struct Blown;

impl Fuse {
    /// Holds a socket from now on. A socket that comes too late is cut at once.
    ///
    /// # Errors
    /// [`Blown`] when the fuse has blown already, or when the process has no descriptor left to hold it with.
    pub fn hold(&self, socket: impl AsFd) -> Result<(), Blown> {
        let Ok(handle) = socket.as_fd().try_clone_to_owned() else {
            reset(socket.as_fd());
            return Err(Blown);
        };
        let mut sockets = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if sockets.is_blown {
            drop(sockets);
            reset(&handle);
            return Err(Blown);
        }
        sockets.held.push(handle);
        Ok(())
    }

    /// Cuts every socket held, now: no byte is read or written on any of them after this returns.
    pub fn blow(&self) {
        let held = {
            let mut sockets = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            sockets.is_blown = true;
            std::mem::take(&mut sockets.held)
        };
        for socket in &held {
            reset(socket);
        }
    }

    /// Whether it has blown.
    #[must_use]
    pub fn is_blown(&self) -> bool {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).is_blown
    }
}

/// Drops a TCP connection with a reset; anything else is shut down in both directions.
fn reset(socket: impl AsFd) {
    if rustix::net::connect_unspec(&socket).is_err() {
        // Already disconnected by the peer, which is as cut as it gets.
        rustix::net::shutdown(socket, Shutdown::Both).ok();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (far, _) = listener.accept().await.unwrap();
        (near, far)
    }

    #[tokio::test]
    async fn a_peer_that_never_reads_is_cut_and_gets_nothing_more() {
        let (near, mut far) = pair().await;
        let fuse = Fuse::default();
        fuse.hold(&near).unwrap();
        let (mut near_read, mut near_write) = near.into_split();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move {
            let block = vec![7_u8; 1 << 20];
            let mut sent = 0_usize;
            while let Ok(n) = near_write.write(&block).await {
                sent += n;
            }
            sent
        });
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(tasks.try_join_next().is_none(), "the writer waits for a peer that does not read");
        fuse.blow();
        let sent =
            tokio::time::timeout(Duration::from_secs(5), tasks.join_next()).await.unwrap().unwrap().unwrap();
        let mut buffer = [0_u8; 16];
        let near_end =
            tokio::time::timeout(Duration::from_secs(5), near_read.read(&mut buffer)).await.unwrap();
        assert!(matches!(near_end, Err(_) | Ok(0)));
        let mut received = Vec::new();
        let far_end =
            tokio::time::timeout(Duration::from_secs(5), far.read_to_end(&mut received)).await.unwrap();
        assert!(far_end.is_err(), "the far end sees a reset, not a clean end");
        assert!(received.len() < sent, "what was still in the send buffer was thrown away");
    }

    #[tokio::test]
    async fn a_socket_that_comes_too_late_is_cut_at_once() {
        let (near, mut far) = pair().await;
        let fuse = Fuse::default();
        fuse.blow();
        assert_eq!(fuse.hold(&near), Err(Blown));
        let mut buffer = [0_u8; 1];
        let end = tokio::time::timeout(Duration::from_secs(5), far.read(&mut buffer)).await.unwrap();
        assert!(matches!(end, Err(_) | Ok(0)));
    }
}
