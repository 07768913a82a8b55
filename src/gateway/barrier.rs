//! What keeps somebody from a page, in words for them.
//!
//! Whether they may pass is [`super::decision`]'s matter. Invariant: who is let in by name is told to nobody;
//! which groups are is told only to people who are signed in.

use super::decision::Forbidden;
use super::record::Record;
use super::{Access, Route};
use crate::identity::Group;
use crate::portal::strings::Strings;

/// What is missing.
pub(super) fn told(why: Forbidden, record: &Record, words: &Strings) -> String {
    match why {
        Forbidden::Denied => words.forbidden_denied.clone(),
        Forbidden::Network => words.told_network(record.client.to_canonical()),
        Forbidden::Hours => words.errors.closed.happened.clone(),
        Forbidden::RuleChanged => words.forbidden_rule_changed.clone(),
        Forbidden::Destination => words.forbidden_destination.clone(),
        Forbidden::NotNamed => {
            let groups = record.barrier.as_deref().map(groups).unwrap_or_default();
            if groups.is_empty() { words.forbidden_unnamed.clone() } else { words.told_groups(&groups) }
        }
    }
}

fn groups(route: &Route) -> Vec<&str> {
    match &route.access {
        Access::Login(who) => who.groups.iter().map(Group::as_str).collect(),
        Access::Public | Access::Optional | Access::Deny => Vec::new(),
    }
}
