//! Second factors in a PostgreSQL or MySQL database, for several gateways: beside the accounts, or in tables
//! of their own for accounts that people declare in a file.
//!
//! How a server is reached is left to [`crate::storage::sql`], what is said to it to `statements`. Invariants:
//! what is worth something once is taken by one statement, so that of several gateways one takes it; beside
//! the accounts, nothing of a user outlives their account.

use std::pin::Pin;
use std::sync::Arc;

use sqlx::{Connection as _, MySql, MySqlConnection, PgConnection, Postgres};

use super::store::{
    AfterReset, Answer, Change, CodeHash, FactorId, FactorStore, Guesses, Held, Kind, Reset, Row,
};
use crate::clock::Timestamp;
use crate::identity::UserId;
use crate::login::accounts::folded;
use crate::storage::sql::{Database, Location, Repeat, SqlError};

mod columns;
mod statements;
mod tables;

pub(in crate::login) use tables::{MYSQL_BESIDE, POSTGRES_BESIDE};

use columns::{Columns, ResetColumns, SealedColumns};
use statements::{MYSQL, MYSQL_DECLARED, POSTGRES, POSTGRES_DECLARED, Statements};
use tables::{MYSQL_SCHEMA, POSTGRES_SCHEMA};

/// Factors in a database. A macro, because sqlx has one type for each and what they share cannot be named;
/// `$text` is what a text is there.
macro_rules! factors {
    (
        $(#[$documentation:meta])* $name:ident, $database:ty, $connection:ty, $text:ty,
        beside: $beside:ident, declared: $declared:ident in $schema:ident
    ) => {
        $(#[$documentation])*
        #[derive(Clone, Debug)]
        pub(super) struct $name {
            database: Database<$database>,
            sql: &'static Statements,
        }

        impl $name {
            /// In the database of the accounts, which has the tables already.
            pub(super) const fn beside(accounts: Database<$database>) -> Self {
                Self { database: accounts, sql: &$beside }
            }

            /// For accounts that are kept elsewhere. To be called on the runtime that does the work.
            pub(super) fn declared(location: &Location) -> Self {
                Self { database: Database::new(location, $schema), sql: &$declared }
            }
        }

        impl FactorStore for $name {
            fn of_user(&self, user: UserId) -> Answer<'_, Held> {
                let (sql, user) = (self.sql, folded(&user));
                Box::pin(async move {
                    let found = self.database.run(Repeat::Harmless, move |connection| {
                        let user = <$text>::from(user.as_str());
                        Box::pin(async move {
                            let query = sqlx::query_as(sql.of_user).bind(user.clone());
                            let rows: Vec<Columns<$text>> = query.fetch_all(&mut *connection).await?;
                            let query = sqlx::query_as(sql.codes).bind(user.clone());
                            let codes: Vec<($text, $text)> = query.fetch_all(&mut *connection).await?;
                            let query = sqlx::query_as(sql.guesses).bind(user);
                            let guesses: Option<(i64, i64)> = query.fetch_optional(connection).await?;
                            Ok((rows, codes, guesses))
                        })
                    });
                    columns::held(found.await?)
                })
            }

            fn by_credential(&self, credential: Vec<u8>) -> Answer<'_, Option<(UserId, Row)>> {
                let (sql, digest) = (self.sql, columns::digest(&credential));
                Box::pin(async move {
                    let found = self.database.run(Repeat::Harmless, move |connection| {
                        let query = sqlx::query_as(sql.by_credential).bind(digest.to_vec());
                        Box::pin(query.fetch_optional(connection))
                    });
                    let found: Option<Columns<$text>> = found.await?;
                    found.map(columns::row).transpose()
                })
            }

            fn reset(&self, hash: [u8; 32]) -> Answer<'_, Option<Reset>> {
                let sql = self.sql;
                Box::pin(async move {
                    let found = self.database.run(Repeat::Harmless, move |connection| {
                        let query = sqlx::query_as(sql.reset).bind(hash.to_vec());
                        Box::pin(query.fetch_optional(connection))
                    });
                    let found: Option<ResetColumns<$text>> = found.await?;
                    found.map(columns::reset).transpose()
                })
            }

            fn sealed(&self) -> Answer<'_, Vec<(UserId, FactorId, Vec<u8>)>> {
                let sql = self.sql;
                Box::pin(async move {
                    let found = self.database.run(Repeat::Harmless, move |connection| {
                        Box::pin(sqlx::query_as(sql.sealed).fetch_all(connection))
                    });
                    let found: Vec<SealedColumns<$text>> = found.await?;
                    found.into_iter().map(columns::sealed).collect()
                })
            }

            fn change(&self, change: Change) -> Answer<'_, bool> {
                let (sql, change) = (self.sql, Arc::new(change));
                Box::pin(async move {
                    let changed = self.database.run(Repeat::Never, move |connection| {
                        let change = Arc::clone(&change);
                        Box::pin(async move { Self::apply(connection, sql, &change).await })
                    });
                    match changed.await {
                        // Somebody was there first.
                        Err(SqlError::Taken { .. }) => Ok(false),
                        changed => Ok(changed? > 0),
                    }
                })
            }

            fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
                Box::pin(self.database.close())
            }
        }

        impl $name {
            /// Answers how many rows it met.
            async fn apply(
                connection: &mut $connection,
                sql: &'static Statements,
                change: &Change,
            ) -> sqlx::Result<u64> {
                let text = |text: &str| <$text>::from(text);
                let name = |user: &UserId| <$text>::from(folded(user).as_str());
                let statement = match change {
                    Change::Add(user, row) => return Self::add(connection, sql, user, row).await,
                    Change::RemoveAll(user) => return Self::remove_all(connection, sql, user).await,
                    Change::SetCodes(user, codes) => {
                        return Self::set_codes(connection, sql, user, codes).await;
                    }
                    Change::SpendOnce { hash, until, now } => {
                        sqlx::query(sql.sweep).bind(now.as_millis()).execute(&mut *connection).await?;
                        sqlx::query(sql.spend).bind(hash.to_vec()).bind(until.as_millis())
                    }
                    Change::Remove(user, id) => {
                        sqlx::query(sql.remove).bind(name(user)).bind(text(id.as_str()))
                    }
                    Change::TakeStep(id, step, now) => sqlx::query(sql.take_step)
                        .bind(*step)
                        .bind(now.as_millis())
                        .bind(text(id.as_str()))
                        .bind(*step),
                    Change::Reseal { id, from, to, used } => sqlx::query(sql.reseal)
                        .bind(to.clone())
                        .bind(used.map(Timestamp::as_millis))
                        .bind(text(id.as_str()))
                        .bind(from.clone()),
                    Change::SpendCode(user, code) => {
                        sqlx::query(sql.spend_code).bind(name(user)).bind(text(&code.label)).bind(text(&code.phc))
                    }
                    Change::Guess(user, Guesses { count: 0, .. }, now) => {
                        sqlx::query(sql.first_guess).bind(name(user)).bind(now.as_millis())
                    }
                    Change::Guess(user, before, now) => sqlx::query(sql.next_guess)
                        .bind(now.as_millis())
                        .bind(name(user))
                        .bind(i64::from(before.count)),
                    Change::Right(user) => sqlx::query(sql.forget_guesses).bind(name(user)),
                    Change::AddReset(hash, reset) => sqlx::query(sql.add_reset)
                        .bind(name(&reset.user))
                        .bind(text(reset.user.as_str()))
                        .bind(hash.to_vec())
                        .bind(reset.expires.as_millis())
                        .bind(reset.factors == AfterReset::Removed),
                    Change::SpendReset(hash) => sqlx::query(sql.spend_reset).bind(hash.to_vec()),
                };
                Ok(statement.execute(connection).await?.rows_affected())
            }

            async fn add(
                connection: &mut $connection,
                sql: &'static Statements,
                user: &UserId,
                row: &Row,
            ) -> sqlx::Result<u64> {
                let text = |text: &str| <$text>::from(text);
                let name = text(&folded(user));
                let only = (row.kind == Kind::Totp).then(|| name.clone());
                let (credential, host) = row.credential.clone().unzip();
                let mut transaction = connection.begin().await?;
                if let Some(only) = &only {
                    sqlx::query(sql.remove_totp).bind(only.clone()).execute(&mut *transaction).await?;
                }
                let insert = sqlx::query(sql.add)
                    .bind(text(row.id.as_str()))
                    .bind(name)
                    .bind(text(user.as_str()))
                    .bind(text(row.kind.as_str()))
                    .bind(text(&row.name))
                    .bind(row.sealed.clone())
                    .bind(credential.as_deref().map(|credential| columns::digest(credential).to_vec()))
                    .bind(credential)
                    .bind(host.as_deref().map(text))
                    .bind(only)
                    .bind(row.last_step)
                    .bind(row.created.as_millis())
                    .bind(row.last_used.map(Timestamp::as_millis));
                let added = insert.execute(&mut *transaction).await?.rows_affected();
                transaction.commit().await?;
                Ok(added)
            }

            async fn remove_all(
                connection: &mut $connection,
                sql: &'static Statements,
                user: &UserId,
            ) -> sqlx::Result<u64> {
                let user = <$text>::from(folded(user).as_str());
                let mut transaction = connection.begin().await?;
                let mut removed = 0;
                for statement in [sql.remove_factors, sql.remove_codes, sql.forget_guesses] {
                    let done = sqlx::query(statement).bind(user.clone()).execute(&mut *transaction).await?;
                    removed += done.rows_affected();
                }
                transaction.commit().await?;
                Ok(removed)
            }

            async fn set_codes(
                connection: &mut $connection,
                sql: &'static Statements,
                user: &UserId,
                codes: &[CodeHash],
            ) -> sqlx::Result<u64> {
                let text = |text: &str| <$text>::from(text);
                let user = text(&folded(user));
                let mut transaction = connection.begin().await?;
                // Who else makes codes for this user waits here, and then replaces these.
                sqlx::query(sql.hold).bind(user.clone()).fetch_all(&mut *transaction).await?;
                sqlx::query(sql.remove_codes).bind(user.clone()).execute(&mut *transaction).await?;
                let mut added = 0;
                for code in codes {
                    let insert = sqlx::query(sql.add_code).bind(user.clone());
                    let insert = insert.bind(text(&code.label)).bind(text(&code.phc));
                    added += insert.execute(&mut *transaction).await?.rows_affected();
                }
                transaction.commit().await?;
                Ok(added)
            }
        }
    };
}

factors!(
    /// Second factors in a PostgreSQL database. Clones share it.
    PostgresFactors, Postgres, PgConnection, String,
    beside: POSTGRES, declared: POSTGRES_DECLARED in POSTGRES_SCHEMA
);
factors!(
    /// Second factors in a MySQL or MariaDB database, where texts are bytes. Clones share it.
    MySqlFactors, MySql, MySqlConnection, Vec<u8>,
    beside: MYSQL, declared: MYSQL_DECLARED in MYSQL_SCHEMA
);
