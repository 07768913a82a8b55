//! What a command asks the administrator's desk, and what it is told.
//!
//! Shared by the commands and by whoever answers, so both read the same words. Invariant: no answer
//! holds a cookie's value or a session's token.

use std::net::IpAddr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::identity::UserId;
use crate::secret::Secret;
use crate::session::IdPrefix;

/// What is asked; the type of the answer stands beside each.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Question {
    /// The keys that sessions depend on: a list of [`KeyUse`].
    Keys,
    /// All sessions behind a place: [`SessionPage`].
    Sessions {
        /// Where to begin.
        after: Option<Cursor>,
        /// At most so many.
        limit: usize,
    },
    /// The live sessions of a user: [`SessionPage`].
    SessionsOf(UserId),
    /// One session: [`SessionReport`].
    Session(IdPrefix),
    /// How many there are: [`Stats`].
    Stats,
    /// End some of them: [`Ended`].
    Revoke(Which),
    /// End those of an account that lost a right: [`Ended`].
    AccountChanged(UserId),
    /// What a cookie is: [`CookieReport`].
    Inspect(CookieText),
    /// What rules that only report would have refused: [`RuleReport`].
    RuleReport {
        /// Not what is longer ago than so many seconds.
        since_seconds: u64,
    },
}

/// Which sessions are to end.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Which {
    /// This one.
    Id(IdPrefix),
    /// Those of a user.
    User(UserId),
    /// All there are.
    All,
}

/// A cookie as somebody pasted it.
#[derive(Debug)]
pub struct CookieText(pub Secret<String>);

impl Serialize for CookieText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose())
    }
}

impl<'de> Deserialize<'de> for CookieText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Secret::new(text)))
    }
}

/// A place in the list of all sessions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// When the session there ends, in milliseconds since 1970.
    pub ends: i64,
    /// Its id.
    pub id: String,
}

/// How many live sessions depend on a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyUse {
    /// The key's id.
    pub key: String,
    /// Live sessions whose record it seals.
    pub sessions: u64,
    /// When the last of them ends if nothing more happens.
    pub until: String,
}

/// What rules that only report would have refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleReport {
    /// When the counting began that this is told of; counts are by the hour.
    pub since: String,
    /// The most frequent first.
    pub rows: Vec<RuleReportRow>,
    /// How many rows had to make room for others since the gateway was started.
    pub forgotten: u64,
}

/// The requests of one user that one rule of one route would have refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleReportRow {
    /// Host and path of the route, as in `wiki.example.com/admin`.
    pub route: String,
    /// The part of its rule, by its key.
    pub rule: String,
    /// Who asked; nothing for guests.
    pub user: Option<String>,
    /// How many there were.
    pub count: u64,
    /// The hour of the first.
    pub first: String,
    /// The last.
    pub last: String,
}

/// How many sessions a command ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// How many, as far as they were counted.
    pub ended: usize,
    /// Why there may have been others.
    pub uncounted: Option<String>,
}

/// Some of the sessions there are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionPage {
    /// They.
    pub sessions: Vec<Entry>,
    /// Where the next page begins; nothing after the last.
    pub next: Option<Cursor>,
    /// Why there may be others, which only other processes know.
    pub partial: Option<String>,
}

/// A session in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Entry {
    /// A live one.
    Live(Box<SessionInfo>),
    /// One whose record cannot be trusted, so that no cookie opens it.
    Unreadable {
        /// Its id.
        id: String,
        /// Why.
        unreadable: String,
    },
}

/// What is known of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionInfo {
    /// Its whole id.
    pub id: String,
    /// Whose it is.
    pub user: String,
    /// The groups the user was in at login.
    pub groups: Vec<String>,
    /// The user's name for people.
    pub name: Option<String>,
    /// The user's e-mail address.
    pub email: Option<String>,
    /// How the user proved who they are.
    pub method: String,
    /// When it began.
    pub created: String,
    /// When the user last proved who they are.
    pub authenticated: String,
    /// The last request that counts as activity.
    pub last_seen: String,
    /// The address that logged in.
    pub address: IpAddr,
    /// The browser that logged in, as it named itself.
    pub user_agent: String,
    /// Whether the user asked to stay signed in, and that is still offered.
    pub remembered: bool,
    /// The key that seals its record.
    pub key: String,
    /// When it ends if nothing more happens.
    pub ends: String,
    /// How long until then.
    pub ends_in_seconds: u64,
    /// What is left of each of its limits.
    pub left: Left,
}

/// What is left of a session's limits, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Left {
    /// Of an ordinary one.
    Ordinary {
        /// Without any request.
        idle: u64,
        /// Whatever happens.
        absolute: u64,
    },
    /// Of a remembered one, which has one limit.
    Remembered(u64),
}

/// How one session stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionReport {
    /// Its whole id.
    pub id: String,
    /// In a word.
    pub verdict: Verdict,
    /// In a sentence.
    pub reason: String,
    /// All that is known of it; nothing if it cannot be read.
    pub session: Option<SessionInfo>,
}

/// The sessions in numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Live sessions.
    pub live: u64,
    /// Users who have any.
    pub users: usize,
    /// When the oldest of them began.
    pub oldest: Option<String>,
    /// Sessions in the memory of the process that answers.
    pub cached: usize,
    /// The keys that they depend on.
    pub keys: Vec<KeyUse>,
}

/// What became of a cookie or a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It opens a live session.
    Live,
    /// It is that of a guest who is recognised.
    Guest,
    /// There is no cookie of our name.
    NotOurs,
    /// It has not the form of our cookies.
    Malformed,
    /// It is longer than ours can be.
    Oversized,
    /// There are two different ones of one name.
    Doubled,
    /// No key of the ring signed it.
    Forged,
    /// The session, or the guest, reached a limit.
    Expired,
    /// There is no such session any more.
    Ended,
    /// Its token was replaced by a newer one.
    Replaced,
    /// The record of the session cannot be trusted.
    Untrusted,
    /// Guests are not recognised.
    GuestsOff,
    /// The store does not answer.
    StoreUnavailable,
}

impl Verdict {
    /// Whether the gateway would take it.
    #[must_use]
    pub const fn is_good(self) -> bool {
        matches!(self, Self::Live | Self::Guest)
    }
}

/// What a cookie is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CookieReport {
    /// In a word.
    pub verdict: Verdict,
    /// In a sentence.
    pub reason: String,
    /// What it holds, if it is one of ours.
    pub kind: Option<Kind>,
    /// The key that signed it, or that it names.
    pub key: Option<KeyInfo>,
    /// The token of a session.
    pub token: Option<TokenInfo>,
    /// The guest.
    pub guest: Option<GuestInfo>,
    /// The whole id of the session that it names.
    pub id: Option<String>,
    /// The session.
    pub session: Option<SessionInfo>,
    /// What must be the same as at login, which a cookie alone does not show.
    pub bound_to: Vec<String>,
}

/// What a cookie holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The token of a session.
    Session,
    /// The token and the record of a session.
    SessionWithRecord,
    /// The token of a guest.
    Guest,
}

/// A key that a cookie names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyInfo {
    /// Its id.
    pub id: String,
    /// What it does now.
    pub role: Role,
    /// When it was made, if it is in the ring.
    pub created: Option<String>,
}

/// What a key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// It signs.
    Signs,
    /// It verifies what it signed earlier.
    Verifies,
    /// It is not in the ring.
    Unlisted,
}

/// The token in a cookie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenInfo {
    /// How often the session had got a new one when this was given.
    pub generation: u32,
    /// The newest that the session's browser has shown.
    pub newest: Option<u32>,
    /// What follows.
    pub state: Option<TokenStateInfo>,
}

/// What a token is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TokenStateInfo {
    /// It is the newest.
    Current,
    /// It is the newest, and the next request gets another.
    Due,
    /// It is newer than the newest that was shown so far.
    Next,
    /// It was replaced a moment ago and still serves requests under way.
    Previous,
    /// It was replaced; its use ends the session.
    Replaced,
}

/// A guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestInfo {
    /// The guest's name for backends.
    pub pseudonym: String,
    /// When the guest came first.
    pub issued: String,
    /// How long the guest is still recognised.
    pub ends_in_seconds: u64,
}
