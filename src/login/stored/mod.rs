//! What a stored password hash says: our own argon2id, or one that another program made.
//!
//! Where hashes are kept is left to `accounts`, on which threads they are computed to `password`.
//! Invariant: a text that parses is bounded work, whoever wrote it; nothing here shows a digest.

use std::fmt;

use argon2::{Params, PasswordHash};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

mod crypt;
pub mod decoys;
mod digest;
pub mod other_argon2;
mod python;

/// A stored password hash that was understood.
#[derive(Debug)]
pub enum StoredHash {
    /// Argon2 as a PHC string.
    Argon2(Box<PasswordHash>),
    /// Of another program; replaced by argon2id at the next login where that can be written.
    Foreign(Foreign),
}

impl StoredHash {
    /// Reads a hash in any of the forms that are known.
    pub fn parse(text: &str) -> Result<Self, HashProblem> {
        // Django writes its own name before the PHC string.
        let phc = text.strip_prefix("argon2$").map_or(text, |rest| rest.trim_start_matches('$'));
        if phc.starts_with("$argon2") || phc.starts_with("argon2") {
            return argon2(&format!("${}", phc.trim_start_matches('$')));
        }
        let readers = [crypt::read, digest::read, python::read];
        let found = readers.iter().find_map(|read| read(text));
        let foreign = found.unwrap_or(Err(HashProblem::Unknown))?;
        foreign.scheme.check()?;
        Ok(Self::Foreign(foreign))
    }
}

/// A hash that another program made.
#[derive(Clone)]
pub struct Foreign {
    scheme: Scheme,
    salt: Vec<u8>,
    digest: Vec<u8>,
}

impl Foreign {
    /// One that no password has, of the same cost.
    #[must_use]
    pub fn decoy(&self) -> Self {
        Self { scheme: self.scheme, salt: vec![b'.'; self.salt.len()], digest: vec![0; self.digest.len()] }
    }

    /// Whether `password` is the one behind it. Always the whole work.
    #[must_use]
    pub fn verify(&self, password: &[u8]) -> bool {
        let computed = match self.scheme {
            Scheme::Bcrypt { cost } => crypt::bcrypt(cost, &self.salt, password),
            Scheme::BcryptSha256 { cost } => crypt::bcrypt_sha256(cost, &self.salt, password),
            Scheme::Md5Crypt { marker } => crypt::md5(marker, &self.salt, password),
            Scheme::Sha256Crypt { rounds } => crypt::sha256(rounds, &self.salt, password),
            Scheme::Sha512Crypt { rounds } => crypt::sha512(rounds, &self.salt, password),
            Scheme::Digest(kind) => Some(digest::compute(kind, &self.salt, password)),
            Scheme::Pbkdf2 { kind, rounds } => {
                python::pbkdf2(kind, rounds, &self.salt, password, self.digest.len())
            }
            Scheme::Scrypt { log_n, r, p } => {
                python::scrypt(log_n, r, p, &self.salt, password, self.digest.len())
            }
        };
        computed.is_some_and(|computed| computed.as_slice().ct_eq(&self.digest).into())
    }
}

/// Shows the scheme only.
impl fmt::Debug for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Foreign").field(&self.scheme).finish()
    }
}

/// Why a text is no hash that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashProblem {
    /// Of no known form.
    #[error("it is no known password hash; `vestibule users hash` makes one")]
    Unknown,
    /// Of a known form, but cut off or with characters that cannot be there.
    #[error("it is a damaged {0} hash; set that password again")]
    Damaged(&'static str),
    /// It would take too long or too much memory.
    #[error("it is a {0} hash that would take too much work: {1}")]
    Excessive(&'static str, &'static str),
    /// The DES of old: only eight characters of a password count.
    #[error(
        "it is a hash of the old `crypt`, which ignores all but eight characters; set that password again"
    )]
    OldCrypt,
    /// No hash but the password.
    #[error("it is a password in clear; hash it with `vestibule users hash`")]
    Clear,
    /// One that says that there is no password.
    #[error("it says that the account has no usable password")]
    Unusable,
    /// An unsalted digest of somebody's own making.
    #[error("{0} hashes are not taken, as they protect nothing; set that password again")]
    Weak(&'static str),
}

/// How a digest is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Bcrypt { cost: u32 },
    BcryptSha256 { cost: u32 },
    Md5Crypt { marker: &'static str },
    Sha256Crypt { rounds: u32 },
    Sha512Crypt { rounds: u32 },
    Digest(Kind),
    Pbkdf2 { kind: Kind, rounds: u32 },
    Scrypt { log_n: u8, r: u32, p: u32 },
}

impl Scheme {
    /// SECURITY: who may write hashes (an import, a colleague with a text editor) must not be able to
    /// keep a hashing thread for minutes.
    fn check(self) -> Result<(), HashProblem> {
        let excessive = |name, limit| Err(HashProblem::Excessive(name, limit));
        match self {
            Self::Bcrypt { cost } | Self::BcryptSha256 { cost } if cost > BCRYPT_LIMIT => {
                excessive("bcrypt", "a cost up to 15 is taken")
            }
            Self::Sha256Crypt { rounds } | Self::Sha512Crypt { rounds } if rounds > CRYPT_LIMIT => {
                excessive("SHA-crypt", "up to 1000000 rounds are taken")
            }
            Self::Pbkdf2 { rounds, .. } if rounds > PBKDF2_LIMIT => {
                excessive("PBKDF2", "up to 3000000 rounds are taken")
            }
            Self::Scrypt { log_n, r, p } if scrypt_memory(log_n, r) > MEMORY_LIMIT || p > 16 => {
                excessive("scrypt", "up to 128 MiB and `p` up to 16 are taken")
            }
            _ => Ok(()),
        }
    }

    /// In about the time of one SHA-256 block.
    fn cost(self) -> u64 {
        match self {
            Self::Bcrypt { cost } | Self::BcryptSha256 { cost } => 500 << cost.min(31),
            Self::Md5Crypt { .. } => 1_000,
            Self::Sha256Crypt { rounds } | Self::Pbkdf2 { rounds, .. } => 2 * u64::from(rounds),
            Self::Sha512Crypt { rounds } => 3 * u64::from(rounds),
            Self::Digest(_) => 1,
            Self::Scrypt { log_n, r, p } => scrypt_memory(log_n, r).saturating_mul(u64::from(p)) / 16,
        }
    }
}

/// A digest function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Sha1,
    Sha256,
    Sha512,
}

/// What one of the forms says to a text; none if it is not of that form.
type Read = Option<Result<Foreign, HashProblem>>;

/// The bytes of a digest, gone when they are not needed any more.
type Computed = Zeroizing<Vec<u8>>;

fn argon2(phc: &str) -> Result<StoredHash, HashProblem> {
    let hash = PasswordHash::new(phc).map_err(|_| HashProblem::Damaged("argon2"))?;
    let params = Params::try_from(&hash).map_err(|_| HashProblem::Damaged("argon2"))?;
    if hash.hash.is_none() || hash.salt.is_none() {
        return Err(HashProblem::Damaged("argon2"));
    }
    let (memory, passes, lanes) = (params.m_cost(), params.t_cost(), params.p_cost());
    if u64::from(memory) > 2 * MEMORY_LIMIT / 1024 || passes > 16 || lanes > 16 {
        let limit = "up to 256 MiB, 16 passes and 16 lanes are taken";
        return Err(HashProblem::Excessive("argon2", limit));
    }
    Ok(StoredHash::Argon2(Box::new(hash)))
}

fn scrypt_memory(log_n: u8, r: u32) -> u64 {
    (128_u64 << log_n.min(40)).saturating_mul(u64::from(r))
}

const BCRYPT_LIMIT: u32 = 15;
const CRYPT_LIMIT: u32 = 1_000_000;
const PBKDF2_LIMIT: u32 = 3_000_000;
/// Bytes.
const MEMORY_LIMIT: u64 = 128 * 1024 * 1024;

#[cfg(test)]
mod tests;
