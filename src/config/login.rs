//! `[login]`: how people prove who they are, and how often they may try.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::login::{Config, Rate, ThrottleConfig};
use crate::session::{self, StoreKind};

use super::path::sqlite_file;
use super::problem::{Wrong, quoted};
use super::quantity::rate;
use super::read::{Empty, Section};

/// Reads `[login]`; files are relative to `state_dir`.
pub(super) fn read(root: &mut Section<'_>, state_dir: &Path, session: &session::Config) -> Config {
    root.within("login", |section| {
        section.list("methods", Empty::Refused, method);
        Config {
            users: section.within("password", |section| read_users(section, state_dir, &session.store)),
            throttle: section.within("throttle", read_throttle),
        }
    })
}

fn method(text: &str) -> Result<(), Wrong> {
    match text {
        "password" => Ok(()),
        _ => Err(Wrong::new(format!("{} is not a login method of this version", quoted(text)))
            .help("available: `password`")),
    }
}

fn read_users(section: &mut Section<'_>, state_dir: &Path, store: &StoreKind) -> PathBuf {
    let users = section.text("users", |text| users_file(state_dir, text));
    let users = users.unwrap_or_else(|| state_dir.join("users.db"));
    if matches!(store, StoreKind::Sqlite(sessions) if *sessions == users) {
        let wrong = Wrong::new("`session.store` keeps sessions in the same file");
        section.refuse("users", wrong.help("give accounts a file of their own"));
    }
    users
}

fn users_file(state_dir: &Path, text: &str) -> Result<PathBuf, Wrong> {
    sqlite_file(state_dir, text).unwrap_or_else(|| {
        // SECURITY: what stands here may hold a password, so it is not repeated.
        Err(Wrong::new("accounts are kept in an SQLite file").help("write `sqlite:FILE`"))
    })
}

fn read_throttle(section: &mut Section<'_>) -> ThrottleConfig {
    let period = Duration::from_mins(10);
    ThrottleConfig {
        per_account: section.text("per_account", rate).unwrap_or(Rate { count: 10, period }),
        per_address: section.text("per_address", rate).unwrap_or(Rate { count: 100, period }),
    }
}
