//! Whether the store answers, told to the log when it changes and not at every request.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::session::store::StoreError;

#[derive(Debug, Default)]
pub(super) struct Health {
    down: AtomicBool,
}

impl Health {
    /// Looks at what the store answered, and hands it on.
    pub(super) fn watch<T>(&self, answer: Result<T, StoreError>) -> Result<T, StoreError> {
        match &answer {
            Err(error @ StoreError::Unavailable(_)) => {
                if !self.down.swap(true, Ordering::Relaxed) {
                    tracing::error!(%error, "session store is down");
                }
            }
            Ok(_) | Err(StoreError::Corrupt(_) | StoreError::Unsupported(_)) => {
                if self.down.load(Ordering::Relaxed) && self.down.swap(false, Ordering::Relaxed) {
                    tracing::warn!("session store answers again");
                }
            }
        }
        answer
    }
}
