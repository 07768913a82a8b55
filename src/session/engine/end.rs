//! How a session ends before its time, and how it expires.
//!
//! Invariants: it is over here before its store is asked, and stays over if the store fails; each end
//! is one line in the audit trail.

use super::{Engine, Shared, trail::Cause};
use crate::identity::UserId;
use crate::session::cache::{Burial, Buried};
use crate::session::cookie::Form;
use crate::session::lifetime::Ended;
use crate::session::record::{Ending, Session};
use crate::session::store::StoreError;
use crate::session::token::SessionId;
use crate::telemetry::audit::EventKind;

impl Engine {
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

    pub(super) const fn kind(self) -> EventKind {
        match self {
            Self::Logout => EventKind::SessionEnded,
            Self::Revoked | Self::AccountDisabled | Self::Replaced | Self::Evicted => {
                EventKind::SessionRevoked
            }
            Self::TokenReused | Self::OtherBrowser | Self::OtherNetwork => EventKind::SessionDestroyed,
        }
    }
}

impl Shared {
    pub(super) async fn end(
        &self,
        session: &Session,
        why: EndReason,
        cause: Cause<'_>,
    ) -> Result<(), StoreError> {
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
        // SECURITY: a session that was read before the store forgot it, and whose id it does not tell,
        // may have come into memory since.
        self.cache.outdate_reads();
        let late: Vec<_> = self.cache.of_user(user).iter().map(|session| session.id()).collect();
        self.bury_all(&late, user, why);
        // Those that began meanwhile.
        let late: Vec<_> = removed.iter().copied().filter(|id| !stored.contains(id)).collect();
        self.bury_all(&late, user, why);
        self.cache.forget_all(&removed);
        Ok(removed.len())
    }

    /// Ends a session that reached a limit. The upkeep tells the store, so no request waits for it.
    pub(super) fn expire(&self, session: &Session, limit: Ended) {
        if self.cache.bury(session.id(), Buried::Expired(limit)) != Burial::Again {
            self.note(EventKind::SessionExpired, session, limit.as_str(), Cause::default());
            self.tell_of_an_end();
        }
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
