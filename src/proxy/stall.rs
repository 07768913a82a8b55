//! A timer for "nothing has happened for so long", cheap enough to have on every request.
//!
//! Invariant: the timer is registered with the runtime once and then only moved; the clock is read
//! once per wait, and not at all while data flows.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

/// Becomes ready when nothing happened for a while.
#[derive(Debug, Default)]
pub(super) struct StallTimer {
    sleep: Option<Pin<Box<Sleep>>>,
    armed: bool,
}

impl StallTimer {
    /// Something happened: the next [`Self::poll`] begins to wait anew.
    pub(super) const fn moved(&mut self) {
        self.armed = false;
    }

    /// Ready once `limit` has passed since the first poll after something happened.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, limit: Duration) -> Poll<()> {
        let limit = limit.max(SHORTEST);
        let sleep = self.sleep.get_or_insert_with(|| {
            self.armed = true;
            Box::pin(sleep(limit))
        });
        if !self.armed {
            self.armed = true;
            sleep.as_mut().reset(deadline_after(limit));
        }
        sleep.as_mut().poll(cx)
    }
}

/// The runtime's own idea of now, plus `limit`.
fn deadline_after(limit: Duration) -> tokio::time::Instant {
    sleep(limit).deadline()
}

/// A limit of nothing would be over before anything could happen.
const SHORTEST: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::runtime::Builder;

    use super::*;

    #[test]
    fn progress_moves_the_end_of_the_wait() {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let limit = Duration::from_secs(10);
            let (mut timer, watch) = (StallTimer::default(), sleep(Duration::ZERO).deadline());
            for _ in 0..3 {
                poll_fn(|cx| Poll::Ready(timer.poll(cx, limit).is_pending())).await;
                tokio::time::advance(Duration::from_secs(9)).await;
                timer.moved();
            }
            poll_fn(|cx| timer.poll(cx, limit)).await;
            let waited = sleep(Duration::ZERO).deadline() - watch;
            assert!(waited >= Duration::from_secs(37) && waited < Duration::from_secs(38), "{waited:?}");
        });
    }
}
