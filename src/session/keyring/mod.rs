//! The keys that sign cookies and forms and seal records.
//!
//! A ring is an immutable snapshot; a change makes a new one. The newest active key signs, every
//! listed key verifies. How a ring looks in a file is left to [`file`]. Invariants: a ring has at
//! least one active key and no id or secret twice; each purpose has keys of its own, so that nothing
//! signed for one is worth anything for another.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, io};

use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::secret::Secret;

use super::token::random;

mod file;
mod key;

pub use key::{Key, KeyId, KeyRole, Purpose, Sealing};

/// The keys of this gateway.
#[derive(Clone)]
pub struct KeyRing {
    keys: Vec<Arc<Key>>,
    signer: Arc<Key>,
}

impl KeyRing {
    /// Reads the key file at `path`, which must be readable by its owner alone.
    pub fn load(path: &Path) -> Result<Self, KeyRingError> {
        file::load(path)
    }

    /// Reads the text of a key file.
    pub fn parse(text: &str) -> Result<Self, KeyRingError> {
        Ok(file::parse(text)?)
    }

    /// A ring with one new key.
    #[must_use]
    pub fn generate(now: Timestamp) -> Self {
        let key = Arc::new(Key::generate(random_id(), now));
        Self { keys: vec![Arc::clone(&key)], signer: key }
    }

    /// This ring with a new key that signs from now on; the others only verify.
    #[must_use]
    pub fn rotate(&self, now: Timestamp) -> Self {
        let signer = Arc::new(self.new_key(now));
        let mut keys: Vec<_> = self.keys.iter().map(|key| Arc::new(key.with_role(KeyRole::Verify))).collect();
        keys.push(Arc::clone(&signer));
        Self { keys, signer }
    }

    /// This ring with a new key that does not sign yet, so that several gateways can learn to verify it
    /// before one of them signs. Answers the key's id too.
    #[must_use]
    pub fn stage(&self, now: Timestamp) -> (Self, KeyId) {
        let staged = self.new_key(now).with_role(KeyRole::Verify);
        let id = staged.id();
        let mut keys = self.keys.clone();
        keys.push(Arc::new(staged));
        (Self { keys, signer: Arc::clone(&self.signer) }, id)
    }

    /// This ring with the key `id` as the one that signs; the others only verify.
    pub fn activate(&self, id: KeyId) -> Result<Self, KeyRingError> {
        let role = |key: &Key| if key.id() == id { KeyRole::Active } else { KeyRole::Verify };
        if self.key(id).is_none() {
            return Err(KeyProblem::Unknown(id).into());
        }
        Ok(Self::new(self.keys.iter().map(|key| Arc::new(key.with_role(role(key)))).collect())?)
    }

    /// This ring without the key `id`: what it signed and sealed is worth nothing from then on.
    pub fn retire(&self, id: KeyId) -> Result<Self, KeyRingError> {
        if self.key(id).is_none() {
            return Err(KeyProblem::Unknown(id).into());
        }
        let keys: Vec<_> = self.keys.iter().filter(|key| key.id() != id).cloned().collect();
        if keys.iter().all(|key| key.role() != KeyRole::Active) {
            return Err(KeyProblem::LastActive(id).into());
        }
        Ok(Self::new(keys)?)
    }

    /// Writes the ring to `path` so that a reader sees the old file or the new one, never half of
    /// one. The mode becomes 0600; the owner stays.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        file::save(self, path)
    }

    /// Whether `other` lists the same keys in the same roles.
    #[must_use]
    pub fn has_same_keys(&self, other: &Self) -> bool {
        let listed = |ring: &Self| ring.keys().map(|key| (key.id(), key.role())).collect::<Vec<_>>();
        listed(self) == listed(other)
    }

    /// Every key, in the order of the file.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.keys.iter().map(AsRef::as_ref)
    }

    /// The key that signs.
    #[must_use]
    pub fn signer(&self) -> &Key {
        &self.signer
    }

    /// The key with this id.
    #[must_use]
    pub fn key(&self, id: KeyId) -> Option<&Key> {
        self.keys().find(|key| key.id() == id)
    }

    /// HMAC-SHA256 of `message` by the key that signs.
    #[must_use]
    pub fn sign(&self, purpose: Purpose, message: &[u8]) -> (KeyId, [u8; 32]) {
        (self.signer.id(), self.signer.tag(purpose, &[message]))
    }

    /// Whether the listed key `key` made `tag` for `message`; in constant time.
    #[must_use]
    pub fn verify(&self, purpose: Purpose, key: KeyId, message: &[u8], tag: &[u8]) -> bool {
        self.key(key).is_some_and(|key| key.verify(purpose, &[message], tag))
    }

    /// Encrypts `plain` by the key that signs, for the same purpose and `context` to show again.
    #[must_use]
    pub fn seal(&self, purpose: Sealing, context: &[u8], plain: Vec<u8>) -> Option<Vec<u8>> {
        let sealed = self.signer.seal_for(purpose, context, plain)?;
        Some([self.signer.id().as_bytes().as_slice(), &sealed].concat())
    }

    /// What [`Self::seal`] was given, if a listed key sealed it for this purpose and `context`.
    #[must_use]
    pub fn open(&self, purpose: Sealing, context: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (key, sealed) = sealed.split_first_chunk::<4>()?;
        self.key(KeyId::from_bytes(*key))?.open_for(purpose, context, sealed)
    }

    /// Whether the key that signs now sealed this.
    #[must_use]
    pub fn is_newest_of(&self, sealed: &[u8]) -> bool {
        sealed.first_chunk::<4>() == Some(self.signer.id().as_bytes())
    }

    fn new_key(&self, now: Timestamp) -> Key {
        let id = std::iter::repeat_with(random_id).find(|&id| self.key(id).is_none());
        Key::generate(id.unwrap_or_else(random_id), now)
    }

    fn new(keys: Vec<Arc<Key>>) -> Result<Self, KeyProblem> {
        for (position, key) in keys.iter().enumerate() {
            let before = keys.iter().take(position);
            if before.clone().any(|other| other.id() == key.id()) {
                return Err(KeyProblem::SameId(key.id()));
            }
            if let Some(other) = before.clone().find(|other| other.secret() == key.secret()) {
                return Err(KeyProblem::SameSecret(other.id(), key.id()));
            }
        }
        // Of keys with one date the last listed signs.
        let active = keys.iter().filter(|key| key.role() == KeyRole::Active);
        let signer = match active.max_by_key(|key| key.created()) {
            Some(signer) => Arc::clone(signer),
            None if keys.is_empty() => return Err(KeyProblem::Empty),
            None => return Err(KeyProblem::NoActive),
        };
        Ok(Self { keys, signer })
    }
}

/// Shows ids and roles.
impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRing").field("keys", &self.keys).finish_non_exhaustive()
    }
}

/// Why there is no key ring.
#[derive(Debug, thiserror::Error)]
pub enum KeyRingError {
    /// The file cannot be read.
    #[error("cannot read the key file `{}`: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Others than its owner may read or write it.
    #[error(
        "the key file `{}` has mode {mode:03o}, so others can reach the keys; run `chmod 600 {}`",
        path.display(), path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The file holds no valid ring.
    #[error("the key file `{}` is not valid: {problem}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: KeyProblem,
    },
    /// What was asked of a ring, or a text without a file.
    #[error(transparent)]
    Problem(#[from] KeyProblem),
}

/// What is wrong with a ring. No text holds any part of a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyProblem {
    /// It is no TOML.
    #[error("line {line}: {message}")]
    Syntax {
        /// Where.
        line: usize,
        /// What the parser says.
        message: String,
    },
    /// A field is missing, unknown or wrong.
    #[error("{place}: {message}")]
    Field {
        /// Which key.
        place: String,
        /// What is wrong and what would be right.
        message: String,
    },
    /// The file says that it has more or fewer keys.
    #[error("`count` says {said} keys but there are {found}: the file was cut off, or correct `count`")]
    Count {
        /// What it says.
        said: i64,
        /// What there is.
        found: usize,
    },
    /// There is no key.
    #[error("it holds no `[[key]]`; `vestibule keys rotate` adds one")]
    Empty,
    /// No key may sign.
    #[error("no key has the role `active`; `vestibule keys rotate` adds one")]
    NoActive,
    /// One id twice.
    #[error("the id `{0}` is there twice; remove one of the two")]
    SameId(KeyId),
    /// One secret twice.
    #[error("the keys `{0}` and `{1}` have the same secret; remove one of the two")]
    SameSecret(KeyId, KeyId),
    /// There is no such key to retire.
    #[error("there is no key `{0}`; `vestibule keys status` lists them")]
    Unknown(KeyId),
    /// The ring could not sign without it.
    #[error("`{0}` is the only active key; run `vestibule keys rotate` first")]
    LastActive(KeyId),
}

fn random_id() -> KeyId {
    KeyId::from_bytes(*random())
}

fn random_secret() -> Secret<[u8; Key::SECRET]> {
    Secret::new(*random())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn day(number: u64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000) + Duration::from_secs(86_400 * number)
    }

    #[test]
    fn what_a_ring_signed_it_verifies_and_nothing_else() {
        let ring = KeyRing::generate(day(0));
        let (key, tag) = ring.sign(Purpose::LoginForm, b"message");
        assert!(ring.verify(Purpose::LoginForm, key, b"message", &tag));
        assert!(!ring.verify(Purpose::LoginForm, key, b"massage", &tag));
        assert!(!ring.verify(Purpose::SessionForm, key, b"message", &tag));
        assert!(!ring.verify(Purpose::LoginForm, KeyId::from_bytes([0; 4]), b"message", &tag));
        assert!(!ring.verify(Purpose::LoginForm, key, b"message", &tag[..31]));
        assert!(!ring.verify(Purpose::LoginForm, key, b"message", b""));
    }

    #[test]
    fn a_staged_key_verifies_and_signs_only_when_it_is_activated() {
        let old = KeyRing::generate(day(0));
        let (staged, id) = old.stage(day(1));
        assert_eq!(staged.signer().id(), old.signer().id());
        let active = staged.activate(id).unwrap();
        let (key, tag) = active.sign(Purpose::LoginForm, b"message");
        assert_eq!(key, id);
        assert!(staged.verify(Purpose::LoginForm, key, b"message", &tag), "a gateway that is behind");
        assert!(!old.verify(Purpose::LoginForm, key, b"message", &tag));
        let back = active.activate(old.signer().id()).unwrap();
        assert_eq!(back.signer().id(), old.signer().id());
        assert!(old.activate(id).unwrap_err().to_string().contains("there is no key"));
    }

    #[test]
    fn a_sealed_proof_opens_in_its_own_context_after_a_rotation_and_is_no_record() {
        let old = KeyRing::generate(day(0));
        let sealed = old.seal(Sealing::Proof, b"browser", b"proof".to_vec()).unwrap();
        let new = old.rotate(day(1));
        assert_eq!(new.open(Sealing::Proof, b"browser", &sealed).unwrap().as_slice(), b"proof");
        assert!(new.open(Sealing::Proof, b"another", &sealed).is_none());
        assert!(KeyRing::generate(day(0)).open(Sealing::Proof, b"browser", &sealed).is_none());
        assert!(new.open(Sealing::Factor, b"browser", &sealed).is_none());
        assert!(old.signer().open(b"browser", &sealed[4..]).is_none());
        for length in 0..sealed.len() {
            assert!(new.open(Sealing::Proof, b"browser", &sealed[..length]).is_none(), "cut to {length}");
        }
    }

    #[test]
    fn after_a_rotation_the_new_key_signs_and_the_old_one_verifies() {
        let old = KeyRing::generate(day(0));
        let new = old.rotate(day(1));
        let (key, tag) = old.sign(Purpose::SessionCookie, b"m");
        assert!(new.verify(Purpose::SessionCookie, key, b"m", &tag));
        assert_ne!(new.signer().id(), key);
        let roles: Vec<_> = new.keys().map(Key::role).collect();
        assert_eq!(roles, [KeyRole::Verify, KeyRole::Active]);
    }

    #[test]
    fn a_rotation_signs_with_the_new_key_even_when_the_clock_went_back() {
        let ring = KeyRing::generate(day(9)).rotate(day(1));
        let again = KeyRing::new(ring.keys.clone()).unwrap();
        assert_eq!(ring.signer().id(), again.signer().id());
    }

    #[test]
    fn a_retired_key_verifies_nothing() {
        let old = KeyRing::generate(day(0));
        let (key, tag) = old.sign(Purpose::SessionCookie, b"m");
        let new = old.rotate(day(1)).retire(key).unwrap();
        assert!(!new.verify(Purpose::SessionCookie, key, b"m", &tag));
        assert_eq!(new.keys().count(), 1);
    }

    #[test]
    fn the_only_active_key_and_an_unknown_one_cannot_be_retired() {
        let ring = KeyRing::generate(day(0)).rotate(day(1));
        let refused = ring.retire(ring.signer().id()).unwrap_err().to_string();
        assert!(refused.contains("rotate"), "{refused}");
        assert!(ring.retire(KeyId::from_bytes([1, 2, 3, 4])).unwrap_err().to_string().contains("01020304"));
    }

    #[test]
    fn debug_shows_no_secret() {
        let ring = KeyRing::generate(day(0));
        let shown = format!("{ring:?}");
        let secret = format!("{:?}", ring.signer().secret().expose());
        assert!(!shown.contains(&secret) && shown.contains(&ring.signer().id().to_string()), "{shown}");
    }
}
