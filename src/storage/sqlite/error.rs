//! Why a database did not do what it was asked, in words for the person who runs it.
//!
//! Invariant: every text names the file and what to do next.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::ErrorCode;

/// Why a database cannot answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StorageError {
    /// The file cannot be opened or made.
    #[error("cannot open the database `{}`: {reason}; {advice}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system or the engine says.
        reason: String,
        /// What to do.
        advice: &'static str,
    },
    /// The file was written by a later release.
    #[error(
        "the database `{}` has schema version {found}, but this release knows only {known}; \
         run the newer release, or name another file",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest version that this release knows.
        known: usize,
    },
    /// The queue is full.
    #[error("the database `{}` has too much to do; try again, and check its disk", path.display())]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// No answer came within the time. A write may still be done.
    #[error("the database `{}` did not answer within {after:?}; check its disk", path.display())]
    TimedOut {
        /// The file.
        path: PathBuf,
        /// How long the caller waited.
        after: Duration,
    },
    /// The engine refused; nothing was changed.
    #[error("the database `{}` failed: {reason}; {advice}", path.display())]
    Failed {
        /// The file.
        path: PathBuf,
        /// What the engine says.
        reason: String,
        /// What to do.
        advice: &'static str,
        /// Whose fault it is.
        fault: Fault,
    },
    /// The database was closed.
    #[error("the database `{}` is closed; this process is stopping", path.display())]
    Closed {
        /// The file.
        path: PathBuf,
    },
}

/// What a failure concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// One value in the file is not of the kind that its reader expected.
    Value,
    /// The rule of a table, as a second row with the same key.
    Constraint,
    /// The file, the disk, the engine or the statement.
    Engine,
}

impl StorageError {
    pub(super) fn open(path: &Path, error: &rusqlite::Error) -> Self {
        Self::Open { path: path.to_path_buf(), reason: error.to_string(), advice: advice(error) }
    }

    pub(super) fn create(path: &Path, error: &io::Error) -> Self {
        let advice = match error.kind() {
            io::ErrorKind::NotFound => "make its folder first",
            io::ErrorKind::PermissionDenied => "let this user write in its folder",
            _ => "check the path",
        };
        Self::Open { path: path.to_path_buf(), reason: error.to_string(), advice }
    }

    pub(super) fn failed(path: &Path, error: &rusqlite::Error) -> Self {
        Self::Failed {
            path: path.to_path_buf(),
            reason: error.to_string(),
            advice: advice(error),
            fault: fault(error),
        }
    }

    pub(super) fn broken(path: &Path, reason: &str) -> Self {
        Self::Failed {
            path: path.to_path_buf(),
            reason: reason.to_owned(),
            advice: "please report this",
            fault: Fault::Engine,
        }
    }
}

fn fault(error: &rusqlite::Error) -> Fault {
    match error {
        rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::Utf8Error(..)
        | rusqlite::Error::InvalidColumnType(..) => Fault::Value,
        _ if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => Fault::Constraint,
        _ => Fault::Engine,
    }
}

fn advice(error: &rusqlite::Error) -> &'static str {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "make room on its disk",
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => "end the other process that holds it",
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
            "let this user write the file and its folder"
        }
        Some(ErrorCode::NotADatabase) => "name another file, or move this one away",
        Some(ErrorCode::DatabaseCorrupt) => "restore it from a copy, or move it away to start empty",
        Some(ErrorCode::SystemIoFailure) => "check its disk",
        _ => "check the file",
    }
}
