//! Runs the relay until the right, a limit or the recorder ends it.
//!
//! The end stands *around* the relay, never inside: ending drops it, wherever it waits, and the sockets were cut before
//! that. A loop that watches for its own end while it waits for a slow peer would never look.

use std::future::Future;
use std::time::Duration;

use super::ending::Ending;
use super::gate::Gate;
use super::relay::reason_of;
use super::stage::Live;
use crate::model::EndReason;

const ASK_AGAIN: Duration = Duration::from_secs(60);
/// The longest single sleep: the machine may sleep too, and tokio's clock would not notice.
pub(super) const NAP: Duration = Duration::from_secs(30);

/// Runs `relay` under guard and says why the session ended.
pub(super) async fn run(
    gate: &Gate,
    live: &Live,
    ending: &Ending,
    relay: impl Future<Output = EndReason>,
) -> EndReason {
    let reason = tokio::select! {
        biased;
        reason = ending.wait() => return reason,
        () = live.armed.permit.over(gate) => EndReason::GrantExpired,
        () = too_long(gate) => EndReason::TooLong,
        () = idle(gate, live) => EndReason::Idle,
        reason = denied(gate, live) => reason,
        error = live.armed.recorder.failed() => reason_of(&error),
        reason = relay => if live.tap().has_target_left() { EndReason::TargetLeft } else { reason },
    };
    ending.end(reason);
    ending.wait().await
}

/// Sleeps until `after` has passed on the clock that counts while the machine sleeps.
async fn over(gate: &Gate, after: Duration) {
    let until = gate.clock.since_boot().saturating_add(after);
    loop {
        let left = until.saturating_sub(gate.clock.since_boot());
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(NAP)).await;
    }
}

async fn too_long(gate: &Gate) {
    if gate.limits().longest.is_zero() {
        std::future::pending::<()>().await;
    }
    over(gate, gate.limits().longest).await;
}

/// Asks again from time to time: a policy may speak of the time of day, which changes without an entry.
async fn denied(gate: &Gate, live: &Live) -> EndReason {
    loop {
        tokio::time::sleep(ASK_AGAIN).await;
        if let Err(no) = live.armed.permit.subject.still(gate) {
            return no.reason;
        }
    }
}

async fn idle(gate: &Gate, live: &Live) {
    let limit = gate.limits().idle;
    if limit.is_zero() {
        std::future::pending::<()>().await;
    }
    loop {
        let left = limit.saturating_sub(live.tap().idle());
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(NAP)).await;
    }
}
