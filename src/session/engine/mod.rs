//! Opens, resumes and ends sessions: what the other rooms see of this one, and the only caller of a
//! store.
//!
//! Who may have a session is left to the login room, what it allows to the gateway. Invariants:
//! resuming a session that is in memory does no I/O and takes no lock across an await; an ended one is
//! forgotten here before its store is asked, and stays forgotten if the store fails; limits are
//! checked on every request by the policy of that moment.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use http::HeaderMap;
use http::header::HeaderValue;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::identity::{AuthMethod, Identity, UserId};
use crate::storage::sqlite::StorageError;
use crate::telemetry::audit::{Audit, EventKind};

use super::cache::{Admission, Burial, Buried, Cache, Look};
use super::cookie::{self, Found, NameError};
use super::keyring::KeyRing;
use super::lifetime::{Ended, Remember};
use super::record::{Ending, Listing, Session, Start, Untrusted};
use super::store::memory::MemoryStore;
use super::store::sqlite::SqliteStore;
use super::store::{KeyUse, SessionStore, StoreError};
use super::token::{SessionId, Token};
use super::{Config, Policy, StoreKind};

mod health;
mod trail;
mod upkeep;

#[cfg(test)]
mod tests;

use health::Health;

/// What a request presents, before anybody looks for its session.
pub type Presented = Found;

/// The sessions of this gateway. Clones are the same engine.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

impl Engine {
    /// Opens the store and starts the upkeep: activity is stored every few seconds, expired sessions
    /// are swept every minute. To be called on the control runtime, where those tasks stay.
    pub async fn start(
        config: Config,
        ring: Arc<KeyRing>,
        clock: Clock,
        audit: Audit,
    ) -> Result<Self, StartError> {
        config.policy.cookie.check()?;
        let store: Box<dyn SessionStore> = match &config.store {
            StoreKind::Memory => Box::new(MemoryStore::new()),
            StoreKind::Sqlite(path) => Box::new(SqliteStore::open(path).await?),
        };
        let engine = Self::with_store(store, config.policy, ring, clock, audit);
        let task = tokio::spawn(upkeep::run(Arc::downgrade(&engine.shared), engine.shared.stop.subscribe()));
        engine.shared.keep(task);
        Ok(engine)
    }

    /// Takes new rules and keys; they hold from the next request on. A cookie signed by a key that is
    /// no longer listed is refused.
    pub fn reload(&self, policy: Policy, ring: Arc<KeyRing>) {
        if let Err(error) = policy.cookie.check() {
            tracing::error!(%error, "session policy refused, the old one stays");
            return;
        }
        self.shared.settings.store(Arc::new(Settings { policy: Arc::new(policy), ring }));
        self.shared.tell_of_an_end();
    }

    /// The present rules.
    #[must_use]
    pub fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.shared.settings.load().policy)
    }

    /// The present keys.
    #[must_use]
    pub fn ring(&self) -> Arc<KeyRing> {
        Arc::clone(&self.shared.settings.load().ring)
    }

    /// Begins a session for somebody who proved who they are. Its token is always a new one, so what
    /// a browser presented before is worth nothing (no fixation).
    pub async fn open(&self, login: Login<'_>) -> Result<Opened, StoreError> {
        let shared = &self.shared;
        let settings = shared.settings.load_full();
        let token = Token::generate();
        let session = Arc::new(login.session(&token, &settings.ring, &shared.clock));
        let ends_at = settings.policy.lifetimes.ends_at(session.times());
        let sealed = session.seal(&settings.ring, ends_at);
        let row = sealed.ok_or_else(|| StoreError::Unavailable("the record cannot be sealed".to_owned()))?;
        let look = shared.cache.look(session.id());
        shared.health.watch(shared.store.insert(row).await)?;
        if let Look::Unknown(ticket) = look {
            let _stale_is_loaded_again = shared.cache.admit(ticket, &session);
        }
        shared.note(EventKind::SessionCreated, &session, session.method().as_str());
        let age = settings.policy.lifetimes.cookie_age(session.times().remember);
        let cookie = cookie::set(&token, &settings.ring, &settings.policy.cookie, age);
        Ok(Opened { cookie, session })
    }

    /// What the cookies of a request present. No I/O: a forged cookie ends here.
    #[must_use]
    pub fn present(&self, headers: &HeaderMap) -> Presented {
        let settings = self.shared.settings.load();
        cookie::find(headers, &settings.policy.cookie, &settings.ring)
    }

    /// The session that `token` opens; this counts as activity.
    pub async fn resume(&self, token: &Token) -> Result<Resumed, StoreError> {
        self.shared.find(token.session(), Activity::Counts).await
    }

    /// The session that `token` opens, without keeping it alive.
    pub async fn peek(&self, token: &Token) -> Result<Resumed, StoreError> {
        self.shared.find(token.session(), Activity::DoesNotCount).await
    }

    /// Whether a session with an open stream still lives; this is no activity. Asks the store only where
    /// memory does not know.
    pub async fn still_lives(&self, session: &Session) -> Result<bool, StoreError> {
        let found = self.shared.find(session.id(), Activity::DoesNotCount).await?;
        Ok(matches!(found, Resumed::Live(_)))
    }

    /// Counts what a stream carried as activity of its session.
    pub fn note_activity(&self, session: &Arc<Session>) {
        if session.touch(self.shared.clock.now()) == Listing::Needed {
            self.shared.list(session);
        }
    }

    /// Changes whenever a session may have ended, so that who holds streams open asks again.
    #[must_use]
    pub fn endings(&self) -> watch::Receiver<()> {
        self.shared.endings.subscribe()
    }

    /// Ends a session. `Ok` says that this is durable; after an error it is ended in this process, and
    /// the store is asked again until it has forgotten it too.
    pub async fn end(&self, session: &Session, why: EndReason) -> Result<(), StoreError> {
        if session.end() == Ending::First {
            self.shared.note(why.kind(), session, why.as_str());
        }
        self.shared.cache.bury(session.id(), Buried::Ended);
        self.shared.tell_of_an_end();
        self.shared.remove(session.id()).await.map(drop)
    }

    /// Ends the session with this id, as [`Self::end`] does, and answers how many there were.
    pub async fn end_by_id(&self, id: SessionId, why: EndReason) -> Result<usize, StoreError> {
        if let Some(session) = self.shared.cache.get(id) {
            return self.end(&session, why).await.map(|()| 1);
        }
        let user = match self.shared.health.watch(self.shared.store.load(id).await) {
            Ok(Some(row)) => Some(row.user),
            Ok(None) => return Ok(0),
            Err(StoreError::Corrupt(_)) => None,
            Err(error) => return Err(error),
        };
        if self.shared.cache.bury(id, Buried::Ended) != Burial::Again {
            self.shared.note_id(why.kind(), id, user.as_ref(), why.as_str());
        }
        self.shared.tell_of_an_end();
        self.shared.remove(id).await
    }

    /// Ends every session of a user and answers how many there were. After an error those in memory
    /// are ended, and others of the user may live: ask again.
    pub async fn end_user(&self, user: &UserId, why: EndReason) -> Result<usize, StoreError> {
        let shared = &self.shared;
        shared.bury_all(&shared.cache.of_user(user), user, why);
        let stored = shared.health.watch(shared.store.of_user(user.clone()).await)?;
        let stored: Vec<_> = stored.iter().map(|entry| entry.place.id).collect();
        shared.bury_all(&stored, user, why);
        let removed = shared.health.watch(shared.store.remove_user(user.clone()).await)?;
        // Those that began meanwhile.
        let late: Vec<_> = removed.iter().copied().filter(|id| !stored.contains(id)).collect();
        shared.bury_all(&late, user, why);
        shared.cache.forget_all(&removed);
        Ok(removed.len())
    }

    /// The users with live sessions.
    pub async fn users(&self) -> Result<Vec<UserId>, StoreError> {
        self.shared.health.watch(self.shared.store.users(self.shared.clock.now()).await)
    }

    /// The keys that live sessions depend on.
    pub async fn key_use(&self) -> Result<Vec<KeyUse>, StoreError> {
        self.shared.health.watch(self.shared.store.key_use(self.shared.clock.now()).await)
    }

    /// Whether the store answers.
    pub async fn reachable(&self) -> Result<(), StoreError> {
        let nobody = Token::generate().session();
        self.shared.store.load(nobody).await.map(drop)
    }

    /// Sessions in the first-level cache.
    #[must_use]
    pub fn cached(&self) -> usize {
        self.shared.cache.len()
    }

    /// Stores what is not stored yet and closes the store. To be called when no request runs.
    pub async fn stop(&self) {
        self.shared.finish_upkeep().await;
        self.shared.store.close().await;
    }

    fn with_store(
        store: Box<dyn SessionStore>,
        policy: Policy,
        ring: Arc<KeyRing>,
        clock: Clock,
        audit: Audit,
    ) -> Self {
        let settings = ArcSwap::from_pointee(Settings { policy: Arc::new(policy), ring });
        let shared = Shared {
            store,
            cache: Cache::new(),
            settings,
            clock,
            audit,
            health: Health::default(),
            touched: Mutex::default(),
            endings: watch::channel(()).0,
            stop: watch::channel(()).0,
            task: Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

/// What begins a session.
#[derive(Debug)]
pub struct Login<'a> {
    /// Who somebody proved to be.
    pub identity: Identity,
    /// How.
    pub method: AuthMethod,
    /// Whether they want to stay signed in.
    pub remember: Remember,
    /// Their browser, as it says itself.
    pub user_agent: &'a str,
    /// Their address.
    pub address: IpAddr,
}

impl Login<'_> {
    fn session(self, token: &Token, ring: &KeyRing, clock: &Clock) -> Session {
        let Self { identity, method, remember, user_agent, address } = self;
        let start = Start { identity, method, remember, user_agent, address, now: clock.now() };
        Session::new(token.session(), ring.signer().id(), start)
    }
}

/// A session that has begun.
#[derive(Debug)]
pub struct Opened {
    /// The `Set-Cookie` value for the browser; the only place where its token is.
    pub cookie: HeaderValue,
    /// The session.
    pub session: Arc<Session>,
}

/// What a token opens.
#[derive(Clone, Debug)]
pub enum Resumed {
    /// A live session.
    Live(Arc<Session>),
    /// A session that reached this limit, just now or a moment ago.
    Expired(Ended),
    /// Nothing, or nothing any more.
    Gone,
}

/// Why a session is ended before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// Its user logged out.
    Logout,
    /// An administrator, or its user from elsewhere, ended it.
    Revoked,
    /// The account was disabled or removed.
    AccountDisabled,
    /// A new login took its place.
    Replaced,
}

impl EndReason {
    /// The words for the audit trail.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Logout => "logout",
            Self::Revoked => "revoked",
            Self::AccountDisabled => "account disabled",
            Self::Replaced => "replaced by a new login",
        }
    }

    const fn kind(self) -> EventKind {
        match self {
            Self::Logout => EventKind::SessionEnded,
            Self::Revoked | Self::AccountDisabled | Self::Replaced => EventKind::SessionRevoked,
        }
    }
}

/// Why the engine does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store cannot be opened.
    #[error("the session store does not open: {0}")]
    Store(#[from] StorageError),
    /// Browsers would not guard the cookie.
    #[error("`session.cookie.name`: {0}")]
    Cookie(#[from] NameError),
}

struct Shared {
    store: Box<dyn SessionStore>,
    cache: Cache,
    settings: ArcSwap<Settings>,
    clock: Clock,
    audit: Audit,
    health: Health,
    /// Sessions whose last-seen time is not stored yet; each is in it once.
    touched: Mutex<Vec<Arc<Session>>>,
    /// Tells holders of open streams that a session may have ended.
    endings: watch::Sender<()>,
    stop: watch::Sender<()>,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// What a reload replaces, at once.
struct Settings {
    policy: Arc<Policy>,
    ring: Arc<KeyRing>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Activity {
    Counts,
    DoesNotCount,
}

impl Shared {
    async fn find(&self, id: SessionId, activity: Activity) -> Result<Resumed, StoreError> {
        if let Some(session) = self.cache.get(id) {
            return Ok(self.judge(session, activity));
        }
        for _ in 0..LOADS {
            let ticket = match self.cache.look(id) {
                Look::Buried(why) => return Ok(self.buried(id, why)),
                Look::Unknown(ticket) => ticket,
            };
            let Some(session) = self.load(id).await? else { return Ok(Resumed::Gone) };
            match self.cache.admit(ticket, &Arc::new(session)) {
                Admission::Admitted(session) => return Ok(self.judge(session, activity)),
                Admission::Buried(why) => return Ok(self.buried(id, why)),
                // Perhaps this very session was ended while it was read.
                Admission::Stale => {}
            }
        }
        Err(StoreError::Unavailable("sessions end faster than this one can be read".to_owned()))
    }

    /// Asks the store. Nothing trustworthy is no session, and an audit line says which.
    async fn load(&self, id: SessionId) -> Result<Option<Session>, StoreError> {
        let row = match self.health.watch(self.store.load(id).await) {
            Ok(Some(row)) => row,
            Ok(None) => {
                self.note_id(EventKind::UseAfterEnd, id, None, "no such session");
                return Ok(None);
            }
            Err(StoreError::Corrupt(_)) => {
                self.note_id(EventKind::RecordRefused, id, None, "row cannot be read");
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        // SECURITY: a store that answers with the row of another session, however genuine, must not
        // turn one user into another.
        let opened = if row.id == id {
            Session::open(&row, &self.settings.load().ring)
        } else {
            Err(Untrusted::Damaged)
        };
        let refuse =
            |why: Untrusted| self.note_id(EventKind::RecordRefused, id, Some(&row.user), why.as_str());
        Ok(opened.map_err(refuse).ok())
    }

    /// Whether a session may go on, by the rules and keys of this moment.
    fn judge(&self, session: Arc<Session>, activity: Activity) -> Resumed {
        let settings = self.settings.load();
        if settings.ring.key(session.key()).is_none() {
            self.note(EventKind::RecordRefused, &session, Untrusted::Key.as_str());
            return Resumed::Gone;
        }
        let now = self.clock.now();
        if let Some(limit) = settings.policy.lifetimes.ended(session.times(), now) {
            self.expire(session.id(), &session.identity().user, limit);
            return Resumed::Expired(limit);
        }
        if activity == Activity::Counts && session.touch(now) == Listing::Needed {
            self.list(&session);
        }
        Resumed::Live(session)
    }

    /// Ends a session that reached a limit. The upkeep tells the store, so no request waits for it.
    fn expire(&self, id: SessionId, user: &UserId, limit: Ended) {
        if self.cache.bury(id, Buried::Expired(limit)) != Burial::Again {
            self.note_id(EventKind::SessionExpired, id, Some(user), limit.as_str());
            self.tell_of_an_end();
        }
    }

    fn tell_of_an_end(&self) {
        self.endings.send_replace(());
    }

    fn buried(&self, id: SessionId, why: Buried) -> Resumed {
        match why {
            Buried::Expired(limit) => Resumed::Expired(limit),
            Buried::Ended => {
                self.note_id(EventKind::UseAfterEnd, id, None, "session was ended");
                Resumed::Gone
            }
        }
    }

    fn bury_all(&self, ids: &[SessionId], user: &UserId, why: EndReason) {
        for &id in ids {
            if self.cache.bury(id, Buried::Ended) != Burial::Again {
                self.note_id(why.kind(), id, Some(user), why.as_str());
            }
        }
        self.tell_of_an_end();
    }

    /// Removes a buried session from the store.
    async fn remove(&self, id: SessionId) -> Result<usize, StoreError> {
        let removed = self.health.watch(self.store.remove(vec![id]).await)?;
        self.cache.forget(id);
        Ok(removed.len())
    }
}

/// How often a session is read again because others of its shard ended meanwhile.
const LOADS: usize = 8;
