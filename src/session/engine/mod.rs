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

use crate::clock::{Clock, Timestamp};
use crate::identity::UserId;
use crate::storage::sqlite::StorageError;
use crate::telemetry::audit::Audit;

use super::cache::Cache;
use super::cookie::{self, Form, Found, NameError, Ticket};
use super::keyring::KeyRing;
use super::record::{Listing, Session};
use super::store::{self, KeyUse, SessionStore, StoreError};
use super::token::Token;
use super::{Config, Policy};

mod begin;
mod elevate;
mod end;
mod find;
mod freshness;
mod guest;
mod inspect;
mod list;
mod trail;
mod upkeep;
mod visit;

#[cfg(test)]
mod carried_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod trials;

pub use begin::{Login, OpenError, Opened};
pub use end::EndReason;
use find::Source;
pub(super) use freshness::Verified;
use freshness::{Freshness, News};
pub use guest::Guest;
pub use inspect::{Inspection, Standing};
pub use list::{Listed, OfUser, Others, Page, Stats};
pub use visit::{Activity, Live, Renewal, Resumed, Visit};

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
        let longest = config.policy.lifetimes.longest();
        let (store, form) = store::open::open(&config.store, &clock, longest).await?;
        let engine = Self::with_store(store, form, config.policy, ring, clock, audit);
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
        // Memory may have let go of the session and read it again since the stream began.
        let present = self.shared.cache.get(session.id());
        self.shared.touch(present.as_ref().unwrap_or(session), self.shared.clock.now());
    }

    /// Changes whenever a session may have ended, so that who holds streams open asks again.
    #[must_use]
    pub fn endings(&self) -> watch::Receiver<()> {
        self.shared.endings.subscribe()
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

    /// Whether the store is left alone for now, because it does not answer.
    #[must_use]
    pub fn store_is_down(&self) -> bool {
        self.shared.store.is_down()
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
            stop: watch::channel(false).0,
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
    /// Whether the upkeep is to end.
    stop: watch::Sender<bool>,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// What a reload replaces, at once.
struct Settings {
    policy: Arc<Policy>,
    ring: Arc<KeyRing>,
}

impl Shared {
    fn touch(&self, session: &Arc<Session>, now: Timestamp) {
        if session.touch(now) == Listing::Needed {
            self.list(session);
        }
    }

    fn tell_of_an_end(&self) {
        self.endings.send_replace(());
    }
}
