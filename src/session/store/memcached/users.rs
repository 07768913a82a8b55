//! The items of the users: who has an epoch, and which sessions began in it.
//!
//! Invariants: an item is changed only from the version that was read; a user whose item is evicted,
//! replaced or deleted has no session any more, whatever other items say.

use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::time::sleep;

use crate::clock::{Clock, Timestamp};
use crate::identity::UserId;
use crate::storage::memcached::{Added, Client, Expiry, Item, Key, MemcachedError, Swapped, Version};

use super::item::{Epoch, UserItem};
use crate::session::store::StoreError;
use crate::session::token::{SessionId, random};

/// The users of a store.
#[derive(Clone)]
pub(super) struct Users {
    client: Arc<Client>,
    clock: Clock,
}

impl Users {
    pub(super) fn new(client: Arc<Client>, clock: Clock) -> Self {
        Self { client, clock }
    }

    /// What there is of a user.
    pub(super) async fn read(&self, user: &UserId) -> Result<Found, MemcachedError> {
        Ok(Found::new(user, self.client.get(&self.key(user)).await?))
    }

    pub(super) fn key(&self, user: &UserId) -> Key {
        self.client.key('u', &Sha256::digest(user.as_str()).into())
    }

    /// Notes a session that is about to begin and ends at `end`.
    pub(super) async fn join(
        &self,
        user: &UserId,
        id: SessionId,
        end: Timestamp,
    ) -> Result<Joined, StoreError> {
        let join = |found: &Found| {
            // What cannot be read holds no session that could be told from one that was ended.
            let mut item =
                found.item().cloned().unwrap_or_else(|| UserItem::new(user.clone(), Timestamp::default()));
            let before = if item.ids.contains(&id) { Before::Listed } else { Before::Unknown };
            if before == Before::Unknown {
                item.ids.push(id);
            }
            let excess = item.ids.len().saturating_sub(LISTED);
            item.ids.drain(..excess);
            item.until = item.until.max(end + SLACK);
            let joined = Joined { epoch: item.epoch, count: item.ids.len(), before };
            Step::Write(item, joined)
        };
        self.change(user, join).await
    }

    /// Makes the item of a user outlive a session that ends later now. Answers whether the session's
    /// epoch is still the present one.
    pub(super) async fn extend(
        &self,
        user: &UserId,
        epoch: Epoch,
        end: Timestamp,
    ) -> Result<Life, StoreError> {
        let extend = |found: &Found| match found.item() {
            Some(item) if item.epoch != epoch => Step::Keep(Life::Over),
            Some(item) if item.until >= end => Step::Keep(Life::GoesOn),
            Some(item) => Step::Write(UserItem { until: end + SLACK, ..item.clone() }, Life::GoesOn),
            None => Step::Keep(Life::Over),
        };
        self.change(user, extend).await
    }

    /// Takes sessions off the list. Answers the present epoch.
    pub(super) async fn leave(&self, user: &UserId, ids: &[SessionId]) -> Result<Option<Epoch>, StoreError> {
        let leave = |found: &Found| match found.item() {
            Some(item) if item.ids.iter().any(|id| ids.contains(id)) => {
                let mut item = item.clone();
                item.ids.retain(|id| !ids.contains(id));
                let epoch = item.epoch;
                Step::Write(item, Some(epoch))
            }
            other => Step::Keep(other.map(|item| item.epoch)),
        };
        self.change(user, leave).await
    }

    /// Begins a new epoch, in which there is no session. Answers what there was before.
    pub(super) async fn renew(&self, user: &UserId) -> Result<Option<UserItem>, StoreError> {
        let renew = |found: &Found| match found {
            Found::Absent => Step::Keep(None),
            // It has nothing to outlive, so the server may forget it at once.
            Found::Unreadable(_) | Found::Item(..) => {
                Step::Write(UserItem::new(user.clone(), Timestamp::default()), found.item().cloned())
            }
        };
        self.change(user, renew).await
    }

    /// Changes the item of a user as `step` says, until nobody was faster.
    async fn change<T>(
        &self,
        user: &UserId,
        mut step: impl FnMut(&Found) -> Step<T>,
    ) -> Result<T, StoreError> {
        for _ in 0..ROUNDS {
            let found = self.read(user).await?;
            let (item, answer) = match step(&found) {
                Step::Keep(answer) => return Ok(answer),
                Step::Write(item, answer) => (item, answer),
            };
            if self.write(&item, found.version()).await? == Race::Won {
                return Ok(answer);
            }
            let [wait] = *random();
            sleep(Duration::from_micros(u64::from(wait) * 40)).await;
        }
        Err(StoreError::Unavailable("too many sessions of this user begin or end at once".to_owned()))
    }

    async fn write(&self, item: &UserItem, before: Option<Version>) -> Result<Race, MemcachedError> {
        let (key, value) = (self.key(&item.user), item.encode());
        let expiry = Expiry::at(item.until + MARGIN, self.clock.now());
        let is_done = match before {
            Some(version) => self.client.swap(&key, &value, expiry, version).await? == Swapped::Done,
            None => self.client.add(&key, &value, expiry).await? == Added::New,
        };
        Ok(if is_done { Race::Won } else { Race::Lost })
    }
}

/// What there is of a user.
#[derive(Debug)]
pub(super) enum Found {
    Absent,
    Unreadable(Version),
    Item(UserItem, Version),
}

impl Found {
    pub(super) fn new(user: &UserId, item: Option<Item>) -> Self {
        let Some(Item { value, version }) = item else { return Self::Absent };
        match UserItem::decode(user, &value) {
            Some(item) => Self::Item(item, version),
            None => Self::Unreadable(version),
        }
    }

    pub(super) fn item(&self) -> Option<&UserItem> {
        match self {
            Self::Item(item, _) => Some(item),
            Self::Absent | Self::Unreadable(_) => None,
        }
    }

    fn version(&self) -> Option<Version> {
        match self {
            Self::Item(_, version) | Self::Unreadable(version) => Some(*version),
            Self::Absent => None,
        }
    }
}

/// What a new session needs to know.
pub(super) struct Joined {
    pub(super) epoch: Epoch,
    /// How many sessions are listed.
    pub(super) count: usize,
    pub(super) before: Before,
}

/// Whether a session was on the list already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Before {
    Listed,
    Unknown,
}

/// Whether the sessions of an epoch live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    GoesOn,
    Over,
}

enum Step<T> {
    Keep(T),
    Write(UserItem, T),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Race {
    Won,
    Lost,
}

/// Items outlive their sessions by this, so that clocks need not agree to the second.
pub(super) const MARGIN: Duration = Duration::from_mins(1);
/// How many sessions of a user are listed. Older ones fall off the list, and end with the others.
pub(super) const LISTED: usize = 256;
/// Not every activity of a session moves the end of its user's item.
const SLACK: Duration = Duration::from_hours(1);
/// How often a change is tried again because somebody else was faster.
const ROUNDS: usize = 64;
