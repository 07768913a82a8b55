//! What a login proves: who somebody is, and how they showed it.
//!
//! Invariant: a [`UserId`] and a [`Group`] can stand in an HTTP header as they are.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The name of a user: 1 to 128 visible ASCII characters without `,` `;` `=` `"` or a space, so
/// that it can stand in a header, a log line and a URL without being read differently.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserId(Arc<str>);

/// The name of a group, under the same rule as a [`UserId`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Group(Arc<str>);

/// How an identity was proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AuthMethod {
    /// A password against our own accounts.
    Password,
    /// A passkey in the place of the password.
    Passkey,
}

impl AuthMethod {
    /// The name in logs and records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Passkey => "passkey",
        }
    }
}

/// What somebody can show to prove who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Factor {
    /// What they know.
    Password,
    /// A one-time code of an application or a device of theirs (RFC 6238).
    Totp,
    /// One of the codes that they printed.
    RecoveryCode,
    /// A passkey, which asks for a finger, a face or a number itself.
    Passkey,
}

impl Factor {
    /// The name in logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Totp => "one-time code",
            Self::RecoveryCode => "recovery code",
            Self::Passkey => "passkey",
        }
    }
}

/// Who somebody is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The user's name, unique in this gateway.
    pub user: UserId,
    /// The groups the user is in.
    #[serde(default)]
    pub groups: Vec<Group>,
    /// The name for people to read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The e-mail address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
}

/// Why a text is no [`UserId`] or [`Group`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It is empty.
    #[error("it is empty")]
    Empty,
    /// It is longer than [`NAME_LIMIT`].
    #[error("it is longer than {NAME_LIMIT} characters")]
    TooLong,
    /// It holds a character that a header, a log or a URL could read differently.
    #[error("it holds {0:?}; letters, digits and `-_.@+!#$&'*^~|` are allowed")]
    Character(char),
}

/// The greatest length of a user's or a group's name, in characters.
pub const NAME_LIMIT: usize = 128;

macro_rules! name {
    ($type:ident) => {
        impl $type {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<&str> for $type {
            type Error = NameError;

            fn try_from(text: &str) -> Result<Self, NameError> {
                check_name(text).map(|()| Self(Arc::from(text)))
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                Self::try_from(text.as_str())
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.0.as_ref().to_owned()
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(UserId);
name!(Group);

fn check_name(text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if let Some(odd) = text.chars().find(|&c| !is_name_character(c)) {
        return Err(NameError::Character(odd));
    }
    if text.len() > NAME_LIMIT {
        return Err(NameError::TooLong);
    }
    Ok(())
}

fn is_name_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-_.@+!#$&'*^~|".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_two_readers_could_read_differently_is_refused() {
        for bad in ["", "a b", "a,b", "a;b", "a=b", "a\r\nX: y", "a\0", "é", "a/b", "a%b", "a\"b"] {
            assert!(UserId::try_from(bad).is_err(), "{bad:?}");
        }
        assert!(UserId::try_from("x".repeat(NAME_LIMIT + 1)).is_err());
    }

    #[test]
    fn an_ordinary_name_is_kept_as_it_is() {
        for good in ["alice", "alice@example.com", "O'Neil", "svc-backup_2", "DOMAIN.user"] {
            assert_eq!(UserId::try_from(good).map(|user| user.to_string()).as_deref(), Ok(good));
        }
    }
}
