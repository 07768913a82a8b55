//! `vestibule keys`: the keys that sign cookies and seal sessions.
//!
//! The file is the truth: `rotate` and `retire` write it (whole, by renaming) and ask the running
//! gateway to take it over.

use clap::{Args, Subcommand};

use self::dependence::Dependence;
use super::place::{ConfigPath, wait};
use super::report::Failure;
use crate::admin::client::{self, AskError};
use crate::clock::Clock;
use crate::config::Config;
use crate::session::keyring::{KeyId, KeyRing};

mod dependence;
mod sealed_factors;
mod status;

/// The keys that sign cookies and seal sessions.
#[derive(Debug, Args)]
pub(super) struct Keys {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// Age and role of each key, how many live sessions depend on it, and when it can go
    Status {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Add a key that signs from now on; the others go on verifying
    Rotate {
        /// Only verify with it for now: for several gateways, which must all know a key before one signs
        #[arg(long)]
        staged: bool,
    },
    /// Sign with this key from now on; the others go on verifying
    Activate {
        /// The key's id, as `status` shows it
        id: String,
    },
    /// Remove a key that no session depends on; every cookie that it signed is refused from then on
    Retire {
        /// The key's id, as `status` shows it
        id: String,
        /// Even if sessions depend on it: they end
        #[arg(long)]
        force: bool,
    },
}

impl Keys {
    pub(super) fn run(self, config: &ConfigPath) -> Result<String, Failure> {
        let config = config.load()?;
        match self.command {
            KeysCommand::Status { json } => status::run(&config, &load(&config)?, json),
            KeysCommand::Rotate { staged: false } => rotate(&config),
            KeysCommand::Rotate { staged: true } => stage(&config),
            KeysCommand::Activate { id } => activate(&config, &id),
            KeysCommand::Retire { id, force } => retire(&config, &id, force),
        }
    }
}

/// Nobody is signed out by a key that goes too early, unless that is wanted.
fn retire(config: &Config, id: &str, force: bool) -> Result<String, Failure> {
    let id: KeyId = id.parse().map_err(Failure::usage)?;
    let ring = load(config)?;
    let retired = ring.retire(id).map_err(Failure::usage)?;
    if !force {
        let dependence = Dependence::ask(config)?;
        let refusal = dependence.refusal(&ring, id, Clock::system().now());
        refusal.map_or(Ok(()), |why| Err(Failure::failed(why)))?;
        sealed_factors::refuse_loss(config, id)?;
    }
    save(config, &retired, &format!("key {id} is gone; cookies that it signed are refused"))
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

fn stage(config: &Config) -> Result<String, Failure> {
    let (ring, id) = load(config)?.stage(Clock::system().now());
    let file = config.keys.display();
    let next = format!(
        "key {id} verifies from now on; copy `{file}` to every gateway, run `vestibule reload` there, \
         and then `vestibule keys activate {id}`"
    );
    save(config, &ring, &next)
}

fn activate(config: &Config, id: &str) -> Result<String, Failure> {
    let id: KeyId = id.parse().map_err(Failure::usage)?;
    let ring = load(config)?.activate(id).map_err(Failure::usage)?;
    save(config, &ring, &format!("key {id} signs from now on"))
}

fn save(config: &Config, ring: &KeyRing, done: &str) -> Result<String, Failure> {
    ring.save(&config.keys).map_err(|error| {
        Failure::failed(format!(
            "cannot write `{}`: {error}; the old keys are still in force",
            config.keys.display()
        ))
    })?;
    let taken_over = match wait(async { Ok(client::reload(&config.admin.socket).await) })? {
        Ok(_) => "the running gateway has taken it over",
        Err(AskError::NotRunning(_)) => "no gateway is running here; it holds from the next start",
        Err(error) => {
            return Err(Failure::failed(format!(
                "the file is written, but the running gateway has not taken it over: {error}"
            )));
        }
    };
    Ok(format!("{done}\n{taken_over}\n"))
}
