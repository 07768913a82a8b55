//! Where sessions are kept, behind the first level.
//!
//! # The contract of a store
//!
//! * It sees derived ids and sealed records only; what a record holds is none of its business.
//! * Absent is not broken: a session that is not there is `Ok(None)`, a store that cannot answer is an
//!   error. Who confuses them logs everybody out, or lets everybody in.
//! * When [`SessionStore::remove`] and [`SessionStore::remove_user`] answer, the sessions are gone for
//!   good, whatever happens to the process next (for a store that outlives the process).
//! * [`SessionStore::touch`] never moves a last-seen time back and never brings a session back. A new
//!   record is taken even where another process saw the session later.
//! * The sessions of a user, of a key and of a time are found by an index, never by a scan.
//! * A row that cannot be read is [`StoreError::Corrupt`], and harms no other row.
//! * Nothing is begun late: the queue and the wait of every call are bounded.
//!
//! Every store passes the one suite in `conformance`. A store that keeps no index over all sessions
//! ([`StoreError::Unsupported`]) passes the parts of it that need none.

use std::pin::Pin;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::identity::UserId;

use super::keyring::KeyId;
use super::token::SessionId;

mod columns;
#[cfg(test)]
pub(super) mod conformance;
pub(super) mod guarded;
pub(super) mod memcached;
pub(super) mod memory;
pub(super) mod mysql;
pub(super) mod open;
pub(super) mod postgres;
pub(super) mod redis;
pub(super) mod sealed;
#[cfg(test)]
#[path = "../../../tests/servers/mod.rs"]
pub(crate) mod servers;
#[cfg(test)]
mod sql_trials;
pub(super) mod sqlite;

/// A session at rest. Only what an index needs is in clear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its name.
    pub id: SessionId,
    /// Whose it is.
    pub user: UserId,
    /// The key that seals its record and signs its cookie.
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

impl Row {
    /// Its place in the order of all sessions.
    #[must_use]
    pub const fn place(&self) -> Place {
        Place { expires_at: self.expires_at, id: self.id }
    }
}

/// News of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Touch {
    /// Which session.
    pub id: SessionId,
    /// Whose it is; it never changes.
    pub user: UserId,
    /// The key that sealed its record before this.
    pub key: KeyId,
    /// Its last activity.
    pub last_seen: Timestamp,
    /// When it ends therefore.
    pub expires_at: Timestamp,
    /// Its record, where that changed.
    pub resealed: Option<Resealed>,
}

/// A record that takes the place of an older one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resealed {
    /// The key that seals it.
    pub key: KeyId,
    /// The record.
    pub record: Vec<u8>,
}

/// A session whose record its browser keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Which session.
    pub id: SessionId,
    /// Whose it is.
    pub user: UserId,
    /// When it began.
    pub created: Timestamp,
}

/// A session as a list finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which session, and when it ends; as its index says.
    pub place: Place,
    /// All of it, if it can be read.
    pub row: Option<Row>,
}

/// A place in the order of all sessions: by their ends, then by their ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// When the session ends.
    pub expires_at: Timestamp,
    /// Which session.
    pub id: SessionId,
}

/// The sessions that depend on a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyUse {
    /// The key that seals their records.
    pub key: KeyId,
    /// How many are live.
    pub sessions: u64,
    /// When the last of them ends if nothing more happens.
    pub until: Timestamp,
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
    /// It keeps no index that could answer this.
    #[error("{0}")]
    Unsupported(&'static str),
}

/// What a store answers, later. Stores are asked rarely, so the box costs nothing that counts.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// A place for sessions; the contract is in words above.
pub trait SessionStore: Send + Sync {
    /// Keeps a new session; an id that is taken is an error.
    fn insert(&self, row: Row) -> Answer<'_, ()>;
    /// The session with this id.
    fn load(&self, id: SessionId) -> Answer<'_, Option<Row>>;
    /// Notes news; sessions that are gone stay gone.
    fn touch(&self, touches: Vec<Touch>) -> Answer<'_, ()>;
    /// Removes these sessions and answers which of them were there.
    fn remove(&self, ids: Vec<SessionId>) -> Answer<'_, Vec<SessionId>>;
    /// Every session of a user, in no order.
    fn of_user(&self, user: UserId) -> Answer<'_, Vec<Entry>>;
    /// Removes every session of a user and answers which there were.
    fn remove_user(&self, user: UserId) -> Answer<'_, Vec<SessionId>>;
    /// The users with sessions that end after `now`, in no order.
    fn users(&self, now: Timestamp) -> Answer<'_, Vec<UserId>>;
    /// The keys that sessions that end after `now` depend on, in no order.
    fn key_use(&self, now: Timestamp) -> Answer<'_, Vec<KeyUse>>;
    /// At most `limit` sessions behind `after` that end at `until` or earlier, in the order of
    /// [`Place`]. `limit` bounds what is read, so fewer may come where others were removed meanwhile;
    /// none come only at the end.
    fn by_end(&self, after: Option<Place>, until: Timestamp, limit: usize) -> Answer<'_, Vec<Entry>>;
    /// Whether a session whose record its browser keeps may live. Only a store that keeps no records is
    /// asked.
    fn permits(&self, _: Claim) -> Answer<'_, bool> {
        Box::pin(std::future::ready(Ok(false)))
    }
    /// Drops what is kept of sessions that ended before `now`, where [`Self::by_end`] does not show it.
    fn tidy(&self, _: Timestamp) -> Answer<'_, usize> {
        Box::pin(std::future::ready(Ok(0)))
    }
    /// How changes by other processes become known. A store that tells of them calls `listener`, from
    /// any thread, until it is closed; to be called once.
    fn share(&self, _: Arc<dyn Listener>) -> Sharing {
        Sharing::Exclusive
    }
    /// Whether calls are answered with an error for now, without being tried.
    fn is_down(&self) -> bool {
        false
    }
    /// Finishes what was begun; afterwards every answer is an error.
    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// Who else changes the sessions of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Nobody: what is in memory here is right.
    Exclusive,
    /// Other processes, and the [`Listener`] is told.
    Told,
    /// Other processes, and nobody tells: what is in memory must be asked for again after a while.
    Untold,
}

/// Hears of changes by other processes. No call may block.
pub trait Listener: Send + Sync {
    /// From now on every change is told.
    fn began(&self);
    /// No change was missed until now; to be called about once a second while changes are told.
    fn confirmed(&self);
    /// This session was changed or removed, perhaps by this very process.
    fn changed(&self, id: SessionId);
    /// Sessions of this user were changed or removed.
    fn changed_user(&self, _: &UserId) {
        self.changed_some();
    }
    /// Sessions were changed or removed, and nobody knows which.
    fn changed_some(&self);
    /// Changes may be missed from the last confirmation on, until the next beginning.
    fn lost(&self);
}
