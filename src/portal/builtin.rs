//! The page of the built-in backend: who you are, and what a backend gets.

use bytes::Bytes;
use http::{Response, StatusCode};
use serde::Serialize;

use super::page::{self, Place};
use crate::identity::Identity;

/// A request as a backend sees it.
#[derive(Clone, Debug)]
pub struct BuiltinPage<'a> {
    /// Where the page stands.
    pub place: Place<'a>,
    /// Who asks; none for guests.
    pub identity: Option<&'a Identity>,
    /// The request method.
    pub method: &'a str,
    /// Path and query.
    pub target: &'a str,
    /// Every header line, name and value.
    pub headers: &'a [(String, String)],
}

/// The response that shows a request.
#[must_use]
pub fn builtin(page: &BuiltinPage<'_>) -> Response<Bytes> {
    let context = Context {
        user: page.identity.map(|identity| identity.user.as_str()),
        method: page.method,
        target: page.target,
        headers: page.headers,
    };
    page::render(page.place, StatusCode::OK, "builtin.html", &context)
}

#[derive(Serialize)]
struct Context<'a> {
    user: Option<&'a str>,
    method: &'a str,
    target: &'a str,
    headers: &'a [(String, String)],
}
