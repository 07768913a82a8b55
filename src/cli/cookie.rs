//! `vestibule cookie`: what a session cookie is worth, and why.
//!
//! Invariant: nothing that is printed holds the cookie.

use std::io::Read;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use zeroize::Zeroizing;

use super::office::ask_once;
use super::place::{ConfigPath, wait};
use super::report::{Failure, say, to_json};
use super::sessions::describe::{row, session};
use super::span::span;
use crate::admin::Question;
use crate::admin::question::{CookieReport, CookieText, KeyInfo, Kind, Role, TokenInfo, TokenStateInfo};
use crate::app::Errand;
use crate::secret::Secret;

/// What a session cookie is worth.
#[derive(Debug, Args)]
pub(super) struct Cookie {
    #[command(subcommand)]
    command: CookieCommand,
}

#[derive(Debug, Subcommand)]
enum CookieCommand {
    /// Say whether a cookie is valid, by which key, and what is in it, or exactly why it is refused
    ///
    /// Exit code 0 says that it opens a live session or is the cookie of a guest, 1 that it does not. The
    /// cookie is not used by this: its session lives no longer for it, and does not end by it.
    Inspect {
        /// The cookie's value, `name=value`, or a `Cookie:` line as browsers show it. Who has it is signed
        /// in, and your shell keeps a history: better leave it out and give it on standard input.
        #[arg(value_name = "VALUE")]
        cookie: Option<Hidden>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

/// An argument that is not shown.
#[derive(Clone)]
struct Hidden(Secret<String>);

impl From<String> for Hidden {
    fn from(text: String) -> Self {
        Self(Secret::new(text))
    }
}

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl Cookie {
    pub(super) fn run(self, config: &ConfigPath) -> Result<ExitCode, Failure> {
        let CookieCommand::Inspect { cookie, json } = self.command;
        let config = config.load()?;
        let text = match cookie {
            Some(Hidden(text)) => text,
            None => read()?,
        };
        if text.expose().trim().is_empty() {
            return Err(Failure::usage("there is no cookie; give it on standard input"));
        }
        let question = Question::Inspect(CookieText(text));
        let (report, remark): (CookieReport, _) = wait(ask_once(&config, Errand::Look, question))?;
        say(&if json { to_json(&report)? } else { describe(&report) + remark });
        Ok(if report.verdict.is_good() { ExitCode::SUCCESS } else { ExitCode::from(1) })
    }
}

fn read() -> Result<Secret<String>, Failure> {
    // Room for all of it at once: a string that grows leaves copies behind.
    let mut text = Zeroizing::new(String::with_capacity(LIMIT));
    let limit = u64::try_from(LIMIT).unwrap_or(u64::MAX);
    let read = std::io::stdin().lock().take(limit).read_to_string(&mut text).map_err(Failure::failed)?;
    if read == LIMIT {
        return Err(Failure::usage("this is too long for a cookie"));
    }
    Ok(Secret::new(std::mem::take(&mut *text)))
}

fn describe(report: &CookieReport) -> String {
    let verdict = if report.verdict.is_good() { "valid" } else { "refused" };
    let mut text = format!("{verdict}: {}\n", report.reason);
    if let Some(kind) = report.kind {
        row(&mut text, "holds", kind_in_words(kind));
    }
    if let Some(key) = &report.key {
        row(&mut text, "signed by", &key_in_words(key));
    }
    if let Some(token) = &report.token {
        row(&mut text, "token", &token_in_words(token));
    }
    if let Some(guest) = &report.guest {
        row(&mut text, "guest", &guest.pseudonym);
        row(&mut text, "since", &guest.issued);
        row(&mut text, "guest left", &span(Duration::from_secs(guest.ends_in_seconds)));
    }
    if let Some(id) = &report.id {
        row(&mut text, "session", id);
    }
    if let Some(known) = &report.session {
        text.push_str(&session(known));
    }
    if report.verdict.is_good() && !report.bound_to.is_empty() {
        row(&mut text, "bound to", &report.bound_to.join(", "));
    }
    text
}

const fn kind_in_words(kind: Kind) -> &'static str {
    match kind {
        Kind::Session => "the token of a session",
        Kind::SessionWithRecord => "the token of a session and its record",
        Kind::Guest => "the token of a guest",
    }
}

fn key_in_words(key: &KeyInfo) -> String {
    let role = match key.role {
        Role::Signs => "which signs",
        Role::Verifies => "which only verifies; the next request gets a cookie of the key that signs",
        Role::Unlisted => "which is not in the ring (so it says)",
    };
    format!("{}, {role}", key.id)
}

fn token_in_words(token: &TokenInfo) -> String {
    let TokenInfo { generation, newest, state } = token;
    let newest = newest.map(|newest| format!(", the newest shown is {newest}")).unwrap_or_default();
    let state = match state {
        None => "",
        Some(TokenStateInfo::Current) => ": current",
        Some(TokenStateInfo::Due) => ": due for renewal, the next request gets another",
        Some(TokenStateInfo::Next) => ": newer, not shown yet",
        Some(TokenStateInfo::Previous) => ": replaced a moment ago, good for requests under way",
        Some(TokenStateInfo::Replaced) => ": replaced, its use would end the session",
    };
    format!("generation {generation}{newest}{state}")
}

/// No cookie and no header lines around it are longer.
const LIMIT: usize = 48 * 1024;
