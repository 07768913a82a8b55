//! `vestibule users`: the accounts that may sign in.
//!
//! Works on the account database itself, beside a running gateway or without one; accounts that a file
//! declares are shown but not changed. What takes a right away also ends the account's sessions, through
//! the gateway if one runs, else in the store.
//! Invariant: a password comes from a prompt or from standard input, never from an argument.

mod import;
mod new_password;
mod show;

use clap::{Args, Subcommand};

use self::import::Import;
use self::new_password::new_password;
use super::names::{self, user_id};
use super::office::ask_once;
use super::place::{ConfigPath, wait};
use super::report::Failure;
use crate::admin::Question;
use crate::admin::question::Ended;
use crate::app::Errand;
use crate::clock::Clock;
use crate::config::{Config, people};
use crate::identity::UserId;
use crate::login::accounts::{Account, Accounts, AccountsError, Profile};
use crate::login::factors::{self, Change};

/// The accounts that may sign in.
#[derive(Debug, Args)]
pub(super) struct Users {
    #[command(subcommand)]
    command: UsersCommand,
}

#[derive(Debug, Subcommand)]
enum UsersCommand {
    /// Add an account; the password is asked for, or read from standard input
    Add {
        /// The name to sign in with
        name: String,
        #[command(flatten)]
        profile: ProfileArguments,
    },
    /// Set an account's password and end its sessions
    Passwd {
        /// The account
        name: String,
    },
    /// All accounts
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// One account
    Show {
        /// The account
        name: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Replace an account's groups, name and e-mail address and end its sessions
    Edit {
        /// The account
        name: String,
        #[command(flatten)]
        profile: ProfileArguments,
    },
    /// Let nobody sign in with an account and end its sessions
    Disable {
        /// The account
        name: String,
    },
    /// Let a disabled account sign in again
    Enable {
        /// The account
        name: String,
    },
    /// Print a one-time link with which its user sets a new password; of an account in a file, remove the
    /// second factors at once
    Reset(super::reset::Reset),
    /// Delete an account and end its sessions
    Remove {
        /// The account
        name: String,
    },
    /// Take over accounts with their hashes: htpasswd, CSV, or JSON of Django's `dumpdata auth`
    Import(Import),
    /// Print what to write into a file of accounts that is edited by hand
    Hash {
        /// The name to sign in with
        name: String,
    },
}

impl UsersCommand {
    /// Whether it changes what people declare in a file, and so edit by hand.
    const fn changes(&self) -> bool {
        !matches!(self, Self::List { .. } | Self::Show { .. } | Self::Hash { .. })
    }
}

/// What is known of a person.
#[derive(Debug, Args)]
struct ProfileArguments {
    /// A group the account is in; may be given more than once
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,
    /// The name for people to read
    #[arg(long = "name", value_name = "NAME", id = "display_name")]
    name: Option<String>,
    /// The e-mail address
    #[arg(long)]
    email: Option<String>,
}

impl ProfileArguments {
    fn into_profile(self) -> Result<Profile, Failure> {
        Ok(Profile { groups: names::groups(&self.groups)?, name: self.name, email: self.email })
    }
}

impl Users {
    pub(super) fn run(self, config: &ConfigPath) -> Result<String, Failure> {
        let config = config.load()?;
        wait(async {
            if let UsersCommand::Hash { name } = &self.command {
                // The file that it is for need not be there yet.
                return new_password::lines_for(&user_id(name)?, &config.login.users).await;
            }
            let directory = people::read(&config.login.users).map_err(Failure::usage)?;
            let accounts = Accounts::at(&config.login.users, directory).await.map_err(Failure::failed)?;
            let done = match (accounts.edited_by_hand(), self.command) {
                (Some(_), UsersCommand::Reset(reset)) if reset.removes_factors() => {
                    remove_factors(&accounts, &config, &user_id(reset.name())?).await
                }
                (Some(file), command) if command.changes() => {
                    Err(Failure::failed(AccountsError::ByHand(file)))
                }
                (_, command) => run(command, &accounts, &config).await,
            };
            accounts.close().await;
            done
        })
    }
}

async fn run(command: UsersCommand, accounts: &Accounts, config: &Config) -> Result<String, Failure> {
    match command {
        UsersCommand::Add { name, profile } => add(accounts, &user_id(&name)?, profile.into_profile()?).await,
        UsersCommand::Passwd { name } => {
            let user = existing(accounts, &name).await?.user;
            let hash = new_password(&user).await?;
            accounts.set_password(&user, hash).await.map_err(Failure::failed)?;
            ended(config, &user, "has a new password").await
        }
        UsersCommand::Import(import) => import.run(accounts).await,
        UsersCommand::Hash { name } => new_password::lines_for(&user_id(&name)?, &config.login.users).await,
        UsersCommand::List { json } => show::list(accounts, json).await,
        UsersCommand::Show { name, json } => show::show(&existing(accounts, &name).await?, json),
        UsersCommand::Edit { name, profile } => {
            let user = existing(accounts, &name).await?.user;
            accounts.set_profile(&user, profile.into_profile()?).await.map_err(Failure::failed)?;
            ended(config, &user, "is changed").await
        }
        UsersCommand::Disable { name } => {
            let user = existing(accounts, &name).await?.user;
            accounts.disable(&user).await.map_err(Failure::failed)?;
            ended(config, &user, "is disabled").await
        }
        UsersCommand::Enable { name } => {
            let user = existing(accounts, &name).await?.user;
            accounts.enable(&user).await.map_err(Failure::failed)?;
            Ok(format!("`{user}` may sign in again\n"))
        }
        UsersCommand::Reset(reset) => {
            let user = existing(accounts, reset.name()).await?.user;
            reset.run(accounts, config, &user).await
        }
        UsersCommand::Remove { name } => {
            let user = existing(accounts, &name).await?.user;
            accounts.remove(&user).await.map_err(Failure::failed)?;
            ended(config, &user, "is removed").await
        }
    }
}

async fn add(accounts: &Accounts, user: &UserId, profile: Profile) -> Result<String, Failure> {
    if accounts.find(user).await.map_err(Failure::failed)?.is_some() {
        return Err(Failure::failed(format!(
            "there is an account `{user}` already; `users passwd {user}` sets its password"
        )));
    }
    let hash = new_password(user).await?;
    accounts.add(user, hash, profile, Clock::system().now()).await.map_err(Failure::failed)?;
    Ok(format!("`{user}` may sign in\n"))
}

/// The password of an account in a file is changed there; only the factors can be lost. They may be those of
/// somebody who is no longer in the file.
async fn remove_factors(accounts: &Accounts, config: &Config, user: &UserId) -> Result<String, Failure> {
    let account = accounts.find(user).await.map_err(Failure::failed)?;
    let user = &account.map_or_else(|| user.clone(), |account| account.user);
    let store = factors::store_of(accounts, &config.login.factors).await.map_err(Failure::failed)?;
    let removed = store.change(Change::RemoveAll(user.clone())).await.map_err(Failure::failed);
    store.close().await;
    if removed? {
        ended(config, user, "has no second factors any more").await
    } else {
        Ok(format!("`{user}` has no second factors\n"))
    }
}

async fn existing(accounts: &Accounts, name: &str) -> Result<Account, Failure> {
    let user = user_id(name)?;
    let account = accounts.find(&user).await.map_err(Failure::failed)?;
    account.ok_or_else(|| Failure::failed(format!("there is no account `{user}`; `users list` shows all")))
}

async fn ended(config: &Config, user: &UserId, what: &str) -> Result<String, Failure> {
    let question = Question::AccountChanged(user.clone());
    let (Ended { ended, .. }, _) = ask_once(config, Errand::End, question).await.map_err(|failure| {
        failure.after(&format!("`{user}` {what}, but the account's sessions did not end: "))
    })?;
    Ok(match ended {
        0 => format!("`{user}` {what}\n"),
        1 => format!("`{user}` {what}; one session ended\n"),
        many => format!("`{user}` {what}; {many} sessions ended\n"),
    })
}
