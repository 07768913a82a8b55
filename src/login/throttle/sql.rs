//! Meters in the PostgreSQL or MySQL database that keeps the sessions.
//!
//! Invariants: meters are locked in the order of their digests, so that attempts never block each other; an
//! attempt is counted in all of its meters or in none; what nobody adds to is swept out.

use std::sync::Arc;
use std::time::Duration;

use sqlx::{Connection as _, MySql, MySqlConnection, PgConnection, Postgres};

use super::meter::Meter;
use super::{Claim, Release};
use crate::clock::Timestamp;
use crate::login::Rate;
use crate::storage::sql::{Database, Location, Repeat, Schema, SqlError};

/// Meters in a database. A macro, because sqlx has one type for each and what they share cannot be named.
macro_rules! meters {
    ($(#[$documentation:meta])* $name:ident, $database:ty, $connection:ty, $schema:ident, $sql:ident) => {
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

            /// Counts an attempt, or answers how long it must wait.
            pub(super) async fn take(&self, claims: &[Claim], now: Timestamp) -> Result<Duration, SqlError> {
                let claims = in_order(claims);
                let done = self.database.run(Repeat::Never, move |connection| {
                    let claims = Arc::clone(&claims);
                    Box::pin(async move {
                        if is_to_sweep(&claims) {
                            sqlx::query($sql.sweep).bind(now.as_millis()).execute(&mut *connection).await?;
                        }
                        Self::count(connection, &claims, now).await
                    })
                });
                done.await
            }

            /// Takes back what was counted.
            pub(super) async fn release(
                &self,
                claims: &[Claim],
                release: Release,
                now: Timestamp,
            ) -> Result<(), SqlError> {
                let claims = in_order(claims);
                let done = self.database.run(Repeat::Never, move |connection| {
                    let claims = Arc::clone(&claims);
                    Box::pin(async move { Self::give_back(connection, &claims, release, now).await })
                });
                done.await
            }

            pub(super) async fn close(&self) {
                self.database.close().await;
            }

            async fn count(
                connection: &mut $connection,
                claims: &[Claim],
                now: Timestamp,
            ) -> sqlx::Result<Duration> {
                let mut transaction = connection.begin().await?;
                let mut meters: Vec<(Claim, Meter)> = Vec::with_capacity(claims.len());
                for claim in claims {
                    let key = || claim.key.to_vec();
                    sqlx::query($sql.insert).bind(key()).execute(&mut *transaction).await?;
                    let locked = sqlx::query_as($sql.lock).bind(key()).fetch_one(&mut *transaction);
                    meters.push((*claim, from_columns(locked.await?)));
                }
                let waits = meters.iter().map(|(claim, meter)| meter.wait(claim.limit, now));
                let wait = waits.max().unwrap_or_default();
                if !wait.is_zero() {
                    transaction.rollback().await?;
                    return Ok(wait);
                }
                for (claim, meter) in meters {
                    let meter = meter.after_one(claim.limit, now);
                    let update = sqlx::query($sql.update)
                        .bind(i64::from(meter.failures))
                        .bind(meter.until.as_millis())
                        .bind(expiry(meter, claim.limit.rate))
                        .bind(claim.key.to_vec());
                    update.execute(&mut *transaction).await?;
                }
                transaction.commit().await?;
                Ok(wait)
            }

            async fn give_back(
                connection: &mut $connection,
                claims: &[Claim],
                release: Release,
                now: Timestamp,
            ) -> sqlx::Result<()> {
                for claim in claims {
                    let statement = if claim.is_forgotten_by(release) {
                        sqlx::query($sql.forget)
                    } else {
                        sqlx::query($sql.give_back).bind(now.as_millis())
                    };
                    statement.bind(claim.key.to_vec()).execute(&mut *connection).await?;
                }
                Ok(())
            }
        }
    };
}

meters!(
    /// Meters in a PostgreSQL database.
    PostgresMeters, Postgres, PgConnection, POSTGRES_SCHEMA, POSTGRES
);
meters!(
    /// Meters in a MySQL database.
    MySqlMeters, MySql, MySqlConnection, MYSQL_SCHEMA, MYSQL
);

fn in_order(claims: &[Claim]) -> Arc<[Claim]> {
    let mut claims = claims.to_vec();
    claims.sort_by_key(|claim| claim.key);
    claims.into()
}

/// One attempt of some hundred sweeps for all.
fn is_to_sweep(claims: &[Claim]) -> bool {
    claims.first().is_some_and(|claim| claim.key.first() == Some(&0))
}

fn from_columns((failures, until): (i64, i64)) -> Meter {
    let failures = u32::try_from(failures.max(0)).unwrap_or(u32::MAX);
    Meter { failures, until: Timestamp::from_millis(until) }
}

/// By then nearly all of it is forgotten.
fn expiry(meter: Meter, rate: Rate) -> i64 {
    (meter.until + rate.period.saturating_mul(2)).as_millis()
}

/// What is said to a database.
struct Statements {
    insert: &'static str,
    lock: &'static str,
    update: &'static str,
    forget: &'static str,
    give_back: &'static str,
    sweep: &'static str,
}

const POSTGRES: Statements = Statements {
    insert: "
        INSERT INTO vestibule_throttle (digest, failures, wait_until, expires) VALUES ($1, 0, 0, 0)
        ON CONFLICT (digest) DO NOTHING",
    lock: "SELECT failures, wait_until FROM vestibule_throttle WHERE digest = $1 FOR UPDATE",
    update: "UPDATE vestibule_throttle SET failures = $1, wait_until = $2, expires = $3 WHERE digest = $4",
    forget: "DELETE FROM vestibule_throttle WHERE digest = $1",
    give_back: "
        UPDATE vestibule_throttle
        SET failures = greatest(failures - 1, 0), wait_until = least(wait_until, $1) WHERE digest = $2",
    sweep: "DELETE FROM vestibule_throttle WHERE expires < $1",
};

const MYSQL: Statements = Statements {
    insert: "
        INSERT INTO vestibule_throttle (digest, failures, wait_until, expires) VALUES (?, 0, 0, 0)
        ON DUPLICATE KEY UPDATE failures = failures",
    lock: "SELECT failures, wait_until FROM vestibule_throttle WHERE digest = ? FOR UPDATE",
    update: "UPDATE vestibule_throttle SET failures = ?, wait_until = ?, expires = ? WHERE digest = ?",
    forget: "DELETE FROM vestibule_throttle WHERE digest = ?",
    give_back: "
        UPDATE vestibule_throttle
        SET failures = greatest(failures - 1, 0), wait_until = least(wait_until, ?) WHERE digest = ?",
    sweep: "DELETE FROM vestibule_throttle WHERE expires < ?",
};

/// Version by version; what has shipped never changes.
const POSTGRES_SCHEMA: Schema = Schema {
    part: "throttle",
    steps: &["
    CREATE TABLE vestibule_throttle (
        digest     BYTEA  NOT NULL PRIMARY KEY,
        failures   BIGINT NOT NULL,
        wait_until BIGINT NOT NULL,
        expires    BIGINT NOT NULL
    );
    CREATE INDEX vestibule_throttle_by_end ON vestibule_throttle (expires);
"],
};

const MYSQL_SCHEMA: Schema = Schema {
    part: "throttle",
    steps: &["
    CREATE TABLE IF NOT EXISTS vestibule_throttle (
        digest     BINARY(16) NOT NULL PRIMARY KEY,
        failures   BIGINT     NOT NULL,
        wait_until BIGINT     NOT NULL,
        expires    BIGINT     NOT NULL,
        KEY vestibule_throttle_by_end (expires)
    ) ENGINE = InnoDB
"],
};
