//! The secret in the session cookie, and the id that everything but the browser knows instead.
//!
//! Invariant: no token can be computed from its id, so a stolen store opens no session.

use std::fmt::{self, Write as _};

use sha2::{Digest as _, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// The random secret of one session: 192 bits from the kernel, zeroed on drop.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Token([u8; Token::LENGTH]);

impl Token {
    /// Its length in bytes.
    pub const LENGTH: usize = 24;

    /// A new token.
    #[must_use]
    pub fn generate() -> Self {
        Self(*random())
    }

    /// The id of the session that this token opens.
    #[must_use]
    pub fn session(&self) -> SessionId {
        // SECURITY: a hash of a uniformly random 192-bit value cannot be turned back; the label keeps
        // it apart from every other hash of a token.
        SessionId(Sha256::new().chain_update(LABEL).chain_update(self.0).finalize().into())
    }

    pub(super) const fn from_bytes(bytes: [u8; Self::LENGTH]) -> Self {
        Self(bytes)
    }

    pub(super) const fn as_bytes(&self) -> &[u8; Self::LENGTH] {
        &self.0
    }
}

/// Shows nothing.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(***)")
    }
}

/// Names a session in stores and logs; derived from its token and no secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId([u8; 32]);

impl SessionId {
    /// The id with these bytes, as a store kept them.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl SessionId {
    /// The whole id in hexadecimal, as an administrator may write it.
    #[must_use]
    pub fn to_hex(&self) -> String {
        self.0.iter().fold(String::with_capacity(64), |mut text, byte| {
            // Writing into a string cannot fail.
            let _infallible = write!(text, "{byte:02x}");
            text
        })
    }

    /// The id that [`Self::to_hex`] wrote; nothing for any other text.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
            return None;
        }
        for (place, byte) in bytes.iter_mut().enumerate() {
            let start = place.saturating_mul(2);
            *byte = u8::from_str_radix(text.get(start..start.saturating_add(2))?, 16).ok()?;
        }
        Some(Self(bytes))
    }

    /// A name for this session that may be told to backends: it leads to no id and no token.
    #[must_use]
    pub fn pseudonym(&self) -> String {
        let hash: [u8; 32] = Sha256::new().chain_update(PSEUDONYM).chain_update(self.0).finalize().into();
        Self(hash).to_hex().chars().take(32).collect()
    }
}

/// The first 8 bytes in hexadecimal: enough to find a session in a log.
impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(8).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({self})")
    }
}

/// Bytes that nobody can guess.
#[expect(
    clippy::expect_used,
    reason = "without randomness every secret is known: stopping is the only safe answer"
)]
pub(super) fn random<const N: usize>() -> Zeroizing<[u8; N]> {
    let mut bytes = Zeroizing::new([0; N]);
    getrandom::fill(bytes.as_mut_slice()).expect("the kernel gives random bytes");
    bytes
}

const LABEL: &[u8] = b"vestibule session id 1\0";
const PSEUDONYM: &[u8] = b"vestibule session pseudonym 1\0";

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ten_thousand_tokens_are_all_different() {
        let ids: HashSet<SessionId> = (0..10_000).map(|_| Token::generate().session()).collect();
        assert_eq!(ids.len(), 10_000);
    }

    #[test]
    fn the_id_of_a_token_never_changes() {
        let token = Token::from_bytes([7; Token::LENGTH]);
        assert_eq!(token.session(), token.clone().session());
        // Stores are full of ids: a change of the derivation would end every session.
        assert_eq!(token.session().to_string(), "60256693b7ff04b8");
    }

    #[test]
    fn an_id_is_read_back_from_its_digits_and_nothing_else_is_one() {
        let id = Token::generate().session();
        assert_eq!(SessionId::from_hex(&id.to_hex()), Some(id));
        for wrong in [
            id.to_string(),
            id.to_hex().to_ascii_uppercase() + "A",
            id.to_hex().replacen(char::is_alphanumeric, "+", 1),
        ] {
            assert_eq!(SessionId::from_hex(&wrong), None, "{wrong}");
        }
    }

    #[test]
    fn debug_shows_neither_a_token_nor_a_whole_id() {
        let token = Token::generate();
        assert_eq!(format!("{token:?}"), "Token(***)");
        assert_eq!(format!("{:?}", token.session()).len(), "SessionId()".len() + 16);
    }
}
