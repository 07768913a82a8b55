//! The session cookie: written, found, cleared, and kept from the backend.
//!
//! What its value holds is left to [`wire`], which session it opens to the engine. A value that is
//! too long for one cookie is spread over several. Invariants: nothing but the very bytes that were
//! written here is valid; finding a cookie that holds a token allocates nothing.

use std::time::Duration;

use cookie::Cookie;
use http::HeaderMap;
use http::header::{COOKIE, HeaderValue};
use memchr::memchr;
use zeroize::Zeroizing;

use super::keyring::{KeyId, KeyRing};

mod strip;
pub mod wire;

#[cfg(test)]
mod tests;

pub use strip::{keep_ours, strip};
pub use wire::{Carried, GuestTicket, Ticket};

/// How the session cookie looks (RFC 6265bis).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Its name; begins with `__Host-`.
    pub name: String,
    /// When a browser sends it from other sites.
    pub same_site: SameSite,
}

impl Config {
    /// Whether browsers take a cookie of this name and guard it as we need (RFC 6265bis 4.1.3.2).
    pub fn check(&self) -> Result<(), NameError> {
        let rest = self.name.strip_prefix(PREFIX).ok_or(NameError::Prefix)?;
        if rest.is_empty() || self.name.len() > NAME_LIMIT {
            return Err(NameError::Length);
        }
        match rest.chars().find(|&c| !is_token_character(c)) {
            Some(odd) => Err(NameError::Character(odd)),
            None => Ok(()),
        }
    }
}

/// The `SameSite` attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameSite {
    /// Sent when a link leads here.
    Lax,
    /// Sent only from our own pages.
    Strict,
}

/// Why a text is no name for the session cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Another site's page could set it.
    #[error("the name must begin with `{PREFIX}`, as `__Host-vestibule` does")]
    Prefix,
    /// Empty or too long.
    #[error("the name must have 1 to {} characters after `{PREFIX}`", NAME_LIMIT - PREFIX.len())]
    Length,
    /// A character that ends a name.
    #[error("the name holds {0:?}; letters, digits and `!#$%&'*+-.^_`|~` are allowed")]
    Character(char),
}

/// What a request presents.
#[derive(Clone, Debug)]
pub enum Found {
    /// No cookie of our name.
    Absent,
    /// A cookie that we did not write: `malformed`, `forged`, `doubled` or `oversized`.
    Refused(&'static str),
    /// A cookie of a session that we wrote.
    Valid(Ticket),
    /// A cookie of a guest that we wrote.
    Guest(GuestTicket),
}

/// Looks for the session cookie in all `Cookie` lines (HTTP/2 splits them, RFC 9113 8.2.3).
#[must_use]
pub fn find(headers: &HeaderMap, config: &Config, ring: &KeyRing) -> Found {
    match gather(headers, config) {
        Whole::Absent => Found::Absent,
        Whole::Refused(reason) => Found::Refused(reason),
        Whole::One(value) => wire::read(value, &config.name, ring),
        Whole::Several(value) => wire::read(&value, &config.name, ring),
    }
}

/// The key that the session cookie names as its signer, whether or not that is true.
#[must_use]
pub fn claimed_signer(headers: &HeaderMap, config: &Config) -> Option<KeyId> {
    match gather(headers, config) {
        Whole::Absent | Whole::Refused(_) => None,
        Whole::One(value) => wire::claimed_signer(value),
        Whole::Several(value) => wire::claimed_signer(&value),
    }
}

/// The `Set-Cookie` values that give a browser `value`; without `max_age` until it closes.
///
/// Nothing for a value that browsers would not keep whole.
#[must_use]
pub fn set(value: &str, config: &Config, max_age: Option<Duration>) -> Option<Vec<HeaderValue>> {
    let max_age = max_age.map(|age| age.min(AGE_LIMIT));
    if value.len() <= CHUNK {
        return Some(vec![header(&config.name, value, config, max_age)]);
    }
    let count = value.len().div_ceil(CHUNK);
    if count > CHUNKS {
        return None;
    }
    let chunks = value.as_bytes().chunks(CHUNK).map(|chunk| str::from_utf8(chunk).unwrap_or_default());
    Some(
        chunks
            .enumerate()
            .map(|(place, chunk)| match place {
                0 => header(&config.name, &format!("{count}.{chunk}"), config, max_age),
                _ => header(&chunk_name(&config.name, place), chunk, config, max_age),
            })
            .collect(),
    )
}

/// The `Set-Cookie` values that take the cookie away, with the attributes it was set with.
#[must_use]
pub fn clear(config: &Config, form: Form) -> Vec<HeaderValue> {
    let chunks = if form == Form::Record { CHUNKS } else { 1 };
    let name = |place| if place == 0 { config.name.clone() } else { chunk_name(&config.name, place) };
    (0..chunks).map(|place| header(&name(place), "", config, Some(Duration::ZERO))).collect()
}

/// What a session cookie holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A token; the record is in a store.
    Token,
    /// The token and the sealed record.
    Record,
}

fn gather<'a>(headers: &'a HeaderMap, config: &Config) -> Whole<'a> {
    let mut parts = Parts([None; CHUNKS]);
    for line in headers.get_all(COOKIE) {
        for segment in Segments(Some(line.as_bytes())) {
            let Some((name, value)) = pair(segment) else { continue };
            let Some(place) = place(&config.name, name) else { continue };
            if parts.put(place, value) == Put::Doubled {
                return Whole::Refused("doubled");
            }
        }
    }
    parts.whole()
}

/// The values of our cookies: the first, and the chunks that may follow it.
struct Parts<'a>([Option<&'a [u8]>; CHUNKS]);

enum Whole<'a> {
    Absent,
    Refused(&'static str),
    One(&'a [u8]),
    Several(Zeroizing<Vec<u8>>),
}

#[derive(PartialEq, Eq)]
enum Put {
    Done,
    Doubled,
}

impl<'a> Parts<'a> {
    /// SECURITY: a second cookie of one name is somebody's attempt to be read differently by two
    /// readers; the same one twice has one reading.
    fn put(&mut self, place: usize, value: &'a [u8]) -> Put {
        match self.0.get_mut(place) {
            Some(Some(first)) if *first != value => Put::Doubled,
            Some(slot) => {
                *slot = Some(value);
                Put::Done
            }
            None => Put::Done,
        }
    }

    /// The first value says how many there are, unless it is the only one. What is left over from a
    /// longer one does not count.
    fn whole(&self) -> Whole<'a> {
        let [Some(first), ..] = self.0 else { return Whole::Absent };
        let (count, rest) = match first {
            [count @ b'2'..=b'9', b'.', rest @ ..] => (usize::from(count - b'0'), rest),
            _ if first.len() > CHUNK => return Whole::Refused("oversized"),
            _ => return Whole::One(first),
        };
        if count > CHUNKS || first.len() > CHUNK + 2 {
            return Whole::Refused("oversized");
        }
        let mut whole = Zeroizing::new(rest.to_vec());
        for chunk in self.0.iter().take(count).skip(1) {
            match chunk {
                Some(chunk) if chunk.len() <= CHUNK => whole.extend_from_slice(chunk),
                Some(_) => return Whole::Refused("oversized"),
                None => return Whole::Refused("malformed"),
            }
        }
        Whole::Several(whole)
    }
}

/// Which of our cookies has this name: 0 is the first, the others are its chunks.
fn place(ours: &str, name: &[u8]) -> Option<usize> {
    match name.strip_prefix(ours.as_bytes())? {
        [] => Some(0),
        [b'-', digit @ b'1'..=b'9'] => Some(usize::from(digit - b'0')).filter(|&place| place < CHUNKS),
        _ => None,
    }
}

fn chunk_name(name: &str, place: usize) -> String {
    format!("{name}-{place}")
}

/// The cookies of one line, with the blanks around them.
struct Segments<'a>(Option<&'a [u8]>);

impl<'a> Iterator for Segments<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let line = self.0?;
        let cut = memchr(b';', line).and_then(|end| line.split_at_checked(end));
        let (segment, rest) = cut.map_or((line, None), |(segment, rest)| (segment, rest.get(1..)));
        self.0 = rest;
        Some(segment)
    }
}

/// Name and value. What has no `=` is a cookie without a name (RFC 6265bis 5.6), never ours.
fn pair(segment: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, value) = segment.split_at_checked(memchr(b'=', segment)?)?;
    Some((name.trim_ascii(), value.get(1..)?.trim_ascii()))
}

fn header(name: &str, value: &str, config: &Config, max_age: Option<Duration>) -> HeaderValue {
    let same_site = match config.same_site {
        SameSite::Lax => cookie::SameSite::Lax,
        SameSite::Strict => cookie::SameSite::Strict,
    };
    let mut cookie =
        Cookie::build((name, value)).path("/").secure(true).http_only(true).same_site(same_site).build();
    if let Some(age) = max_age {
        let seconds = i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
        cookie.set_max_age(cookie::time::Duration::seconds(seconds));
    }
    let text = Zeroizing::new(cookie.to_string());
    // The engine takes no name that a header cannot hold; browsers ignore an empty cookie.
    let mut header = HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""));
    header.set_sensitive(true);
    header
}

fn is_token_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

const PREFIX: &str = "__Host-";
const NAME_LIMIT: usize = 64;
/// Characters of a value in one cookie: with name and attributes below 4,000 bytes, as browsers keep
/// 4,096 (RFC 6265bis 5.6).
const CHUNK: usize = 3_800;
/// The most cookies that one value is spread over: many servers take no more than 16 KiB of headers.
const CHUNKS: usize = 4;
/// Browsers keep no cookie longer (RFC 6265bis 5.5).
const AGE_LIMIT: Duration = Duration::from_hours(400 * 24);
