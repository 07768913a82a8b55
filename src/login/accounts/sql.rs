//! Accounts in a PostgreSQL or MySQL database, for several gateways.
//!
//! How the server is reached is left to [`crate::storage::sql`]. Invariant: names are compared byte by byte,
//! so that no collation takes two of them for one.

use std::pin::Pin;
use std::sync::Arc;

use sqlx::{MySql, MySqlConnection, PgConnection, Postgres};

use super::columns::{self, Columns, write_groups};
use super::source::{Answer, Change, NewAccount, Source};
use super::{Account, Credentials, folded};
use crate::identity::UserId;
use crate::login::factors::{MYSQL_BESIDE, POSTGRES_BESIDE};
use crate::storage::sql::{Database, Location, Repeat, Schema, SqlError, statement};

/// Accounts in a database. A macro, because sqlx has one type for each and what they share cannot be named;
/// `$text` is what a text is there.
macro_rules! source {
    (
        $(#[$documentation:meta])* $name:ident, $database:ty, $connection:ty, $text:ty, $schema:ident, $sql:ident
    ) => {
        $(#[$documentation])*
        #[derive(Debug)]
        pub(super) struct $name {
            database: Database<$database>,
        }

        impl $name {
            /// The accounts at `location`, which is not looked at yet. To be called on the runtime that does
            /// its work.
            pub(super) fn new(location: &Location) -> Self {
                Self { database: Database::new(location, $schema) }
            }

            /// The database, for what else is kept of these users.
            pub(super) fn database(&self) -> Database<$database> {
                self.database.clone()
            }
        }

        impl Source for $name {
            fn insert(&self, account: NewAccount) -> Answer<'_, bool> {
                let account = Arc::new(account);
                Box::pin(async move {
                    let added = self.database.run(Repeat::Never, move |connection| {
                        let account = Arc::clone(&account);
                        Box::pin(async move { Self::insert_one(connection, &account).await })
                    });
                    match added.await {
                        Err(SqlError::Taken { .. }) => Ok(false),
                        added => Ok(added? == 1),
                    }
                })
            }

            fn change(&self, user: UserId, change: Change) -> Answer<'_, bool> {
                // Removed twice, the second time would say that there is no such account.
                let repeat =
                    if matches!(change, Change::Remove) { Repeat::Never } else { Repeat::Harmless };
                let order = Arc::new((folded(&user), change));
                Box::pin(async move {
                    let changed = self.database.run(repeat, move |connection| {
                        let order = Arc::clone(&order);
                        Box::pin(async move { Self::change_one(connection, &order.0, &order.1).await })
                    });
                    Ok(changed.await? == 1)
                })
            }

            fn find(&self, user: Option<UserId>) -> Answer<'_, Option<Credentials>> {
                let name = user.as_ref().map(folded).unwrap_or_default();
                Box::pin(async move {
                    let found = self.database.run(Repeat::Harmless, move |connection| {
                        let find = sqlx::query_as($sql.find).bind(<$text>::from(name.as_str()));
                        Box::pin(find.fetch_optional(connection))
                    });
                    let found: Option<Columns<$text>> = found.await?;
                    found.map(columns::credentials).transpose()
                })
            }

            fn list(&self) -> Answer<'_, Vec<Account>> {
                Box::pin(async move {
                    let found = self.database.run(Repeat::Harmless, |connection| {
                        Box::pin(sqlx::query_as(LIST).fetch_all(connection))
                    });
                    let found: Vec<Columns<$text>> = found.await?;
                    Ok(columns::accounts(found))
                })
            }

            fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
                Box::pin(self.database.close())
            }
        }

        impl $name {
            async fn insert_one(connection: &mut $connection, account: &NewAccount) -> sqlx::Result<u64> {
                let text = |text: &str| <$text>::from(text);
                let profile = &account.profile;
                let insert = sqlx::query($sql.insert)
                    .bind(text(&folded(&account.user)))
                    .bind(text(account.user.as_str()))
                    .bind(text(&account.hash))
                    .bind(profile.name.as_deref().map(text))
                    .bind(profile.email.as_deref().map(text))
                    .bind(text(&write_groups(profile)))
                    .bind(account.now.as_millis());
                Ok(insert.execute(connection).await?.rows_affected())
            }

            /// Answers how many accounts there are of that name.
            async fn change_one(
                connection: &mut $connection,
                name: &str,
                change: &Change,
            ) -> sqlx::Result<u64> {
                let text = |text: &str| <$text>::from(text);
                let statement = match change {
                    Change::Password(hash) => sqlx::query($sql.set_password).bind(text(hash)),
                    Change::Renew { from, to } => sqlx::query($sql.renew).bind(text(to)).bind(text(from)),
                    Change::Profile(profile) => sqlx::query($sql.set_profile)
                        .bind(profile.name.as_deref().map(text))
                        .bind(profile.email.as_deref().map(text))
                        .bind(text(&write_groups(profile))),
                    Change::Disable => sqlx::query($sql.set_disabled).bind(true),
                    Change::Enable => sqlx::query($sql.set_disabled).bind(false),
                    Change::LoggedIn(now) => sqlx::query($sql.set_last_login).bind(now.as_millis()),
                    Change::Remove => sqlx::query($sql.remove),
                };
                Ok(statement.bind(text(name)).execute(connection).await?.rows_affected())
            }
        }
    };
}

source!(
    /// Accounts in a PostgreSQL database.
    PostgresSource, Postgres, PgConnection, String, POSTGRES_SCHEMA, POSTGRES
);
source!(
    /// Accounts in a MySQL or MariaDB database, where texts are bytes.
    MySqlSource, MySql, MySqlConnection, Vec<u8>, MYSQL_SCHEMA, MYSQL
);

/// What is said to a database.
struct Statements {
    insert: &'static str,
    find: &'static str,
    set_password: &'static str,
    renew: &'static str,
    set_profile: &'static str,
    set_disabled: &'static str,
    set_last_login: &'static str,
    remove: &'static str,
}

/// The statements in a dialect.
macro_rules! statements {
    ($dialect:ident) => {
        Statements {
            insert: statement!($dialect:
                "INSERT INTO vestibule_users
                 (folded, name, password, display_name, email, group_names, created)
                 VALUES (" [1] ", " [2] ", " [3] ", " [4] ", " [5] ", " [6] ", " [7] ")" (if_free)),
            find: concat!(select!(), statement!($dialect: " WHERE folded = " [1])),
            set_password: statement!($dialect:
                "UPDATE vestibule_users SET password = " [1] " WHERE folded = " [2]),
            renew: statement!($dialect:
                "UPDATE vestibule_users SET password = " [1] " WHERE password = " [2] " AND folded = " [3]),
            set_profile: statement!($dialect:
                "UPDATE vestibule_users SET display_name = " [1] ", email = " [2] ", group_names = " [3]
                " WHERE folded = " [4]),
            set_disabled: statement!($dialect:
                "UPDATE vestibule_users SET disabled = " [1] " WHERE folded = " [2]),
            set_last_login: statement!($dialect:
                "UPDATE vestibule_users SET last_login = " [1] " WHERE folded = " [2]),
            remove: statement!($dialect: "DELETE FROM vestibule_users WHERE folded = " [1]),
        }
    };
}

macro_rules! select {
    () => {
        "SELECT name, display_name, email, group_names, disabled, created, last_login, password
         FROM vestibule_users"
    };
}

const POSTGRES: Statements = statements!(in_postgres);
const MYSQL: Statements = statements!(in_mysql);
const LIST: &str = concat!(select!(), " ORDER BY folded");

/// Version by version; what has shipped never changes.
const POSTGRES_SCHEMA: Schema = Schema {
    part: PART,
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

/// Texts are bytes, so that no character set changes them.
const MYSQL_SCHEMA: Schema = Schema {
    part: PART,
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

const PART: &str = "accounts";
