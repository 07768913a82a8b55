//! Why a Redis did not do what it was asked, in words for the person who runs it.
//!
//! Invariant: only [`RedisFault::Value`] is about what Redis holds; everything else says nothing about
//! whether a key exists.

use std::time::Duration;

use redis::{ErrorKind, RedisError, ServerError};

use super::connection::ANSWER_DEADLINE;

/// Why a Redis gave no answer, or none that makes sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedisFault {
    /// There is no connection.
    #[error("no connection to `{location}`: {reason}")]
    Unreachable {
        /// Which Redis.
        location: String,
        /// What the system or the server says.
        reason: String,
    },
    /// It did not answer in time; a write may still be done.
    #[error("`{location}` did not answer within {after:?}")]
    TimedOut {
        /// Which Redis.
        location: String,
        /// How long the caller waited.
        after: Duration,
    },
    /// It answered with an error of its own.
    #[error("`{location}` refused with `{code}`: {reason}{}", advice(code))]
    Refused {
        /// Which Redis.
        location: String,
        /// The first word of the answer.
        code: String,
        /// The rest of it.
        reason: String,
    },
    /// A key or an answer is not of the kind that its reader expected.
    #[error("`{location}` holds an unexpected value: {reason}")]
    Value {
        /// Which Redis.
        location: String,
        /// What was found.
        reason: String,
    },
    /// The handle was closed.
    #[error("the connection to `{location}` is closed; this process is stopping")]
    Closed {
        /// Which Redis.
        location: String,
    },
}

impl RedisFault {
    pub(super) fn new(location: &str, error: &RedisError) -> Self {
        let (location, reason) = (location.to_owned(), reason(error));
        if error.is_timeout() {
            return Self::TimedOut { location, after: ANSWER_DEADLINE };
        }
        match (error.kind(), error.code()) {
            (_, Some(code)) => Self::refused(location, code, reason),
            (ErrorKind::UnexpectedReturnType, None) => Self::Value { location, reason },
            _ => Self::Unreachable { location, reason },
        }
    }

    pub(super) fn answered(location: &str, error: &ServerError) -> Self {
        let reason = shortened(error.details().unwrap_or_default());
        Self::refused(location.to_owned(), error.code(), reason)
    }

    fn refused(location: String, code: &str, reason: String) -> Self {
        match code {
            "WRONGTYPE" => Self::Value { location, reason: "a key holds another type".to_owned() },
            _ => Self::Refused { location, code: code.to_owned(), reason },
        }
    }

    /// Whether another connection may do better: this one leads to a server that is no master any
    /// more, or that does not know us.
    pub(super) fn needs_new_connection(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::TimedOut { .. } => true,
            Self::Refused { code, .. } => {
                ["READONLY", "MOVED", "MASTERDOWN", "NOAUTH", "WRONGPASS"].contains(&code.as_str())
            }
            Self::Value { .. } | Self::Closed { .. } => false,
        }
    }

    /// Whether the server said no for good: it does not know the command, or not for this user.
    pub(super) fn is_forbidden(&self) -> bool {
        match self {
            Self::Refused { code, reason, .. } => {
                code == "NOPERM" || (code == "ERR" && reason.starts_with("unknown"))
            }
            _ => false,
        }
    }
}

fn reason(error: &RedisError) -> String {
    if error.kind() == ErrorKind::AuthenticationFailed {
        return "it refuses the user or the password".to_owned();
    }
    shortened(error.detail().map_or_else(|| error.to_string(), str::to_owned).as_str())
}

/// One line that is not too long, whatever a server sends.
fn shortened(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(REASON_LIMIT).collect()
}

fn advice(code: &str) -> &'static str {
    match code {
        "OOM" => "; give it more memory or another `maxmemory-policy`",
        "READONLY" => "; name its master, or use `redis+sentinel://`",
        "NOAUTH" | "WRONGPASS" => "; check the user and the password in its URL",
        "NOPERM" => "; its ACL user needs the rules that the documentation names",
        "LOADING" | "MASTERDOWN" | "CLUSTERDOWN" | "TRYAGAIN" => "; it will answer when it has recovered",
        "MISCONF" => "; check its disk and its log",
        _ => "",
    }
}

const REASON_LIMIT: usize = 200;
