//! The removals of the last minute, to be done again after a failover.
//!
//! Redis copies writes to its replicas a moment later: a new primary may not know of a logout that the
//! old one has answered. Invariant: what is remembered is bounded, by time and in number.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::clock::Stopwatch;
use crate::session::token::SessionId;

use super::tables::Tables;

#[derive(Default)]
pub(super) struct Removals(Mutex<Recent>);

impl Removals {
    /// Remembers what is about to be removed: what is not answered may still be done.
    pub(super) fn note(&self, ids: &[SessionId]) {
        let mut recent = self.recent();
        for id in ids {
            recent.removed.insert(*id);
            recent.order.push_back((Stopwatch::start(), *id));
        }
        recent.drop_old();
    }

    /// An id that is used again is not removed any more.
    pub(super) fn forget(&self, id: SessionId) {
        self.recent().removed.remove(&id);
    }

    fn list(&self) -> Vec<SessionId> {
        let mut recent = self.recent();
        recent.drop_old();
        recent.removed.iter().copied().collect()
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Default)]
struct Recent {
    removed: HashSet<SessionId>,
    order: VecDeque<(Stopwatch, SessionId)>,
}

impl Recent {
    fn drop_old(&mut self) {
        let is_old = |order: &VecDeque<(Stopwatch, SessionId)>| {
            order.len() > LIMIT || order.front().is_some_and(|(since, _)| since.elapsed() > MEMORY)
        };
        while is_old(&self.order) {
            if let Some((_, id)) = self.order.pop_front() {
                self.removed.remove(&id);
            }
        }
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

const MEMORY: Duration = Duration::from_mins(1);
const LIMIT: usize = 1 << 17;
