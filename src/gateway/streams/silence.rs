//! How long the streams of a session go on while the store does not say whether it lives.
//!
//! Invariant: the store has one question about a session at a time, and not for ever.

use std::time::Duration;

use crate::clock::Stopwatch;

/// A session of which the store has not said yet whether it lives, since it was first asked.
pub(super) struct Unanswered {
    since: Stopwatch,
    pub(super) is_asked: bool,
}

impl Unanswered {
    /// What to do about it now.
    pub(super) fn patience(&self) -> Patience {
        Patience::after(self.since.elapsed(), self.is_asked)
    }
}

impl Default for Unanswered {
    fn default() -> Self {
        Self { since: Stopwatch::start(), is_asked: false }
    }
}

/// What to do about a session that the store has been silent about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// Ask the store (again).
    Ask,
    /// It is being asked.
    Wait,
    /// Its streams have gone on unasked for long enough.
    Over,
}

impl Patience {
    fn after(silence: Duration, is_asked: bool) -> Self {
        match (silence >= SILENCE, is_asked) {
            (true, _) => Self::Over,
            (false, true) => Self::Wait,
            (false, false) => Self::Ask,
        }
    }
}

/// How long streams go on while the store does not say whether their session lives: long enough for a
/// store to restart or fail over, short enough that a session that was ended elsewhere meanwhile is
/// not served for long.
const SILENCE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_store_is_asked_one_question_at_a_time_and_not_for_ever() {
        let short = SILENCE.saturating_sub(Duration::from_millis(1));
        for (silence, is_asked, expected) in [
            (Duration::ZERO, false, Patience::Ask),
            (Duration::ZERO, true, Patience::Wait),
            (short, false, Patience::Ask),
            (short, true, Patience::Wait),
            (SILENCE, false, Patience::Over),
            (SILENCE, true, Patience::Over),
        ] {
            assert_eq!(Patience::after(silence, is_asked), expected, "{silence:?}, {is_asked}");
        }
    }
}
