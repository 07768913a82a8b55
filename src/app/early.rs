//! The answers to request heads that cannot be read at all, made ready before they are needed.
//!
//! They cannot know whether a person or a program asked, so they are a small page that both can use.

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};

use crate::gateway::error_page;
use crate::gateway::snapshot::Snapshot;
use crate::server::{EarlyErrors, Refusals};

/// The answers with the security headers of a snapshot.
pub(super) fn responses(snapshot: &Snapshot) -> EarlyErrors {
    let mut secure = HeaderMap::new();
    snapshot.headers.apply_to_own(&mut secure);
    let mut clear = secure.clone();
    // A browser must ignore it where anybody can write it (RFC 6797 section 7.2).
    clear.remove(header::STRICT_TRANSPORT_SECURITY);
    EarlyErrors { secure: refusals(&secure), clear: refusals(&clear), redirect: clear }
}

fn refusals(security: &HeaderMap) -> Refusals {
    Refusals {
        bad_request: response(security, StatusCode::BAD_REQUEST, "This request cannot be understood"),
        uri_too_long: response(security, StatusCode::URI_TOO_LONG, "The address is too long"),
        header_too_large: response(
            security,
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "Your browser sent too much; delete the cookies of this site",
        ),
        timeout: response(security, StatusCode::REQUEST_TIMEOUT, "The request did not arrive in time"),
    }
}

/// A whole HTTP/1.1 response (RFC 9112 section 4) that ends the connection.
fn response(security: &HeaderMap, status: StatusCode, title: &str) -> Bytes {
    let page = error_page::plain(status, title);
    let (parts, body) = page.into_parts();
    let reason = status.canonical_reason().unwrap_or_default();
    let mut bytes = format!("HTTP/1.1 {} {reason}\r\n", status.as_u16()).into_bytes();
    for (name, value) in security.iter().chain(&parts.headers) {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
        .extend_from_slice(format!("content-length: {}\r\nconnection: close\r\n\r\n", body.len()).as_bytes());
    bytes.extend_from_slice(&body);
    bytes.into()
}
