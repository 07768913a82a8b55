//! The gateway's own pages.

/// Settings of the gateway's own pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The path prefix, without a slash at its end; `/.vestibule` by default.
    pub path: String,
}
