//! What is done to the head of a backend's answer before the gateway's own headers are put on it.
//!
//! Leaves the security headers to [`super::security_headers`], which come afterwards. Invariant: no
//! backend gives a browser a cookie by the name of one of ours.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::handling::Caching;
use super::repair::Repairs;
use super::{HeadersConfig, Route};
use crate::identity::Identity;
use crate::portal;
use crate::proxy::Upstream;
use crate::session::cookie;

/// Whose answer it is, and to whom.
#[derive(Clone, Copy)]
pub(super) struct Aftercare<'a> {
    /// The route of the request.
    pub(super) route: &'a Route,
    /// What holds on every route.
    pub(super) common: &'a HeadersConfig,
    /// Who answered.
    pub(super) upstream: &'a Upstream,
    /// The host and port that were asked for.
    pub(super) authority: &'a str,
    /// Who asked, if the backend was told.
    pub(super) identity: Option<&'a Identity>,
    /// The name of the session cookie.
    pub(super) session_cookie: &'a str,
}

impl Aftercare<'_> {
    /// Tends an answer.
    pub(super) fn tend(&self, headers: &mut HeaderMap) {
        let handling = &self.route.handling;
        // SECURITY: an application could sign its users in as somebody else, or out, and prepare forms.
        cookie::keep_ours(headers, &portal::own_cookies(self.session_cookie));
        if !handling.repair.is_empty() {
            let is_told = |authority: &str| self.upstream.is_told_as(authority);
            let repairs = Repairs {
                wanted: &handling.repair,
                rewrite: &handling.rewrite,
                authority: self.authority,
                is_told: &is_told,
            };
            repairs.apply(headers);
        }
        for name in self.common.remove.iter().chain(&handling.remove_headers) {
            headers.remove(name);
        }
        if self.identity.is_some() && handling.caching.unwrap_or(self.common.caching) == Caching::NoStore {
            forbid_caches(headers);
        }
    }
}

/// Replaces what the backend says to caches, also to those that have a header of their own (RFC 9213).
pub(super) fn forbid_caches(headers: &mut HeaderMap) {
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    for name in &FOR_SOME_CACHES {
        headers.remove(name);
    }
}

const FOR_SOME_CACHES: [HeaderName; 4] = [
    header::EXPIRES,
    header::PRAGMA,
    HeaderName::from_static("cdn-cache-control"),
    HeaderName::from_static("surrogate-control"),
];
