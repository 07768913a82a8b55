//! The tables of second factors on database servers.
//!
//! Beside the accounts they refer to these and are a step of their schema; for accounts that people declare
//! they have other names and a schema of their own, so that both may lie in one database. `totp_of` is the
//! user of one-time codes and nothing for passkeys: its uniqueness lets nobody have two. Names are compared
//! byte by byte. What has shipped never changes; each statement for MySQL bears to be done twice.

use crate::storage::sql::Schema;

/// `$of` stands in the names of the tables, `$owner` says what a user's name refers to.
macro_rules! postgres_tables {
    ($of:literal, $owner:literal) => {
        concat!(
            "CREATE TABLE vestibule_",
            $of,
            "factors (
                id         TEXT COLLATE \"C\" NOT NULL PRIMARY KEY,
                folded     TEXT COLLATE \"C\" NOT NULL,
                user_name  TEXT   NOT NULL,
                kind       TEXT   NOT NULL,
                name       TEXT   NOT NULL,
                sealed     BYTEA  NOT NULL,
                digest     BYTEA  UNIQUE,
                credential BYTEA,
                host       TEXT,
                totp_of    TEXT COLLATE \"C\" UNIQUE,
                last_step  BIGINT NOT NULL,
                created    BIGINT NOT NULL,
                last_used  BIGINT",
            $owner,
            "
            );
            CREATE INDEX vestibule_",
            $of,
            "factors_by_user ON vestibule_",
            $of,
            "factors (folded);
            CREATE TABLE vestibule_",
            $of,
            "recovery_codes (
                folded TEXT COLLATE \"C\" NOT NULL,
                label  TEXT COLLATE \"C\" NOT NULL,
                phc    TEXT NOT NULL,
                PRIMARY KEY (folded, label)",
            $owner,
            "
            );
            CREATE TABLE vestibule_",
            $of,
            "guesses (
                folded     TEXT COLLATE \"C\" NOT NULL PRIMARY KEY,
                guesses    BIGINT NOT NULL,
                last_guess BIGINT NOT NULL",
            $owner,
            "
            );
            CREATE TABLE vestibule_",
            $of,
            "resets (
                folded          TEXT COLLATE \"C\" NOT NULL PRIMARY KEY,
                user_name       TEXT    NOT NULL,
                digest          BYTEA   NOT NULL UNIQUE,
                expires         BIGINT  NOT NULL,
                removes_factors BOOLEAN NOT NULL",
            $owner,
            "
            );
            CREATE TABLE vestibule_",
            $of,
            "spent (
                digest  BYTEA  NOT NULL PRIMARY KEY,
                expires BIGINT NOT NULL
            );
            CREATE INDEX vestibule_",
            $of,
            "spent_by_end ON vestibule_",
            $of,
            "spent (expires);"
        )
    };
}

/// The same for MySQL, where a text is bytes, so that no collation takes two of them for one.
macro_rules! mysql_tables {
    ($of:literal, $owner:literal) => {
        concat!(
            "CREATE TABLE IF NOT EXISTS vestibule_",
            $of,
            "factors (
                id         VARBINARY(32)  NOT NULL PRIMARY KEY,
                folded     VARBINARY(128) NOT NULL,
                user_name  VARBINARY(128) NOT NULL,
                kind       VARBINARY(16)  NOT NULL,
                name       VARBINARY(256) NOT NULL,
                sealed     MEDIUMBLOB     NOT NULL,
                digest     BINARY(32)     UNIQUE,
                credential BLOB,
                host       VARBINARY(255),
                totp_of    VARBINARY(128) UNIQUE,
                last_step  BIGINT         NOT NULL,
                created    BIGINT         NOT NULL,
                last_used  BIGINT,
                KEY vestibule_",
            $of,
            "factors_by_user (folded)",
            $owner,
            "
            ) ENGINE = InnoDB;
            CREATE TABLE IF NOT EXISTS vestibule_",
            $of,
            "recovery_codes (
                folded VARBINARY(128)  NOT NULL,
                label  VARBINARY(16)   NOT NULL,
                phc    VARBINARY(1024) NOT NULL,
                PRIMARY KEY (folded, label)",
            $owner,
            "
            ) ENGINE = InnoDB;
            CREATE TABLE IF NOT EXISTS vestibule_",
            $of,
            "guesses (
                folded     VARBINARY(128) NOT NULL PRIMARY KEY,
                guesses    BIGINT         NOT NULL,
                last_guess BIGINT         NOT NULL",
            $owner,
            "
            ) ENGINE = InnoDB;
            CREATE TABLE IF NOT EXISTS vestibule_",
            $of,
            "resets (
                folded          VARBINARY(128) NOT NULL PRIMARY KEY,
                user_name       VARBINARY(128) NOT NULL,
                digest          BINARY(32)     NOT NULL UNIQUE,
                expires         BIGINT         NOT NULL,
                removes_factors BOOLEAN        NOT NULL",
            $owner,
            "
            ) ENGINE = InnoDB;
            CREATE TABLE IF NOT EXISTS vestibule_",
            $of,
            "spent (
                digest  BINARY(32) NOT NULL PRIMARY KEY,
                expires BIGINT     NOT NULL,
                KEY vestibule_",
            $of,
            "spent_by_end (expires)
            ) ENGINE = InnoDB"
        )
    };
}

/// The step that brings the tables into a PostgreSQL database of accounts.
pub(in crate::login) const POSTGRES_BESIDE: &str =
    postgres_tables!("", ", FOREIGN KEY (folded) REFERENCES vestibule_users (folded) ON DELETE CASCADE");

/// The step that brings the tables into a MySQL database of accounts.
pub(in crate::login) const MYSQL_BESIDE: &str =
    mysql_tables!("", ", FOREIGN KEY (folded) REFERENCES vestibule_users (folded) ON DELETE CASCADE");

/// For accounts that people declare.
pub(super) const POSTGRES_SCHEMA: Schema = Schema { part: PART, steps: &[postgres_tables!("declared_", "")] };
pub(super) const MYSQL_SCHEMA: Schema = Schema { part: PART, steps: &[mysql_tables!("declared_", "")] };

const PART: &str = "second factors";
