//! Sessions in memcached, which may forget any of them at any moment.
//!
//! How servers are spoken to is left to [`crate::storage::memcached`]. There are two kinds of items:
//!
//! * `PREFIX:s:ID`: a whole session, with its id and its epoch.
//! * `PREFIX:u:SHA-256 of the user`: the user's present epoch and the ids of the sessions in it.
//!
//! A session lives only while the item of its user has its epoch. So all sessions of a user end with one
//! write, those too whose ids are on no list any more, and whatever is evicted, what is left is fewer
//! sessions: never another identity, and never a session that cannot be ended. Servers must be emptied
//! before they are taken into use again: an old epoch would come back with the sessions in it.

use std::pin::Pin;
use std::sync::Arc;

use tokio::runtime::Handle;

use crate::clock::{Clock, Timestamp};
use crate::identity::UserId;
use crate::storage::memcached::{Client, Location, MemcachedError};

use super::{Answer, Entry, KeyUse, Listener, Place, Row, SessionStore, Sharing, StoreError, Touch};
use crate::session::token::SessionId;

mod item;
mod shelf;
#[cfg(test)]
mod tests;
mod users;

use shelf::Shelf;

/// A store for several processes that may forget.
pub(crate) struct MemcachedStore {
    shelf: Shelf,
    client: Arc<Client>,
    /// Where the connections live, whoever asks.
    home: Handle,
}

impl MemcachedStore {
    /// A store that connects when it is asked. To be called on the runtime that stays for as long as
    /// the store.
    pub(crate) fn open(location: &Location, clock: Clock) -> Self {
        let client = Arc::new(Client::new(location));
        Self { shelf: Shelf::new(Arc::clone(&client), clock), client, home: Handle::current() }
    }

    /// Once begun, the work is done even if the caller goes away: nobody cancels a logout by hanging up.
    fn run<T: Send + 'static, F>(&self, work: impl FnOnce(Shelf) -> F + Send + 'static) -> Answer<'_, T>
    where
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        Box::pin(async move {
            let stopping = |_| Err(StoreError::Unavailable("this process is stopping".to_owned()));
            self.home.spawn(work(self.shelf.clone())).await.unwrap_or_else(stopping)
        })
    }
}

impl SessionStore for MemcachedStore {
    fn insert(&self, row: Row) -> Answer<'_, ()> {
        self.run(|shelf| async move { shelf.insert(row).await })
    }

    fn load(&self, id: SessionId) -> Answer<'_, Option<Row>> {
        self.run(move |shelf| async move { shelf.load(id).await })
    }

    fn touch(&self, touches: Vec<Touch>) -> Answer<'_, ()> {
        self.run(|shelf| async move { shelf.touch(touches).await })
    }

    fn remove(&self, ids: Vec<SessionId>) -> Answer<'_, Vec<SessionId>> {
        self.run(|shelf| async move { shelf.remove(ids).await })
    }

    fn of_user(&self, user: UserId) -> Answer<'_, Vec<Entry>> {
        self.run(|shelf| async move { shelf.of_user(&user).await })
    }

    fn remove_user(&self, user: UserId) -> Answer<'_, Vec<SessionId>> {
        self.run(|shelf| async move { shelf.remove_user(&user).await })
    }

    fn users(&self, _now: Timestamp) -> Answer<'_, Vec<UserId>> {
        Box::pin(std::future::ready(Err(NO_INDEX)))
    }

    fn key_use(&self, _now: Timestamp) -> Answer<'_, Vec<KeyUse>> {
        Box::pin(std::future::ready(Err(NO_INDEX)))
    }

    fn by_end(&self, _after: Option<Place>, _until: Timestamp, _limit: usize) -> Answer<'_, Vec<Entry>> {
        Box::pin(std::future::ready(Err(NO_INDEX)))
    }

    fn share(&self, _listener: Arc<dyn Listener>) -> Sharing {
        Sharing::Untold
    }

    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.client.close();
        Box::pin(std::future::ready(()))
    }
}

impl From<MemcachedError> for StoreError {
    fn from(error: MemcachedError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

/// It forgets expired sessions by itself, so nobody has to find them.
const NO_INDEX: StoreError = StoreError::Unsupported(
    "memcached cannot list all sessions, only those of one user; a store that can is `sqlite:` or `redis:`",
);
