//! `vestibule sessions`: who is signed in, and the way to end that.
//!
//! Invariant: a list of any length is read and printed page by page.

mod browser;
pub(super) mod describe;
mod list;

use std::io::{BufRead, IsTerminal};

use clap::Args;
use clap::Subcommand;

use self::browser::printable;
use super::names::user_id;
use super::office::ask_once;
use super::place::{ConfigPath, wait};
use super::report::{Failure, to_json};
use crate::admin::Question;
use crate::admin::question::{Ended, SessionReport, Stats, Which};
use crate::app::Errand;
use crate::config::Config;
use crate::session::IdPrefix;

/// The sessions of those who are signed in.
#[derive(Debug, Args)]
pub(super) struct Sessions {
    #[command(subcommand)]
    command: SessionsCommand,
}

#[derive(Debug, Subcommand)]
enum SessionsCommand {
    /// All live sessions, or those of a user; those that end first come first
    List(list::List),
    /// One session: whose it is, since when, from where, and what is left of it
    Show {
        /// Its id, or the first 8 digits of it or more
        id: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// End sessions: the next request of each is asked to sign in
    Revoke(Revoke),
    /// How many sessions there are, of how many users, and by which keys
    Stats {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
struct Revoke {
    #[command(flatten)]
    which: WhichArguments,
    /// Do not ask whether all are really meant
    #[arg(long, requires = "all")]
    yes: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct WhichArguments {
    /// The id of a session, or the first 8 digits of it or more
    id: Option<String>,
    /// All sessions of this user
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// All sessions there are
    #[arg(long)]
    all: bool,
}

impl Sessions {
    pub(super) fn run(self, config: &ConfigPath) -> Result<String, Failure> {
        let config = config.load()?;
        wait(async {
            match self.command {
                SessionsCommand::List(list) => list.run(&config).await,
                SessionsCommand::Show { id, json } => show(&config, &id, json).await,
                SessionsCommand::Revoke(revoke) => revoke.run(&config).await,
                SessionsCommand::Stats { json } => stats(&config, json).await,
            }
        })
    }
}

async fn show(config: &Config, id: &str, json: bool) -> Result<String, Failure> {
    let question = Question::Session(id_prefix(id)?);
    let (report, remark): (SessionReport, _) = ask_once(config, Errand::Look, question).await?;
    if json { to_json(&report) } else { Ok(describe::report(&report) + remark) }
}

async fn stats(config: &Config, json: bool) -> Result<String, Failure> {
    let (stats, remark): (Stats, _) = ask_once(config, Errand::Look, Question::Stats).await?;
    if json { to_json(&stats) } else { Ok(describe::stats(&stats) + remark) }
}

impl Revoke {
    async fn run(self, config: &Config) -> Result<String, Failure> {
        let (which, whose) = match (&self.which.id, &self.which.user) {
            (Some(id), _) => (Which::Id(id_prefix(id)?), String::new()),
            (None, Some(name)) => (Which::User(user_id(name)?), format!(" of `{name}`")),
            (None, None) => {
                self.confirm()?;
                (Which::All, String::new())
            }
        };
        let question = Question::Revoke(which);
        let (ended, remark): (Ended, _) = ask_once(config, Errand::End, question).await?;
        if self.json {
            return to_json(&ended);
        }
        Ok(match ended {
            Ended { uncounted: Some(why), .. } => {
                format!("the sessions{whose} ended; how many is not known: {why}\n{remark}")
            }
            Ended { ended: 0, .. } => format!("there was no session{whose}\n{remark}"),
            Ended { ended: 1, .. } => format!("one session{whose} ended\n{remark}"),
            Ended { ended: many, .. } => format!("{many} sessions{whose} ended\n{remark}"),
        })
    }

    /// A slip must not sign everybody out.
    fn confirm(&self) -> Result<(), Failure> {
        if self.yes {
            return Ok(());
        }
        if !std::io::stdin().is_terminal() {
            return Err(Failure::usage(
                "`revoke --all` signs everybody out; without a terminal say `--yes` too",
            ));
        }
        super::report::ask("This signs everybody out. Write `yes` to go on: ");
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line).map_err(Failure::failed)?;
        if line.trim() == "yes" { Ok(()) } else { Err(Failure::failed("nothing was ended")) }
    }
}

fn id_prefix(text: &str) -> Result<IdPrefix, Failure> {
    text.parse().map_err(|error| Failure::usage(format!("`{}` names no session: {error}", printable(text))))
}
