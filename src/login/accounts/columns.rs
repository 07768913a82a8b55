//! What the sources in SQL have in common: the columns of an account.
//!
//! Invariant: a value that is not what its column should hold makes its own account damaged and no
//! other.

use super::{Account, AccountsError, Credentials, Profile};
use crate::clock::Timestamp;
use crate::identity::{Group, UserId};

/// A row as it came, in the order `name, display_name, email, group_names, disabled, created,
/// last_login, password`. MySQL gives texts as bytes.
pub(super) type Columns<Text> = (Text, Option<Text>, Option<Text>, Text, bool, i64, Option<i64>, Text);

pub(super) fn credentials<Text: Into<Vec<u8>>>(row: Columns<Text>) -> Result<Credentials, AccountsError> {
    let (name, display_name, email, groups, disabled, created, last_login, password) = row;
    let name = text(name);
    let damaged = |what: &dyn std::fmt::Display| AccountsError::Damaged(name.clone(), what.to_string());
    let account = Account {
        user: UserId::try_from(name.as_str()).map_err(|error| damaged(&error))?,
        groups: read_groups(&text(groups)).map_err(|error| damaged(&error))?,
        name: display_name.map(text),
        email: email.map(text),
        disabled,
        created: Some(Timestamp::from_millis(created)),
        last_login: last_login.map(Timestamp::from_millis),
    };
    Ok(Credentials { account, hash: text(password) })
}

/// A row that cannot be read is told in the log and left out, so that the others can be seen.
pub(super) fn accounts<Text: Into<Vec<u8>>>(rows: Vec<Columns<Text>>) -> Vec<Account> {
    let readable = rows.into_iter().filter_map(|row| {
        credentials(row).inspect_err(|error| tracing::error!(%error, "account left out")).ok()
    });
    readable.map(|found| found.account).collect()
}

/// A group's name holds no comma.
pub(super) fn write_groups(profile: &Profile) -> String {
    let mut names: Vec<&str> = profile.groups.iter().map(Group::as_str).collect();
    names.sort_unstable();
    names.dedup();
    names.join(",")
}

fn read_groups(names: &str) -> Result<Vec<Group>, crate::identity::NameError> {
    names.split(',').filter(|name| !name.is_empty()).map(Group::try_from).collect()
}

fn text(bytes: impl Into<Vec<u8>>) -> String {
    String::from_utf8(bytes.into())
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}
