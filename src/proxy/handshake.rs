//! Our own half of a WebSocket handshake (RFC 6455 section 4), for clients whose protocol has none.
//!
//! Invariant: a backend's 101 is taken for a WebSocket only if it has read the key of this very request.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION};
use http::{HeaderMap, HeaderValue};

/// What a backend has to answer.
#[derive(Debug)]
pub(super) struct Expected(String);

impl Expected {
    /// Asks for a WebSocket with a key of our own; none if the system has no random bytes.
    pub(super) fn ask(headers: &mut HeaderMap) -> Option<Self> {
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce).ok()?;
        let key = STANDARD.encode(nonce);
        headers.insert(SEC_WEBSOCKET_KEY, HeaderValue::from_str(&key).ok()?);
        headers.entry(SEC_WEBSOCKET_VERSION).or_insert(HeaderValue::from_static("13"));
        Some(Self::of(&key))
    }

    /// Whether a backend's answer is to our key.
    pub(super) fn is_met_by(&self, headers: &HeaderMap) -> bool {
        headers.get(SEC_WEBSOCKET_ACCEPT).is_some_and(|accept| accept == self.0.as_str())
    }

    fn of(key: &str) -> Self {
        let both = [key.as_bytes(), GUID].concat();
        Self(STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &both)))
    }
}

/// RFC 6455 section 1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_a_key_is_the_one_of_the_rfc() {
        let mut headers = HeaderMap::new();
        let expected = Expected::of("dGhlIHNhbXBsZSBub25jZQ==");
        assert!(!expected.is_met_by(&headers));
        headers.insert(SEC_WEBSOCKET_ACCEPT, HeaderValue::from_static("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        assert!(expected.is_met_by(&headers));
    }

    #[test]
    fn each_request_has_a_key_of_its_own() {
        let (mut one, mut other) = (HeaderMap::new(), HeaderMap::new());
        assert!(Expected::ask(&mut one).is_some() && Expected::ask(&mut other).is_some());
        assert_ne!(one[SEC_WEBSOCKET_KEY], other[SEC_WEBSOCKET_KEY]);
        assert_eq!(one[SEC_WEBSOCKET_VERSION], "13");
    }
}
