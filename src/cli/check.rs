//! `vestibule check`: every problem at once, or the routes as they will work.

use std::fmt::Write;

use super::place::ConfigPath;
use super::report::Failure;
use crate::app::Parts;
use crate::clock::Clock;
use crate::gateway::{Access, Route};

pub(super) fn run(config: &ConfigPath) -> Result<String, Failure> {
    let file = config.find()?;
    let parts = Parts::load(&file, Clock::system().now()).map_err(Failure::usage)?;
    let mut routes: Vec<&Route> = parts.config.gateway.routes.iter().map(AsRef::as_ref).collect();
    routes.sort_by_key(|route| (route.host.to_string(), std::cmp::Reverse(route.path.len())));
    let mut text = format!("{} is in order; its routes, the first that matches decides:\n", file.display());
    for route in routes {
        // Writing into a string cannot fail.
        let _infallible = writeln!(text, "  {}", describe(route));
    }
    Ok(text)
}

fn describe(route: &Route) -> String {
    let mut line = format!("{}{}  {}", route.host, route.path, route.access);
    if let Some(upstream) = &route.upstream {
        line.push_str(" -> ");
        line.push_str(upstream);
    }
    if let Access::Login(who) = &route.access {
        push_list(&mut line, "users", &who.users);
        push_list(&mut line, "groups", &who.groups);
    }
    push_list(&mut line, "methods", &route.methods);
    push_list(&mut line, "networks", &route.networks);
    line
}

fn push_list(line: &mut String, what: &str, values: &[impl ToString]) {
    if !values.is_empty() {
        let values: Vec<String> = values.iter().map(ToString::to_string).collect();
        line.extend(["  ", what, ": ", &values.join(", ")]);
    }
}
