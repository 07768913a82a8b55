//! The removals of the last minute, to be done again after a failover.
//!
//! Redis copies writes to its replicas a moment later: a new primary may not know of a logout that the
//! old one has answered. Invariant: what is remembered is bounded, by time and in number.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::clock::Stopwatch;
use crate::session::token::SessionId;

use super::tables::Tables;

#[derive(Default)]
pub(super) struct Removals(Mutex<VecDeque<(Stopwatch, SessionId)>>);

impl Removals {
    pub(super) fn note(&self, ids: &[SessionId]) {
        let mut recent = self.recent();
        recent.extend(ids.iter().map(|id| (Stopwatch::start(), *id)));
        let surplus = recent.len().saturating_sub(LIMIT);
        recent.drain(..surplus);
    }

    /// An id that is used again is not removed any more.
    pub(super) fn forget(&self, id: SessionId) {
        self.recent().retain(|(_, removed)| *removed != id);
    }

    fn list(&self) -> Vec<SessionId> {
        self.recent().iter().map(|(_, id)| *id).collect()
    }

    fn recent(&self) -> MutexGuard<'_, VecDeque<(Stopwatch, SessionId)>> {
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while recent.front().is_some_and(|(since, _)| since.elapsed() > MEMORY) {
            recent.pop_front();
        }
        recent
    }
}

/// Repeats the removals whenever there is a new connection.
pub(super) fn repeat(tables: Arc<Tables>, removals: Arc<Removals>) -> JoinHandle<()> {
    let mut connections = tables.redis.connections();
    tokio::spawn(async move {
        while connections.changed().await.is_ok() {
            let ids = removals.list();
            if ids.is_empty() {
                continue;
            }
            match tables.remove(&ids, None).await {
                Ok(back) if back.is_empty() => {}
                Ok(back) => tracing::warn!(sessions = back.len(), "sessions removed again after a failover"),
                // The next connection brings the next attempt.
                Err(error) => tracing::debug!(%error, "removals cannot be repeated yet"),
            }
        }
    })
}

const MEMORY: Duration = Duration::from_secs(60);
const LIMIT: usize = 65_536;
