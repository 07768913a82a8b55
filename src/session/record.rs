//! What a session is: in memory, and sealed at rest.
//!
//! A record at rest is a version byte and a sealed JSON text. It is bound to its session's id, so
//! that the record of one session is worth nothing in the place of another's. Invariant: what cannot
//! be trusted (damaged, swapped, of another version, of another user than its row says) is
//! [`Untrusted`], never a session and never a panic.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::identity::{AuthMethod, Identity};

use super::keyring::{KeyId, KeyRing};
use super::lifetime::{Remember, Times};
use super::store::Row;
use super::token::SessionId;

/// Somebody's identity over time. Shared by every request of the session.
#[derive(Debug)]
pub struct Session {
    id: SessionId,
    key: KeyId,
    body: Body,
    last_seen: AtomicI64,
    /// Waits in the list of sessions whose last-seen time is to be stored.
    listed: AtomicBool,
    ended: AtomicBool,
}

impl Session {
    /// Its name.
    #[must_use]
    pub const fn id(&self) -> SessionId {
        self.id
    }

    /// The key that signs its cookie.
    #[must_use]
    pub const fn key(&self) -> KeyId {
        self.key
    }

    /// Whose it is.
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.body.identity
    }

    /// How that was proved.
    #[must_use]
    pub const fn method(&self) -> AuthMethod {
        self.body.method
    }

    /// When it began.
    #[must_use]
    pub const fn created(&self) -> Timestamp {
        Timestamp::from_millis(self.body.created)
    }

    /// When its user last proved who they are.
    #[must_use]
    pub const fn authenticated(&self) -> Timestamp {
        Timestamp::from_millis(self.body.authenticated)
    }

    /// The last request that counts as activity.
    #[must_use]
    pub fn last_seen(&self) -> Timestamp {
        Timestamp::from_millis(self.last_seen.load(Ordering::Relaxed))
    }

    /// Whether the user asked to stay signed in.
    #[must_use]
    pub const fn remembered(&self) -> bool {
        self.body.remembered
    }

    /// The browser that logged in, cut to [`USER_AGENT_LIMIT`] bytes.
    #[must_use]
    pub fn user_agent(&self) -> &str {
        &self.body.user_agent
    }

    /// The address that logged in.
    #[must_use]
    pub const fn address(&self) -> IpAddr {
        self.body.address
    }

    /// The times that decide how long it lives.
    #[must_use]
    pub fn times(&self) -> Times {
        let remember = if self.remembered() { Remember::Yes } else { Remember::No };
        Times { created: self.created(), last_seen: self.last_seen(), remember }
    }

    pub(super) fn new(id: SessionId, key: KeyId, start: Start<'_>) -> Self {
        let body = Body {
            identity: start.identity,
            method: start.method,
            created: start.now.as_millis(),
            authenticated: start.now.as_millis(),
            remembered: start.remember == Remember::Yes,
            user_agent: cut(start.user_agent),
            address: start.address,
        };
        Self::from_body(id, key, body, start.now)
    }

    /// The session of a row that a store gave, if everything about it fits.
    pub(super) fn open(row: &Row, ring: &KeyRing) -> Result<Self, Untrusted> {
        let (&version, sealed) = row.record.split_first().ok_or(Untrusted::Damaged)?;
        if version != VERSION {
            return Err(Untrusted::Version);
        }
        let key = ring.key(row.key).ok_or(Untrusted::Key)?;
        let text = key.open(&context(row.id, row.key), sealed).ok_or(Untrusted::Damaged)?;
        let body: Body = serde_json::from_slice(&text).map_err(|_| Untrusted::Content)?;
        // SECURITY: the clear columns serve indexes only. One that disagrees was tampered with, and
        // a revocation by user would have missed this session.
        if body.identity.user != row.user || body.created != row.created.as_millis() {
            return Err(Untrusted::Columns);
        }
        Ok(Self::from_body(row.id, row.key, body, row.last_seen.max(row.created)))
    }

    /// This session as a row that ends at `expires_at`; nothing when its key is no longer listed.
    pub(super) fn seal(&self, ring: &KeyRing, expires_at: Timestamp) -> Option<Row> {
        let text = serde_json::to_vec(&self.body).ok()?;
        let sealed = ring.key(self.key)?.seal(&context(self.id, self.key), text)?;
        let mut record = Vec::with_capacity(sealed.len().saturating_add(1));
        record.push(VERSION);
        record.extend_from_slice(&sealed);
        Some(Row {
            id: self.id,
            user: self.body.identity.user.clone(),
            key: self.key,
            created: self.created(),
            last_seen: self.last_seen(),
            expires_at,
            record,
        })
    }

    /// Notes activity. Answers whether the session must be put on the list of those to store.
    pub(super) fn touch(&self, now: Timestamp) -> Listing {
        self.last_seen.store(now.as_millis(), Ordering::Relaxed);
        self.list()
    }

    /// Puts the session on the list, if it is not on it.
    pub(super) fn list(&self) -> Listing {
        // Reading first keeps the cache line shared: most touches find the session listed.
        if self.listed.load(Ordering::Acquire) || self.listed.swap(true, Ordering::AcqRel) {
            Listing::Done
        } else {
            Listing::Needed
        }
    }

    /// Takes the session off the list; to be called before its last-seen time is read.
    pub(super) fn unlist(&self) {
        self.listed.store(false, Ordering::Release);
    }

    /// Notes that the session was ended, and answers whether this was the first time.
    pub(super) fn end(&self) -> Ending {
        if self.ended.swap(true, Ordering::AcqRel) { Ending::Again } else { Ending::First }
    }

    fn from_body(id: SessionId, key: KeyId, body: Body, last_seen: Timestamp) -> Self {
        let last_seen = AtomicI64::new(last_seen.as_millis());
        Self { id, key, body, last_seen, listed: AtomicBool::new(false), ended: AtomicBool::new(false) }
    }
}

/// What begins a session.
#[derive(Debug)]
pub(super) struct Start<'a> {
    pub(super) identity: Identity,
    pub(super) method: AuthMethod,
    pub(super) remember: Remember,
    pub(super) user_agent: &'a str,
    pub(super) address: IpAddr,
    pub(super) now: Timestamp,
}

/// Whether a touched session must be put on the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listing {
    Needed,
    Done,
}

/// Whether a session was ended before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    First,
    Again,
}

/// Why a row is no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Untrusted {
    Damaged,
    Version,
    Key,
    Content,
    Columns,
}

impl Untrusted {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Damaged => "record is damaged or belongs to another session",
            Self::Version => "record is of another version",
            Self::Key => "key of the record is not in the ring",
            Self::Content => "record holds no session",
            Self::Columns => "record and row disagree",
        }
    }
}

/// The greatest length of a kept user agent, in bytes.
pub const USER_AGENT_LIMIT: usize = 256;

/// What is sealed. New fields get `#[serde(default)]`; a change of meaning gets a new version.
#[derive(Debug, Serialize, Deserialize)]
struct Body {
    identity: Identity,
    method: AuthMethod,
    created: i64,
    authenticated: i64,
    remembered: bool,
    user_agent: String,
    address: IpAddr,
}

fn cut(text: &str) -> String {
    text.get(..text.floor_char_boundary(USER_AGENT_LIMIT)).unwrap_or_default().to_owned()
}

/// What a record is bound to.
fn context(id: SessionId, key: KeyId) -> Vec<u8> {
    [b"vestibule record".as_slice(), &[VERSION], key.as_bytes(), id.as_bytes()].concat()
}

const VERSION: u8 = 1;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::identity::UserId;
    use crate::session::token::Token;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn session(user: &str, ring: &KeyRing) -> Session {
        let identity = Identity {
            user: UserId::try_from(user).unwrap(),
            groups: Vec::new(),
            name: Some("A. Name".to_owned()),
            email: None,
        };
        let start = Start {
            identity,
            method: AuthMethod::Password,
            remember: Remember::No,
            user_agent: "browser",
            address: IpAddr::from([192, 0, 2, 1]),
            now: NOW,
        };
        Session::new(Token::generate().session(), ring.signer().id(), start)
    }

    fn row(user: &str, ring: &KeyRing) -> Row {
        session(user, ring).seal(ring, NOW).unwrap()
    }

    fn refusal(row: &Row, ring: &KeyRing) -> Untrusted {
        Session::open(row, ring).unwrap_err()
    }

    #[test]
    fn a_sealed_session_opens_as_it_was() {
        let ring = KeyRing::generate(NOW);
        let before = session("alice", &ring);
        let after = Session::open(&before.seal(&ring, NOW).unwrap(), &ring.rotate(NOW)).unwrap();
        assert_eq!(before.identity(), after.identity());
        assert_eq!(before.times(), after.times());
        assert_eq!((before.user_agent(), before.address()), (after.user_agent(), after.address()));
    }

    #[test]
    fn a_record_says_nothing_in_clear() {
        let ring = KeyRing::generate(NOW);
        let record = row("alice", &ring).record;
        for secret in ["alice", "Name", "browser", "192.0.2.1"] {
            assert!(!record.windows(secret.len()).any(|bytes| bytes == secret.as_bytes()), "{secret}");
        }
    }

    #[test]
    fn the_record_of_another_session_is_refused() {
        let ring = KeyRing::generate(NOW);
        let (alice, bob) = (row("alice", &ring), row("bob", &ring));
        let swapped = Row { record: bob.record.clone(), ..alice.clone() };
        assert_eq!(refusal(&swapped, &ring), Untrusted::Damaged);
        let swapped = Row { id: alice.id, ..bob };
        assert_eq!(refusal(&swapped, &ring), Untrusted::Damaged);
    }

    #[test]
    fn a_row_that_disagrees_with_its_record_is_refused() {
        let ring = KeyRing::generate(NOW);
        let other = Row { user: UserId::try_from("bob").unwrap(), ..row("alice", &ring) };
        assert_eq!(refusal(&other, &ring), Untrusted::Columns);
        let other = Row { created: Timestamp::from_millis(i64::MAX), ..row("alice", &ring) };
        assert_eq!(refusal(&other, &ring), Untrusted::Columns);
    }

    #[test]
    fn a_record_of_a_newer_version_or_a_retired_key_is_refused() {
        let ring = KeyRing::generate(NOW);
        let mut newer = row("alice", &ring);
        newer.record[0] = 2;
        assert_eq!(refusal(&newer, &ring), Untrusted::Version);
        let retired = ring.rotate(NOW).retire(ring.signer().id()).unwrap();
        assert_eq!(refusal(&row("alice", &ring), &retired), Untrusted::Key);
    }

    #[test]
    fn a_genuine_seal_around_something_else_is_refused() {
        let ring = KeyRing::generate(NOW);
        let mut odd = row("alice", &ring);
        let sealed = ring.signer().seal(&context(odd.id, odd.key), b"[1,2".to_vec()).unwrap();
        odd.record = [&[VERSION], sealed.as_slice()].concat();
        assert_eq!(refusal(&odd, &ring), Untrusted::Content);
    }

    #[test]
    fn a_long_user_agent_is_cut_between_characters() {
        assert_eq!(cut(&"\u{e9}".repeat(200)).len(), USER_AGENT_LIMIT);
        assert_eq!(cut(&format!("x{}", "\u{e9}".repeat(200))).len(), USER_AGENT_LIMIT - 1);
    }

    #[test]
    fn only_the_first_touch_asks_to_be_listed() {
        let session = session("alice", &KeyRing::generate(NOW));
        assert_eq!(session.touch(NOW), Listing::Needed);
        assert_eq!(session.touch(NOW), Listing::Done);
        session.unlist();
        assert_eq!(session.touch(NOW), Listing::Needed);
    }

    proptest! {
        #[test]
        fn junk_is_never_a_session(record in prop::collection::vec(any::<u8>(), 0..200)) {
            let ring = KeyRing::generate(NOW);
            let versioned = [&[VERSION], record.as_slice()].concat();
            for record in [record, versioned] {
                let junk = Row { record, ..row("alice", &ring) };
                prop_assert!(Session::open(&junk, &ring).is_err());
            }
        }

        #[test]
        fn no_flipped_bit_of_a_record_is_accepted(position in any::<prop::sample::Index>(), bit in 0_u8..8) {
            let ring = KeyRing::generate(NOW);
            let mut row = row("alice", &ring);
            let place = position.index(row.record.len());
            row.record[place] ^= 1 << bit;
            prop_assert!(Session::open(&row, &ring).is_err());
        }
    }
}
