//! Recovery codes: what somebody prints for the day when the telephone is lost.
//!
//! A code is four groups of four characters that look like no other. The first group picks the code, the
//! others are the secret: 59 bits, kept as a password hash (NIST SP 800-63B-4, 3.1.2.2). Invariant: what
//! is typed in another case, with spaces or without hyphens is the same code.

use crate::login::new_password::{UNAMBIGUOUS, random_character};
use crate::secret::Secret;

/// A code, in the parts that are kept apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RecoveryCode {
    /// Picks it among the user's codes.
    pub(super) label: String,
    /// What is hashed.
    pub(super) secret: Secret<String>,
}

impl RecoveryCode {
    /// A new one.
    pub(super) fn generate() -> Result<Self, getrandom::Error> {
        Ok(Self { label: random_text(GROUP)?, secret: Secret::new(random_text(GROUP * (GROUPS - 1))?) })
    }

    /// What somebody typed, if it looks like a code.
    #[must_use]
    pub(super) fn parse(typed: &str) -> Option<Self> {
        let parting = |character: &char| !character.is_whitespace() && *character != '-';
        let text: String = typed.chars().take(TYPED_LIMIT).filter(parting).collect::<String>().to_lowercase();
        let is_ours = text.bytes().all(|byte| UNAMBIGUOUS.contains(&byte));
        let (label, secret) = text.split_at_checked(GROUP)?;
        (is_ours && text.len() == GROUP * GROUPS)
            .then(|| Self { label: label.to_owned(), secret: Secret::new(secret.to_owned()) })
    }

    /// As it is printed.
    #[must_use]
    pub(super) fn to_printed(&self) -> String {
        let mut text = self.label.clone();
        for (place, character) in self.secret.expose().chars().enumerate() {
            if place % GROUP == 0 {
                text.push('-');
            }
            text.push(character);
        }
        text
    }
}

/// How many codes somebody gets at once.
pub(super) const COUNT: usize = 10;

const GROUP: usize = 4;
const GROUPS: usize = 4;
/// Characters; nobody types more.
const TYPED_LIMIT: usize = 64;

fn random_text(length: usize) -> Result<String, getrandom::Error> {
    (0..length).map(|_| random_character()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_code_comes_back_however_it_is_typed() {
        let code = RecoveryCode::generate().unwrap();
        let printed = code.to_printed();
        assert_eq!(printed.split('-').map(str::len).collect::<Vec<_>>(), [4; 4]);
        for typed in
            [printed.clone(), printed.to_uppercase(), printed.replace('-', " "), printed.replace('-', "")]
        {
            assert_eq!(RecoveryCode::parse(&typed), Some(code.clone()), "{typed}");
        }
    }

    #[test]
    fn what_is_secret_has_more_than_fifty_bits() {
        let bits = f64::from(u32::try_from(GROUP * (GROUPS - 1)).unwrap()) * 31_f64.log2();
        assert!(bits > 50.0, "{bits}");
    }

    proptest! {
        #[test]
        fn whatever_else_is_typed_is_none(typed in ".{0,80}") {
            if let Some(code) = RecoveryCode::parse(&typed) {
                prop_assert_eq!(RecoveryCode::parse(&code.to_printed()), Some(code));
            }
        }
    }
}
