//! What an administrator asks of a running gateway.
//!
//! Two doors with different trust: a TCP listener that shows health and metrics to whoever reaches
//! it, and a unix socket (mode 0600) for the commands, which may change things. Leaves the doing to
//! [`Control`], which the composition root implements; what concerns sessions is done by the [`Desk`].

pub mod client;
mod cookie_report;
mod desk;
pub mod question;
mod responses;
mod rule_report;
mod serve;
mod session_report;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;

use serde::{Deserialize, Serialize};

pub use self::desk::{Desk, DeskError};
pub use self::question::Question;
pub use self::serve::{Admin, AdminError, Doors};

use crate::identity::Group;

/// Where administrators ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The unix socket of the commands, made with mode 0600.
    pub socket: PathBuf,
    /// The listener of `/live`, `/ready` and `/metrics`; none = off.
    pub listen: Option<SocketAddr>,
    /// Whose members the pages tell why a request was refused; nobody is told if empty.
    pub groups: Vec<Group>,
}

/// What a running gateway does for its administrator.
pub trait Control: Send + Sync + 'static {
    /// Takes over the configuration files as they are now, or says everything that is wrong.
    fn reload(&self) -> Doing<'_, Result<ReloadReport, Vec<String>>>;

    /// What keeps the gateway from doing its work; empty when nothing does.
    fn impediments(&self) -> Doing<'_, Vec<String>>;

    /// The metrics in the OpenMetrics text format.
    fn metrics(&self) -> String;

    /// Where questions about sessions, cookies and keys are answered.
    fn desk(&self) -> &Desk;
}

/// A future of [`Control`].
pub type Doing<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a successful reload did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadReport {
    /// The sections that changed.
    pub changed: Vec<String>,
    /// Keys whose new values wait for a restart.
    pub restart_needed: Vec<String>,
    /// Sessions that ended because their account is gone or disabled.
    pub sessions_ended: usize,
    /// What could not be done, though the new configuration is in force.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// Why a command was refused by the gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// One line each.
    pub problems: Vec<String>,
}
