//! What the two SQL stores have in common: the columns of a session.
//!
//! Invariant: a value that is not what its column should hold makes its own row corrupt and no other.

use crate::clock::Timestamp;
use crate::identity::UserId;
use crate::storage::sql::SqlError;

use super::{Entry, KeyUse, Place, Row, StoreError};
use crate::session::keyring::KeyId;
use crate::session::token::SessionId;

/// A row as it came, in the order `id, user_name, key_id, created, last_seen, expires_at, record`.
pub(super) type Columns<Name> = (Vec<u8>, Name, Vec<u8>, i64, i64, i64, Vec<u8>);

/// A line of the use of keys: `key_id, count, max(expires_at)`.
pub(super) type KeyUseColumns = (Vec<u8>, i64, i64);

pub(super) fn row(columns: Columns<impl AsRef<[u8]>>) -> Result<Row, StoreError> {
    let (id, user, key, created, last_seen, expires_at, record) = columns;
    Ok(Row {
        id: session_id(&id).ok_or_else(|| corrupt("an id of another length"))?,
        user: user_id(user).ok_or_else(|| corrupt("a user's name that is none"))?,
        key: key_id(&key).ok_or_else(|| corrupt("the name of a key of another length"))?,
        created: Timestamp::from_millis(created),
        last_seen: Timestamp::from_millis(last_seen),
        expires_at: Timestamp::from_millis(expires_at),
        record,
    })
}

/// A row that no id leads to cannot be named, so it is left out.
pub(super) fn entries(found: Vec<Columns<impl AsRef<[u8]>>>) -> Vec<Entry> {
    let entry = |columns: Columns<_>| {
        let id = session_id(&columns.0)?;
        let place = Place { expires_at: Timestamp::from_millis(columns.5), id };
        Some(Entry { place, row: row(columns).ok() })
    };
    found.into_iter().filter_map(entry).collect()
}

/// A name that is none belongs to a row that no cookie opens.
pub(super) fn users(found: Vec<impl AsRef<[u8]>>) -> Vec<UserId> {
    found.into_iter().filter_map(user_id).collect()
}

pub(super) fn key_uses(found: Vec<KeyUseColumns>) -> Vec<KeyUse> {
    let key_use = |(key, sessions, until): KeyUseColumns| {
        let until = Timestamp::from_millis(until);
        Some(KeyUse { key: key_id(&key)?, sessions: sessions.unsigned_abs(), until })
    };
    found.into_iter().filter_map(key_use).collect()
}

pub(super) fn ids(found: &[Vec<u8>]) -> Vec<SessionId> {
    found.iter().filter_map(|id| session_id(id)).collect()
}

impl From<SqlError> for StoreError {
    fn from(error: SqlError) -> Self {
        match error {
            SqlError::Value { reason, .. } => Self::Corrupt(reason),
            SqlError::Taken { .. } => Self::Unavailable("a session with this id exists".to_owned()),
            other => Self::Unavailable(other.to_string()),
        }
    }
}

fn session_id(bytes: &[u8]) -> Option<SessionId> {
    bytes.try_into().ok().map(SessionId::from_bytes)
}

fn key_id(bytes: &[u8]) -> Option<KeyId> {
    bytes.try_into().ok().map(KeyId::from_bytes)
}

fn user_id(name: impl AsRef<[u8]>) -> Option<UserId> {
    UserId::try_from(std::str::from_utf8(name.as_ref()).ok()?).ok()
}

fn corrupt(what: &str) -> StoreError {
    StoreError::Corrupt(what.to_owned())
}
