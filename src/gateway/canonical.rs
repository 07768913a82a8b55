//! One canonical host and path, made once, decided on, and forwarded.
//!
//! A path is normalised as RFC 3986 section 6.2.2 allows without changing its meaning: escapes of
//! unreserved characters are decoded, the others written in upper case, dot segments are removed,
//! and repeated slashes become one. What even then has more than one reading (`%2F`, `;`, ...) is
//! marked, and `gateway` refuses it wherever a second reading could meet another rule.
//!
//! Leaves the query alone: it passes byte for byte. Invariant: two requests with the same
//! [`Canonical`] get the same decision, and the backend sees nothing but that form.

use std::fmt::Write;

use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, Version, header};

/// What is decided on and forwarded.
#[derive(Clone, Debug)]
pub struct Canonical {
    /// The host as asked for, lower case, with its port if one was named: the `Host` to forward.
    pub authority: HeaderValue,
    /// Path and query to forward.
    pub target: PathAndQuery,
    /// Why a backend could read the path differently; none for ordinary paths.
    pub ambiguity: Option<Ambiguity>,
    host_length: usize,
}

impl Canonical {
    /// The canonical form of a request's head.
    pub fn of<B>(request: &Request<B>) -> Result<Self, Malformed> {
        if *request.method() == Method::CONNECT {
            return Err(Malformed::Target);
        }
        check_coding(request)?;
        let (authority, host_length) = authority(request)?;
        let target = request.uri().path_and_query().ok_or(Malformed::Target)?;
        let (target, ambiguity) = canonical_target(target)?;
        Ok(Self { authority, target, ambiguity, host_length })
    }

    /// The host's name without its port.
    #[must_use]
    pub fn host(&self) -> &str {
        self.authority().get(..self.host_length).unwrap_or_default()
    }

    /// The host as asked for, with its port if one was named.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.authority.to_str().unwrap_or_default()
    }

    /// The path, beginning with `/`.
    #[must_use]
    pub fn path(&self) -> &str {
        self.target.path()
    }
}

/// Why a request is answered 400 before anybody looks at its route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// No host, or more than one (RFC 9112 section 3.2).
    #[error("a request names exactly one host")]
    HostCount,
    /// A host that is no host.
    #[error("the host name is malformed")]
    Host,
    /// The target and the `Host` header disagree.
    #[error("the request names two different hosts")]
    HostsDiffer,
    /// A target that is no path, such as `*` or that of CONNECT.
    #[error("the request target is not a path")]
    Target,
    /// `..` climbs above the root.
    #[error("the path leads above its root")]
    AboveRoot,
    /// `%` without two hexadecimal digits.
    #[error("the path holds a broken percent escape")]
    Escape,
    /// A transfer coding that is not exactly `chunked`, or one before HTTP/1.1.
    #[error("the body is framed in a way that can be read differently")]
    Coding,
    /// A control character, bare or escaped.
    #[error("the path holds a control character")]
    Control,
    /// A `Destination` that is no address, or more than one (RFC 4918 section 10.3).
    #[error("the destination is malformed")]
    Destination,
}

/// Why a backend could read a path in another way than we do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ambiguity {
    /// `%2F`: a slash for some.
    #[error("the path holds an escaped slash")]
    EscapedSlash,
    /// `\` or `%5C`: a slash for some.
    #[error("the path holds a backslash")]
    Backslash,
    /// `;`: parameters of a segment, which some cut off.
    #[error("the path holds segment parameters (`;`)")]
    Parameters,
    /// `%25`: decoded twice, it begins another escape.
    #[error("the path holds an escaped percent sign")]
    EscapedPercent,
    /// `#` or bytes outside ASCII, which no path holds (RFC 3986 section 3.3).
    #[error("the path holds a character that must be escaped")]
    Unescaped,
}

/// SECURITY: hyper decodes `chunked` alone; another coding before it would vanish on the way and leave
/// a body that the backend reads differently (RFC 9112 section 6.1).
fn check_coding<B>(request: &Request<B>) -> Result<(), Malformed> {
    let mut codings = request.headers().get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(coding), None)
            if request.version() == Version::HTTP_11
                && coding.as_bytes().eq_ignore_ascii_case(b"chunked") =>
        {
            Ok(())
        }
        _ => Err(Malformed::Coding),
    }
}

/// The authority to forward and the length of the host's name in it.
fn authority<B>(request: &Request<B>) -> Result<(HeaderValue, usize), Malformed> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let header = hosts.next();
    if hosts.next().is_some() {
        return Err(Malformed::HostCount);
    }
    let named = match (request.uri().authority(), header) {
        (None, Some(header)) => {
            canonical_authority(header.to_str().map_err(|_| Malformed::Host)?, Some(header))?
        }
        (Some(target), None) if request.version() >= Version::HTTP_2 => {
            canonical_authority(target.as_str(), None)?
        }
        (_, None) => return Err(Malformed::HostCount),
        (Some(target), Some(header)) => {
            let named = canonical_authority(target.as_str(), None)?;
            let header = canonical_authority(header.to_str().map_err(|_| Malformed::Host)?, None)?;
            if named.0 != header.0 {
                return Err(Malformed::HostsDiffer);
            }
            named
        }
    };
    Ok(named)
}

/// `text` in lower case without a dot at the end of its name; `value` itself if it is so already.
fn canonical_authority(text: &str, value: Option<&HeaderValue>) -> Result<(HeaderValue, usize), Malformed> {
    let (name, port) = split_port(text)?;
    let bare = name.strip_suffix('.').unwrap_or(name);
    let is_canonical = bare.len() == name.len() && !text.bytes().any(|byte| byte.is_ascii_uppercase());
    if let (true, Some(value)) = (is_canonical, value) {
        return Ok((value.clone(), bare.len()));
    }
    let mut lower = bare.to_ascii_lowercase();
    if let Some(port) = port {
        // Writing into a string cannot fail.
        let _infallible = write!(lower, ":{port}");
    }
    let value = HeaderValue::try_from(lower).map_err(|_| Malformed::Host)?;
    Ok((value, bare.len()))
}

/// The name and the port of an authority, both checked (RFC 3986 section 3.2.2; no user info).
fn split_port(text: &str) -> Result<(&str, Option<u16>), Malformed> {
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (text, None),
    };
    let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let is_valid = match address {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => is_host_name(name),
    };
    if !is_valid {
        return Err(Malformed::Host);
    }
    match port {
        None => Ok((name, None)),
        Some(digits) if digits.len() <= 5 && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse().map(|port| (name, Some(port))).map_err(|_| Malformed::Host)
        }
        Some(_) => Err(Malformed::Host),
    }
}

fn is_host_name(name: &str) -> bool {
    let bare = name.strip_suffix('.').unwrap_or(name);
    !bare.is_empty()
        && bare.len() <= 253
        && bare.split('.').all(|label| !label.is_empty() && label.bytes().all(is_label_byte))
}

/// Letters, digits, `-`, and `_`, which internal names of old networks hold.
fn is_label_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

fn canonical_target(target: &PathAndQuery) -> Result<(PathAndQuery, Option<Ambiguity>), Malformed> {
    let path = target.path();
    if !path.starts_with('/') {
        return Err(Malformed::Target);
    }
    // Behind an authority the path may be left out, which means `/` (RFC 9110 section 4.2.3).
    let is_written = target.as_str().starts_with('/');
    if is_written && is_plain(path) {
        return Ok((target.clone(), None));
    }
    let (decoded, ambiguity) = decode_unreserved(path)?;
    let mut canonical = remove_dot_segments(&decoded)?;
    if let Some(query) = target.query() {
        canonical.push('?');
        canonical.push_str(query);
    }
    let target = PathAndQuery::try_from(canonical).map_err(|_| Malformed::Target)?;
    Ok((target, ambiguity))
}

/// Nothing in the path needs a second look.
fn is_plain(path: &str) -> bool {
    let mut previous = 0;
    path.bytes().all(|byte| {
        let after_slash = previous == b'/' && matches!(byte, b'/' | b'.');
        previous = byte;
        !after_slash && byte.is_ascii_graphic() && !matches!(byte, b'%' | b';' | b'\\' | b'#')
    })
}

/// Decodes escapes of unreserved characters (RFC 3986 section 6.2.2.2) and says what stays unclear.
fn decode_unreserved(path: &str) -> Result<(String, Option<Ambiguity>), Malformed> {
    let mut decoded = String::with_capacity(path.len());
    let mut ambiguity = None;
    let mut rest = path.chars();
    while let Some(character) = rest.next() {
        let found = if character == '%' {
            let (byte, digits) = escaped_byte(&mut rest)?;
            push_escaped(&mut decoded, byte, digits)?
        } else {
            decoded.push(character);
            ambiguity_of(character)?
        };
        ambiguity = ambiguity.or(found);
    }
    Ok((decoded, ambiguity))
}

fn escaped_byte(rest: &mut std::str::Chars<'_>) -> Result<(u8, [char; 2]), Malformed> {
    let (Some(high), Some(low)) = (rest.next(), rest.next()) else { return Err(Malformed::Escape) };
    let (Some(high_value), Some(low_value)) = (high.to_digit(16), low.to_digit(16)) else {
        return Err(Malformed::Escape);
    };
    let byte = u8::try_from(high_value * 16 + low_value).map_err(|_| Malformed::Escape)?;
    Ok((byte, [high.to_ascii_uppercase(), low.to_ascii_uppercase()]))
}

fn push_escaped(decoded: &mut String, byte: u8, digits: [char; 2]) -> Result<Option<Ambiguity>, Malformed> {
    if byte.is_ascii_control() {
        return Err(Malformed::Control);
    }
    if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
        decoded.push(char::from(byte));
        return Ok(None);
    }
    decoded.push('%');
    decoded.extend(digits);
    Ok(match byte {
        b'/' => Some(Ambiguity::EscapedSlash),
        b'\\' => Some(Ambiguity::Backslash),
        b'%' => Some(Ambiguity::EscapedPercent),
        b';' => Some(Ambiguity::Parameters),
        _ => None,
    })
}

fn ambiguity_of(character: char) -> Result<Option<Ambiguity>, Malformed> {
    Ok(match character {
        _ if character.is_ascii_control() => return Err(Malformed::Control),
        '\\' => Some(Ambiguity::Backslash),
        ';' => Some(Ambiguity::Parameters),
        '#' | ' ' => Some(Ambiguity::Unescaped),
        _ if !character.is_ascii() => Some(Ambiguity::Unescaped),
        _ => None,
    })
}

/// Removes `.` and `..` (RFC 3986 section 5.2.4) and empty segments, keeping a slash at the end.
fn remove_dot_segments(path: &str) -> Result<String, Malformed> {
    let mut kept = Vec::new();
    for segment in path.split('/').filter(|segment| !segment.is_empty() && *segment != ".") {
        if segment == ".." {
            kept.pop().ok_or(Malformed::AboveRoot)?;
        } else {
            kept.push(segment);
        }
    }
    let ends_in_folder = path.ends_with('/') || path.ends_with("/.") || path.ends_with("/..");
    let mut canonical = String::with_capacity(path.len());
    for segment in &kept {
        canonical.push('/');
        canonical.push_str(segment);
    }
    if ends_in_folder || kept.is_empty() {
        canonical.push('/');
    }
    Ok(canonical)
}

#[cfg(test)]
mod tests {
    use http::Uri;
    use proptest::prelude::*;

    use super::*;

    fn canonical(host: &str, target: &str) -> Result<Canonical, Malformed> {
        let request = Request::builder().uri(target).header("host", host).body(()).unwrap();
        Canonical::of(&request)
    }

    fn path(target: &str) -> Result<(String, Option<Ambiguity>), Malformed> {
        canonical("a.example", target).map(|it| (it.target.to_string(), it.ambiguity))
    }

    #[test]
    fn an_ordinary_request_is_its_own_canonical_form() {
        let it = canonical("wiki.example.com:8443", "/a/b.html?x=%2F&y=a;b//").unwrap();
        assert_eq!((it.host(), it.path()), ("wiki.example.com", "/a/b.html"));
        assert_eq!(it.authority, "wiki.example.com:8443");
        assert_eq!((it.target.as_str(), it.ambiguity), ("/a/b.html?x=%2F&y=a;b//", None));
    }

    #[test]
    fn a_path_that_is_left_out_is_written() {
        for (target, written) in [("http://a.example?x=/y", "/?x=/y"), ("http://a.example", "/")] {
            assert_eq!(canonical("a.example", target).unwrap().target.as_str(), written);
        }
    }

    #[test]
    fn what_everybody_reads_alike_is_normalised() {
        for (raw, expected) in [
            ("/%61dmin", "/admin"),
            ("/a//b///c", "/a/b/c"),
            ("/a/./b/../c", "/a/c"),
            ("/a/%2e%2E/c", "/c"),
            ("/a/..", "/"),
            ("/a/b/.", "/a/b/"),
            ("/%c3%a9", "/%C3%A9"),
            ("/.hidden/", "/.hidden/"),
            ("//", "/"),
            ("/a%20b?q=%61", "/a%20b?q=%61"),
        ] {
            assert_eq!(path(raw), Ok((expected.to_owned(), None)), "{raw}");
        }
    }

    #[test]
    fn what_has_two_readings_is_marked() {
        for (raw, ambiguity) in [
            ("/a%2fb", Ambiguity::EscapedSlash),
            ("/a%5Cb", Ambiguity::Backslash),
            ("/a;b=c/d", Ambiguity::Parameters),
            ("/a%3Bb", Ambiguity::Parameters),
            ("/a%252fb", Ambiguity::EscapedPercent),
        ] {
            assert_eq!(path(raw).map(|(_, found)| found), Ok(Some(ambiguity)), "{raw}");
        }
    }

    #[test]
    fn a_malformed_path_is_refused() {
        for (raw, reason) in [
            ("/..", Malformed::AboveRoot),
            ("/a/../../b", Malformed::AboveRoot),
            ("/%2e%2e/", Malformed::AboveRoot),
            ("/%", Malformed::Escape),
            ("/%4", Malformed::Escape),
            ("/%zz", Malformed::Escape),
            ("/%00", Malformed::Control),
            ("/a%0d%0ab", Malformed::Control),
            ("/%7f", Malformed::Control),
            ("*", Malformed::Target),
        ] {
            assert_eq!(path(raw), Err(reason), "{raw}");
        }
    }

    #[test]
    fn a_host_is_lower_case_without_port_and_final_dot() {
        for (raw, name, authority) in [
            ("Wiki.Example.COM", "wiki.example.com", "wiki.example.com"),
            ("wiki.example.com.:443", "wiki.example.com", "wiki.example.com:443"),
            ("[::1]:8443", "[::1]", "[::1]:8443"),
            ("[::1]", "[::1]", "[::1]"),
            ("intra_net", "intra_net", "intra_net"),
        ] {
            let it = canonical(raw, "/").unwrap();
            assert_eq!((it.host(), it.authority.to_str().unwrap()), (name, authority), "{raw}");
        }
    }

    #[test]
    fn a_malformed_host_is_refused() {
        for raw in ["", "a b", "user@host", "a..b", ".", "a:99999", "a:1x", "a/b", "[::1", "::1", "a,b", "a:"]
        {
            assert!(canonical(raw, "/").is_err(), "{raw:?}");
        }
    }

    #[test]
    fn two_hosts_are_refused() {
        let twice = Request::builder().uri("/").header("host", "a").header("host", "a").body(()).unwrap();
        assert_eq!(Canonical::of(&twice).unwrap_err(), Malformed::HostCount);
        let differing = Request::builder().uri("https://a/").header("host", "b").body(()).unwrap();
        assert_eq!(Canonical::of(&differing).unwrap_err(), Malformed::HostsDiffer);
        let none = Request::builder().uri("/").body(()).unwrap();
        assert_eq!(Canonical::of(&none).unwrap_err(), Malformed::HostCount);
    }

    proptest! {
        #[test]
        fn the_canonical_form_is_stable(raw in "/[a-c/.%;25eEfF\\\\]{0,24}") {
            let Ok(uri) = raw.parse::<Uri>() else { return Ok(()) };
            let Some(target) = uri.path_and_query() else { return Ok(()) };
            if let Ok((once, ambiguity)) = canonical_target(target) {
                prop_assert!(once.path().starts_with('/'));
                prop_assert!(!once.path().split('/').any(|segment| segment == ".." || segment == "."));
                if ambiguity.is_none() {
                    prop_assert_eq!(canonical_target(&once), Ok((once.clone(), None)));
                }
            }
        }

        #[test]
        fn no_host_makes_it_panic(raw in "\\PC{0,40}") {
            let _any = canonical_authority(&raw, None);
        }
    }
}
