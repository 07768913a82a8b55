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
    /// As JSON: `sessions`, and whether there are `more`
    #[arg(long)]
    json: bool,
}

impl List {
    pub(super) async fn run(self, config: &Config) -> Result<String, Failure> {
        let mut pages = self.pages()?;
        let office = Office::open(config, Errand::Look).await?;
        let printed = pages.print(&office, &self.paper()).await;
        let remark = office.remark();
        office.close().await;
        let rest = printed?;
        let more = rest == Rest::More;
        if self.json {
            return Ok(format!("],\"more\":{more}}}\n"));
        }
        let limit = self.limit;
        let left_out = format!("there are more than {limit}; `--limit N` shows more\n");
        Ok(format!("{}{remark}", if more { &left_out } else { "" }))
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

/// Whether everything was printed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rest {
    Nothing,
    More,
}

impl Pages {
    async fn print(&mut self, office: &Office<'_>, paper: &Paper) -> Result<Rest, Failure> {
        let mut separator = "";
        let mut head = paper.head();
        while let Some(question) = self.next.take() {
            let page: SessionPage = office.ask(question).await.map_err(Failure::failed)?;
            // Nothing is printed before the first answer, so that an error stands alone.
            say(std::mem::take(&mut head));
            for entry in &page.sessions {
                if self.left == 0 {
                    return Ok(Rest::More);
                }
                self.left = self.left.saturating_sub(1);
                say(&paper.entry(entry, separator)?);
                separator = ",";
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
