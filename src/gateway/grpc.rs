//! Refusals in the terms of gRPC, whose clients read a status of their own and no HTTP status or body.
//!
//! Which status stands for which follows the documents of gRPC "HTTP to gRPC Status Code Mapping" and "gRPC
//! over HTTP2" (Trailers-Only). Invariant: only what the gateway says itself is put so; answers of backends
//! pass as they are.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

/// In which form of gRPC a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// gRPC itself.
    Native,
    /// gRPC-Web with messages as they are.
    Web,
    /// gRPC-Web with messages in base64.
    WebText,
}

impl Dialect {
    /// The dialect of a request by its content type; none if it is not gRPC.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let rest = headers.get(header::CONTENT_TYPE)?.as_bytes().strip_prefix(b"application/grpc")?;
        let is_end = |rest: &[u8]| matches!(rest.first(), None | Some(b'+' | b';' | b' '));
        match (rest.strip_prefix(b"-web-text"), rest.strip_prefix(b"-web")) {
            (Some(rest), _) if is_end(rest) => Some(Self::WebText),
            (None, Some(rest)) if is_end(rest) => Some(Self::Web),
            (None, None) if is_end(rest) => Some(Self::Native),
            _ => None,
        }
    }

    const fn content_type(self) -> &'static str {
        match self {
            Self::Native => "application/grpc",
            Self::Web => "application/grpc-web",
            Self::WebText => "application/grpc-web-text",
        }
    }
}

/// The answer that refuses: a head without a body, which holds what trailers else would.
pub(super) fn trailers_only(dialect: Dialect, status: StatusCode, message: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(dialect.content_type()));
    headers.insert(GRPC_STATUS, HeaderValue::from(code(status)));
    let message = utf8_percent_encode(message, NOT_PLAIN).to_string();
    if let Ok(message) = HeaderValue::try_from(message) {
        headers.insert(GRPC_MESSAGE, message);
    }
    response
}

/// The status in the terms of gRPC.
const fn code(status: StatusCode) -> u16 {
    match status {
        StatusCode::UNAUTHORIZED => UNAUTHENTICATED,
        StatusCode::FORBIDDEN => PERMISSION_DENIED,
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => UNIMPLEMENTED,
        StatusCode::PAYLOAD_TOO_LARGE
        | StatusCode::URI_TOO_LONG
        | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
        | StatusCode::TOO_MANY_REQUESTS => RESOURCE_EXHAUSTED,
        StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT
        | StatusCode::REQUEST_TIMEOUT
        | StatusCode::MISDIRECTED_REQUEST => UNAVAILABLE,
        StatusCode::BAD_REQUEST | StatusCode::INTERNAL_SERVER_ERROR | StatusCode::LOOP_DETECTED => INTERNAL,
        _ => UNKNOWN,
    }
}

const UNKNOWN: u16 = 2;
const PERMISSION_DENIED: u16 = 7;
const RESOURCE_EXHAUSTED: u16 = 8;
const UNIMPLEMENTED: u16 = 12;
const INTERNAL: u16 = 13;
const UNAVAILABLE: u16 = 14;
const UNAUTHENTICATED: u16 = 16;

/// What `Percent-Encoded` of gRPC writes as `%XX`: everything but visible ASCII and blanks, and `%`.
const NOT_PLAIN: &AsciiSet = &CONTROLS.add(b'%');

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

#[cfg(test)]
mod tests {
    use super::*;

    fn dialect(content_type: &'static str) -> Option<Dialect> {
        let name = header::CONTENT_TYPE;
        Dialect::of(&HeaderMap::from_iter([(name, HeaderValue::from_static(content_type))]))
    }

    #[test]
    fn a_dialect_is_known_by_its_content_type() {
        for (content_type, expected) in [
            ("application/grpc", Some(Dialect::Native)),
            ("application/grpc+proto", Some(Dialect::Native)),
            ("application/grpc; charset=utf-8", Some(Dialect::Native)),
            ("application/grpc-web", Some(Dialect::Web)),
            ("application/grpc-web+proto", Some(Dialect::Web)),
            ("application/grpc-web-text+proto", Some(Dialect::WebText)),
            ("application/grpcish", None),
            ("application/grpc-webby", None),
            ("application/grpc-web-textual", None),
            ("application/json", None),
        ] {
            assert_eq!(dialect(content_type), expected, "{content_type}");
        }
        assert_eq!(Dialect::of(&HeaderMap::new()), None);
    }

    #[test]
    fn a_message_is_percent_encoded() {
        let response = trailers_only(Dialect::Web, StatusCode::FORBIDDEN, "100 % \u{e9}\r\nX: y");
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()[GRPC_MESSAGE], "100 %25 %C3%A9%0D%0AX: y");
        assert_eq!(response.headers()[GRPC_STATUS], "7");
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/grpc-web");
    }

    #[test]
    fn every_refusal_has_its_status() {
        for (status, expected) in [
            (400, 13),
            (401, 16),
            (403, 7),
            (404, 12),
            (405, 12),
            (408, 14),
            (413, 8),
            (414, 8),
            (421, 14),
            (429, 8),
            (431, 8),
            (500, 13),
            (501, 12),
            (502, 14),
            (503, 14),
            (504, 14),
            (508, 13),
            (418, 2),
        ] {
            assert_eq!(code(StatusCode::from_u16(status).unwrap()), expected, "{status}");
        }
    }
}
