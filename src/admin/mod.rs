//! What an administrator asks of a running gateway.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Where administrators ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The unix socket of the commands, made with mode 0600.
    pub socket: PathBuf,
    /// The listener of `/live`, `/ready` and `/metrics`; none = off.
    pub listen: Option<SocketAddr>,
}
