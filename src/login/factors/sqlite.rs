//! Second factors in an SQLite file: beside the accounts, or in a file of their own.
//!
//! Invariant: beside the accounts, nothing of a user outlives their account.

use std::path::Path;
use std::pin::Pin;

use rusqlite::types::{FromSqlError, Type};
use rusqlite::{Connection, OptionalExtension, Row as SqlRow, params};

use super::store::{
    AfterReset, Answer, Change, CodeHash, FactorId, FactorStore, Guesses, Held, Kind, Reset, Row,
};
use crate::clock::Timestamp;
use crate::identity::UserId;
use crate::login::accounts::AccountsError;
use crate::storage::sqlite::Database;

/// The tables; `$owner` is what a user's name refers to.
macro_rules! tables {
    ($owner:literal) => {
        concat!(
            "CREATE TABLE factors (
                id TEXT NOT NULL PRIMARY KEY,
                user TEXT NOT NULL COLLATE NOCASE",
            $owner,
            ",
                kind TEXT NOT NULL,
                name TEXT NOT NULL,
                sealed BLOB NOT NULL,
                credential BLOB UNIQUE,
                host TEXT,
                last_step INTEGER NOT NULL,
                created INTEGER NOT NULL,
                last_used INTEGER
            ) STRICT, WITHOUT ROWID;
            CREATE INDEX factors_of_user ON factors (user);
            CREATE TABLE recovery_codes (
                user TEXT NOT NULL COLLATE NOCASE",
            $owner,
            ",
                label TEXT NOT NULL,
                phc TEXT NOT NULL,
                PRIMARY KEY (user, label)
            ) STRICT, WITHOUT ROWID;
            CREATE TABLE factor_guesses (
                user TEXT NOT NULL COLLATE NOCASE PRIMARY KEY",
            $owner,
            ",
                count INTEGER NOT NULL,
                last INTEGER NOT NULL
            ) STRICT, WITHOUT ROWID;
            CREATE TABLE resets (
                user TEXT NOT NULL COLLATE NOCASE PRIMARY KEY",
            $owner,
            ",
                hash BLOB NOT NULL UNIQUE,
                expires INTEGER NOT NULL,
                removes_factors INTEGER NOT NULL
            ) STRICT, WITHOUT ROWID;
            CREATE TABLE spent (
                hash BLOB NOT NULL PRIMARY KEY,
                until INTEGER NOT NULL
            ) STRICT, WITHOUT ROWID;"
        )
    };
}

/// The step that brings the tables into the database of accounts.
pub(in crate::login) const BESIDE_ACCOUNTS: &str = tables!(" REFERENCES users (name) ON DELETE CASCADE");

/// Second factors in an SQLite file. Clones share it.
#[derive(Clone, Debug)]
pub struct SqliteFactors {
    database: Database,
}

impl SqliteFactors {
    /// In a file of their own, for accounts that people declare.
    pub async fn open(path: &Path) -> Result<Self, AccountsError> {
        Ok(Self { database: Database::open(path, &[tables!("")]).await? })
    }

    /// In the database of the accounts, which has the tables already.
    #[must_use]
    pub const fn beside(accounts: Database) -> Self {
        Self { database: accounts }
    }
}

impl FactorStore for SqliteFactors {
    fn of_user(&self, user: UserId) -> Answer<'_, Held> {
        Box::pin(async move { Ok(self.database.read(move |connection| held(connection, &user)).await?) })
    }

    fn by_credential(&self, credential: Vec<u8>) -> Answer<'_, Option<(UserId, Row)>> {
        let look = move |connection: &Connection| {
            let mut query = connection.prepare_cached(
                "SELECT id, kind, name, sealed, credential, host, last_step, created, last_used, user
                 FROM factors WHERE credential = ?1",
            )?;
            query.query_row([credential], |found| Ok((user(found, 9)?, row(found)?))).optional()
        };
        Box::pin(async move { Ok(self.database.read(look).await?) })
    }

    fn reset(&self, hash: [u8; 32]) -> Answer<'_, Option<Reset>> {
        let look = move |connection: &Connection| {
            let mut query = connection
                .prepare_cached("SELECT user, expires, removes_factors FROM resets WHERE hash = ?1")?;
            query.query_row([hash], reset).optional()
        };
        Box::pin(async move { Ok(self.database.read(look).await?) })
    }

    fn sealed(&self) -> Answer<'_, Vec<(UserId, FactorId, Vec<u8>)>> {
        let look = |connection: &Connection| {
            let mut query = connection.prepare_cached("SELECT user, id, sealed FROM factors")?;
            let sealed =
                |found: &SqlRow<'_>| Ok((user(found, 0)?, FactorId::named(found.get(1)?), found.get(2)?));
            query.query_map([], sealed)?.collect()
        };
        Box::pin(async move { Ok(self.database.read(look).await?) })
    }

    fn change(&self, change: Change) -> Answer<'_, bool> {
        Box::pin(async move {
            let changed = self.database.write(move |connection| apply(connection, change)).await?;
            Ok(changed > 0)
        })
    }

    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.database.close())
    }
}

fn held(connection: &Connection, user: &UserId) -> rusqlite::Result<Held> {
    let user = user.as_str();
    let mut rows = connection.prepare_cached(
        "SELECT id, kind, name, sealed, credential, host, last_step, created, last_used
         FROM factors WHERE user = ?1 ORDER BY created, id",
    )?;
    let mut codes =
        connection.prepare_cached("SELECT label, phc FROM recovery_codes WHERE user = ?1 ORDER BY label")?;
    let mut guesses = connection.prepare_cached("SELECT count, last FROM factor_guesses WHERE user = ?1")?;
    let code = |found: &SqlRow<'_>| Ok(CodeHash { label: found.get(0)?, phc: found.get(1)? });
    let counted = |found: &SqlRow<'_>| {
        Ok(Guesses { count: found.get(0)?, last: Timestamp::from_millis(found.get(1)?) })
    };
    Ok(Held {
        rows: rows.query_map([user], row)?.collect::<Result<_, _>>()?,
        codes: codes.query_map([user], code)?.collect::<Result<_, _>>()?,
        guesses: guesses.query_row([user], counted).optional()?.unwrap_or_default(),
    })
}

fn row(found: &SqlRow<'_>) -> rusqlite::Result<Row> {
    let kind: String = found.get(1)?;
    let kind = [Kind::Totp, Kind::Passkey].into_iter().find(|known| known.as_str() == kind);
    let credential: Option<Vec<u8>> = found.get(4)?;
    Ok(Row {
        id: FactorId::named(found.get(0)?),
        kind: kind.ok_or_else(|| unreadable(1, "no kind of factor"))?,
        name: found.get(2)?,
        sealed: found.get(3)?,
        credential: credential.zip(found.get(5)?),
        last_step: found.get(6)?,
        created: Timestamp::from_millis(found.get(7)?),
        last_used: found.get::<_, Option<i64>>(8)?.map(Timestamp::from_millis),
    })
}

fn reset(found: &SqlRow<'_>) -> rusqlite::Result<Reset> {
    Ok(Reset {
        user: user(found, 0)?,
        expires: Timestamp::from_millis(found.get(1)?),
        factors: if found.get(2)? { AfterReset::Removed } else { AfterReset::Kept },
    })
}

fn user(found: &SqlRow<'_>, column: usize) -> rusqlite::Result<UserId> {
    UserId::try_from(found.get::<_, String>(column)?).map_err(|error| unreadable(column, error))
}

fn unreadable(
    column: usize,
    error: impl Into<Box<dyn std::error::Error + Send + Sync + 'static>>,
) -> rusqlite::Error {
    let error = FromSqlError::Other(error.into());
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}

/// Answers how many rows it met.
fn apply(connection: &Connection, change: Change) -> rusqlite::Result<usize> {
    match change {
        Change::Add(user, row) => add(connection, &user, row),
        Change::Remove(user, id) => connection
            .execute("DELETE FROM factors WHERE user = ?1 AND id = ?2", [user.as_str(), id.as_str()]),
        Change::RemoveAll(user) => remove_all(connection, &user),
        Change::TakeStep(id, step, now) => connection.execute(
            "UPDATE factors SET last_step = ?2, last_used = ?3 WHERE id = ?1 AND last_step < ?2",
            params![id.as_str(), step, now.as_millis()],
        ),
        Change::Reseal { id, from, to, used } => connection.execute(
            "UPDATE factors SET sealed = ?3, last_used = coalesce(?4, last_used)
             WHERE id = ?1 AND sealed = ?2",
            params![id.as_str(), from, to, used.map(Timestamp::as_millis)],
        ),
        Change::SetCodes(user, codes) => set_codes(connection, &user, &codes),
        Change::SpendCode(user, code) => connection.execute(
            "DELETE FROM recovery_codes WHERE user = ?1 AND label = ?2 AND phc = ?3",
            [user.as_str(), &code.label, &code.phc],
        ),
        Change::Guess(user, before, now) => guess(connection, &user, before, now),
        Change::Right(user) => {
            connection.execute("DELETE FROM factor_guesses WHERE user = ?1", [user.as_str()])
        }
        Change::AddReset(hash, reset) => connection.execute(
            "INSERT OR REPLACE INTO resets (user, hash, expires, removes_factors) VALUES (?1, ?2, ?3, ?4)",
            params![
                reset.user.as_str(),
                hash,
                reset.expires.as_millis(),
                reset.factors == AfterReset::Removed
            ],
        ),
        Change::SpendReset(hash) => connection.execute("DELETE FROM resets WHERE hash = ?1", [hash]),
        Change::SpendOnce { hash, until, now } => spend_once(connection, hash, until, now),
    }
}

fn add(connection: &Connection, user: &UserId, row: Row) -> rusqlite::Result<usize> {
    if row.kind == Kind::Totp {
        connection.execute("DELETE FROM factors WHERE user = ?1 AND kind = 'totp'", [user.as_str()])?;
    }
    let (credential, host) = row.credential.unzip();
    connection.execute(
        "INSERT INTO factors (id, user, kind, name, sealed, credential, host, last_step, created, last_used)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT DO NOTHING",
        params![
            row.id.as_str(),
            user.as_str(),
            row.kind.as_str(),
            row.name,
            row.sealed,
            credential,
            host,
            row.last_step,
            row.created.as_millis(),
            row.last_used.map(Timestamp::as_millis),
        ],
    )
}

fn remove_all(connection: &Connection, user: &UserId) -> rusqlite::Result<usize> {
    let mut removed = 0;
    for statement in [
        "DELETE FROM factors WHERE user = ?1",
        "DELETE FROM recovery_codes WHERE user = ?1",
        "DELETE FROM factor_guesses WHERE user = ?1",
    ] {
        removed += connection.execute(statement, [user.as_str()])?;
    }
    Ok(removed)
}

fn set_codes(connection: &Connection, user: &UserId, codes: &[CodeHash]) -> rusqlite::Result<usize> {
    connection.execute("DELETE FROM recovery_codes WHERE user = ?1", [user.as_str()])?;
    let mut insert =
        connection.prepare_cached("INSERT INTO recovery_codes (user, label, phc) VALUES (?1, ?2, ?3)")?;
    for code in codes {
        insert.execute([user.as_str(), &code.label, &code.phc])?;
    }
    Ok(codes.len())
}

fn guess(connection: &Connection, user: &UserId, before: Guesses, now: Timestamp) -> rusqlite::Result<usize> {
    connection.execute(
        "INSERT INTO factor_guesses (user, count, last) VALUES (?1, ?2 + 1, ?3)
         ON CONFLICT (user) DO UPDATE SET count = count + 1, last = ?3 WHERE count = ?2",
        params![user.as_str(), before.count, now.as_millis()],
    )
}

fn spend_once(
    connection: &Connection,
    hash: [u8; 32],
    until: Timestamp,
    now: Timestamp,
) -> rusqlite::Result<usize> {
    connection.execute("DELETE FROM spent WHERE until < ?1", [now.as_millis()])?;
    connection.execute(
        "INSERT INTO spent (hash, until) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
        params![hash, until.as_millis()],
    )
}
