//! Meters in the PostgreSQL or MySQL database that keeps the sessions.
//!
//! Invariants: meters are locked in the order of their digests, so that attempts never block each other; an
//! attempt is counted in all of its meters or in none; what nobody adds to is swept out.

use std::sync::Arc;
use std::time::Duration;

use sqlx::{MySql, Postgres};

use super::meter::Meter;
use super::{Claim, Release};
use crate::clock::Timestamp;
use crate::login::Rate;
use crate::storage::sql::{Database, Location, Repeat, Schema, SqlError};

/// Meters in a Postgres database.
#[derive(Debug)]
pub(super) struct PostgresMeters {
    database: Database<Postgres>,
}

impl PostgresMeters {
    /// To be called on the runtime that does its work.
    pub(super) fn new(location: &Location) -> Self {
        Self { database: Database::new(location, POSTGRES_SCHEMA) }
    }

    pub(super) async fn take(&self, claims: &[Claim], now: Timestamp) -> Result<Duration, SqlError> {
        let claims = in_order(claims);
        let is_to_sweep = claims.first().is_some_and(|claim| claim.key.first() == Some(&0));
        let done = self.database.run(Repeat::Never, move |connection| {
            let claims = Arc::clone(&claims);
            Box::pin(async move {
                if is_to_sweep {
                    postgres::sweep(connection, now).await?;
                }
                postgres::take(connection, &claims, now).await
            })
        });
        done.await
    }

    pub(super) async fn release(
        &self,
        claims: &[Claim],
        release: Release,
        now: Timestamp,
    ) -> Result<(), SqlError> {
        let claims = in_order(claims);
        let done = self.database.run(Repeat::Never, move |connection| {
            let claims = Arc::clone(&claims);
            Box::pin(async move { postgres::release(connection, &claims, release, now).await })
        });
        done.await
    }

    pub(super) async fn close(&self) {
        self.database.close().await;
    }
}

/// Meters in a MySql database.
#[derive(Debug)]
pub(super) struct MySqlMeters {
    database: Database<MySql>,
}

impl MySqlMeters {
    /// To be called on the runtime that does its work.
    pub(super) fn new(location: &Location) -> Self {
        Self { database: Database::new(location, MYSQL_SCHEMA) }
    }

    pub(super) async fn take(&self, claims: &[Claim], now: Timestamp) -> Result<Duration, SqlError> {
        let claims = in_order(claims);
        let is_to_sweep = claims.first().is_some_and(|claim| claim.key.first() == Some(&0));
        let done = self.database.run(Repeat::Never, move |connection| {
            let claims = Arc::clone(&claims);
            Box::pin(async move {
                if is_to_sweep {
                    mysql::sweep(connection, now).await?;
                }
                mysql::take(connection, &claims, now).await
            })
        });
        done.await
    }

    pub(super) async fn release(
        &self,
        claims: &[Claim],
        release: Release,
        now: Timestamp,
    ) -> Result<(), SqlError> {
        let claims = in_order(claims);
        let done = self.database.run(Repeat::Never, move |connection| {
            let claims = Arc::clone(&claims);
            Box::pin(async move { mysql::release(connection, &claims, release, now).await })
        });
        done.await
    }

    pub(super) async fn close(&self) {
        self.database.close().await;
    }
}

fn in_order(claims: &[Claim]) -> Arc<[Claim]> {
    let mut claims = claims.to_vec();
    claims.sort_by_key(|claim| claim.key);
    claims.into()
}

fn from_columns((failures, until): (i64, i64)) -> Meter {
    let failures = u32::try_from(failures.max(0)).unwrap_or(u32::MAX);
    Meter { failures, until: Timestamp::from_millis(until) }
}

/// By then nearly all of it is forgotten.
fn expiry(meter: Meter, rate: Rate) -> i64 {
    (meter.until + rate.period.saturating_mul(2)).as_millis()
}

/// PostgreSQL.
mod postgres {
    use sqlx::{Connection as _, PgConnection};

    use super::{Claim, Duration, Meter, Release, Timestamp, expiry, from_columns};

    pub(super) async fn take(
        connection: &mut PgConnection,
        claims: &[Claim],
        now: Timestamp,
    ) -> sqlx::Result<Duration> {
        let mut transaction = connection.begin().await?;
        let mut meters: Vec<(Claim, Meter)> = Vec::with_capacity(claims.len());
        for claim in claims {
            sqlx::query(INSERT).bind(claim.key.to_vec()).execute(&mut *transaction).await?;
            let locked = sqlx::query_as(LOCK).bind(claim.key.to_vec()).fetch_one(&mut *transaction);
            meters.push((*claim, from_columns(locked.await?)));
        }
        let wait = meters.iter().map(|(claim, meter)| meter.wait(claim.rate, now)).max().unwrap_or_default();
        if !wait.is_zero() {
            transaction.rollback().await?;
            return Ok(wait);
        }
        for (claim, meter) in meters {
            let meter = meter.after_one(claim.rate, now);
            let update = sqlx::query(UPDATE)
                .bind(i64::from(meter.failures))
                .bind(meter.until.as_millis())
                .bind(expiry(meter, claim.rate))
                .bind(claim.key.to_vec());
            update.execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(wait)
    }

    pub(super) async fn release(
        connection: &mut PgConnection,
        claims: &[Claim],
        release: Release,
        now: Timestamp,
    ) -> sqlx::Result<()> {
        for claim in claims {
            let statement = if claim.is_forgotten_by(release) {
                sqlx::query(FORGET)
            } else {
                sqlx::query(GIVE_BACK).bind(now.as_millis())
            };
            statement.bind(claim.key.to_vec()).execute(&mut *connection).await?;
        }
        Ok(())
    }

    pub(super) async fn sweep(connection: &mut PgConnection, now: Timestamp) -> sqlx::Result<()> {
        sqlx::query(SWEEP).bind(now.as_millis()).execute(connection).await.map(drop)
    }

    const INSERT: &str = "
        INSERT INTO vestibule_throttle (digest, failures, wait_until, expires) VALUES ($1, 0, 0, 0)
        ON CONFLICT (digest) DO NOTHING";
    const LOCK: &str = "SELECT failures, wait_until FROM vestibule_throttle WHERE digest = $1 FOR UPDATE";
    const UPDATE: &str =
        "UPDATE vestibule_throttle SET failures = $1, wait_until = $2, expires = $3 WHERE digest = $4";
    const FORGET: &str = "DELETE FROM vestibule_throttle WHERE digest = $1";
    const GIVE_BACK: &str = "
        UPDATE vestibule_throttle
        SET failures = greatest(failures - 1, 0), wait_until = least(wait_until, $1) WHERE digest = $2";
    const SWEEP: &str = "DELETE FROM vestibule_throttle WHERE expires < $1";
}

/// MySQL.
mod mysql {
    use sqlx::{Connection as _, MySqlConnection};

    use super::{Claim, Duration, Meter, Release, Timestamp, expiry, from_columns};

    pub(super) async fn take(
        connection: &mut MySqlConnection,
        claims: &[Claim],
        now: Timestamp,
    ) -> sqlx::Result<Duration> {
        let mut transaction = connection.begin().await?;
        let mut meters: Vec<(Claim, Meter)> = Vec::with_capacity(claims.len());
        for claim in claims {
            sqlx::query(INSERT).bind(claim.key.to_vec()).execute(&mut *transaction).await?;
            let locked = sqlx::query_as(LOCK).bind(claim.key.to_vec()).fetch_one(&mut *transaction);
            meters.push((*claim, from_columns(locked.await?)));
        }
        let wait = meters.iter().map(|(claim, meter)| meter.wait(claim.rate, now)).max().unwrap_or_default();
        if !wait.is_zero() {
            transaction.rollback().await?;
            return Ok(wait);
        }
        for (claim, meter) in meters {
            let meter = meter.after_one(claim.rate, now);
            let update = sqlx::query(UPDATE)
                .bind(i64::from(meter.failures))
                .bind(meter.until.as_millis())
                .bind(expiry(meter, claim.rate))
                .bind(claim.key.to_vec());
            update.execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(wait)
    }

    pub(super) async fn release(
        connection: &mut MySqlConnection,
        claims: &[Claim],
        release: Release,
        now: Timestamp,
    ) -> sqlx::Result<()> {
        for claim in claims {
            let statement = if claim.is_forgotten_by(release) {
                sqlx::query(FORGET)
            } else {
                sqlx::query(GIVE_BACK).bind(now.as_millis())
            };
            statement.bind(claim.key.to_vec()).execute(&mut *connection).await?;
        }
        Ok(())
    }

    pub(super) async fn sweep(connection: &mut MySqlConnection, now: Timestamp) -> sqlx::Result<()> {
        sqlx::query(SWEEP).bind(now.as_millis()).execute(connection).await.map(drop)
    }

    const INSERT: &str = "
        INSERT INTO vestibule_throttle (digest, failures, wait_until, expires) VALUES (?, 0, 0, 0)
        ON DUPLICATE KEY UPDATE failures = failures";
    const LOCK: &str = "SELECT failures, wait_until FROM vestibule_throttle WHERE digest = ? FOR UPDATE";
    const UPDATE: &str =
        "UPDATE vestibule_throttle SET failures = ?, wait_until = ?, expires = ? WHERE digest = ?";
    const FORGET: &str = "DELETE FROM vestibule_throttle WHERE digest = ?";
    const GIVE_BACK: &str = "
        UPDATE vestibule_throttle
        SET failures = greatest(failures - 1, 0), wait_until = least(wait_until, ?) WHERE digest = ?";
    const SWEEP: &str = "DELETE FROM vestibule_throttle WHERE expires < ?";
}

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
