//! How a server ends: first no new work, then no work at all.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};

/// How far the end of a server has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// Everything is welcome.
    Serving,
    /// No connection is accepted any more.
    Closing,
    /// Requests and tunnels may end, nothing begins.
    Draining,
    /// Whatever is left is cut: the workers end, and their connections with them.
    Cut,
}

/// Ready once the server has come to `phase`, or is no more.
pub(super) async fn reached(phases: &mut watch::Receiver<Phase>, phase: Phase) {
    let _no_more = phases.wait_for(|now| *now >= phase).await;
}

/// Ready a moment after the server began to drain: until then, what a client sent before it could know
/// is still welcome.
pub(super) async fn last_call(phases: &mut watch::Receiver<Phase>) {
    reached(phases, Phase::Draining).await;
    tokio::time::sleep(LAST_CALL).await;
}

/// What had to be cut when a server stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Requests without a complete response.
    pub cut_requests: usize,
    /// Tunnels that both sides still held open.
    pub cut_tunnels: usize,
}

/// What one worker has under way, readable from other threads.
#[derive(Clone, Debug, Default)]
pub(super) struct UnderWay {
    pub(super) requests: Count,
    pub(super) tunnels: Count,
}

impl UnderWay {
    pub(super) fn drained(&self) -> Drained {
        Drained { cut_requests: self.requests.get(), cut_tunnels: self.tunnels.get() }
    }
}

/// A number that counts living [`Counted`] values.
#[derive(Clone, Debug, Default)]
pub(super) struct Count(Arc<AtomicUsize>);

impl Count {
    pub(super) fn add_one(&self) -> Counted {
        self.0.fetch_add(1, Ordering::Relaxed);
        Counted(self.clone())
    }

    pub(super) fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts as one while it lives.
#[derive(Debug)]
pub(super) struct Counted(Count);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The connections of one worker, which the worker waits for at its end.
#[derive(Clone, Debug, Default)]
pub(super) struct Connections(Rc<(Cell<usize>, Notify)>);

impl Connections {
    pub(super) fn enter(&self) -> Present {
        self.0.0.set(self.0.0.get() + 1);
        Present(self.clone())
    }

    pub(super) async fn all_gone(&self) {
        while self.0.0.get() > 0 {
            self.0.1.notified().await;
        }
    }
}

/// A connection that is there.
#[derive(Debug)]
pub(super) struct Present(Connections);

impl Drop for Present {
    fn drop(&mut self) {
        let (count, changed) = &*self.0.0;
        count.set(count.get() - 1);
        changed.notify_one();
    }
}

/// How long connections without a request stay open when the server drains: longer than a request takes from its
/// client to us, or a client its time to send one that has just connected.
pub(super) const LAST_CALL: Duration = Duration::from_millis(500);
