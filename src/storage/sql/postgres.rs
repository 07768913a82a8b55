//! PostgreSQL: options, and migrations in one transaction.

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, Postgres};

use super::dialect::Dialect;
use super::location::{Address, Location, Tls};
use super::schema::Schema;

impl Dialect for Postgres {
    fn options(location: &Location) -> PgConnectOptions {
        let options = PgConnectOptions::new_without_pgpass()
            .username(&location.user)
            .database(&location.database)
            .application_name("vestibule")
            .ssl_mode(ssl_mode(location.tls))
            // Not needed here, and PgBouncer refuses it.
            .extra_float_digits(None)
            // SECURITY: statements stay out of the log.
            .disable_statement_logging();
        let options = match &location.address {
            Address::Host { name, port } => options.host(name).port(*port),
            Address::Socket { path, port } => options.socket(path).port(*port),
        };
        let options = match &location.password {
            Some(password) => options.password(password.expose()),
            None => options,
        };
        match &location.authorities {
            Some(file) => options.ssl_root_cert(file),
            None => options,
        }
    }

    async fn settle(_: &mut PgConnection) -> sqlx::Result<()> {
        Ok(())
    }

    async fn version(connection: &mut PgConnection, part: &'static str) -> sqlx::Result<Option<i64>> {
        sqlx::query_scalar("SELECT version FROM vestibule_schema WHERE part = $1")
            .bind(part)
            .fetch_optional(connection)
            .await
    }

    /// All in one transaction: another process sees the old tables or the new ones.
    async fn upgrade(connection: &mut PgConnection, schema: Schema) -> sqlx::Result<()> {
        let mut transaction = connection.begin().await?;
        sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LOCK).execute(&mut *transaction).await?;
        sqlx::query(VERSIONS).execute(&mut *transaction).await?;
        let found = Self::version(&mut transaction, schema.part).await?;
        for (step, version) in schema.steps_after(found) {
            sqlx::raw_sql(step).execute(&mut *transaction).await?;
            sqlx::query(NOTE).bind(schema.part).bind(version).execute(&mut *transaction).await?;
        }
        transaction.commit().await
    }
}

const fn ssl_mode(tls: Tls) -> PgSslMode {
    match tls {
        Tls::Off => PgSslMode::Disable,
        Tls::Preferred => PgSslMode::Prefer,
        Tls::Unverified => PgSslMode::Require,
        Tls::Authority => PgSslMode::VerifyCa,
        Tls::Verified => PgSslMode::VerifyFull,
    }
}

/// "vestibul" in ASCII: the key of the lock, which nobody else should use by accident.
const LOCK: i64 = 0x7665_7374_6962_756c;

const VERSIONS: &str = "
    CREATE TABLE IF NOT EXISTS vestibule_schema (
        part    TEXT   NOT NULL PRIMARY KEY,
        version BIGINT NOT NULL
    )";
const NOTE: &str = "
    INSERT INTO vestibule_schema (part, version) VALUES ($1, $2)
    ON CONFLICT (part) DO UPDATE SET version = excluded.version";
