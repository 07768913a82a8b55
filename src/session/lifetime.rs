//! How long a session lives. All arithmetic on its times is here, and it is pure.
//!
//! Invariant: activity moves the idle limit only; nothing moves the absolute one. A clock that jumps
//! back lengthens a life by no more than the jump.

use std::time::Duration;

use crate::clock::Timestamp;

/// How long a session lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// Without any request.
    pub idle: Duration,
    /// Since login, whatever happens.
    pub absolute: Duration,
    /// Since login, for a session that the user asked to be remembered; zero when not offered.
    pub remember: Duration,
}

impl Lifetimes {
    /// Whether a session with these times has ended by `now`, and by which limit.
    #[must_use]
    pub fn ended(&self, times: Times, now: Timestamp) -> Option<Ended> {
        let limits = self.limits(times.remember);
        if now.since(times.created) >= limits.absolute {
            Some(Ended::Absolute)
        } else if now.since(times.last_seen) >= limits.idle {
            Some(Ended::Idle)
        } else {
            None
        }
    }

    /// When a session with these times ends if nothing happens.
    #[must_use]
    pub fn ends_at(&self, times: Times) -> Timestamp {
        let limits = self.limits(times.remember);
        (times.created + limits.absolute).min(times.last_seen + limits.idle)
    }

    /// The `Max-Age` of the cookie: only a remembered session outlives its browser (ASVS 5.0, 3.3).
    #[must_use]
    pub fn cookie_age(&self, remember: Remember) -> Option<Duration> {
        (self.offered(remember) == Remember::Yes).then_some(self.remember)
    }

    fn limits(&self, remember: Remember) -> Limits {
        match self.offered(remember) {
            Remember::Yes => Limits { idle: self.remember, absolute: self.remember },
            Remember::No => Limits { idle: self.idle, absolute: self.absolute },
        }
    }

    /// What remains of a user's wish: a policy that no longer offers it makes the session an
    /// ordinary one.
    fn offered(&self, wish: Remember) -> Remember {
        if self.remember.is_zero() { Remember::No } else { wish }
    }
}

/// Whether the user asked to stay signed in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Remember {
    /// Until the browser closes.
    #[default]
    No,
    /// For as long as the policy allows.
    Yes,
}

/// The times that decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// The login.
    pub created: Timestamp,
    /// The last request.
    pub last_seen: Timestamp,
    /// Which limits hold.
    pub remember: Remember,
}

/// The limit that a session reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Nobody used it for too long.
    Idle,
    /// The login is too long ago.
    Absolute,
}

impl Ended {
    /// The word for logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Absolute => "absolute",
        }
    }
}

struct Limits {
    idle: Duration,
    absolute: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFETIMES: Lifetimes =
        Lifetimes { idle: minutes(30), absolute: minutes(720), remember: minutes(43_200) };

    const fn minutes(count: u64) -> Duration {
        Duration::from_secs(count * 60)
    }

    fn at(minute: u64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000) + minutes(minute)
    }

    fn times(last_seen: u64, remember: Remember) -> Times {
        Times { created: at(0), last_seen: at(last_seen), remember }
    }

    #[test]
    fn a_session_ends_when_it_is_idle_too_long_and_not_a_moment_earlier() {
        let times = times(10, Remember::No);
        assert_eq!(LIFETIMES.ended(times, at(40) - Duration::from_millis(1)), None);
        assert_eq!(LIFETIMES.ended(times, at(40)), Some(Ended::Idle));
        assert_eq!(LIFETIMES.ends_at(times), at(40));
    }

    #[test]
    fn a_request_a_minute_does_not_pass_the_absolute_limit() {
        let last = (0..2_000).find(|&m| LIFETIMES.ended(times(m, Remember::No), at(m)).is_some());
        assert_eq!(last, Some(720));
        assert_eq!(LIFETIMES.ends_at(times(710, Remember::No)), at(720));
    }

    #[test]
    fn a_remembered_session_has_one_long_limit() {
        assert_eq!(LIFETIMES.ended(times(0, Remember::Yes), at(43_199)), None);
        assert_eq!(LIFETIMES.ended(times(43_199, Remember::Yes), at(43_200)), Some(Ended::Absolute));
        assert_eq!(LIFETIMES.cookie_age(Remember::Yes), Some(minutes(43_200)));
        assert_eq!(LIFETIMES.cookie_age(Remember::No), None);
    }

    #[test]
    fn remembered_sessions_become_ordinary_when_that_is_no_longer_offered() {
        let lifetimes = Lifetimes { remember: Duration::ZERO, ..LIFETIMES };
        assert_eq!(lifetimes.ended(times(0, Remember::Yes), at(31)), Some(Ended::Idle));
        assert_eq!(lifetimes.cookie_age(Remember::Yes), None);
    }

    #[test]
    fn a_clock_that_jumps_back_adds_no_more_than_the_jump() {
        // The clock was an hour ahead at login and is set right: the session lives an hour longer.
        let times = Times { created: at(60), last_seen: at(60), remember: Remember::No };
        assert_eq!(LIFETIMES.ended(times, at(0)), None);
        assert_eq!(LIFETIMES.ended(times, at(60) + minutes(30)), Some(Ended::Idle));
    }

    #[test]
    fn times_at_the_end_of_the_calendar_do_not_overflow() {
        let end = Timestamp::from_millis(i64::MAX);
        let times = Times { created: end, last_seen: end, remember: Remember::No };
        assert_eq!(LIFETIMES.ends_at(times), end);
        assert_eq!(LIFETIMES.ended(times, Timestamp::from_millis(i64::MIN)), None);
    }
}
