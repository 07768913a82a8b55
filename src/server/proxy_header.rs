//! PURE: the header by which a proxy announces whose connection it passes on (PROXY protocol 1 and 2).
//!
//! Leaves reading to `announcement`. Invariant: what has no single reading is refused, so that nobody
//! is taken for somebody else; what names no client (version 1 `UNKNOWN`, version 2 `LOCAL`) is not guessed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// Why bytes are not the header of a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Flaw {
    #[error("the connection does not begin with a PROXY header")]
    None,
    #[error("the PROXY header is too long")]
    TooLong,
    #[error("the PROXY header is malformed")]
    Malformed,
    #[error("the PROXY header is of another version, command or kind of connection")]
    Unsupported,
}

/// How long the second version says that the part behind its [`FIXED`] bytes is.
pub(super) fn length(fixed: &[u8; FIXED]) -> Result<usize, Flaw> {
    let [.., high, low] = *fixed;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > LONGEST_REST { Err(Flaw::TooLong) } else { Ok(length) }
}

/// The client in a header of the second version; none if it names none.
pub(super) fn binary(fixed: &[u8; FIXED], rest: &[u8]) -> Result<Option<SocketAddr>, Flaw> {
    let [.., command, kind, _, _] = *fixed;
    match (command, kind) {
        (0x21, 0x11) => client::<4, 12>(rest, |octets| Ipv4Addr::from(octets).into()).map(Some),
        (0x21, 0x21) => client::<16, 36>(rest, |octets| Ipv6Addr::from(octets).into()).map(Some),
        // The proxy speaks for itself, as in a health check, whatever else it says; or for a client
        // without an address, or with a socket in a file system.
        (0x20, _) | (0x21, 0x00 | 0x31) => Ok(None),
        _ => Err(Flaw::Unsupported),
    }
}

/// Source address, destination address, source port, destination port; more may follow.
fn client<const OCTETS: usize, const ALL: usize>(
    rest: &[u8],
    address: impl Fn([u8; OCTETS]) -> IpAddr,
) -> Result<SocketAddr, Flaw> {
    let rest = rest.first_chunk::<ALL>().ok_or(Flaw::Malformed)?;
    let source = rest.first_chunk::<OCTETS>().ok_or(Flaw::Malformed)?;
    let ports = rest.last_chunk::<4>().ok_or(Flaw::Malformed)?;
    let [high, low, ..] = *ports;
    Ok(SocketAddr::new(address(*source), u16::from_be_bytes([high, low])))
}

/// The client in a whole line of the first version; none if it names none.
pub(super) fn text(line: &[u8]) -> Result<Option<SocketAddr>, Flaw> {
    let line = line.strip_suffix(b"\r\n").ok_or(Flaw::Malformed)?;
    let line = std::str::from_utf8(line).map_err(|_| Flaw::Malformed)?;
    let line = line.strip_prefix("PROXY ").ok_or(Flaw::None)?;
    if line == "UNKNOWN" || line.starts_with("UNKNOWN ") {
        return Ok(None);
    }
    let mut words = line.split(' ');
    let mut word = || words.next().ok_or(Flaw::Malformed);
    let (family, source, destination, port, to) = (word()?, word()?, word()?, word()?, word()?);
    if words.next().is_some() {
        return Err(Flaw::Malformed);
    }
    number(to)?;
    let source = match family {
        "TCP4" => pair::<Ipv4Addr>(source, destination)?.into(),
        "TCP6" => pair::<Ipv6Addr>(source, destination)?.into(),
        _ => return Err(Flaw::Unsupported),
    };
    Ok(Some(SocketAddr::new(source, number(port)?)))
}

/// The first of two addresses of the same family.
fn pair<A: FromStr>(source: &str, destination: &str) -> Result<A, Flaw> {
    match (source.parse(), destination.parse::<A>()) {
        (Ok(source), Ok(_)) => Ok(source),
        _ => Err(Flaw::Malformed),
    }
}

/// A port in its one spelling: digits, without a sign and without zeros before it.
fn number(text: &str) -> Result<u16, Flaw> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let plain = digits && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain).ok_or(Flaw::Malformed)
}

/// What the second version begins with.
pub(super) const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Bytes of the second version up to and with its length.
pub(super) const FIXED: usize = 16;

/// Bytes of the shortest line of the first version, `PROXY UNKNOWN`; no header is shorter.
pub(super) const SHORTEST: usize = 15;

/// Bytes of the longest line of the first version.
pub(super) const LONGEST_LINE: usize = 107;

/// Bytes that may follow the fixed ones: addresses, and what proxies tell of the client's TLS.
const LONGEST_REST: usize = 4096;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(text_: &str) -> Result<Option<String>, Flaw> {
        text(format!("{text_}\r\n").as_bytes()).map(|client| client.map(|it| it.to_string()))
    }

    /// A header of the second version as a proxy writes it.
    fn second(command: u8, kind: u8, rest: &[u8]) -> Result<Option<SocketAddr>, Flaw> {
        let mut fixed = [0; FIXED];
        fixed[..12].copy_from_slice(SIGNATURE);
        (fixed[12], fixed[13]) = (command, kind);
        fixed[14..].copy_from_slice(&u16::try_from(rest.len()).unwrap().to_be_bytes());
        assert_eq!(length(&fixed), Ok(rest.len()));
        binary(&fixed, rest)
    }

    #[test]
    fn a_line_names_the_client() {
        let client = |text| line(text).unwrap().unwrap();
        assert_eq!(client("PROXY TCP4 203.0.113.9 10.0.0.1 56324 443"), "203.0.113.9:56324");
        assert_eq!(client("PROXY TCP6 2001:db8::9 ::1 1 0"), "[2001:db8::9]:1");
        for unknown in ["PROXY UNKNOWN", "PROXY UNKNOWN ff::1 ff::2 1 2", "PROXY UNKNOWN whatever"] {
            assert_eq!(line(unknown), Ok(None), "{unknown}");
        }
    }

    #[test]
    fn a_line_with_another_reading_is_refused() {
        for bad in [
            "PROXY",
            "PROXY_TCP4 203.0.113.9 10.0.0.1 56324 443",
            "PROXY UNKNOWNS",
            "PROXY TCP4 203.0.113.9 10.0.0.1 56324",
            "PROXY TCP4 203.0.113.9 10.0.0.1 56324 443 ",
            "PROXY TCP4  203.0.113.9 10.0.0.1 56324 443",
            "PROXY TCP4 203.0.113.9 10.0.0.1 +56324 443",
            "PROXY TCP4 203.0.113.9 10.0.0.1 056324 443",
            "PROXY TCP4 203.0.113.9 10.0.0.1 65536 443",
            "PROXY TCP4 203.0.113.9 10.0.0.1 5 x",
            "PROXY TCP4 203.0.113.09 10.0.0.1 5 443",
            "PROXY TCP4 ::1 10.0.0.1 5 443",
            "PROXY TCP6 203.0.113.9 10.0.0.1 5 443",
            "PROXY UDP4 203.0.113.9 10.0.0.1 5 443",
            "proxy TCP4 203.0.113.9 10.0.0.1 5 443",
        ] {
            assert!(line(bad).is_err(), "{bad}");
        }
        assert!(text(b"PROXY UNKNOWN\n").is_err() && text(b"PROXY TCP4 \xff\r\n").is_err());
    }

    #[test]
    fn a_binary_header_names_the_client_or_the_proxy_itself() {
        let v4 = [203, 0, 113, 9, 10, 0, 0, 1, 0x12, 0x34, 0x01, 0xbb, 4, 0, 1, 0];
        assert_eq!(second(0x21, 0x11, &v4).unwrap().unwrap().to_string(), "203.0.113.9:4660");
        let mut v6 = [0; 36];
        (v6[0], v6[15], v6[33]) = (0x20, 9, 80);
        assert_eq!(second(0x21, 0x21, &v6).unwrap().unwrap().to_string(), "[2000::9]:80");
        assert_eq!(second(0x20, 0x11, &v4), Ok(None));
        assert_eq!(second(0x20, 0xff, &[]), Ok(None));
        assert_eq!(second(0x21, 0x00, &[]), Ok(None));
        assert_eq!(second(0x21, 0x31, &[0; 216]), Ok(None));
    }

    #[test]
    fn a_binary_header_that_is_cut_or_of_another_kind_is_refused() {
        assert_eq!(second(0x21, 0x11, &[0; 11]), Err(Flaw::Malformed));
        assert_eq!(second(0x21, 0x21, &[0; 35]), Err(Flaw::Malformed));
        for (command, kind) in [(0x11, 0x11), (0x31, 0x11), (0x22, 0x11), (0x21, 0x12), (0x21, 0x22)] {
            assert_eq!(second(command, kind, &[0; 36]), Err(Flaw::Unsupported), "{command:x} {kind:x}");
        }
        let mut endless = [0; FIXED];
        (endless[14], endless[15]) = (0xff, 0xff);
        assert_eq!(length(&endless), Err(Flaw::TooLong));
    }

    proptest! {
        #[test]
        fn whatever_a_proxy_writes_is_read_back(source: SocketAddr, to: u16, tail in prop::collection::vec(any::<u8>(), 0..64)) {
            let (family, local) = if source.is_ipv4() { ("TCP4", "10.0.0.1") } else { ("TCP6", "fe80::1") };
            let (ip, port) = (source.ip(), source.port());
            let written = format!("PROXY {family} {ip} {local} {port} {to}\r\n");
            let expected = Some(SocketAddr::new(ip, port));
            prop_assert!(written.len() <= LONGEST_LINE);
            prop_assert_eq!(text(written.as_bytes()), Ok(expected));
            let mut rest = match ip {
                IpAddr::V4(ip) => [ip.octets(), [10, 0, 0, 1]].concat(),
                IpAddr::V6(ip) => [ip.octets(), [7; 16]].concat(),
            };
            rest.extend(port.to_be_bytes());
            rest.extend(to.to_be_bytes());
            rest.extend(tail);
            prop_assert_eq!(second(0x21, if ip.is_ipv4() { 0x11 } else { 0x21 }, &rest), Ok(expected));
        }

        #[test]
        fn no_bytes_are_too_odd(fixed: [u8; FIXED], bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _any = (text(&bytes), length(&fixed), binary(&fixed, &bytes));
        }
    }
}
