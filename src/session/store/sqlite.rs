//! Sessions in an SQLite file.
//!
//! How the file is opened and written is left to [`crate::storage::sqlite`]. Invariant: a value that
//! is not what its column should hold makes its own row corrupt and no other.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::pin::Pin;

use rusqlite::{Connection, OptionalExtension as _, named_params};

use crate::clock::Timestamp;
use crate::identity::UserId;
use crate::storage::sqlite::{Database, Fault, StorageError};

use super::{Answer, Entry, KeyUse, Place, Row, SessionStore, StoreError, Touch};
use crate::session::keyring::KeyId;
use crate::session::token::SessionId;

/// A store that survives restarts and power cuts.
pub(crate) struct SqliteStore {
    database: Database,
}

impl SqliteStore {
    pub(crate) async fn open(path: &Path) -> Result<Self, StorageError> {
        Ok(Self { database: Database::open(path, MIGRATIONS).await? })
    }

    fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Answer<'_, T> {
        Box::pin(async move { Ok(self.database.read(work).await?) })
    }

    /// Shows every session that ends after `now` to `see`, in steps between which others read. One that
    /// is touched meanwhile may be seen twice, but none that lives is missed.
    async fn walk(&self, now: Timestamp, mut see: impl FnMut(Step)) -> Result<(), StoreError> {
        // Behind every place of that moment.
        let mut after = Place { expires_at: now, id: SessionId::from_bytes([0xff; 32]) };
        loop {
            let steps = self.database.read(move |connection| steps(connection, after)).await?;
            let Some(last) = steps.last() else { return Ok(()) };
            after = last.place;
            steps.into_iter().for_each(&mut see);
        }
    }

    fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Answer<'_, T> {
        Box::pin(async move { Ok(self.database.write(work).await?) })
    }
}

impl SessionStore for SqliteStore {
    fn insert(&self, row: Row) -> Answer<'_, ()> {
        self.write(move |connection| insert(connection, &row))
    }

    fn load(&self, id: SessionId) -> Answer<'_, Option<Row>> {
        self.read(move |connection| {
            let mut query = connection.prepare_cached(LOAD)?;
            query.query_row([id.as_bytes()], read_row).optional()
        })
    }

    fn touch(&self, touches: Vec<Touch>) -> Answer<'_, ()> {
        self.write(move |connection| {
            let mut update = connection.prepare_cached(TOUCH)?;
            for touch in touches {
                let resealed = touch.resealed.as_ref();
                update.execute(named_params! {
                    ":id": touch.id.as_bytes(),
                    ":last_seen": touch.last_seen.as_millis(),
                    ":expires_at": touch.expires_at.as_millis(),
                    ":key": resealed.map(|resealed| resealed.key.as_bytes()),
                    ":record": resealed.map(|resealed| &resealed.record),
                })?;
            }
            Ok(())
        })
    }

    fn remove(&self, ids: Vec<SessionId>) -> Answer<'_, Vec<SessionId>> {
        self.write(move |connection| {
            let mut delete = connection.prepare_cached("DELETE FROM sessions WHERE id = ?1")?;
            let mut removed = Vec::new();
            for id in ids {
                if delete.execute([id.as_bytes()])? > 0 {
                    removed.push(id);
                }
            }
            Ok(removed)
        })
    }

    fn of_user(&self, user: UserId) -> Answer<'_, Vec<Entry>> {
        self.read(move |connection| {
            let mut query = connection.prepare_cached(OF_USER)?;
            query.query_map([user.as_str()], read_entry)?.collect()
        })
    }

    fn remove_user(&self, user: UserId) -> Answer<'_, Vec<SessionId>> {
        self.write(move |connection| {
            let mut delete =
                connection.prepare_cached("DELETE FROM sessions WHERE user = ?1 RETURNING id")?;
            delete.query_map([user.as_str()], read_id)?.collect()
        })
    }

    fn users(&self, now: Timestamp) -> Answer<'_, Vec<UserId>> {
        Box::pin(async move {
            let mut names = HashSet::new();
            self.walk(now, |step| names.extend(step.user)).await?;
            // A name that is none belongs to a row that no cookie opens.
            Ok(names.into_iter().filter_map(|name| UserId::try_from(name).ok()).collect())
        })
    }

    fn key_use(&self, now: Timestamp) -> Answer<'_, Vec<KeyUse>> {
        Box::pin(async move {
            let mut uses = HashMap::new();
            self.walk(now, |step| {
                let until = step.place.expires_at;
                let each = uses.entry(step.key).or_insert(KeyUse { key: step.key, sessions: 0, until });
                each.sessions = each.sessions.saturating_add(1);
                each.until = each.until.max(until);
            })
            .await?;
            Ok(uses.into_values().collect())
        })
    }

    fn by_end(&self, after: Option<Place>, until: Timestamp, limit: usize) -> Answer<'_, Vec<Entry>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        // Every place is behind the id of nothing at the beginning of time.
        let end = after.map_or(i64::MIN, |place| place.expires_at.as_millis());
        let id = after.map(|place| place.id.as_bytes().to_vec()).unwrap_or_default();
        self.read(move |connection| {
            let mut query = connection.prepare_cached(BY_END)?;
            query.query_map((end, id, until.as_millis(), limit), read_entry)?.collect()
        })
    }

    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.database.close())
    }
}

/// A session as the index by ends has it.
struct Step {
    place: Place,
    key: KeyId,
    /// Nothing if it is no text.
    user: Option<String>,
}

impl From<StorageError> for StoreError {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Failed { fault: Fault::Value, reason, .. } => Self::Corrupt(reason),
            other => Self::Unavailable(other.to_string()),
        }
    }
}

fn insert(connection: &Connection, row: &Row) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached(INSERT)?;
    insert.execute(named_params! {
        ":id": row.id.as_bytes(),
        ":user": row.user.as_str(),
        ":key": row.key.as_bytes(),
        ":created": row.created.as_millis(),
        ":last_seen": row.last_seen.as_millis(),
        ":expires_at": row.expires_at.as_millis(),
        ":record": row.record,
    })?;
    Ok(())
}

fn read_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    let user: String = row.get(1)?;
    let user = UserId::try_from(user).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(1, rusqlite::types::Type::Text, Box::new(error))
    })?;
    Ok(Row {
        id: read_id(row)?,
        user,
        key: KeyId::from_bytes(row.get(2)?),
        created: Timestamp::from_millis(row.get(3)?),
        last_seen: Timestamp::from_millis(row.get(4)?),
        expires_at: Timestamp::from_millis(row.get(5)?),
        record: row.get(6)?,
    })
}

fn read_entry(row: &rusqlite::Row<'_>) -> rusqlite::Result<Entry> {
    let place = Place { expires_at: Timestamp::from_millis(row.get(5)?), id: read_id(row)? };
    Ok(Entry { place, row: read_row(row).ok() })
}

fn steps(connection: &Connection, after: Place) -> rusqlite::Result<Vec<Step>> {
    let mut query = connection.prepare_cached(WALK)?;
    let parameters = (after.expires_at.as_millis(), after.id.as_bytes().as_slice(), STEPS);
    query.query_map(parameters, read_step)?.collect()
}

fn read_step(row: &rusqlite::Row<'_>) -> rusqlite::Result<Step> {
    let place = Place { expires_at: Timestamp::from_millis(row.get(1)?), id: read_id(row)? };
    Ok(Step { place, key: KeyId::from_bytes(row.get(2)?), user: row.get(3).ok() })
}

fn read_id(row: &rusqlite::Row<'_>) -> rusqlite::Result<SessionId> {
    row.get(0).map(SessionId::from_bytes)
}

/// Version by version; what has shipped never changes. The lengths are checked so that a row of
/// another program cannot get in by accident.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE sessions (
        id         BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 32),
        user       TEXT    NOT NULL,
        key        BLOB    NOT NULL CHECK (length(key) = 4),
        created    INTEGER NOT NULL,
        last_seen  INTEGER NOT NULL,
        expires_at INTEGER NOT NULL,
        record     BLOB    NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX sessions_by_user ON sessions (user);
    CREATE INDEX sessions_by_end  ON sessions (expires_at, id, key, user);
"];

const INSERT: &str = "
    INSERT INTO sessions (id, user, key, created, last_seen, expires_at, record)
    VALUES (:id, :user, :key, :created, :last_seen, :expires_at, :record)";
const LOAD: &str = "
    SELECT id, user, key, created, last_seen, expires_at, record FROM sessions WHERE id = ?1";
const TOUCH: &str = "
    UPDATE sessions SET
        expires_at = iif(last_seen <= :last_seen, :expires_at, expires_at),
        last_seen = max(last_seen, :last_seen),
        key = coalesce(:key, key), record = coalesce(:record, record)
    WHERE id = :id AND (last_seen <= :last_seen OR :record IS NOT NULL)";
const OF_USER: &str = "
    SELECT id, user, key, created, last_seen, expires_at, record FROM sessions WHERE user = ?1";
/// The index holds all of it.
const WALK: &str = "
    SELECT id, expires_at, key, user FROM sessions INDEXED BY sessions_by_end
    WHERE (expires_at, id) > (?1, ?2) ORDER BY expires_at, id LIMIT ?3";
const BY_END: &str = "
    SELECT id, user, key, created, last_seen, expires_at, record FROM sessions
    WHERE (expires_at, id) > (?1, ?2) AND expires_at <= ?3 ORDER BY expires_at, id LIMIT ?4";

/// Sessions that a walk reads in one step: some milliseconds.
const STEPS: i64 = 2_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::store::conformance::{self, Lists};

    async fn store(folder: &tempfile::TempDir) -> SqliteStore {
        SqliteStore::open(&folder.path().join("sessions.db")).await.unwrap()
    }

    #[tokio::test]
    async fn it_keeps_the_contract_of_a_store() {
        let folders = std::sync::Mutex::new(Vec::new());
        let open = || async {
            let folder = tempfile::tempdir().unwrap();
            let store = store(&folder).await;
            folders.lock().unwrap().push(folder);
            store
        };
        conformance::check(Lists::Everything, open).await;
    }

    #[tokio::test]
    async fn rows_survive_a_reopening() {
        let folder = tempfile::tempdir().unwrap();
        let (kept, removed) = (conformance::row(1, "alice", 10), conformance::row(2, "bob", 10));
        let first = store(&folder).await;
        first.insert(kept.clone()).await.unwrap();
        first.insert(removed.clone()).await.unwrap();
        first.remove(vec![removed.id]).await.unwrap();
        first.close().await;
        let second = store(&folder).await;
        assert_eq!(second.load(kept.id).await.unwrap(), Some(kept));
        assert_eq!(second.load(removed.id).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_removal_that_was_answered_is_seen_by_another_process_without_a_close() {
        let folder = tempfile::tempdir().unwrap();
        let row = conformance::row(1, "alice", 10);
        let first = store(&folder).await;
        first.insert(row.clone()).await.unwrap();
        first.remove(vec![row.id]).await.unwrap();
        assert_eq!(store(&folder).await.load(row.id).await.unwrap(), None);
    }

    #[tokio::test]
    async fn junk_in_a_row_is_corrupt_and_harms_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder).await;
        let (junk, good) = (conformance::row(1, "alice", 10), conformance::row(2, "bob", 10));
        store.insert(junk.clone()).await.unwrap();
        store.insert(good.clone()).await.unwrap();
        let spoil = |connection: &Connection| {
            connection.execute("UPDATE sessions SET user = 'a, b' WHERE user = 'alice'", [])
        };
        store.database.write(spoil).await.unwrap();
        assert!(matches!(store.load(junk.id).await, Err(StoreError::Corrupt(_))));
        assert_eq!(store.load(good.id).await.unwrap(), Some(good.clone()));
        let users = store.users(Timestamp::default()).await.unwrap();
        assert_eq!(users, std::slice::from_ref(&good.user));
        let due = store.by_end(None, Timestamp::from_millis(i64::MAX), 9).await.unwrap();
        let junk_due = Entry { place: junk.place(), row: None };
        let good_due = Entry { place: good.place(), row: Some(good) };
        assert!(due.contains(&junk_due) && due.contains(&good_due));
        assert_eq!(store.remove(vec![junk.id]).await.unwrap(), [junk.id]);
    }
}
