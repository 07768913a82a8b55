//! Forms in the PostgreSQL or MySQL database that keeps the sessions.
//!
//! Invariants: a form is taken by one statement; what has ended is swept out by the next form that comes.

use std::sync::Arc;

use sqlx::{MySql, Postgres};

use super::Entry;
use super::bounds::{Kept, surplus};
use super::form::{FormId, Whose};
use crate::clock::Timestamp;
use crate::storage::sql::{Database, Location, Repeat, Schema, SqlError, statement};

/// Forms in a database. A macro, because sqlx has one type for each and what they share cannot be named.
macro_rules! forms {
    ($(#[$documentation:meta])* $name:ident, $database:ty, $schema:ident, $sql:ident) => {
        $(#[$documentation])*
        #[derive(Debug)]
        pub(super) struct $name {
            database: Database<$database>,
        }

        impl $name {
            /// To be called on the runtime that does its work.
            pub(super) fn new(location: &Location) -> Self {
                Self { database: Database::new(location, $schema) }
            }

            pub(super) async fn add(&self, entry: &Entry, now: Timestamp) -> Result<(), SqlError> {
                let entry = Arc::new(entry.clone());
                let done = self.database.run(Repeat::Never, move |connection| {
                    let entry = Arc::clone(&entry);
                    Box::pin(async move {
                        sqlx::query($sql.sweep).bind(now.as_millis()).execute(&mut *connection).await?;
                        let insert = sqlx::query($sql.add)
                            .bind(entry.id.as_bytes().to_vec())
                            .bind(entry.whose.as_bytes().to_vec())
                            .bind(i64::try_from(entry.sealed.len()).unwrap_or(i64::MAX))
                            .bind(entry.expires.as_millis())
                            .bind(entry.sealed.clone());
                        insert.execute(&mut *connection).await?;
                        let all: Vec<Columns> = sqlx::query_as(LIST).fetch_all(&mut *connection).await?;
                        for gone in surplus(all.into_iter().filter_map(measured)) {
                            let id = gone.id.as_bytes().to_vec();
                            sqlx::query($sql.take).bind(id).execute(&mut *connection).await?;
                        }
                        Ok(())
                    })
                });
                done.await
            }

            pub(super) async fn find(&self, id: FormId, now: Timestamp) -> Result<Option<Vec<u8>>, SqlError> {
                let found = self.database.run(Repeat::Harmless, move |connection| {
                    let find = sqlx::query_scalar($sql.find).bind(id.as_bytes().to_vec());
                    Box::pin(find.bind(now.as_millis()).fetch_optional(connection))
                });
                found.await
            }

            pub(super) async fn take(&self, id: FormId) -> Result<bool, SqlError> {
                let taken = self.database.run(Repeat::Never, move |connection| {
                    Box::pin(sqlx::query($sql.take).bind(id.as_bytes().to_vec()).execute(connection))
                });
                Ok(taken.await?.rows_affected() > 0)
            }

            pub(super) async fn close(&self) {
                self.database.close().await;
            }
        }
    };
}

forms!(
    /// Forms in a PostgreSQL database.
    PostgresForms, Postgres, POSTGRES_SCHEMA, POSTGRES
);
forms!(
    /// Forms in a MySQL database.
    MySqlForms, MySql, MYSQL_SCHEMA, MYSQL
);

/// `id, owner, bytes`.
type Columns = (Vec<u8>, Vec<u8>, i64);

fn measured((id, whose, bytes): Columns) -> Option<Kept> {
    Some(Kept {
        id: FormId::from_bytes(id.try_into().ok()?),
        whose: Whose::from_bytes(whose.try_into().ok()?),
        bytes: usize::try_from(bytes).ok()?,
    })
}

/// What is said to a database.
struct Statements {
    add: &'static str,
    find: &'static str,
    take: &'static str,
    sweep: &'static str,
}

/// The statements in a dialect.
macro_rules! statements {
    ($dialect:ident) => {
        Statements {
            add: statement!($dialect:
                "INSERT INTO vestibule_forms (id, owner, bytes, expires, sealed)
                 VALUES (" [1] ", " [2] ", " [3] ", " [4] ", " [5] ")"),
            find: statement!($dialect: "SELECT sealed FROM vestibule_forms WHERE id = " [1] " AND expires > " [2]),
            take: statement!($dialect: "DELETE FROM vestibule_forms WHERE id = " [1]),
            sweep: statement!($dialect: "DELETE FROM vestibule_forms WHERE expires <= " [1]),
        }
    };
}

const POSTGRES: Statements = statements!(in_postgres);
const MYSQL: Statements = statements!(in_mysql);

/// The newest first; an index answers it.
const LIST: &str = "SELECT id, owner, bytes FROM vestibule_forms ORDER BY expires DESC, id DESC";

/// Version by version; what has shipped never changes.
const POSTGRES_SCHEMA: Schema = Schema {
    part: "forms",
    steps: &["
    CREATE TABLE vestibule_forms (
        id      BYTEA  NOT NULL PRIMARY KEY,
        owner   BYTEA  NOT NULL,
        bytes   BIGINT NOT NULL,
        expires BIGINT NOT NULL,
        sealed  BYTEA  NOT NULL
    );
    CREATE INDEX vestibule_forms_by_end ON vestibule_forms (expires, id, owner, bytes);
"],
};

const MYSQL_SCHEMA: Schema = Schema {
    part: "forms",
    steps: &["
    CREATE TABLE IF NOT EXISTS vestibule_forms (
        id      BINARY(16) NOT NULL PRIMARY KEY,
        owner   BINARY(16) NOT NULL,
        bytes   BIGINT     NOT NULL,
        expires BIGINT     NOT NULL,
        sealed  MEDIUMBLOB NOT NULL,
        KEY vestibule_forms_by_end (expires, id, owner, bytes)
    ) ENGINE = InnoDB
"],
};
