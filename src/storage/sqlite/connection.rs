//! One connection to an SQLite file: how it is opened, and how its tables are brought up to date.
//!
//! Invariant: the file and its side files can be read by their owner alone.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::StorageError;

/// What a connection may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
}

/// How long a statement waits while another process writes.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) fn open(path: &Path, access: Access) -> Result<Connection, StorageError> {
    create(path).map_err(|error| StorageError::create(path, &error))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = Connection::open_with_flags(path, flags).and_then(|connection| {
        prepare(&connection, access)?;
        Ok(connection)
    });
    opened.map_err(|error| StorageError::open(path, &error))
}

/// Brings the tables to version `migrations.len()`, each step in a transaction of its own, so that
/// two processes that start together do each step once.
pub(super) fn migrate(
    connection: &mut Connection,
    path: &Path,
    migrations: &[&str],
) -> Result<(), StorageError> {
    loop {
        let found = version(connection).map_err(|error| StorageError::open(path, &error))?;
        let position = usize::try_from(found).unwrap_or(usize::MAX);
        if position > migrations.len() {
            return Err(StorageError::Newer { path: path.to_path_buf(), found, known: migrations.len() });
        }
        let Some(step) = migrations.get(position) else { return Ok(()) };
        apply(connection, found, step).map_err(|error| StorageError::failed(path, &error))?;
    }
}

fn apply(connection: &mut Connection, from: i64, step: &str) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if version(&transaction)? != from {
        return Ok(()); // another process was faster
    }
    transaction.execute_batch(step)?;
    transaction.pragma_update(None, "user_version", from.saturating_add(1))?;
    transaction.commit()
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Makes an empty file if there is none. SQLite gives its side files the mode of this one.
fn create(path: &Path) -> io::Result<()> {
    // SECURITY: 0600 from the first moment, whatever the umask; SQLite itself would make it 0644.
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    match made {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

fn prepare(connection: &Connection, access: Access) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // FULL: a commit is on the disk before it is answered, so that a logout survives a power cut.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "journal_size_limit", JOURNAL_LIMIT)?;
    if access == Access::Write {
        connection.pragma_update(None, "cache_size", WRITE_CACHE)?;
    }
    connection.pragma_update(None, "mmap_size", 0)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // SECURITY: a prepared file cannot make us run functions from its schema.
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "query_only", access == Access::Read)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

/// A transaction of many jobs fits into it: SQLite would write what does not fit twice. In KiB, when
/// negative.
const WRITE_CACHE: i64 = -16 * 1024;
/// The log is cut back to this many bytes after a checkpoint.
const JOURNAL_LIMIT: i64 = 16 * 1024 * 1024;
