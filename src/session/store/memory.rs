//! Sessions in this process, gone at restart.
//!
//! Invariant: it holds no more than [`LIMIT`] sessions, and its indexes agree with its rows.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::clock::Timestamp;
use crate::identity::UserId;

use super::{Answer, Due, Row, SessionStore, StoreError, Touch};
use crate::session::keyring::KeyId;
use crate::session::token::SessionId;

/// A store for one process that may forget.
pub(crate) struct MemoryStore {
    limit: usize,
    tables: Mutex<Tables>,
}

impl MemoryStore {
    pub(crate) fn new() -> Self {
        Self::with_limit(LIMIT)
    }

    pub(crate) fn with_limit(limit: usize) -> Self {
        Self { limit, tables: Mutex::default() }
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
        now(outcome)
    }

    fn load(&self, id: SessionId) -> Answer<'_, Option<Row>> {
        now(Ok(self.tables().rows.get(&id).cloned()))
    }

    fn touch(&self, touches: Vec<Touch>) -> Answer<'_, ()> {
        let mut tables = self.tables();
        for touch in touches {
            tables.touch(touch);
        }
        now(Ok(()))
    }

    fn remove(&self, ids: Vec<SessionId>) -> Answer<'_, usize> {
        let mut tables = self.tables();
        now(Ok(ids.into_iter().filter(|id| tables.remove(*id)).count()))
    }

    fn of_user(&self, user: UserId) -> Answer<'_, Vec<SessionId>> {
        now(Ok(self.tables().of_user(&user)))
    }

    fn remove_user(&self, user: UserId) -> Answer<'_, Vec<SessionId>> {
        let mut tables = self.tables();
        let ids = tables.of_user(&user);
        for id in &ids {
            tables.remove(*id);
        }
        now(Ok(ids))
    }

    fn users(&self, at: Timestamp) -> Answer<'_, Vec<UserId>> {
        let tables = self.tables();
        let users: BTreeSet<UserId> = tables.live(at).map(|row| row.user.clone()).collect();
        now(Ok(users.into_iter().collect()))
    }

    fn key_use(&self, at: Timestamp) -> Answer<'_, Vec<(KeyId, u64)>> {
        let mut uses: HashMap<KeyId, u64> = HashMap::new();
        for row in self.tables().live(at) {
            let count = uses.entry(row.key).or_default();
            *count = count.saturating_add(1);
        }
        now(Ok(uses.into_iter().collect()))
    }

    fn expired(&self, until: Timestamp, limit: usize) -> Answer<'_, Vec<Due>> {
        let tables = self.tables();
        let due = tables.ends.iter().take_while(|(end, _)| *end <= until).take(limit);
        now(Ok(due.map(|&(_, id)| Due { id, row: tables.rows.get(&id).cloned() }).collect()))
    }

    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::ready(()))
    }
}

#[derive(Default)]
struct Tables {
    rows: HashMap<SessionId, Row>,
    users: HashMap<UserId, HashSet<SessionId>>,
    ends: BTreeSet<(Timestamp, SessionId)>,
}

impl Tables {
    fn insert(&mut self, row: Row) {
        self.users.entry(row.user.clone()).or_default().insert(row.id);
        self.ends.insert((row.expires_at, row.id));
        self.rows.insert(row.id, row);
    }

    fn touch(&mut self, touch: Touch) {
        let Some(row) = self.rows.get_mut(&touch.id).filter(|row| row.last_seen <= touch.last_seen) else {
            return;
        };
        self.ends.remove(&(row.expires_at, row.id));
        row.last_seen = touch.last_seen;
        row.expires_at = touch.expires_at;
        self.ends.insert((row.expires_at, row.id));
    }

    fn remove(&mut self, id: SessionId) -> bool {
        let Some(row) = self.rows.remove(&id) else { return false };
        self.ends.remove(&(row.expires_at, id));
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

    fn live(&self, at: Timestamp) -> impl Iterator<Item = &Row> {
        self.rows.values().filter(move |row| row.expires_at > at)
    }
}

fn now<'a, T: Send + 'a>(outcome: Result<T, StoreError>) -> Answer<'a, T> {
    Box::pin(std::future::ready(outcome))
}

/// The most sessions that are kept.
const LIMIT: usize = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::store::conformance;

    #[tokio::test]
    async fn it_keeps_the_contract_of_a_store() {
        conformance::check(|| async { MemoryStore::new() }).await;
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
