//! Accounts in a PostgreSQL database, for several gateways.
//!
//! How the server is reached is left to [`crate::storage::sql`].

use std::pin::Pin;
use std::sync::Arc;

use sqlx::{PgConnection, Postgres};

use super::columns::{self, Columns, write_groups};
use super::source::{Answer, Change, NewAccount, Source};
use super::{Account, Credentials, folded};
use crate::identity::UserId;
use crate::login::factors::POSTGRES_BESIDE;
use crate::storage::sql::{Database, Location, Repeat, Schema};

/// Accounts that several gateways share.
#[derive(Debug)]
pub(super) struct PostgresSource {
    database: Database<Postgres>,
}

impl PostgresSource {
    /// The accounts at `location`, which is not looked at yet. To be called on the runtime that does its
    /// work.
    pub(super) fn new(location: &Location) -> Self {
        Self { database: Database::new(location, SCHEMA) }
    }

    /// The database, for what else is kept of these users.
    pub(super) fn database(&self) -> Database<Postgres> {
        self.database.clone()
    }
}

impl Source for PostgresSource {
    fn insert(&self, account: NewAccount) -> Answer<'_, bool> {
        let account = Arc::new(account);
        Box::pin(async move {
            let added = self.database.run(Repeat::Never, move |connection| {
                let account = Arc::clone(&account);
                Box::pin(async move { insert(connection, &account).await })
            });
            Ok(added.await? == 1)
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
            let found: Option<Columns<String>> = self
                .database
                .run(Repeat::Harmless, move |connection| {
                    Box::pin(sqlx::query_as(FIND).bind(name.clone()).fetch_optional(connection))
                })
                .await?;
            found.map(columns::credentials).transpose()
        })
    }

    fn list(&self) -> Answer<'_, Vec<Account>> {
        Box::pin(async move {
            let found: Vec<Columns<String>> = self
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

async fn insert(connection: &mut PgConnection, account: &NewAccount) -> sqlx::Result<u64> {
    let profile = &account.profile;
    let insert = sqlx::query(INSERT)
        .bind(folded(&account.user))
        .bind(account.user.as_str())
        .bind(account.hash.as_str())
        .bind(profile.name.as_deref())
        .bind(profile.email.as_deref())
        .bind(write_groups(profile))
        .bind(account.now.as_millis());
    Ok(insert.execute(connection).await?.rows_affected())
}

/// Answers how many accounts there are of that name.
async fn change_one(connection: &mut PgConnection, name: &str, change: &Change) -> sqlx::Result<u64> {
    let statement = match change {
        Change::Password(hash) => sqlx::query(SET_PASSWORD).bind(hash.as_str()),
        Change::Renew { from, to } => sqlx::query(RENEW).bind(to.as_str()).bind(from.as_str()),
        Change::Profile(profile) => sqlx::query(SET_PROFILE)
            .bind(profile.name.as_deref())
            .bind(profile.email.as_deref())
            .bind(write_groups(profile)),
        Change::Disable => sqlx::query(SET_DISABLED).bind(true),
        Change::Enable => sqlx::query(SET_DISABLED).bind(false),
        Change::LoggedIn(now) => sqlx::query(SET_LAST_LOGIN).bind(now.as_millis()),
        Change::Remove => sqlx::query(REMOVE),
    };
    Ok(statement.bind(name).execute(connection).await?.rows_affected())
}

/// Version by version; what has shipped never changes. Names are compared byte by byte.
const SCHEMA: Schema = Schema {
    part: "accounts",
    steps: &[
        r#"
    CREATE TABLE vestibule_users (
        folded       TEXT COLLATE "C" NOT NULL PRIMARY KEY CHECK (folded = lower(name)),
        name         TEXT COLLATE "C" NOT NULL,
        password     TEXT    NOT NULL,
        display_name TEXT,
        email        TEXT,
        group_names  TEXT    NOT NULL DEFAULT '',
        disabled     BOOLEAN NOT NULL DEFAULT false,
        created      BIGINT  NOT NULL,
        last_login   BIGINT
    )
"#,
        POSTGRES_BESIDE,
    ],
};

const INSERT: &str = "
    INSERT INTO vestibule_users (folded, name, password, display_name, email, group_names, created)
    VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (folded) DO NOTHING";
macro_rules! select {
    () => {
        "SELECT name, display_name, email, group_names, disabled, created, last_login, password
         FROM vestibule_users"
    };
}

const FIND: &str = concat!(select!(), " WHERE folded = $1");
const LIST: &str = concat!(select!(), " ORDER BY folded");
const SET_PASSWORD: &str = "UPDATE vestibule_users SET password = $1 WHERE folded = $2";
const RENEW: &str = "UPDATE vestibule_users SET password = $1 WHERE password = $2 AND folded = $3";
const SET_PROFILE: &str = "
    UPDATE vestibule_users SET display_name = $1, email = $2, group_names = $3 WHERE folded = $4";
const SET_DISABLED: &str = "UPDATE vestibule_users SET disabled = $1 WHERE folded = $2";
const SET_LAST_LOGIN: &str = "UPDATE vestibule_users SET last_login = $1 WHERE folded = $2";
const REMOVE: &str = "DELETE FROM vestibule_users WHERE folded = $1";
