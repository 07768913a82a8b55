//! `[login]`: how people prove who they are, and how often they may try.

use std::path::Path;
use std::time::Duration;

use crate::identity::AuthMethod;
use crate::login::accounts::{Declared, Form, Place};
use crate::login::{Config, Rate, ThrottleConfig, factors};
use crate::session::{self, StoreKind};
use crate::storage::sql;

use super::path::{file_in, sqlite_file};
use super::problem::{Wrong, nearest, quoted};
use super::quantity::rate;
use super::read::{Empty, Section};
use super::secret_text::{self, Keys};

/// Reads `[login]`; databases are relative to `state_dir`, files that people edit to `folder`.
pub(super) fn read(
    root: &mut Section<'_>,
    folder: &Path,
    state_dir: &Path,
    session: &session::Config,
) -> Config {
    root.within("login", |section| {
        let methods = read_methods(section);
        let users =
            section.within("password", |section| read_users(section, folder, state_dir, &session.store));
        Config {
            methods,
            factors: read_factors(section, folder, state_dir, (&users, &session.store)),
            users,
            throttle: section.within("throttle", read_throttle),
        }
    })
}

/// In the order in which the login page offers them.
fn read_methods(section: &mut Section<'_>) -> Vec<AuthMethod> {
    let Some(methods) = section.list("methods", Empty::Refused, method) else { return BUILT_IN.to_vec() };
    let twice = methods
        .iter()
        .enumerate()
        .find(|(index, method)| methods.iter().take(*index).any(|one| one == *method));
    if let Some((_, method)) = twice {
        section.refuse("methods", Wrong::new(format!("`{}` stands there twice", method.as_str())));
    }
    methods
}

fn method(text: &str) -> Result<AuthMethod, Wrong> {
    let known = BUILT_IN.iter().find(|method| method.as_str() == text);
    known.copied().ok_or_else(|| {
        if text == AuthMethod::Passkey.as_str() {
            return Wrong::new("this program was built without passkeys")
                .help("build it with `--features passkeys`");
        }
        Wrong::new(format!("{} is not a login method of this version", quoted(text)))
            .help("available: `password`, `passkey`")
    })
}

fn read_users(section: &mut Section<'_>, folder: &Path, state_dir: &Path, store: &StoreKind) -> Place {
    let users = secret_text::read(section, &USERS, folder, |text| place(folder, state_dir, text));
    let users = users.unwrap_or_else(|| Place::Sqlite(state_dir.join("users.db")));
    if matches!((store, &users), (StoreKind::Sqlite(sessions), Place::Sqlite(users)) if sessions == users) {
        let wrong = Wrong::new("`session.store` keeps sessions in the same file");
        section.refuse("users", wrong.help("give accounts a file of their own"));
    }
    read_groups(section, folder, users)
}

/// SECURITY: what follows the scheme may hold a password, so no message repeats it.
fn place(folder: &Path, state_dir: &Path, text: &str) -> Result<Place, Wrong> {
    if let Some(file) = sqlite_file(state_dir, text) {
        return file.map(Place::Sqlite);
    }
    let (scheme, rest) = text.split_once(':').unwrap_or((text, ""));
    let declared = |form| {
        let file = file_in(folder, rest)?;
        Ok(Place::Declared(Declared { form, file, groups: None }))
    };
    match scheme {
        "file" | "htpasswd" if rest.starts_with("//") => {
            Err(Wrong::new(format!("a file follows `{scheme}:` without `//`")).help(ACCOUNTS))
        }
        "file" => declared(Form::Toml),
        "htpasswd" => declared(Form::Htpasswd),
        _ if SQL.contains(&scheme) => {
            sql::Location::parse(text).map(Place::Sql).map_err(|error| Wrong::new(error.to_string()))
        }
        _ => Err(match nearest(scheme, SCHEMES.into_iter().chain(SQL)) {
            Some(near) if text.contains(':') => {
                Wrong::new("accounts are not kept there").did_you_mean(&format!("{near}:"))
            }
            _ => Wrong::new("accounts are not kept there").help(ACCOUNTS),
        }),
    }
}

/// Where the second factors of declared accounts are; those of others lie beside them.
fn read_factors(
    section: &mut Section<'_>,
    folder: &Path,
    state_dir: &Path,
    (users, sessions): (&Place, &StoreKind),
) -> factors::Place {
    let given = secret_text::read(section, &FACTORS, folder, |text| factors_place(state_dir, text));
    let key = [FACTORS.here, FACTORS.file, FACTORS.env].into_iter().find(|key| section.gives(key));
    if let (Some(key), Place::Sqlite(_) | Place::Sql(_)) = (key, users) {
        let wrong =
            Wrong::new("it has no effect, since accounts in a database have second factors beside them");
        section.refuse(key, wrong.help("leave it out"));
    }
    match (&given, sessions) {
        (Some(factors::Place::Sqlite(file)), StoreKind::Sqlite(sessions)) if file == sessions => {
            let wrong = Wrong::new("`session.store` keeps sessions in the same file");
            section
                .refuse(key.unwrap_or(FACTORS.here), wrong.help("give second factors a file of their own"));
        }
        _ => {}
    }
    given.unwrap_or_else(|| factors::Place::Sqlite(state_dir.join("factors.db")))
}

/// SECURITY: what follows the scheme may hold a password, so no message repeats it.
fn factors_place(state_dir: &Path, text: &str) -> Result<factors::Place, Wrong> {
    if let Some(file) = sqlite_file(state_dir, text) {
        return file.map(factors::Place::Sqlite);
    }
    if !SQL.contains(&text.split(':').next().unwrap_or(text)) {
        return Err(Wrong::new("second factors are not kept there")
            .help("write `sqlite:FILE` or the URL of a PostgreSQL or MySQL database"));
    }
    sql::Location::parse(text).map(factors::Place::Sql).map_err(|error| Wrong::new(error.to_string()))
}

/// The groups of an htpasswd file stand in a file of their own.
fn read_groups(section: &mut Section<'_>, folder: &Path, users: Place) -> Place {
    let groups = section.text("groups", |text| file_in(folder, text));
    match users {
        Place::Declared(declared) if declared.form == Form::Htpasswd => {
            Place::Declared(Declared { groups, ..declared })
        }
        other => {
            if section.gives("groups") {
                let wrong = Wrong::new("it has no effect, since only `htpasswd:` needs a file of groups");
                section.refuse("groups", wrong.help("leave it out; groups stand beside each account"));
            }
            other
        }
    }
}

fn read_throttle(section: &mut Section<'_>) -> ThrottleConfig {
    let period = Duration::from_mins(10);
    ThrottleConfig {
        per_account: section.text("per_account", rate).unwrap_or(Rate { count: 10, period }),
        per_address: section.text("per_address", rate).unwrap_or(Rate { count: 100, period }),
    }
}

const FACTORS: Keys = Keys { here: "factors", file: "factors_file", env: "factors_env" };
/// The login methods of this program, in the order in which they are offered unless it is told otherwise.
#[cfg(feature = "passkeys")]
const BUILT_IN: [AuthMethod; 2] = [AuthMethod::Password, AuthMethod::Passkey];
#[cfg(not(feature = "passkeys"))]
const BUILT_IN: [AuthMethod; 1] = [AuthMethod::Password];

const USERS: Keys = Keys { here: "users", file: "users_file", env: "users_env" };

const SCHEMES: [&str; 3] = ["sqlite", "file", "htpasswd"];

const SQL: [&str; 4] = ["postgres", "postgresql", "mysql", "mariadb"];

const ACCOUNTS: &str =
    "write `sqlite:FILE`, `file:FILE` (TOML), `htpasswd:FILE`, or the URL of a PostgreSQL or MySQL database";
