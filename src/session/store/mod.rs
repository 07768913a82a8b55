//! Where sessions are kept, behind the first level.
//!
//! # The contract of a store
//!
//! * It sees derived ids and sealed records only; what a record holds is none of its business.
//! * Absent is not broken: a session that is not there is `Ok(None)`, a store that cannot answer is an
//!   error. Who confuses them logs everybody out, or lets everybody in.
//! * When [`SessionStore::remove`] and [`SessionStore::remove_user`] answer, the sessions are gone for
//!   good, whatever happens to the process next (for a store that outlives the process).
//! * [`SessionStore::touch`] never moves a last-seen time back and never brings a session back.
//! * A row that cannot be read is [`StoreError::Corrupt`], and harms no other row.
//! * Nothing is begun late: the queue and the wait of every call are bounded.
//!
//! Every store passes the one suite in `conformance`.

use std::pin::Pin;

use crate::clock::Timestamp;
use crate::identity::UserId;

use super::keyring::KeyId;
use super::token::SessionId;

#[cfg(test)]
pub(super) mod conformance;
pub(super) mod memory;
pub(super) mod sqlite;

/// A session at rest. Only what an index needs is in clear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its name.
    pub id: SessionId,
    /// Whose it is.
    pub user: UserId,
    /// The key that signs its cookie and seals its record.
    pub key: KeyId,
    /// When it began.
    pub created: Timestamp,
    /// Its last activity, as far as stored.
    pub last_seen: Timestamp,
    /// When it ends if nothing more happens, by the policy of the time of writing.
    pub expires_at: Timestamp,
    /// Everything else, sealed.
    pub record: Vec<u8>,
}

/// News of a session's activity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touch {
    /// Which session.
    pub id: SessionId,
    /// Its last activity.
    pub last_seen: Timestamp,
    /// When it ends therefore.
    pub expires_at: Timestamp,
}

/// A session whose stored end has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// Which session.
    pub id: SessionId,
    /// All of it, if it can be read.
    pub row: Option<Row>,
}

/// Why a store gives no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It cannot answer now: 503, and the cookie stays.
    #[error("the session store cannot answer: {0}")]
    Unavailable(String),
    /// It holds something that is no session.
    #[error("the session store holds a row that cannot be read: {0}")]
    Corrupt(String),
}

/// What a store answers, later. Stores are asked rarely, so the box costs nothing that counts.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// A place for sessions; the contract is in words above.
pub trait SessionStore: Send + Sync {
    /// Keeps a new session.
    fn insert(&self, row: Row) -> Answer<'_, ()>;
    /// The session with this id.
    fn load(&self, id: SessionId) -> Answer<'_, Option<Row>>;
    /// Notes activity; sessions that are gone stay gone.
    fn touch(&self, touches: Vec<Touch>) -> Answer<'_, ()>;
    /// Removes these sessions and answers how many there were.
    fn remove(&self, ids: Vec<SessionId>) -> Answer<'_, usize>;
    /// Every session of a user.
    fn of_user(&self, user: UserId) -> Answer<'_, Vec<SessionId>>;
    /// Removes every session of a user and answers which there were.
    fn remove_user(&self, user: UserId) -> Answer<'_, Vec<SessionId>>;
    /// The users with sessions that end after `now`.
    fn users(&self, now: Timestamp) -> Answer<'_, Vec<UserId>>;
    /// How many sessions that end after `now` depend on each key.
    fn key_use(&self, now: Timestamp) -> Answer<'_, Vec<(KeyId, u64)>>;
    /// At most `limit` sessions that end at `until` or earlier, the earliest first.
    fn expired(&self, until: Timestamp, limit: usize) -> Answer<'_, Vec<Due>>;
    /// Finishes what was begun; afterwards every answer is an error.
    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}
