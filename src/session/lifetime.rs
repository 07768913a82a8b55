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
    /// How long one token serves before the session gets another; zero when it keeps its first.
    pub renew_id: Duration,
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

    /// When a session with these times ends whatever its user does.
    #[must_use]
    pub fn ends_at_last(&self, times: Times) -> Timestamp {
        times.created + self.limits(times.remember).absolute
    }

    /// The `Max-Age` of the cookie: only a remembered session outlives its browser (ASVS 5.0, 3.3), and
    /// no cookie its session.
    #[must_use]
    pub fn cookie_age(&self, times: Times, now: Timestamp) -> Option<Duration> {
        let is_remembered = self.offered(times.remember) == Remember::Yes;
        is_remembered.then(|| (times.created + self.remember).since(now))
    }

    /// The longest that any session can live after its login.
    #[must_use]
    pub fn longest(&self) -> Duration {
        self.absolute.max(self.remember)
    }

    /// What a token of generation `presented` is worth to a session whose browser has used up to
    /// `current`.
    ///
    /// A browser is given the next token until it shows it; only then has the old one had its day.
    #[must_use]
    pub fn token(&self, current: TokenAge, presented: u32, now: Timestamp) -> TokenState {
        if presented > current.generation {
            return TokenState::Next;
        }
        if presented == current.generation {
            let due = !self.renew_id.is_zero() && now.since(current.since) >= self.renew_id;
            return if due { TokenState::Due } else { TokenState::Current };
        }
        let is_previous = presented.checked_add(1) == Some(current.generation);
        if is_previous && now.since(current.since) < RENEWAL_GRACE {
            TokenState::Previous
        } else {
            TokenState::Reused
        }
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

/// The newest token that the browser of a session has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenAge {
    /// How often the token was renewed.
    pub generation: u32,
    /// When the browser showed it first.
    pub since: Timestamp,
}

/// What a token is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenState {
    /// It is the present one.
    Current,
    /// It is the present one, and it is time for the next.
    Due,
    /// It is the next one: the browser has got it.
    Next,
    /// It was replaced a moment ago, while this request was under way.
    Previous,
    /// It was replaced, and somebody else has it.
    Reused,
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

/// How long a replaced token still serves requests that were already under way.
pub const RENEWAL_GRACE: Duration = Duration::from_secs(30);

struct Limits {
    idle: Duration,
    absolute: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFETIMES: Lifetimes = Lifetimes {
        idle: minutes(30),
        absolute: minutes(720),
        remember: minutes(43_200),
        renew_id: minutes(15),
    };

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
        assert_eq!(LIFETIMES.cookie_age(times(0, Remember::Yes), at(0)), Some(minutes(43_200)));
        assert_eq!(LIFETIMES.cookie_age(times(0, Remember::Yes), at(43_000)), Some(minutes(200)));
        assert_eq!(LIFETIMES.cookie_age(times(0, Remember::No), at(0)), None);
    }

    #[test]
    fn remembered_sessions_become_ordinary_when_that_is_no_longer_offered() {
        let lifetimes = Lifetimes { remember: Duration::ZERO, ..LIFETIMES };
        assert_eq!(lifetimes.ended(times(0, Remember::Yes), at(31)), Some(Ended::Idle));
        assert_eq!(lifetimes.cookie_age(times(0, Remember::Yes), at(0)), None);
    }

    #[test]
    fn a_token_is_replaced_when_its_time_is_over_and_the_browser_has_the_next() {
        let current = TokenAge { generation: 3, since: at(0) };
        let state = |presented, now| LIFETIMES.token(current, presented, now);
        assert_eq!(state(3, at(14)), TokenState::Current);
        assert_eq!(state(3, at(15)), TokenState::Due);
        assert_eq!(state(3, at(600)), TokenState::Due, "a browser that never got the next one");
        assert_eq!(state(4, at(15)), TokenState::Next);
        assert_eq!(state(7, at(15)), TokenState::Next, "other gateways renewed it meanwhile");
        let never = Lifetimes { renew_id: Duration::ZERO, ..LIFETIMES };
        assert_eq!(never.token(current, 3, at(600)), TokenState::Current);
    }

    #[test]
    fn a_replaced_token_serves_what_was_under_way_and_nothing_later() {
        let current = TokenAge { generation: 3, since: at(0) };
        let state = |presented, now| LIFETIMES.token(current, presented, now);
        assert_eq!(state(2, at(0) + RENEWAL_GRACE - Duration::from_millis(1)), TokenState::Previous);
        assert_eq!(state(2, at(0) + RENEWAL_GRACE), TokenState::Reused);
        assert_eq!(state(1, at(0)), TokenState::Reused, "nothing under way is that old");
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
