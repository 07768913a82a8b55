//! Why memcached did not do what it was asked, in words for the person who runs it.

use std::time::Duration;

use super::location::Address;

/// Why there is no answer. Whether what was asked was done is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemcachedError {
    /// Nobody listens there, or the connection ended.
    #[error("memcached at `{server}` cannot be reached: {reason}; check that it runs")]
    Unreachable {
        /// Which server.
        server: Address,
        /// What the system says.
        reason: String,
    },
    /// No answer came in time.
    #[error("memcached at `{server}` did not answer within {after:?}; check its load and the network")]
    TimedOut {
        /// Which server.
        server: Address,
        /// How long we waited.
        after: Duration,
    },
    /// It says something that is no answer to what was asked.
    #[error("memcached at `{server}` refused or was not understood: {reason}")]
    Answer {
        /// Which server.
        server: Address,
        /// What it said.
        reason: String,
    },
    /// The value is too long to be kept.
    #[error("a value of {length} bytes is too long for memcached, {limit} are allowed")]
    TooLong {
        /// Its length.
        length: usize,
        /// What is allowed.
        limit: usize,
    },
    /// The client was closed.
    #[error("the connections to memcached are closed; this process is stopping")]
    Closed,
}
