//! The administrator's desk: answers questions about sessions, cookies, keys and rules.
//!
//! The running gateway has one behind its socket; a command makes one of its own when no gateway runs.
//! How an answer looks to people is left to the commands. Invariant: no question is activity of a
//! session, and only those that say so end any.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::question::{Cursor, Ended, Entry, KeyUse, Question, SessionPage, SessionReport, Stats, Which};
use super::{cookie_report, rule_report, session_report};
use crate::clock::{Clock, Timestamp};
use crate::identity::UserId;
use crate::session::engine::{EndReason, Engine, Listed, OfUser, Others, Standing};
use crate::session::store::{self, Place, StoreError};
use crate::session::{IdPrefix, SessionId};
use crate::telemetry::reports::{REACH, Reports};

/// Answers questions about sessions, cookies, keys and rules.
#[derive(Clone, Debug)]
pub struct Desk {
    engine: Engine,
    reports: Reports,
    clock: Clock,
}

impl Desk {
    /// A desk for the sessions of `engine` and for what rules have told `reports`.
    #[must_use]
    pub const fn new(engine: Engine, reports: Reports, clock: Clock) -> Self {
        Self { engine, reports, clock }
    }

    /// The answer to `question`, as its description says.
    pub async fn answer(&self, question: Question) -> Result<Value, DeskError> {
        match question {
            Question::Keys => tell(&key_uses(self.engine.key_use_now().await?)),
            Question::Sessions { after, limit } => tell(&self.page(after.as_ref(), limit).await?),
            Question::SessionsOf(user) => tell(&self.sessions_of(&user).await?),
            Question::Session(prefix) => tell(&self.show(&prefix).await?),
            Question::Stats => tell(&self.stats().await?),
            Question::Revoke(which) => tell(&self.revoke(which).await?),
            Question::AccountChanged(user) => tell(&self.end_user(&user, EndReason::AccountDisabled).await?),
            Question::RuleReport { since_seconds } => {
                let since = self.clock.now() - Duration::from_secs(since_seconds).min(REACH);
                tell(&rule_report::describe(&self.reports, since))
            }
            Question::Inspect(text) => {
                let headers = cookie_report::headers(&text, &self.engine.policy().cookie.name)?;
                let inspection = self.engine.inspect(&headers).await;
                tell(&cookie_report::describe(inspection, &self.engine, self.clock.now()))
            }
        }
    }

    async fn page(&self, after: Option<&Cursor>, limit: usize) -> Result<SessionPage, DeskError> {
        let after = after.map(place).transpose()?;
        let page = self.engine.page(after, limit.clamp(1, PAGE)).await?;
        let next = page
            .next
            .map(|Place { expires_at, id }| Cursor { ends: expires_at.as_millis(), id: id.to_hex() });
        let sessions = page.sessions.iter().filter_map(|listed| self.entry(listed)).collect();
        Ok(SessionPage { sessions, next, partial: None })
    }

    /// Nothing for a session that is over and not swept yet.
    fn entry(&self, listed: &Listed) -> Option<Entry> {
        let id = listed.place.id;
        let (lifetimes, now) = (self.engine.policy().lifetimes, self.clock.now());
        match &listed.session {
            Ok(session) if lifetimes.ended(session.times(), now).is_some() => None,
            Ok(session) if self.engine.ring().key(session.key()).is_none() => Some(Entry::Unreadable {
                id: id.to_hex(),
                unreadable: "its key is not in the ring".to_owned(),
            }),
            Ok(session) => Some(Entry::Live(Box::new(session_report::info(session, &lifetimes, now)))),
            Err(_) if listed.place.expires_at <= now => None,
            Err(why) => Some(Entry::Unreadable { id: id.to_hex(), unreadable: (*why).to_owned() }),
        }
    }

    async fn sessions_of(&self, user: &UserId) -> Result<SessionPage, DeskError> {
        let (lifetimes, now) = (self.engine.policy().lifetimes, self.clock.now());
        let OfUser { sessions, others } = self.engine.known_of(user).await?;
        let sessions = sessions
            .iter()
            .map(|session| Entry::Live(Box::new(session_report::info(session, &lifetimes, now))))
            .collect();
        Ok(SessionPage { sessions, next: None, partial: reason(others) })
    }

    async fn show(&self, prefix: &IdPrefix) -> Result<SessionReport, DeskError> {
        let (id, standing) = self.find(prefix).await?;
        let lifetimes = self.engine.policy().lifetimes;
        Ok(session_report::describe(id, &standing, &lifetimes, self.clock.now()))
    }

    async fn stats(&self) -> Result<Stats, DeskError> {
        let stats = self.engine.stats().await?;
        Ok(Stats {
            live: stats.live,
            users: stats.users,
            oldest: stats.oldest.map(|time| time.to_string()),
            cached: stats.cached,
            keys: key_uses(stats.keys),
        })
    }

    async fn revoke(&self, which: Which) -> Result<Ended, DeskError> {
        match which {
            Which::Id(prefix) => {
                // A store that keeps no records knows a session by its whole id alone.
                let id = match prefix.whole() {
                    Some(id) => id,
                    None => self.find(&prefix).await?.0,
                };
                match self.engine.end_by_id(id, EndReason::Revoked).await? {
                    0 => Err(DeskError::NoSuch(prefix)),
                    ended => Ok(Ended { ended, uncounted: None }),
                }
            }
            Which::User(user) => self.end_user(&user, EndReason::Revoked).await,
            Which::All => {
                Ok(Ended { ended: self.engine.end_all(EndReason::Revoked).await?, uncounted: None })
            }
        }
    }

    async fn end_user(&self, user: &UserId, why: EndReason) -> Result<Ended, DeskError> {
        let others = self.engine.known_of(user).await.map_or(Others::None, |known| known.others);
        Ok(Ended { ended: self.engine.end_user(user, why).await?, uncounted: reason(others) })
    }

    /// The one session that is meant. Those that are over count only where no other begins so.
    async fn find(&self, prefix: &IdPrefix) -> Result<(SessionId, Standing), DeskError> {
        let mut found = Vec::new();
        for id in self.engine.named(prefix).await? {
            match self.engine.standing(id).await? {
                Standing::Absent | Standing::Ended => {}
                standing => found.push((id, standing)),
            }
        }
        if found.iter().any(|(_, standing)| matches!(standing, Standing::Live(_))) {
            found.retain(|(_, standing)| !matches!(standing, Standing::Expired(..)));
        }
        match found.pop() {
            None => Err(DeskError::NoSuch(prefix.clone())),
            Some(only) if found.is_empty() => Ok(only),
            Some(last) => {
                found.push(last);
                let lines =
                    found.iter().map(|(id, standing)| session_report::candidate(*id, standing)).collect();
                Err(DeskError::Ambiguous(prefix.clone(), lines))
            }
        }
    }
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    /// The store has none.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No session is meant.
    #[error("there is no session `{0}`; `vestibule sessions list` shows all")]
    NoSuch(IdPrefix),
    /// Several may be meant: these.
    #[error("`{0}` begins the ids of several sessions; write more of the one you mean:\n{lines}", lines = .1.join("\n"))]
    Ambiguous(IdPrefix, Vec<String>),
    /// The question is none.
    #[error("{0}")]
    Question(&'static str),
}

fn tell<T: Serialize>(answer: &T) -> Result<Value, DeskError> {
    serde_json::to_value(answer).map_err(|_| DeskError::Question("the answer cannot be written down"))
}

fn reason(others: Others) -> Option<String> {
    match others {
        Others::None => None,
        Others::Perhaps(why) => Some(why.to_owned()),
    }
}

fn place(cursor: &Cursor) -> Result<Place, DeskError> {
    let id = SessionId::from_hex(&cursor.id).ok_or(DeskError::Question("`after` names no place"))?;
    Ok(Place { expires_at: Timestamp::from_millis(cursor.ends), id })
}

fn key_uses(uses: Vec<store::KeyUse>) -> Vec<KeyUse> {
    let told = uses.into_iter().map(|store::KeyUse { key, sessions, until }| KeyUse {
        key: key.to_string(),
        sessions,
        until: until.to_string(),
    });
    told.collect()
}

/// The most sessions in one answer.
const PAGE: usize = 1_000;
