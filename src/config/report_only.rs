//! `report_only` of a route: which parts of its rule deny nothing, and only report what they would deny.
//!
//! Invariant: only what the route has can be named, so that nobody believes to try out a rule that is not
//! there.

use crate::gateway::{Access, Route};
use crate::telemetry::rule::Rule;

use super::kind::choose;
use super::problem::Wrong;
use super::read::{Empty, Section};

/// Reads which parts of the rule of `route` only report: all of them, or those of a list.
pub(super) fn read(section: &mut Section<'_>, route: &Route) -> Vec<Rule> {
    let rules = route.rules();
    match section.plain_flag("report_only") {
        Some(false) => Vec::new(),
        Some(true) => {
            // Where nobody passes, the key is refused with all others.
            if rules.is_empty() && route.access != Access::Deny {
                let wrong = Wrong::new("it has no effect, since the route lets everybody pass");
                section.refuse("report_only", wrong.help("leave it out"));
            }
            rules
        }
        None => section.list("report_only", Empty::Refused, |text| named(text, &rules)).unwrap_or_default(),
    }
}

/// A part that the route has. `users` and `groups` are one.
fn named(text: &str, rules: &[Rule]) -> Result<Rule, Wrong> {
    let names = Rule::ALL.map(|rule| (rule.as_str(), rule));
    let rule = if text == "users" { Rule::Groups } else { choose(text, &names, &[])? };
    if rules.contains(&rule) {
        return Ok(rule);
    }
    Err(Wrong::new(format!("it has no effect, since the route has no `{text}` that could deny anything"))
        .help("leave it out, or write `report_only = true` for the whole rule"))
}
