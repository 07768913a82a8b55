//! The header sections of a request and a response, as an intermediary has to change them.
//!
//! Leaves the identity headers and the session cookie to the gateway, the framing of requests to
//! [`super::shape`]. Invariant: what a client names in `Connection` is removed before anything of ours is
//! set, and nothing that is named there is heeded later.

use std::net::IpAddr;

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, FORWARDED, HOST, TE, TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::{HeaderMap, HeaderName, HeaderValue, Version};

use super::ResponseFault;
use crate::ip_text;

/// What a request says to the backend about its way here.
#[derive(Clone, Copy, Debug)]
pub struct Forwarded<'a> {
    /// Where the request came from, as far as trusted proxies say.
    pub client: IpAddr,
    /// The other end of the client's connection, which may be a proxy.
    pub peer: IpAddr,
    /// Whether the peer is a trusted proxy, whose own claims are kept.
    pub peer_trusted: bool,
    /// `http` or `https`: what the peer speaks with us.
    pub scheme: &'static str,
    /// The host that was asked for.
    pub host: &'a HeaderValue,
    /// The number of this request in our logs.
    pub request_id: &'a HeaderValue,
    /// The version that the request came with.
    pub version: Version,
}

/// Removes what is meant for one connection only (RFC 9110 7.6.1), over all `Connection` lines.
///
/// A complete request to switch to the WebSocket protocol stays, as exactly `Connection: upgrade`
/// and `Upgrade: websocket`; so does the option `trailers` of `TE`. Calling it twice changes nothing.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let asked = remove_hop_by_hop(headers);
    if asked.websocket {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    }
    if asked.trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// What hop-by-hop fields asked for that an intermediary can pass on.
#[derive(Default)]
struct Asked {
    websocket: bool,
    trailers: bool,
}

fn remove_hop_by_hop(headers: &mut HeaderMap) -> Asked {
    let mut present = HOP_BY_HOP.each_ref().map(|_| false);
    for name in headers.keys() {
        for (hop_by_hop, is_present) in HOP_BY_HOP.iter().zip(&mut present) {
            *is_present |= hop_by_hop == name;
        }
    }
    if !present.contains(&true) {
        return Asked::default();
    }
    let websocket = names_websocket(headers);
    let trailers = list_has(headers, &TE, b"trailers");
    remove_named(headers);
    for (name, _) in HOP_BY_HOP.iter().zip(present).filter(|(_, is_present)| *is_present) {
        headers.remove(name);
    }
    Asked { websocket, trailers }
}

/// Makes a client's header section one that may go on to a backend.
///
/// Strips hop-by-hop fields by itself. To be called before the gateway sets identity headers: those
/// that begin with `X-Forwarded-` are removed here when an untrusted peer sent them.
pub fn prepare(headers: &mut HeaderMap, forwarded: &Forwarded<'_>) {
    strip_hop_by_hop(headers);
    headers.remove(EXPECT);
    join_cookies(headers);
    remove_claims(headers, forwarded.peer_trusted);
    headers.append(VIA, via(forwarded.version));
    set_forwarded_for(headers, forwarded);
    set_real_ip(headers, forwarded.client);
    if !forwarded.peer_trusted || !claims_scheme(headers) {
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(forwarded.scheme));
    }
    if !forwarded.peer_trusted || !headers.contains_key(&X_FORWARDED_HOST) {
        headers.insert(X_FORWARDED_HOST, forwarded.host.clone());
    }
    headers.insert(X_REQUEST_ID, forwarded.request_id.clone());
}

/// Whether the request passed this gateway more often than any honest setup lets it (RFC 9110 7.6).
pub(super) fn is_looping(headers: &HeaderMap) -> bool {
    let entries = headers.get_all(VIA).iter().flat_map(|line| line.as_bytes().split(|&byte| byte == b','));
    let own = |entry: &[u8]| entry.trim_ascii().rsplit(|&byte| byte == b' ').next() == Some(PSEUDONYM);
    entries.filter(|entry| own(entry)).count() > MOST_PASSES
}

/// Makes a backend's header section one that may go on to a client.
pub(super) fn prepare_response(headers: &mut HeaderMap) {
    let _asked = remove_hop_by_hop(headers);
}

/// Whether the other end closes the connection after this message (RFC 9112 section 9.6).
pub(super) fn closes_connection(headers: &HeaderMap) -> bool {
    list_has(headers, &CONNECTION, b"close")
}

/// Where a message ends, as its header section says (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// After so many bytes.
    Length(u64),
    /// With the last chunk.
    Chunked,
    /// It does not say.
    None,
}

impl Framing {
    /// Refuses an answer whose end another reader could see elsewhere.
    ///
    /// SECURITY: equal lengths could be taken for one, and a coding for more than the length beside it; the
    /// lines would go on to a client that may read them in another way.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, ResponseFault> {
        let is_coded = headers.contains_key(TRANSFER_ENCODING);
        // We sent no TE that allows another coding, and stripping the field would hide it.
        if is_coded && !list_is(headers, &TRANSFER_ENCODING, b"chunked") {
            return Err(ResponseFault::Coding);
        }
        let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
        match (lengths.next(), lengths.next()) {
            (None, _) => Ok(if is_coded { Self::Chunked } else { Self::None }),
            (Some(length), None) if !is_coded => {
                number(length).map(Self::Length).ok_or(ResponseFault::Length)
            }
            _ => Err(ResponseFault::Length),
        }
    }
}

/// Digits alone; other readers take more for a number.
fn number(value: &HeaderValue) -> Option<u64> {
    let is_number = value.as_bytes().iter().all(u8::is_ascii_digit);
    value.to_str().ok().filter(|_| is_number)?.parse().ok()
}

/// Whether a content type is one of gRPC: `application/grpc`, alone or with a `+` or `;` behind it.
#[must_use]
pub fn is_grpc(content_type: &[u8]) -> bool {
    let (name, rest) = content_type.split_at(content_type.len().min(GRPC.len()));
    name.eq_ignore_ascii_case(GRPC) && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
}

/// Whether the header section names the WebSocket protocol, alone, as the one to switch to.
pub(super) fn names_websocket(headers: &HeaderMap) -> bool {
    headers.contains_key(UPGRADE)
        && list_is(headers, &UPGRADE, b"websocket")
        && list_has(headers, &CONNECTION, b"upgrade")
}

/// Whether two names are the same to a server that reads `_` as `-`; both in lower case.
#[must_use]
pub fn same_folded(one: &str, other: &str) -> bool {
    one.len() == other.len() && one.bytes().zip(other.bytes()).all(|(a, b)| fold(a) == fold(b))
}

/// Whether a field tells about the way of a request: `Forwarded`, `X-Forwarded-*`, `X-Real-IP`.
pub(super) fn is_forwarding_name(name: &str) -> bool {
    same_folded(name, FORWARDED.as_str())
        || same_folded(name, X_REAL_IP.as_str())
        || name.get(..X_FORWARDED.len()).is_some_and(|start| same_folded(start, X_FORWARDED))
}

const fn fold(byte: u8) -> u8 {
    if byte == b'_' { b'-' } else { byte }
}

fn remove_named(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = elements(headers, &CONNECTION)
        .filter(|option| !PLAIN_OPTIONS.iter().any(|plain| option.eq_ignore_ascii_case(plain)))
        .filter_map(|option| HeaderName::from_bytes(option).ok())
        // SECURITY: a request that loses its Host could mean another site to the backend.
        .filter(|name| name != HOST)
        .collect();
    for name in named {
        headers.remove(name);
    }
}

/// Joins the pieces that HTTP/2 clients may split cookies into (RFC 9113 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let joined = join(headers.get_all(COOKIE).iter(), b"; ");
    insert_bytes(headers, &COOKIE, joined);
}

/// Removes what an untrusted peer says about the way of the request.
fn remove_claims(headers: &mut HeaderMap, peer_trusted: bool) {
    // SECURITY: `X_Forwarded_For` is the same as `X-Forwarded-For` to CGI-like servers, but no proxy
    // writes it: it is a forgery from whomever it comes.
    let forged = |name: &HeaderName| {
        let odd = name.as_str().contains('_');
        (odd || !peer_trusted) && is_forwarding_name(name.as_str())
            || odd && same_folded(name.as_str(), X_REQUEST_ID.as_str())
    };
    let forged: Vec<HeaderName> = headers.keys().filter(|name| forged(name)).cloned().collect();
    for name in forged {
        headers.remove(name);
    }
}

fn via(version: Version) -> HeaderValue {
    HeaderValue::from_static(match version {
        Version::HTTP_10 => "1.0 vestibule",
        Version::HTTP_2 => "2.0 vestibule",
        Version::HTTP_3 => "3.0 vestibule",
        _ => "1.1 vestibule",
    })
}

fn set_forwarded_for(headers: &mut HeaderMap, forwarded: &Forwarded<'_>) {
    let mut list = if forwarded.peer_trusted {
        join(headers.get_all(&X_FORWARDED_FOR).iter(), b", ")
    } else {
        Vec::with_capacity(LONGEST_ADDRESS)
    };
    let peer = forwarded.peer.to_canonical();
    // Proxies that write only `Forwarded` said it there.
    if list.is_empty() && forwarded.client != peer {
        ip_text::push(&mut list, forwarded.client);
    }
    if !list.is_empty() {
        list.extend_from_slice(b", ");
    }
    ip_text::push(&mut list, peer);
    insert_bytes(headers, &X_FORWARDED_FOR, list);
}

/// SECURITY: a proxy that does not know this field passes it on as a client sent it.
fn set_real_ip(headers: &mut HeaderMap, client: IpAddr) {
    if headers.contains_key(&X_REAL_IP) {
        let mut address = Vec::with_capacity(LONGEST_ADDRESS);
        ip_text::push(&mut address, client);
        insert_bytes(headers, &X_REAL_IP, address);
    }
}

fn claims_scheme(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(&X_FORWARDED_PROTO).iter();
    let scheme = lines.next().is_some_and(|scheme| scheme == "http" || scheme == "https");
    scheme && lines.next().is_none()
}

fn insert_bytes(headers: &mut HeaderMap, name: &HeaderName, value: Vec<u8>) {
    match HeaderValue::from_maybe_shared(bytes::Bytes::from(value)) {
        Ok(value) => headers.insert(name, value),
        Err(_) => headers.remove(name),
    };
}

fn join<'a>(lines: impl Iterator<Item = &'a HeaderValue>, separator: &[u8]) -> Vec<u8> {
    let mut joined = Vec::new();
    for line in lines {
        if !joined.is_empty() {
            joined.extend_from_slice(separator);
        }
        joined.extend_from_slice(line.as_bytes());
    }
    joined
}

/// The elements of a list field over all its lines (RFC 9110 5.6.1), without the empty ones.
fn elements<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    let lines = headers.get_all(name).into_iter();
    lines
        .flat_map(|line| line.as_bytes().split(|&byte| byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|element| !element.is_empty())
}

fn list_has(headers: &HeaderMap, name: &HeaderName, wanted: &[u8]) -> bool {
    elements(headers, name).any(|element| element.eq_ignore_ascii_case(wanted))
}

/// Whether a list field has exactly one element, and it is this.
fn list_is(headers: &HeaderMap, name: &HeaderName, wanted: &[u8]) -> bool {
    let mut elements = elements(headers, name);
    elements.next().is_some_and(|first| first.eq_ignore_ascii_case(wanted)) && elements.next().is_none()
}

/// How we call ourselves in `Via`: the product, never the host.
const PSEUDONYM: &[u8] = b"vestibule";

/// Gateways of this kind that may stand one behind the other.
const MOST_PASSES: usize = 5;

const GRPC: &[u8] = b"application/grpc";

const LONGEST_ADDRESS: usize = 46;

const X_FORWARDED: &str = "x-forwarded-";
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Options of `Connection` that are no field names, or are removed anyway.
const PLAIN_OPTIONS: [&[u8]; 4] = [b"close", b"keep-alive", b"upgrade", b"te"];

const HOP_BY_HOP: [HeaderName; 7] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("http2-settings"),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    static HOST_ASKED: HeaderValue = HeaderValue::from_static("wiki.example");
    static REQUEST_ID: HeaderValue = HeaderValue::from_static("r-1");

    fn untrusted() -> Forwarded<'static> {
        Forwarded {
            client: IpAddr::from([192, 0, 2, 7]),
            peer: IpAddr::from([192, 0, 2, 7]),
            peer_trusted: false,
            scheme: "https",
            host: &HOST_ASKED,
            request_id: &REQUEST_ID,
            version: Version::HTTP_11,
        }
    }

    fn prepared(lines: &[(&'static str, &'static str)], forwarded: Forwarded<'_>) -> HeaderMap {
        let mut map = headers(lines);
        prepare(&mut map, &forwarded);
        map
    }

    #[test]
    fn everything_that_any_connection_line_names_is_removed() {
        let mut map = headers(&[
            ("connection", "close, x-one"),
            ("connection", " X-Two ,, te"),
            ("x-one", "1"),
            ("x-two", "2"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "close"),
            ("transfer-encoding", "chunked"),
            ("te", "gzip"),
            ("upgrade", "h2c"),
            ("x-kept", "3"),
        ]);
        strip_hop_by_hop(&mut map);
        assert_eq!(map, headers(&[("x-kept", "3")]));
    }

    #[test]
    fn connection_cannot_delete_what_we_set_or_the_host() {
        let map = prepared(
            &[("connection", "host, via, x-forwarded-for, x-request-id"), ("host", "wiki.example")],
            untrusted(),
        );
        assert_eq!(map["host"], "wiki.example");
        assert_eq!(map["via"], "1.1 vestibule");
        assert_eq!(map["x-forwarded-for"], "192.0.2.7");
        assert_eq!(map["x-request-id"], "r-1");
        assert!(!map.contains_key("connection"));
    }

    #[test]
    fn only_a_complete_websocket_request_keeps_its_upgrade() {
        let kept = headers(&[("connection", "upgrade"), ("upgrade", "websocket")]);
        let mut map = headers(&[("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket")]);
        strip_hop_by_hop(&mut map);
        assert_eq!(map, kept);
        strip_hop_by_hop(&mut map);
        assert_eq!(map, kept);
        for odd in [
            &[("connection", "upgrade"), ("upgrade", "h2c")][..],
            &[("connection", "upgrade"), ("upgrade", "websocket, h2c")],
            &[("connection", "keep-alive"), ("upgrade", "websocket")],
            &[("upgrade", "websocket")],
        ] {
            let mut map = headers(odd);
            strip_hop_by_hop(&mut map);
            assert!(map.is_empty(), "{odd:?}");
        }
    }

    #[test]
    fn te_keeps_its_trailers_only() {
        let mut map = headers(&[("te", "gzip, Trailers"), ("connection", "te")]);
        strip_hop_by_hop(&mut map);
        assert_eq!(map, headers(&[("te", "trailers")]));
    }

    #[test]
    fn an_untrusted_peer_cannot_claim_where_a_request_came_from() {
        let map = prepared(
            &[
                ("x-forwarded-for", "10.0.0.1"),
                ("x_forwarded_for", "10.0.0.1"),
                ("x-forwarded-host", "evil.example"),
                ("x-forwarded-proto", "http"),
                ("x-forwarded-user", "root"),
                ("forwarded", "for=10.0.0.1"),
                ("x-real-ip", "10.0.0.1"),
                ("x_request_id", "forged"),
            ],
            untrusted(),
        );
        let expected = headers(&[
            ("via", "1.1 vestibule"),
            ("x-forwarded-for", "192.0.2.7"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "wiki.example"),
            ("x-request-id", "r-1"),
        ]);
        assert_eq!(map, expected);
    }

    #[test]
    fn a_trusted_peer_is_added_to_the_list_and_its_claims_are_kept() {
        let map = prepared(
            &[
                ("x-forwarded-for", "203.0.113.5"),
                ("x-forwarded-for", "198.51.100.2"),
                ("x-forwarded-host", "public.example"),
                ("x-forwarded-proto", "http"),
                ("x_forwarded_for", "10.0.0.1"),
            ],
            Forwarded { peer_trusted: true, ..untrusted() },
        );
        assert_eq!(map["x-forwarded-for"], "203.0.113.5, 198.51.100.2, 192.0.2.7");
        assert_eq!(map["x-forwarded-host"], "public.example");
        assert_eq!(map["x-forwarded-proto"], "http");
        assert!(!map.contains_key("x_forwarded_for"));
    }

    #[test]
    fn a_client_that_was_named_elsewhere_is_put_into_the_list() {
        let client = IpAddr::from([203, 0, 113, 5]);
        let map = prepared(
            &[("forwarded", "for=203.0.113.5"), ("x-real-ip", "10.0.0.1")],
            Forwarded { peer_trusted: true, client, ..untrusted() },
        );
        assert_eq!(map["x-forwarded-for"], "203.0.113.5, 192.0.2.7");
        assert_eq!(
            (&map["forwarded"], &map["x-real-ip"]),
            (&"for=203.0.113.5".parse().unwrap(), &"203.0.113.5".parse().unwrap())
        );
    }

    #[test]
    fn a_scheme_that_is_none_is_replaced_even_from_a_trusted_peer() {
        let trusted = Forwarded { peer_trusted: true, ..untrusted() };
        let map = prepared(&[("x-forwarded-proto", "https, http")], trusted);
        assert_eq!(map["x-forwarded-proto"], "https");
    }

    #[test]
    fn cookie_crumbs_are_joined_in_order() {
        let map =
            prepared(&[("cookie", "a=1"), ("cookie", "b=2; c=3"), ("expect", "100-continue")], untrusted());
        assert_eq!(map.get_all("cookie").iter().collect::<Vec<_>>(), ["a=1; b=2; c=3"]);
        assert!(!map.contains_key("expect"));
    }

    #[test]
    fn a_request_that_passed_here_too_often_loops() {
        let entry = "1.1 other, 1.1 vestibule, 2.0 vestibule, 1.1 not-vestibule";
        assert!(!is_looping(&headers(&[("via", entry), ("via", entry)])));
        assert!(is_looping(&headers(&[("via", entry), ("via", entry), ("via", entry)])));
    }

    #[test]
    fn a_response_that_could_end_in_two_places_is_refused() {
        for odd in [
            &[("transfer-encoding", "gzip, chunked")][..],
            &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
            &[("transfer-encoding", "chunked"), ("content-length", "5")],
            &[("content-length", "5"), ("content-length", "5")],
            &[("content-length", "5, 5")],
            &[("content-length", "+5")],
            &[("content-length", "")],
        ] {
            assert!(Framing::of(&headers(odd)).is_err(), "{odd:?}");
        }
        for (plain, framing) in [
            (("transfer-encoding", "Chunked"), Framing::Chunked),
            (("content-length", "05"), Framing::Length(5)),
            (("x-own", "1"), Framing::None),
        ] {
            assert_eq!(Framing::of(&headers(&[plain])).unwrap(), framing, "{plain:?}");
        }
    }

    proptest! {
        #[test]
        fn no_connection_line_breaks_the_stripping(value in "[ -~\t]{0,60}") {
            let mut map = headers(&[("x-kept", "1")]);
            map.append(CONNECTION, HeaderValue::from_str(&value).unwrap());
            strip_hop_by_hop(&mut map);
            prop_assert!(!map.contains_key(CONNECTION));
        }
    }
}
