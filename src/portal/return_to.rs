//! Where a browser goes after login: a target that cannot leave our hosts.
//!
//! Only path and query, beginning with a single slash, are ever kept; the scheme and the host are
//! those of the page that the browser is on. Path and query come back byte for byte.
//!
//! Invariant: a [`ReturnTo`] used as `Location` resolves to the same origin, by RFC 3986 as well as
//! by the WHATWG URL standard, which reads `\` as `/` and drops tabs and line ends.

use std::borrow::Cow;
use std::fmt::Write;

use http::HeaderValue;
use http::uri::PathAndQuery;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// A path and query on the host that the browser is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReturnTo(String);

impl ReturnTo {
    /// The target of a request that was refused.
    #[must_use]
    pub fn of(target: &PathAndQuery) -> Self {
        Self::parse(target.as_str())
    }

    /// What a client sent as a target; everything that is no path on our host becomes `/`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let target = text.split_once('#').map_or(text, |(target, _fragment)| target);
        if !is_local(target) {
            return Self::default();
        }
        let escaped = escape(target);
        if escaped.len() <= LENGTH_LIMIT { Self(escaped) } else { Self::default() }
    }

    /// The target in `next`, or in `rd`, its alias, of a query; `/` when there is none.
    #[must_use]
    pub fn from_query(query: Option<&str>) -> Self {
        let value = |wanted: &str| {
            query?.split('&').find_map(|pair| match pair.split_once('=') {
                Some((name, value)) if name == wanted => Some(value),
                _ => None,
            })
        };
        value("next").or_else(|| value("rd")).map_or_else(Self::default, |value| Self::parse(&decode(value)))
    }

    /// The same target unless it is a page below `portal`: those would lead in circles.
    #[must_use]
    pub fn outside(self, portal: &str) -> Self {
        match self.0.strip_prefix(portal) {
            Some("") => Self::default(),
            Some(rest) if rest.starts_with(['/', '?']) => Self::default(),
            _ => self,
        }
    }

    /// The path and query.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The value of `next=` that [`Self::from_query`] reads back byte for byte.
    #[must_use]
    pub fn to_query(&self) -> Cow<'_, str> {
        utf8_percent_encode(&self.0, IN_QUERY).into()
    }

    /// The value of a `Location` header.
    #[must_use]
    pub fn to_location(&self) -> HeaderValue {
        HeaderValue::from_str(&self.0).unwrap_or_else(|_| HeaderValue::from_static("/"))
    }
}

impl Default for ReturnTo {
    fn default() -> Self {
        Self("/".to_owned())
    }
}

/// SECURITY: `//host`, `/\host` and their forms with tabs or line ends between lead elsewhere.
fn is_local(target: &str) -> bool {
    let mut characters = target.chars();
    target.len() <= LENGTH_LIMIT
        && characters.next() == Some('/')
        && !matches!(characters.next(), Some('/' | '\\'))
        && !target.chars().any(|character| character.is_control() || character == '\\')
}

/// Percent-encodes what cannot stand in a header; escapes stay as they are.
fn escape(target: &str) -> String {
    let mut escaped = String::with_capacity(target.len());
    for character in target.chars() {
        if character.is_ascii_graphic() {
            escaped.push(character);
        } else {
            for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                // Writing into a string cannot fail.
                let _infallible = write!(escaped, "%{byte:02X}");
            }
        }
    }
    escaped
}

/// Decodes a query value; `+` stays, because a browser's own `next` never writes a space so.
fn decode(value: &str) -> Cow<'_, str> {
    percent_decode_str(value).decode_utf8_lossy()
}

/// All that has a meaning in a query or a form.
const IN_QUERY: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Bytes; longer targets are dropped rather than risk a header that somebody refuses.
const LENGTH_LIMIT: usize = 4096;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_path_with_its_query_is_kept() {
        for target in ["/", "/wiki/Page?action=edit&x=%2F%20+", "/a;b=c", "/?", "/x?next=//evil.example"] {
            assert_eq!(ReturnTo::parse(target).as_str(), target);
        }
    }

    #[test]
    fn a_target_that_leaves_the_host_becomes_the_root() {
        for target in [
            "",
            "//evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "https://evil.example",
            "https:evil.example",
            "javascript:alert(1)",
            "/\t/evil.example",
            "\t//evil.example",
            "/\n/evil.example",
            " /x",
            "/a\r\nSet-Cookie: x=y",
            "/a\\b",
            "evil.example",
            "?x",
        ] {
            assert_eq!(ReturnTo::parse(target).as_str(), "/", "{target:?}");
        }
        for (long, character) in [(LENGTH_LIMIT, "a"), (LENGTH_LIMIT / 3, "é")] {
            assert_eq!(ReturnTo::parse(&format!("/{}", character.repeat(long))).as_str(), "/");
        }
    }

    #[test]
    fn a_fragment_is_dropped_and_text_outside_ascii_is_escaped() {
        assert_eq!(ReturnTo::parse("/a?b#c").as_str(), "/a?b");
        assert_eq!(ReturnTo::parse("/é x").as_str(), "/%C3%A9%20x");
    }

    #[test]
    fn the_target_of_a_request_is_its_path_and_query_only() {
        for (uri, expected) in [
            ("/a?b=%2f", "/a?b=%2f"),
            ("https://wiki.example.com/a?b", "/a?b"),
            ("https://wiki.example.com", "/"),
            ("*", "/"),
        ] {
            assert_eq!(
                ReturnTo::of(uri.parse::<http::Uri>().unwrap().path_and_query().unwrap()).as_str(),
                expected
            );
        }
    }

    #[test]
    fn pages_of_our_own_are_no_target() {
        for (target, expected) in [
            ("/.vestibule/login", "/"),
            ("/.vestibule", "/"),
            ("/.vestibule?x", "/"),
            ("/.vestibulex", "/.vestibulex"),
            ("/a/.vestibule/", "/a/.vestibule/"),
        ] {
            assert_eq!(ReturnTo::parse(target).outside("/.vestibule").as_str(), expected);
        }
    }

    #[test]
    fn next_wins_over_its_alias() {
        assert_eq!(ReturnTo::from_query(Some("rd=/b&next=%2Fa%3Fx%3D1")).as_str(), "/a?x=1");
        assert_eq!(ReturnTo::from_query(Some("rd=/b")).as_str(), "/b");
        assert_eq!(ReturnTo::from_query(Some("nextx=/b")).as_str(), "/");
        assert_eq!(ReturnTo::from_query(None).as_str(), "/");
    }

    proptest! {
        #[test]
        fn whatever_comes_in_stays_on_the_host(text in "[/\\\\:@?#%a-c.\\t\\n\\r \u{0}é]{0,32}") {
            let target = ReturnTo::parse(&text);
            // What the WHATWG standard would make of it: tabs and line ends gone, `\` a slash.
            let read: String =
                target.as_str().chars().filter(|c| !matches!(c, '\t' | '\n' | '\r')).collect::<String>().replace('\\', "/");
            prop_assert!(read.starts_with('/') && !read.starts_with("//"));
            prop_assert!(target.to_location() == target.as_str());
        }

        #[test]
        fn path_and_query_come_back_byte_for_byte(target in "/[!-\"$-\\[\\]-~]{0,64}") {
            prop_assume!(!target.starts_with("//"));
            let sent = ReturnTo::parse(&target);
            prop_assert_eq!(sent.as_str(), &target);
            let query = format!("reason=expired&next={}", sent.to_query());
            prop_assert_eq!(ReturnTo::from_query(Some(&query)), sent);
        }
    }
}
