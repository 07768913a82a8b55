//! `vestibule users import`: accounts of other programs, with their hashes.
//!
//! Invariants: an account that is here already is never changed; whatever was not taken over is told.

mod csv;
mod django;

use std::fmt::{Display, Write};
use std::fs;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::cli::report::{Failure, to_json};
use crate::clock::{Clock, Timestamp};
use crate::identity::{Group, UserId};
use crate::login::accounts::{Accounts, AccountsError, Profile, htpasswd, is_text};

/// Take over accounts.
#[derive(Debug, Args)]
pub(super) struct Import {
    /// The file
    file: PathBuf,
    /// How it is written [default: what it looks like]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Apache's lines of `NAME:HASH`
    Htpasswd,
    /// Columns `name,hash,groups,email`, others by a first line that names them
    Csv,
    /// What `manage.py dumpdata auth` prints
    Django,
}

impl Format {
    /// What `text` looks like.
    fn of(text: &str) -> Self {
        let first = text.trim_start().lines().next().unwrap_or_default();
        match (first.starts_with('['), first.find(','), first.find(':')) {
            (true, ..) => Self::Django,
            (_, Some(comma), colon) if colon.is_none_or(|colon| comma < colon) => Self::Csv,
            _ => Self::Htpasswd,
        }
    }

    fn read(self, text: &str) -> Result<Found, Failure> {
        match self {
            Self::Htpasswd => Ok(from_htpasswd(text)),
            Self::Csv => Ok(csv::read(text)),
            Self::Django => django::read(text).map_err(Failure::failed),
        }
    }
}

impl Import {
    pub(super) async fn run(self, accounts: &Accounts) -> Result<String, Failure> {
        let text = fs::read_to_string(&self.file)
            .map_err(|error| Failure::usage(format!("cannot read `{}`: {error}", self.file.display())))?;
        let found = self.format.unwrap_or_else(|| Format::of(&text)).read(&text)?;
        let mut report = Report { dry_run: self.dry_run, skipped: found.skipped, ..Report::default() };
        for candidate in found.candidates {
            report.take(candidate, accounts).await?;
        }
        let said = if self.json { report.as_json()? } else { report.to_text() };
        if report.imported.is_empty() && !report.skipped.is_empty() {
            Err(Failure::Failed(said))
        } else {
            Ok(said)
        }
    }
}

/// What a file holds.
#[derive(Debug, Default)]
struct Found {
    candidates: Vec<Candidate>,
    skipped: Vec<Remark>,
}

impl Found {
    fn skip(&mut self, place: impl Display, why: impl Display) {
        self.skipped.push(Remark { place: place.to_string(), why: why.to_string() });
    }
}

/// An account that may be taken over.
#[derive(Debug)]
struct Candidate {
    user: UserId,
    hash: String,
    profile: Profile,
    disabled: bool,
    /// What of it has no place here.
    lost: Vec<String>,
}

impl Candidate {
    fn new(user: UserId, hash: String) -> Self {
        Self { user, hash, profile: Profile::default(), disabled: false, lost: Vec::new() }
    }

    fn join(&mut self, group: &str) {
        match Group::try_from(group) {
            Ok(group) => self.profile.groups.push(group),
            Err(error) => self.lost.push(format!("the group {group:?}: {error}")),
        }
    }

    fn set_name(&mut self, name: &str) {
        self.profile.name = self.kept("name", name);
    }

    fn set_email(&mut self, email: &str) {
        self.profile.email = self.kept("e-mail address", email);
    }

    fn kept(&mut self, what: &str, text: &str) -> Option<String> {
        let text = text.trim();
        if text.is_empty() {
            return None;
        }
        if !is_text(text) {
            self.lost.push(format!("the {what}: it is too long or holds control characters"));
            return None;
        }
        Some(text.to_owned())
    }
}

/// Something that was not taken over.
#[derive(Debug, serde::Serialize)]
struct Remark {
    place: String,
    why: String,
}

#[derive(Debug, Default, serde::Serialize)]
struct Report {
    dry_run: bool,
    imported: Vec<UserId>,
    skipped: Vec<Remark>,
    not_taken_over: Vec<Remark>,
}

impl Report {
    async fn take(&mut self, candidate: Candidate, accounts: &Accounts) -> Result<(), Failure> {
        let Candidate { user, hash, profile, disabled, lost } = candidate;
        let entered = if self.dry_run {
            accounts.find(&user).await.map_err(Failure::failed)?.is_none()
        } else {
            let now = Clock::system().now();
            enter(accounts, &user, hash, profile, disabled, now).await.map_err(Failure::failed)?
        };
        if !entered {
            self.skipped.push(Remark { place: user.to_string(), why: HERE_ALREADY.to_owned() });
            return Ok(());
        }
        let remarks = lost.into_iter().map(|why| Remark { place: user.to_string(), why });
        self.not_taken_over.extend(remarks);
        self.imported.push(user);
        Ok(())
    }

    fn to_text(&self) -> String {
        let verb = if self.dry_run { "would be imported" } else { "imported" };
        let mut text = format!("{} {verb}, {} skipped\n", accounts(self.imported.len()), self.skipped.len());
        for (title, remarks) in [("skipped", &self.skipped), ("not taken over", &self.not_taken_over)] {
            for Remark { place, why } in remarks {
                // Writing into a string cannot fail.
                let _infallible = writeln!(text, "{title}: {place}: {why}");
            }
        }
        text
    }

    fn as_json(&self) -> Result<String, Failure> {
        to_json(self)
    }
}

/// Answers whether the name was free.
async fn enter(
    accounts: &Accounts,
    user: &UserId,
    hash: String,
    profile: Profile,
    disabled: bool,
    now: Timestamp,
) -> Result<bool, AccountsError> {
    // SECURITY: a disabled account has no password before it is disabled, wherever this is cut off.
    let first = if disabled { UNUSABLE.to_owned() } else { hash.clone() };
    match accounts.add(user, first, profile, now).await {
        Err(AccountsError::Exists(_)) => return Ok(false),
        added => added?,
    }
    if disabled {
        accounts.disable(user).await?;
        accounts.set_password(user, hash).await?;
    }
    Ok(true)
}

fn from_htpasswd(text: &str) -> Found {
    let (lines, faults) = htpasswd::passwords(text);
    let mut found = Found::default();
    found.candidates.extend(lines.into_iter().map(|line| Candidate::new(line.user, line.hash)));
    for fault in faults {
        found.skip(format!("line {}", fault.number), fault.problem);
    }
    found
}

fn accounts(count: usize) -> String {
    if count == 1 { "1 account".to_owned() } else { format!("{count} accounts") }
}

const HERE_ALREADY: &str = "there is an account of that name already; it stays as it is";

/// As Django writes it; no password leads to it.
const UNUSABLE: &str = "!";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_known_by_its_looks() {
        for (text, format) in [
            ("[{\"model\": \"auth.user\"}]", Format::Django),
            ("\n  [\n", Format::Django),
            ("name,hash\nalice,x", Format::Csv),
            ("alice,pbkdf2:sha256:1$a$b", Format::Csv),
            ("alice:$argon2id$v=19$m=64,t=1,p=1$a$b", Format::Htpasswd),
            ("", Format::Htpasswd),
        ] {
            assert_eq!(Format::of(text), format, "{text:?}");
        }
    }
}
