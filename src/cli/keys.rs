//! `vestibule keys`: the keys that sign cookies and seal sessions.
//!
//! The file is the truth: `rotate` and `retire` write it (whole, by renaming) and ask the running
//! gateway to take it over.

use std::fmt::Write;
use std::path::Path;

use clap::{Args, Subcommand};
use http::Method;

use super::place::{ConfigPath, wait};
use super::report::Failure;
use crate::admin::client::{self, AskError};
use crate::admin::{KeyUse, ReloadReport};
use crate::clock::{Clock, Timestamp};
use crate::config::Config;
use crate::session::keyring::{Key, KeyId, KeyRing, KeyRole};

/// The keys that sign cookies and seal sessions.
#[derive(Debug, Args)]
pub(super) struct Keys {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// Age and role of each key, and how many live sessions depend on it
    Status {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Add a key that signs from now on; the others go on verifying
    Rotate,
    /// Remove a key; every cookie that it signed is refused from then on
    Retire {
        /// The key's id, as `status` shows it
        id: String,
    },
}

impl Keys {
    pub(super) fn run(self, config: &ConfigPath) -> Result<String, Failure> {
        let config = config.load()?;
        match self.command {
            KeysCommand::Status { json } => status(&config, &load(&config)?, json),
            KeysCommand::Rotate => rotate(&config),
            KeysCommand::Retire { id } => {
                let id: KeyId = id.parse().map_err(Failure::usage)?;
                let retired = load(&config)?.retire(id).map_err(Failure::usage)?;
                save(&config, &retired, &format!("key {id} is gone; cookies that it signed are refused"))
            }
        }
    }
}

fn load(config: &Config) -> Result<KeyRing, Failure> {
    KeyRing::load(&config.keys).map_err(Failure::usage)
}

/// The first rotation makes the file.
fn rotate(config: &Config) -> Result<String, Failure> {
    let now = Clock::system().now();
    if config.keys.exists() {
        return save(config, &load(config)?.rotate(now), "a new key signs from now on");
    }
    let made = format!("`{}` is made, with a first key", config.keys.display());
    save(config, &KeyRing::generate(now), &made)
}

fn save(config: &Config, ring: &KeyRing, done: &str) -> Result<String, Failure> {
    ring.save(&config.keys).map_err(|error| {
        Failure::failed(format!(
            "cannot write `{}`: {error}; the old keys are still in force",
            config.keys.display()
        ))
    })?;
    let taken_over = match ask_reload(&config.admin.socket) {
        Ok(_) => "the running gateway has taken it over",
        Err(AskError::NotRunning(_)) => "no gateway is running here; it holds from the next start",
        Err(error) => {
            return Err(Failure::failed(format!(
                "the file is written, but the running gateway refused it: {error}"
            )));
        }
    };
    Ok(format!("{done}\n{taken_over}\n"))
}

fn ask_reload(socket: &Path) -> Result<ReloadReport, AskError> {
    ask(socket, Method::POST, "/reload")
}

fn ask<T: serde::de::DeserializeOwned>(socket: &Path, method: Method, path: &str) -> Result<T, AskError> {
    wait(async { Ok(client::ask(socket, method, path).await) })
        .unwrap_or_else(|_| Err(AskError::NotRunning(std::io::Error::other("no runtime"))))
}

fn status(config: &Config, ring: &KeyRing, json: bool) -> Result<String, Failure> {
    let in_use: Option<Vec<KeyUse>> = match ask(&config.admin.socket, Method::GET, "/keys") {
        Ok(in_use) => Some(in_use),
        Err(AskError::NotRunning(_)) => None,
        Err(error) => return Err(Failure::failed(error)),
    };
    let sessions = |id: KeyId| {
        in_use
            .as_ref()
            .map(|all| all.iter().find(|entry| entry.key == id.to_string()).map_or(0, |entry| entry.sessions))
    };
    let now = Clock::system().now();
    if json {
        let keys: Vec<_> = ring.keys().map(|key| key_as_json(key, sessions(key.id()))).collect();
        return serde_json::to_string_pretty(&keys).map(|text| text + "\n").map_err(Failure::failed);
    }
    let mut text = String::from("KEY       ROLE    CREATED                   AGE         SESSIONS\n");
    for key in ring.keys() {
        let sessions = sessions(key.id()).map_or_else(|| "?".to_owned(), |count| count.to_string());
        // Writing into a string cannot fail.
        let _infallible = writeln!(
            text,
            "{}  {:<6}  {}  {:<10}  {sessions}",
            key.id(),
            role(key),
            key.created(),
            age(now, key.created()),
        );
    }
    if in_use.is_none() {
        text.push_str("no gateway is running here: how many sessions depend on a key is not known\n");
    }
    Ok(text)
}

fn key_as_json(key: &Key, sessions: Option<u64>) -> serde_json::Value {
    serde_json::json!({
        "id": key.id().to_string(),
        "role": role(key),
        "created": key.created().to_string(),
        "sessions": sessions,
    })
}

const fn role(key: &Key) -> &'static str {
    match key.role() {
        KeyRole::Active => "active",
        KeyRole::Verify => "verify",
    }
}

fn age(now: Timestamp, created: Timestamp) -> String {
    let seconds = now.since(created).as_secs();
    match seconds {
        0..3_600 => format!("{} min", seconds / 60),
        3_600..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_age_is_told_in_one_unit() {
        let created = Timestamp::from_millis(0);
        for (seconds, expected) in [(59, "0 min"), (3_599, "59 min"), (3_600, "1 h"), (172_800, "2 days")] {
            assert_eq!(age(created + Duration::from_secs(seconds), created), expected);
        }
    }
}
