//! The forms of crypt(3): bcrypt, apr1 and its elder `$1$`, SHA-crypt; the old DES is refused.
//!
//! Passwords are taken byte by byte as they were typed. Invariant: bcrypt looks at 72 bytes only, so a
//! longer password is never the right one there.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::alphabet::BCRYPT;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD};
use md5::{Digest as _, Md5};
use zeroize::Zeroizing;

use super::{Computed, Foreign, HashProblem, Read, Scheme};

pub(super) fn read(text: &str) -> Read {
    let Some(rest) = text.strip_prefix('$') else { return old_crypt(text) };
    let (id, rest) = rest.split_once('$')?;
    match id {
        "2a" | "2b" | "2y" => Some(read_bcrypt(rest)),
        "apr1" => Some(read_md5("$apr1$", rest)),
        "1" => Some(read_md5("$1$", rest)),
        "5" => Some(read_sha(rest, 43, |rounds| Scheme::Sha256Crypt { rounds })),
        "6" => Some(read_sha(rest, 86, |rounds| Scheme::Sha512Crypt { rounds })),
        _ => None,
    }
}

/// What Django writes as `bcrypt_sha256$$2b$12$...`, after the first dollar sign.
pub(super) fn read_bcrypt_sha256(text: &str) -> Result<Foreign, HashProblem> {
    let damaged = HashProblem::Damaged("bcrypt");
    let foreign = read(text).unwrap_or(Err(damaged))?;
    match foreign.scheme {
        Scheme::Bcrypt { cost } => Ok(Foreign { scheme: Scheme::BcryptSha256 { cost }, ..foreign }),
        _ => Err(damaged),
    }
}

/// Thirteen characters, two of them salt.
fn old_crypt(text: &str) -> Read {
    let is_it = text.len() == 13 && text.bytes().all(|byte| ALPHABET.contains(&byte));
    is_it.then_some(Err(HashProblem::OldCrypt))
}

/// `COST$`, 22 characters of salt and 31 of digest.
fn read_bcrypt(rest: &str) -> Result<Foreign, HashProblem> {
    let damaged = HashProblem::Damaged("bcrypt");
    let (cost, rest) = rest.split_once('$').ok_or(damaged)?;
    let cost = cost.parse().ok().filter(|cost| (4..=31).contains(cost)).ok_or(damaged)?;
    let (salt, digest) = rest.split_at_checked(22).ok_or(damaged)?;
    let decode = |text: &str| BCRYPT_TEXT.decode(text).map_err(|_| damaged);
    let (salt, digest) = (decode(salt)?, decode(digest)?);
    if salt.len() != 16 || digest.len() != 23 {
        return Err(damaged);
    }
    Ok(Foreign { scheme: Scheme::Bcrypt { cost }, salt, digest })
}

/// Up to 8 characters of salt and 22 of digest.
fn read_md5(marker: &'static str, rest: &str) -> Result<Foreign, HashProblem> {
    let damaged = HashProblem::Damaged("MD5-crypt");
    let (salt, digest) = rest.split_once('$').ok_or(damaged)?;
    if salt.len() > 8 || !is_sixty_four(digest, 22) {
        return Err(damaged);
    }
    let (salt, digest) = (salt.as_bytes().to_vec(), digest.as_bytes().to_vec());
    Ok(Foreign { scheme: Scheme::Md5Crypt { marker }, salt, digest })
}

/// Perhaps `rounds=N$`, up to 16 characters of salt, and the digest.
fn read_sha(rest: &str, length: usize, scheme: fn(u32) -> Scheme) -> Result<Foreign, HashProblem> {
    let damaged = HashProblem::Damaged("SHA-crypt");
    let (rounds, rest) = match rest.strip_prefix("rounds=") {
        Some(rest) => {
            let (rounds, rest) = rest.split_once('$').ok_or(damaged)?;
            (rounds.parse().map_err(|_| damaged)?, rest)
        }
        None => (DEFAULT_ROUNDS, rest),
    };
    let (salt, digest) = rest.split_once('$').ok_or(damaged)?;
    if salt.len() > 16 || !is_sixty_four(digest, length) || rounds < 1_000 {
        return Err(damaged);
    }
    Ok(Foreign { scheme: scheme(rounds), salt: salt.as_bytes().to_vec(), digest: digest.as_bytes().to_vec() })
}

fn is_sixty_four(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| ALPHABET.contains(&byte))
}

pub(super) fn bcrypt(cost: u32, salt: &[u8], password: &[u8]) -> Option<Computed> {
    let salt = salt.try_into().ok()?;
    // The work is the same for a password that cannot be the right one.
    let fits = password.len() < BCRYPT_LENGTH && !password.contains(&0);
    let key = Zeroizing::new([if fits { password } else { b"" }, &[0]].concat());
    let computed = ::bcrypt::bcrypt(cost, salt, &key);
    fits.then(|| Zeroizing::new(computed.iter().copied().take(23).collect()))
}

/// Django hashes first, so that no byte of a long password is ignored.
pub(super) fn bcrypt_sha256(cost: u32, salt: &[u8], password: &[u8]) -> Option<Computed> {
    let digest = sha2::Sha256::digest(password);
    let mut hex = Zeroizing::new(String::with_capacity(2 * digest.len()));
    for byte in digest {
        // Writing into a string cannot fail.
        let _infallible = write!(hex, "{byte:02x}");
    }
    bcrypt(cost, salt, hex.as_bytes())
}

pub(super) fn sha256(rounds: u32, salt: &[u8], password: &[u8]) -> Option<Computed> {
    let params = sha_crypt::Params::new(rounds).ok()?;
    let digest = Zeroizing::new(sha_crypt::sha256_crypt(password, salt, params));
    Some(sixty_four(digest.as_slice(), &SHA256_ORDER, 43))
}

pub(super) fn sha512(rounds: u32, salt: &[u8], password: &[u8]) -> Option<Computed> {
    let params = sha_crypt::Params::new(rounds).ok()?;
    let digest = Zeroizing::new(sha_crypt::sha512_crypt(password, salt, params));
    Some(sixty_four(digest.as_slice(), &SHA512_ORDER, 86))
}

/// Poul-Henning Kamp's MD5-crypt; Apache's differs by its marker only.
pub(super) fn md5(marker: &str, salt: &[u8], password: &[u8]) -> Option<Computed> {
    let first = Md5::new().chain_update(password).chain_update(salt).chain_update(password).finalize();
    let mut digest = Md5::new();
    digest.update(password);
    digest.update(marker.as_bytes());
    digest.update(salt);
    digest.update(first.iter().cycle().take(password.len()).copied().collect::<Vec<u8>>().as_slice());
    let mut length = password.len();
    while length > 0 {
        digest.update(if length & 1 == 1 { &[0][..] } else { password.get(..1)? });
        length >>= 1;
    }
    let mut state = digest.finalize();
    for round in 0..1_000 {
        state = md5_round(round, &state, salt, password);
    }
    Some(sixty_four(&state, &MD5_ORDER, 22))
}

fn md5_round(round: u32, state: &[u8], salt: &[u8], password: &[u8]) -> md5::digest::Output<Md5> {
    let is_odd = !round.is_multiple_of(2);
    let mut digest = Md5::new();
    digest.update(if is_odd { password } else { state });
    if !round.is_multiple_of(3) {
        digest.update(salt);
    }
    if !round.is_multiple_of(7) {
        digest.update(password);
    }
    digest.update(if is_odd { state } else { password });
    digest.finalize()
}

/// Each three bytes as four characters, the lowest bits first; the bytes come in the given order.
fn sixty_four(digest: &[u8], order: &[u8], length: usize) -> Computed {
    let mut text = Zeroizing::new(Vec::with_capacity(length + 4));
    for places in order.chunks(3) {
        let byte = |place: &u8| digest.get(usize::from(*place)).copied().map_or(0, u32::from);
        let mut bits = places.iter().fold(0, |bits, place| (bits << 8) | byte(place));
        for _ in 0..4 {
            text.extend(ALPHABET.get((bits & 0x3f) as usize));
            bits >>= 6;
        }
    }
    text.truncate(length);
    text
}

const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Some programs leave bits in the last character of a salt.
const BCRYPT_TEXT: GeneralPurpose =
    GeneralPurpose::new(&BCRYPT, NO_PAD.with_decode_allow_trailing_bits(true));

/// With the byte that ends it.
const BCRYPT_LENGTH: usize = 72;

const DEFAULT_ROUNDS: u32 = 5_000;

const MD5_ORDER: [u8; 16] = [0, 6, 12, 1, 7, 13, 2, 8, 14, 3, 9, 15, 4, 10, 5, 11];

const SHA256_ORDER: [u8; 32] = [
    0, 10, 20, 21, 1, 11, 12, 22, 2, 3, 13, 23, 24, 4, 14, 15, 25, 5, 6, 16, 26, 27, 7, 17, 18, 28, 8, 9, 19,
    29, 31, 30,
];

const SHA512_ORDER: [u8; 64] = [
    0, 21, 42, 22, 43, 1, 44, 2, 23, 3, 24, 45, 25, 46, 4, 47, 5, 26, 6, 27, 48, 28, 49, 7, 50, 8, 29, 9, 30,
    51, 31, 52, 10, 53, 11, 32, 12, 33, 54, 34, 55, 13, 56, 14, 35, 15, 36, 57, 37, 58, 16, 59, 17, 38, 18,
    39, 60, 40, 61, 19, 62, 20, 41, 63,
];
