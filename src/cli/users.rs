//! `vestibule users`: the accounts that may sign in.
//!
//! Works on the account database itself, beside a running gateway or without one. What takes a right
//! away also ends the account's sessions, through the gateway if one runs, else in the store.
//! Invariant: a password comes from a prompt or from standard input, never from an argument.

use std::fmt::Write;
use std::io::{BufRead, IsTerminal};

use clap::{Args, Subcommand};
use zeroize::Zeroizing;

use super::names::{self, user_id};
use super::office::ask_once;
use super::place::{ConfigPath, wait};
use super::report::{Failure, to_json};
use crate::admin::Question;
use crate::admin::question::Ended;
use crate::app::Errand;
use crate::clock::Clock;
use crate::config::Config;
use crate::identity::{Group, UserId};
use crate::login::accounts::{Account, Accounts, Profile};
use crate::login::check_new_password;
use crate::login::password::{Hasher, HashingConfig};
use crate::secret::Secret;

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
    /// Print a one-time link with which its user sets a new password
    Reset(super::reset::Reset),
    /// Delete an account and end its sessions
    Remove {
        /// The account
        name: String,
    },
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
            let accounts = Accounts::open(&config.login.users).await.map_err(Failure::failed)?;
            let done = run(self.command, &accounts, &config).await;
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
        UsersCommand::List { json } => list(accounts, json).await,
        UsersCommand::Show { name, json } => show(&existing(accounts, &name).await?, json),
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

async fn existing(accounts: &Accounts, name: &str) -> Result<Account, Failure> {
    let user = user_id(name)?;
    let account = accounts.find(&user).await.map_err(Failure::failed)?;
    account.ok_or_else(|| Failure::failed(format!("there is no account `{user}`; `users list` shows all")))
}

/// Asks for a password (twice at a terminal), checks it and hashes it.
async fn new_password(user: &UserId) -> Result<String, Failure> {
    let password = read_password(user)?;
    check_new_password(user.as_str(), &password)
        .map_err(|problem| Failure::usage(format!("this password cannot be used: {problem}")))?;
    let hasher = Hasher::start(HashingConfig::default()).map_err(Failure::failed)?;
    hasher.hash(password).await.map_err(Failure::failed)
}

fn read_password(user: &UserId) -> Result<Secret<String>, Failure> {
    if !std::io::stdin().is_terminal() {
        let mut line = Zeroizing::new(String::new());
        std::io::stdin().lock().read_line(&mut line).map_err(Failure::failed)?;
        return Ok(Secret::new(line.trim_end_matches(['\r', '\n']).to_owned()));
    }
    let ask = |question: &str| rpassword::prompt_password(question).map(Secret::new).map_err(Failure::failed);
    let first = ask(&format!("New password for {user}: "))?;
    if first == ask("The same again: ")? {
        Ok(first)
    } else {
        Err(Failure::failed("the two passwords differ; nothing was changed"))
    }
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

async fn list(accounts: &Accounts, json: bool) -> Result<String, Failure> {
    let all = accounts.list().await.map_err(Failure::failed)?;
    if json {
        return to_json(&all.iter().map(as_json).collect::<Vec<_>>());
    }
    let mut text = String::from("USER                 STATE     LAST LOGIN                GROUPS\n");
    for account in &all {
        // Writing into a string cannot fail.
        let _infallible = writeln!(
            text,
            "{:<20} {:<8}  {:<24}  {}",
            account.user.as_str(),
            state(account),
            last_login(account),
            groups(account)
        );
    }
    Ok(text)
}

fn show(account: &Account, json: bool) -> Result<String, Failure> {
    if json {
        return to_json(&as_json(account));
    }
    Ok(format!(
        "user        {}\nstate       {}\ngroups      {}\nname        {}\ne-mail      {}\ncreated     {}\nlast login  {}\n",
        account.user,
        state(account),
        groups(account),
        account.name.as_deref().unwrap_or("-"),
        account.email.as_deref().unwrap_or("-"),
        account.created,
        last_login(account),
    ))
}

fn as_json(account: &Account) -> serde_json::Value {
    serde_json::json!({
        "user": account.user.as_str(),
        "state": state(account),
        "groups": account.groups.iter().map(Group::as_str).collect::<Vec<_>>(),
        "name": account.name,
        "email": account.email,
        "created": account.created.to_string(),
        "last_login": account.last_login.map(|time| time.to_string()),
    })
}

const fn state(account: &Account) -> &'static str {
    if account.disabled { "disabled" } else { "enabled" }
}

fn last_login(account: &Account) -> String {
    account.last_login.map_or_else(|| "never".to_owned(), |time| time.to_string())
}

fn groups(account: &Account) -> String {
    let names: Vec<&str> = account.groups.iter().map(Group::as_str).collect();
    if names.is_empty() { "-".to_owned() } else { names.join(", ") }
}
