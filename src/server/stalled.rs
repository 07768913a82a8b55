//! Ends an HTTP/2 stream whose client does not take the response, or too slowly, on a connection that is
//! otherwise well.
//!
//! The connection's own deadlines see only whether bytes can be written at all. A client that keeps the
//! window of one stream at zero, or opens it byte by byte, blocks no write, yet holds a response and a
//! backend connection. Invariants: a stream that waits for its handler or its backend is never cut here; a
//! stream that never waits for its client costs no timer and no look at the clock.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::time::{Sleep, sleep};

use super::phase::{Progress, Turn};
use crate::pace::{LeastPace, Pace};

/// Does the work of one stream; ends early, which resets the stream, if its client takes nothing for the
/// window of `least`, or less than that asks for.
pub(super) async fn patiently(stream: impl Future<Output = ()>, progress: Rc<Progress>, least: LeastPace) {
    let mut stream = pin!(stream);
    let mut waiting: Option<Pin<Box<Sleep>>> = None;
    let mut pace = Pace::default();
    poll_fn(move |context: &mut Context<'_>| {
        progress.ask_whose_turn();
        if stream.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        let turn = progress.turn();
        if turn != Turn::Unknown {
            // What it asks for next stands for what its client has taken: there was room for it.
            pace.go_on();
            pace.passed(progress.taken());
        }
        match turn {
            // It was given something to send and did not ask for more: it waits for room.
            Turn::Client => {
                pace.wait();
                waiting = Some(Box::pin(sleep(least.window())));
            }
            Turn::Server => waiting = None,
            // Woken in vain: whoever it waited for, it still waits.
            Turn::Unknown => {}
        }
        let Some(waiting) = &mut waiting else { return Poll::Pending };
        if pace.check(&least).is_ok() {
            ready!(waiting.as_mut().poll(context));
        }
        tracing::debug!("HTTP/2 stream reset: its client does not take the response");
        Poll::Ready(())
    })
    .await;
}
