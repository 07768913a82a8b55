//! Names and addresses of the network as they stand in a configuration.
//!
//! Sockets, networks, hosts and backend servers. Invariant: a host that is let through here is in
//! the form that requests are compared with: ASCII, lower case, no port, no dot at its end.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;

use crate::gateway::HostPattern;
use crate::proxy::{HostPort, ServerAddress, WeightedServer};

use super::problem::{Wrong, quoted};

/// Reads `IP:port`.
pub(super) fn socket(text: &str) -> Result<SocketAddr, Wrong> {
    text.parse().map_err(|_| {
        let wrong = Wrong::new(format!("{} is not an IP address with a port", quoted(text)));
        let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
        match (host, port.parse::<u16>()) {
            ("", Ok(port)) => wrong.help(format!("write `[::]:{port}` for all addresses")),
            ("localhost", Ok(port)) => {
                wrong.help(format!("write `127.0.0.1:{port}`, `[::1]:{port}` or both"))
            }
            _ => wrong.help("write it as in `0.0.0.0:443` or `[::]:443`"),
        }
    })
}

/// Reads `10.0.0.0/8` or a bare address, which is a network of one.
pub(super) fn network(text: &str) -> Result<IpNet, Wrong> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address));
    }
    let network: IpNet = text.parse().map_err(|_| {
        Wrong::new(format!("{} is not a network", quoted(text)))
            .help("write it as in `10.0.0.0/8`, `2001:db8::/32` or `192.0.2.7`")
    })?;
    if network.trunc() != network {
        let wrong = Wrong::new(format!("{} is an address within a network", quoted(text)));
        return Err(wrong.did_you_mean(&network.trunc().to_string()));
    }
    Ok(network)
}

/// Reads the hosts of a route: `wiki.example.com` or `*.example.com`.
pub(super) fn host_pattern(text: &str) -> Result<HostPattern, Wrong> {
    if text == "*" {
        return Err(Wrong::new("`*` is not a host").help("leave `host` out for every host"));
    }
    match text.strip_prefix("*.") {
        Some(below) => host_name(below).map(HostPattern::Below),
        None if text.contains('*') => Err(Wrong::new(format!("{} is not a host", quoted(text)))
            .help("a `*` stands only at the beginning, as in `*.example.com`")),
        None => host_name(text).map(HostPattern::Exact),
    }
}

/// Reads a host without a port, in lower case.
pub(super) fn host_name(text: &str) -> Result<String, Wrong> {
    let host = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    if let Some(address) = bracketed(&host) {
        return Ok(format!("[{address}]"));
    }
    if let Some(bare) = text.split("://").nth(1) {
        return Err(Wrong::new(format!("{} is a URL, not a host", quoted(text)))
            .did_you_mean(bare.split(['/', ':']).next().unwrap_or(bare)));
    }
    if let Some((name, port)) = text.split_once(':')
        && port.parse::<u16>().is_ok()
    {
        return Err(Wrong::new(format!("{} has a port", quoted(text))).did_you_mean(name));
    }
    if !text.is_ascii() {
        return Err(Wrong::new(format!("{} is not ASCII", quoted(text)))
            .help("write an international name in its `xn--` form"));
    }
    if host.len() > HOST_LIMIT || !host.split('.').all(is_label) {
        return Err(
            Wrong::new(format!("{} is not a host", quoted(text))).help("write it as in `wiki.example.com`")
        );
    }
    Ok(host)
}

/// Reads `host` or `host:port`, as in a `Host` header.
pub(super) fn host_and_port(text: &str) -> Result<String, Wrong> {
    let (host, port) = split_port(text);
    let host = host_name(host)?;
    match port.map(str::parse::<u16>) {
        None => Ok(host),
        Some(Ok(port)) => Ok(format!("{host}:{port}")),
        Some(Err(_)) => Err(Wrong::new(format!("{} has an impossible port", quoted(text)))),
    }
}

/// Reads a backend server, with its weight if it has one: `http://host:port weight=3`.
pub(super) fn weighted_server(text: &str) -> Result<WeightedServer, Wrong> {
    let (address, weight) = match text.trim_end().rsplit_once(' ') {
        Some((address, option)) if option.contains('=') => (address.trim_end(), weight(option)?),
        _ => (text, 1),
    };
    Ok(WeightedServer { address: server(address)?, weight })
}

fn weight(option: &str) -> Result<u16, Wrong> {
    let weight = option.strip_prefix("weight=").ok_or_else(|| {
        Wrong::new(format!("{} is not known of a server", quoted(option)))
            .help("after its address, a server has `weight=NUMBER` or nothing")
    })?;
    weight.parse().ok().filter(|weight| (1..=WEIGHT_LIMIT).contains(weight)).ok_or_else(|| {
        Wrong::new(format!("{} is not a weight", quoted(weight)))
            .help(format!("weights lie between 1 and {WEIGHT_LIMIT}"))
    })
}

/// Reads the address of a backend server: `http://host:port`, `https://host:port`, `h2c://host:port` or
/// `unix:/path`.
pub(super) fn server(text: &str) -> Result<ServerAddress, Wrong> {
    if let Some(path) = text.strip_prefix("unix:") {
        return unix_socket(path).map(ServerAddress::Unix);
    }
    match text.split_once("://") {
        Some(("http", rest)) => bare_authority("http", rest, HTTP_PORT).map(ServerAddress::Http),
        Some(("https", rest)) => bare_authority("https", rest, HTTPS_PORT).map(ServerAddress::Https),
        Some(("h2c", rest)) => bare_authority("h2c", rest, HTTP_PORT).map(ServerAddress::H2c),
        Some((scheme, _)) => {
            Err(Wrong::new(format!("{} is not a scheme for servers", quoted(scheme))).help(SCHEMES))
        }
        None if text.contains('@') => Err(credentials()),
        None => {
            Err(Wrong::new(format!("{} has no scheme", quoted(text))).did_you_mean(&format!("http://{text}")))
        }
    }
}

/// Reads what follows the scheme, which is nothing but host and port.
fn bare_authority(scheme: &str, authority: &str, default_port: u16) -> Result<HostPort, Wrong> {
    if authority.contains('@') {
        return Err(credentials());
    }
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    if let Some((authority, _)) = authority.split_once(['/', '?', '#']) {
        let wrong = Wrong::new("a server has no path; requests keep the path they came with");
        return Err(wrong.did_you_mean(&format!("{scheme}://{authority}")));
    }
    host_with_port(authority, default_port)
}

fn host_with_port(authority: &str, default_port: u16) -> Result<HostPort, Wrong> {
    let (host, port) = split_port(authority);
    let port = port.map_or(Ok(default_port), str::parse::<u16>).ok().filter(|port| *port > 0);
    let port = port.ok_or_else(|| {
        Wrong::new(format!("{} has an impossible port", quoted(authority)))
            .help("ports lie between 1 and 65535")
    })?;
    let host = host_name(host)?;
    let host = host.trim_matches(['[', ']']).to_owned();
    Ok(HostPort { host, port })
}

/// Reads the path of a Unix socket, which is the same from every folder.
fn unix_socket(path: &str) -> Result<PathBuf, Wrong> {
    let shown = || quoted(&format!("unix:{path}"));
    if let Some(rest) = path.strip_prefix("//") {
        let wrong = Wrong::new(format!("{} has `//`", shown()));
        return Err(wrong.did_you_mean(&format!("unix:/{}", rest.trim_start_matches('/'))));
    }
    if !path.starts_with('/') || path.ends_with('/') || path.contains('\0') {
        return Err(Wrong::new(format!("{} is not a socket with its whole path", shown()))
            .help("write it as in `unix:/run/wiki.sock`"));
    }
    if path.len() > SOCKET_LIMIT {
        return Err(Wrong::new(format!("the path of the socket is longer than {SOCKET_LIMIT} bytes"))
            .help("the system has no room for more; put the socket into a folder with a shorter name"));
    }
    Ok(PathBuf::from(path))
}

/// Splits `host:port`, also when the host is an IPv6 address in brackets.
fn split_port(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    }
}

/// SECURITY: what stands before an `@` may be a password, so it is not repeated.
fn credentials() -> Wrong {
    Wrong::new("a server has no user or password; take out what stands before the `@`")
}

fn bracketed(host: &str) -> Option<Ipv6Addr> {
    host.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

/// A label as browsers accept it; `_` is no host character (RFC 952), but found in the wild.
fn is_label(label: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    !label.is_empty()
        && label.len() <= LABEL_LIMIT
        && label.bytes().all(inner)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// RFC 1035, section 2.3.4.
const HOST_LIMIT: usize = 253;
const LABEL_LIMIT: usize = 63;

/// The greatest share of a server.
const WEIGHT_LIMIT: u16 = 100;

const HTTP_PORT: u16 = 80;

const HTTPS_PORT: u16 = 443;

/// `sun_path` of Linux, without the byte at its end.
const SOCKET_LIMIT: usize = 107;

const SCHEMES: &str =
    "servers are reached by `http://host:port`, `https://host:port`, `h2c://host:port` or `unix:/path`";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_bare_address_is_a_network_of_one() {
        assert_eq!(network("192.0.2.7").unwrap().to_string(), "192.0.2.7/32");
        assert_eq!(network("2001:db8::1").unwrap().to_string(), "2001:db8::1/128");
        assert_eq!(network("10.0.0.0/8").unwrap().to_string(), "10.0.0.0/8");
    }

    #[test]
    fn an_address_with_a_short_prefix_is_refused_because_it_means_more_than_it_says() {
        let help = network("10.1.2.3/8").unwrap_err().help;
        assert_eq!(help.as_deref(), Some("did you mean `10.0.0.0/8`?"));
    }

    #[test]
    fn a_host_is_kept_as_requests_are_compared() {
        assert_eq!(host_pattern("Wiki.Example.COM."), Ok(HostPattern::Exact("wiki.example.com".to_owned())));
        assert_eq!(host_pattern("*.Example.com"), Ok(HostPattern::Below("example.com".to_owned())));
        assert_eq!(host_pattern("[2001:DB8::1]"), Ok(HostPattern::Exact("[2001:db8::1]".to_owned())));
        assert_eq!(host_pattern("localhost"), Ok(HostPattern::Exact("localhost".to_owned())));
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for bad in ["", "*", "*.", "a..b", "a b", "-a", "x:80", "http://x/", "ä.de", "*.*.de", "a/b", "a%41"]
        {
            assert!(host_pattern(bad).is_err(), "{bad:?}");
        }
        assert!(host_pattern(&"a".repeat(64)).is_err());
    }

    #[test]
    fn a_server_is_scheme_host_and_port() {
        let at = |host: &str, port| Ok(ServerAddress::Http(HostPort { host: host.to_owned(), port }));
        assert_eq!(server("http://127.0.0.1:5000"), at("127.0.0.1", 5000));
        assert_eq!(server("http://wiki.internal/"), at("wiki.internal", 80));
        assert_eq!(server("http://[::1]:8080"), at("::1", 8080));
        assert_eq!(server("http://[::1]"), at("::1", 80));
        let place = HostPort { host: "wiki.internal".to_owned(), port: 443 };
        assert_eq!(server("https://wiki.internal"), Ok(ServerAddress::Https(place)));
        let place = HostPort { host: "rpc.internal".to_owned(), port: 50051 };
        assert_eq!(server("h2c://rpc.internal:50051"), Ok(ServerAddress::H2c(place)));
        for bad in ["http://", "http://:80", "http://x:0", "http://x:99999", "http://x/y", "ftp://x", "x:80"]
        {
            assert!(server(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_server_may_have_a_weight() {
        let weight = |text: &str| weighted_server(text).map(|server| server.weight);
        assert_eq!((weight("http://a:1"), weight("http://a:1 weight=3")), (Ok(1), Ok(3)));
        assert_eq!(weight("unix:/run/a b.sock weight=100"), Ok(100));
        for bad in ["weight=0", "weight=101", "weight=", "weight=-1", "backup=1"] {
            assert!(weighted_server(&format!("http://a:1 {bad}")).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_socket_is_named_by_its_whole_path() {
        assert_eq!(server("unix:/run/wiki.sock"), Ok(ServerAddress::Unix("/run/wiki.sock".into())));
        let help = server("unix:///run/wiki.sock").unwrap_err().help;
        assert_eq!(help.as_deref(), Some("did you mean `unix:/run/wiki.sock`?"));
        let long = format!("unix:/{}", "a".repeat(SOCKET_LIMIT));
        for bad in ["unix:", "unix:wiki.sock", "unix:/", "unix:/run/", "unix:/a\0b", &long] {
            assert!(server(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_password_in_a_server_is_not_repeated() {
        for text in ["http://user:hunter2@host", "https://user:hunter2@host", "user:hunter2@host"] {
            let wrong = server(text).unwrap_err();
            assert!(!format!("{wrong:?}").contains("hunter2"), "{wrong:?}");
        }
    }

    #[test]
    fn a_host_header_may_have_a_port() {
        assert_eq!(host_and_port("Wiki.internal:8080").as_deref(), Ok("wiki.internal:8080"));
        assert_eq!(host_and_port("[::1]:80").as_deref(), Ok("[::1]:80"));
        assert!(host_and_port("wiki\r\nX: y").is_err());
    }

    proptest! {
        #[test]
        fn an_accepted_host_is_ascii_lower_case_and_stays_as_it_is(text in "\\PC{0,20}|[a-zA-Z0-9.*:-]{0,20}") {
            if let Ok(host) = host_name(&text) {
                prop_assert!(host.is_ascii() && host == host.to_ascii_lowercase() && !host.ends_with('.'));
                prop_assert_eq!(host_name(&host), Ok(host.clone()));
            }
            let _ = (socket(&text), network(&text), server(&text), host_pattern(&text));
        }
    }
}
