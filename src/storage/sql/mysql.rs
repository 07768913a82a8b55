//! MySQL and MariaDB: options, and migrations step by step, because they cannot be undone there.

use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};
use sqlx::{ConnectOptions as _, MySql, MySqlConnection};

use super::dialect::Dialect;
use super::location::{Address, Location, Tls};
use super::schema::Schema;

impl Dialect for MySql {
    fn options(location: &Location) -> MySqlConnectOptions {
        let options = MySqlConnectOptions::new()
            .username(&location.user)
            .database(&location.database)
            .ssl_mode(ssl_mode(location.tls))
            // Each of these would cost a round trip, and nothing here depends on them.
            .pipes_as_concat(false)
            .no_engine_substitution(false)
            .timezone(None)
            .set_names(false)
            // SECURITY: statements stay out of the log.
            .disable_statement_logging();
        let options = match &location.address {
            Address::Host { name, port } => options.host(name).port(*port),
            Address::Socket { path, .. } => options.socket(path),
        };
        let options = match &location.password {
            Some(password) => options.password(password.expose()),
            None => options,
        };
        match &location.authorities {
            Some(file) => options.ssl_ca(file),
            None => options,
        }
    }

    /// Only rows that are there are locked, so that removals and insertions do not wait for each
    /// other; and nobody waits for a lock longer than a caller would.
    async fn settle(connection: &mut MySqlConnection) -> sqlx::Result<()> {
        for setting in [
            "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
            "SET SESSION innodb_lock_wait_timeout = 1, SESSION sql_mode = 'STRICT_ALL_TABLES'",
        ] {
            sqlx::raw_sql(setting).execute(&mut *connection).await?;
        }
        Ok(())
    }

    async fn version(connection: &mut MySqlConnection, part: &'static str) -> sqlx::Result<Option<i64>> {
        sqlx::query_scalar("SELECT version FROM vestibule_schema WHERE part = ?")
            .bind(part)
            .fetch_optional(connection)
            .await
    }

    /// Each step commits by itself, so it must bear to be begun again after a crash in its middle. The
    /// lock is left with the connection when a step fails.
    async fn upgrade(connection: &mut MySqlConnection, schema: Schema) -> sqlx::Result<()> {
        let lock: Option<i64> = sqlx::query_scalar(LOCK).fetch_one(&mut *connection).await?;
        if lock != Some(1) {
            return Err(sqlx::Error::Protocol("another process is changing the tables".to_owned()));
        }
        sqlx::raw_sql(VERSIONS).execute(&mut *connection).await?;
        let found = Self::version(&mut *connection, schema.part).await?;
        for (step, version) in schema.steps_after(found) {
            sqlx::raw_sql(step).execute(&mut *connection).await?;
            sqlx::query(NOTE).bind(schema.part).bind(version).execute(&mut *connection).await?;
        }
        sqlx::query(UNLOCK).execute(connection).await.map(drop)
    }
}

const fn ssl_mode(tls: Tls) -> MySqlSslMode {
    match tls {
        Tls::Off => MySqlSslMode::Disabled,
        Tls::Preferred => MySqlSslMode::Preferred,
        Tls::Unverified => MySqlSslMode::Required,
        Tls::Authority => MySqlSslMode::VerifyCa,
        Tls::Verified => MySqlSslMode::VerifyIdentity,
    }
}

/// The names of locks are shared by all databases of a server, and 64 characters long at most.
const LOCK: &str = "SELECT GET_LOCK(CONCAT('vestibule ', MD5(DATABASE())), 10)";
const UNLOCK: &str = "DO RELEASE_LOCK(CONCAT('vestibule ', MD5(DATABASE())))";

const VERSIONS: &str = "
    CREATE TABLE IF NOT EXISTS vestibule_schema (
        part    VARBINARY(64) NOT NULL PRIMARY KEY,
        version BIGINT        NOT NULL
    ) ENGINE = InnoDB";
const NOTE: &str = "REPLACE INTO vestibule_schema (part, version) VALUES (?, ?)";
