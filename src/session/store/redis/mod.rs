//! Sessions in Redis 7 or Valkey, for several gateways: one server, one behind Sentinels, or a Cluster.
//!
//! How Redis is reached is left to [`crate::storage::redis`]; what its keys hold is in [`keys`].
//! Changes are told by Redis itself, through tracking of the keys of sessions. Invariant: an error of
//! Redis is never "absent", and a value that is not what its key should hold is nobody's session.
//!
//! # What its ACL user may do
//!
//! ```text
//! ACL SETUSER vestibule on >PASSWORD resetkeys ~PREFIX:* resetchannels -@all
//!     +ping +select +role +client|tracking +cluster|slots
//!     +eval +evalsha +exists +get +set +del +pttl +pexpire
//!     +zadd +zrem +zrange +zcount +sadd +smembers
//! ```
//!
//! `select` is needed for a database other than 0 only, `role` with Sentinels or a Cluster, and
//! `cluster|slots` with a Cluster.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::JoinHandle;

use crate::clock::{Clock, Timestamp};
use crate::identity::UserId;
use crate::session::token::SessionId;
use crate::storage::redis::{Location, Redis, RedisFault, Tracking, Watcher};

use super::{Answer, Entry, KeyUse, Listener, Place, Row, SessionStore, Sharing, StoreError, Touch};

mod encoding;
mod keys;
mod removals;
mod scripts;
mod tables;
mod values;

#[cfg(test)]
mod trials;

use keys::Keys;
use removals::Removals;
use tables::Tables;

/// A store that several gateways share.
pub(crate) struct RedisStore {
    tables: Arc<Tables>,
    removals: Arc<Removals>,
    repeating: JoinHandle<()>,
    sharing: Sharing,
    tracking: Mutex<Option<Tracking>>,
}

impl RedisStore {
    /// Begins to connect. A Redis that is down is no error: its answers are, until it comes.
    pub(crate) async fn open(location: Location, clock: Clock) -> Self {
        let tables = Arc::new(Tables::new(Redis::open(location).await, clock));
        let sharing = match tables.redis.may_track(&tables.keys.sessions()).await {
            Ok(()) => Sharing::Told,
            Err(fault) => {
                tracing::warn!(
                    error = %fault,
                    "Redis does not let this gateway hear of changes, so that a logout elsewhere is seen late"
                );
                Sharing::Untold
            }
        };
        let removals = Arc::new(Removals::default());
        let repeating = removals::repeat(Arc::clone(&tables), Arc::clone(&removals));
        Self { tables, removals, repeating, sharing, tracking: Mutex::default() }
    }

    async fn remember_and_remove(
        &self,
        ids: &[SessionId],
        user: Option<&UserId>,
    ) -> Result<Vec<SessionId>, StoreError> {
        self.removals.note(ids);
        self.tables.remove(ids, user).await
    }

    fn set_tracking(&self, tracking: Option<Tracking>) {
        *self.tracking.lock().unwrap_or_else(PoisonError::into_inner) = tracking;
    }
}

impl SessionStore for RedisStore {
    fn insert(&self, row: Row) -> Answer<'_, ()> {
        self.removals.forget(row.id);
        Box::pin(self.tables.insert(row))
    }

    fn load(&self, id: SessionId) -> Answer<'_, Option<Row>> {
        Box::pin(self.tables.load(id))
    }

    fn touch(&self, touches: Vec<Touch>) -> Answer<'_, ()> {
        Box::pin(self.tables.touch(touches))
    }

    fn remove(&self, ids: Vec<SessionId>) -> Answer<'_, Vec<SessionId>> {
        Box::pin(async move { self.remember_and_remove(&ids, None).await })
    }

    fn of_user(&self, user: UserId) -> Answer<'_, Vec<Entry>> {
        Box::pin(async move { self.tables.of_user(&user).await })
    }

    fn remove_user(&self, user: UserId) -> Answer<'_, Vec<SessionId>> {
        Box::pin(async move {
            let ids = self.tables.ids_of_user(&user).await?;
            self.remember_and_remove(&ids, Some(&user)).await
        })
    }

    fn users(&self, now: Timestamp) -> Answer<'_, Vec<UserId>> {
        Box::pin(self.tables.users(now))
    }

    fn key_use(&self, now: Timestamp) -> Answer<'_, Vec<KeyUse>> {
        Box::pin(self.tables.key_use(now))
    }

    fn by_end(&self, after: Option<Place>, until: Timestamp, limit: usize) -> Answer<'_, Vec<Entry>> {
        Box::pin(self.tables.by_end(after, until, limit))
    }

    fn share(&self, listener: Arc<dyn Listener>) -> Sharing {
        if self.sharing == Sharing::Told {
            let keys = self.tables.keys.clone();
            let prefix = keys.sessions();
            let news = Arc::new(News { keys, listener });
            self.set_tracking(Some(self.tables.redis.track(prefix, news)));
        }
        self.sharing
    }

    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.repeating.abort();
        self.set_tracking(None);
        self.tables.redis.close();
        Box::pin(std::future::ready(()))
    }
}

impl Drop for RedisStore {
    fn drop(&mut self) {
        self.repeating.abort();
    }
}

impl From<RedisFault> for StoreError {
    fn from(fault: RedisFault) -> Self {
        match fault {
            RedisFault::Value { .. } => Self::Corrupt(fault.to_string()),
            _ => Self::Unavailable(fault.to_string()),
        }
    }
}

/// Turns news of keys into news of sessions.
struct News {
    keys: Keys,
    listener: Arc<dyn Listener>,
}

impl Watcher for News {
    fn began(&self) {
        self.listener.began();
    }

    fn confirmed(&self) {
        self.listener.confirmed();
    }

    fn changed(&self, key: &[u8]) {
        if let Some(id) = self.keys.read_session(key) {
            self.listener.changed(id);
        }
    }

    fn lost(&self) {
        self.listener.lost();
    }
}
