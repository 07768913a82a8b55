//! What the gateway says of itself: logs, access lines, the audit trail, metrics.

pub mod access;
pub mod access_line;
pub mod audit;
pub mod log;
pub mod metrics;
pub mod reports;
pub mod rule;

use std::path::PathBuf;

/// What is written where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The format of log and access lines.
    pub format: Format,
    /// Whether each request gets a line.
    pub access: bool,
    /// The file of the audit trail.
    pub audit: PathBuf,
}

/// The format of log and access lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}
