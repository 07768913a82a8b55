//! The place of passkeys in a program that was built without them: no host has any.

use super::{Answered, EnrolError, Factors, NewPasskey, Question};
use crate::identity::UserId;

/// The host on which a passkey is asked for. There is none: nobody makes one.
#[derive(Debug)]
pub struct Site(());

impl Site {
    /// Nothing: this program knows no passkeys.
    #[must_use]
    pub const fn at(_: &str) -> Option<Self> {
        None
    }
}

#[expect(clippy::unused_async, reason = "with passkeys they ask the store")]
impl Factors {
    /// Refused: there are no passkeys.
    pub async fn ask_new_passkey(&self, _: &Site, _: &UserId) -> Result<Question, EnrolError> {
        Err(absent())
    }

    /// Refused: there are no passkeys.
    pub async fn add_passkey(&self, _: &Site, _: &UserId, _: NewPasskey<'_>) -> Result<bool, EnrolError> {
        Err(absent())
    }

    /// Refused: there are no passkeys.
    pub async fn ask_passkey(&self, _: &Site, _: &UserId) -> Result<Option<Question>, EnrolError> {
        Err(absent())
    }

    /// Refused: there are no passkeys.
    pub fn ask_any_passkey(&self, _: &Site) -> Result<Question, EnrolError> {
        Err(absent())
    }

    /// Refused: there are no passkeys.
    pub async fn check_passkey(&self, _: &Site, _: &UserId, _: Answered<'_>) -> Result<bool, EnrolError> {
        Err(absent())
    }

    /// Refused: there are no passkeys.
    pub async fn check_any_passkey(&self, _: &Site, _: Answered<'_>) -> Result<Option<UserId>, EnrolError> {
        Err(absent())
    }
}

fn absent() -> EnrolError {
    EnrolError::Passkey("this program was built without passkeys".to_owned())
}
