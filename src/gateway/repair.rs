//! Sets right what old backends get wrong because they do not know how they are reached: addresses in
//! `Location`, `Content-Location` and `Refresh`, attributes and paths of cookies.
//!
//! Invariants: only addresses of the backend itself are touched; cookie lines stay in their order and
//! apart, and each keeps its bytes but for what is named in [`Repair`].

use std::borrow::Cow;
use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::rewrite::Rewrite;

/// One thing that is set right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repair {
    /// `http://` addresses of the route's own host become `https://`.
    Location,
    /// Paths in addresses and cookies get the prefix back that was cut off, and lose the added one.
    Prefix,
    /// Cookies get `Secure`.
    CookieSecure,
    /// Cookies get `HttpOnly`.
    CookieHttpOnly,
    /// Cookies that say nothing of other sites get `SameSite=Lax`.
    CookieSameSite,
}

impl Repair {
    /// Every one, with its name in the configuration.
    pub const ALL: [(&'static str, Self); 5] = [
        ("location", Self::Location),
        ("prefix", Self::Prefix),
        ("cookie-secure", Self::CookieSecure),
        ("cookie-httponly", Self::CookieHttpOnly),
        ("cookie-samesite", Self::CookieSameSite),
    ];
}

/// As in a configuration.
impl fmt::Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::ALL.iter().find(|(_, repair)| repair == self).map_or("", |(name, _)| name))
    }
}

/// What has to be known of a route and a request to set its answer right.
#[derive(Clone, Copy)]
pub(super) struct Repairs<'a> {
    /// What is to be done.
    pub(super) wanted: &'a [Repair],
    /// How the path was written anew.
    pub(super) rewrite: &'a Rewrite,
    /// The host and port that the client asked for, in canonical form.
    pub(super) authority: &'a str,
    /// Whether the backend was told that this is its own host and port.
    pub(super) is_told: &'a dyn Fn(&str) -> bool,
}

impl Repairs<'_> {
    /// Sets a response right.
    pub(super) fn apply(&self, headers: &mut HeaderMap) {
        if self.wants(Repair::Location) || self.wants(Repair::Prefix) {
            self.repair_value(headers, &header::LOCATION, Self::address);
            self.repair_value(headers, &header::CONTENT_LOCATION, Self::address);
            self.repair_value(headers, &header::REFRESH, Self::refresh);
        }
        if self.wanted.iter().any(|repair| *repair != Repair::Location) {
            self.repair_cookies(headers);
        }
    }

    fn wants(&self, repair: Repair) -> bool {
        self.wanted.contains(&repair)
    }

    /// A doubled address has no single reading, and is left to the client as it came.
    fn repair_value(
        &self,
        headers: &mut HeaderMap,
        name: &HeaderName,
        repair: impl FnOnce(&Self, &str) -> Option<String>,
    ) {
        let mut values = headers.get_all(name).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return };
        // Old backends write addresses in UTF-8 without escaping them.
        let repaired = std::str::from_utf8(value.as_bytes()).ok().and_then(|value| repair(self, value));
        if let Some(repaired) = repaired.and_then(|value| HeaderValue::try_from(value).ok()) {
            headers.insert(name, repaired);
        }
    }

    /// The address that a client can follow; none if it can stay as it is.
    fn address(&self, address: &str) -> Option<String> {
        let (scheme, authority, path) = split(address)?;
        let own = match (scheme, authority) {
            (_, "") => "".into(),
            (scheme, authority) => self.own_origin(scheme, authority)?,
        };
        let path = self.path(path);
        let repaired = [&own, &*path].concat();
        Some(repaired).filter(|repaired| repaired != address)
    }

    /// A `Refresh` whose address a client can follow; none if it can stay as it is.
    fn refresh(&self, value: &str) -> Option<String> {
        let (before, address, behind) = split_refresh(value)?;
        Some([before, &self.address(address)?, behind].concat())
    }

    /// Scheme and host for an address of the backend itself; none for every other host.
    fn own_origin<'b>(&self, scheme: &'b str, authority: &'b str) -> Option<Cow<'b, str>> {
        let is_own = is_same_host(authority, self.authority, scheme);
        if !is_own && !(self.is_told)(&authority.to_ascii_lowercase()) {
            return None;
        }
        if !self.wants(Repair::Location) || scheme.is_empty() && is_own {
            return Some([scheme, "//", authority].concat().into());
        }
        Some(["https://", self.authority].concat().into())
    }

    fn path<'b>(&self, path: &'b str) -> Cow<'b, str> {
        if !self.wants(Repair::Prefix) || !path.starts_with('/') {
            return path.into();
        }
        self.rewrite.back(path).map_or(Cow::Borrowed(path), Cow::Owned)
    }

    fn repair_cookies(&self, headers: &mut HeaderMap) {
        if !headers.contains_key(header::SET_COOKIE) {
            return;
        }
        let repaired: Vec<HeaderValue> =
            headers.get_all(header::SET_COOKIE).iter().map(|line| self.cookie(line)).collect();
        headers.remove(header::SET_COOKIE);
        for line in repaired {
            headers.append(header::SET_COOKIE, line);
        }
    }

    fn cookie(&self, line: &HeaderValue) -> HeaderValue {
        let mut parts = line.as_bytes().split(|byte| *byte == b';');
        let pair = parts.next().unwrap_or_default();
        let mut repaired = pair.to_vec();
        let mut lacking = Lacking::default();
        for attribute in parts {
            repaired.push(b';');
            match self.cookie_path(pair, attribute) {
                Some(path) => repaired.extend_from_slice(path.as_bytes()),
                None => repaired.extend_from_slice(attribute),
            }
            lacking.saw(attribute_name(attribute));
        }
        for (repair, attribute) in lacking.attributes() {
            if self.wants(repair) {
                repaired.extend_from_slice(attribute);
            }
        }
        HeaderValue::from_bytes(&repaired).unwrap_or_else(|_| line.clone())
    }

    /// The attribute `Path` with the path that a client has to hold; none if it can stay as it is.
    fn cookie_path(&self, pair: &[u8], attribute: &[u8]) -> Option<String> {
        let pair = pair.trim_ascii_start();
        // A cookie of such a name is refused with any other path than `/` (RFC 6265bis section 4.1.3.2).
        let is_bound = pair.get(..HOST.len()).is_some_and(|start| start.eq_ignore_ascii_case(HOST));
        if is_bound || !self.wants(Repair::Prefix) || !attribute_name(attribute).eq_ignore_ascii_case(b"path")
        {
            return None;
        }
        let (name, value) = std::str::from_utf8(attribute).ok()?.split_once('=')?;
        let path = value.trim();
        let mapped = path.starts_with('/').then(|| self.rewrite.cookie_path(path))??;
        Some([name, "=", &mapped].concat())
    }
}

/// Which attributes a cookie does not have.
#[derive(Default)]
struct Lacking {
    found: [bool; ATTRIBUTES.len()],
}

impl Lacking {
    fn saw(&mut self, name: &[u8]) {
        for (found, (attribute, ..)) in self.found.iter_mut().zip(&ATTRIBUTES) {
            *found |= name.eq_ignore_ascii_case(attribute.as_bytes());
        }
    }

    /// What would have to be written behind the cookie.
    fn attributes(&self) -> impl Iterator<Item = (Repair, &'static [u8])> + use<> {
        let found = self.found;
        let lacking = ATTRIBUTES.into_iter().zip(found).filter(|(_, found)| !found);
        lacking.map(|((_, repair, written), _)| (repair, written.as_bytes()))
    }
}

/// Scheme, authority and the rest of an address; none for one that is relative to the request's path,
/// or of another scheme. The scheme keeps its `:`; it and the authority are empty for a path.
pub(super) fn split(address: &str) -> Option<(&str, &str, &str)> {
    let (scheme, rest) = match address.find("//") {
        Some(at) if is_web(address.get(..at)?) => (address.get(..at)?, address.get(at + 2..)?),
        _ if address.starts_with('/') => return Some(("", "", address)),
        _ => return None,
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end)?;
    // SECURITY: browsers read a backslash as a slash, and end the host there; nothing that they read
    // differently is made into an address of ours.
    (!authority.is_empty() && !authority.contains('\\')).then_some((scheme, authority, path))
}

/// The address in a `Refresh`, with what stands before and behind it (HTML, shared declarative refresh steps); none
/// if the page only loads itself again.
fn split_refresh(value: &str) -> Option<(&str, &str, &str)> {
    let rest = value.get(value.find([';', ','])? + 1..)?.trim_start();
    let named = rest.get(..3).filter(|name| name.eq_ignore_ascii_case("url"));
    let named = named.and_then(|_| rest.get(3..)?.trim_start().strip_prefix('='));
    let address = named.unwrap_or(rest).trim_start();
    let quoted = address.strip_prefix(['\'', '"']);
    let end = match quoted {
        Some(quoted) => quoted.find(address.chars().next()?).unwrap_or(quoted.len()),
        None => address.len(),
    };
    let address = quoted.unwrap_or(address);
    let (before, address) = value.split_at_checked(value.len() - address.len())?;
    let (address, behind) = address.split_at_checked(end)?;
    Some((before, address, behind))
}

fn is_web(scheme: &str) -> bool {
    scheme.is_empty() || scheme.eq_ignore_ascii_case("http:") || scheme.eq_ignore_ascii_case("https:")
}

/// Whether an authority names the host that was asked for; in clear text, where nothing of ours is, with
/// the usual port or with the one that was asked for.
pub(super) fn is_same_host(authority: &str, own: &str, scheme: &str) -> bool {
    let (name, port) = split_port(authority);
    let (own_name, own_port) = split_port(own);
    let name = name.strip_suffix('.').unwrap_or(name);
    let has_same_port = if scheme.eq_ignore_ascii_case("http:") {
        matches!(port, None | Some("80")) || port == own_port
    } else {
        port.unwrap_or("443") == own_port.unwrap_or("443")
    };
    has_same_port && name.eq_ignore_ascii_case(own_name)
}

fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (name, Some(port)),
        _ => (authority, None),
    }
}

fn attribute_name(attribute: &[u8]) -> &[u8] {
    attribute.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii()
}

const HOST: &[u8] = b"__host-";

const ATTRIBUTES: [(&str, Repair, &str); 3] = [
    ("secure", Repair::CookieSecure, "; Secure"),
    ("httponly", Repair::CookieHttpOnly, "; HttpOnly"),
    ("samesite", Repair::CookieSameSite, "; SameSite=Lax"),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Repair; 5] = {
        let [(_, location), (_, prefix), (_, secure), (_, http_only), (_, same_site)] = Repair::ALL;
        [location, prefix, secure, http_only, same_site]
    };

    fn repaired(wanted: &[Repair], name: &HeaderName, values: &[&str]) -> Vec<String> {
        repaired_below("/wiki", wanted, name, values)
    }

    fn repaired_below(strip: &str, wanted: &[Repair], name: &HeaderName, values: &[&str]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let rewrite = Rewrite { strip: strip.to_owned(), add: "/app".to_owned() };
        let is_told = |authority: &str| authority == "10.0.0.5:8080";
        let repairs = Repairs { wanted, rewrite: &rewrite, authority: "w.test:8443", is_told: &is_told };
        repairs.apply(&mut headers);
        let text = |value: &HeaderValue| String::from_utf8(value.as_bytes().to_vec()).unwrap();
        headers.get_all(name).iter().map(text).collect()
    }

    fn location(wanted: &[Repair], value: &str) -> String {
        repaired(wanted, &header::LOCATION, &[value]).concat()
    }

    fn cookie(wanted: &[Repair], line: &str) -> String {
        repaired(wanted, &header::SET_COOKIE, &[line]).concat()
    }

    #[test]
    fn an_address_of_the_host_itself_becomes_one_that_a_client_can_follow() {
        for (from, to) in [
            ("http://w.test/x?y#z", "https://w.test:8443/x?y#z"),
            ("HTTP://W.Test.", "https://w.test:8443"),
            ("http://w.test/\u{fc}", "https://w.test:8443/\u{fc}"),
            ("http://w.test:80/", "https://w.test:8443/"),
            ("http://w.test:8443/", "https://w.test:8443/"),
            ("https://W.test:8443/x", "https://w.test:8443/x"),
            ("http://10.0.0.5:8080/x", "https://w.test:8443/x"),
            ("http://10.0.0.5:8080?x", "https://w.test:8443?x"),
        ] {
            assert_eq!(location(&[Repair::Location], from), to, "{from}");
        }
    }

    #[test]
    fn a_page_that_sends_on_after_a_while_sends_to_where_a_client_can_follow() {
        for (from, to) in [
            ("0;url=http://w.test/app/x", "0;url=https://w.test:8443/wiki/x"),
            ("5 , URL = 'http://w.test/app' and more", "5 , URL = 'https://w.test:8443/wiki' and more"),
            ("1.5; \"/app/x\"", "1.5; \"/wiki/x\""),
            ("0; url=\"http://w.test/", "0; url=\"https://w.test:8443/"),
            ("0; /app", "0; /wiki"),
        ] {
            assert_eq!(repaired(&ALL, &header::REFRESH, &[from]), [to], "{from}");
        }
        for value in
            ["5", "5;", "5; url=", "5; url=x", "0; url=http://evil.test/app", "0; url='", "0; \u{e9}"]
        {
            assert_eq!(repaired(&ALL, &header::REFRESH, &[value]), [value]);
        }
    }

    #[test]
    fn every_other_address_stays_as_it_is() {
        for address in [
            "http://other.test/x",
            "http://w.test:9000/",
            "http://w.test.evil/",
            "http://evil@w.test/",
            "http://w.test@evil.test/",
            "http://w.test\\.evil.test/",
            "http:/\\w.test/",
            "//evil.test/x",
            "//w.test/x",
            "https://w.test/x",
            "ftp://w.test/",
            "relative/path",
            "?query",
            "",
            "http://",
        ] {
            assert_eq!(location(&[Repair::Location], address), address);
        }
    }

    #[test]
    fn a_path_of_the_backend_becomes_the_one_that_leads_there() {
        for (from, to) in [
            ("/app/login?next=/app/x", "/wiki/login?next=/app/x"),
            ("/app", "/wiki"),
            ("/apple", "/apple"),
            ("/other", "/other"),
            ("//evil.test/app/", "//evil.test/app/"),
            ("http://w.test/app/x", "http://w.test/wiki/x"),
            ("http://other.test/app/x", "http://other.test/app/x"),
            ("/app//evil.test/", "/wiki//evil.test/"),
        ] {
            assert_eq!(location(&[Repair::Prefix], from), to, "{from}");
        }
        assert_eq!(location(&ALL, "http://w.test/app/x"), "https://w.test:8443/wiki/x");
    }

    #[test]
    fn a_cookie_gets_what_it_lacks_and_nothing_else() {
        for (from, to) in [
            ("a=1", "a=1; Secure; HttpOnly; SameSite=Lax"),
            ("a=1; path=/app/x ;SECURE", "a=1; path=/wiki/x;SECURE; HttpOnly; SameSite=Lax"),
            ("a=secure; httponly; SameSite=None", "a=secure; httponly; SameSite=None; Secure"),
            ("a=\"x y\" ; Domain=w.test", "a=\"x y\" ; Domain=w.test; Secure; HttpOnly; SameSite=Lax"),
            ("a=1; Path=/", "a=1; Path=/wiki; Secure; HttpOnly; SameSite=Lax"),
            ("__host-a=1; Path=/", "__host-a=1; Path=/; Secure; HttpOnly; SameSite=Lax"),
            ("a=1; Path=x; Secure; HttpOnly; SameSite", "a=1; Path=x; Secure; HttpOnly; SameSite"),
        ] {
            assert_eq!(cookie(&ALL, from), to, "{from}");
        }
    }

    #[test]
    fn each_attribute_is_set_only_where_it_is_wanted() {
        assert_eq!(cookie(&[Repair::CookieSecure], "a=1"), "a=1; Secure");
        assert_eq!(cookie(&[Repair::CookieHttpOnly], "a=1"), "a=1; HttpOnly");
        assert_eq!(cookie(&[Repair::CookieSameSite], "a=1"), "a=1; SameSite=Lax");
        assert_eq!(cookie(&[Repair::Location], "a=1; Path=/app"), "a=1; Path=/app");
    }

    #[test]
    fn cookie_lines_stay_apart_and_in_their_order() {
        let lines = ["b=1, c=2; Expires=Thu, 01 Jan 2026 00:00:00 GMT", "a=1; Secure"];
        let found = repaired(&[Repair::CookieSecure], &header::SET_COOKIE, &lines);
        assert_eq!(found, [format!("{}; Secure", lines[0]), lines[1].to_owned()]);
    }

    proptest! {
        #[test]
        fn an_address_elsewhere_is_never_touched(rest in "[a-z.:@/\\\\?#%]{0,24}") {
            let address = format!("http://evil.test{rest}");
            prop_assert_eq!(location(&ALL, &address), address);
        }

        #[test]
        fn an_address_on_this_host_stays_on_it(rest in "[/\\\\\ta.e%2F5C?#:@]{0,12}", strip in "(/wiki)?") {
            let address = format!("/app{rest}");
            let found = repaired_below(&strip, &ALL, &header::LOCATION, &[&address]).concat();
            // As browsers read it.
            let read = found.replace('\t', "").replace('\\', "/");
            prop_assert!(read.starts_with('/') && !read.starts_with("//"), "{:?}", found);
        }

        #[test]
        fn a_cookie_begins_as_it_did_and_lacks_nothing_twice(line in "[a-zA-Z=; /,\"-]{0,40}") {
            let once = cookie(&ALL, &line);
            prop_assert!(once.starts_with(line.split(';').next().unwrap()));
            prop_assert_eq!(cookie(&ALL[2..], &once), once);
        }
    }
}
