//! What the value of a session cookie holds, and how it is signed.
//!
//! The wire form is base64url of version, key id, body and tag. The tag is an HMAC over all of them
//! and the cookie's name, so a forged cookie is refused without asking a store. The versions:
//!
//! | version | body |
//! |---|---|
//! | 2 | token, generation of the token |
//! | 3 | token, generation, last activity, sealed record: a session that no store keeps |
//! | 4 | token, time of issue: a guest |
//!
//! Invariant: what was signed as one of them, or under another cookie's name, is none of the others.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use super::Found;
use crate::clock::Timestamp;
use crate::session::keyring::{Key, KeyId, KeyRing, Purpose};
use crate::session::token::Token;

/// A signed claim to a session.
#[derive(Clone, Debug)]
pub struct Ticket {
    /// The secret of the session.
    pub token: Token,
    /// How often it was renewed.
    pub generation: u32,
    /// The key that signed the cookie.
    pub key: KeyId,
    /// The record itself, where no store keeps it.
    pub carried: Option<Carried>,
}

/// A session that its browser keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carried {
    /// Its last activity when the cookie was written.
    pub last_seen: Timestamp,
    /// Its sealed record.
    pub record: Vec<u8>,
}

/// A signed claim to be the same guest as before.
#[derive(Clone, Debug)]
pub struct GuestTicket {
    /// The secret of the guest.
    pub token: Token,
    /// When the guest came first.
    pub issued: Timestamp,
    /// The key that signed the cookie.
    pub key: KeyId,
}

impl Ticket {
    /// The value for a browser, signed by `key`.
    #[must_use]
    pub fn value(&self, key: &Key, name: &str) -> Zeroizing<String> {
        let mut body = Zeroizing::new(Vec::with_capacity(TOKEN_BODY));
        body.extend_from_slice(self.token.as_bytes());
        body.extend_from_slice(&self.generation.to_be_bytes());
        match &self.carried {
            None => sign(key, name, TOKEN, &body),
            Some(carried) => {
                body.extend_from_slice(&carried.last_seen.as_millis().to_be_bytes());
                body.extend_from_slice(&carried.record);
                sign(key, name, RECORD, &body)
            }
        }
    }
}

impl GuestTicket {
    /// The value for a browser, signed by `key`.
    #[must_use]
    pub fn value(&self, key: &Key, name: &str) -> Zeroizing<String> {
        let issued = self.issued.as_millis().to_be_bytes();
        let body = Zeroizing::new([self.token.as_bytes().as_slice(), &issued].concat());
        sign(key, name, GUEST, &body)
    }
}

/// Reads a value that a browser sent.
pub(super) fn read(value: &[u8], name: &str, ring: &KeyRing) -> Found {
    if value.len() > SHORT_TEXT {
        let mut buffer = Zeroizing::new(vec![0; value.len()]);
        return read_into(&mut buffer, value, name, ring);
    }
    let mut buffer = Zeroizing::new([0; SHORT_TEXT]);
    read_into(buffer.as_mut_slice(), value, name, ring)
}

/// The key that a value names, true or not.
pub(super) fn claimed_signer(value: &[u8]) -> Option<KeyId> {
    let wire = Zeroizing::new(URL_SAFE_NO_PAD.decode(value).ok()?);
    let (_version, rest) = wire.split_first()?;
    rest.first_chunk().map(|id| KeyId::from_bytes(*id))
}

fn read_into(buffer: &mut [u8], value: &[u8], name: &str, ring: &KeyRing) -> Found {
    let Ok(length) = URL_SAFE_NO_PAD.decode_slice(value, buffer) else { return Found::Refused("malformed") };
    let Some((wire, tag)) = buffer.get(..length).and_then(<[u8]>::split_last_chunk::<TAG>) else {
        return Found::Refused("malformed");
    };
    let Some((&version, rest)) = wire.split_first() else { return Found::Refused("malformed") };
    let Some((id, body)) = rest.split_first_chunk() else { return Found::Refused("malformed") };
    let Some(found) = parse(version, KeyId::from_bytes(*id), body) else {
        return Found::Refused("malformed");
    };
    let signer = ring.key(KeyId::from_bytes(*id));
    match signer {
        Some(key) if key.verify(Purpose::SessionCookie, &signed(name, &version, id, body), tag) => found,
        _ => Found::Refused("forged"),
    }
}

/// The claim of a body whose signature is still to be checked.
fn parse(version: u8, key: KeyId, body: &[u8]) -> Option<Found> {
    let (token, rest) = body.split_first_chunk()?;
    let token = Token::from_bytes(*token);
    if version == GUEST {
        let issued = Timestamp::from_millis(i64::from_be_bytes(rest.try_into().ok()?));
        return Some(Found::Guest(GuestTicket { token, issued, key }));
    }
    let (generation, rest) = rest.split_first_chunk()?;
    let generation = u32::from_be_bytes(*generation);
    let carried = match (version, rest) {
        (TOKEN, []) => None,
        (RECORD, rest) => {
            let (last_seen, record) = rest.split_first_chunk()?;
            let last_seen = Timestamp::from_millis(i64::from_be_bytes(*last_seen));
            Some(Carried { last_seen, record: record.to_vec() })
        }
        _ => return None,
    };
    Some(Found::Valid(Ticket { token, generation, key, carried }))
}

fn sign(key: &Key, name: &str, version: u8, body: &[u8]) -> Zeroizing<String> {
    let id = key.id();
    let tag = key.tag(Purpose::SessionCookie, &signed(name, &version, id.as_bytes(), body));
    let wire = Zeroizing::new([&[version], id.as_bytes().as_slice(), body, &tag].concat());
    Zeroizing::new(URL_SAFE_NO_PAD.encode(wire.as_slice()))
}

/// What the tag covers. A NUL, which no name holds, ends the name; only the body after the parts of
/// fixed length varies.
fn signed<'a>(name: &'a str, version: &'a u8, id: &'a [u8; 4], body: &'a [u8]) -> [&'a [u8]; 5] {
    [name.as_bytes(), &[0], std::slice::from_ref(version), id, body]
}

const TOKEN: u8 = 2;
const RECORD: u8 = 3;
const GUEST: u8 = 4;
const TAG: usize = 32;
const TOKEN_BODY: usize = Token::LENGTH + 4;
/// The longest value without a record: that of a guest, as base64url without padding.
const SHORT_TEXT: usize = ((1 + 4 + Token::LENGTH + 8 + TAG) * 4).div_ceil(3);
