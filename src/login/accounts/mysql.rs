//! Accounts in a MySQL or MariaDB database, for several gateways.
//!
//! How the server is reached is left to [`crate::storage::sql`].

use std::pin::Pin;
use std::sync::Arc;

use sqlx::{MySql, MySqlConnection};

use super::columns::{self, Columns, write_groups};
use super::source::{Answer, Change, NewAccount, Source};
use super::{Account, Credentials, folded};
use crate::identity::UserId;
use crate::login::factors::MYSQL_BESIDE;
use crate::storage::sql::{Database, Location, Repeat, Schema, SqlError};

/// Accounts that several gateways share.
#[derive(Debug)]
pub(super) struct MySqlSource {
    database: Database<MySql>,
}

impl MySqlSource {
    /// The accounts at `location`, which is not looked at yet. To be called on the runtime that does its
    /// work.
    pub(super) fn new(location: &Location) -> Self {
        Self { database: Database::new(location, SCHEMA) }
    }

    /// The database, for what else is kept of these users.
    pub(super) fn database(&self) -> Database<MySql> {
        self.database.clone()
    }
}

impl Source for MySqlSource {
    fn insert(&self, account: NewAccount) -> Answer<'_, bool> {
        let account = Arc::new(account);
        Box::pin(async move {
            let added = self.database.run(Repeat::Never, move |connection| {
                let account = Arc::clone(&account);
                Box::pin(async move { insert(connection, &account).await })
            });
            // Not `INSERT IGNORE`, which would also ignore what is wrong with a value.
            match added.await {
                Err(SqlError::Taken { .. }) => Ok(false),
                added => Ok(added? == 1),
            }
        })
    }

    fn change(&self, user: UserId, change: Change) -> Answer<'_, bool> {
        // Removed twice, the second time would say that there is no such account.
        let repeat = if matches!(change, Change::Remove) { Repeat::Never } else { Repeat::Harmless };
        let order = Arc::new((folded(&user), change));
        Box::pin(async move {
            let changed = self.database.run(repeat, move |connection| {
                let order = Arc::clone(&order);
                Box::pin(async move { change_one(connection, &order.0, &order.1).await })
            });
            Ok(changed.await? == 1)
        })
    }

    fn find(&self, user: Option<UserId>) -> Answer<'_, Option<Credentials>> {
        let name = user.as_ref().map(folded).unwrap_or_default();
        Box::pin(async move {
            let found: Option<Columns<Vec<u8>>> = self
                .database
                .run(Repeat::Harmless, move |connection| {
                    Box::pin(sqlx::query_as(FIND).bind(name.clone().into_bytes()).fetch_optional(connection))
                })
                .await?;
            found.map(columns::credentials).transpose()
        })
    }

    fn list(&self) -> Answer<'_, Vec<Account>> {
        Box::pin(async move {
            let found: Vec<Columns<Vec<u8>>> = self
                .database
                .run(Repeat::Harmless, |connection| Box::pin(sqlx::query_as(LIST).fetch_all(connection)))
                .await?;
            Ok(columns::accounts(found))
        })
    }

    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.database.close())
    }
}

async fn insert(connection: &mut MySqlConnection, account: &NewAccount) -> sqlx::Result<u64> {
    let profile = &account.profile;
    let insert = sqlx::query(INSERT)
        .bind(folded(&account.user).into_bytes())
        .bind(account.user.as_str().as_bytes())
        .bind(account.hash.as_bytes())
        .bind(profile.name.as_deref().map(str::as_bytes))
        .bind(profile.email.as_deref().map(str::as_bytes))
        .bind(write_groups(profile).into_bytes())
        .bind(account.now.as_millis());
    Ok(insert.execute(connection).await?.rows_affected())
}

/// Answers how many accounts there are of that name.
async fn change_one(connection: &mut MySqlConnection, name: &str, change: &Change) -> sqlx::Result<u64> {
    let name = name.as_bytes();
    let statement = match change {
        Change::Password(hash) => sqlx::query(SET_PASSWORD).bind(hash.as_bytes()),
        Change::Renew { from, to } => sqlx::query(RENEW).bind(to.as_bytes()).bind(from.as_bytes()),
        Change::Profile(profile) => sqlx::query(SET_PROFILE)
            .bind(profile.name.as_deref().map(str::as_bytes))
            .bind(profile.email.as_deref().map(str::as_bytes))
            .bind(write_groups(profile).into_bytes()),
        Change::Disable => sqlx::query(SET_DISABLED).bind(true),
        Change::Enable => sqlx::query(SET_DISABLED).bind(false),
        Change::LoggedIn(now) => sqlx::query(SET_LAST_LOGIN).bind(now.as_millis()),
        Change::Remove => sqlx::query(REMOVE),
    };
    Ok(statement.bind(name).execute(connection).await?.rows_affected())
}

/// Version by version; what has shipped never changes. Texts are bytes, so that no collation takes two
/// of them for one and no character set changes them.
const SCHEMA: Schema = Schema {
    part: "accounts",
    steps: &[
        "
    CREATE TABLE IF NOT EXISTS vestibule_users (
        folded       VARBINARY(128)   NOT NULL PRIMARY KEY,
        name         VARBINARY(128)   NOT NULL,
        password     VARBINARY(1024)  NOT NULL,
        display_name VARBINARY(256),
        email        VARBINARY(256),
        group_names  VARBINARY(16384) NOT NULL DEFAULT '',
        disabled     BOOLEAN          NOT NULL DEFAULT FALSE,
        created      BIGINT           NOT NULL,
        last_login   BIGINT
    ) ENGINE = InnoDB
",
        MYSQL_BESIDE,
    ],
};

const INSERT: &str = "
    INSERT INTO vestibule_users (folded, name, password, display_name, email, group_names, created)
    VALUES (?, ?, ?, ?, ?, ?, ?)";
macro_rules! select {
    () => {
        "SELECT name, display_name, email, group_names, disabled, created, last_login, password
         FROM vestibule_users"
    };
}

const FIND: &str = concat!(select!(), " WHERE folded = ?");
const LIST: &str = concat!(select!(), " ORDER BY folded");
const SET_PASSWORD: &str = "UPDATE vestibule_users SET password = ? WHERE folded = ?";
const RENEW: &str = "UPDATE vestibule_users SET password = ? WHERE password = ? AND folded = ?";
const SET_PROFILE: &str = "
    UPDATE vestibule_users SET display_name = ?, email = ?, group_names = ? WHERE folded = ?";
const SET_DISABLED: &str = "UPDATE vestibule_users SET disabled = ? WHERE folded = ?";
const SET_LAST_LOGIN: &str = "UPDATE vestibule_users SET last_login = ? WHERE folded = ?";
const REMOVE: &str = "DELETE FROM vestibule_users WHERE folded = ?";
