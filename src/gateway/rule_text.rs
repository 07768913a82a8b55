//! The rule of a route in words, as they stand in a configuration.
//!
//! Pure; for people only. Invariant: every part of a rule that can deny something is told.

use std::time::Duration;

use super::{Access, Route, Second};

/// What a route says beside its host, path and access: keys and values as in a configuration.
#[must_use]
pub fn conditions(route: &Route) -> Vec<(&'static str, String)> {
    let mut told = Vec::new();
    if let Access::Login(who) = &route.access {
        push(&mut told, "users", &who.users);
        push(&mut told, "groups", &who.groups);
    }
    push(&mut told, "methods", &route.methods);
    push(&mut told, "networks", &route.networks);
    if let Some(hours) = &route.hours {
        push(&mut told, "hours", hours.spans());
        told.push(("time_zone", format!("\"{}\"", hours.zone_name())));
    }
    match route.demand.second {
        Second::NotAsked => {}
        Second::Any => told.push(("mfa", "true".to_owned())),
        Second::Passkey => told.push(("mfa", "\"passkey\"".to_owned())),
    }
    told.extend(route.demand.fresh.map(|fresh| ("fresh", format!("\"{}\"", duration(fresh)))));
    if !route.report_only.is_empty() && route.report_only == route.rules() {
        told.push(("report_only", "true".to_owned()));
    } else {
        push(&mut told, "report_only", &route.report_only);
    }
    told
}

/// The whole rule of a route in one line, as in `access = login, mfa = true`.
#[must_use]
pub fn line(route: &Route) -> String {
    let mut line = format!("access = {}", route.access);
    for (key, value) in conditions(route) {
        line.extend([", ", key, " = ", &value]);
    }
    line
}

fn push<T: ToString>(told: &mut Vec<(&'static str, String)>, key: &'static str, values: &[T]) {
    if !values.is_empty() {
        let values: Vec<String> = values.iter().map(|value| format!("\"{}\"", value.to_string())).collect();
        told.push((key, format!("[{}]", values.join(", "))));
    }
}

/// In the largest unit that tells all of it.
fn duration(length: Duration) -> String {
    let seconds = length.as_secs();
    match seconds {
        _ if length.subsec_millis() != 0 => format!("{}ms", length.as_millis()),
        _ if seconds.is_multiple_of(3_600) => format!("{}h", seconds / 3_600),
        _ if seconds.is_multiple_of(60) => format!("{}m", seconds / 60),
        _ => format!("{seconds}s"),
    }
}
