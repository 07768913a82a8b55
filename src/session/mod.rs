//! The heart: who is signed in, for how long, and how a browser shows it.
//!
//! [`engine::Engine`] is what other rooms use. A browser holds a random [`token::Token`] in a signed
//! cookie; the store holds only what is derived from it, sealed. What proves an identity is left to
//! the login room, what it may do to the gateway. Invariants: a request that presents a live session
//! does no I/O; a session that was ended never comes back; absent is not broken.

use std::path::PathBuf;

pub mod cookie;
pub mod engine;
pub mod keyring;
pub mod lifetime;
pub mod record;
pub mod store;
pub mod token;

mod cache;

pub use cookie::{Config as CookieConfig, SameSite};
pub use engine::{EndReason, Engine, Login, Opened, Presented, Resumed, StartError};
pub use keyring::{KeyId, KeyRing, KeyRingError, KeyRole, Purpose};
pub use lifetime::{Ended, Lifetimes, Remember};
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
}

/// The rules of sessions that a reload may change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How long a session lives.
    pub lifetimes: Lifetimes,
    /// How the cookie looks.
    pub cookie: CookieConfig,
}
