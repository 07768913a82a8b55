//! A session in the words of the administrator's answers.
//!
//! Pure. Invariant: what is left is counted by the clock and the rules of whoever answers.

use super::question::{Left, SessionInfo, SessionReport, Verdict};
use crate::clock::Timestamp;
use crate::identity::Group;
use crate::session::engine::Standing;
use crate::session::lifetime::{Lifetimes, Remember};
use crate::session::{Ended, Session, SessionId};

/// All that is known of a session.
pub(super) fn info(session: &Session, lifetimes: &Lifetimes, now: Timestamp) -> SessionInfo {
    let identity = session.identity();
    let ends = lifetimes.ends_at(session.times());
    let left = left(session, lifetimes, now);
    SessionInfo {
        id: session.id().to_hex(),
        user: identity.user.to_string(),
        groups: identity.groups.iter().map(Group::to_string).collect(),
        name: identity.name.clone(),
        email: identity.email.clone(),
        method: session.method().as_str().to_owned(),
        created: session.created().to_string(),
        authenticated: session.authenticated().to_string(),
        last_seen: session.last_seen().to_string(),
        address: session.address(),
        user_agent: session.user_agent().to_owned(),
        remembered: matches!(left, Left::Remembered(_)),
        key: session.key().to_string(),
        ends: ends.to_string(),
        ends_in_seconds: ends.since(now).as_secs(),
        left,
    }
}

/// How a session stands.
pub(super) fn describe(
    id: SessionId,
    standing: &Standing,
    lifetimes: &Lifetimes,
    now: Timestamp,
) -> SessionReport {
    let (verdict, reason, session) = judge(standing, lifetimes, now);
    SessionReport { id: id.to_hex(), verdict, reason, session }
}

/// A verdict on a session, in a word and in a sentence, and what is known of it.
pub(super) fn judge(
    standing: &Standing,
    lifetimes: &Lifetimes,
    now: Timestamp,
) -> (Verdict, String, Option<SessionInfo>) {
    let tell = |session: &Session| info(session, lifetimes, now);
    match standing {
        Standing::Live(session) => (Verdict::Live, "it is live".to_owned(), Some(tell(session))),
        Standing::Expired(limit, session) => {
            let session = session.as_deref();
            (Verdict::Expired, expiry(*limit, session, lifetimes), session.map(tell))
        }
        Standing::Ended => {
            let reason = "the session was ended: by logout, an administrator or a security event";
            (Verdict::Ended, reason.to_owned(), None)
        }
        Standing::Absent => {
            let reason = "the store has no such session: it was ended, evicted, or expired and was swept";
            (Verdict::Ended, reason.to_owned(), None)
        }
        Standing::Refused(why) => {
            (Verdict::Untrusted, format!("the session's record is refused: {why}"), None)
        }
    }
}

/// A session among others that are meant perhaps.
pub(super) fn candidate(id: SessionId, standing: &Standing) -> String {
    match standing {
        Standing::Live(session) | Standing::Expired(_, Some(session)) => {
            format!("{}  {}  since {}", id.to_hex(), session.identity().user, session.created())
        }
        _ => id.to_hex(),
    }
}

fn left(session: &Session, lifetimes: &Lifetimes, now: Timestamp) -> Left {
    let times = session.times();
    let absolute = lifetimes.ends_at_last(times).since(now).as_secs();
    if times.remember == Remember::Yes && !lifetimes.remember.is_zero() {
        return Left::Remembered(absolute);
    }
    let idle = (times.last_seen + lifetimes.idle).since(now).as_secs();
    Left::Ordinary { idle, absolute }
}

fn expiry(limit: Ended, session: Option<&Session>, lifetimes: &Lifetimes) -> String {
    let when =
        session.map(|session| format!(" at {}", lifetimes.ends_at(session.times()))).unwrap_or_default();
    match limit {
        Ended::Idle => format!("the session expired{when}: nobody used it for the idle time"),
        Ended::Absolute => format!("the session expired{when}: its login is too long ago"),
    }
}
