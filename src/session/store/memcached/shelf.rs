//! What is done with the items of sessions; those of users are left to [`super::users`].
//!
//! Invariants: an item is changed only from the version that was read, so a session that was removed is
//! never written back; one server that does not answer keeps nobody from what the others hold.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::clock::{Clock, Timestamp};
use crate::identity::UserId;
use crate::session::store::{Entry, Place, Row, StoreError, Touch};
use crate::session::token::SessionId;
use crate::storage::memcached::{
    Added, Client, Deleted, Expiry, Item, Key, MemcachedError, Swapped, Version,
};

use super::item::{SessionItem, UserItem};
use super::users::{Before, Found, Life, MARGIN, Users};

/// The sessions of a store. Clones are the same.
#[derive(Clone)]
pub(super) struct Shelf {
    client: Arc<Client>,
    users: Users,
    clock: Clock,
}

impl Shelf {
    pub(super) fn new(client: Arc<Client>, clock: Clock) -> Self {
        Self { users: Users::new(Arc::clone(&client), clock.clone()), client, clock }
    }

    pub(super) async fn insert(&self, row: Row) -> Result<(), StoreError> {
        let (id, user, end) = (row.id, row.user.clone(), row.expires_at);
        let joined = self.users.join(&user, id, end).await?;
        let value = SessionItem { row, epoch: joined.epoch }.encode();
        if self.client.add(&self.key(id), &value, self.expiry(end)).await? == Added::Taken {
            if joined.before == Before::Unknown {
                let _skipped_by_every_list = self.users.leave(&user, &[id]).await;
            }
            return Err(StoreError::Unavailable("a session with this id exists".to_owned()));
        }
        if joined.count.is_multiple_of(TIDY_EVERY) {
            let _tried_again_later = self.tidy(&user).await;
        }
        Ok(())
    }

    pub(super) async fn load(&self, id: SessionId) -> Result<Option<Row>, StoreError> {
        let Some(found) = self.client.get(&self.key(id)).await? else { return Ok(None) };
        let session = SessionItem::decode(id, &found.value)
            .ok_or_else(|| StoreError::Corrupt("an item is not the session of its key".to_owned()))?;
        let found = self.users.read(&session.row.user).await?;
        let user = readable(&found)?;
        Ok(user.filter(|user| user.epoch == session.epoch).map(|_| session.row))
    }

    /// News that cannot be stored keep no other news from being stored.
    pub(super) async fn touch(&self, touches: Vec<Touch>) -> Result<(), StoreError> {
        let mut found = self.sessions(touches.iter().map(|touch| touch.id)).await;
        let mut outcome = Ok(());
        for touch in &touches {
            // The second news of a session reads it again.
            let first = found.remove(&touch.id);
            outcome = outcome.and(self.touch_one(touch, first).await);
        }
        outcome
    }

    pub(super) async fn remove(&self, ids: Vec<SessionId>) -> Result<Vec<SessionId>, StoreError> {
        let (mut removed, mut outcome) = (Vec::new(), Ok(()));
        let mut leaving: HashMap<UserId, Vec<SessionItem>> = HashMap::new();
        let found = self.sessions(ids.iter().copied()).await;
        let deleted = self.client.delete_many(ids.iter().map(|id| self.key(*id))).await;
        for id in ids.into_iter().collect::<HashSet<_>>() {
            let deleted = deleted.get(&self.key(id)).cloned().unwrap_or(Ok(Deleted::Absent));
            match (deleted, found.get(&id)) {
                (Err(error), _) => outcome = Err(error.into()),
                (Ok(Deleted::Absent), _) => {}
                (Ok(Deleted::Done), Some(Ok(Some(Session::Readable(session, _))))) => {
                    leaving.entry(session.row.user.clone()).or_default().push(session.clone());
                }
                (Ok(Deleted::Done), _) => removed.push(id),
            }
        }
        for (user, sessions) in leaving {
            removed.extend(self.leave(&user, &sessions).await);
        }
        outcome.map(|()| removed)
    }

    pub(super) async fn of_user(&self, user: &UserId) -> Result<Vec<Entry>, StoreError> {
        let found = self.users.read(user).await?;
        let Some(item) = readable(&found)? else { return Ok(Vec::new()) };
        let mut entries = Vec::new();
        for (id, session) in self.sessions(item.ids.iter().copied()).await {
            match session? {
                Some(Session::Readable(session, _)) if session.epoch == item.epoch => {
                    entries.push(Entry { place: session.row.place(), row: Some(session.row) });
                }
                Some(Session::Unreadable) => {
                    entries.push(Entry { place: Place { expires_at: item.until, id }, row: None });
                }
                Some(Session::Readable(..)) | None => {}
            }
        }
        Ok(entries)
    }

    pub(super) async fn remove_user(&self, user: &UserId) -> Result<Vec<SessionId>, StoreError> {
        // SECURITY: from here on no session of the user is one, listed or not. Deleting them saves
        // memory and says which there were.
        let Some(before) = self.users.renew(user).await? else { return Ok(Vec::new()) };
        let sessions = self.sessions(before.ids.iter().copied()).await;
        let was_there = |session: &FoundSession| match session {
            Ok(Some(Session::Readable(session, _))) => session.epoch == before.epoch,
            Ok(None) => false,
            // Perhaps it was there, and now it is not.
            Ok(Some(Session::Unreadable)) | Err(_) => true,
        };
        let removed: Vec<SessionId> =
            sessions.iter().filter(|(_, session)| was_there(session)).map(|(id, _)| *id).collect();
        let _dead_anyway = self.client.delete_many(removed.iter().map(|id| self.key(*id))).await;
        Ok(removed)
    }

    /// Takes sessions that were deleted off the list of their user. Answers which of them lived.
    async fn leave(&self, user: &UserId, sessions: &[SessionItem]) -> Vec<SessionId> {
        let ids: Vec<SessionId> = sessions.iter().map(|session| session.row.id).collect();
        let Ok(epoch) = self.users.leave(user, &ids).await else {
            // They are gone; a list that still names them is tidied later.
            return ids;
        };
        let lived = sessions.iter().filter(|session| Some(session.epoch) == epoch);
        lived.map(|session| session.row.id).collect()
    }

    async fn touch_one(&self, touch: &Touch, mut first: Option<FoundSession>) -> Result<(), StoreError> {
        for _ in 0..ROUNDS {
            let found = match first.take() {
                Some(found) => found?,
                None => Session::found(touch.id, self.client.get(&self.key(touch.id)).await?),
            };
            let Some(Session::Readable(session, version)) = found else { return Ok(()) };
            let Some(after) = touched(session, touch) else { return Ok(()) };
            let (user, end) = (&after.row.user, after.row.expires_at);
            if self.users.extend(user, after.epoch, end).await? == Life::Over {
                return Ok(());
            }
            let (key, value) = (self.key(touch.id), after.encode());
            if self.client.swap(&key, &value, self.expiry(end), version).await? != Swapped::Changed {
                return Ok(());
            }
        }
        Err(StoreError::Unavailable("too many change this session at once".to_owned()))
    }

    /// Takes what is gone off the list of a user, but for the newest, which may be about to come.
    async fn tidy(&self, user: &UserId) -> Result<(), StoreError> {
        let found = self.users.read(user).await?;
        let Some(item) = readable(&found)? else { return Ok(()) };
        let settled = item.ids.iter().rev().skip(NEWEST).copied();
        let is_gone = |session: &FoundSession| match session {
            Ok(Some(Session::Readable(session, _))) => session.epoch != item.epoch,
            Ok(Some(Session::Unreadable)) | Err(_) => false,
            Ok(None) => true,
        };
        let sessions = self.sessions(settled).await;
        let gone = sessions.into_iter().filter(|(_, session)| is_gone(session));
        let gone: Vec<SessionId> = gone.map(|(id, _)| id).collect();
        self.users.leave(user, &gone).await.map(drop)
    }

    async fn sessions(&self, ids: impl IntoIterator<Item = SessionId>) -> HashMap<SessionId, FoundSession> {
        let ids: HashMap<Key, SessionId> = ids.into_iter().map(|id| (self.key(id), id)).collect();
        let items = self.client.get_many(ids.keys().cloned()).await;
        let named = items.into_iter().filter_map(|(key, item)| Some((*ids.get(&key)?, item)));
        named.map(|(id, item)| (id, item.map(|item| Session::found(id, item)))).collect()
    }

    fn key(&self, id: SessionId) -> Key {
        self.client.key('s', id.as_bytes())
    }

    fn expiry(&self, end: Timestamp) -> Expiry {
        Expiry::at(end + MARGIN, self.clock.now())
    }
}

/// What is kept under the key of a session.
enum Session {
    Readable(SessionItem, Version),
    Unreadable,
}

impl Session {
    fn found(id: SessionId, item: Option<Item>) -> Option<Self> {
        let Item { value, version } = item?;
        let session = SessionItem::decode(id, &value);
        Some(session.map_or(Self::Unreadable, |session| Self::Readable(session, version)))
    }
}

type FoundSession = Result<Option<Session>, MemcachedError>;

/// A session after these news, unless it has newer ones.
fn touched(session: SessionItem, touch: &Touch) -> Option<SessionItem> {
    let SessionItem { row, epoch } = session;
    let is_newer = row.last_seen <= touch.last_seen;
    if !is_newer && touch.resealed.is_none() {
        return None;
    }
    let mut row = row;
    if is_newer {
        (row.last_seen, row.expires_at) = (touch.last_seen, touch.expires_at);
    }
    if let Some(resealed) = &touch.resealed {
        row.key = resealed.key;
        row.record.clone_from(&resealed.record);
    }
    Some(SessionItem { row, epoch })
}

fn readable(found: &Found) -> Result<Option<&UserItem>, StoreError> {
    match found {
        Found::Absent => Ok(None),
        Found::Item(item, _) => Ok(Some(item)),
        Found::Unreadable(_) => {
            Err(StoreError::Corrupt("an item is not that of the user of its key".to_owned()))
        }
    }
}

/// How often news are tried again because somebody else was faster.
const ROUNDS: usize = 64;
/// After every so many sessions of a user the list is looked through.
const TIDY_EVERY: usize = 64;
/// So many sessions of a user may be noted and not yet kept.
const NEWEST: usize = 16;
