//! The session cookie: written, found, cleared, and kept from the backend.
//!
//! The wire form is base64url of version, key id, token and tag. The tag is an HMAC over all of them
//! and the cookie's name, so a forged cookie is refused without asking a store. Which session it
//! opens is left to the engine. Invariants: nothing but the very bytes that [`set`] wrote is valid;
//! finding a cookie allocates nothing.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cookie::Cookie;
use http::HeaderMap;
use http::header::{COOKIE, HeaderValue};
use memchr::memchr;
use zeroize::Zeroizing;

use super::keyring::{KeyId, KeyRing, Purpose};
use super::token::Token;

/// How the session cookie looks (RFC 6265bis).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Its name; begins with `__Host-`.
    pub name: String,
    /// When a browser sends it from other sites.
    pub same_site: SameSite,
}

impl Config {
    /// Whether browsers take a cookie of this name and guard it as we need (RFC 6265bis 4.1.3.2).
    pub fn check(&self) -> Result<(), NameError> {
        let rest = self.name.strip_prefix(PREFIX).ok_or(NameError::Prefix)?;
        if rest.is_empty() || self.name.len() > NAME_LIMIT {
            return Err(NameError::Length);
        }
        match rest.chars().find(|&c| !is_token_character(c)) {
            Some(odd) => Err(NameError::Character(odd)),
            None => Ok(()),
        }
    }
}

/// The `SameSite` attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameSite {
    /// Sent when a link leads here.
    Lax,
    /// Sent only from our own pages.
    Strict,
}

/// Why a text is no name for the session cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Another site's page could set it.
    #[error("the name must begin with `{PREFIX}`, as `__Host-vestibule` does")]
    Prefix,
    /// Empty or too long.
    #[error("the name must have 1 to {} characters after `{PREFIX}`", NAME_LIMIT - PREFIX.len())]
    Length,
    /// A character that ends a name.
    #[error("the name holds {0:?}; letters, digits and `!#$%&'*+-.^_`|~` are allowed")]
    Character(char),
}

/// What a request presents.
#[derive(Clone, Debug)]
pub enum Found {
    /// No cookie of our name.
    Absent,
    /// A cookie that we did not write: `malformed`, `forged`, `doubled` or `oversized`.
    Refused(&'static str),
    /// A cookie that we wrote, and the key that signed it.
    Valid(Token, KeyId),
}

/// Looks for the session cookie in all `Cookie` lines (HTTP/2 splits them, RFC 9113 8.2.3).
#[must_use]
pub fn find(headers: &HeaderMap, config: &Config, ring: &KeyRing) -> Found {
    let mut found = None;
    for line in headers.get_all(COOKIE) {
        for segment in Segments(Some(line.as_bytes())) {
            let Some((name, value)) = pair(segment) else { continue };
            if name != config.name.as_bytes() {
                continue;
            }
            // SECURITY: a second cookie of our name is somebody's attempt to be read differently by
            // two readers; the same one twice has one reading.
            if found.is_some_and(|first| first != value) {
                return Found::Refused("doubled");
            }
            found = Some(value);
        }
    }
    found.map_or(Found::Absent, |value| verify(value, config, ring))
}

/// The `Set-Cookie` value that gives a browser `token`; without `max_age` until it closes.
#[must_use]
pub fn set(token: &Token, ring: &KeyRing, config: &Config, max_age: Option<Duration>) -> HeaderValue {
    let key = ring.signer();
    let id = key.id();
    let tag = key.tag(Purpose::SessionCookie, &signed(config, &id, token));
    let mut wire = Zeroizing::new(Vec::with_capacity(WIRE));
    wire.push(VERSION);
    wire.extend_from_slice(id.as_bytes());
    wire.extend_from_slice(token.as_bytes());
    wire.extend_from_slice(&tag);
    let value = Zeroizing::new(URL_SAFE_NO_PAD.encode(wire.as_slice()));
    header(&value, config, max_age.map(|age| age.min(AGE_LIMIT)))
}

/// The `Set-Cookie` value that takes the cookie away, with the attributes it was set with.
#[must_use]
pub fn clear(config: &Config) -> HeaderValue {
    header("", config, Some(Duration::ZERO))
}

/// Removes the cookies called `names` from a request; every other byte stays as it came.
pub fn strip(headers: &mut HeaderMap, names: &[&str]) {
    let is_ours = |segment: &[u8]| {
        pair(segment).is_some_and(|(name, _)| names.iter().any(|ours| ours.as_bytes() == name))
    };
    let holds_ours = |line: &HeaderValue| Segments(Some(line.as_bytes())).any(is_ours);
    if !headers.get_all(COOKIE).iter().any(holds_ours) {
        return;
    }
    let kept: Vec<HeaderValue> =
        headers.get_all(COOKIE).iter().filter_map(|line| without(line, &is_ours)).collect();
    headers.remove(COOKIE);
    for line in kept {
        headers.append(COOKIE, line);
    }
}

/// The cookies of one line, with the blanks around them.
struct Segments<'a>(Option<&'a [u8]>);

impl<'a> Iterator for Segments<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let line = self.0?;
        let cut = memchr(b';', line).and_then(|end| line.split_at_checked(end));
        let (segment, rest) = cut.map_or((line, None), |(segment, rest)| (segment, rest.get(1..)));
        self.0 = rest;
        Some(segment)
    }
}

/// Name and value. What has no `=` is a cookie without a name (RFC 6265bis 5.6), never ours.
fn pair(segment: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, value) = segment.split_at_checked(memchr(b'=', segment)?)?;
    Some((name.trim_ascii(), value.get(1..)?.trim_ascii()))
}

fn verify(value: &[u8], config: &Config, ring: &KeyRing) -> Found {
    if value.len() > TEXT {
        return Found::Refused("oversized");
    }
    let mut buffer = Zeroizing::new([0; WIRE + 2]);
    let Ok(WIRE) = URL_SAFE_NO_PAD.decode_slice(value, buffer.as_mut_slice()) else {
        return Found::Refused("malformed");
    };
    let Some((key, token, tag)) = buffer.get(..WIRE).and_then(parts) else {
        return Found::Refused("malformed");
    };
    match ring.key(key) {
        Some(signer) if signer.verify(Purpose::SessionCookie, &signed(config, &key, &token), tag) => {
            Found::Valid(token, key)
        }
        _ => Found::Refused("forged"),
    }
}

fn parts(wire: &[u8]) -> Option<(KeyId, Token, &[u8])> {
    let rest = wire.strip_prefix(&[VERSION])?;
    let (key, rest) = rest.split_first_chunk()?;
    let (token, tag) = rest.split_first_chunk()?;
    Some((KeyId::from_bytes(*key), Token::from_bytes(*token), tag))
}

/// What the tag covers. Only the name has no fixed length, and a NUL, which no name holds, ends it.
fn signed<'a>(config: &'a Config, key: &'a KeyId, token: &'a Token) -> [&'a [u8]; 4] {
    [config.name.as_bytes(), &[0, VERSION], key.as_bytes(), token.as_bytes()]
}

fn header(value: &str, config: &Config, max_age: Option<Duration>) -> HeaderValue {
    let same_site = match config.same_site {
        SameSite::Lax => cookie::SameSite::Lax,
        SameSite::Strict => cookie::SameSite::Strict,
    };
    let mut cookie = Cookie::build((config.name.as_str(), value))
        .path("/")
        .secure(true)
        .http_only(true)
        .same_site(same_site)
        .build();
    if let Some(age) = max_age {
        let seconds = i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
        cookie.set_max_age(cookie::time::Duration::seconds(seconds));
    }
    let text = Zeroizing::new(cookie.to_string());
    // The engine takes no name that a header cannot hold; browsers ignore an empty cookie.
    let mut header = HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""));
    header.set_sensitive(true);
    header
}

/// A line without some of its cookies; nothing when none is left.
fn without(line: &HeaderValue, is_ours: &impl Fn(&[u8]) -> bool) -> Option<HeaderValue> {
    let mut kept: Vec<&[u8]> = Vec::new();
    let mut first_is_gone = false;
    for segment in Segments(Some(line.as_bytes())) {
        if is_ours(segment) {
            first_is_gone |= kept.is_empty();
        } else {
            kept.push(segment);
        }
    }
    if let Some(first) = kept.first_mut().filter(|_| first_is_gone) {
        *first = first.trim_ascii_start();
    }
    let line = kept.join(&b';');
    if line.is_empty() { None } else { HeaderValue::from_bytes(&line).ok() }
}

fn is_token_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

const PREFIX: &str = "__Host-";
const NAME_LIMIT: usize = 64;
const VERSION: u8 = 1;
const TAG: usize = 32;
/// Version, key id, token, tag.
const WIRE: usize = 1 + 4 + Token::LENGTH + TAG;
/// The same as base64url without padding.
const TEXT: usize = (WIRE * 4).div_ceil(3);
/// Browsers keep no cookie longer (RFC 6265bis 5.5).
const AGE_LIMIT: Duration = Duration::from_hours(400 * 24);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clock::Timestamp;

    fn config() -> Config {
        Config { name: "__Host-vestibule".to_owned(), same_site: SameSite::Lax }
    }

    fn ring() -> KeyRing {
        KeyRing::generate(Timestamp::default())
    }

    fn lines(lines: &[&[u8]]) -> HeaderMap {
        let values = lines.iter().map(|line| (COOKIE, HeaderValue::from_bytes(line).unwrap()));
        let mut headers = HeaderMap::new();
        for (name, value) in values {
            headers.append(name, value);
        }
        headers
    }

    /// `name=value` as a browser sends it back.
    fn sent(token: &Token, ring: &KeyRing) -> String {
        let set = set(token, ring, &config(), None);
        set.to_str().unwrap().split(';').next().unwrap().to_owned()
    }

    fn verdict(headers: &HeaderMap, ring: &KeyRing) -> &'static str {
        match find(headers, &config(), ring) {
            Found::Absent => "absent",
            Found::Refused(reason) => reason,
            Found::Valid(..) => "valid",
        }
    }

    #[test]
    fn a_cookie_that_was_set_is_found_among_others_in_any_line() {
        let (ring, token) = (ring(), Token::generate());
        let ours = sent(&token, &ring);
        for case in
            [vec![format!("a=1; {ours}; b=2")], vec!["a=1".to_owned(), ours.clone(), "b=2".to_owned()]]
        {
            let case: Vec<_> = case.iter().map(String::as_bytes).collect();
            let Found::Valid(found, key) = find(&lines(&case), &config(), &ring) else { panic!("{case:?}") };
            assert_eq!(found.session(), token.session());
            assert_eq!(key, ring.signer().id());
        }
    }

    #[test]
    fn the_wire_form_never_changes() {
        // Computed by another implementation of HMAC and HKDF: browsers are full of such cookies.
        let ring = KeyRing::parse(
            "[[key]]\nid = \"0a0b0c0d\"\ncreated = \"2026-11-21T04:10:00Z\"\nrole = \"active\"\n\
             secret = \"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\"",
        );
        let value = "AQoLDA0HBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwf7E7MKMF2Xe-65-0tQn6hKP0Yhuo0wpeCj9NcYZktVTw";
        let sent = sent(&Token::from_bytes([7; Token::LENGTH]), &ring.unwrap());
        assert_eq!(sent, format!("__Host-vestibule={value}"));
    }

    #[test]
    fn set_cookie_has_every_guard_and_a_capped_age() {
        let (ring, token) = (ring(), Token::generate());
        let text = |age| set(&token, &ring, &config(), age).to_str().unwrap().to_owned();
        let session = text(None);
        assert!(session.ends_with("; HttpOnly; SameSite=Lax; Secure; Path=/"), "{session}");
        assert!(text(Some(Duration::from_mins(1))).contains("; Max-Age=60"));
        assert!(text(Some(Duration::from_secs(u64::MAX))).contains("; Max-Age=34560000"));
        let cleared = clear(&config()).to_str().unwrap().to_owned();
        assert_eq!(cleared, "__Host-vestibule=; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=0");
        assert!(!format!("{:?}", set(&token, &ring, &config(), None)).contains("__Host"), "sensitive");
    }

    #[test]
    fn what_we_did_not_write_is_refused_with_a_reason() {
        let (ring, token) = (ring(), Token::generate());
        let ours = sent(&token, &ring);
        let other = sent(&Token::generate(), &ring);
        let foreign = sent(&token, &self::ring());
        let long = format!("__Host-vestibule={}", "A".repeat(4000));
        let cases: [(&[&str], &str); 12] = [
            (&[], "absent"),
            (&["a=1; b=2"], "absent"),
            (&["__host-vestibule=x; vestibule=y; __Host-vestibule"], "absent"),
            (&["__Host-vestibule="], "malformed"),
            (&["__Host-vestibule=hello"], "malformed"),
            (&[&long], "oversized"),
            (&[&foreign], "forged"),
            (&[&format!("{ours}; {other}")], "doubled"),
            (&[&ours, &other], "doubled"),
            (&[&format!("{ours}; __Host-vestibule=")], "doubled"),
            (&[&format!("{ours}; {ours}")], "valid"),
            (&[&format!("{ours}=")], "oversized"),
        ];
        for (case, expected) in cases {
            let case: Vec<_> = case.iter().map(|line| line.as_bytes()).collect();
            assert_eq!(verdict(&lines(&case), &ring), expected, "{case:?}");
        }
    }

    #[test]
    fn a_cookie_is_worth_nothing_under_another_name_or_without_its_key() {
        let (ring, token) = (ring(), Token::generate());
        let renamed = sent(&token, &ring).replace("__Host-vestibule", "__Host-other");
        let config = Config { name: "__Host-other".to_owned(), ..config() };
        assert!(matches!(find(&lines(&[renamed.as_bytes()]), &config, &ring), Found::Refused("forged")));
        let rotated = ring.rotate(Timestamp::default());
        let headers = lines(&[sent(&token, &ring).as_bytes()]);
        assert_eq!(verdict(&headers, &rotated), "valid");
        assert_eq!(verdict(&headers, &rotated.retire(ring.signer().id()).unwrap()), "forged");
    }

    #[test]
    fn stripping_takes_our_cookies_and_leaves_every_other_byte() {
        let cases: [(&[&str], &[&str]); 8] = [
            (&["a=1; b=2"], &["a=1; b=2"]),
            (&["__Host-v=x"], &[]),
            (&["__Host-v=x; a=1"], &["a=1"]),
            (&["a=1; __Host-v=x; b=\"2 ; c"], &["a=1; b=\"2 ; c"]),
            (&["a=1;__Host-v=x;b=2"], &["a=1;b=2"]),
            (&["a=1; __Host-v=x"], &["a=1"]),
            (&["a=1", "__Host-v=x", "b=2;; c"], &["a=1", "b=2;; c"]),
            (&["a=1; __Host-v=x; __Host-w=y; __Host-v =z"], &["a=1"]),
        ];
        for (before, after) in cases {
            let mut headers = lines(&before.iter().map(|line| line.as_bytes()).collect::<Vec<_>>());
            strip(&mut headers, &["__Host-v", "__Host-w"]);
            let left: Vec<_> = headers.get_all(COOKIE).iter().map(|line| line.to_str().unwrap()).collect();
            assert_eq!(left, after, "{before:?}");
        }
    }

    #[test]
    fn only_names_that_browsers_guard_are_accepted() {
        let check = |name: &str| Config { name: name.to_owned(), ..config() }.check();
        assert_eq!(check("__Host-vestibule"), Ok(()));
        assert_eq!(check("vestibule"), Err(NameError::Prefix));
        assert_eq!(check("__Host-"), Err(NameError::Length));
        assert_eq!(check("__Host-a;b"), Err(NameError::Character(';')));
        assert_eq!(check("__Host-\u{e9}"), Err(NameError::Character('\u{e9}')));
    }

    proptest! {
        #[test]
        fn no_flipped_bit_of_a_cookie_is_accepted(byte in 0..TEXT, bit in 0_u8..8) {
            let ring = ring();
            let mut line = sent(&Token::generate(), &ring).into_bytes();
            let value = line.len() - TEXT;
            line[value + byte] ^= 1 << bit;
            if let Ok(header) = HeaderValue::from_bytes(&line) {
                let headers = HeaderMap::from_iter([(COOKIE, header)]);
                prop_assert_ne!(verdict(&headers, &ring), "valid");
            }
        }

        #[test]
        fn no_cookie_line_makes_the_parser_panic(line in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(header) = HeaderValue::from_bytes(&line) {
                let mut headers = HeaderMap::from_iter([(COOKIE, header)]);
                prop_assert_ne!(verdict(&headers, &ring()), "valid");
                strip(&mut headers, &["__Host-vestibule"]);
            }
        }

        #[test]
        fn no_value_of_our_cookie_makes_the_parser_panic(value in "[A-Za-z0-9_-]{70,90}") {
            let line = format!("__Host-vestibule={value}");
            prop_assert_ne!(verdict(&lines(&[line.as_bytes()]), &ring()), "valid");
        }

        #[test]
        fn stripping_never_leaves_our_cookie(parts in prop::collection::vec("[ab=; ]{0,4}|a=1", 0..9)) {
            let line = parts.join(";");
            if let Ok(header) = HeaderValue::from_str(&line) {
                let mut headers = HeaderMap::from_iter([(COOKIE, header)]);
                strip(&mut headers, &["a"]);
                let left = headers.get_all(COOKIE).iter().flat_map(|line| {
                    line.to_str().unwrap().split(';').map(str::to_owned).collect::<Vec<_>>()
                });
                prop_assert!(left.filter_map(|one| one.split_once('=').map(|(n, _)| n.trim() == "a")).all(|ours| !ours));
            }
        }
    }
}
