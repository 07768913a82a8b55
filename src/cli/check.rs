//! `vestibule check`: every problem at once, or the routes as they will work.

use std::fmt::Write;
use std::ops::Not;

use super::place::ConfigPath;
use super::report::Failure;
use crate::app::Parts;
use crate::clock::Clock;
use crate::config::quantity::show_duration;
use crate::gateway::fixed::Fixed;
use crate::gateway::handling::{BodyBound, Caching, Handling};
use crate::gateway::{Access, Activity, Route, Second};

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
    push_list(&mut line, "hours", route.hours.as_slice());
    push_demands(&mut line, route);
    push_list(&mut line, "only reports", &route.report_only);
    push_handling(&mut line, &route.handling);
    line
}

fn push_demands(line: &mut String, route: &Route) {
    let factor = match route.demand.second {
        Second::NotAsked => None,
        Second::Any => Some("true"),
        Second::Passkey => Some("passkey"),
    };
    push_list(line, "mfa", factor.as_slice());
    push_list(line, "fresh", route.demand.fresh.map(show_duration).as_slice());
    if route.activity == Activity::Navigation {
        line.push_str("  activity: navigation");
    }
    match route.handling.body {
        BodyBound::AsElsewhere => {}
        BodyBound::None => line.push_str("  body_bytes: any"),
        BodyBound::Bytes(bytes) => push_list(line, "body_bytes", &[bytes]),
    }
}

fn push_handling(line: &mut String, handling: &Handling) {
    for (what, prefix) in [("strip", &handling.rewrite.strip), ("add", &handling.rewrite.add)] {
        push_list(line, what, prefix.is_empty().not().then_some(prefix).as_slice());
    }
    match &handling.fixed {
        Some(Fixed::Redirect(it)) => line.extend([" -> ", it.status.as_str(), " ", &it.to]),
        Some(Fixed::Respond(it)) => line.extend([" -> ", it.status.as_str()]),
        None => {}
    }
    if handling.maintenance.is_some() {
        line.push_str("  closed for maintenance");
    }
    push_list(line, "repair", &handling.repair);
    push_list(line, "without", &handling.remove_headers);
    if handling.caching == Some(Caching::NoStore) {
        line.push_str("  no-store");
    }
}

fn push_list(line: &mut String, what: &str, values: &[impl ToString]) {
    if !values.is_empty() {
        let values: Vec<String> = values.iter().map(ToString::to_string).collect();
        line.extend(["  ", what, ": ", &values.join(", ")]);
    }
}
