//! The accounts: who there is, in which groups, and the hash of each password.
//!
//! They are kept in a database (SQLite, PostgreSQL, MySQL) or declared in a file that people edit. Hashes
//! come in and go out as texts; computing them is `password`'s matter. The commands open the same
//! accounts while the gateway runs. Invariant: names that differ only in case are one account, and
//! callers always get the spelling under which it was made.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sqlx::{MySql, Postgres};

use crate::clock::Timestamp;
use crate::identity::{Group, Identity, UserId};
use crate::storage::sql::{Database, Engine, Location, SqlError};
use crate::storage::sqlite::{Database as SqliteDatabase, Fault, StorageError};

mod columns;
#[cfg(test)]
mod conformance;
mod declared;
pub mod htpasswd;
mod place;
mod source;
mod sql;
mod sqlite;

pub use declared::Directory;
pub use place::{Declared, Form, Place};

use declared::DeclaredSource;
use source::{Change, NewAccount, Source};
use sql::{MySqlSource, PostgresSource};
use sqlite::SqliteSource;

/// The accounts of one source. Clones share it.
#[derive(Clone, Debug)]
pub struct Accounts {
    source: Arc<dyn Source>,
    declared: Option<Arc<DeclaredSource>>,
    home: Option<Home>,
}

/// The database of accounts, for what else is kept of these users.
#[derive(Clone, Debug)]
pub enum Home {
    /// A file.
    Sqlite(SqliteDatabase),
    /// A PostgreSQL database.
    Postgres(Database<Postgres>),
    /// A MySQL or MariaDB database.
    MySql(Database<MySql>),
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
    /// When it was made, where the source notes that.
    pub created: Option<Timestamp>,
    /// When its user last logged in, where the source notes that.
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
        let texts = [("name", &self.name), ("email", &self.email)];
        let wrong = texts.iter().find(|(_, text)| text.as_deref().is_some_and(|text| !is_text(text)));
        wrong.map_or(Ok(()), |(field, _)| Err(AccountsError::Text(field)))
    }
}

/// Whether `text` can be a name for people or an e-mail address.
///
/// SECURITY: it will stand in a header line and in pages, so it holds no control character.
#[must_use]
pub fn is_text(text: &str) -> bool {
    !text.is_empty() && text.len() <= TEXT_LIMIT && !text.contains(char::is_control)
}

/// An account with the hash of its password.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) account: Account,
    pub(super) hash: String,
}

/// Shows no hash.
impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("account", &self.account).finish_non_exhaustive()
    }
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
    /// The accounts are declared in a file.
    #[error(
        "accounts are declared in `{}`, which is edited by hand: change it there, then run `vestibule reload`; \
         `vestibule users hash` makes the hash of a password",
        .0.display()
    )]
    ByHand(PathBuf),
    /// A row does not hold what it should.
    #[error("the account `{0}` is damaged: {1}")]
    Damaged(String, String),
    /// The SQLite file cannot answer.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The database server cannot answer.
    #[error(transparent)]
    Sql(#[from] SqlError),
}

impl AccountsError {
    /// Whether the account itself is what is wrong, and not the place where it is kept.
    #[must_use]
    pub const fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged(..) | Self::Storage(StorageError::Failed { fault: Fault::Value, .. }))
    }
}

impl Accounts {
    /// Opens the SQLite file at `path`, which is made if there is none.
    pub async fn open(path: &Path) -> Result<Self, AccountsError> {
        let source = SqliteSource::open(path).await?;
        let home = Home::Sqlite(source.database());
        Ok(Self::in_database(source, home))
    }

    /// Opens the accounts wherever they are; `directory` is what was read of a file that declares them.
    ///
    /// A server that does not answer is no error: it may come up later. To be called on the runtime that
    /// its connections are to belong to.
    pub async fn at(place: &Place, directory: Option<Directory>) -> Result<Self, AccountsError> {
        match place {
            Place::Sqlite(path) => Self::open(path).await,
            Place::Sql(location) => Ok(Self::on_server(location)),
            Place::Declared(declared) => {
                Ok(Self::declared(directory.unwrap_or_else(|| Directory::new(declared.clone()))))
            }
        }
    }

    fn on_server(location: &Location) -> Self {
        match location.engine() {
            Engine::Postgres => {
                let source = PostgresSource::new(location);
                let home = Home::Postgres(source.database());
                Self::in_database(source, home)
            }
            Engine::MySql => {
                let source = MySqlSource::new(location);
                let home = Home::MySql(source.database());
                Self::in_database(source, home)
            }
        }
    }

    fn in_database(source: impl Source + 'static, home: Home) -> Self {
        Self { source: Arc::new(source), declared: None, home: Some(home) }
    }

    fn declared(directory: Directory) -> Self {
        let source = Arc::new(DeclaredSource::new(directory));
        Self { source: Arc::<DeclaredSource>::clone(&source), declared: Some(source), home: None }
    }

    /// Their database, for what else is kept of these users; none where people declare them in a file.
    #[must_use]
    pub fn home(&self) -> Option<Home> {
        self.home.clone()
    }

    /// Takes over what the file declares now; answers who is not as before, or nothing if nothing is new.
    pub(super) fn replace(&self, directory: Directory) -> Option<BTreeSet<UserId>> {
        self.declared.as_ref()?.replace(directory)
    }

    /// The file in which they are edited by hand; none where the commands change them.
    #[must_use]
    pub fn edited_by_hand(&self) -> Option<PathBuf> {
        self.declared.as_ref().map(|source| source.file())
    }

    /// Makes an account with the password behind `hash`.
    pub async fn add(
        &self,
        user: &UserId,
        hash: String,
        profile: Profile,
        now: Timestamp,
    ) -> Result<(), AccountsError> {
        profile.check()?;
        let added = self.source.insert(NewAccount { user: user.clone(), hash, profile, now }).await?;
        if added { Ok(()) } else { Err(AccountsError::Exists(user.clone())) }
    }

    /// Gives the account another password.
    pub async fn set_password(&self, user: &UserId, hash: String) -> Result<(), AccountsError> {
        self.change(user, Change::Password(hash)).await
    }

    /// Replaces groups, name and e-mail address.
    pub async fn set_profile(&self, user: &UserId, profile: Profile) -> Result<(), AccountsError> {
        profile.check()?;
        self.change(user, Change::Profile(profile)).await
    }

    /// Refuses logins from now on. Sessions are the session engine's matter.
    pub async fn disable(&self, user: &UserId) -> Result<(), AccountsError> {
        self.change(user, Change::Disable).await
    }

    /// Allows logins again.
    pub async fn enable(&self, user: &UserId) -> Result<(), AccountsError> {
        self.change(user, Change::Enable).await
    }

    /// Deletes the account.
    pub async fn remove(&self, user: &UserId) -> Result<(), AccountsError> {
        self.change(user, Change::Remove).await
    }

    /// Notes that its user logged in, where the source notes that.
    pub async fn record_login(&self, user: &UserId, now: Timestamp) -> Result<(), AccountsError> {
        self.change(user, Change::LoggedIn(now)).await
    }

    /// All accounts by name.
    pub async fn list(&self) -> Result<Vec<Account>, AccountsError> {
        self.source.list().await
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
        self.source.find(user).await
    }

    /// Replaces the hash `from` by `to`, unless the password was changed meanwhile; answers whether it did.
    pub(super) async fn renew_hash(
        &self,
        user: UserId,
        from: String,
        to: String,
    ) -> Result<bool, AccountsError> {
        self.source.change(user, Change::Renew { from, to }).await
    }

    /// Closes the source; whatever was answered is in it.
    pub async fn close(&self) {
        self.source.close().await;
    }

    async fn change(&self, user: &UserId, change: Change) -> Result<(), AccountsError> {
        let found = self.source.change(user.clone(), change).await?;
        if found { Ok(()) } else { Err(AccountsError::Unknown(user.clone())) }
    }
}

/// The greatest length of a name for people or an e-mail address, in bytes.
const TEXT_LIMIT: usize = 256;

/// The key under which a name is kept: names are ASCII, so there is one way to fold them.
pub(super) fn folded(user: &UserId) -> String {
    user.as_str().to_ascii_lowercase()
}
