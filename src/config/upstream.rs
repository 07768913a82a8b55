//! `[[upstream]]`: the backends and how they are reached.
//!
//! Invariant: no two upstreams have one name, and none has that of the built-in page.

use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use http::uri::PathAndQuery;

use crate::proxy::{
    BackendTls, Balance, HeadLimits, HealthCheck, HostHeader, OwnCertificate, Protocol, ServerAddress,
    UpstreamConfig, WeightedServer,
};

use super::address::{host_and_port, host_name, weighted_server};
use super::path::file_in;
use super::problem::{Wrong, nearest, quoted};
use super::read::{Empty, Section, Zero};

/// The upstreams of a configuration.
pub(super) struct Upstreams {
    /// Those that could be read.
    pub(super) sound: Vec<UpstreamConfig>,
    /// The names of all, so that a mistake in an upstream is not reported again at its routes.
    pub(super) names: Vec<Name>,
}

/// The name of an upstream, and the line that gives it.
pub(super) struct Name {
    text: String,
    line: usize,
}

impl Upstreams {
    /// Checks that a route may name `text`.
    pub(super) fn find(&self, text: &str) -> Result<String, Wrong> {
        let names = || self.names.iter().map(|name| name.text.as_str());
        if text == BUILTIN || names().any(|name| name == text) {
            return Ok(text.to_owned());
        }
        let wrong = Wrong::new(format!("there is no upstream {}", quoted(text)));
        Err(match nearest(text, names()) {
            Some(near) => wrong.did_you_mean(near),
            None if self.names.is_empty() => wrong.help("add `[[upstream]]` with `name` and `servers`"),
            None => wrong.help(format!("defined: {}", names().map(quoted).collect::<Vec<_>>().join(", "))),
        })
    }
}

/// Reads every `[[upstream]]`; files are relative to `folder`.
pub(super) fn read(root: &mut Section<'_>, folder: &Path) -> Upstreams {
    let mut names = Vec::new();
    let read = root.each("upstream", |section| read_one(section, folder, &mut names));
    Upstreams { sound: read.into_iter().flatten().collect(), names }
}

fn read_one(section: &mut Section<'_>, folder: &Path, names: &mut Vec<Name>) -> Option<UpstreamConfig> {
    let name = section.required("name", "\"wiki\"", name);
    if let Some(name) = &name {
        note_name(section, name, names);
    }
    let servers = read_servers(section);
    let balance = section.one_of("balance", Balance::LeastRequests, &BALANCES, &[]);
    let host = section.text("host", host_header).unwrap_or(HostHeader::Preserve);
    let connect_timeout = section.duration("connect_timeout", Duration::from_secs(3), Zero::Refused);
    let response_timeout = section.duration("response_timeout", Duration::from_mins(1), Zero::Refused);
    let max_connections = section.integer("max_connections", 512, &(1..=1_000_000));
    let head_limits = read_head_limits(section);
    let tls = read_tls(section, folder, servers.as_deref());
    let health = read_health(section);
    Some(UpstreamConfig {
        name: name?,
        servers: servers?,
        tls,
        balance,
        host,
        connect_timeout,
        response_timeout,
        max_connections,
        head_limits,
        health,
    })
}

fn read_servers(section: &mut Section<'_>) -> Option<Vec<WeightedServer>> {
    let servers = section.list("servers", Empty::Allowed, weighted_server).unwrap_or_default();
    if !servers.is_empty() {
        return Some(servers);
    }
    if section.is_sound(&["servers"]) {
        let wrong = Wrong::new("an upstream has at least one server");
        section.refuse("servers", wrong.help("add `servers = [\"http://127.0.0.1:8080\"]`"));
    }
    None
}

/// What the servers can take; 0 where nobody knows.
fn read_head_limits(section: &mut Section<'_>) -> HeadLimits {
    let mut size = |key| usize::try_from(section.size(key, 0, &(0..=HEAD_LIMIT))).unwrap_or(0);
    HeadLimits { bytes: size("max_header_bytes"), line: size("max_header_line") }
}

/// How servers are asked whether they are well; they are not where `health` is left out.
fn read_health(section: &mut Section<'_>) -> Option<HealthCheck> {
    let is_given = section.gives("health");
    let check = section.within("health", |section| {
        let path = if is_given {
            section.required("path", "\"/healthz\"", check_path)
        } else {
            section.text("path", check_path)
        };
        let every = section.duration("every", Duration::from_secs(5), Zero::Refused);
        let timeout = section.duration("within", Duration::from_secs(2), Zero::Refused);
        let expect = section.text("expect", statuses).unwrap_or(200..=399);
        let rise = section.integer("rise", 2, &(1..=100));
        let fall = section.integer("fall", 3, &(1..=100));
        Some(HealthCheck { path: path?, every, timeout, expect, rise, fall })
    });
    check.filter(|_| is_given)
}

fn check_path(text: &str) -> Result<PathAndQuery, Wrong> {
    let path = text.parse::<PathAndQuery>().ok().filter(|_| text.starts_with('/') && !text.contains('#'));
    path.ok_or_else(|| {
        Wrong::new(format!("{} is not a path", quoted(text))).help("write it as in `/healthz`")
    })
}

/// Reads `200` or `200-399`.
fn statuses(text: &str) -> Result<RangeInclusive<u16>, Wrong> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let status = |text: &str| text.parse::<u16>().ok().filter(|status| (200..=599).contains(status));
    match (status(first), status(last)) {
        (Some(first), Some(last)) if first <= last => Ok(first..=last),
        _ => Err(Wrong::new(format!("{} are no statuses", quoted(text)))
            .help("write one, as in `204`, or the first and the last, as in `200-399`")),
    }
}

/// Whom to trust and what to show; there is no key to trust everybody.
fn read_tls(section: &mut Section<'_>, folder: &Path, servers: Option<&[WeightedServer]>) -> BackendTls {
    let protocol = read_protocol(section, servers);
    if section.gives("tls") && lacks_tls(servers) {
        let wrong = Wrong::new("none of the servers speaks TLS");
        section.refuse("tls", wrong.help("write them as in `https://10.0.0.5`, or leave `tls` out"));
    }
    section.within("tls", |section| {
        let authorities = section.text("ca", |text| file_in(folder, text));
        let server_name =
            section.text("server_name", host_name).map(|name| name.trim_matches(['[', ']']).to_owned());
        let cert = section.text("cert", |text| file_in(folder, text));
        let key = section.text("key", |text| file_in(folder, text));
        for (given, missing) in [("cert", "key"), ("key", "cert")] {
            if section.gives(given) && !section.gives(missing) {
                let wrong = Wrong::new(format!("it is of no use without `{missing}`"));
                section.refuse(given, wrong.help(format!("add `{missing}`, or leave `{given}` out")));
            }
        }
        let own = cert.zip(key).map(|(cert, key)| OwnCertificate { cert, key });
        BackendTls { authorities, server_name, own, protocol }
    })
}

/// What TLS servers are offered; the others say it by their scheme.
fn read_protocol(section: &mut Section<'_>, servers: Option<&[WeightedServer]>) -> Protocol {
    if section.gives("protocol") && lacks_tls(servers) {
        let wrong = Wrong::new("none of the servers speaks TLS, which is where a protocol is chosen");
        section.refuse(
            "protocol",
            wrong.help("write `h2c://` for HTTP/2 in clear text, `http://` for HTTP/1.1"),
        );
    }
    section.one_of("protocol", Protocol::Http1, &PROTOCOLS, &[])
}

/// Whether there are servers, and none of them speaks TLS.
fn lacks_tls(servers: Option<&[WeightedServer]>) -> bool {
    let is_https = |server: &WeightedServer| matches!(server.address, ServerAddress::Https(_));
    servers.is_some_and(|servers| !servers.iter().any(is_https))
}

fn note_name(section: &mut Section<'_>, text: &str, names: &mut Vec<Name>) {
    if let Some(first) = names.iter().find(|name| name.text == text) {
        let wrong = Wrong::new(format!("there is another upstream `{text}` (line {})", first.line));
        section.refuse("name", wrong.help("give each its own name, or one upstream all the servers"));
        return;
    }
    let line = section.place_of("name").map_or(0, |place| place.line);
    names.push(Name { text: text.to_owned(), line });
}

fn name(text: &str) -> Result<String, Wrong> {
    if text == BUILTIN {
        return Err(Wrong::new("`builtin` is the name of the built-in page").help("choose another name"));
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if text.is_empty() || text.len() > NAME_LIMIT || !text.bytes().all(allowed) {
        return Err(Wrong::new(format!("{} is not a name for an upstream", quoted(text)))
            .help("write up to 64 letters, digits or `-_.`"));
    }
    Ok(text.to_owned())
}

fn host_header(text: &str) -> Result<HostHeader, Wrong> {
    match text {
        "preserve" => return Ok(HostHeader::Preserve),
        "upstream" => return Ok(HostHeader::Upstream),
        _ => {}
    }
    if let Some(near) = nearest(text, ["preserve", "upstream"]) {
        let wrong = Wrong::new(format!("{} is neither a known word nor a host", quoted(text)));
        return Err(wrong.did_you_mean(near));
    }
    host_and_port(text).map(HostHeader::Literal)
}

/// The upstream that needs no definition: a page that shows what a backend would get.
const BUILTIN: &str = "builtin";

const BALANCES: [(&str, Balance); 3] = [
    ("round-robin", Balance::RoundRobin),
    ("least-requests", Balance::LeastRequests),
    ("sticky", Balance::Sticky),
];

const PROTOCOLS: [(&str, Protocol); 3] =
    [("http1", Protocol::Http1), ("http2", Protocol::Http2), ("auto", Protocol::Auto)];

const NAME_LIMIT: usize = 64;

/// No larger head ever comes through `server.limits.header_bytes`.
const HEAD_LIMIT: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::Config;

    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        let text = format!("[[tls.certificate]]\ncert = \"c\"\nkey = \"k\"\n{text}");
        Config::parse(&text, Path::new("v.toml")).map_err(|problems| problems.to_string())
    }

    #[test]
    fn the_built_in_page_needs_no_definition() {
        let config = parse("[[route]]\nupstream = \"builtin\"").unwrap();
        assert!(config.upstreams.is_empty());
    }

    #[test]
    fn a_mistake_in_an_upstream_is_not_reported_again_at_its_routes() {
        let text = "[[upstream]]\nname = \"a\"\nservers = [\"x\"]\n[[route]]\nupstream = \"a\"";
        assert_eq!(parse(text).unwrap_err().lines().count(), 1);
    }

    #[test]
    fn an_upstream_that_no_route_names_is_no_mistake() {
        let text = "[[upstream]]\nname = \"a\"\nservers = [\"http://x\"]\n[[route]]\nupstream = \"builtin\"";
        assert_eq!(parse(text).unwrap().upstreams.len(), 1);
    }

    #[test]
    fn the_host_header_is_a_word_or_a_name() {
        assert_eq!(host_header("preserve"), Ok(HostHeader::Preserve));
        assert_eq!(host_header("upstream"), Ok(HostHeader::Upstream));
        let literal = HostHeader::Literal("wiki.internal:8080".to_owned());
        assert_eq!(host_header("wiki.internal:8080"), Ok(literal));
        assert!(host_header("presreve").is_err() && host_header("a b").is_err());
    }
}
