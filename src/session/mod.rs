//! The heart: who is signed in, for how long, and how a browser shows it.

use std::path::PathBuf;
use std::time::Duration;

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

/// How the session cookie looks (RFC 6265bis).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookieConfig {
    /// Its name; begins with `__Host-`.
    pub name: String,
    /// When a browser sends it from other sites.
    pub same_site: SameSite,
}

/// The `SameSite` attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameSite {
    /// Sent when a link leads here.
    Lax,
    /// Sent only from our own pages.
    Strict,
}
