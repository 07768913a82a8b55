//! What memcached holds for a session and for a user, as bytes.
//!
//! Invariants: reading arbitrary bytes never panics; what is not wholly as it was written is nothing. A
//! change of the form gets new letters in the keys, so that releases beside each other do not meet.

use crate::clock::Timestamp;
use crate::identity::UserId;
use crate::session::keyring::KeyId;
use crate::session::store::Row;
use crate::session::token::{SessionId, random};

/// The time between two ends of all sessions of a user: a session lives only in its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Epoch([u8; 16]);

impl Epoch {
    /// One that never was.
    pub(super) fn new() -> Self {
        Self(*random())
    }
}

/// A session and the epoch of its user in which it began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SessionItem {
    pub(super) row: Row,
    pub(super) epoch: Epoch,
}

impl SessionItem {
    pub(super) fn encode(&self) -> Vec<u8> {
        let Self { row, epoch } = self;
        let mut bytes = SESSION.to_vec();
        bytes.extend_from_slice(row.id.as_bytes());
        bytes.extend_from_slice(&epoch.0);
        bytes.extend_from_slice(row.key.as_bytes());
        for time in [row.created, row.last_seen, row.expires_at] {
            bytes.extend_from_slice(&time.as_millis().to_be_bytes());
        }
        put_name(&mut bytes, &row.user);
        bytes.extend_from_slice(&row.record);
        bytes
    }

    /// The session `id`, if that is what these bytes hold.
    pub(super) fn decode(id: SessionId, bytes: &[u8]) -> Option<Self> {
        let mut rest = Rest(bytes.strip_prefix(&SESSION)?);
        // SECURITY: the id in the value binds it to its key, so one that was copied to the key of
        // another session is nobody's.
        let found = SessionId::from_bytes(rest.take()?);
        if found != id {
            return None;
        }
        let epoch = Epoch(rest.take()?);
        let key = KeyId::from_bytes(rest.take()?);
        let (created, last_seen, expires_at) = (rest.time()?, rest.time()?, rest.time()?);
        let user = rest.name()?;
        let row = Row { id, user, key, created, last_seen, expires_at, record: rest.0.to_vec() };
        Some(Self { row, epoch })
    }
}

/// A user: the present epoch, and the sessions that began in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UserItem {
    pub(super) user: UserId,
    pub(super) epoch: Epoch,
    /// The last end of a session.
    pub(super) until: Timestamp,
    /// The oldest first. Not all of them where there are very many.
    pub(super) ids: Vec<SessionId>,
}

impl UserItem {
    /// A user without sessions.
    pub(super) fn new(user: UserId, until: Timestamp) -> Self {
        Self { user, epoch: Epoch::new(), until, ids: Vec::new() }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = USER.to_vec();
        bytes.extend_from_slice(&self.epoch.0);
        bytes.extend_from_slice(&self.until.as_millis().to_be_bytes());
        put_name(&mut bytes, &self.user);
        for id in &self.ids {
            bytes.extend_from_slice(id.as_bytes());
        }
        bytes
    }

    /// The item of `user`, if that is what these bytes hold.
    pub(super) fn decode(user: &UserId, bytes: &[u8]) -> Option<Self> {
        let mut rest = Rest(bytes.strip_prefix(&USER)?);
        let (epoch, until) = (Epoch(rest.take()?), rest.time()?);
        // SECURITY: as with the id of a session.
        if rest.name()? != *user {
            return None;
        }
        let (ids, []) = rest.0.as_chunks::<32>() else { return None };
        let ids = ids.iter().copied().map(SessionId::from_bytes).collect();
        Some(Self { user: user.clone(), epoch, until, ids })
    }
}

/// What is still to be read.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn time(&mut self) -> Option<Timestamp> {
        self.take().map(|bytes| Timestamp::from_millis(i64::from_be_bytes(bytes)))
    }

    fn name(&mut self) -> Option<UserId> {
        let [length] = self.take()?;
        let (name, rest) = self.0.split_at_checked(length.into())?;
        self.0 = rest;
        UserId::try_from(std::str::from_utf8(name).ok()?).ok()
    }
}

/// A name has at most 128 bytes.
fn put_name(bytes: &mut Vec<u8>, user: &UserId) {
    bytes.push(u8::try_from(user.as_str().len()).unwrap_or(u8::MAX));
    bytes.extend_from_slice(user.as_str().as_bytes());
}

/// What the values begin with: whose they are, of what kind, of which version.
const SESSION: [u8; 3] = *b"Vs\x01";
const USER: [u8; 3] = *b"Vu\x01";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::session::store::conformance::row;

    fn session() -> SessionItem {
        SessionItem { row: row(1, "alice", 10), epoch: Epoch::new() }
    }

    fn user(count: u8) -> UserItem {
        let row = row(1, "alice", 10);
        let ids = (0..count).map(|number| SessionId::from_bytes([number; 32])).collect();
        UserItem { ids, ..UserItem::new(row.user, row.expires_at) }
    }

    #[test]
    fn what_was_written_is_read_as_it_was() {
        let session = session();
        assert_eq!(SessionItem::decode(session.row.id, &session.encode()), Some(session));
        for count in [0, 1, 200] {
            let user = user(count);
            assert_eq!(UserItem::decode(&user.user, &user.encode()), Some(user));
        }
    }

    #[test]
    fn the_value_of_another_key_is_nothing() {
        let (session, user) = (session(), user(3));
        assert_eq!(SessionItem::decode(row(2, "alice", 10).id, &session.encode()), None);
        assert_eq!(UserItem::decode(&row(2, "bob", 10).user, &user.encode()), None);
        assert_eq!(SessionItem::decode(session.row.id, &user.encode()), None);
        assert_eq!(UserItem::decode(&user.user, &session.encode()), None);
    }

    #[test]
    fn what_is_cut_or_of_another_version_is_nothing() {
        let (session, user) = (session(), user(3));
        let least = session.encode().len() - session.row.record.len();
        for length in 0..least {
            assert_eq!(SessionItem::decode(session.row.id, &session.encode()[..length]), None, "{length}");
        }
        for length in (0..user.encode().len()).filter(|length| (length + 96) % 32 != user.encode().len() % 32)
        {
            assert_eq!(UserItem::decode(&user.user, &user.encode()[..length]), None, "{length}");
        }
        let mut newer = session.encode();
        newer[2] = 2;
        assert_eq!(SessionItem::decode(session.row.id, &newer), None);
    }

    proptest! {
        #[test]
        fn junk_never_panics(junk in prop::collection::vec(any::<u8>(), 0..300)) {
            let (session, user) = (session(), user(0));
            for start in [&[][..], &SESSION[..], &USER[..]] {
                let bytes = [start, &junk].concat();
                let _any = UserItem::decode(&user.user, &bytes);
                prop_assert_eq!(SessionItem::decode(session.row.id, &bytes), None);
            }
        }
    }
}
