//! `[[route]]`: host and path prefix, and the rule that holds there.
//!
//! Invariant: no two routes have the same host and path, and no key of a route is without effect,
//! since a rule that looks stricter than it is lets the wrong people in.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use http::Method;

use crate::gateway::{Access, Activity, Demand, HostPattern, Route, Second, Who};
use crate::identity::{Group, NameError, UserId};

use super::address::{host_pattern, network};
use super::handling;
use super::hours;
use super::path::{is_within, prefix};
use super::problem::{Wrong, quoted};
use super::read::{Empty, Section, Zero};
use super::report_only;
use super::upstream::Upstreams;

/// Reads every `[[route]]`; `portal` is the path of the gateway's own pages.
pub(super) fn read(root: &mut Section<'_>, upstreams: &Upstreams, portal: &str) -> Vec<Arc<Route>> {
    let mut seen = HashMap::new();
    let routes = root.each("route", |section| {
        let route = read_one(section, upstreams);
        check_place(section, &route, portal, &mut seen);
        let route = Route { report_only: report_only::read(section, &route), ..route };
        Arc::new(route)
    });
    if routes.is_empty() && root.is_sound(&["route"]) {
        let wrong = Wrong::new("there is no route, so every request would get a 404");
        root.refuse("route", wrong.help("add `[[route]]` with `upstream` and `access`"));
    }
    routes
}

/// The values of `access`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Deny,
    Public,
    Optional,
    Login,
}

fn read_one(section: &mut Section<'_>, upstreams: &Upstreams) -> Route {
    let host = section.text("host", host_pattern).unwrap_or(HostPattern::Any);
    let path = section.text("path", prefix).unwrap_or_else(|| "/".to_owned());
    let upstream = section.text("upstream", |text| upstreams.find(text));
    let handling = handling::read(section, &path, upstream.as_deref());
    let level = section.one_of("access", Level::Login, &LEVELS, &[]);
    let users = section.list("users", Empty::Refused, user).unwrap_or_default();
    let groups = section.list("groups", Empty::Refused, group).unwrap_or_default();
    let methods = section.list("methods", Empty::Refused, method).unwrap_or_default();
    let networks = section.list("networks", Empty::Refused, network).unwrap_or_default();
    let activity = section.one_of("activity", Activity::Any, &ACTIVITIES, &[]);
    let demand = read_demand(section);
    let hours = hours::read(section).map(Arc::new);
    check_upstream(section, level);
    check_effects(section, level);
    let access = access(level, Who { users, groups });
    let line = section.place().map_or(0, |place| place.line);
    Route {
        host,
        path,
        upstream,
        access,
        methods,
        networks,
        demand,
        hours,
        report_only: Vec::new(),
        activity,
        handling,
        line,
    }
}

fn read_demand(section: &mut Section<'_>) -> Demand {
    let flag = |asked| if asked { Second::Any } else { Second::NotAsked };
    let second = section.flag_or("mfa", flag, passkey).unwrap_or_default();
    let fresh = section.duration("fresh", Duration::from_mins(5), Zero::Refused);
    Demand { second, fresh: section.gives("fresh").then_some(fresh) }
}

fn passkey(text: &str) -> Result<Second, Wrong> {
    match text {
        "passkey" if cfg!(feature = "passkeys") => Ok(Second::Passkey),
        "passkey" => Err(Wrong::new("this program was built without passkeys")
            .help("write `true` for any second factor, or build it with `--features passkeys`")),
        _ => {
            Err(Wrong::new(format!("{} is no second factor", quoted(text)))
                .help("write `true` for any of them"))
        }
    }
}

fn access(level: Level, who: Who) -> Access {
    match level {
        Level::Deny => Access::Deny,
        Level::Public => Access::Public,
        Level::Optional => Access::Optional,
        Level::Login => Access::Login(who),
    }
}

fn check_upstream(section: &mut Section<'_>, level: Level) {
    let is_needed = level != Level::Deny && !handling::FIXED.iter().any(|key| section.gives(key));
    if is_needed && !section.gives("upstream") && section.is_sound(&["access"]) {
        let wrong = Wrong::new("it is missing, and only `access = \"deny\"` needs no upstream");
        section.refuse("upstream", wrong.help("name an upstream, or `builtin` for the built-in page"));
    }
}

/// SECURITY: who writes `groups` on a public route believes that it is not public.
fn check_effects(section: &mut Section<'_>, level: Level) {
    if !section.is_sound(&["access"]) {
        return;
    }
    let (idle_keys, why): (&[&[_]], _) = match level {
        Level::Login => return,
        Level::Optional => (&[&["users", "groups", "mfa", "fresh"]], "nobody needs to log in"),
        Level::Public => {
            let keys = &["users", "groups", "mfa", "fresh", "activity", "no_store", "expiry_notice"];
            (&[keys], "nobody needs to log in")
        }
        Level::Deny => (&[&OF_PASSING, &handling::KEYS], "nobody passes"),
    };
    let level = LEVELS.iter().find(|(_, other)| *other == level).map_or("", |(name, _)| *name);
    let given: Vec<_> = idle_keys.iter().copied().flatten().filter(|key| section.gives(key)).collect();
    for key in given {
        let wrong = Wrong::new(format!("it has no effect, since with `access = \"{level}\"` {why}"));
        section.refuse(key, wrong.help("use `access = \"login\"`, or leave the key out"));
    }
}

fn check_place(
    section: &mut Section<'_>,
    route: &Route,
    portal: &str,
    seen: &mut HashMap<(HostPattern, String), usize>,
) {
    if !section.is_sound(&["host", "path"]) {
        return;
    }
    if is_within(&route.path, portal) {
        let wrong = Wrong::new(format!("`{portal}` and what is below it are the gateway's own pages"));
        section.refuse("path", wrong.help("choose another path, or move the pages with `portal.path`"));
    }
    match seen.entry((route.host.clone(), route.path.clone())) {
        Entry::Vacant(entry) => {
            entry.insert(route.line);
        }
        Entry::Occupied(first) => {
            let wrong = Wrong::new(format!("the route of line {} has the same host and path", first.get()));
            section.refuse("path", wrong.help("leave one of them out"));
        }
    }
}

fn user(text: &str) -> Result<UserId, Wrong> {
    UserId::try_from(text).map_err(|error| name_error(text, "user", error))
}

/// The name of a group.
pub(super) fn group(text: &str) -> Result<Group, Wrong> {
    Group::try_from(text).map_err(|error| name_error(text, "group", error))
}

fn name_error(text: &str, noun: &str, error: NameError) -> Wrong {
    Wrong::new(format!("{} cannot be the name of a {noun}: {error}", quoted(text)))
}

fn method(text: &str) -> Result<Method, Wrong> {
    let upper = text.to_ascii_uppercase();
    if upper != text && STANDARD_METHODS.contains(&upper.as_str()) {
        // RFC 9110, section 9.1: methods are case-sensitive.
        return Err(Wrong::new(format!("methods are case-sensitive, and {} is none", quoted(text)))
            .did_you_mean(&upper));
    }
    Method::from_bytes(text.as_bytes()).map_err(|_| {
        Wrong::new(format!("{} is not a method", quoted(text))).help("write one word, as in `GET`")
    })
}

const LEVELS: [(&str, Level); 4] = [
    ("deny", Level::Deny),
    ("public", Level::Public),
    ("optional", Level::Optional),
    ("login", Level::Login),
];

/// What says who of many may pass.
const OF_PASSING: [&str; 10] = [
    "users",
    "groups",
    "mfa",
    "fresh",
    "methods",
    "networks",
    "hours",
    "time_zone",
    "report_only",
    "activity",
];

const ACTIVITIES: [(&str, Activity); 2] = [("any", Activity::Any), ("navigation", Activity::Navigation)];

const STANDARD_METHODS: [&str; 9] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"];

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
    fn a_route_that_says_only_where_to_asks_everybody_to_log_in() {
        let config = parse("[[route]]\nupstream = \"builtin\"").unwrap();
        let route = config.gateway.routes.first().unwrap();
        assert_eq!((&route.host, route.path.as_str(), route.line), (&HostPattern::Any, "/", 4));
        assert_eq!(route.access, Access::Login(Who::default()));
    }

    #[test]
    fn a_denied_path_needs_no_upstream() {
        let config = parse("[[route]]\npath = \"/x/\"\naccess = \"deny\"").unwrap();
        let route = config.gateway.routes.first().unwrap();
        assert_eq!((route.path.as_str(), &route.upstream), ("/x", &None));
    }

    #[test]
    fn two_routes_on_one_line_are_still_two() {
        let text = "route = [{ upstream = \"builtin\" }, { upstream = \"builtin\" }]";
        let problems = Config::parse(text, Path::new("v.toml")).unwrap_err();
        assert!(problems.to_string().contains("the route of line 1 has the same host and path"));
    }

    #[test]
    fn a_broken_path_is_not_taken_for_the_root() {
        let text = "[[route]]\nupstream = \"builtin\"\n[[route]]\npath = \"x\"\nupstream = \"builtin\"";
        assert_eq!(parse(text).unwrap_err().lines().count(), 1);
    }

    #[test]
    fn a_method_may_be_any_token_but_not_a_standard_one_in_small_letters() {
        assert!(method("GET").is_ok() && method("PROPFIND").is_ok() && method("x-own").is_ok());
        assert!(method("get").is_err() && method("").is_err() && method("GET ").is_err());
    }
}
