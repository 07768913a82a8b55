//! The commands of `vestibule`, one file each.
//!
//! Every command takes its arguments and returns the text to print, or a [`report::Failure`].
//! Exit codes: 0 done, 1 failed, 2 usage or configuration.

mod check;
mod cookie;
mod explain;
mod keys;
mod names;
mod office;
mod place;
mod quickstart;
mod reload;
mod report;
mod reset;
mod rules;
mod run;
mod sessions;
mod span;
mod templates;
mod users;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::place::ConfigPath;
use self::report::{Done, Failure};

/// Parses the arguments, runs the command and reports how it went.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    report::finish(dispatch(arguments))
}

fn dispatch(arguments: Arguments) -> Result<Done, Failure> {
    let config = arguments.config;
    let said = match arguments.command {
        Command::Quickstart(quickstart) => quickstart.run(),
        Command::Run => run::run(&config),
        Command::Check => check::run(&config),
        Command::Reload => reload::run(&config),
        Command::Explain(explain) => explain.run(&config),
        Command::Report(report) => report.run(&config),
        Command::Keys(keys) => keys.run(&config),
        Command::Users(users) => users.run(&config),
        Command::Templates(templates) => templates.run(),
        Command::Sessions(sessions) => sessions.run(&config),
        Command::Cookie(cookie) => return cookie.run(&config).map(Done::Judged),
    };
    said.map(Done::Said)
}

/// An authentication gateway: TLS, login and sessions in front of unmodified backends.
#[derive(Debug, Parser)]
#[command(name = "vestibule", version, arg_required_else_help = true, max_term_width = 100)]
struct Arguments {
    #[command(flatten)]
    config: ConfigPath,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a configuration, keys, a localhost certificate and a first user here, then serve
    Quickstart(quickstart::Quickstart),
    /// Serve
    Run,
    /// Print every problem of the configuration, or the routes as they will work
    Check,
    /// Make the running gateway take over its files (SIGHUP does the same)
    Reload,
    /// Say which route and which rule decide on a request
    Explain(explain::Explain),
    /// Say what rules that only report would have refused, by route, rule and user
    Report(rules::Report),
    /// Write the templates of the gateway's own pages into a folder, to change them there
    Templates(templates::Templates),
    /// The keys that sign cookies and seal sessions
    Keys(keys::Keys),
    /// The accounts that may sign in
    Users(users::Users),
    /// Who is signed in, and the way to end that
    Sessions(sessions::Sessions),
    /// What a session cookie is worth, and why
    Cookie(cookie::Cookie),
}
