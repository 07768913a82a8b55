//! Host and path to route: the longest match wins, never the order in the file.
//!
//! Routes of the exact host come first, then those of `*.` patterns from the longest to the
//! shortest, then those without a host; within each the longest path prefix. A lookup costs as much
//! as the request has path segments and host labels, however many routes there are.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Access, HostPattern, Route};
use crate::proxy::Upstream;

/// A route with the upstream that it names.
#[derive(Debug)]
pub struct Place {
    /// The rule.
    pub route: Arc<Route>,
    /// Where allowed requests go.
    pub backend: Backend,
}

/// Where the allowed requests of a route go.
#[derive(Clone, Debug)]
pub enum Backend {
    /// Nowhere: nobody is allowed.
    None,
    /// To the built-in page.
    BuiltIn,
    /// To these servers.
    Upstream(Arc<Upstream>),
}

impl Backend {
    /// Whether both are the servers of one upstream.
    #[must_use]
    pub fn is_same_as(&self, other: &Self) -> bool {
        matches!((self, other), (Self::Upstream(one), Self::Upstream(two)) if Arc::ptr_eq(one, two))
    }
}

/// All routes of a gateway.
#[derive(Debug, Default)]
pub struct RouteTable {
    exact: HashMap<String, Paths>,
    below: HashMap<String, Paths>,
    any: Paths,
}

impl RouteTable {
    /// A table of `places`; `config` has refused duplicates.
    pub fn new(places: impl IntoIterator<Item = Place>) -> Self {
        let mut table = Self::default();
        for place in places {
            let paths = match &place.route.host {
                HostPattern::Any => &mut table.any,
                HostPattern::Exact(host) => table.exact.entry(host.clone()).or_default(),
                HostPattern::Below(parent) => table.below.entry(parent.clone()).or_default(),
            };
            paths.insert(place);
        }
        table
    }

    /// The route for a canonical host and path.
    #[must_use]
    pub fn find<'a>(&'a self, host: &'a str, path: &str) -> Option<&'a Arc<Place>> {
        self.tables(host).find_map(|paths| paths.find(path))
    }

    /// Whether every route that this host could meet is open to everybody and hands paths on as they
    /// are, so that it does not matter how they are read.
    #[must_use]
    pub fn is_open(&self, host: &str) -> bool {
        self.tables(host).all(|paths| paths.restricted == 0)
    }

    fn tables<'a>(&'a self, host: &'a str) -> impl Iterator<Item = &'a Paths> {
        let below = host.match_indices('.').filter_map(move |(at, _)| {
            let parent = host.get(at + 1..)?;
            self.below.get(parent)
        });
        self.exact.get(host).into_iter().chain(below).chain(std::iter::once(&self.any))
    }
}

/// The path prefixes of one host pattern.
#[derive(Debug, Default)]
struct Paths {
    by_prefix: HashMap<String, Arc<Place>>,
    longest: usize,
    restricted: usize,
}

impl Paths {
    fn insert(&mut self, place: Place) {
        let is_open = matches!(place.route.access, Access::Public)
            && place.route.methods.is_empty()
            && place.route.networks.is_empty()
            && place.route.hours.is_none()
            && !place.route.handling.needs_one_reading();
        self.restricted += usize::from(!is_open);
        self.longest = self.longest.max(place.route.path.len());
        self.by_prefix.insert(place.route.path.clone(), Arc::new(place));
    }

    fn find(&self, path: &str) -> Option<&Arc<Place>> {
        // A border beyond the longest prefix cannot match.
        let reach = path.floor_char_boundary(self.longest + 1);
        let mut prefix = if reach == path.len() { path } else { path.get(..path.get(..reach)?.rfind('/')?)? };
        loop {
            if let Some(place) = self.by_prefix.get(prefix) {
                return Some(place);
            }
            match prefix.rfind('/') {
                Some(0) | None => return self.by_prefix.get("/"),
                Some(border) => prefix = prefix.get(..border)?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(host: HostPattern, path: &str, access: Access) -> Place {
        let route = Route {
            host,
            path: path.to_owned(),
            upstream: None,
            access,
            methods: Vec::new(),
            networks: Vec::new(),
            demand: super::super::Demand::default(),
            hours: None,
            report_only: Vec::new(),
            activity: crate::gateway::Activity::Any,
            handling: crate::gateway::handling::Handling::default(),
            line: 1,
        };
        Place { route: Arc::new(route), backend: Backend::None }
    }

    fn table(routes: &[(&str, &str)]) -> RouteTable {
        RouteTable::new(routes.iter().map(|&(host, path)| {
            let host = match host.strip_prefix("*.") {
                Some(parent) => HostPattern::Below(parent.to_owned()),
                None if host.is_empty() => HostPattern::Any,
                None => HostPattern::Exact(host.to_owned()),
            };
            place(host, path, Access::Login(super::super::Who::default()))
        }))
    }

    fn found(table: &RouteTable, host: &str, path: &str) -> Option<(HostPattern, String)> {
        table.find(host, path).map(|place| (place.route.host.clone(), place.route.path.clone()))
    }

    #[test]
    fn the_longest_prefix_on_a_segment_border_wins() {
        let table = table(&[("", "/"), ("", "/x"), ("", "/x/y")]);
        for (path, expected) in [
            ("/", "/"),
            ("/xy", "/"),
            ("/x", "/x"),
            ("/x/", "/x"),
            ("/x/yz", "/x"),
            ("/x/y", "/x/y"),
            ("/x/y/", "/x/y"),
            ("/x/y/z/w", "/x/y"),
        ] {
            assert_eq!(found(&table, "any", path).unwrap().1, expected, "{path}");
        }
    }

    #[test]
    fn the_most_exact_host_wins() {
        let table = table(&[("", "/"), ("*.b.c", "/"), ("*.c", "/"), ("a.b.c", "/only")]);
        let host = |name: &str, path: &str| found(&table, name, path).unwrap().0;
        assert_eq!(host("a.b.c", "/only"), HostPattern::Exact("a.b.c".into()));
        assert_eq!(host("a.b.c", "/else"), HostPattern::Below("b.c".into()));
        assert_eq!(host("b.c", "/"), HostPattern::Below("c".into()));
        assert_eq!(host("c", "/"), HostPattern::Any);
    }

    #[test]
    fn a_request_without_a_route_has_none() {
        let table = table(&[("a", "/x")]);
        assert_eq!(found(&table, "a", "/"), None);
        assert_eq!(found(&table, "a", "/xy/z/longer/than/any/route"), None);
        assert_eq!(found(&table, "b", "/x"), None);
    }

    #[test]
    fn a_host_is_open_only_if_each_of_its_routes_is() {
        let open = RouteTable::new([place(HostPattern::Exact("a".into()), "/", Access::Public)]);
        assert!(open.is_open("a"));
        let mixed = RouteTable::new([
            place(HostPattern::Exact("a".into()), "/", Access::Public),
            place(HostPattern::Any, "/admin", Access::Deny),
        ]);
        assert!(!mixed.is_open("a"));
    }
}
