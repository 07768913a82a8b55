//! Opens, resumes and ends sessions: what the other rooms see of this one, and the only caller of a
//! store.
//!
//! Who may have a session is left to the login room, what it allows to the gateway. Invariants:
//! resuming a session that is in memory does no I/O and takes no lock across an await; an ended one is
//! forgotten here before its store is asked, and stays forgotten if the store fails; limits are
//! checked on every request by the policy of that moment.

use std::sync::atomic::{AtomicU64, Ordering};
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

use super::binding::Device;
use super::cache::{Burial, Buried, Cache};
use super::cookie::{self, Form, Found, GuestTicket, NameError, Ticket};
use super::keyring::KeyRing;
use super::lifetime::{Ended, Remember};
use super::record::{Ending, Listing, Session, Start};
use super::store::memory::MemoryStore;
use super::store::sqlite::SqliteStore;
use super::store::{KeyUse, SessionStore, StoreError};
use super::token::{SessionId, Token};
use super::{Beyond, Config, Guests, Limit, Policy, StoreKind};

mod find;
mod freshness;
mod inspect;
mod list;
mod trail;
mod upkeep;
mod visit;

#[cfg(test)]
mod tests;

use find::Source;
use freshness::{Freshness, News};
pub use inspect::{Inspection, Standing};
pub use list::{Listed, OfUser, Others, Page, Stats};
use trail::Cause;
pub use visit::{Activity, Live, Resumed, Visit};

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
        let engine = Self::with_store(store, Form::Token, config.policy, ring, clock, audit);
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
    pub async fn open(&self, login: Login<'_>) -> Result<Opened, OpenError> {
        let shared = &self.shared;
        let settings = shared.settings.load_full();
        let user = login.identity.user.clone();
        if let Some(Limit { sessions, beyond: Beyond::Refuse }) = settings.policy.limit {
            let live = self.sessions_of(&user).await?;
            if live.len() >= sessions.get() {
                return Err(OpenError::AtLimit(live));
            }
        }
        let token = Token::generate();
        let session = Arc::new(login.session(&token, &settings.ring, &shared.clock));
        let ends_at = settings.policy.lifetimes.ends_at(session.times());
        let sealed = session.to_row(&settings.ring, ends_at);
        let row = sealed.ok_or_else(|| StoreError::Unavailable("the record cannot be sealed".to_owned()))?;
        let cookies = shared.cookies(&settings, &token, 0, &session).ok_or(OpenError::TooLarge)?;
        session.verify(shared.clock.now());
        let look = shared.cache.look(session.id());
        shared.store.insert(row).await?;
        shared.take_in(look, &session);
        shared.note(EventKind::SessionCreated, &session, session.method().as_str(), Cause::default());
        if let Some(Limit { sessions, beyond: Beyond::EvictOldest }) = settings.policy.limit {
            shared.evict_beyond(sessions.get(), &session).await;
        }
        Ok(Opened { cookies, session })
    }

    /// What the cookies of a request present. No I/O: a forged cookie ends here.
    #[must_use]
    pub fn present(&self, headers: &HeaderMap) -> Presented {
        let settings = self.shared.settings.load();
        cookie::find(headers, &settings.policy.cookie, &settings.ring)
    }

    /// The session that `ticket` opens.
    pub async fn resume(&self, ticket: &Ticket, visit: Visit<'_>) -> Result<Resumed, StoreError> {
        self.shared.resume(ticket, visit).await
    }

    /// The guest that a request comes from, a new one if it has to be; nothing where guests are not
    /// recognised. No I/O: a guest session allows nothing, so nothing of it is stored.
    #[must_use]
    pub fn guest(&self, presented: &Presented) -> Option<Guest> {
        let settings = self.shared.settings.load();
        (settings.policy.guests == Guests::Recognised).then(|| self.shared.guest(&settings, presented))
    }

    /// The `Set-Cookie` values that take the session away from a browser.
    #[must_use]
    pub fn clear_cookies(&self) -> Vec<HeaderValue> {
        cookie::clear(&self.shared.settings.load().policy.cookie, self.shared.form)
    }

    /// Whether a session with an open stream still lives; this is no activity. Asks the store only where
    /// memory does not know.
    pub async fn still_lives(&self, session: &Session) -> Result<bool, StoreError> {
        let found = self.shared.find(session.id(), Source::Known(session)).await?;
        Ok(matches!(found, find::Sought::Live(_)))
    }

    /// Counts what a stream carried as activity of its session.
    pub fn note_activity(&self, session: &Arc<Session>) {
        self.shared.touch(session);
    }

    /// Changes whenever a session may have ended, so that who holds streams open asks again.
    #[must_use]
    pub fn endings(&self) -> watch::Receiver<()> {
        self.shared.endings.subscribe()
    }

    /// Ends a session. `Ok` says that this is durable; after an error it is ended in this process, and
    /// the store is asked again until it has forgotten it too.
    pub async fn end(&self, session: &Session, why: EndReason) -> Result<(), StoreError> {
        self.shared.end(session, why, Cause::default()).await
    }

    /// Ends the session with this id, as [`Self::end`] does, and answers how many there were.
    pub async fn end_by_id(&self, id: SessionId, why: EndReason) -> Result<usize, StoreError> {
        if let Some(session) = self.shared.cache.get(id) {
            return self.end(&session, why).await.map(|()| 1);
        }
        let user = match self.shared.store.load(id).await {
            Ok(Some(row)) => Some(row.user),
            Ok(None) if self.shared.form == Form::Token => return Ok(0),
            Ok(None) | Err(StoreError::Corrupt(_)) => None,
            Err(error) => return Err(error),
        };
        if self.shared.cache.bury(id, Buried::Ended) != Burial::Again {
            self.shared.note_id(why.kind(), id, user.as_ref(), why.as_str(), Cause::default());
        }
        self.shared.tell_of_an_end();
        self.shared.remove(id).await
    }

    /// Ends every session of a user and answers how many there were. After an error those in memory
    /// are ended, and others of the user may live: ask again.
    pub async fn end_user(&self, user: &UserId, why: EndReason) -> Result<usize, StoreError> {
        self.shared.end_user(user, why).await
    }

    /// The users with live sessions.
    pub async fn users(&self) -> Result<Vec<UserId>, StoreError> {
        match self.shared.store.users(self.shared.clock.now()).await {
            Err(StoreError::Unsupported(_)) => Ok(self.shared.cache.users()),
            answer => answer,
        }
    }

    /// The keys that live sessions depend on.
    pub async fn key_use(&self) -> Result<Vec<KeyUse>, StoreError> {
        self.shared.store.key_use(self.shared.clock.now()).await
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

    /// Expired sessions that the sweep removed since the start.
    #[must_use]
    pub fn swept(&self) -> u64 {
        self.shared.swept.load(Ordering::Relaxed)
    }

    /// Stores what is not stored yet and closes the store. To be called when no request runs.
    pub async fn stop(&self) {
        self.shared.finish_upkeep().await;
        self.shared.store.close().await;
    }

    fn with_store(
        store: Box<dyn SessionStore>,
        form: Form,
        policy: Policy,
        ring: Arc<KeyRing>,
        clock: Clock,
        audit: Audit,
    ) -> Self {
        let settings = ArcSwap::from_pointee(Settings { policy: Arc::new(policy), ring });
        let shared = Arc::new(Shared {
            store,
            form,
            cache: Cache::new(),
            freshness: Freshness::new(),
            settings,
            clock,
            audit,
            touched: Mutex::default(),
            swept: AtomicU64::new(0),
            endings: watch::channel(()).0,
            stop: watch::channel(()).0,
            task: Mutex::default(),
        });
        let sharing = shared.store.share(Arc::new(News(Arc::downgrade(&shared))));
        shared.freshness.set_sharing(sharing);
        Self { shared }
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
    /// Their browser and where it is.
    pub device: Device<'a>,
}

impl Login<'_> {
    fn session(self, token: &Token, ring: &KeyRing, clock: &Clock) -> Session {
        let Self { identity, method, remember, device } = self;
        let Device { user_agent, address } = device;
        let start = Start { identity, method, remember, user_agent, address, now: clock.now() };
        Session::new(token.session(), ring.signer().id(), start)
    }
}

/// A session that has begun.
#[derive(Debug)]
pub struct Opened {
    /// The `Set-Cookie` values for the browser; the only place where its token is.
    pub cookies: Vec<HeaderValue>,
    /// The session.
    pub session: Arc<Session>,
}

/// Why no session begins.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The user has as many sessions as they may have: these.
    #[error("the user has {} sessions, which is the limit", .0.len())]
    AtLimit(Vec<Arc<Session>>),
    /// What the login proved does not fit into cookies.
    #[error("the session does not fit into cookies: the user is in too many groups")]
    TooLarge,
}

/// Somebody who is not signed in and is recognised all the same.
#[derive(Debug)]
pub struct Guest {
    /// The name for backends; it says nothing of who somebody is.
    pub pseudonym: String,
    /// The `Set-Cookie` values for the browser; none when it has them.
    pub cookies: Vec<HeaderValue>,
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
    /// The user had more sessions than allowed, and this was the oldest.
    Evicted,
    /// A token came that had been replaced: two parties have it.
    TokenReused,
    /// It came from another browser than the one that logged in.
    OtherBrowser,
    /// It came from another network than the one that logged in.
    OtherNetwork,
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
            Self::Evicted => "too many sessions of the user",
            Self::TokenReused => "a replaced token was used",
            Self::OtherBrowser => "the browser is another one",
            Self::OtherNetwork => "the network is another one",
        }
    }

    const fn kind(self) -> EventKind {
        match self {
            Self::Logout => EventKind::SessionEnded,
            Self::Revoked | Self::AccountDisabled | Self::Replaced | Self::Evicted => {
                EventKind::SessionRevoked
            }
            Self::TokenReused | Self::OtherBrowser | Self::OtherNetwork => EventKind::SessionDestroyed,
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
    form: Form,
    cache: Cache,
    freshness: Freshness,
    settings: ArcSwap<Settings>,
    clock: Clock,
    audit: Audit,
    /// Sessions with news for the store; each is in it once.
    touched: Mutex<Vec<Arc<Session>>>,
    /// Sessions that the sweep removed since the start.
    swept: AtomicU64,
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

impl Shared {
    /// The cookies for a session whose newest token is of this generation; nothing if browsers would
    /// not keep them.
    fn cookies(
        &self,
        settings: &Settings,
        token: &Token,
        generation: u32,
        session: &Session,
    ) -> Option<Vec<HeaderValue>> {
        let signer = settings.ring.signer();
        let policy = &settings.policy;
        let carried = match self.form {
            Form::Token => None,
            Form::Record => Some(session.carry(&settings.ring)?),
        };
        let ticket = Ticket { token: token.clone(), generation, key: signer.id(), carried };
        let age = policy.lifetimes.cookie_age(session.times(), self.clock.now());
        cookie::set(&ticket.value(signer, &policy.cookie.name), &policy.cookie, age)
    }

    fn guest(&self, settings: &Settings, presented: &Presented) -> Guest {
        let (ring, policy, now) = (&settings.ring, &settings.policy, self.clock.now());
        let known = match presented {
            // The cookie of a session is left alone, whatever became of the session.
            Found::Valid(ticket) => Some((&ticket.token, Vec::new())),
            Found::Guest(guest) if now.since(guest.issued) < policy.lifetimes.absolute => {
                Some((&guest.token, Vec::new()))
            }
            Found::Guest(_) | Found::Absent | Found::Refused(_) => None,
        };
        if let Some((token, cookies)) = known {
            return Guest { pseudonym: token.session().pseudonym(), cookies };
        }
        let ticket = GuestTicket { token: Token::generate(), issued: now, key: ring.signer().id() };
        let value = ticket.value(ring.signer(), &policy.cookie.name);
        let cookies = cookie::set(&value, &policy.cookie, None).unwrap_or_default();
        Guest { pseudonym: ticket.token.session().pseudonym(), cookies }
    }

    async fn end(&self, session: &Session, why: EndReason, cause: Cause<'_>) -> Result<(), StoreError> {
        if session.end() == Ending::First {
            self.note(why.kind(), session, why.as_str(), cause);
        }
        self.cache.bury(session.id(), Buried::Ended);
        self.tell_of_an_end();
        self.remove(session.id()).await.map(drop)
    }

    async fn end_user(&self, user: &UserId, why: EndReason) -> Result<usize, StoreError> {
        let cached: Vec<_> = self.cache.of_user(user).iter().map(|session| session.id()).collect();
        self.bury_all(&cached, user, why);
        let stored = match self.store.of_user(user.clone()).await {
            Err(StoreError::Unsupported(_)) => cached,
            answer => answer?.iter().map(|entry| entry.place.id).collect(),
        };
        self.bury_all(&stored, user, why);
        let removed = self.store.remove_user(user.clone()).await?;
        // Those that began meanwhile.
        let late: Vec<_> = removed.iter().copied().filter(|id| !stored.contains(id)).collect();
        self.bury_all(&late, user, why);
        self.cache.forget_all(&removed);
        Ok(removed.len())
    }

    /// Ends the oldest sessions of the user of `newest`, until no more than `count` are left. Its own
    /// login is good even if the store fails meanwhile.
    async fn evict_beyond(&self, count: usize, newest: &Session) {
        let user = &newest.identity().user;
        let mut others = match self.sessions_of(user).await {
            Ok(sessions) => sessions,
            Err(error) => {
                tracing::warn!(%error, "sessions beyond the limit of a user were not ended");
                return;
            }
        };
        others.retain(|session| session.id() != newest.id());
        others.sort_by_key(|session| std::cmp::Reverse((session.created(), session.id())));
        for session in others.iter().skip(count.saturating_sub(1)) {
            if let Err(error) = self.end(session, EndReason::Evicted, Cause::default()).await {
                tracing::warn!(%error, "a session beyond the limit of a user is still to be removed");
            }
        }
    }

    /// Ends a session that reached a limit. The upkeep tells the store, so no request waits for it.
    fn expire(&self, session: &Session, limit: Ended) {
        if self.cache.bury(session.id(), Buried::Expired(limit)) != Burial::Again {
            self.note(EventKind::SessionExpired, session, limit.as_str(), Cause::default());
            self.tell_of_an_end();
        }
    }

    fn touch(&self, session: &Arc<Session>) {
        if session.touch(self.clock.now()) == Listing::Needed {
            self.list(session);
        }
    }

    fn tell_of_an_end(&self) {
        self.endings.send_replace(());
    }

    fn bury_all(&self, ids: &[SessionId], user: &UserId, why: EndReason) {
        for &id in ids {
            if self.cache.bury(id, Buried::Ended) != Burial::Again {
                self.note_id(why.kind(), id, Some(user), why.as_str(), Cause::default());
            }
        }
        self.tell_of_an_end();
    }

    /// Removes a buried session from the store.
    async fn remove(&self, id: SessionId) -> Result<usize, StoreError> {
        let removed = self.store.remove(vec![id]).await?;
        self.cache.forget(id);
        Ok(removed.len())
    }
}
