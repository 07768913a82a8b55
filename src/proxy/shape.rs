//! The form in which a backend reads a request: that of HTTP/1.1, or that of HTTP/2.
//!
//! Invariants: the framing is ours; whatever a client said of its own connection is gone; either form
//! can be made of the other, so that a request that was not sent can go another way.

use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Method, Request, Uri, Version};
use http_body::Body;

use super::headers::Framing;
use super::upgrade::Switch;
use super::upload::RequestBody;

/// HTTP/1.1, in origin-form.
pub(super) fn as_http1(request: &mut Request<RequestBody>, switch: Switch) {
    *request.version_mut() = Version::HTTP_11;
    set_target(request);
    set_connection(request, switch);
    set_framing(request);
}

/// HTTP/2, made of the form of HTTP/1.1: the host becomes `:authority` (RFC 9113 8.3.1).
pub(super) fn as_http2(request: &mut Request<RequestBody>, scheme: Scheme) {
    *request.version_mut() = Version::HTTP_2;
    let headers = request.headers_mut();
    headers.remove(CONNECTION);
    headers.remove(TRANSFER_ENCODING);
    let host = headers.remove(HOST).and_then(|host| Authority::from_maybe_shared(host).ok());
    let mut parts = request.uri().clone().into_parts();
    (parts.scheme, parts.authority) = (Some(scheme), host);
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
}

/// Makes the target origin-form; an authority in it is the host (RFC 9112 3.2.2, RFC 9113 8.3.1).
fn set_target(request: &mut Request<RequestBody>) {
    let Some(authority) = request.uri().authority() else { return };
    let named = authority.as_str().rsplit_once('@').map_or(authority.as_str(), |(_, host)| host);
    let host = HeaderValue::from_str(named);
    let target = request.uri().path_and_query().cloned();
    *request.uri_mut() = Uri::from(target.unwrap_or_else(|| PathAndQuery::from_static("/")));
    if let Ok(host) = host {
        request.headers_mut().insert(HOST, host);
    }
}

/// SECURITY: whatever `Connection` says by now is ignored; it is written anew.
fn set_connection(request: &mut Request<RequestBody>, switch: Switch) {
    let headers = request.headers_mut();
    headers.remove(CONNECTION);
    match switch {
        Switch::WebSocket | Switch::Bridged => {
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        }
        Switch::No => drop(headers.remove(UPGRADE)),
    }
    if headers.contains_key(TE) {
        headers.append(CONNECTION, HeaderValue::from_static("te"));
    }
}

/// How a body ends that is sent over HTTP/1.1.
pub(super) fn framing_of(body: &RequestBody) -> Framing {
    body.size_hint().exact().map_or(Framing::Chunked, Framing::Length)
}

/// Says how the body ends, whatever the method.
///
/// SECURITY: it is sent as [`framing_of`] says; a backend that is told anything else takes a body for a request.
fn set_framing(request: &mut Request<RequestBody>) {
    let (empty, framing) = (request.body().is_empty(), framing_of(request.body()));
    let content = matches!(*request.method(), Method::POST | Method::PUT | Method::PATCH);
    let headers = request.headers_mut();
    headers.remove(TRANSFER_ENCODING);
    match framing {
        // A method that has a body says so when it is empty (RFC 9110 8.6).
        Framing::Length(_) if empty && !content => drop(headers.remove(CONTENT_LENGTH)),
        Framing::Length(length) => drop(headers.insert(CONTENT_LENGTH, HeaderValue::from(length))),
        Framing::Chunked | Framing::None => {
            headers.remove(CONTENT_LENGTH);
            headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(uri: &str, lines: &[(&'static str, &'static str)]) -> Request<RequestBody> {
        let mut request = Request::new(RequestBody::empty());
        *request.uri_mut() = uri.parse().unwrap();
        for (name, value) in lines {
            request.headers_mut().append(*name, HeaderValue::from_static(value));
        }
        request
    }

    #[test]
    fn a_request_goes_from_one_form_to_the_other_and_back() {
        let mut there = request("/a?b", &[("host", "wiki.example:8443"), ("te", "trailers"), ("x", "1")]);
        as_http1(&mut there, Switch::No);
        let headers = there.headers().clone();
        as_http2(&mut there, Scheme::HTTPS);
        assert_eq!(
            (there.uri().to_string().as_str(), there.version()),
            ("https://wiki.example:8443/a?b", Version::HTTP_2)
        );
        assert!(!there.headers().contains_key(HOST) && !there.headers().contains_key(CONNECTION));
        assert_eq!(there.headers()[TE], "trailers");
        as_http1(&mut there, Switch::No);
        assert_eq!((there.uri().to_string().as_str(), there.version()), ("/a?b", Version::HTTP_11));
        assert_eq!(there.headers(), &headers);
    }
}
