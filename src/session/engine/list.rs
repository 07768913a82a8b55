//! What an administrator and a user see of the sessions there are.
//!
//! Invariants: looking at a session is no activity; sessions are found by the store's indexes, and what
//! memory knows better is taken from there.

use std::sync::Arc;

use super::{Engine, Shared};
use crate::clock::Timestamp;
use crate::identity::UserId;
use crate::session::record::Session;
use crate::session::store::{Entry, Place, StoreError};
use crate::session::token::SessionId;

/// A session in a list.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its place among all sessions.
    pub place: Place,
    /// The session; nothing if its record cannot be trusted.
    pub session: Option<Arc<Session>>,
}

/// Some of the sessions there are.
#[derive(Clone, Debug)]
pub struct Page {
    /// They, in the order of their ends as stored.
    pub sessions: Vec<Listed>,
    /// Where the next page begins; nothing after the last.
    pub next: Option<Place>,
}

impl Engine {
    /// The live sessions of a user, the newest first.
    pub async fn sessions_of(&self, user: &UserId) -> Result<Vec<Arc<Session>>, StoreError> {
        self.shared.sessions_of(user).await
    }

    /// The same, where the store can tell; nothing where it cannot, since memory alone may leave some out.
    pub async fn all_sessions_of(&self, user: &UserId) -> Result<Option<Vec<Arc<Session>>>, StoreError> {
        match self.shared.stored_sessions_of(user).await {
            Ok(sessions) => Ok(Some(sessions)),
            Err(StoreError::Unsupported(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All stored sessions behind `after`, at most `limit` of them; expired ones that are not swept yet
    /// are among them.
    pub async fn page(&self, after: Option<Place>, limit: usize) -> Result<Page, StoreError> {
        let entries = self.shared.store.by_end(after, END_OF_TIME, limit).await?;
        let next = entries.last().map(|entry| entry.place);
        let sessions = entries.iter().map(|entry| self.shared.listed(entry)).collect();
        Ok(Page { sessions, next })
    }

    /// The session with this id, live or not; nothing if there is none or it cannot be trusted.
    pub async fn look(&self, id: SessionId) -> Result<Option<Arc<Session>>, StoreError> {
        if let Some(session) = self.shared.cache.get(id) {
            return Ok(Some(session));
        }
        let ring = self.ring();
        Ok(match self.shared.store.load(id).await {
            Ok(row) => row.and_then(|row| Session::open(&row, &ring).ok()).map(Arc::new),
            Err(StoreError::Corrupt(_)) => None,
            Err(error) => return Err(error),
        })
    }
}

impl Shared {
    pub(super) async fn sessions_of(&self, user: &UserId) -> Result<Vec<Arc<Session>>, StoreError> {
        match self.stored_sessions_of(user).await {
            Err(StoreError::Unsupported(_)) => Ok(self.live(self.cache.of_user(user))),
            answer => answer,
        }
    }

    async fn stored_sessions_of(&self, user: &UserId) -> Result<Vec<Arc<Session>>, StoreError> {
        let entries = self.store.of_user(user.clone()).await?;
        Ok(self.live(entries.iter().filter_map(|entry| self.listed(entry).session).collect()))
    }

    /// Those that have not reached a limit, the newest first.
    fn live(&self, mut sessions: Vec<Arc<Session>>) -> Vec<Arc<Session>> {
        let (lifetimes, now) = (self.settings.load().policy.lifetimes, self.clock.now());
        sessions.retain(|session| lifetimes.ended(session.times(), now).is_none());
        sessions.sort_by_key(|session| std::cmp::Reverse((session.created(), session.id())));
        sessions
    }

    /// The session of an entry, as memory knows it if it does.
    fn listed(&self, entry: &Entry) -> Listed {
        let opened = || {
            let row = entry.row.as_ref().filter(|row| row.id == entry.place.id)?;
            Session::open(row, &self.settings.load().ring).map(Arc::new).ok()
        };
        Listed { place: entry.place, session: self.cache.get(entry.place.id).or_else(opened) }
    }
}

const END_OF_TIME: Timestamp = Timestamp::from_millis(i64::MAX);
