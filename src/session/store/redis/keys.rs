//! What the keys of Redis are called.
//!
//! | key | type | what |
//! |---|---|---|
//! | `PREFIX:s:{ID}` | string | what a session is; changes only when it begins, is resealed or ends |
//! | `PREFIX:t:{ID}` | string | when it was last seen and when it ends |
//! | `PREFIX:u:USER` | sorted set | the sessions of a user, by their ends |
//! | `PREFIX:k:KEY` | sorted set | the sessions that a key seals, by their ends |
//! | `PREFIX:e` | sorted set | all sessions, by their ends |
//! | `PREFIX:users` | sorted set | the users, by an upper bound of the last end of their sessions |
//! | `PREFIX:keys` | set | the keys that ever sealed a session |
//!
//! Invariant: both keys of one session are in one slot of a cluster, by the braces.

use std::fmt::Write as _;

use crate::identity::UserId;
use crate::session::keyring::KeyId;
use crate::session::token::SessionId;

#[derive(Clone, Debug)]
pub(super) struct Keys {
    prefix: String,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// What every [`Self::session`] begins with, and nothing else.
    pub(super) fn sessions(&self) -> String {
        format!("{}:s:", self.prefix)
    }

    pub(super) fn session(&self, id: SessionId) -> Vec<u8> {
        format!("{}:s:{{{}}}", self.prefix, hex(id.as_bytes())).into_bytes()
    }

    pub(super) fn times(&self, id: SessionId) -> Vec<u8> {
        format!("{}:t:{{{}}}", self.prefix, hex(id.as_bytes())).into_bytes()
    }

    pub(super) fn of_user(&self, user: &UserId) -> Vec<u8> {
        format!("{}:u:{user}", self.prefix).into_bytes()
    }

    pub(super) fn of_key(&self, key: KeyId) -> Vec<u8> {
        format!("{}:k:{}", self.prefix, hex(key.as_bytes())).into_bytes()
    }

    pub(super) fn ends(&self) -> Vec<u8> {
        format!("{}:e", self.prefix).into_bytes()
    }

    pub(super) fn users(&self) -> Vec<u8> {
        format!("{}:users", self.prefix).into_bytes()
    }

    pub(super) fn keys(&self) -> Vec<u8> {
        format!("{}:keys", self.prefix).into_bytes()
    }

    /// The id in the name of a [`Self::session`].
    pub(super) fn read_session(&self, name: &[u8]) -> Option<SessionId> {
        let name = std::str::from_utf8(name).ok()?.strip_prefix(&self.sessions())?;
        let digits = name.strip_prefix('{')?.strip_suffix('}')?;
        let mut bytes = [0; 32];
        if digits.len() != 2 * bytes.len() {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(SessionId::from_bytes(bytes))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_read_back_from_the_name_of_its_key() {
        let keys = Keys::new("a:b");
        let id = SessionId::from_bytes([0xa7; 32]);
        assert_eq!(keys.read_session(&keys.session(id)), Some(id));
        for odd in [keys.times(id), keys.ends(), b"a:b:s:{}".to_vec(), b"a:b:s:{zz}".to_vec(), vec![255]] {
            assert_eq!(keys.read_session(&odd), None, "{odd:?}");
        }
    }
}
