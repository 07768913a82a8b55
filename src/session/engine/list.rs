//! What an administrator and a user see of the sessions there are.
//!
//! Invariants: looking at a session is no activity; sessions are found by the store's indexes, and what
//! memory knows better is taken from there.

use std::sync::Arc;

use super::inspect::UNREADABLE;
use super::{EndReason, Engine, Shared, trail::Cause};
use crate::clock::Timestamp;
use crate::identity::UserId;
use crate::session::cache::{Burial, Buried};
use crate::session::id_prefix::IdPrefix;
use crate::session::record::{Session, Untrusted};
use crate::session::store::{Entry, KeyUse, Place, StoreError};
use crate::session::token::SessionId;

/// A session in a list.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its place among all sessions.
    pub place: Place,
    /// The session, or why its record cannot be trusted.
    pub session: Result<Arc<Session>, &'static str>,
}

/// Some of the sessions there are.
#[derive(Clone, Debug)]
pub struct Page {
    /// They, in the order of their ends as stored.
    pub sessions: Vec<Listed>,
    /// Where the next page begins; nothing after the last.
    pub next: Option<Place>,
}

/// The sessions of a user, as far as they are known.
#[derive(Clone, Debug)]
pub struct OfUser {
    /// The live ones, the newest first.
    pub sessions: Vec<Arc<Session>>,
    /// Whether there may be others.
    pub others: Others,
}

/// Whether a list may lack sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// It lacks none.
    None,
    /// It holds what is in memory here: the store keeps no list, as it says itself.
    Perhaps(&'static str),
}

/// The sessions there are, in numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Live sessions.
    pub live: u64,
    /// Users who have any.
    pub users: usize,
    /// The keys that they depend on.
    pub keys: Vec<KeyUse>,
    /// Sessions in the memory of this process.
    pub cached: usize,
    /// When the oldest of the live ones began.
    pub oldest: Option<Timestamp>,
}

impl Engine {
    /// The live sessions of a user, the newest first.
    pub async fn sessions_of(&self, user: &UserId) -> Result<Vec<Arc<Session>>, StoreError> {
        self.shared.sessions_of(user).await
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
    /// [`Self::standing`] says more.
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

    /// The live sessions of a user, and whether these are all.
    pub async fn known_of(&self, user: &UserId) -> Result<OfUser, StoreError> {
        self.shared.known_of(user).await
    }

    /// The sessions whose id begins so, no more than a few. Reads the list of all sessions, unless the
    /// whole id is given; whether they live is not asked.
    pub async fn named(&self, prefix: &IdPrefix) -> Result<Vec<SessionId>, StoreError> {
        if let Some(id) = prefix.whole() {
            return Ok(vec![id]);
        }
        let mut found = Vec::new();
        let mut after = None;
        while found.len() < NAMESAKES {
            let entries = self.shared.store.by_end(after, END_OF_TIME, STEP).await?;
            let Some(last) = entries.last() else { break };
            after = Some(last.place);
            found.extend(entries.iter().map(|entry| entry.place.id).filter(|&id| prefix.begins(id)));
        }
        found.truncate(NAMESAKES);
        Ok(found)
    }

    /// The keys that live sessions depend on, after what happened until now is stored: a session whose
    /// browser has shown a cookie of a newer key does not count for the older one.
    pub async fn key_use_now(&self) -> Result<Vec<KeyUse>, StoreError> {
        self.shared.flush().await?;
        self.key_use().await
    }

    /// The sessions in numbers. Reads the list of all sessions, in steps.
    pub async fn stats(&self) -> Result<Stats, StoreError> {
        let keys = self.key_use_now().await?;
        Ok(Stats {
            live: keys.iter().map(|key| key.sessions).sum(),
            users: self.users().await?.len(),
            keys,
            cached: self.cached(),
            oldest: self.shared.oldest().await?,
        })
    }

    /// Ends every session there is, in steps, and answers how many there were. After an error some are
    /// left: ask again.
    pub async fn end_all(&self, why: EndReason) -> Result<usize, StoreError> {
        let mut count = 0_usize;
        let mut after = None;
        loop {
            let entries = self.shared.store.by_end(after, END_OF_TIME, STEP).await?;
            let Some(last) = entries.last() else { return Ok(count) };
            after = Some(last.place);
            count = count.saturating_add(self.shared.end_entries(&entries, why).await?);
            // A million lines do not fit into the queue of the trail.
            self.shared.audit.flush().await;
        }
    }
}

impl Shared {
    async fn oldest(&self) -> Result<Option<Timestamp>, StoreError> {
        let now = self.clock.now();
        let (mut oldest, mut after) = (None, None);
        loop {
            let entries = self.store.by_end(after, END_OF_TIME, STEP).await?;
            let Some(last) = entries.last() else { return Ok(oldest) };
            after = Some(last.place);
            let live = entries.iter().filter(|entry| entry.place.expires_at > now);
            let began = live.filter_map(|entry| entry.row.as_ref()).map(|row| row.created);
            oldest = oldest.into_iter().chain(began).min();
        }
    }

    async fn end_entries(&self, entries: &[Entry], why: EndReason) -> Result<usize, StoreError> {
        for entry in entries {
            let user = entry.row.as_ref().map(|row| &row.user);
            if self.cache.bury(entry.place.id, Buried::Ended) != Burial::Again {
                self.note_id(why.kind(), entry.place.id, user, why.as_str(), Cause::default());
            }
        }
        self.tell_of_an_end();
        let ids: Vec<_> = entries.iter().map(|entry| entry.place.id).collect();
        let removed = self.store.remove(ids.clone()).await?;
        self.cache.forget_all(&ids);
        Ok(removed.len())
    }

    pub(super) async fn sessions_of(&self, user: &UserId) -> Result<Vec<Arc<Session>>, StoreError> {
        self.known_of(user).await.map(|known| known.sessions)
    }

    async fn known_of(&self, user: &UserId) -> Result<OfUser, StoreError> {
        let (mut sessions, others) = match self.store.of_user(user.clone()).await {
            Ok(entries) => {
                let listed = entries.iter().filter_map(|entry| self.listed(entry).session.ok());
                (listed.collect::<Vec<_>>(), Others::None)
            }
            Err(StoreError::Unsupported(why)) => (self.cache.of_user(user), Others::Perhaps(why)),
            Err(error) => return Err(error),
        };
        let (lifetimes, now) = (self.settings.load().policy.lifetimes, self.clock.now());
        sessions.retain(|session| lifetimes.ended(session.times(), now).is_none());
        sessions.sort_by_key(|session| std::cmp::Reverse((session.created(), session.id())));
        Ok(OfUser { sessions, others })
    }

    /// The session of an entry, as memory knows it if it does.
    fn listed(&self, entry: &Entry) -> Listed {
        let id = entry.place.id;
        let opened = || match &entry.row {
            Some(row) => self.open_row(id, row).map(Arc::new).map_err(Untrusted::as_str),
            None => Err(UNREADABLE),
        };
        Listed { place: entry.place, session: self.cache.get(id).map_or_else(opened, Ok) }
    }
}

const END_OF_TIME: Timestamp = Timestamp::from_millis(i64::MAX);
/// Sessions that are read at once.
const STEP: usize = 1_000;
/// More sessions than this are not told apart by so short a beginning of their ids.
const NAMESAKES: usize = 10;
