//! The built-in backend: a page that shows who you are and what a backend would get.
//!
//! It stands in for an application in a quickstart without one, and sees the request exactly as the
//! proxy would send it.

use bytes::Bytes;
use http::{Request, Response, header};

use super::snapshot::Snapshot;
use crate::identity::Identity;
use crate::portal::languages::Language;
use crate::portal::{self, BuiltinPage, Place};

/// Shows a request that is ready to be forwarded.
#[must_use]
pub(super) fn page<B>(
    request: &Request<B>,
    identity: Option<&Identity>,
    snapshot: &Snapshot,
    host: &str,
) -> Response<Bytes> {
    let look = &snapshot.look;
    let language = Language::wanted(request.headers().get(header::ACCEPT_LANGUAGE), look.language());
    let headers: Vec<(String, String)> = request
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    portal::builtin(&BuiltinPage {
        place: Place { look, host, language },
        identity,
        method: request.method().as_str(),
        target: request.uri().path_and_query().map_or("/", |target| target.as_str()),
        headers: &headers,
    })
}
