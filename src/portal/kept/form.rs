//! A form that is kept, its name, and whose it is.
//!
//! Invariant: what is kept is sealed for one user in one browser, under one name.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use crate::identity::UserId;
use crate::portal::browser::Browser;
use crate::session::keyring::{KeyRing, Sealing};

/// A form that somebody sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::portal) struct KeptForm {
    /// Path and query.
    pub(in crate::portal) target: String,
    /// The value of `Content-Type`.
    pub(in crate::portal) content_type: String,
    /// The body.
    pub(in crate::portal) body: Vec<u8>,
}

impl KeptForm {
    pub(super) fn seal(&self, id: FormId, owner: &Browser, ring: &KeyRing) -> Option<Vec<u8>> {
        ring.seal(Sealing::Kept, &context(id, owner), self.to_bytes())
    }

    /// SECURITY: in another browser, for another user and under another name it does not open.
    pub(super) fn open(sealed: &[u8], id: FormId, owner: &Browser, ring: &KeyRing) -> Option<Self> {
        Self::from_bytes(&ring.open(Sealing::Kept, &context(id, owner), sealed)?)
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.target.len() + self.content_type.len() + self.body.len() + 2);
        bytes.extend_from_slice(self.target.as_bytes());
        bytes.push(b'\n');
        bytes.extend_from_slice(self.content_type.as_bytes());
        bytes.push(b'\n');
        bytes.extend_from_slice(&self.body);
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut parts = bytes.splitn(3, |byte| *byte == b'\n');
        let mut text = || String::from_utf8(parts.next()?.to_vec()).ok();
        let (target, content_type) = (text()?, text()?);
        Some(Self { target, content_type, body: parts.next()?.to_vec() })
    }
}

/// The name under which a form is kept: 128 random bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct FormId([u8; Self::LENGTH]);

impl FormId {
    pub(super) const LENGTH: usize = 16;

    pub(super) fn generate() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; Self::LENGTH];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    pub(super) const fn from_bytes(bytes: [u8; Self::LENGTH]) -> Self {
        Self(bytes)
    }

    pub(super) const fn as_bytes(&self) -> &[u8; Self::LENGTH] {
        &self.0
    }

    /// The name in an address.
    pub(super) fn parse(text: &str) -> Option<Self> {
        URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok().map(Self)
    }

    pub(super) fn to_text(self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }
}

/// Names a user to who counts the forms of each; the store need not know who that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Whose([u8; Self::LENGTH]);

impl Whose {
    pub(super) const LENGTH: usize = 16;

    pub(super) fn of(user: &UserId) -> Self {
        let digest: [u8; 32] = Sha256::digest(user.as_str().to_ascii_lowercase()).into();
        Self(digest.first_chunk().copied().unwrap_or_default())
    }

    pub(super) const fn from_bytes(bytes: [u8; Self::LENGTH]) -> Self {
        Self(bytes)
    }

    pub(super) const fn as_bytes(&self) -> &[u8; Self::LENGTH] {
        &self.0
    }
}

/// The parts before the name of the user have one length.
fn context(id: FormId, owner: &Browser) -> Vec<u8> {
    let user = owner.user().as_str();
    [owner.id().as_slice(), id.as_bytes(), b"\n", user.as_bytes()].concat()
}
