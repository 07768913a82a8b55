//! The columns of second factors, as they come from a database.
//!
//! Invariant: a row that does not hold what it should makes its own user's factors unreadable, and is never
//! taken for their absence.

use sha2::{Digest, Sha256};

use super::super::store::{AfterReset, CodeHash, FactorId, Guesses, Held, Kind, Reset, Row};
use crate::clock::Timestamp;
use crate::identity::UserId;
use crate::login::accounts::AccountsError;

/// A factor, in the order `user_name, id, kind, name, sealed, credential, host, last_step, created,
/// last_used`. MySQL gives texts as bytes.
pub(super) type Columns<Text> =
    (Text, Text, Text, Text, Vec<u8>, Option<Vec<u8>>, Option<Text>, i64, i64, Option<i64>);

/// What is sealed, in the order `user_name, id, sealed`.
pub(super) type SealedColumns<Text> = (Text, Text, Vec<u8>);

/// A one-time link, in the order `user_name, expires, removes_factors`.
pub(super) type ResetColumns<Text> = (Text, i64, bool);

/// Everything of a user: factors, codes and guesses.
pub(super) type HeldColumns<Text> = (Vec<Columns<Text>>, Vec<(Text, Text)>, Option<(i64, i64)>);

pub(super) fn held<Text: Into<Vec<u8>>>(
    (rows, codes, guesses): HeldColumns<Text>,
) -> Result<Held, AccountsError> {
    let rows = rows.into_iter().map(|columns| row(columns).map(|(_, row)| row));
    let codes = codes.into_iter().map(|(label, phc)| CodeHash { label: text(label), phc: text(phc) });
    let guesses = guesses.map(|(count, last)| Guesses {
        count: u32::try_from(count.max(0)).unwrap_or(u32::MAX),
        last: Timestamp::from_millis(last),
    });
    Ok(Held {
        rows: rows.collect::<Result<_, _>>()?,
        codes: codes.collect(),
        guesses: guesses.unwrap_or_default(),
    })
}

pub(super) fn row<Text: Into<Vec<u8>>>(columns: Columns<Text>) -> Result<(UserId, Row), AccountsError> {
    let (user, id, kind, name, sealed, credential, host, last_step, created, last_used) = columns;
    let (user, kind) = (self::user(user)?, text(kind));
    let known = [Kind::Totp, Kind::Passkey].into_iter().find(|known| known.as_str() == kind);
    let damaged = || AccountsError::Damaged(user.to_string(), format!("{kind:?} is no kind of factor"));
    let row = Row {
        id: FactorId::named(text(id)),
        kind: known.ok_or_else(damaged)?,
        name: text(name),
        sealed,
        credential: credential.zip(host.map(text)),
        last_step,
        created: Timestamp::from_millis(created),
        last_used: last_used.map(Timestamp::from_millis),
    };
    Ok((user, row))
}

pub(super) fn sealed<Text: Into<Vec<u8>>>(
    (user, id, sealed): SealedColumns<Text>,
) -> Result<(UserId, FactorId, Vec<u8>), AccountsError> {
    Ok((self::user(user)?, FactorId::named(text(id)), sealed))
}

pub(super) fn reset<Text: Into<Vec<u8>>>(
    (user, expires, removes_factors): ResetColumns<Text>,
) -> Result<Reset, AccountsError> {
    Ok(Reset {
        user: self::user(user)?,
        expires: Timestamp::from_millis(expires),
        factors: if removes_factors { AfterReset::Removed } else { AfterReset::Kept },
    })
}

/// What an index holds of a credential id, which may be longer than an index takes.
pub(super) fn digest(credential: &[u8]) -> [u8; 32] {
    Sha256::digest(credential).into()
}

fn user(name: impl Into<Vec<u8>>) -> Result<UserId, AccountsError> {
    let name = text(name);
    UserId::try_from(name.as_str()).map_err(|error| AccountsError::Damaged(name, error.to_string()))
}

fn text(bytes: impl Into<Vec<u8>>) -> String {
    String::from_utf8(bytes.into())
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}
