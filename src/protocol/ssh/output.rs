//! From the target to the client: gathered, recorded, and sent on when it is written.
//!
//! Two halves with a few batches between them. While these are written and delivered, what the target sends meanwhile
//! gathers into the next, so batches grow with the load. No more is under way: a Ctrl-C is felt at once.

use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use russh::server::Msg;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::sync::mpsc;

use super::channel::{Kind, Opening, end_if_violated, lock};
use super::inbound::{BATCH, Signal};
use super::observe::Observer;
use crate::recording::event::{Body, Direction, Stream};
use crate::session::adapter::Over;
use crate::session::relay::Position;

/// Batches recorded and not yet delivered: enough that neither disk nor client waits for the other, and no more.
const UNDER_WAY: usize = 3;
/// Most messages in one batch, however small.
const MESSAGES: usize = 1024;
/// How long an end of output waits for the exit status that follows it. OpenSSH closes a channel once both sides have
/// ended, and the library forgets a closed channel: an exit status behind the end could come too late.
const FOR_THE_STATUS: Duration = Duration::from_millis(250);
/// SSH's number for standard error (RFC 4254 section 5.2).
const STDERR: u32 = 1;
/// What OpenSSH exits with when it could not do what was asked.
const COULD_NOT: u32 = 255;
/// The longest error message of an exit signal that is passed on, in characters.
const MESSAGE: usize = 1024;

type Batch = (Position, Vec<ChannelMsg>);

/// Carries everything the target sends on one channel, until the target is done. A client that is gone changes nothing
/// for the target: it still gets to take what that client sent, and what it says meanwhile is recorded.
pub(super) async fn output(
    opening: &Opening,
    target: &mut ChannelReadHalf,
    client: &ChannelWriteHalf<Msg>,
    observer: &Mutex<Observer>,
) -> Result<(), Over> {
    let (recorded, deliveries) = mpsc::channel(UNDER_WAY);
    let gather = gather(opening, target, observer, recorded);
    let deliver = deliver(opening, deliveries, client);
    let (is_closed, ()) = tokio::try_join!(gather, deliver)?;
    if !is_closed {
        // A target that is gone because the session was cut has not left.
        opening.tap.go_on()?;
        opening.tap.target_left();
        let words = Bytes::from_static(b"postern: the target closed the connection\r\n");
        client.extended_data_bytes(STDERR, words).await.ok();
    }
    Ok(())
}

/// Records what arrives, batch by batch; says whether the target closed the channel before it was gone.
async fn gather(
    opening: &Opening,
    target: &mut ChannelReadHalf,
    observer: &Mutex<Observer>,
    recorded: mpsc::Sender<Batch>,
) -> Result<bool, Over> {
    let is_session = matches!(opening.kind, Kind::Session);
    let mut is_closed = false;
    while let Some(first) = opening.delivering.except(target.wait()).await {
        let mut batch = vec![first];
        let mut bytes = batch.iter().map(size).sum::<usize>();
        while bytes < BATCH
            && batch.len() < MESSAGES
            && let Some(Some(next)) = target.wait().now_or_never()
        {
            bytes += size(&next);
            batch.push(next);
        }
        // Once a batch, or a target that goes on after its end could hold everything back.
        let is_end = is_session && matches!(batch.last(), Some(ChannelMsg::Eof));
        if is_end && let Ok(Some(next)) = tokio::time::timeout(FOR_THE_STATUS, target.wait()).await {
            batch.push(next);
        }
        end_after_status(&mut batch);
        is_closed |= batch.iter().any(|message| matches!(message, ChannelMsg::Close));
        let events = batch.iter().flat_map(|message| events(message, observer)).collect();
        let position = opening.tap.submit(opening.number, events)?;
        end_if_violated(opening, observer)?;
        if recorded.send((position, batch)).await.is_err() {
            return Ok(is_closed);
        }
    }
    Ok(is_closed)
}

/// Puts an end of output behind the exit status or signal that came right after it.
fn end_after_status(batch: &mut [ChannelMsg]) {
    for at in 1..batch.len() {
        let is_status = |message: &ChannelMsg| {
            matches!(message, ChannelMsg::ExitStatus { .. } | ChannelMsg::ExitSignal { .. })
        };
        let (Some(before), Some(here)) = (batch.get(at - 1), batch.get(at)) else { break };
        if matches!(before, ChannelMsg::Eof) && is_status(here) {
            batch.swap(at - 1, at);
        }
    }
}

async fn deliver(
    opening: &Opening,
    mut recorded: mpsc::Receiver<Batch>,
    client: &ChannelWriteHalf<Msg>,
) -> Result<(), Over> {
    let mut is_heard = true;
    let mut closed = std::pin::pin!(opening.inbound.closed());
    while let Some((position, batch)) = recorded.recv().await {
        opening.tap.written(position).await?;
        for message in batch {
            opening.tap.go_on()?;
            // A channel that its client has closed is given no window any more: sending on it waits for ever.
            is_heard = is_heard
                && tokio::select! {
                    biased;
                    () = &mut closed => false,
                    sent = send(opening, message, client) => sent.is_ok(),
                };
        }
    }
    Ok(())
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the library's other messages carry nothing of the session's"
)]
fn size(message: &ChannelMsg) -> usize {
    match message {
        ChannelMsg::Data { data } | ChannelMsg::ExtendedData { data, .. } => data.len(),
        _ => 0,
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the library's other messages carry nothing of the session's"
)]
fn events(message: &ChannelMsg, observer: &Mutex<Observer>) -> Vec<Body> {
    match message {
        ChannelMsg::Data { data } => {
            let files = lock(observer).output(data);
            [Body::Output { stream: Stream::Stdout, data: data.clone() }].into_iter().chain(files).collect()
        }
        ChannelMsg::ExtendedData { data, .. } => {
            vec![Body::Output { stream: Stream::Stderr, data: data.clone() }]
        }
        ChannelMsg::Eof => vec![Body::Closed { direction: Direction::Output }],
        ChannelMsg::ExitStatus { exit_status } => vec![Body::Exit { status: *exit_status }],
        ChannelMsg::ExitSignal { signal_name, core_dumped, error_message, .. } => vec![Body::ExitSignal {
            name: Signal::new(signal_name).name().to_owned(),
            core_dumped: *core_dumped,
            message: short(error_message),
        }],
        ChannelMsg::Failure => vec![Body::Refused {
            what: "the request that starts this channel".to_owned(),
            why: "the target refused it".to_owned(),
        }],
        _ => Vec::new(),
    }
}

/// Only as much of it as is in the event is passed on.
fn short(message: &str) -> String {
    message.chars().take(MESSAGE).collect()
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the library's other messages carry nothing of the session's"
)]
async fn send(
    opening: &Opening,
    message: ChannelMsg,
    client: &ChannelWriteHalf<Msg>,
) -> Result<(), russh::Error> {
    match message {
        ChannelMsg::Data { data } => client.data_bytes(data).await,
        // Whatever number the target gives its second stream, it was recorded as standard error.
        ChannelMsg::ExtendedData { data, .. } => client.extended_data_bytes(STDERR, data).await,
        ChannelMsg::Eof => client.eof().await,
        ChannelMsg::ExitStatus { exit_status } => client.exit_status(exit_status).await,
        ChannelMsg::ExitSignal { signal_name, core_dumped, error_message, .. } => {
            let (name, message) = (Signal::new(&signal_name).to_ssh(), short(&error_message));
            let sent =
                opening.handle.exit_signal_request(client.id(), name, core_dumped, message, String::new());
            sent.await.map_err(|()| russh::Error::SendError)
        }
        ChannelMsg::Failure => {
            let words = Bytes::from_static(b"postern: the target refused the request\r\n");
            client.extended_data_bytes(STDERR, words).await?;
            client.exit_status(COULD_NOT).await?;
            client.close().await
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_of_output_goes_behind_the_status_that_follows_it() {
        let status = || ChannelMsg::ExitStatus { exit_status: 3 };
        let mut batch = [ChannelMsg::Eof, status(), ChannelMsg::Close];
        end_after_status(&mut batch);
        assert!(matches!(
            batch,
            [ChannelMsg::ExitStatus { exit_status: 3 }, ChannelMsg::Eof, ChannelMsg::Close]
        ));
        let mut batch = [status(), ChannelMsg::Eof];
        end_after_status(&mut batch);
        assert!(matches!(batch, [ChannelMsg::ExitStatus { .. }, ChannelMsg::Eof]));
        end_after_status(&mut []);
    }
}
