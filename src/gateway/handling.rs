//! What becomes of the requests that may pass a route: the settings.
//!
//! The acts themselves are in the rooms beside this file: [`super::rewrite`], [`super::fixed`],
//! [`super::aftercare`]. Invariant: the default is to hand a request on as it is, and its answer back.

use std::time::Duration;

use http::HeaderName;
use ipnet::IpNet;

use super::fixed::{Carry, Fixed};
use super::repair::Repair;
use super::rewrite::Rewrite;
use crate::proxy::body;

/// What becomes of the requests that may pass a route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Handling {
    /// How the path is written anew for the backend.
    pub rewrite: Rewrite,
    /// An answer of the gateway in place of one of a backend.
    pub fixed: Option<Fixed>,
    /// Why everybody has to come back later; none in ordinary times.
    pub maintenance: Option<Maintenance>,
    /// What is set right in answers of the backend.
    pub repair: Vec<Repair>,
    /// What is taken from answers of the backend, beside what is taken on every route.
    pub remove_headers: Vec<HeaderName>,
    /// Whether caches may keep what identified users get; none = as on other routes.
    pub caching: Option<Caching>,
    /// How long request bodies may be.
    pub body: BodyBound,
    /// Whether pages get the expiry notice.
    pub expiry_notice: ExpiryNotice,
}

impl Handling {
    /// Whether a path must not have a second reading here, though everybody may pass.
    ///
    /// SECURITY: behind a prefix of ours, `..%2F` could lead a backend out of it; in a redirect of
    /// ours, a backslash could lead a browser to another host.
    #[must_use]
    pub fn needs_one_reading(&self) -> bool {
        let carries = matches!(&self.fixed, Some(Fixed::Redirect(it)) if it.carry == Carry::PathAndQuery);
        carries || !self.rewrite.is_nothing()
    }
}

/// Why everybody has to come back later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Maintenance {
    /// What people read; none for words of ours.
    pub message: Option<String>,
    /// When it is worth another try.
    pub retry_after: Duration,
    /// Who passes all the same.
    pub networks: Vec<IpNet>,
}

/// How long request bodies may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodyBound {
    /// As long as on other routes.
    #[default]
    AsElsewhere,
    /// As long as they like.
    None,
    /// At most so many bytes.
    Bytes(u64),
}

impl BodyBound {
    /// The bounds of bodies on this route, from those of other routes.
    #[must_use]
    pub const fn within(self, elsewhere: body::Limits) -> body::Limits {
        match self {
            Self::AsElsewhere => elsewhere,
            Self::None => body::Limits { body_bytes: None, ..elsewhere },
            Self::Bytes(bytes) => body::Limits { body_bytes: Some(bytes), ..elsewhere },
        }
    }
}

/// Whether the pages of signed-in users get a script that says before their session ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExpiryNotice {
    /// They stay as the backend made them.
    #[default]
    LeftOut,
    /// They get it.
    Added,
}

/// Whether caches may keep what identified users get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Caching {
    /// As the backend says.
    #[default]
    Backend,
    /// Never.
    NoStore,
}
