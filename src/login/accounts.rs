//! The accounts: who there is, in which groups, and the hash of each password.
//!
//! Hashes come in and go out as PHC strings; computing them is `password`'s matter. The commands
//! open the same file while the gateway runs. Invariant: names that differ only in case are one
//! account, and callers always get the spelling under which it was made.

use std::path::Path;

use rusqlite::types::{FromSqlError, Type};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::clock::Timestamp;
use crate::identity::{Group, Identity, UserId};
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
/// The accounts in one SQLite file. Clones share it.
#[derive(Clone, Debug)]
pub struct Accounts {
    database: Database,
}

/// One account, without its password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The user's name.
    pub user: UserId,
    /// The groups, sorted.
    pub groups: Vec<Group>,
    /// The name for people.
    pub name: Option<String>,
    /// The e-mail address.
    pub email: Option<String>,
    /// Whether logging in is refused.
    pub disabled: bool,
    /// When it was made.
    pub created: Timestamp,
    /// When its user last logged in.
    pub last_login: Option<Timestamp>,
}

impl Account {
    /// What backends are told of its user.
    #[must_use]
    pub fn identity(&self) -> Identity {
        Identity {
            user: self.user.clone(),
            groups: self.groups.clone(),
            name: self.name.clone(),
            email: self.email.clone(),
        }
    }
}

/// What an administrator says of a user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// The groups.
    pub groups: Vec<Group>,
    /// The name for people.
    pub name: Option<String>,
    /// The e-mail address.
    pub email: Option<String>,
}

impl Profile {
    fn check(&self) -> Result<(), AccountsError> {
        for (field, text) in [("name", &self.name), ("email", &self.email)] {
            let text = text.as_deref().unwrap_or("-");
            if text.is_empty() || text.len() > TEXT_LIMIT || text.contains(char::is_control) {
                return Err(AccountsError::Text(field));
            }
        }
        Ok(())
    }
}

/// An account with the hash of its password.
#[derive(Debug)]
pub(super) struct Credentials {
    pub(super) account: Account,
    pub(super) phc: String,
}

/// Why an account could not be read or changed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AccountsError {
    /// The name is taken, perhaps in other case.
    #[error("the user `{0}` exists already; names that differ only in case are one")]
    Exists(UserId),
    /// There is no such account.
    #[error("there is no user `{0}`; `vestibule users list` shows all")]
    Unknown(UserId),
    /// A text that cannot stand in a header line.
    #[error("`{0}` must have 1 to {TEXT_LIMIT} bytes and no control characters")]
    Text(&'static str),
    /// The database cannot answer.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl Accounts {
    /// Opens the file at `path`, which is made if there is none.
    pub async fn open(path: &Path) -> Result<Self, AccountsError> {
        Ok(Self { database: Database::open(path, MIGRATIONS).await? })
    }

    /// Makes an account with the password behind `phc`.
    pub async fn add(
        &self,
        user: &UserId,
        phc: String,
        profile: Profile,
        now: Timestamp,
    ) -> Result<(), AccountsError> {
        profile.check()?;
        let name = user.clone();
        let added =
            self.database.write(move |connection| insert(connection, &name, &phc, &profile, now)).await?;
        if added { Ok(()) } else { Err(AccountsError::Exists(user.clone())) }
    }

    /// Gives the account another password.
    pub async fn set_password(&self, user: &UserId, phc: String) -> Result<(), AccountsError> {
        let name = user.clone();
        self.change(user, move |connection| {
            connection.execute("UPDATE users SET password = ?2 WHERE name = ?1", params![name.as_str(), phc])
        })
        .await
    }

    /// Replaces groups, name and e-mail address.
    pub async fn set_profile(&self, user: &UserId, profile: Profile) -> Result<(), AccountsError> {
        profile.check()?;
        let name = user.clone();
        self.change(user, move |connection| replace_profile(connection, &name, &profile)).await
    }

    /// Refuses logins from now on. Sessions are the session engine's matter.
    pub async fn disable(&self, user: &UserId) -> Result<(), AccountsError> {
        self.run_on(user, "UPDATE users SET disabled = 1 WHERE name = ?1").await
    }

    /// Allows logins again.
    pub async fn enable(&self, user: &UserId) -> Result<(), AccountsError> {
        self.run_on(user, "UPDATE users SET disabled = 0 WHERE name = ?1").await
    }

    /// Deletes the account.
    pub async fn remove(&self, user: &UserId) -> Result<(), AccountsError> {
        self.run_on(user, "DELETE FROM users WHERE name = ?1").await
    }

    /// Notes that its user logged in.
    pub async fn record_login(&self, user: &UserId, now: Timestamp) -> Result<(), AccountsError> {
        let name = user.clone();
        self.change(user, move |connection| {
            connection.execute(
                "UPDATE users SET last_login = ?2 WHERE name = ?1",
                params![name.as_str(), now.as_millis()],
            )
        })
        .await
    }

    /// All accounts by name.
    pub async fn list(&self) -> Result<Vec<Account>, AccountsError> {
        let accounts = self.database.read(|connection| {
            let mut query = connection.prepare_cached(concat!(select!(), " ORDER BY name"))?;
            query.query_map([], account)?.collect()
        });
        Ok(accounts.await?)
    }

    /// The account of `user`.
    pub async fn find(&self, user: &UserId) -> Result<Option<Account>, AccountsError> {
        Ok(self.credentials(Some(user.clone())).await?.map(|found| found.account))
    }

    /// The account of `user` with its hash. Nobody is looked up as well, in the same time.
    pub(super) async fn credentials(
        &self,
        user: Option<UserId>,
    ) -> Result<Option<Credentials>, AccountsError> {
        let found = self.database.read(move |connection| {
            let name = user.as_ref().map_or("", UserId::as_str);
            let mut query = connection.prepare_cached(concat!(select!(), " WHERE users.name = ?1"))?;
            query
                .query_row([name], |row| Ok(Credentials { account: account(row)?, phc: row.get(7)? }))
                .optional()
        });
        Ok(found.await?)
    }

    /// Replaces the hash `from` by `to`; does nothing if the password was changed meanwhile.
    pub(super) async fn renew_hash(
        &self,
        user: UserId,
        from: String,
        to: String,
    ) -> Result<(), AccountsError> {
        let renewed = self.database.write(move |connection| {
            connection.execute(
                "UPDATE users SET password = ?3 WHERE name = ?1 AND password = ?2",
                params![user.as_str(), from, to],
            )
        });
        renewed.await?;
        Ok(())
    }

    /// The file, for what else is kept of these users.
    #[must_use]
    pub fn database(&self) -> Database {
        self.database.clone()
    }

    /// Closes the file; whatever was answered is in it.
    pub async fn close(&self) {
        self.database.close().await;
    }

    async fn run_on(&self, user: &UserId, statement: &'static str) -> Result<(), AccountsError> {
        let name = user.clone();
        self.change(user, move |connection| connection.execute(statement, [name.as_str()])).await
    }

    /// Runs a change that answers how many accounts it met.
    async fn change<F>(&self, user: &UserId, change: F) -> Result<(), AccountsError>
    where
        F: FnOnce(&Connection) -> rusqlite::Result<usize> + Send + 'static,
    {
        match self.database.write(change).await? {
            0 => Err(AccountsError::Unknown(user.clone())),
            _ => Ok(()),
        }
    }
}

/// The greatest length of a name for people or an e-mail address, in bytes.
const TEXT_LIMIT: usize = 256;

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
        created: Timestamp::from_millis(row.get(4)?),
        last_login: row.get::<_, Option<i64>>(5)?.map(Timestamp::from_millis),
    })
}

fn unreadable(column: usize, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(FromSqlError::other(error)))
}

/// Whether there was no such account before.
fn insert(
    connection: &Connection,
    user: &UserId,
    phc: &str,
    profile: &Profile,
    now: Timestamp,
) -> rusqlite::Result<bool> {
    let added = connection.execute(
        "INSERT INTO users (name, password, created) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
        params![user.as_str(), phc, now.as_millis()],
    )?;
    if added == 1 {
        replace_profile(connection, user, profile)?;
    }
    Ok(added == 1)
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

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000);

    fn user(name: &str) -> UserId {
        UserId::try_from(name).unwrap()
    }

    fn profile(groups: &[&str]) -> Profile {
        Profile {
            groups: groups.iter().map(|&group| Group::try_from(group).unwrap()).collect(),
            name: Some("Alice Õ".to_owned()),
            email: Some("alice@example.com".to_owned()),
        }
    }

    async fn accounts() -> (TempDir, Accounts) {
        let folder = tempfile::tempdir().unwrap();
        let accounts = Accounts::open(&folder.path().join("users.db")).await.unwrap();
        accounts.add(&user("alice"), "phc".to_owned(), profile(&["wiki", "admin"]), NOW).await.unwrap();
        (folder, accounts)
    }

    #[tokio::test]
    async fn an_account_is_found_as_it_was_added() {
        let (_folder, accounts) = accounts().await;
        let found = accounts.find(&user("alice")).await.unwrap().unwrap();
        let expected = Account {
            user: user("alice"),
            groups: profile(&["admin", "wiki"]).groups,
            name: Some("Alice Õ".to_owned()),
            email: Some("alice@example.com".to_owned()),
            disabled: false,
            created: NOW,
            last_login: None,
        };
        assert_eq!(found, expected);
        assert_eq!(found.identity().groups, expected.groups);
        assert_eq!(accounts.find(&user("bob")).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_name_in_other_case_is_the_same_account() {
        let (_folder, accounts) = accounts().await;
        let refused =
            accounts.add(&user("ALICE"), "x".to_owned(), Profile::default(), NOW).await.unwrap_err();
        assert!(matches!(refused, AccountsError::Exists(_)), "{refused}");
        let found = accounts.credentials(Some(user("Alice"))).await.unwrap().unwrap();
        assert_eq!((found.account.user, found.phc.as_str()), (user("alice"), "phc"));
        assert_eq!(found.account.groups.len(), 2);
    }

    #[tokio::test]
    async fn every_change_is_seen_by_another_opening_of_the_file() {
        let (folder, accounts) = accounts().await;
        let alice = user("alice");
        accounts.set_password(&alice, "other".to_owned()).await.unwrap();
        accounts.set_profile(&alice, Profile { email: None, ..profile(&["ops"]) }).await.unwrap();
        accounts.disable(&alice).await.unwrap();
        accounts.record_login(&alice, NOW).await.unwrap();
        let other = Accounts::open(&folder.path().join("users.db")).await.unwrap();
        let found = other.credentials(Some(alice.clone())).await.unwrap().unwrap();
        assert_eq!(found.phc, "other");
        assert_eq!(found.account.groups, profile(&["ops"]).groups);
        assert_eq!(
            (found.account.email, found.account.disabled, found.account.last_login),
            (None, true, Some(NOW))
        );
        other.enable(&alice).await.unwrap();
        assert!(!accounts.find(&alice).await.unwrap().unwrap().disabled);
    }

    #[tokio::test]
    async fn a_change_to_nobody_says_so() {
        let (_folder, accounts) = accounts().await;
        let bob = user("bob");
        let answers = [
            accounts.set_password(&bob, "x".to_owned()).await,
            accounts.set_profile(&bob, profile(&["wiki"])).await,
            accounts.disable(&bob).await,
            accounts.enable(&bob).await,
            accounts.remove(&bob).await,
            accounts.record_login(&bob, NOW).await,
        ];
        for answer in answers {
            assert!(matches!(answer, Err(AccountsError::Unknown(_))));
        }
    }

    #[tokio::test]
    async fn a_removed_account_leaves_no_groups_to_the_next_of_that_name() {
        let (_folder, accounts) = accounts().await;
        let alice = user("alice");
        accounts.remove(&alice).await.unwrap();
        accounts.add(&alice, "new".to_owned(), Profile::default(), NOW).await.unwrap();
        assert_eq!(accounts.find(&alice).await.unwrap().unwrap().groups, []);
    }

    #[tokio::test]
    async fn accounts_are_listed_by_name() {
        let (_folder, accounts) = accounts().await;
        for name in ["zoe", "Bob"] {
            accounts.add(&user(name), "x".to_owned(), Profile::default(), NOW).await.unwrap();
        }
        let names: Vec<String> =
            accounts.list().await.unwrap().into_iter().map(|a| a.user.to_string()).collect();
        assert_eq!(names, ["alice", "Bob", "zoe"]);
    }

    #[tokio::test]
    async fn a_renewed_hash_does_not_undo_a_changed_password() {
        let (_folder, accounts) = accounts().await;
        let alice = user("alice");
        accounts.set_password(&alice, "changed".to_owned()).await.unwrap();
        accounts.renew_hash(alice.clone(), "phc".to_owned(), "stale".to_owned()).await.unwrap();
        assert_eq!(accounts.credentials(Some(alice.clone())).await.unwrap().unwrap().phc, "changed");
        accounts.renew_hash(alice.clone(), "changed".to_owned(), "renewed".to_owned()).await.unwrap();
        assert_eq!(accounts.credentials(Some(alice)).await.unwrap().unwrap().phc, "renewed");
    }

    #[tokio::test]
    async fn a_text_that_would_split_a_header_is_refused() {
        let (_folder, accounts) = accounts().await;
        for bad in ["", "a\r\nX-User-Id: root", "\0", &"x".repeat(TEXT_LIMIT + 1)] {
            let profile = Profile { name: Some(bad.to_owned()), ..Profile::default() };
            let refused = accounts.set_profile(&user("alice"), profile).await;
            assert!(matches!(refused, Err(AccountsError::Text("name"))), "{bad:?}");
        }
    }
}
