//! Sessions in this process, gone at restart.
//!
//! Invariant: it holds no more than [`LIMIT`] sessions, and its indexes agree with its rows.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Bound;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::clock::Timestamp;
use crate::identity::UserId;

use super::{Answer, Entry, KeyUse, Place, Row, SessionStore, StoreError, Touch};
use crate::session::keyring::KeyId;
use crate::session::token::SessionId;

/// A store for one process that may forget.
pub(crate) struct MemoryStore {
    limit: usize,
    tables: Mutex<Tables>,
    closed: AtomicBool,
}

impl MemoryStore {
    pub(crate) fn new() -> Self {
        Self::with_limit(LIMIT)
    }

    pub(crate) fn with_limit(limit: usize) -> Self {
        Self { limit, tables: Mutex::default(), closed: AtomicBool::new(false) }
    }

    fn answer<'a, T: Send + 'a>(&self, outcome: Result<T, StoreError>) -> Answer<'a, T> {
        let closed = || Err(StoreError::Unavailable("it is closed".to_owned()));
        let outcome = if self.closed.load(Ordering::Acquire) { closed() } else { outcome };
        Box::pin(std::future::ready(outcome))
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SessionStore for MemoryStore {
    fn insert(&self, row: Row) -> Answer<'_, ()> {
        let mut tables = self.tables();
        let outcome = if tables.rows.len() >= self.limit {
            Err(StoreError::Unavailable(format!("full: it holds {} sessions", self.limit)))
        } else if tables.rows.contains_key(&row.id) {
            Err(StoreError::Unavailable("a session with this id exists".to_owned()))
        } else {
            tables.insert(row);
            Ok(())
        };
        self.answer(outcome)
    }

    fn load(&self, id: SessionId) -> Answer<'_, Option<Row>> {
        self.answer(Ok(self.tables().rows.get(&id).cloned()))
    }

    fn touch(&self, touches: Vec<Touch>) -> Answer<'_, ()> {
        let mut tables = self.tables();
        for touch in touches {
            tables.touch(touch);
        }
        self.answer(Ok(()))
    }

    fn remove(&self, ids: Vec<SessionId>) -> Answer<'_, Vec<SessionId>> {
        let mut tables = self.tables();
        self.answer(Ok(ids.into_iter().filter(|id| tables.remove(*id)).collect()))
    }

    fn of_user(&self, user: UserId) -> Answer<'_, Vec<Entry>> {
        let tables = self.tables();
        self.answer(Ok(tables.of_user(&user).into_iter().filter_map(|id| tables.entry(id)).collect()))
    }

    fn remove_user(&self, user: UserId) -> Answer<'_, Vec<SessionId>> {
        let mut tables = self.tables();
        let ids = tables.of_user(&user);
        for id in &ids {
            tables.remove(*id);
        }
        self.answer(Ok(ids))
    }

    fn users(&self, at: Timestamp) -> Answer<'_, Vec<UserId>> {
        let tables = self.tables();
        let users: BTreeSet<UserId> = tables.live(at).map(|row| row.user.clone()).collect();
        self.answer(Ok(users.into_iter().collect()))
    }

    fn key_use(&self, at: Timestamp) -> Answer<'_, Vec<KeyUse>> {
        let mut uses: HashMap<KeyId, KeyUse> = HashMap::new();
        for row in self.tables().live(at) {
            let none = KeyUse { key: row.key, sessions: 0, until: row.expires_at };
            let entry = uses.entry(row.key).or_insert(none);
            entry.sessions = entry.sessions.saturating_add(1);
            entry.until = entry.until.max(row.expires_at);
        }
        self.answer(Ok(uses.into_values().collect()))
    }

    fn by_end(&self, after: Option<Place>, until: Timestamp, limit: usize) -> Answer<'_, Vec<Entry>> {
        let tables = self.tables();
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let found =
            tables.ends.range((start, Bound::Unbounded)).take_while(|place| place.expires_at <= until);
        self.answer(Ok(found.take(limit).filter_map(|place| tables.entry(place.id)).collect()))
    }

    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.closed.store(true, Ordering::Release);
        Box::pin(std::future::ready(()))
    }
}

#[derive(Default)]
struct Tables {
    rows: HashMap<SessionId, Row>,
    users: HashMap<UserId, HashSet<SessionId>>,
    ends: BTreeSet<Place>,
}

impl Tables {
    fn insert(&mut self, row: Row) {
        self.users.entry(row.user.clone()).or_default().insert(row.id);
        self.ends.insert(row.place());
        self.rows.insert(row.id, row);
    }

    fn touch(&mut self, touch: Touch) {
        let Some(row) = self.rows.get_mut(&touch.id) else { return };
        if let Some(resealed) = touch.resealed {
            row.key = resealed.key;
            row.record = resealed.record;
        }
        if row.last_seen > touch.last_seen {
            return;
        }
        self.ends.remove(&row.place());
        row.last_seen = touch.last_seen;
        row.expires_at = touch.expires_at;
        self.ends.insert(row.place());
    }

    fn remove(&mut self, id: SessionId) -> bool {
        let Some(row) = self.rows.remove(&id) else { return false };
        self.ends.remove(&row.place());
        if let Some(ids) = self.users.get_mut(&row.user) {
            ids.remove(&id);
            if ids.is_empty() {
                self.users.remove(&row.user);
            }
        }
        true
    }

    fn of_user(&self, user: &UserId) -> Vec<SessionId> {
        self.users.get(user).into_iter().flatten().copied().collect()
    }

    fn entry(&self, id: SessionId) -> Option<Entry> {
        let row = self.rows.get(&id)?.clone();
        Some(Entry { place: row.place(), row: Some(row) })
    }

    fn live(&self, at: Timestamp) -> impl Iterator<Item = &Row> {
        self.rows.values().filter(move |row| row.expires_at > at)
    }
}

/// The most sessions that are kept.
const LIMIT: usize = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::store::conformance::{self, Lists};

    #[tokio::test]
    async fn it_keeps_the_contract_of_a_store() {
        conformance::check(Lists::Everything, || async { MemoryStore::new() }).await;
    }

    #[tokio::test]
    async fn a_full_store_refuses_new_sessions_and_keeps_the_old_ones() {
        let store = MemoryStore::with_limit(1);
        let (first, second) = (conformance::row(1, "alice", 10), conformance::row(2, "bob", 10));
        store.insert(first.clone()).await.unwrap();
        let refused = store.insert(second.clone()).await.unwrap_err();
        assert!(refused.to_string().contains("full"), "{refused}");
        assert_eq!(store.load(first.id).await.unwrap(), Some(first.clone()));
        store.remove(vec![first.id]).await.unwrap();
        store.insert(second).await.unwrap();
    }

    #[tokio::test]
    async fn its_indexes_forget_what_its_rows_forget() {
        let store = MemoryStore::new();
        let row = conformance::row(1, "alice", 10);
        store.insert(row.clone()).await.unwrap();
        store.remove(vec![row.id]).await.unwrap();
        let tables = store.tables();
        assert!(tables.users.is_empty() && tables.ends.is_empty() && tables.rows.is_empty());
    }
}
