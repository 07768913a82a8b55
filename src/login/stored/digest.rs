//! Digests in braces, as `htpasswd -s` and LDAP directories write them: `{SHA}`, `{SSHA}` and kin.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::Digest as _;
use zeroize::Zeroizing;

use super::{Computed, Foreign, HashProblem, Kind, Read, Scheme};

pub(super) fn read(text: &str) -> Read {
    let (name, value) = text.strip_prefix('{')?.split_once('}')?;
    let (kind, length, salting) = match name.to_ascii_uppercase().as_str() {
        "SHA" => (Kind::Sha1, 20, Salting::Without),
        "SSHA" => (Kind::Sha1, 20, Salting::With),
        "SSHA256" => (Kind::Sha256, 32, Salting::With),
        "SSHA512" => (Kind::Sha512, 64, Salting::With),
        // What stands behind it is one of the other forms.
        "CRYPT" => return super::crypt::read(value),
        "CLEARTEXT" | "PLAIN" => return Some(Err(HashProblem::Clear)),
        _ => return Some(Err(HashProblem::Unknown)),
    };
    let Ok(bytes) = STANDARD.decode(value) else { return Some(Err(HashProblem::Damaged("SHA"))) };
    let Some((digest, salt)) = bytes.split_at_checked(length) else {
        return Some(Err(HashProblem::Damaged("SHA")));
    };
    if salt.is_empty() == (salting == Salting::With) {
        return Some(Err(HashProblem::Damaged("SHA")));
    }
    Some(Ok(Foreign { scheme: Scheme::Digest(kind), salt: salt.to_vec(), digest: digest.to_vec() }))
}

pub(super) fn compute(kind: Kind, salt: &[u8], password: &[u8]) -> Computed {
    Zeroizing::new(match kind {
        Kind::Sha1 => sha1::Sha1::new().chain_update(password).chain_update(salt).finalize().to_vec(),
        Kind::Sha256 => sha2::Sha256::new().chain_update(password).chain_update(salt).finalize().to_vec(),
        Kind::Sha512 => sha2::Sha512::new().chain_update(password).chain_update(salt).finalize().to_vec(),
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Salting {
    With,
    Without,
}
