//! One key of the ring and what it can do.
//!
//! Its secret is used for nothing itself: each purpose has a key derived from it (RFC 5869, with the
//! uniformly random secret in the place of the extracted one). What is signed and sealed is left to
//! others. Invariant: comparing tags takes the same time whatever they hold.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::secret::Secret;

use super::random_secret;
use crate::session::token::random;

/// What a key is used for; each has keys of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Session cookies.
    SessionCookie,
    /// The anti-forgery token of a form before login.
    LoginForm,
    /// The anti-forgery token of a form within a session.
    SessionForm,
    /// Records at rest.
    Record,
    /// The cookie of a device that signed in before.
    Device,
}

/// What a key encrypts for the gateway's own use; each has a key of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sealing {
    /// What a login proved, in the hands of a browser without a session.
    Proof,
    /// The secrets of second factors.
    Factor,
    /// What somebody sent while they had to prove who they are.
    Kept,
}

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyRole {
    /// Sign, if it is the newest, and verify.
    Active,
    /// Verify what it signed earlier.
    Verify,
}

impl KeyRole {
    /// The word in the key file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Verify => "verify",
        }
    }
}

/// Names a key; written as 8 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 4]);

impl KeyId {
    /// The id with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 4]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 4] {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// A text that is no key id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key id is 8 hexadecimal digits, as in `5f3a09c1`")]
pub struct KeyIdError;

impl FromStr for KeyId {
    type Err = KeyIdError;

    fn from_str(text: &str) -> Result<Self, KeyIdError> {
        if text.len() != 8 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(KeyIdError);
        }
        u32::from_str_radix(text, 16).map(|number| Self(number.to_be_bytes())).map_err(|_| KeyIdError)
    }
}

/// One key.
pub struct Key {
    id: KeyId,
    created: Timestamp,
    role: KeyRole,
    secret: Secret<[u8; Self::SECRET]>,
    macs: Macs,
    seal: LessSafeKey,
    sealings: Sealings,
}

impl Key {
    /// The length of a secret in bytes.
    pub const SECRET: usize = 32;

    /// Its name.
    #[must_use]
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// When it was made.
    #[must_use]
    pub const fn created(&self) -> Timestamp {
        self.created
    }

    /// What it may do.
    #[must_use]
    pub const fn role(&self) -> KeyRole {
        self.role
    }

    /// Encrypts `plain` so that nobody without the key can read or change it, or present it for
    /// another `context`.
    #[must_use]
    pub fn seal(&self, context: &[u8], plain: Vec<u8>) -> Option<Vec<u8>> {
        seal(&self.seal, context, plain)
    }

    /// What [`Self::seal`] was given, if this key sealed it for this `context`.
    #[must_use]
    pub fn open(&self, context: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        open(&self.seal, context, sealed)
    }

    pub(super) fn seal_for(&self, purpose: Sealing, context: &[u8], plain: Vec<u8>) -> Option<Vec<u8>> {
        seal(self.sealings.of(purpose), context, plain)
    }

    pub(super) fn open_for(
        &self,
        purpose: Sealing,
        context: &[u8],
        sealed: &[u8],
    ) -> Option<Zeroizing<Vec<u8>>> {
        open(self.sealings.of(purpose), context, sealed)
    }

    pub(super) fn new(
        id: KeyId,
        created: Timestamp,
        role: KeyRole,
        secret: Secret<[u8; Self::SECRET]>,
    ) -> Self {
        let macs = Macs {
            session_cookie: keyed(&secret, b"vestibule 1 session cookie"),
            login_form: keyed(&secret, b"vestibule 1 login form"),
            session_form: keyed(&secret, b"vestibule 1 session form"),
            record: keyed(&secret, b"vestibule 1 record tag"),
            device: keyed(&secret, b"vestibule 1 known device"),
        };
        let seal = sealing(&secret, b"vestibule 1 record seal");
        let sealings = Sealings {
            proof: sealing(&secret, b"vestibule 1 login proof seal"),
            factor: sealing(&secret, b"vestibule 1 second factor seal"),
            kept: sealing(&secret, b"vestibule 1 kept request seal"),
        };
        Self { id, created, role, secret, macs, seal, sealings }
    }

    pub(super) fn generate(id: KeyId, created: Timestamp) -> Self {
        Self::new(id, created, KeyRole::Active, random_secret())
    }

    pub(super) fn with_role(&self, role: KeyRole) -> Self {
        Self::new(self.id, self.created, role, self.secret.clone())
    }

    pub(super) const fn secret(&self) -> &Secret<[u8; Self::SECRET]> {
        &self.secret
    }

    /// HMAC-SHA256 over the parts, which the caller makes unambiguous.
    pub(in crate::session) fn tag(&self, purpose: Purpose, parts: &[&[u8]]) -> [u8; 32] {
        self.mac(purpose, parts).finalize().into_bytes().into()
    }

    pub(in crate::session) fn verify(&self, purpose: Purpose, parts: &[&[u8]], tag: &[u8]) -> bool {
        self.mac(purpose, parts).verify_slice(tag).is_ok()
    }

    fn mac(&self, purpose: Purpose, parts: &[&[u8]]) -> Hmac<Sha256> {
        let mut mac = match purpose {
            Purpose::SessionCookie => &self.macs.session_cookie,
            Purpose::LoginForm => &self.macs.login_form,
            Purpose::SessionForm => &self.macs.session_form,
            Purpose::Record => &self.macs.record,
            Purpose::Device => &self.macs.device,
        }
        .clone();
        for part in parts {
            mac.update(part);
        }
        mac
    }
}

/// Shows no secret.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("id", &self.id)
            .field("created", &self.created)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

/// Keyed once, cloned for each message: that saves half of the hashing of a short one.
struct Macs {
    session_cookie: Hmac<Sha256>,
    login_form: Hmac<Sha256>,
    session_form: Hmac<Sha256>,
    record: Hmac<Sha256>,
    device: Hmac<Sha256>,
}

/// The ciphers of each [`Sealing`].
struct Sealings {
    proof: LessSafeKey,
    factor: LessSafeKey,
    kept: LessSafeKey,
}

impl Sealings {
    const fn of(&self, purpose: Sealing) -> &LessSafeKey {
        match purpose {
            Sealing::Proof => &self.proof,
            Sealing::Factor => &self.factor,
            Sealing::Kept => &self.kept,
        }
    }
}

fn keyed(secret: &Secret<[u8; Key::SECRET]>, label: &[u8]) -> Hmac<Sha256> {
    mac_with(&derive(secret, label))
}

#[expect(clippy::expect_used, reason = "a derived key has the length that the algorithm wants")]
fn sealing(secret: &Secret<[u8; Key::SECRET]>, label: &[u8]) -> LessSafeKey {
    let key = derive(secret, label);
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM_SIV, key.as_slice()).expect("32 bytes"))
}

fn seal(cipher: &LessSafeKey, context: &[u8], mut plain: Vec<u8>) -> Option<Vec<u8>> {
    // SECURITY: random nonces are safe here: GCM-SIV loses nothing but equality if one repeats.
    let nonce: [u8; NONCE_LEN] = *random();
    let tag = cipher.seal_in_place_separate_tag(
        Nonce::assume_unique_for_key(nonce),
        Aad::from(context),
        &mut plain,
    );
    let mut sealed = Vec::with_capacity(NONCE_LEN + plain.len() + AES_256_GCM_SIV.tag_len());
    sealed.extend_from_slice(&nonce);
    sealed.extend_from_slice(&plain);
    sealed.extend_from_slice(tag.ok()?.as_ref());
    Some(sealed)
}

fn open(cipher: &LessSafeKey, context: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>()?;
    let mut text = Zeroizing::new(sealed.to_vec());
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let length = cipher.open_in_place(nonce, Aad::from(context), text.as_mut_slice()).ok()?.len();
    text.truncate(length);
    Some(text)
}

/// The first block of HKDF-Expand (RFC 5869 section 2.3).
fn derive(secret: &Secret<[u8; Key::SECRET]>, label: &[u8]) -> Zeroizing<[u8; 32]> {
    let mac = mac_with(secret.expose()).chain_update(label).chain_update([1]);
    Zeroizing::new(mac.finalize().into_bytes().into())
}

/// HMAC fills a short key with zeros up to its block (RFC 2104 section 2).
fn mac_with(key: &[u8; 32]) -> Hmac<Sha256> {
    let mut block = Zeroizing::new([0; 64]);
    block.iter_mut().zip(key).for_each(|(place, byte)| *place = *byte);
    Hmac::new(&(*block).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(role: KeyRole) -> Key {
        Key::new(KeyId::from_bytes([1; 4]), Timestamp::default(), role, Secret::new([7; Key::SECRET]))
    }

    #[test]
    fn what_is_sealed_opens_in_its_own_context_only() {
        let key = key(KeyRole::Active);
        let sealed = key.seal(b"one", b"text".to_vec()).unwrap();
        assert_eq!(key.open(b"one", &sealed).unwrap().as_slice(), b"text");
        assert!(key.open(b"two", &sealed).is_none());
        assert!(Key::generate(key.id(), key.created()).open(b"one", &sealed).is_none());
        for length in 0..sealed.len() {
            assert!(key.open(b"one", &sealed[..length]).is_none(), "cut to {length}");
        }
    }

    #[test]
    fn sealing_twice_shows_no_likeness() {
        let key = key(KeyRole::Active);
        assert_ne!(key.seal(b"", b"text".to_vec()), key.seal(b"", b"text".to_vec()));
    }

    #[test]
    fn another_role_is_the_same_key() {
        let sealed = key(KeyRole::Active).seal(b"", b"text".to_vec()).unwrap();
        assert!(key(KeyRole::Active).with_role(KeyRole::Verify).open(b"", &sealed).is_some());
    }

    #[test]
    fn a_key_id_is_eight_hexadecimal_digits() {
        assert_eq!("0a0b0c0d".parse::<KeyId>().unwrap().to_string(), "0a0b0c0d");
        for bad in ["", "0a0b0c0", "0a0b0c0d0", "+a0b0c0d", "0a0b0c0g", "0a 0b0c0"] {
            assert_eq!(bad.parse::<KeyId>(), Err(KeyIdError), "{bad:?}");
        }
    }
}
