//! Accounts in an SQLite file, the default.
//!
//! Other processes may use the file at the same time.

use std::path::Path;
use std::pin::Pin;

use rusqlite::types::{FromSqlError, Type};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::source::{Answer, Change, NewAccount, Source};
use super::{Account, Credentials, Profile};
use crate::clock::Timestamp;
use crate::identity::{Group, UserId};
use crate::login::factors::BESIDE_ACCOUNTS;
use crate::storage::sqlite::{Database, StorageError};

/// The columns in the order of [`account`]. A group's name holds no `,`.
macro_rules! select {
    () => {
        "SELECT users.name, display_name, email, disabled, created, last_login,
            (SELECT group_concat(groups.name, ',' ORDER BY groups.name) FROM groups WHERE user = users.name),
            password
         FROM users"
    };
}

/// The accounts in one file.
#[derive(Debug)]
pub(super) struct SqliteSource {
    database: Database,
}

impl SqliteSource {
    /// Opens the file at `path`, which is made if there is none.
    pub(super) async fn open(path: &Path) -> Result<Self, StorageError> {
        Ok(Self { database: Database::open(path, MIGRATIONS).await? })
    }

    /// The file, for what else is kept of these users.
    pub(super) fn database(&self) -> Database {
        self.database.clone()
    }
}

impl Source for SqliteSource {
    fn insert(&self, account: NewAccount) -> Answer<'_, bool> {
        Box::pin(
            async move { Ok(self.database.write(move |connection| insert(connection, &account)).await?) },
        )
    }

    fn change(&self, user: UserId, change: Change) -> Answer<'_, bool> {
        Box::pin(async move {
            let changed = self.database.write(move |connection| change_one(connection, &user, &change));
            Ok(changed.await? == 1)
        })
    }

    fn find(&self, user: Option<UserId>) -> Answer<'_, Option<Credentials>> {
        Box::pin(async move {
            let found = self.database.read(move |connection| {
                let name = user.as_ref().map_or("", UserId::as_str);
                let mut query = connection.prepare_cached(concat!(select!(), " WHERE users.name = ?1"))?;
                query
                    .query_row([name], |row| Ok(Credentials { account: account(row)?, hash: row.get(7)? }))
                    .optional()
            });
            Ok(found.await?)
        })
    }

    fn list(&self) -> Answer<'_, Vec<Account>> {
        Box::pin(async move {
            let accounts = self.database.read(|connection| {
                let mut query = connection.prepare_cached(concat!(select!(), " ORDER BY name"))?;
                query.query_map([], account)?.collect()
            });
            Ok(accounts.await?)
        })
    }

    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.database.close())
    }
}

/// One step a version; those that have shipped never change.
const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE users (
        name TEXT NOT NULL COLLATE NOCASE PRIMARY KEY,
        password TEXT NOT NULL,
        display_name TEXT,
        email TEXT,
        disabled INTEGER NOT NULL DEFAULT 0,
        created INTEGER NOT NULL,
        last_login INTEGER
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE groups (
        user TEXT NOT NULL COLLATE NOCASE REFERENCES users (name) ON DELETE CASCADE,
        name TEXT NOT NULL,
        PRIMARY KEY (user, name)
    ) STRICT, WITHOUT ROWID;
",
    BESIDE_ACCOUNTS,
];

fn account(row: &Row<'_>) -> rusqlite::Result<Account> {
    let groups: Option<String> = row.get(6)?;
    let groups = groups.iter().flat_map(|text| text.split(','));
    Ok(Account {
        user: UserId::try_from(row.get::<_, String>(0)?).map_err(|error| unreadable(0, error))?,
        groups: groups
            .map(Group::try_from)
            .collect::<Result<_, _>>()
            .map_err(|error| unreadable(6, error))?,
        name: row.get(1)?,
        email: row.get(2)?,
        disabled: row.get(3)?,
        created: Some(Timestamp::from_millis(row.get(4)?)),
        last_login: row.get::<_, Option<i64>>(5)?.map(Timestamp::from_millis),
    })
}

fn unreadable(column: usize, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(FromSqlError::other(error)))
}

/// Whether there was no such account before.
fn insert(connection: &Connection, account: &NewAccount) -> rusqlite::Result<bool> {
    let NewAccount { user, hash, profile, now } = account;
    let added = connection.execute(
        "INSERT INTO users (name, password, created) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
        params![user.as_str(), hash, now.as_millis()],
    )?;
    if added == 1 {
        replace_profile(connection, user, profile)?;
    }
    Ok(added == 1)
}

/// How many accounts there are of that name.
fn change_one(connection: &Connection, user: &UserId, change: &Change) -> rusqlite::Result<usize> {
    let name = user.as_str();
    let set = |statement, value: &dyn rusqlite::ToSql| connection.execute(statement, params![name, value]);
    match change {
        Change::Password(hash) => set("UPDATE users SET password = ?2 WHERE name = ?1", hash),
        Change::Renew { from, to } => connection.execute(
            "UPDATE users SET password = ?3 WHERE name = ?1 AND password = ?2",
            params![name, from, to],
        ),
        Change::Profile(profile) => replace_profile(connection, user, profile),
        Change::Disable => set("UPDATE users SET disabled = ?2 WHERE name = ?1", &true),
        Change::Enable => set("UPDATE users SET disabled = ?2 WHERE name = ?1", &false),
        Change::LoggedIn(now) => set("UPDATE users SET last_login = ?2 WHERE name = ?1", &now.as_millis()),
        Change::Remove => connection.execute("DELETE FROM users WHERE name = ?1", [name]),
    }
}

fn replace_profile(connection: &Connection, user: &UserId, profile: &Profile) -> rusqlite::Result<usize> {
    let found = connection.execute(
        "UPDATE users SET display_name = ?2, email = ?3 WHERE name = ?1",
        params![user.as_str(), profile.name, profile.email],
    )?;
    connection.execute("DELETE FROM groups WHERE user = ?1", [user.as_str()])?;
    if found > 0 {
        let mut join =
            connection.prepare_cached("INSERT OR IGNORE INTO groups (user, name) VALUES (?1, ?2)")?;
        for group in &profile.groups {
            join.execute([user.as_str(), group.as_str()])?;
        }
    }
    Ok(found)
}
