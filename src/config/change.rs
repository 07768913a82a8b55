//! What a reload changes, and which of it needs a restart instead.
//!
//! Invariant: a section that differs is always in [`Change::changed`], so a reload that changed
//! something never reports that nothing changed.

use crate::gateway::Route;
use crate::login::accounts::Place;

use super::Config;

/// The difference between two configurations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// The sections that differ, by their names in the file.
    pub changed: Vec<&'static str>,
    /// The dotted keys among them that keep their old value until the gateway is started again.
    pub restart_needed: Vec<&'static str>,
}

impl Change {
    /// Compares what runs with what a reload would bring.
    #[must_use]
    pub fn between(old: &Config, new: &Config) -> Self {
        let differing = |fields: &[Field]| {
            fields.iter().filter(|(_, differs)| differs(old, new)).map(|(key, _)| *key).collect()
        };
        Self { changed: differing(&SECTIONS), restart_needed: differing(&RESTART) }
    }

    /// Whether nothing differs.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.changed.is_empty()
    }
}

/// A name and whether what it names differs.
type Field = (&'static str, fn(&Config, &Config) -> bool);

const SECTIONS: [Field; 12] = [
    ("server", |old, new| {
        let tls = &old.server.tls;
        let server = crate::server::Config { tls: tls.clone(), ..new.server.clone() };
        old.server != server
            || old.state_dir != new.state_dir
            || old.gateway.trusted_proxies != new.gateway.trusted_proxies
            || old.gateway.forwarded_by != new.gateway.forwarded_by
    }),
    ("tls", |old, new| old.server.tls != new.server.tls),
    ("keys", |old, new| old.keys != new.keys),
    ("session", |old, new| old.session != new.session),
    ("login", |old, new| old.login != new.login),
    ("upstream", |old, new| old.upstreams != new.upstreams),
    ("route", |old, new| !same_routes(old, new)),
    ("identity", |old, new| old.gateway.identity != new.gateway.identity),
    ("headers", |old, new| old.gateway.headers != new.gateway.headers),
    ("admin", |old, new| old.admin != new.admin),
    ("log", |old, new| old.telemetry != new.telemetry),
    ("portal", |old, new| old.portal != new.portal),
];

/// What sockets, threads, TLS and open files were made from. `body_stall` and `body_bytes` are not
/// here, as they are asked for with each request; nor is `drain`, which is asked for on stop.
const RESTART: [Field; 23] = [
    ("server.https", |old, new| old.server.https != new.server.https),
    ("server.http", |old, new| old.server.http != new.server.http),
    ("server.proxy_protocol", |old, new| old.server.proxy_protocol != new.server.proxy_protocol),
    ("server.workers", |old, new| old.server.workers != new.server.workers),
    ("server.max_connections", |old, new| old.server.max_connections != new.server.max_connections),
    ("server.state_dir", |old, new| old.state_dir != new.state_dir),
    ("server.limits.connections_per_address", |old, new| {
        old.server.connections_per_address != new.server.connections_per_address
    }),
    ("server.limits.handshake", |old, new| old.server.limits.handshake != new.server.limits.handshake),
    ("server.limits.request_head", |old, new| {
        old.server.limits.request_head != new.server.limits.request_head
    }),
    ("server.limits.keep_alive", |old, new| old.server.limits.keep_alive != new.server.limits.keep_alive),
    // For uploads it holds at once; connections keep what they know of their readers.
    ("server.limits.min_rate", |old, new| old.server.limits.min_rate != new.server.limits.min_rate),
    ("server.limits.header_bytes", |old, new| {
        old.server.limits.header_bytes != new.server.limits.header_bytes
    }),
    ("server.limits.header_count", |old, new| {
        old.server.limits.header_count != new.server.limits.header_count
    }),
    ("server.limits.streams", |old, new| old.server.limits.streams != new.server.limits.streams),
    ("tls.min_version", |old, new| old.server.tls.min_version != new.server.tls.min_version),
    ("session.store", |old, new| old.session.store != new.session.store),
    ("login.password.users", |old, new| old.login.users != new.login.users),
    // Accounts in a database have them beside them.
    ("login.factors", |old, new| {
        matches!(new.login.users, Place::Declared(_)) && old.login.factors != new.login.factors
    }),
    ("admin.socket", |old, new| old.admin.socket != new.admin.socket),
    ("admin.listen", |old, new| old.admin.listen != new.admin.listen),
    ("log.format", |old, new| old.telemetry.format != new.telemetry.format),
    ("log.access", |old, new| old.telemetry.access != new.telemetry.access),
    ("log.audit", |old, new| old.telemetry.audit != new.telemetry.audit),
];

/// A route that only moved to another line of the file is the same route.
fn same_routes(old: &Config, new: &Config) -> bool {
    let (old, new) = (&old.gateway.routes, &new.gateway.routes);
    let same = |(old, new): (&Route, &Route)| *old == Route { line: old.line, ..new.clone() };
    let pairs = || old.iter().map(|route| &**route).zip(new.iter().map(|route| &**route));
    old.len() == new.len() && pairs().all(same)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    fn config(text: &str) -> Config {
        Config::parse(text, Path::new("/etc/vestibule/vestibule.toml")).unwrap()
    }

    fn change(from: &str, to: &str) -> Change {
        assert!(FULL.contains(from), "{from}");
        Change::between(&config(FULL), &config(&FULL.replace(from, to)))
    }

    #[test]
    fn the_same_text_changes_nothing() {
        assert!(Change::between(&config(FULL), &config(FULL)).is_empty());
    }

    #[test]
    fn a_new_certificate_is_taken_over_at_once() {
        let change = change("gateway.pem", "renewed.pem");
        assert_eq!((change.changed, change.restart_needed), (vec!["tls"], vec![]));
    }

    #[test]
    fn another_listener_needs_a_restart_and_says_which_key() {
        let change = change("8443", "9000");
        assert_eq!((change.changed, change.restart_needed), (vec!["server"], vec!["server.https"]));
    }

    #[test]
    fn another_state_folder_names_everything_that_lies_in_it() {
        let change = change("state_dir = \"state\"", "state_dir = \"elsewhere\"");
        let expected =
            ["server.state_dir", "session.store", "login.password.users", "admin.socket", "log.audit"];
        assert_eq!(change.restart_needed, expected);
    }

    #[test]
    fn another_place_for_the_factors_of_declared_accounts_needs_a_restart() {
        let login = "[login]\nfactors = \"sqlite:one.db\"\n[login.password]\nusers = \"file:users.toml\"\n";
        let declared = FULL.replace("[login.throttle]", &format!("{login}[login.throttle]"));
        let change = Change::between(&config(&declared), &config(&declared.replace("one.db", "two.db")));
        assert_eq!((change.changed, change.restart_needed), (vec!["login"], vec!["login.factors"]));
    }

    #[test]
    fn limits_of_a_body_are_taken_over_at_once_and_those_of_a_head_are_not() {
        assert!(change("body_stall = \"30s\"", "body_stall = \"31s\"").restart_needed.is_empty());
        let change = change("header_count = 100", "header_count = 128");
        assert_eq!(change.restart_needed, ["server.limits.header_count"]);
    }

    #[test]
    fn a_route_that_only_moves_to_another_line_does_not_change() {
        assert!(change("[[upstream]]", "\n\n# a comment\n[[upstream]]").is_empty());
        assert_eq!(change("access = \"login\"", "access = \"public\"").changed, ["route"]);
    }

    #[test]
    fn each_section_is_named_when_it_changes() {
        let cases = [
            ("\"10.0.0.9\"", "\"10.0.0.1\"", "server"),
            ("forwarded_by = \"either\"", "forwarded_by = \"forwarded\"", "server"),
            ("drain = \"30s\"", "drain = \"31s\"", "server"),
            ("keys.toml", "ring.toml", "keys"),
            ("idle = \"30m\"", "idle = \"31m\"", "session"),
            ("10 in 10m", "11 in 10m", "login"),
            ("10.0.0.5", "10.0.0.6", "upstream"),
            ("X-User-Id", "X-User", "identity"),
            ("compatible", "strict", "headers"),
            ("9443", "9444", "admin"),
            ("format = \"text\"", "format = \"json\"", "log"),
            ("/.vestibule", "/.gate", "portal"),
        ];
        for (from, to, section) in cases {
            assert_eq!(change(from, to).changed, [section], "{from}");
        }
    }

    #[test]
    fn every_key_that_needs_a_restart_is_a_key_of_the_file() {
        let known: BTreeSet<String> = crate::config::known_keys().into_iter().collect();
        for (key, _) in RESTART {
            assert!(known.contains(key), "{key}");
        }
    }

    const FULL: &str = r#"
[server]
https = ["127.0.0.1:8443"]
trusted_proxies = ["10.0.0.9"]
forwarded_by = "either"
drain = "30s"
state_dir = "state"
[server.limits]
body_stall = "30s"
header_count = 100
[[tls.certificate]]
cert = "gateway.pem"
key = "gateway.key"
[keys]
file = "keys.toml"
[session]
idle = "30m"
[login.throttle]
per_account = "10 in 10m"
[[upstream]]
name = "wiki"
servers = ["http://10.0.0.5:8080"]
[[route]]
upstream = "wiki"
access = "login"
[identity]
user = "X-User-Id"
[headers]
profile = "compatible"
[admin]
listen = "127.0.0.1:9443"
[log]
format = "text"
[portal]
path = "/.vestibule"
"#;
}
