//! `vestibule sessions list`.
//!
//! Invariant: no more than one page of sessions is in memory, however many there are.

use clap::Args;

use super::describe::{HEAD, line};
use crate::admin::Question;
use crate::admin::question::{Cursor, Entry, SessionPage};
use crate::app::Errand;
use crate::cli::names::user_id;
use crate::cli::office::Office;
use crate::cli::report::{Failure, say};
use crate::config::Config;

/// Which sessions to list.
#[derive(Debug, Args)]
pub(super) struct List {
    /// Only those of this user
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// No more than so many
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    /// As JSON: `sessions`, and whether there are or may be `more`
    #[arg(long)]
    json: bool,
}

impl List {
    pub(super) async fn run(self, config: &Config) -> Result<String, Failure> {
        let mut pages = self.pages()?;
        let office = Office::open(config, Errand::Look).await?;
        let printed = pages.print(&office, self.paper()).await;
        let remark = office.remark();
        office.close().await;
        Ok(self.foot(&printed?) + if self.json { "" } else { remark })
    }

    fn foot(&self, rest: &Rest) -> String {
        let more = *rest != Rest::Nothing;
        match rest {
            _ if self.json => format!("],\"more\":{more}}}\n"),
            Rest::Nothing => String::new(),
            Rest::More => format!("there are more than {}; `--limit N` shows more\n", self.limit),
            Rest::Unknown(why) => format!("there may be others, unused in this process so far: {why}\n"),
        }
    }

    fn pages(&self) -> Result<Pages, Failure> {
        let user = self.user.as_deref().map(user_id).transpose()?;
        let first = match user {
            Some(user) => Question::SessionsOf(user),
            None => page_after(None),
        };
        Ok(Pages { next: Some(first), left: self.limit })
    }

    fn paper(&self) -> Paper {
        if self.json { Paper::Json } else { Paper::Table }
    }
}

/// The pages that are still to be printed.
struct Pages {
    next: Option<Question>,
    /// How many sessions may still be printed.
    left: u64,
}

/// How a list looks.
#[derive(Clone, Copy)]
enum Paper {
    Table,
    Json,
}

/// What was not printed.
#[derive(Clone, PartialEq, Eq)]
enum Rest {
    Nothing,
    More,
    /// There may be something, for this reason.
    Unknown(String),
}

impl Pages {
    async fn print(&mut self, office: &Office<'_>, paper: Paper) -> Result<Rest, Failure> {
        // Nothing is printed before the first answer, so that an error stands alone.
        let mut text = paper.head().to_owned();
        let mut separator = "";
        while let Some(question) = self.next.take() {
            let page: SessionPage = office.ask(question).await.map_err(Failure::failed)?;
            if let Some(why) = page.partial.as_ref().filter(|_| office.is_at_rest()) {
                return Err(Failure::failed(why));
            }
            for entry in &page.sessions {
                if self.left == 0 {
                    say(&text);
                    return Ok(Rest::More);
                }
                self.left = self.left.saturating_sub(1);
                text.push_str(&paper.entry(entry, separator)?);
                separator = ",";
            }
            say(&text);
            text.clear();
            if let Some(why) = page.partial {
                return Ok(Rest::Unknown(why));
            }
            self.next = page.next.map(|next| page_after(Some(next)));
        }
        Ok(Rest::Nothing)
    }
}

impl Paper {
    const fn head(self) -> &'static str {
        match self {
            Self::Table => HEAD,
            Self::Json => "{\"sessions\":[",
        }
    }

    fn entry(self, entry: &Entry, separator: &str) -> Result<String, Failure> {
        match self {
            Self::Table => Ok(line(entry)),
            Self::Json => {
                let text = serde_json::to_string(entry).map_err(Failure::failed)?;
                Ok(format!("{separator}\n{text}"))
            }
        }
    }
}

const fn page_after(after: Option<Cursor>) -> Question {
    Question::Sessions { after, limit: PAGE }
}

/// Sessions in one answer.
const PAGE: usize = 1_000;
