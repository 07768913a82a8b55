//! The headers that tell a backend who is asking.
//!
//! Every name that we may set, in every spelling that a CGI or WSGI server folds into it, is removed
//! from what clients send, on every route, before anything else looks at the request; and so is what some
//! backends heed more than the request itself. Invariants: an identity header that reaches a backend was
//! set from a permit; no header names another path than the one that was decided on.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::record::Record;
use super::{IdentityHeaders, TextEncoding};
use crate::identity::{Group, Identity};
use crate::proxy::headers::same_folded;

/// Strips and sets the identity headers.
#[derive(Clone, Debug)]
pub struct IdentityPolicy {
    headers: IdentityHeaders,
    /// All names that nobody else may set.
    reserved: Vec<HeaderName>,
    /// Their lengths, a bit for each: most names of a request differ from all of them by that alone.
    lengths: u64,
}

impl IdentityPolicy {
    /// As configured; the default names are stripped even where others are set.
    #[must_use]
    pub fn new(headers: IdentityHeaders) -> Self {
        let named = [&headers.user, &headers.groups, &headers.email, &headers.name, &headers.session];
        let mut reserved: Vec<HeaderName> = named.into_iter().chain(&headers.also).cloned().collect();
        reserved.extend(ALWAYS_STRIPPED.into_iter().chain(OVERRIDES).map(HeaderName::from_static));
        let lengths = reserved.iter().fold(0, |lengths, name| lengths | length_bit(name));
        Self { headers, reserved, lengths }
    }

    /// The names that no client may send, neither as header nor as trailer.
    #[must_use]
    pub fn reserved(&self) -> &[HeaderName] {
        &self.reserved
    }

    /// Removes every identity header that a client sent, and all that stands above the request line.
    pub fn strip(&self, headers: &mut HeaderMap) {
        let is_forged = |name: &&HeaderName| {
            self.lengths & length_bit(name) != 0
                && self.reserved.iter().any(|reserved| same_folded(name.as_str(), reserved.as_str()))
        };
        if !headers.keys().any(|name| is_forged(&name)) {
            return;
        }
        let forged: Vec<HeaderName> = headers.keys().filter(is_forged).cloned().collect();
        for name in forged {
            headers.remove(&name);
        }
    }

    /// Tells the backend who is asking.
    pub fn set(&self, identity: &Identity, headers: &mut HeaderMap) {
        // A user's name can always stand in a header.
        if let Ok(user) = HeaderValue::from_str(identity.user.as_str()) {
            for name in &self.headers.also {
                headers.insert(name, user.clone());
            }
            headers.insert(&self.headers.user, user);
        }
        if !identity.groups.is_empty() {
            let groups: Vec<&str> = identity.groups.iter().map(Group::as_str).collect();
            insert_text(headers, &self.headers.groups, &groups.join(","), TextEncoding::Utf8);
        }
        for (name, value) in [(&self.headers.email, &identity.email), (&self.headers.name, &identity.name)] {
            if let Some(value) = value {
                insert_text(headers, name, value, self.headers.encoding);
            }
        }
    }

    /// Tells the backend a name for the session that says nothing of who is asking.
    pub fn set_session(&self, record: &Record, headers: &mut HeaderMap) {
        let of_session = || record.session.as_ref().map(|session| session.id().pseudonym());
        let pseudonym = record.pseudonym.clone().or_else(of_session);
        if let Some(value) = pseudonym.and_then(|text| HeaderValue::try_from(text).ok()) {
            headers.insert(&self.headers.session, value);
        }
    }
}

/// The bit of a name's length; all long names share one.
fn length_bit(name: &HeaderName) -> u64 {
    1 << name.as_str().len().min(63)
}

/// SECURITY: a control character of any set leaves the header out, whatever the encoding: no value may
/// begin another line, and accounts are not the only place that identities come from.
fn insert_text(headers: &mut HeaderMap, name: &HeaderName, text: &str, encoding: TextEncoding) {
    if text.contains(char::is_control) {
        return;
    }
    let encoded: Cow<'_, [u8]> = match encoding {
        TextEncoding::Utf8 => text.as_bytes().into(),
        TextEncoding::Percent => utf8_percent_encode(text, ESCAPED).to_string().into_bytes().into(),
        TextEncoding::Latin1 => text.chars().map(|letter| u8::try_from(letter).unwrap_or(b'?')).collect(),
    };
    if let Ok(value) = HeaderValue::from_bytes(&encoded) {
        headers.insert(name, value);
    }
}

/// Beside every byte beyond ASCII.
const ESCAPED: &AsciiSet = &CONTROLS.add(b'%');

/// What backends behind other gateways trust: nobody may send it, whatever is configured here.
const ALWAYS_STRIPPED: [&str; 16] = [
    "x-session-id",
    "x-user-id",
    "x-user-groups",
    "x-user-email",
    "x-user-name",
    "remote-user",
    "x-remote-user",
    "x-forwarded-user",
    "x-forwarded-email",
    "x-forwarded-groups",
    "x-forwarded-preferred-username",
    "x-auth-request-user",
    "x-auth-request-email",
    "x-auth-request-groups",
    "x-auth-request-preferred-username",
    "x-webauth-user",
];

/// What some backends take for the path (IIS, Symfony, Zend), or for their own proxy, as CGI programs do
/// with `HTTP_PROXY`.
const OVERRIDES: [&str; 3] = ["x-original-url", "x-rewrite-url", "proxy"];

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> IdentityPolicy {
        IdentityPolicy::new(IdentityHeaders {
            user: HeaderName::from_static("x-who"),
            groups: HeaderName::from_static("x-user-groups"),
            email: HeaderName::from_static("x-user-email"),
            name: HeaderName::from_static("x-user-name"),
            session: HeaderName::from_static("x-visitor"),
            also: vec![HeaderName::from_static("remote-user")],
            encoding: TextEncoding::Utf8,
        })
    }

    #[test]
    fn every_spelling_that_a_backend_folds_is_stripped() {
        let mut headers = HeaderMap::new();
        for name in [
            "X-WHO",
            "x_who",
            "x-user_groups",
            "X_USER_EMAIL",
            "remote_user",
            "x-user-id",
            "x_user_id",
            "X_Visitor",
            "X-Original-URL",
            "x_rewrite-url",
            "Proxy",
        ] {
            headers
                .append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_static("root"));
        }
        headers.insert("x-whose", HeaderValue::from_static("kept"));
        policy().strip(&mut headers);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-whose"]);
    }

    #[test]
    fn text_beyond_ascii_is_written_as_configured() {
        for (encoding, expected) in [
            (TextEncoding::Utf8, "Zoë 100% 子".as_bytes()),
            (TextEncoding::Percent, b"Zo%C3%AB 100%25 %E5%AD%90"),
            (TextEncoding::Latin1, b"Zo\xeb 100% ?"),
        ] {
            let mut headers = HeaderMap::new();
            insert_text(&mut headers, &HeaderName::from_static("x-name"), "Zoë 100% 子", encoding);
            assert_eq!(headers["x-name"].as_bytes(), expected, "{encoding:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_carries_the_end_of_a_line(text in "(\\PC|[\r\n\x00\u{85}\u{2028}\u{10a}\u{10d}]){0,20}") {
            for encoding in [TextEncoding::Utf8, TextEncoding::Percent, TextEncoding::Latin1] {
                let mut headers = HeaderMap::new();
                insert_text(&mut headers, &HeaderName::from_static("x-name"), &text, encoding);
                let values = headers.values().flat_map(HeaderValue::as_bytes);
                for byte in values {
                    proptest::prop_assert!(!matches!(byte, b'\r' | b'\n' | 0));
                }
            }
        }
    }

    #[test]
    fn the_backend_is_told_exactly_what_the_identity_holds() {
        let identity = Identity {
            user: "alice".try_into().unwrap(),
            groups: vec!["staff".try_into().unwrap(), "admin".try_into().unwrap()],
            name: Some("Zoë\r\nX-User-Id: root".to_owned()),
            email: None,
        };
        let mut headers = HeaderMap::new();
        policy().set(&identity, &mut headers);
        assert_eq!(headers["x-who"], "alice");
        assert_eq!(headers["remote-user"], "alice");
        assert_eq!(headers["x-user-groups"], "staff,admin");
        assert!(!headers.contains_key("x-user-name") && !headers.contains_key("x-user-email"));
    }
}
