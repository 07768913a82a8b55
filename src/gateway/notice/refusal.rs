//! Why a page goes without the expiry notice although its route asks for it, told once for each route.
//!
//! Invariant: what a page or a visitor does cannot fill the log.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use crate::gateway::HostPattern;

/// Why a page goes without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Refusal {
    /// Its policy trusts only what a trusted script loads, and has no nonce that ours could show.
    StrictDynamic,
    /// Its policies want different nonces.
    Nonces,
    /// It may run no scripts, or belongs to no origin.
    Sandbox,
    /// Its policy is written in a way that only a browser reads for certain.
    PolicyUnreadable,
    /// It turns out to be in an encoding in which markup cannot be found.
    Encoding,
    /// Its markup is too large or too odd to be followed.
    Markup,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::StrictDynamic => "its policy has `strict-dynamic` and no nonce",
            Self::Nonces => "its policies want different nonces",
            Self::Sandbox => "its policy has a `sandbox` in which the script cannot work",
            Self::PolicyUnreadable => "its policy cannot be read for certain",
            Self::Encoding => "its encoding is not a superset of ASCII",
            Self::Markup => "its markup cannot be followed: a tag is too large, or a text ambiguous",
        })
    }
}

/// Tells of the pages of one route.
#[derive(Clone, Debug)]
pub(super) struct Reporter {
    route: String,
}

impl Reporter {
    /// For the route of this host and path.
    pub(super) fn of(host: &HostPattern, path: &str) -> Self {
        Self { route: format!("{host}{path}") }
    }

    /// Tells why a page went without, unless that was told before.
    pub(super) fn report(&self, refusal: Refusal) {
        let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() < REMEMBERED && told.insert((self.route.clone(), refusal)) {
            tracing::warn!(route = %self.route, reason = %refusal, "a page goes without the expiry notice");
        }
    }
}

static TOLD: Mutex<BTreeSet<(String, Refusal)>> = Mutex::new(BTreeSet::new());

/// Routes change by reloads; some hundred of them are enough for one life of a process.
const REMEMBERED: usize = 1024;
