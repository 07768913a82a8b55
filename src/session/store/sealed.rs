//! Sessions that their browsers keep: only what was ended is remembered here.
//!
//! A session is in its cookie, sealed; this store says which ones are over before their time. It keeps
//! marks in an ordinary store: one under the id of a session that was ended, and one under an id of
//! its own that ends every session which a user began before it. Marks are dropped when no session that they end could live any more. Invariant: a mark is durable before the end of a session is acknowledged; where the marks cannot be
//! read, nobody is let in.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use crate::clock::{Clock, Timestamp};
use crate::identity::UserId;

use super::{Answer, Claim, Entry, KeyUse, Listener, Place, Row, SessionStore, Sharing, StoreError, Touch};
use crate::session::keyring::KeyId;
use crate::session::token::{SessionId, Token};

/// The marks of ended sessions, in another store.
pub(crate) struct SealedStore {
    marks: Arc<dyn SessionStore>,
    clock: Clock,
    /// How long a mark is kept.
    kept: Duration,
    /// The marks of the last minute: a primary that is gone may not have handed them on.
    recent: Arc<Mutex<VecDeque<Row>>>,
}

impl SealedStore {
    /// Marks are kept in `marks`, at least for as long as a session may live at most: `longest`.
    pub(crate) fn new(marks: Arc<dyn SessionStore>, clock: Clock, longest: Duration) -> Self {
        Self { marks, clock, kept: longest.max(KEPT), recent: Arc::default() }
    }

    async fn mark(&self, id: SessionId, user: UserId, reach: Reach) -> Result<(), StoreError> {
        let (now, key) = (self.clock.now(), KeyId::from_bytes([0; 4]));
        let expires_at = now + self.kept;
        let row = Row { id, user, key, created: now, last_seen: now, expires_at, record: reach.record() };
        self.remember(row.clone());
        match self.marks.insert(row).await {
            Ok(()) => Ok(()),
            Err(error) => match self.marks.load(id).await? {
                // Ended twice: the first mark does.
                Some(_) => Ok(()),
                None => Err(error),
            },
        }
    }

    fn remember(&self, mark: Row) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        while recent.len() >= RECENT
            || recent.front().is_some_and(|old| old.created + REPEATED < mark.created)
        {
            recent.pop_front();
        }
        recent.push_back(mark);
    }

    async fn permit(&self, claim: &Claim) -> Result<bool, StoreError> {
        if self.marks.load(claim.id).await?.is_some() {
            return Ok(false);
        }
        let of_user = self.marks.of_user(claim.user.clone()).await?;
        // SECURITY: a session that began in the very millisecond of the mark is over too, and a mark
        // that cannot be read ends all of them.
        let allows = |mark: &Row| !Reach::User.is_of(mark) || claim.created > mark.created;
        Ok(of_user.iter().all(|mark| mark.row.as_ref().is_some_and(allows)))
    }
}

impl SessionStore for SealedStore {
    fn insert(&self, _: Row) -> Answer<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Asked for health, and for ids without their cookies: there is no record to find.
    fn load(&self, id: SessionId) -> Answer<'_, Option<Row>> {
        Box::pin(async move { self.marks.load(id).await.map(|_mark| None) })
    }

    fn touch(&self, _: Vec<Touch>) -> Answer<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn remove(&self, ids: Vec<SessionId>) -> Answer<'_, Vec<SessionId>> {
        Box::pin(async move {
            let nobody = nobody()?;
            for id in &ids {
                self.mark(*id, nobody.clone(), Reach::Session).await?;
            }
            Ok(ids)
        })
    }

    fn of_user(&self, _: UserId) -> Answer<'_, Vec<Entry>> {
        unsupported()
    }

    fn remove_user(&self, user: UserId) -> Answer<'_, Vec<SessionId>> {
        Box::pin(async move {
            self.mark(Token::generate().session(), user, Reach::User).await?;
            Ok(Vec::new())
        })
    }

    fn users(&self, _: Timestamp) -> Answer<'_, Vec<UserId>> {
        unsupported()
    }

    fn key_use(&self, _: Timestamp) -> Answer<'_, Vec<KeyUse>> {
        unsupported()
    }

    fn by_end(&self, _: Option<Place>, _: Timestamp, _: usize) -> Answer<'_, Vec<Entry>> {
        unsupported()
    }

    fn permits(&self, claim: Claim) -> Answer<'_, bool> {
        Box::pin(async move { self.permit(&claim).await })
    }

    fn tidy(&self, now: Timestamp) -> Answer<'_, usize> {
        Box::pin(async move {
            let mut dropped = 0_usize;
            loop {
                let over = self.marks.by_end(None, now, BATCH).await?;
                if over.is_empty() {
                    return Ok(dropped);
                }
                let ids = over.iter().map(|entry| entry.place.id).collect();
                dropped = dropped.saturating_add(self.marks.remove(ids).await?.len());
            }
        })
    }

    fn share(&self, listener: Arc<dyn Listener>) -> Sharing {
        let control = tokio::runtime::Handle::current();
        let (marks, recent) = (Arc::downgrade(&self.marks), Arc::clone(&self.recent));
        let clock = self.clock.clone();
        self.marks.share(Arc::new(MarkListener { listener, marks, recent, clock, control }))
    }

    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.marks.close()
    }
}

fn unsupported<'a, T: Send + 'a>() -> Answer<'a, T> {
    Box::pin(std::future::ready(Err(StoreError::Unsupported(
        "sessions are in the cookies of their browsers, so nobody can list them",
    ))))
}

/// Turns news of marks into news of sessions.
struct MarkListener {
    listener: Arc<dyn Listener>,
    marks: Weak<dyn SessionStore>,
    recent: Arc<Mutex<VecDeque<Row>>>,
    clock: Clock,
    control: tokio::runtime::Handle,
}

impl MarkListener {
    /// Sets the marks of the last minute again, in what may be another server than the one that took
    /// them.
    async fn repeat(marks: Arc<dyn SessionStore>, recent: Vec<Row>) {
        for mark in recent {
            let id = mark.id;
            // One that is there already is refused.
            if marks.insert(mark).await.is_err() && !matches!(marks.load(id).await, Ok(Some(_))) {
                tracing::warn!(session = %id, "the end of a session could not be repeated");
            }
        }
    }
}

impl Listener for MarkListener {
    fn began(&self) {
        self.listener.began();
        let Some(marks) = self.marks.upgrade() else { return };
        let since = self.clock.now() - REPEATED;
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let recent: Vec<_> = recent.iter().filter(|mark| mark.created >= since).cloned().collect();
        self.control.spawn(Self::repeat(marks, recent));
    }

    fn confirmed(&self) {
        self.listener.confirmed();
    }

    fn changed(&self, id: SessionId) {
        self.listener.changed(id);
        let (listener, marks) = (Arc::clone(&self.listener), Weak::clone(&self.marks));
        self.control.spawn(async move {
            let Some(marks) = marks.upgrade() else { return };
            match marks.load(id).await {
                Ok(Some(mark)) if Reach::User.is_of(&mark) => listener.changed_user(&mark.user),
                Ok(_) => {}
                // Whose sessions were ended cannot be read: nobody's are certain any more.
                Err(_) => listener.changed_some(),
            }
        });
    }

    fn changed_user(&self, user: &UserId) {
        self.listener.changed_user(user);
    }

    fn changed_some(&self) {
        self.listener.changed_some();
    }

    fn lost(&self) {
        self.listener.lost();
    }
}

/// What a mark ends.
#[derive(Clone, Copy)]
enum Reach {
    /// The session of its id.
    Session,
    /// All that its user began before it.
    User,
}

impl Reach {
    fn record(self) -> Vec<u8> {
        match self {
            Self::Session => b"session".to_vec(),
            Self::User => b"user".to_vec(),
        }
    }

    fn is_of(self, mark: &Row) -> bool {
        mark.record == self.record()
    }
}

/// Whose the mark of a single session is: it is found by its id alone.
fn nobody() -> Result<UserId, StoreError> {
    UserId::try_from("-").map_err(|error| StoreError::Unavailable(error.to_string()))
}

/// Marks outlive every session that they end, also when lifetimes are lengthened meanwhile.
const KEPT: Duration = Duration::from_hours(60 * 24);
/// For how long marks are set again on a new connection.
const REPEATED: Duration = Duration::from_mins(1);
/// The most marks that are remembered for that.
const RECENT: usize = 65_536;
const BATCH: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::store::memory::MemoryStore;

    fn claim(number: u8, user: &str, created: Timestamp) -> Claim {
        let (id, user) = (SessionId::from_bytes([number; 32]), UserId::try_from(user).unwrap());
        Claim { id, user, created }
    }

    fn store() -> (SealedStore, Clock, crate::clock::ClockHand) {
        let (clock, hand) = Clock::movable();
        let marks = Arc::new(MemoryStore::new());
        (SealedStore::new(marks, clock.clone(), Duration::from_hours(12)), clock, hand)
    }

    #[tokio::test]
    async fn a_session_lives_until_it_is_ended_and_then_no_more() {
        let (store, clock, _) = store();
        let (one, other) = (claim(1, "alice", clock.now()), claim(2, "alice", clock.now()));
        assert_eq!(store.permits(one.clone()).await, Ok(true));
        for _ in 0..2 {
            assert_eq!(store.remove(vec![one.id]).await, Ok(vec![one.id]));
            assert_eq!(store.permits(one.clone()).await, Ok(false));
        }
        assert_eq!(store.permits(other).await, Ok(true));
    }

    #[tokio::test]
    async fn all_sessions_that_a_user_began_before_end_at_once() {
        let (store, clock, hand) = store();
        let (alice, bob) = (claim(1, "alice", clock.now()), claim(2, "bob", clock.now()));
        store.remove_user(alice.user.clone()).await.unwrap();
        assert_eq!(store.permits(alice.clone()).await, Ok(false));
        assert_eq!(store.permits(bob).await, Ok(true));
        hand.advance(Duration::from_millis(1));
        let anew = claim(3, "alice", clock.now());
        assert_eq!(store.permits(anew.clone()).await, Ok(true));
        hand.advance(Duration::from_secs(1));
        store.remove_user(alice.user.clone()).await.unwrap();
        assert_eq!(store.permits(anew).await, Ok(false));
    }

    #[tokio::test]
    async fn marks_go_when_nothing_could_need_them() {
        let (store, clock, hand) = store();
        store.remove(vec![SessionId::from_bytes([1; 32])]).await.unwrap();
        hand.advance(Duration::from_hours(59 * 24));
        assert_eq!(store.tidy(clock.now()).await, Ok(0));
        hand.advance(Duration::from_hours(24));
        assert_eq!(store.tidy(clock.now()).await, Ok(1));
        assert_eq!(store.tidy(clock.now()).await, Ok(0));
    }

    #[tokio::test]
    async fn marks_that_cannot_be_read_let_nobody_in() {
        let (store, clock, _) = store();
        store.close().await;
        assert!(matches!(
            store.permits(claim(1, "alice", clock.now())).await,
            Err(StoreError::Unavailable(_))
        ));
    }
}
