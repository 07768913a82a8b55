//! Argon2 of other parameters than ours: its work is another, as that of another program's hash is.
//!
//! Our own hashes are checked in `password`. Invariant: what is computed is what the library computes for a hash
//! as a whole.

use argon2::{Algorithm, Argon2, Params, PasswordHash, Version};
use zeroize::Zeroizing;

use super::{Computed, Foreign, Scheme};

/// The parts of a hash; nothing of one with a key or with other data in it, which no program writes.
pub(super) fn foreign(hash: &PasswordHash) -> Option<Foreign> {
    let params = Params::try_from(hash).ok()?;
    if !params.keyid().is_empty() || !params.data().is_empty() {
        return None;
    }
    let version = hash.version.map(Version::try_from).transpose().ok()?;
    let scheme = Scheme::Argon2 {
        algorithm: Algorithm::new(hash.algorithm.as_str()).ok()?,
        version: version.unwrap_or_default(),
        memory: params.m_cost(),
        passes: params.t_cost(),
        lanes: params.p_cost(),
    };
    Some(Foreign {
        scheme,
        salt: hash.salt.as_ref()?.to_vec(),
        digest: hash.hash.as_ref()?.as_bytes().to_vec(),
    })
}

/// The digest of `length` bytes.
pub(super) fn compute(
    (algorithm, version): (Algorithm, Version),
    (memory, passes, lanes): (u32, u32, u32),
    salt: &[u8],
    password: &[u8],
    length: usize,
) -> Option<Computed> {
    let params = Params::new(memory, passes, lanes, Some(length)).ok()?;
    let mut digest = Zeroizing::new(vec![0; length]);
    Argon2::new(algorithm, version, params).hash_password_into(password, salt, &mut digest).ok()?;
    Some(digest)
}
