//! `[server]` and `[server.limits]`: listeners, workers and the bounds of a connection.
//!
//! Invariant: the limits accepted here are ones that the HTTP implementation can keep.

use std::net::SocketAddr;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use ipnet::IpNet;

use crate::proxy::ForwardedBy;
use crate::server::{Config, Limits, TlsConfig};

use super::address::{network, socket};
use super::path::file_in;
use super::problem::Wrong;
use super::read::{Empty, Section, Zero};

/// What `[server]` says, of which some is for other rooms.
pub(super) struct Server {
    https: Vec<SocketAddr>,
    http: Vec<SocketAddr>,
    workers: usize,
    proxy_protocol: bool,
    max_connections: usize,
    drain: Duration,
    limits: Limits,
    connections_per_address: u32,
    pub(super) trusted_proxies: Vec<IpNet>,
    pub(super) forwarded_by: ForwardedBy,
    pub(super) state_dir: PathBuf,
}

impl Server {
    pub(super) fn into_config(self, tls: TlsConfig) -> Config {
        Config {
            https: self.https,
            http: self.http,
            workers: self.workers,
            proxy_protocol: self.proxy_protocol,
            max_connections: self.max_connections,
            connections_per_address: self.connections_per_address,
            drain: self.drain,
            limits: self.limits,
            tls,
        }
    }

    /// The key of the listener that has `address` for itself, if one has.
    pub(super) fn listener(&self, address: SocketAddr) -> Option<&'static str> {
        let at = |listeners: &[SocketAddr]| address.port() != 0 && listeners.contains(&address);
        match (at(&self.https), at(&self.http)) {
            (true, _) => Some("server.https"),
            (_, true) => Some("server.http"),
            _ => None,
        }
    }
}

/// Reads `[server]`; `folder` is that of the configuration file.
pub(super) fn read(root: &mut Section<'_>, folder: &Path) -> Server {
    root.within("server", |section| {
        let https = section
            .list("https", Empty::Refused, socket)
            .unwrap_or_else(|| vec![SocketAddr::from(([0_u16; 8], HTTPS_PORT))]);
        let http = read_http(section, &https);
        let (limits, connections_per_address) =
            section.within("limits", |limits| (read_limits(limits), read_connections(limits)));
        let trusted_proxies = read_trusted_proxies(section);
        Server {
            https,
            http,
            workers: read_workers(section),
            max_connections: section.integer("max_connections", 50_000, &(1..=10_000_000)),
            proxy_protocol: read_proxy_protocol(section, &trusted_proxies),
            forwarded_by: read_forwarded_by(section, &trusted_proxies),
            trusted_proxies,
            drain: section.duration("drain", Duration::from_secs(30), Zero::Allowed),
            state_dir: section
                .text("state_dir", |text| file_in(folder, text))
                .unwrap_or_else(|| PathBuf::from("/var/lib/vestibule")),
            limits,
            connections_per_address,
        }
    })
}

fn read_http(section: &mut Section<'_>, https: &[SocketAddr]) -> Vec<SocketAddr> {
    let parse = |text: &str| match socket(text)? {
        taken if taken.port() != 0 && https.contains(&taken) => {
            Err(Wrong::new(format!("`{taken}` is also in `server.https`")).help("give each its own port"))
        }
        address => Ok(address),
    };
    section.list("http", Empty::Allowed, parse).unwrap_or_default()
}

fn read_workers(section: &mut Section<'_>) -> usize {
    match section.integer("workers", 0, &(0..=1024)) {
        0 => thread::available_parallelism().map_or(1, NonZero::get),
        workers => workers,
    }
}

fn read_trusted_proxies(section: &mut Section<'_>) -> Vec<IpNet> {
    let parse = |text: &str| {
        let network = network(text)?;
        // SECURITY: with everybody trusted, every client may claim every address, and per-address
        // throttling and `networks` mean nothing.
        if network.prefix_len() == 0 {
            return Err(Wrong::new(format!("`{network}` would let every client claim any address"))
                .help("name the networks of your own proxies only"));
        }
        Ok(network)
    };
    section.list("trusted_proxies", Empty::Allowed, parse).unwrap_or_default()
}

fn read_forwarded_by(section: &mut Section<'_>, trusted: &[IpNet]) -> ForwardedBy {
    let is_idle =
        section.gives("forwarded_by") && trusted.is_empty() && section.is_sound(&["trusted_proxies"]);
    let by = section.one_of("forwarded_by", ForwardedBy::default(), &ForwardedBy::ALL, &[]);
    if is_idle && section.is_sound(&["forwarded_by"]) {
        let wrong = Wrong::new("nobody is in `server.trusted_proxies`, so neither field is believed");
        section.refuse("forwarded_by", wrong.help("name your load balancers there, or leave it out"));
    }
    by
}

/// SECURITY: whose header is believed may claim any address, so it must be said who may.
fn read_proxy_protocol(section: &mut Section<'_>, trusted: &[IpNet]) -> bool {
    let on = section.flag("proxy_protocol", false);
    if on && trusted.is_empty() && section.is_sound(&["trusted_proxies"]) {
        let wrong = Wrong::new("nobody is in `server.trusted_proxies`, so every connection would be refused");
        section.refuse("proxy_protocol", wrong.help("name your load balancers there"));
    }
    on
}

fn read_connections(section: &mut Section<'_>) -> u32 {
    section.integer("connections_per_address", 10_000, &(1..=10_000_000))
}

fn read_limits(section: &mut Section<'_>) -> Limits {
    let mut seconds = |key, default| section.duration(key, Duration::from_secs(default), Zero::Refused);
    let handshake = seconds("handshake", 10);
    let request_head = seconds("request_head", 10);
    let keep_alive = seconds("keep_alive", 75);
    let body_stall = seconds("body_stall", 30);
    let header_bytes = section.size("header_bytes", 64 << 10, &(MIN_HEADER_BYTES..=1 << 20));
    Limits {
        handshake,
        request_head,
        keep_alive,
        body_stall,
        min_rate: section.size("min_rate", 240, &(0..=1 << 40)),
        header_bytes: usize::try_from(header_bytes).unwrap_or(usize::MAX),
        rest_after: REST_AFTER,
        header_count: section.integer("header_count", 100, &(16..=4096)),
        body_bytes: Some(section.size("body_bytes", 0, &(0..=u64::MAX))).filter(|bytes| *bytes > 0),
        streams: section.integer("streams", 100, &(1..=10_000)),
    }
}

const HTTPS_PORT: u16 = 443;

/// The least buffer that hyper reads a request head into.
const MIN_HEADER_BYTES: u64 = 8 << 10;

/// Browsers ask for what a page needs within this time.
const REST_AFTER: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::Config;

    fn parse(text: &str) -> Result<Config, String> {
        let text = format!(
            "[[tls.certificate]]\ncert = \"c\"\nkey = \"k\"\n[[route]]\nupstream = \"builtin\"\n{text}"
        );
        Config::parse(&text, Path::new("v.toml")).map_err(|problems| problems.to_string())
    }

    #[test]
    fn there_is_always_a_worker() {
        assert!(parse("[server]\nworkers = 0").unwrap().server.workers >= 1);
        assert_eq!(parse("[server]\nworkers = 3").unwrap().server.workers, 3);
    }

    #[test]
    fn listeners_on_a_port_of_the_systems_choice_do_not_collide() {
        let text = "[server]\nhttps = [\"127.0.0.1:0\"]\nhttp = [\"127.0.0.1:0\"]\n[admin]\nlisten = \"127.0.0.1:0\"";
        assert!(parse(text).is_ok());
    }

    #[test]
    fn a_body_without_a_limit_is_none() {
        assert_eq!(parse("").unwrap().server.limits.body_bytes, None);
        assert_eq!(parse("").unwrap().server.limits.min_rate, 240);
        let config = parse("[server.limits]\nbody_bytes = \"10MiB\"").unwrap();
        assert_eq!(config.server.limits.body_bytes, Some(10 << 20));
    }

    #[test]
    fn a_proxy_may_be_named_by_its_bare_address() {
        let config = parse("[server]\ntrusted_proxies = [\"10.0.0.1\"]").unwrap();
        assert_eq!(config.gateway.trusted_proxies, ["10.0.0.1/32".parse().unwrap()]);
    }

    #[test]
    fn the_admin_listener_can_be_turned_off_and_collides_with_no_other() {
        assert_eq!(parse("[admin]\nlisten = \"off\"").unwrap().admin.listen, None);
        let problems = parse("[server]\nhttp = [\"127.0.0.1:9443\"]\n[admin]\nlisten = \"127.0.0.1:9443\"");
        assert!(problems.unwrap_err().contains("admin.listen: `127.0.0.1:9443` is also in `server.http`"));
    }
}
