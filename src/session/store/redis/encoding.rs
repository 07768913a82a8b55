//! The bytes of a session in Redis.
//!
//! `s` is: a version (1 byte), the id (32), when it began (8, big-endian), the length of the user (1),
//! the user, the key (4), the sealed record. `t` is: the id (32), then last seen and end as text, so
//! that a script can read them. Invariant: a value that was written for another session is an error.

use crate::clock::Timestamp;
use crate::identity::UserId;
use crate::session::keyring::KeyId;
use crate::session::token::SessionId;

use super::super::{Resealed, Row, StoreError};

/// The part of a session that its indexes depend on.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) id: SessionId,
    pub(super) user: UserId,
    pub(super) key: KeyId,
    created: Timestamp,
}

pub(super) fn session(row: &Row) -> Vec<u8> {
    let user = row.user.as_str().as_bytes();
    let mut bytes = Vec::with_capacity(FIXED + user.len() + row.record.len());
    bytes.push(VERSION);
    bytes.extend_from_slice(row.id.as_bytes());
    bytes.extend_from_slice(&row.created.as_millis().to_be_bytes());
    // A name has at most 128 characters, all of them one byte.
    bytes.push(u8::try_from(user.len()).unwrap_or(u8::MAX));
    bytes.extend_from_slice(user);
    bytes.extend_from_slice(row.key.as_bytes());
    bytes.extend_from_slice(&row.record);
    bytes
}

/// What stands behind the user.
pub(super) fn tail(resealed: &Resealed) -> Vec<u8> {
    [resealed.key.as_bytes(), resealed.record.as_slice()].concat()
}

pub(super) fn times(id: SessionId, last_seen: Timestamp, expires_at: Timestamp) -> Vec<u8> {
    let text = format!("{} {}", last_seen.as_millis(), expires_at.as_millis());
    [id.as_bytes(), text.as_bytes()].concat()
}

/// The row of `id`, which must be what both values were written for.
pub(super) fn row(id: SessionId, session: &[u8], times: &[u8]) -> Result<Row, StoreError> {
    let (head, record) = head(session).ok_or_else(|| corrupt(id, "its value is no session"))?;
    if head.id != id {
        return Err(corrupt(id, "its value is another session"));
    }
    let (last_seen, expires_at) = read_times(id, times).ok_or_else(|| corrupt(id, "its times are none"))?;
    let Head { user, key, created, .. } = head;
    Ok(Row { id, user, key, created, last_seen, expires_at, record: record.to_vec() })
}

/// The head and what follows it.
pub(super) fn head(bytes: &[u8]) -> Option<(Head, &[u8])> {
    let (&[version], rest) = bytes.split_first_chunk()?;
    let (id, rest) = rest.split_first_chunk()?;
    let (created, rest) = rest.split_first_chunk()?;
    let (&[length], rest) = rest.split_first_chunk()?;
    let (user, rest) = rest.split_at_checked(usize::from(length))?;
    let (key, record) = rest.split_first_chunk()?;
    let user = UserId::try_from(std::str::from_utf8(user).ok()?).ok()?;
    let head = Head {
        id: SessionId::from_bytes(*id),
        user,
        key: KeyId::from_bytes(*key),
        created: Timestamp::from_millis(i64::from_be_bytes(*created)),
    };
    (version == VERSION).then_some((head, record))
}

fn read_times(id: SessionId, bytes: &[u8]) -> Option<(Timestamp, Timestamp)> {
    let text = std::str::from_utf8(bytes.strip_prefix(id.as_bytes())?).ok()?;
    let (last_seen, expires_at) = text.split_once(' ')?;
    let time = |text: &str| text.parse().ok().map(Timestamp::from_millis);
    Some((time(last_seen)?, time(expires_at)?))
}

fn corrupt(id: SessionId, reason: &str) -> StoreError {
    StoreError::Corrupt(format!("session {id}: {reason}"))
}

/// The scripts know it too.
const VERSION: u8 = 1;
const FIXED: usize = 46;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::session::store::conformance;

    #[test]
    fn a_row_is_read_back_and_only_under_its_own_id() {
        let (mine, other) = (conformance::row(1, "alice", 10), conformance::row(2, "bob", 10));
        let values = |row: &Row| (session(row), times(row.id, row.last_seen, row.expires_at));
        let (my, others) = (values(&mine), values(&other));
        assert_eq!(row(mine.id, &my.0, &my.1), Ok(mine.clone()));
        for (session, times) in [(&others.0, &my.1), (&my.0, &others.1), (&others.0, &others.1)] {
            assert!(matches!(row(mine.id, session, times), Err(StoreError::Corrupt(_))));
        }
    }

    #[test]
    fn a_later_version_is_not_read() {
        let mine = conformance::row(1, "alice", 10);
        let mut bytes = session(&mine);
        bytes[0] = 2;
        assert!(head(&bytes).is_none());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(session: Vec<u8>, times: Vec<u8>) {
            let _verdict = row(SessionId::from_bytes([1; 32]), &session, &times);
        }
    }
}
