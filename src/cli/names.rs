//! Names that were given as arguments.

use super::report::Failure;
use crate::identity::{Group, UserId};

/// A user's name.
pub(super) fn user_id(name: &str) -> Result<UserId, Failure> {
    UserId::try_from(name).map_err(|error| Failure::usage(format!("`{name}` cannot be a user name: {error}")))
}

/// Names of groups.
pub(super) fn groups(names: &[String]) -> Result<Vec<Group>, Failure> {
    let group = |name: &String| {
        Group::try_from(name.as_str())
            .map_err(|error| Failure::usage(format!("`{name}` cannot be a group: {error}")))
    };
    names.iter().map(group).collect()
}
