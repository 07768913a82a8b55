//! Ends an HTTP/2 stream whose client does not take the response, on a connection that is otherwise well.
//!
//! The connection's own deadlines see only whether bytes can be written at all. A client that keeps the
//! window of one stream at zero blocks no write, yet holds a response and a backend connection.
//! Invariants: a stream that waits for its handler or its backend is never cut here; a stream that
//! never waits for its client costs no timer.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

use super::phase::{Progress, Turn};

/// Does the work of one stream; ends early, which resets the stream, if its client takes nothing for `limit`.
pub(super) async fn patiently(stream: impl Future<Output = ()>, progress: Rc<Progress>, limit: Duration) {
    let mut stream = pin!(stream);
    let mut waiting: Option<Pin<Box<Sleep>>> = None;
    poll_fn(move |context: &mut Context<'_>| {
        progress.set_turn(Turn::Unknown);
        if stream.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        match progress.turn() {
            // It was given something to send and did not ask for more: it waits for room.
            Turn::Client => waiting = Some(Box::pin(sleep(limit))),
            Turn::Server => waiting = None,
            // Woken in vain: whoever it waited for, it still waits.
            Turn::Unknown => {}
        }
        let Some(waiting) = &mut waiting else { return Poll::Pending };
        ready!(waiting.as_mut().poll(context));
        tracing::debug!("HTTP/2 stream reset: its client does not take the response");
        Poll::Ready(())
    })
    .await;
}
