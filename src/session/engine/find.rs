//! From an id to a live session: memory first, then the store.
//!
//! Invariants: what memory holds for certain costs no I/O; nothing that was ended while it was read
//! comes back; nothing that cannot be trusted is a session.

use std::sync::Arc;

use super::{Shared, trail::Cause};
use crate::clock::Timestamp;
use crate::session::StoreDown;
use crate::session::cache::{Admission, Buried, Look};
use crate::session::cookie::{Carried, Form};
use crate::session::keyring::KeyId;
use crate::session::lifetime::Ended;
use crate::session::record::{Session, Untrusted};
use crate::session::store::{Claim, StoreError};
use crate::session::token::SessionId;
use crate::telemetry::audit::EventKind;

/// What is there when a session is sought.
pub(super) enum Sought {
    Live(Arc<Session>),
    Expired(Ended),
    Gone,
}

/// Where the record of a session is, if memory does not hold it.
#[derive(Clone, Copy)]
pub(super) enum Source<'a> {
    /// In the store.
    Store,
    /// In the browser's own cookie, sealed by this key.
    Browser(&'a Carried, KeyId),
    /// In the hands of who asks, who got it here a while ago.
    Known(&'a Session),
}

/// Whether it is worth an audit line that a session is not there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Absence {
    IsTold,
    IsExpected,
}

impl Shared {
    /// The session with this id, if it lives by the rules and keys of this moment.
    pub(super) async fn find(&self, id: SessionId, source: Source<'_>) -> Result<Sought, StoreError> {
        let (cached, now) = (self.cache.get(id), self.clock.now());
        if let (Some(session), Source::Browser(carried, _)) = (&cached, source) {
            // Another gateway may have seen it later, and nobody but the browser tells.
            session.seen(carried.last_seen);
        }
        if let Some(session) = &cached
            && self.is_certain(session, now)
        {
            return Ok(self.judge(Arc::clone(session), now));
        }
        match (self.fetch(id, source).await, cached) {
            (Err(StoreError::Unavailable(_)), Some(session)) if self.has_grace(&session) => {
                Ok(self.judge(session, self.clock.now()))
            }
            (answer, _) => answer,
        }
    }

    /// Takes in a session that the store has, unless something was ended since `look`.
    pub(super) fn take_in(&self, look: Look, session: &Arc<Session>) {
        if let Look::Unknown(ticket) = look {
            let _stale_is_loaded_again = self.cache.admit(ticket, session);
        }
    }

    async fn fetch(&self, id: SessionId, source: Source<'_>) -> Result<Sought, StoreError> {
        for _ in 0..LOADS {
            let ticket = match self.cache.look(id) {
                Look::Buried(why) => return Ok(self.buried(id, why, source)),
                Look::Unknown(ticket) => ticket,
            };
            let asked = self.freshness.present(self.clock.now());
            let Some(session) = self.load(id, source).await? else {
                self.cache.lose(id);
                return Ok(Sought::Gone);
            };
            session.verify(asked);
            match self.cache.admit(ticket, &Arc::new(session)) {
                Admission::Admitted(session) => return Ok(self.judge(session, self.clock.now())),
                Admission::Buried(why) => return Ok(self.buried(id, why, source)),
                // Perhaps this very session was ended while it was read.
                Admission::Stale => {}
            }
        }
        Err(StoreError::Unavailable("sessions end faster than this one can be read".to_owned()))
    }

    /// Asks the store. Nothing trustworthy is no session, and an audit line says which.
    async fn load(&self, id: SessionId, source: Source<'_>) -> Result<Option<Session>, StoreError> {
        match source {
            Source::Browser(carried, key) => self.load_carried(id, carried, key).await,
            Source::Known(session) if !self.store_keeps_records() => self.load_known(session).await,
            Source::Store => self.load_stored(id, Absence::IsTold).await,
            // A stream that asks is nobody's attempt to come back.
            Source::Known(_) => self.load_stored(id, Absence::IsExpected).await,
        }
    }

    async fn load_stored(&self, id: SessionId, absence: Absence) -> Result<Option<Session>, StoreError> {
        let row = match self.store.load(id).await {
            Ok(Some(row)) => row,
            Ok(None) => {
                if absence == Absence::IsTold {
                    self.note_id(EventKind::UseAfterEnd, id, None, "no such session", Cause::default());
                }
                return Ok(None);
            }
            Err(StoreError::Corrupt(_)) => {
                self.note_id(EventKind::RecordRefused, id, None, "row cannot be read", Cause::default());
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
        let refuse = |why: Untrusted| {
            self.note_id(EventKind::RecordRefused, id, Some(&row.user), why.as_str(), Cause::default());
        };
        Ok(opened.map_err(refuse).ok())
    }

    async fn load_carried(
        &self,
        id: SessionId,
        carried: &Carried,
        key: KeyId,
    ) -> Result<Option<Session>, StoreError> {
        if self.store_keeps_records() {
            return Ok(None);
        }
        match Session::open_carried(id, key, carried, &self.settings.load().ring) {
            Ok(session) if self.permits(&session).await? => Ok(Some(session)),
            Ok(session) => {
                self.note(EventKind::UseAfterEnd, &session, "session was ended", Cause::default());
                Ok(None)
            }
            Err(why) => {
                self.note_id(EventKind::RecordRefused, id, None, why.as_str(), Cause::default());
                Ok(None)
            }
        }
    }

    async fn load_known(&self, session: &Session) -> Result<Option<Session>, StoreError> {
        Ok(self.permits(session).await?.then(|| session.copy()))
    }

    async fn permits(&self, session: &Session) -> Result<bool, StoreError> {
        let user = session.identity().user.clone();
        self.store.permits(Claim { id: session.id(), user, created: session.created() }).await
    }

    /// Whether a session may go on, by the rules and keys of this moment, which is `now`.
    fn judge(&self, session: Arc<Session>, now: Timestamp) -> Sought {
        let settings = self.settings.load();
        if settings.ring.key(session.key()).is_none() {
            self.note(EventKind::RecordRefused, &session, Untrusted::Key.as_str(), Cause::default());
            return Sought::Gone;
        }
        match settings.policy.lifetimes.ended(session.times(), now) {
            Some(limit) => {
                self.expire(&session, limit);
                Sought::Expired(limit)
            }
            None => Sought::Live(session),
        }
    }

    fn buried(&self, id: SessionId, why: Buried, source: Source<'_>) -> Sought {
        match why {
            Buried::Expired(limit) => Sought::Expired(limit),
            Buried::Ended if matches!(source, Source::Known(_)) => Sought::Gone,
            Buried::Ended => {
                self.note_id(EventKind::UseAfterEnd, id, None, "session was ended", Cause::default());
                Sought::Gone
            }
        }
    }

    fn store_keeps_records(&self) -> bool {
        self.form == Form::Token
    }

    fn is_certain(&self, session: &Session, now: Timestamp) -> bool {
        let recheck = self.settings.load().policy.recheck;
        self.freshness.holds(session.verified(), now, recheck)
    }

    /// Whether a session goes on while the store does not answer.
    fn has_grace(&self, session: &Session) -> bool {
        match self.settings.load().policy.store_down {
            StoreDown::Refuse => false,
            StoreDown::Grace(grace) => self.freshness.holds(session.verified(), self.clock.now(), grace),
        }
    }
}

/// How often a session is read again because others of its generation ended meanwhile.
const LOADS: usize = 8;
