//! The beginning of a session's id, as an administrator writes it.
//!
//! Which sessions it may name is left to the engine. Invariant: it is long enough that a slip of the
//! hand names no session, and it is never more than an id.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::token::SessionId;

/// The first digits of a session's id, or all of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IdPrefix(String);

impl IdPrefix {
    /// The fewest digits that may name a session.
    pub const SHORTEST: usize = 8;
    const WHOLE: usize = 64;

    /// The id, if all of it was given.
    #[must_use]
    pub fn whole(&self) -> Option<SessionId> {
        SessionId::from_hex(&self.0)
    }

    /// Whether `id` begins with these digits.
    #[must_use]
    pub fn begins(&self, id: SessionId) -> bool {
        let digits = id.as_bytes().iter().flat_map(|byte| [byte >> 4, byte & 15]);
        self.0.chars().map(|digit| digit.to_digit(16)).zip(digits).all(|(ours, its)| ours == Some(its.into()))
    }
}

/// A text that is no beginning of an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the id of a session is 64 hexadecimal digits, of which the first {} are enough", IdPrefix::SHORTEST)]
pub struct IdPrefixError;

impl FromStr for IdPrefix {
    type Err = IdPrefixError;

    fn from_str(text: &str) -> Result<Self, IdPrefixError> {
        let is_long_enough = (Self::SHORTEST..=Self::WHOLE).contains(&text.len());
        if is_long_enough && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(IdPrefixError)
        }
    }
}

impl TryFrom<String> for IdPrefix {
    type Error = IdPrefixError;

    fn try_from(text: String) -> Result<Self, IdPrefixError> {
        text.parse()
    }
}

impl From<IdPrefix> for String {
    fn from(prefix: IdPrefix) -> Self {
        prefix.0
    }
}

impl fmt::Display for IdPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::token::Token;

    #[test]
    fn every_beginning_of_an_id_names_it_and_no_other() {
        let (one, other) = (Token::generate().session(), Token::generate().session());
        for length in IdPrefix::SHORTEST..=64 {
            let prefix: IdPrefix = one.to_hex().split_at(length).0.parse().unwrap();
            assert!(prefix.begins(one) && !prefix.begins(other), "{prefix}");
            assert_eq!(prefix.whole(), (length == 64).then_some(one));
        }
        let upper: IdPrefix = one.to_hex().split_at(9).0.to_ascii_uppercase().parse().unwrap();
        assert!(upper.begins(one));
    }

    #[test]
    fn what_is_too_short_too_long_or_no_number_names_nothing() {
        for text in ["", "1234567", "1234567g", "12345678 ", "\u{e4}\u{e4}\u{e4}\u{e4}", &"a".repeat(65)] {
            assert!(text.parse::<IdPrefix>().is_err(), "{text:?}");
        }
    }
}
