//! The heart: who is signed in, for how long, and how a browser shows it.
//!
//! [`engine::Engine`] is what other rooms use. A browser holds a random [`token::Token`] in a signed
//! cookie; the store holds only what is derived from it, sealed. What proves an identity is left to
//! the login room, what it may do to the gateway. Invariants: a request that presents a live session
//! does no I/O; a session that was ended never comes back; absent is not broken.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use crate::storage::{memcached, redis, sql};

pub mod binding;
pub mod cookie;
pub mod engine;
pub mod id_prefix;
pub mod keyring;
pub mod lifetime;
pub mod proofs;
pub mod record;
pub mod store;
pub mod token;

mod cache;

pub use binding::{Binding, Device};
pub use cookie::{Config as CookieConfig, SameSite};
pub use engine::{
    Activity, EndReason, Engine, Live, Login, OpenError, Opened, Presented, Resumed, StartError, Visit,
};
pub use id_prefix::IdPrefix;
pub use keyring::{KeyId, KeyRing, KeyRingError, KeyRole, Purpose, Sealing};
pub use lifetime::{Ended, Lifetimes, Remember};
pub use proofs::Proofs;
pub use record::Session;
pub use store::StoreError;
pub use token::{SessionId, Token};

/// Where sessions are kept and under which rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The store; a change needs a restart.
    pub store: StoreKind,
    /// What a reload may change.
    pub policy: Policy,
}

/// The kinds of session store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreKind {
    /// In this process, gone at restart.
    Memory,
    /// In an SQLite file.
    Sqlite(PathBuf),
    /// In a Redis, perhaps with Sentinels or as a Cluster.
    Redis(redis::Location),
    /// In a PostgreSQL or MySQL database.
    Sql(sql::Location),
    /// In memcached servers.
    Memcached(memcached::Location),
    /// In the cookies of the browsers; only which sessions were ended is kept, in this store.
    Browser(Box<StoreKind>),
}

/// The rules of sessions that a reload may change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How long a session lives.
    pub lifetimes: Lifetimes,
    /// How the cookie looks.
    pub cookie: CookieConfig,
    /// How many sessions a user may have at once; nothing for as many as they like.
    pub limit: Option<Limit>,
    /// What a session is bound to.
    pub binding: Binding,
    /// Whether who is not signed in gets a session.
    pub guests: Guests,
    /// What becomes of sessions while the store does not answer.
    pub store_down: StoreDown,
    /// How long a session in memory is trusted where other processes share the store and nobody tells
    /// of their changes.
    pub recheck: Duration,
}

#[cfg(test)]
impl Policy {
    /// A day at work, and nothing that a test did not ask for.
    pub(crate) fn plain() -> Self {
        Self {
            lifetimes: Lifetimes {
                idle: Duration::from_mins(30),
                absolute: Duration::from_hours(12),
                remember: Duration::from_hours(30 * 24),
                renew_id: Duration::ZERO,
            },
            cookie: CookieConfig { name: "__Host-vestibule".to_owned(), same_site: SameSite::Lax },
            limit: None,
            binding: Binding::default(),
            guests: Guests::Unknown,
            store_down: StoreDown::Refuse,
            recheck: Duration::from_secs(5),
        }
    }
}

/// How many sessions a user may have at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// So many.
    pub sessions: NonZeroUsize,
    /// What one more login does.
    pub beyond: Beyond,
}

/// What a login beyond the limit does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beyond {
    /// It ends the oldest session of the user.
    EvictOldest,
    /// It is refused until the user has ended one.
    Refuse,
}

/// Whether who is not signed in gets a session on public and optional routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guests {
    /// No: nothing is kept of them.
    Unknown,
    /// Yes: a cookie and a pseudonym for the backend.
    Recognised,
}

/// What becomes of sessions while the store does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreDown {
    /// Who is not known for certain gets a 503.
    Refuse,
    /// A session that was known for certain no longer ago than this goes on.
    Grace(Duration),
}
