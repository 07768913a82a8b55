//! Forms whose way was interrupted: kept sealed, for a while, for the person who sent them.
//!
//! They lie where the gateways meet that share their sessions, so that a browser may come back to another
//! one; where they meet nowhere, or that place does not answer, in the memory of this process. Invariants:
//! what is kept is bounded, and the oldest make room; a form is handed out to the browser and the user that
//! sent it only; it is taken once, by one gateway.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::session::keyring::KeyRing;
use crate::storage::Meeting;

mod bounds;
mod form;
mod memory;
mod redis;
mod shared;
mod sql;

pub(super) use form::KeptForm;

use super::browser::Browser;
use form::{FormId, Whose};
use memory::Memory;
use shared::Shared;

/// The forms that are kept.
#[derive(Debug)]
pub struct Forms {
    here: Memory,
    shared: Option<Shared>,
}

/// What becomes of a form that is handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// It stays.
    Stays,
    /// It is gone.
    Goes,
}

/// The place of the forms does not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("forms that were kept cannot be read: {0}")]
pub(super) struct Unreachable(String);

impl Forms {
    /// None yet, in the memory of this process.
    #[must_use]
    pub fn here() -> Self {
        Self { here: Memory::new(), shared: None }
    }

    /// Those that all gateways see. To be called on the runtime that its connections are to belong to; a
    /// server that is down is no error.
    pub async fn at(meeting: &Meeting) -> Self {
        Self { shared: Shared::open(meeting).await, ..Self::here() }
    }

    /// Keeps a form; answers the name by which its owner asks for it. Nothing if it cannot be kept.
    pub(super) async fn keep(
        &self,
        form: &KeptForm,
        owner: &Browser,
        ring: &KeyRing,
        now: Timestamp,
    ) -> Option<String> {
        let id = FormId::generate().ok()?;
        let entry = Entry {
            id,
            whose: Whose::of(owner.user()),
            expires: now + LIFETIME,
            sealed: form.seal(id, owner, ring)?,
        };
        // What waits for a server is large: only those few who need it carry it.
        match &self.shared {
            Some(shared) if Box::pin(shared.add(&entry, now)).await.is_ok() => {}
            _ => self.here.add(entry, now),
        }
        Some(id.to_text())
    }

    /// The form of that name, if it is this owner's.
    pub(super) async fn hand_out(
        &self,
        name: &str,
        owner: &Browser,
        ring: &KeyRing,
        now: Timestamp,
        then: Then,
    ) -> Result<Option<KeptForm>, Unreachable> {
        let Some(id) = FormId::parse(name) else { return Ok(None) };
        let sealed = self.find(id, now).await?;
        let form = sealed.and_then(|sealed| KeptForm::open(&sealed, id, owner, ring));
        // SECURITY: of two who take it at once, one gets it.
        if form.is_some() && then == Then::Goes && !self.take(id).await? {
            return Ok(None);
        }
        Ok(form)
    }

    /// Lets go of what it shares.
    pub async fn close(&self) {
        if let Some(shared) = &self.shared {
            shared.close().await;
        }
    }

    async fn find(&self, id: FormId, now: Timestamp) -> Result<Option<Vec<u8>>, Unreachable> {
        match (self.here.find(id, now), &self.shared) {
            (None, Some(shared)) => Box::pin(shared.find(id, now)).await,
            (found, _) => Ok(found),
        }
    }

    async fn take(&self, id: FormId) -> Result<bool, Unreachable> {
        match (self.here.take(id), &self.shared) {
            (false, Some(shared)) => Box::pin(shared.take(id)).await,
            (taken, _) => Ok(taken),
        }
    }
}

/// A form at rest.
#[derive(Clone, Debug)]
struct Entry {
    id: FormId,
    whose: Whose,
    expires: Timestamp,
    sealed: Vec<u8>,
}

impl Entry {
    const fn measured(&self) -> bounds::Kept {
        bounds::Kept { id: self.id, whose: self.whose, bytes: self.sealed.len() }
    }
}

/// How long somebody may take to sign in again.
const LIFETIME: Duration = Duration::from_mins(30);

#[cfg(test)]
mod tests;
