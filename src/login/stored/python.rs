//! What Django and Werkzeug (Flask) write: PBKDF2 and scrypt with their parameters in front.

use std::num::NonZeroU32;

use aws_lc_rs::pbkdf2::{self, PBKDF2_HMAC_SHA1, PBKDF2_HMAC_SHA256, PBKDF2_HMAC_SHA512};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::{Computed, Foreign, HashProblem, Kind, Read, Scheme};

pub(super) fn read(text: &str) -> Read {
    if text.starts_with('!') {
        return Some(Err(HashProblem::Unusable));
    }
    let (method, rest) = text.split_once('$')?;
    match method {
        "pbkdf2_sha256" => Some(django(rest, Kind::Sha256)),
        "pbkdf2_sha1" => Some(django(rest, Kind::Sha1)),
        "bcrypt_sha256" => Some(super::crypt::read_bcrypt_sha256(rest)),
        "bcrypt" => super::crypt::read(rest),
        "md5" | "sha1" | "unsalted_md5" | "unsalted_sha1" | "sha256" | "plain" => {
            Some(Err(HashProblem::Weak("plain digest")))
        }
        _ => werkzeug(method, rest),
    }
}

/// `ROUNDS$SALT$BASE64`; the salt is the text as it stands there.
fn django(rest: &str, kind: Kind) -> Result<Foreign, HashProblem> {
    let damaged = HashProblem::Damaged("Django");
    let mut parts = rest.split('$');
    let (Some(rounds), Some(salt), Some(digest), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(damaged);
    };
    let rounds = number(rounds).ok_or(damaged)?;
    let digest = STANDARD.decode(digest).map_err(|_| damaged)?;
    foreign(Scheme::Pbkdf2 { kind, rounds }, salt, digest).ok_or(damaged)
}

/// `METHOD$SALT$HEX`, where the method is `pbkdf2:sha256:ROUNDS` or `scrypt:N:r:p`.
fn werkzeug(method: &str, rest: &str) -> Read {
    let damaged = HashProblem::Damaged("Werkzeug");
    let parts: Vec<&str> = method.split(':').collect();
    let scheme = match parts.as_slice() {
        ["pbkdf2", kind, rounds] => {
            kind_named(kind).zip(number(rounds)).map(|(kind, rounds)| Scheme::Pbkdf2 { kind, rounds })
        }
        ["scrypt", n, r, p] => scrypt_scheme(n, r, p),
        _ => return None,
    };
    let found = scheme
        .zip(rest.split_once('$'))
        .and_then(|(scheme, (salt, digest))| foreign(scheme, salt, from_hex(digest)?));
    Some(found.ok_or(damaged))
}

fn foreign(scheme: Scheme, salt: &str, digest: Vec<u8>) -> Option<Foreign> {
    let is_sound =
        !salt.is_empty() && salt.len() <= LENGTH_LIMIT && (16..=LENGTH_LIMIT).contains(&digest.len());
    is_sound.then(|| Foreign { scheme, salt: salt.as_bytes().to_vec(), digest })
}

fn kind_named(name: &str) -> Option<Kind> {
    match name {
        "sha1" => Some(Kind::Sha1),
        "sha256" => Some(Kind::Sha256),
        "sha512" => Some(Kind::Sha512),
        _ => None,
    }
}

fn scrypt_scheme(n: &str, r: &str, p: &str) -> Option<Scheme> {
    let n = number(n).filter(|n| n.is_power_of_two() && *n > 1)?;
    let log_n = u8::try_from(n.trailing_zeros()).ok()?;
    Some(Scheme::Scrypt { log_n, r: number(r)?, p: number(p)? })
}

/// More than zero.
fn number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|number| *number > 0)
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let pairs = text.as_bytes().chunks_exact(2).map(std::str::from_utf8);
    pairs.map(|pair| u8::from_str_radix(pair.ok()?, 16).ok()).collect()
}

pub(super) fn pbkdf2(
    kind: Kind,
    rounds: u32,
    salt: &[u8],
    password: &[u8],
    length: usize,
) -> Option<Computed> {
    let algorithm = match kind {
        Kind::Sha1 => PBKDF2_HMAC_SHA1,
        Kind::Sha256 => PBKDF2_HMAC_SHA256,
        Kind::Sha512 => PBKDF2_HMAC_SHA512,
    };
    let mut computed = Zeroizing::new(vec![0; length]);
    pbkdf2::derive(algorithm, NonZeroU32::new(rounds)?, salt, password, &mut computed);
    Some(computed)
}

pub(super) fn scrypt(
    log_n: u8,
    r: u32,
    p: u32,
    salt: &[u8],
    password: &[u8],
    length: usize,
) -> Option<Computed> {
    let params = scrypt::Params::new(log_n, r, p).ok()?;
    let mut computed = Zeroizing::new(vec![0; length]);
    scrypt::scrypt(password, salt, &params, &mut computed).ok()?;
    Some(computed)
}

/// Of a salt and of a digest, in bytes.
const LENGTH_LIMIT: usize = 256;
