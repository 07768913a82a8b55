//! The newest token of a session, in one word that many requests read and few change.
//!
//! Invariant: it only moves forward.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::Timestamp;
use crate::session::lifetime::TokenAge;

/// A [`TokenAge`] that changes as a whole: generation and whole seconds.
#[derive(Debug)]
pub(super) struct PackedTokenAge(AtomicU64);

impl PackedTokenAge {
    pub(super) fn new(age: TokenAge) -> Self {
        Self(AtomicU64::new(Self::pack(age)))
    }

    pub(super) fn get(&self) -> TokenAge {
        let packed = self.0.load(Ordering::Acquire);
        let [a, b, c, d, seconds @ ..] = packed.to_be_bytes();
        let generation = u32::from_be_bytes([a, b, c, d]);
        let since = Timestamp::from_millis(i64::from(u32::from_be_bytes(seconds)).saturating_mul(1000));
        TokenAge { generation, since }
    }

    /// Moves forward; answers whether it moved.
    pub(super) fn advance(&self, to: TokenAge) -> bool {
        let onward = |packed: u64| (packed >> 32 < u64::from(to.generation)).then(|| Self::pack(to));
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, onward).is_ok()
    }

    fn pack(age: TokenAge) -> u64 {
        let seconds = u32::try_from(age.since.as_seconds().max(0)).unwrap_or(u32::MAX);
        (u64::from(age.generation) << 32) | u64::from(seconds)
    }
}
