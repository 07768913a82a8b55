//! Which trailer fields may pass.
//!
//! Invariant: a trailer never carries what a reader would act on before or instead of the header
//! section (RFC 9110 6.5.1): framing, routing, authentication, connection control, identity.

use std::sync::Arc;

use http::{HeaderMap, HeaderName};

use super::headers::{is_forwarding_name, same_folded};

/// Drops the trailer fields that must not pass.
#[derive(Clone, Debug)]
pub struct TrailerFilter {
    identity: Arc<[HeaderName]>,
}

impl TrailerFilter {
    /// Also drops the fields in `identity`, in every spelling that a backend may fold into them.
    #[must_use]
    pub const fn new(identity: Arc<[HeaderName]>) -> Self {
        Self { identity }
    }

    /// Drops from `trailers` what must not pass.
    pub fn apply(&self, trailers: &mut HeaderMap) {
        let refused: Vec<_> = trailers.keys().filter(|name| self.refuses(name.as_str())).cloned().collect();
        for name in refused {
            trailers.remove(name);
        }
    }

    fn refuses(&self, name: &str) -> bool {
        // SECURITY: CGI-like servers read `_` and `-` as the same character.
        REFUSED.iter().any(|refused| same_folded(name, refused))
            || PREFIXES.iter().any(|prefix| name.get(..prefix.len()).is_some_and(|n| same_folded(n, prefix)))
            || is_forwarding_name(name)
            || self.identity.iter().any(|identity| same_folded(name, identity.as_str()))
    }
}

impl Default for TrailerFilter {
    fn default() -> Self {
        Self::new(Arc::default())
    }
}

const REFUSED: [&str; 34] = [
    "age",
    "authorization",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "cookie2",
    "date",
    "expect",
    "expires",
    "host",
    "http2-settings",
    "keep-alive",
    "location",
    "max-forwards",
    "origin",
    "pragma",
    "range",
    "retry-after",
    "set-cookie",
    "set-cookie2",
    "strict-transport-security",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "vary",
    "via",
    "warning",
    "www-authenticate",
    "x-request-id",
];

/// Conditions, proxy control and authentication, policies for browsers.
const PREFIXES: [&str; 5] =
    ["access-control-", "authentication-", "content-security-policy", "if-", "proxy-"];

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn left(filter: &TrailerFilter, names: &[&'static str]) -> Vec<String> {
        let mut trailers = HeaderMap::new();
        for name in names {
            trailers.append(*name, HeaderValue::from_static("v"));
        }
        filter.apply(&mut trailers);
        trailers.keys().map(ToString::to_string).collect()
    }

    #[test]
    fn identity_cannot_be_forged_in_a_trailer_in_any_spelling() {
        let identity = [HeaderName::from_static("x-user-id"), HeaderName::from_static("remote_user")];
        let filter = TrailerFilter::new(Arc::from(identity));
        let forged = ["x-user-id", "x_user_id", "x-user_id", "remote-user", "x-checksum"];
        assert_eq!(left(&filter, &forged), ["x-checksum"]);
    }

    #[test]
    fn framing_routing_and_authentication_do_not_pass_in_a_trailer() {
        let names = ["content-length", "transfer_encoding", "host", "authorization", "proxy-authorization"];
        assert!(left(&TrailerFilter::default(), &names).is_empty());
        let names =
            ["x-forwarded-for", "x_forwarded_for", "forwarded", "if-match", "set-cookie", "x-request-id"];
        assert!(left(&TrailerFilter::default(), &names).is_empty());
        let names = ["grpc-status", "server-timing", "digest", "etag"];
        assert_eq!(left(&TrailerFilter::default(), &names), names);
    }
}
