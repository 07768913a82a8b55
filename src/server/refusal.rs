//! What the server refuses by itself, before it is a request that a handler could see.

use http::StatusCode;

/// Why something never became a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The head is malformed.
    Malformed,
    /// The head did not become complete in time.
    Late,
    /// The target is too long.
    UriTooLong,
    /// The head is too large.
    HeaderTooLarge,
    /// The client broke the rules of HTTP/2, or flooded the connection with frames.
    BrokenHttp2,
    /// The client's address has too many connections.
    TooManyConnections,
    /// The connection does not begin as one of a trusted proxy must.
    NoProxyHeader,
}

impl Refusal {
    /// The status it is answered with; none where the connection is closed instead.
    #[must_use]
    pub const fn status(self) -> Option<StatusCode> {
        match self {
            Self::Malformed => Some(StatusCode::BAD_REQUEST),
            Self::Late => Some(StatusCode::REQUEST_TIMEOUT),
            Self::UriTooLong => Some(StatusCode::URI_TOO_LONG),
            Self::HeaderTooLarge => Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
            Self::BrokenHttp2 | Self::TooManyConnections | Self::NoProxyHeader => None,
        }
    }

    /// The word for it in access lines.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Malformed => "malformed_head",
            Self::Late => "head_timeout",
            Self::UriTooLong => "uri_too_long",
            Self::HeaderTooLarge => "header_too_large",
            Self::BrokenHttp2 => "http2_error",
            Self::TooManyConnections => "connections_per_address",
            Self::NoProxyHeader => "no_proxy_header",
        }
    }

    /// The protocol it was refused in; `-` if it did not come to that.
    #[must_use]
    pub const fn protocol(self) -> &'static str {
        match self {
            Self::Malformed | Self::Late | Self::UriTooLong | Self::HeaderTooLarge => "HTTP/1.1",
            Self::BrokenHttp2 => "HTTP/2",
            Self::TooManyConnections | Self::NoProxyHeader => "-",
        }
    }
}
