//! `postern serve`: tells the service manager when it is ready, reloads on SIGHUP, drains on SIGTERM or Ctrl-C.
//!
//! A second signal while draining stops at once: what is then left unfinished is what a crash would leave, and the next
//! start ends it. What starting and stopping are is in `node.rs`.

use std::path::Path;

use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};

use super::node::{Addresses, Node, ServeError};

/// Runs the bastion in `directory` until it is told to stop, then drains.
///
/// # Errors
/// When it cannot start: the directory is not a bastion's, is in use, or is damaged; an address is taken.
pub async fn run(directory: &Path, ready: impl FnOnce(&Addresses)) -> Result<(), ServeError> {
    let mut hangup = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let node = Node::start(directory).await?;
    ready(node.addresses());
    tell(&[NotifyState::Ready]);
    loop {
        tokio::select! {
            _ = hangup.recv() => {
                tell_reloading();
                match node.reload().await {
                    Ok(waiting) if waiting.is_empty() => tracing::info!("reloaded"),
                    Ok(waiting) => tracing::warn!(
                        waiting = waiting.join(", "),
                        "reloaded, but part of the configuration is only in force after a restart"
                    ),
                    Err(error) => tracing::error!(%error, "not reloaded: what was in force stays in force"),
                }
                tell(&[NotifyState::Ready]);
            }
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    tell(&[NotifyState::Stopping]);
    tracing::info!(sessions = node.live(), "draining");
    let drained = tokio::select! {
        () = node.stop() => true,
        _ = terminate.recv() => false,
        _ = interrupt.recv() => false,
    };
    if !drained {
        tracing::warn!("stopped again while draining: what was left is ended on the next start");
    }
    Ok(())
}

/// A service manager waits for the time of the reload, and then for another readiness (`Type=notify-reload`).
fn tell_reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
}

fn tell(states: &[NotifyState<'_>]) {
    // Without a service manager there is nobody to tell.
    sd_notify::notify(states).ok();
}
