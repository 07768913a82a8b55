//! What proves an identity: accounts, passwords, and the throttle before them.

use std::path::PathBuf;
use std::time::Duration;

/// How people prove who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The SQLite file of accounts; a change needs a restart.
    pub users: PathBuf,
    /// How often somebody may try; reloadable.
    pub throttle: ThrottleConfig,
}

/// How many failed logins are answered before the answer is "wait".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThrottleConfig {
    /// For one account name, whoever tries.
    pub per_account: Rate,
    /// For one client address (IPv4 address or IPv6 /64), whatever the name.
    pub per_address: Rate,
}

/// So many in so long, as in `10 in 10m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub count: u32,
    /// In how long.
    pub period: Duration,
}
