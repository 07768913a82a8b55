//! Why an SQL database did not do what it was asked, in words for the person who runs it.
//!
//! Invariant: every text names the database, and none its password.

use sqlx::error::ErrorKind;

/// Why a database cannot answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SqlError {
    /// It is not reachable, too slow, or refuses. What was asked for may still be done after a timeout.
    #[error("the database `{database}` cannot answer: {reason}")]
    Unavailable {
        /// Where it is.
        database: String,
        /// What the system or the server says.
        reason: String,
    },
    /// Its tables were made by a later release.
    #[error(
        "the tables for {part} in the database `{database}` have schema version {found}, but this release \
         knows only {known}; run the newer release, or name another database"
    )]
    Newer {
        /// Where it is.
        database: String,
        /// Which tables.
        part: &'static str,
        /// Their version.
        found: i64,
        /// The newest version that this release knows.
        known: usize,
    },
    /// It holds a row with this key; nothing was changed.
    #[error("the database `{database}` holds a row with this key already")]
    Taken {
        /// Where it is.
        database: String,
    },
    /// A column does not hold what it should.
    #[error("the database `{database}` holds a value that cannot be read: {reason}")]
    Value {
        /// Where it is.
        database: String,
        /// What the driver says.
        reason: String,
    },
}

impl SqlError {
    pub(super) fn unavailable(database: &str, reason: impl Into<String>) -> Self {
        Self::Unavailable { database: database.to_owned(), reason: reason.into() }
    }

    /// It cannot answer because of `error`, whatever that says about a row.
    pub(super) fn because(database: &str, error: &sqlx::Error) -> Self {
        Self::unavailable(database, reason(error))
    }

    pub(super) fn new(database: &str, error: &sqlx::Error) -> Self {
        match Fault::of(error) {
            Fault::Taken => Self::Taken { database: database.to_owned() },
            Fault::Value => Self::Value { database: database.to_owned(), reason: reason(error) },
            Fault::Connection | Fault::Conflict | Fault::Missing | Fault::Refused => {
                Self::because(database, error)
            }
        }
    }
}

/// What an error means for the one who must go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The connection is of no use any more; whether the statement was done is not known.
    Connection,
    /// Two transactions were in each other's way; nothing was done, and doing it again is right.
    Conflict,
    /// A unique key is taken.
    Taken,
    /// A table is not there.
    Missing,
    /// A value is not what its column should hold.
    Value,
    /// The server says no.
    Refused,
}

impl Fault {
    pub(super) fn of(error: &sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(error) if error.kind() == ErrorKind::UniqueViolation => Self::Taken,
            sqlx::Error::Database(error) => Self::of_state(&error.code().unwrap_or_default()),
            sqlx::Error::Decode(_)
            | sqlx::Error::ColumnDecode { .. }
            | sqlx::Error::ColumnNotFound(_)
            | sqlx::Error::ColumnIndexOutOfBounds { .. }
            | sqlx::Error::TypeNotFound { .. } => Self::Value,
            _ => Self::Connection,
        }
    }

    /// By SQLSTATE: both engines speak it.
    fn of_state(state: &str) -> Self {
        match state {
            // Serialization failure (MySQL: also deadlock), deadlock.
            "40001" | "40P01" => Self::Conflict,
            // PostgreSQL, MySQL: no such table.
            "42P01" | "42S02" => Self::Missing,
            // PostgreSQL: ended by an administrator, after a crash, not ready yet. MySQL: killed.
            "57P01" | "57P02" | "57P03" | "70100" => Self::Connection,
            // Connection exceptions.
            _ if state.starts_with("08") => Self::Connection,
            _ => Self::Refused,
        }
    }
}

fn reason(error: &sqlx::Error) -> String {
    let text = match error {
        sqlx::Error::Database(error) => error.message().to_owned(),
        sqlx::Error::Io(error) => error.to_string(),
        other => other.to_string(),
    };
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(REASON_LIMIT).collect()
}

/// The server's own words may be long.
const REASON_LIMIT: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_says_decides_what_to_do_next() {
        for (state, fault) in [
            ("40P01", Fault::Conflict),
            ("42S02", Fault::Missing),
            ("57P01", Fault::Connection),
            ("08S01", Fault::Connection),
            ("25006", Fault::Refused),
            ("53100", Fault::Refused),
            ("", Fault::Refused),
        ] {
            assert_eq!(Fault::of_state(state), fault, "{state}");
        }
    }

    #[test]
    fn a_lost_connection_says_what_the_system_says() {
        let refused = sqlx::Error::Io(std::io::Error::from(std::io::ErrorKind::ConnectionRefused));
        let error = SqlError::new("postgres://me@db:5432/db", &refused);
        assert_eq!(
            error.to_string(),
            "the database `postgres://me@db:5432/db` cannot answer: connection refused"
        );
    }
}
