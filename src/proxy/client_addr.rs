//! PURE: the address of the client behind trusted proxies.
//!
//! Reads `X-Forwarded-For` and `Forwarded` (RFC 7239) from right to left. Invariant: only what a
//! trusted proxy wrote is believed; what cannot be read, or is said in two ways, is no address at all,
//! neither one that a client chose nor the proxy's own.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::header::FORWARDED;
use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

/// The field in which the trusted proxies write where a request came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardedBy {
    /// Whichever is there. Where both are, they must agree.
    #[default]
    Either,
    /// `X-Forwarded-For`; `Forwarded` is what a client sent.
    XForwardedFor,
    /// `Forwarded` (RFC 7239); `X-Forwarded-For` is what a client sent.
    Forwarded,
}

impl ForwardedBy {
    /// Every one, with its name in the configuration.
    pub const ALL: [(&'static str, Self); 3] =
        [("either", Self::Either), ("x-forwarded-for", Self::XForwardedFor), ("forwarded", Self::Forwarded)];

    /// Removes the field that no proxy vouches for.
    pub fn keep_own(self, headers: &mut HeaderMap) {
        match self {
            // SECURITY: the proxies may have written only one of two that agree on the client, and that
            // is hardly `Forwarded`. What a client says there of host and scheme must not be passed on.
            Self::Either if headers.contains_key(&X_FORWARDED_FOR) => headers.remove(FORWARDED),
            Self::Either => None,
            Self::XForwardedFor => headers.remove(FORWARDED),
            Self::Forwarded => headers.remove(&X_FORWARDED_FOR),
        };
    }

    fn reads_list(self) -> bool {
        self != Self::Forwarded
    }

    fn reads_standard(self) -> bool {
        self != Self::XForwardedFor
    }
}

/// Why nobody knows where a request came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unproven {
    /// A hop behind the trusted proxies is no address.
    #[error("a trusted proxy passed on a `Forwarded` or `X-Forwarded-For` that names no address")]
    Unreadable,
    /// The two fields name different clients.
    #[error(
        "`Forwarded` and `X-Forwarded-For` differ; say in `server.forwarded_by` which one your proxies write"
    )]
    Differing,
}

impl Unproven {
    /// A stable word for logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => "forwarded_unreadable",
            Self::Differing => "forwarded_differing",
        }
    }
}

/// The address of the client: the first one, counted from us, that is not a trusted proxy.
///
/// Without any of the fields that `by` names the peer itself is the client.
///
/// # Errors
///
/// SECURITY: a proxy that writes one of the fields passes the other on as a client sent it. To take the
/// peer for the client where they differ would let anybody pass as the proxy, whom `networks` may let in.
pub fn client_address(
    peer: IpAddr,
    headers: &HeaderMap,
    trusted: &[IpNet],
    by: ForwardedBy,
) -> Result<IpAddr, Unproven> {
    let peer = peer.to_canonical();
    if !is_trusted(peer, trusted) {
        return Ok(peer);
    }
    let by_list = (by.reads_list() && headers.contains_key(&X_FORWARDED_FOR)).then(|| {
        let hops = lines(headers, &X_FORWARDED_FOR).flat_map(listed_hops);
        walk(peer, hops, trusted)
    });
    let by_standard = (by.reads_standard() && headers.contains_key(FORWARDED)).then(|| {
        let hops = lines(headers, &FORWARDED).flat_map(forwarded_hops);
        walk(peer, hops, trusted)
    });
    match (by_list.transpose()?, by_standard.transpose()?) {
        (Some(one), Some(other)) if one != other => Err(Unproven::Differing),
        (Some(client), _) | (None, Some(client)) => Ok(client),
        (None, None) => Ok(peer),
    }
}

/// Whether an address lies in one of the networks.
fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|network| network.contains(&address))
}

/// Goes from the peer on to the first hop that is not trusted, or to the last one.
fn walk(
    peer: IpAddr,
    hops: impl Iterator<Item = Option<IpAddr>>,
    trusted: &[IpNet],
) -> Result<IpAddr, Unproven> {
    let mut last = peer;
    for hop in hops {
        // SECURITY: skipping what cannot be read would trust what is to its left.
        last = hop.ok_or(Unproven::Unreadable)?;
        if !is_trusted(last, trusted) {
            break;
        }
    }
    Ok(last)
}

/// The lines of a field from the last to the first; one that is no text is a line that cannot be read.
fn lines<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> + use<'a> {
    headers.get_all(name).into_iter().rev().map(|line| line.to_str().unwrap_or(UNREADABLE))
}

fn listed_hops(line: &str) -> impl Iterator<Item = Option<IpAddr>> {
    line.rsplit(',').map(str::trim).filter(|hop| !hop.is_empty()).map(address)
}

/// The hops of a `Forwarded` line from right to left; a line that breaks the grammar is one bad hop.
fn forwarded_hops(line: &str) -> impl Iterator<Item = Option<IpAddr>> {
    let mut hops = parse_forwarded(line).unwrap_or_else(|| vec![None]);
    hops.reverse();
    hops.into_iter()
}

/// `forwarded-element = [ pair ] *( ";" [ pair ] )`, separated by commas (RFC 7239 4).
fn parse_forwarded(line: &str) -> Option<Vec<Option<IpAddr>>> {
    let mut hops = Vec::new();
    let mut element = Element::default();
    let mut rest = line.trim();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix(',') {
            std::mem::take(&mut element).end(&mut hops);
            rest = after.trim_start();
        } else if let Some(after) = rest.strip_prefix(';') {
            rest = after.trim_start();
        } else {
            let (name, value, after) = pair(rest)?;
            element.add(name, &value);
            rest = after.trim_start();
            if !(rest.is_empty() || rest.starts_with([',', ';'])) {
                return None;
            }
        }
    }
    element.end(&mut hops);
    Some(hops)
}

/// One element of `Forwarded`: who asked a proxy.
#[derive(Default)]
struct Element {
    pairs: usize,
    named: usize,
    hop: Option<IpAddr>,
}

impl Element {
    fn add(&mut self, name: &str, value: &str) {
        self.pairs += 1;
        if name.eq_ignore_ascii_case("for") {
            self.named += 1;
            self.hop = address(value);
        }
    }

    /// Adds the hop, unless the element is empty; no address if it does not say exactly once who asked.
    fn end(self, hops: &mut Vec<Option<IpAddr>>) {
        if self.pairs > 0 {
            hops.push(if self.named == 1 { self.hop } else { None });
        }
    }
}

/// Reads `token "=" ( token / quoted-string )`; gives name, value and what follows.
fn pair(text: &str) -> Option<(&str, String, &str)> {
    let (name, rest) = text.split_once('=')?;
    if !is_token(name) {
        return None;
    }
    if let Some(quoted) = rest.strip_prefix('"') {
        let (value, rest) = quoted_string(quoted)?;
        return Some((name, value, rest));
    }
    let (value, rest) = match rest.find([',', ';', ' ', '\t']) {
        Some(end) => rest.split_at_checked(end)?,
        None => (rest, ""),
    };
    is_token(value).then(|| (name, value.to_owned(), rest))
}

/// Reads the rest of a quoted string after its opening quote (RFC 9110 5.6.4).
fn quoted_string(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.chars();
    loop {
        match characters.next()? {
            '"' => return Some((value, characters.as_str())),
            '\\' => value.push(characters.next()?),
            other => value.push(other),
        }
    }
}

fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// Reads an address with or without a port; not `unknown`, not an obfuscated name.
fn address(text: &str) -> Option<IpAddr> {
    let address = text
        .parse::<IpAddr>()
        .ok()
        .or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
        .or_else(|| bracketed(text))
        .or_else(|| with_odd_port(text))?;
    Some(address.to_canonical())
}

fn bracketed(text: &str) -> Option<IpAddr> {
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
}

/// An address whose port is an obfuscated one, as in `192.0.2.1:_x` (RFC 7239 6).
fn with_odd_port(text: &str) -> Option<IpAddr> {
    let (host, port) = text.rsplit_once(":_")?;
    let valid =
        !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    let address = match bracketed(host) {
        Some(address) => address,
        None => IpAddr::V4(host.parse().ok()?),
    };
    valid.then_some(address)
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// No list and no pair reads like this.
const UNREADABLE: &str = "?";

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn client(peer: &str, lines: &[(&'static str, &str)]) -> String {
        client_by(ForwardedBy::Either, peer, lines)
    }

    fn client_by(by: ForwardedBy, peer: &str, lines: &[(&'static str, &str)]) -> String {
        let trusted: Vec<IpNet> = ["10.0.0.0/8", "fd00::/8"].iter().map(|net| net.parse().unwrap()).collect();
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        match client_address(peer.parse().unwrap(), &headers, &trusted, by) {
            Ok(client) => client.to_string(),
            Err(why) => why.as_str().to_owned(),
        }
    }

    #[test]
    fn a_peer_that_is_not_trusted_is_the_client_whatever_it_says() {
        let lines = [("x-forwarded-for", "1.2.3.4"), ("forwarded", "for=1.2.3.4")];
        assert_eq!(client("203.0.113.9", &lines), "203.0.113.9");
        assert_eq!(client("::ffff:203.0.113.9", &[]), "203.0.113.9");
    }

    #[test]
    fn the_rightmost_hop_that_is_not_trusted_is_the_client() {
        for (list, expected) in [
            ("1.2.3.4", "1.2.3.4"),
            ("6.6.6.6, 1.2.3.4", "1.2.3.4"),
            ("6.6.6.6, 1.2.3.4, 10.0.0.9", "1.2.3.4"),
            ("10.1.1.1, 10.0.0.9", "10.1.1.1"),
            ("1.2.3.4:5678", "1.2.3.4"),
            ("[2001:db8::1]:443, 10.0.0.2:99", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
            ("::ffff:1.2.3.4", "1.2.3.4"),
            (" ,1.2.3.4 ,, ", "1.2.3.4"),
            ("", "10.0.0.1"),
            ("1.2.3.4, unknown", UNREADABLE_HOP),
            ("1.2.3.4, evil, 10.0.0.9", UNREADABLE_HOP),
            ("1.2.3.4, é", UNREADABLE_HOP),
            ("1.2.3.4, 01.2.3.4", UNREADABLE_HOP),
        ] {
            assert_eq!(client("10.0.0.1", &[("x-forwarded-for", list)]), expected, "{list}");
        }
    }

    #[test]
    fn several_lines_are_one_list() {
        let lines =
            [("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "1.2.3.4"), ("x-forwarded-for", "fd00::5")];
        assert_eq!(client("10.0.0.1", &lines), "1.2.3.4");
    }

    #[test]
    fn forwarded_is_read_as_rfc_7239_says() {
        for (list, expected) in [
            ("for=1.2.3.4", "1.2.3.4"),
            ("For=6.6.6.6;proto=http, FOR=\"1.2.3.4:80\" ; by=10.0.0.1", "1.2.3.4"),
            ("for=\"[2001:db8:cafe::17]:4711\"", "2001:db8:cafe::17"),
            ("for=\"[2001:db8::1]:_p\", for=10.2.3.4", "2001:db8::1"),
            ("for=\"1.2.3.4:_odd\"", "1.2.3.4"),
            ("for=\"1\\.2.3.4\"", "1.2.3.4"),
            ("for=1.2.3.4, for=unknown", UNREADABLE_HOP),
            ("for=1.2.3.4, for=_hidden, for=10.0.0.9", UNREADABLE_HOP),
            ("for=1.2.3.4, proto=https", UNREADABLE_HOP),
            ("for=1.2.3.4;for=5.6.7.8", UNREADABLE_HOP),
            ("for=1.2.3.4,", "1.2.3.4"),
            ("for = 1.2.3.4", UNREADABLE_HOP),
        ] {
            assert_eq!(client("10.0.0.1", &[("forwarded", list)]), expected, "{list}");
        }
    }

    #[test]
    fn an_open_quote_cannot_swallow_what_a_proxy_adds() {
        for forged in [
            "for=6.6.6.6, x=\", for=1.2.3.4",
            "for=6.6.6.6;x=\", for=\"[2001:db8::1]\"",
            "for=6.6.6.6, x=\"\\, for=\"1.2.3.4:1\";proto=https",
        ] {
            assert_eq!(client("10.0.0.1", &[("forwarded", forged)]), UNREADABLE_HOP, "{forged}");
        }
        let own_line = [("forwarded", "for=6.6.6.6, x=\""), ("forwarded", "for=1.2.3.4")];
        assert_eq!(client("10.0.0.1", &own_line), "1.2.3.4");
    }

    #[test]
    fn two_fields_that_differ_name_nobody_unless_it_is_said_which_one_counts() {
        let lines = [("x-forwarded-for", "1.2.3.4"), ("forwarded", "for=6.6.6.6")];
        for (by, expected) in [
            (ForwardedBy::Either, "forwarded_differing"),
            (ForwardedBy::XForwardedFor, "1.2.3.4"),
            (ForwardedBy::Forwarded, "6.6.6.6"),
        ] {
            assert_eq!(client_by(by, "10.0.0.1", &lines), expected);
        }
        let lines = [("x-forwarded-for", "1.2.3.4"), ("forwarded", "for=1.2.3.4")];
        assert_eq!(client("10.0.0.1", &lines), "1.2.3.4");
        let lines = [("x-forwarded-for", "1.2.3.4"), ("forwarded", "for=unknown")];
        assert_eq!(client("10.0.0.1", &lines), UNREADABLE_HOP);
        assert_eq!(client_by(ForwardedBy::XForwardedFor, "10.0.0.1", &lines), "1.2.3.4");
    }

    #[test]
    fn what_nobody_vouches_for_is_removed() {
        let both = [("x-forwarded-for", "1.2.3.4"), ("forwarded", "for=1.2.3.4;host=evil")];
        let [list, standard] = both;
        for (by, sent, left) in [
            (ForwardedBy::Either, &both[..], Some("x-forwarded-for")),
            (ForwardedBy::Either, &[standard], Some("forwarded")),
            (ForwardedBy::XForwardedFor, &[standard], None),
            (ForwardedBy::XForwardedFor, &both, Some("x-forwarded-for")),
            (ForwardedBy::Forwarded, &both, Some("forwarded")),
            (ForwardedBy::Forwarded, &[list], None),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in sent {
                headers.append(*name, HeaderValue::from_static(value));
            }
            by.keep_own(&mut headers);
            assert_eq!(headers.keys().map(HeaderName::as_str).next(), left, "{by:?}");
            assert_eq!(headers.len(), usize::from(left.is_some()), "{by:?}");
        }
    }

    const UNREADABLE_HOP: &str = "forwarded_unreadable";

    proptest! {
        #[test]
        fn a_client_cannot_change_what_a_proxy_appends(forged in "[ -~]{0,80}") {
            let list = format!("{forged}, 1.2.3.4");
            prop_assert_eq!(client("10.0.0.1", &[("x-forwarded-for", &list)]), "1.2.3.4");
        }

        #[test]
        fn a_forged_forwarded_line_gives_the_real_client_or_nobody(
            forged in "[ -~]{0,40}|(for=\"?[0-9.]{7}\"?[,;\\\\ ]?){0,4}",
        ) {
            let list = format!("{forged}, for=\"1.2.3.4:99\"");
            let found = client("10.0.0.1", &[("forwarded", &list)]);
            prop_assert!(found == "1.2.3.4" || found == UNREADABLE_HOP, "{}", found);
        }
    }
}
