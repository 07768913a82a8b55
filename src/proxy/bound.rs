//! Authentication that a backend binds to its connection instead of to each request: NTLM, and Negotiate as
//! some servers have it (RFC 4559 section 6).
//!
//! Invariant: a connection over which anybody may have proved who they are carries no other request.

use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName};

use super::pool::Reuse;

/// Whether a connection may be used again after a request with these headers.
pub(super) fn after_request(headers: &HeaderMap) -> Reuse {
    after(headers, &AUTHORIZATION)
}

/// Whether a connection may be used again after a response with these headers.
pub(super) fn after_response(headers: &HeaderMap) -> Reuse {
    after(headers, &WWW_AUTHENTICATE)
}

/// SECURITY: such a server takes whatever comes next on the connection for a request of the same person, and
/// the next request of a pooled connection is hardly theirs.
fn after(headers: &HeaderMap, name: &HeaderName) -> Reuse {
    let elements = headers.get_all(name).into_iter().flat_map(|line| line.as_bytes().split(|&it| it == b','));
    let is_bound = elements.map(scheme).any(|scheme| BOUND.iter().any(|it| scheme.eq_ignore_ascii_case(it)));
    if is_bound { Reuse::Forbidden } else { Reuse::Allowed }
}

/// The first word of a challenge or of credentials.
fn scheme(element: &[u8]) -> &[u8] {
    element.trim_ascii_start().split(u8::is_ascii_whitespace).next().unwrap_or_default()
}

const BOUND: [&[u8]; 2] = [b"NTLM", b"Negotiate"];

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_schemes_that_bind_a_connection_spend_it() {
        for (value, later) in [
            ("NTLM TlRMTVNTUAAB", Reuse::Forbidden),
            ("ntlm", Reuse::Forbidden),
            ("  Negotiate\tYII", Reuse::Forbidden),
            ("Basic realm=\"a\", NTLM", Reuse::Forbidden),
            ("Basic bnRsbTpudGxt", Reuse::Allowed),
            ("Bearer NTLM", Reuse::Allowed),
            ("NTLMish x", Reuse::Allowed),
            ("", Reuse::Allowed),
        ] {
            for (name, after) in [
                (AUTHORIZATION, after_request as fn(&HeaderMap) -> Reuse),
                (WWW_AUTHENTICATE, after_response),
            ] {
                let headers = HeaderMap::from_iter([(name, HeaderValue::from_static(value))]);
                assert_eq!(after(&headers), later, "{value}");
            }
        }
    }

    #[test]
    fn every_challenge_counts() {
        let mut headers = HeaderMap::new();
        headers.append(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"a\""));
        headers.append(WWW_AUTHENTICATE, HeaderValue::from_static("Negotiate"));
        assert_eq!(after_response(&headers), Reuse::Forbidden);
    }
}
