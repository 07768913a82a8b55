//! What a session is: in memory, and sealed at rest.
//!
//! A record at rest is a version byte and a sealed JSON text. It is bound to its session's id, so
//! that the record of one session is worth nothing in the place of another's. Invariant: what cannot
//! be trusted (damaged, swapped, of another version, of another user than its row says) is
//! [`Untrusted`], never a session and never a panic.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::identity::{AuthMethod, Identity};

use super::binding::Device;
use super::cookie::Carried;
use super::engine::Verified;
use super::keyring::{KeyId, KeyRing};
use super::lifetime::{Remember, Times, TokenAge};
use super::proofs::Proofs;
use super::store::{Resealed, Row};
use super::token::SessionId;

mod heir;
mod token_age;

#[cfg(test)]
mod tests;

use token_age::PackedTokenAge;

/// Somebody's identity over time. Shared by every request of the session.
#[derive(Debug)]
pub struct Session {
    id: SessionId,
    body: Body,
    key: AtomicU32,
    /// The key under which the store has its record.
    stored_key: AtomicU32,
    token: PackedTokenAge,
    last_seen: AtomicI64,
    /// When the store was last known to have it, in milliseconds; [`DOUBT`] when nobody knows.
    verified: AtomicI64,
    /// The epoch of what the store told then.
    verified_in: AtomicU64,
    /// Its record changed since it was stored.
    changed: AtomicBool,
    /// Waits in the list of sessions with news for the store.
    listed: AtomicBool,
    ended: AtomicBool,
}

impl Session {
    /// Its name.
    #[must_use]
    pub const fn id(&self) -> SessionId {
        self.id
    }

    /// The key that seals its record and signed the newest cookie that its browser has shown.
    #[must_use]
    pub fn key(&self) -> KeyId {
        key_id(&self.key)
    }

    /// The newest token that its browser has shown.
    #[must_use]
    pub fn token(&self) -> TokenAge {
        self.token.get()
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
            proofs: start.proofs,
            remembered: start.remember == Remember::Yes,
            user_agent: cut(start.user_agent).to_owned(),
            address: start.address,
        };
        Self::from_body(id, key, body, TokenAge { generation: 0, since: start.now }, start.now)
    }

    /// The session of a row that a store gave, if everything about it fits.
    pub(super) fn open(row: &Row, ring: &KeyRing) -> Result<Self, Untrusted> {
        let session = Self::open_record(row.id, row.key, &row.record, ring)?;
        // SECURITY: the clear columns serve indexes only. One that disagrees was tampered with, and
        // a revocation by user would have missed this session.
        if session.body.identity.user != row.user || session.body.created != row.created.as_millis() {
            return Err(Untrusted::Columns);
        }
        session.last_seen.store(row.last_seen.max(row.created).as_millis(), Ordering::Relaxed);
        Ok(session)
    }

    /// The session of a sealed record; its last activity is its beginning.
    pub(super) fn open_record(
        id: SessionId,
        key: KeyId,
        record: &[u8],
        ring: &KeyRing,
    ) -> Result<Self, Untrusted> {
        let (&version, sealed) = record.split_first().ok_or(Untrusted::Damaged)?;
        if version != VERSION {
            return Err(Untrusted::Version);
        }
        let opener = ring.key(key).ok_or(Untrusted::Key)?;
        let text = opener.open(&context(id, key), sealed).ok_or(Untrusted::Damaged)?;
        let content: Content<Body> = serde_json::from_slice(&text).map_err(|_| Untrusted::Content)?;
        let since = Timestamp::from_millis(content.token_since.unwrap_or(content.body.created));
        let token = TokenAge { generation: content.generation, since };
        let created = Timestamp::from_millis(content.body.created);
        Ok(Self::from_body(id, key, content.body, token, created))
    }

    /// Its record, sealed by its key; nothing when that is no longer listed.
    pub(super) fn seal(&self, ring: &KeyRing) -> Option<Resealed> {
        let (key, token) = (self.key(), self.token());
        let content = Content {
            body: &self.body,
            generation: token.generation,
            token_since: Some(token.since.as_millis()),
        };
        let text = serde_json::to_vec(&content).ok()?;
        let sealed = ring.key(key)?.seal(&context(self.id, key), text)?;
        let mut record = Vec::with_capacity(sealed.len().saturating_add(1));
        record.push(VERSION);
        record.extend_from_slice(&sealed);
        Some(Resealed { key, record })
    }

    /// This session as a row that ends at `expires_at`; nothing when its key is no longer listed.
    pub(super) fn to_row(&self, ring: &KeyRing, expires_at: Timestamp) -> Option<Row> {
        let Resealed { key, record } = self.seal(ring)?;
        Some(Row {
            id: self.id,
            user: self.body.identity.user.clone(),
            key,
            created: self.created(),
            last_seen: self.last_seen(),
            expires_at,
            record,
        })
    }

    /// This session as its browser is to keep it; nothing when its key is no longer listed.
    pub(super) fn carry(&self, ring: &KeyRing) -> Option<Carried> {
        // The cookie is signed by the key that signs now, and names it for the record too.
        let copy = self.copy();
        copy.rekey(ring.signer().id());
        Some(Carried { last_seen: self.last_seen(), record: copy.seal(ring)?.record })
    }

    /// The session that a browser kept.
    pub(super) fn open_carried(
        id: SessionId,
        key: KeyId,
        carried: &Carried,
        ring: &KeyRing,
    ) -> Result<Self, Untrusted> {
        let session = Self::open_record(id, key, &carried.record, ring)?;
        session.last_seen.fetch_max(carried.last_seen.as_millis(), Ordering::Relaxed);
        Ok(session)
    }

    /// The same session, as it is now, apart from this one.
    pub(super) fn copy(&self) -> Self {
        Self::from_body(self.id, self.key(), self.body.clone(), self.token(), self.last_seen())
    }

    /// The device that logged in.
    pub(super) fn device(&self) -> Device<'_> {
        Device { user_agent: &self.body.user_agent, address: self.body.address }
    }

    /// The browser has shown a newer token.
    pub(super) fn advance(&self, generation: u32, now: Timestamp) {
        if self.token.advance(TokenAge { generation, since: now }) {
            self.changed.store(true, Ordering::Release);
        }
    }

    /// The browser has shown a cookie that `key` signed.
    pub(super) fn rekey(&self, key: KeyId) {
        self.key.store(u32::from_be_bytes(*key.as_bytes()), Ordering::Release);
        self.changed.store(true, Ordering::Release);
    }

    /// Whether the record changed since this was asked last.
    pub(super) fn take_changed(&self) -> bool {
        self.changed.swap(false, Ordering::AcqRel)
    }

    /// The store did not take the changed record.
    pub(super) fn set_changed(&self) {
        self.changed.store(true, Ordering::Release);
    }

    /// The key under which the store has its record.
    pub(super) fn stored_key(&self) -> KeyId {
        key_id(&self.stored_key)
    }

    /// The store has its record under this key now.
    pub(super) fn stored_under(&self, key: KeyId) {
        self.stored_key.store(u32::from_be_bytes(*key.as_bytes()), Ordering::Release);
    }

    /// When the store was last known to have it.
    pub(super) fn verified(&self) -> Option<Verified> {
        let at = self.verified.load(Ordering::Acquire);
        let epoch = self.verified_in.load(Ordering::Acquire);
        (at != DOUBT).then(|| Verified { at: Timestamp::from_millis(at), epoch })
    }

    /// The store had it when it was asked at `verified`.
    pub(super) fn verify(&self, verified: Verified) {
        // In this order: between the two, the session looks older than it is.
        self.verified_in.store(verified.epoch, Ordering::Release);
        self.verified.store(verified.at.as_millis(), Ordering::Release);
    }

    /// Nobody knows whether the store still has it.
    pub(super) fn doubt(&self) {
        self.verified.store(DOUBT, Ordering::Release);
    }

    /// Its browser says, under our signature, that it was seen then.
    pub(super) fn seen(&self, at: Timestamp) {
        self.last_seen.fetch_max(at.as_millis(), Ordering::Relaxed);
    }

    /// Takes over what other processes stored of the same session. Answers whether it is the same: what
    /// a login proved never changes within a session.
    pub(super) fn merge(&self, stored: &Self) -> bool {
        if self.body != stored.body {
            return false;
        }
        self.last_seen.fetch_max(stored.last_seen.load(Ordering::Relaxed), Ordering::Relaxed);
        if stored.token().generation < self.token().generation {
            // What another process stored took the place of something newer.
            self.set_changed();
        }
        self.token.advance(stored.token());
        self.stored_under(stored.key());
        if !self.changed.load(Ordering::Acquire) {
            self.key.store(stored.key.load(Ordering::Acquire), Ordering::Release);
        }
        if let Some(verified) = stored.verified() {
            self.verify(verified);
        }
        true
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

    fn from_body(id: SessionId, key: KeyId, body: Body, token: TokenAge, last_seen: Timestamp) -> Self {
        let key = u32::from_be_bytes(*key.as_bytes());
        Self {
            id,
            body,
            key: AtomicU32::new(key),
            stored_key: AtomicU32::new(key),
            token: PackedTokenAge::new(token),
            last_seen: AtomicI64::new(last_seen.as_millis()),
            verified: AtomicI64::new(DOUBT),
            verified_in: AtomicU64::new(0),
            changed: AtomicBool::new(false),
            listed: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        }
    }
}

/// What begins a session.
#[derive(Debug)]
pub(super) struct Start<'a> {
    pub(super) identity: Identity,
    pub(super) method: AuthMethod,
    pub(super) proofs: Proofs,
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Body {
    identity: Identity,
    method: AuthMethod,
    created: i64,
    authenticated: i64,
    #[serde(default, skip_serializing_if = "Proofs::is_empty")]
    proofs: Proofs,
    remembered: bool,
    user_agent: String,
    address: IpAddr,
}

/// A body, and what changes while the session lives.
#[derive(Debug, Serialize, Deserialize)]
struct Content<B> {
    #[serde(flatten)]
    body: B,
    #[serde(default)]
    generation: u32,
    #[serde(default)]
    token_since: Option<i64>,
}

fn key_id(key: &AtomicU32) -> KeyId {
    KeyId::from_bytes(key.load(Ordering::Acquire).to_be_bytes())
}

/// A user agent as far as it is kept.
pub(super) fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(USER_AGENT_LIMIT)).unwrap_or_default()
}

/// What a record is bound to.
fn context(id: SessionId, key: KeyId) -> Vec<u8> {
    [b"vestibule record".as_slice(), &[VERSION], key.as_bytes(), id.as_bytes()].concat()
}

const VERSION: u8 = 1;
/// No clock shows it.
const DOUBT: i64 = i64::MIN;
