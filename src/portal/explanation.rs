//! The page that tells an administrator why a request was refused.
//!
//! Who may see it is the gateway's matter. Invariant: everything on it is escaped and comes from the
//! request's canonical form or the configuration; no query, header or cookie is among it.

use std::net::IpAddr;

use bytes::Bytes;
use http::{Response, StatusCode};
use serde::Serialize;

use super::page::{self, Place};
use crate::clock::Timestamp;

/// Why a request was refused, or would have been.
#[derive(Clone, Debug)]
pub struct ExplanationPage<'a> {
    /// Where the page stands.
    pub place: Place<'a>,
    /// The id of the request.
    pub request_id: &'a str,
    /// When it came.
    pub time: Timestamp,
    /// Its method.
    pub method: &'a str,
    /// Host and path as they were decided on.
    pub read_as: &'a str,
    /// Who asked; none for a guest.
    pub user: Option<&'a str>,
    /// The groups that they were in at login.
    pub groups: String,
    /// The real client.
    pub client: IpAddr,
    /// Host and path of the route.
    pub route: String,
    /// The line of the configuration where the route began when the request came.
    pub line: Option<usize>,
    /// What the route demands.
    pub rule: String,
    /// What was done.
    pub result: String,
    /// What would have been done if the rule did not only report.
    pub instead: Option<String>,
}

/// The response that says why a request was refused.
#[must_use]
pub fn explanation(page: &ExplanationPage<'_>) -> Response<Bytes> {
    let context = Context {
        request_id: page.request_id,
        known: Some(Known {
            time: page::readable(page.time),
            method: page.method,
            read_as: page.read_as,
            user: page.user,
            groups: &page.groups,
            client: page.client,
            route: &page.route,
            line: page.line,
            rule: &page.rule,
            result: &page.result,
            instead: page.instead.as_deref(),
        }),
    };
    page::render(page.place, StatusCode::OK, TEMPLATE, &context)
}

/// The response that says that nothing is known of a request.
#[must_use]
pub fn no_explanation(place: Place<'_>, request_id: &str) -> Response<Bytes> {
    page::render(place, StatusCode::NOT_FOUND, TEMPLATE, &Context { request_id, known: None })
}

#[derive(Serialize)]
struct Context<'a> {
    request_id: &'a str,
    known: Option<Known<'a>>,
}

#[derive(Serialize)]
struct Known<'a> {
    time: String,
    method: &'a str,
    read_as: &'a str,
    user: Option<&'a str>,
    groups: &'a str,
    client: IpAddr,
    route: &'a str,
    line: Option<usize>,
    rule: &'a str,
    result: &'a str,
    instead: Option<&'a str>,
}

const TEMPLATE: &str = "explanation.html";
