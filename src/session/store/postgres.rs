//! Sessions in a PostgreSQL database, for several gateways.
//!
//! How the server is reached is left to [`crate::storage::sql`]. A gateway that removes a session or
//! changes its record gives notice to the others within the same statement, so that they hear of it
//! when it is done and not without. PgBouncer in transaction mode passes no notices on: a gateway behind
//! it never hears that the listening began, and must be given the server itself.
//! Invariants: all statements lock rows in the order of their ids, so that they never block each
//! other; a value that is not what its column should hold makes its own row corrupt and no other.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use sqlx::{PgConnection, Postgres};
use tokio::task::AbortHandle;

use crate::clock::Timestamp;
use crate::identity::UserId;
use crate::storage::sql::{Database, Heard, Location, Repeat, Schema, Work, listen};

use super::columns::{self, Columns, KeyUseColumns};
use super::{Answer, Entry, KeyUse, Listener, Place, Resealed, Row, SessionStore, Sharing, Touch};
use crate::session::token::SessionId;

/// A store that several gateways share.
pub(crate) struct PostgresStore {
    location: Location,
    database: Database<Postgres>,
    listening: Mutex<Option<AbortHandle>>,
}

impl PostgresStore {
    /// The store at `location`, which is not looked at yet. To be called on the runtime that does its
    /// work.
    pub(crate) fn new(location: Location) -> Self {
        let database = Database::new(&location, SCHEMA);
        Self { location, database, listening: Mutex::default() }
    }

    fn ask<T: Send + 'static>(
        &self,
        repeat: Repeat,
        work: impl for<'c> Fn(&'c mut PgConnection) -> Work<'c, T> + Send + Sync + 'static,
    ) -> Answer<'_, T> {
        Box::pin(async move { Ok(self.database.run(repeat, work).await?) })
    }

    fn stop_listening(&self) {
        let listening = self.listening.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(listening) = listening {
            listening.abort();
        }
    }
}

impl SessionStore for PostgresStore {
    fn insert(&self, row: Row) -> Answer<'_, ()> {
        let row = Arc::new(row);
        self.ask(Repeat::Never, move |connection| {
            let row = Arc::clone(&row);
            Box::pin(async move { insert(connection, &row).await })
        })
    }

    fn load(&self, id: SessionId) -> Answer<'_, Option<Row>> {
        Box::pin(async move {
            let found: Option<Columns<String>> = self
                .database
                .run(Repeat::Harmless, move |connection| {
                    let query = sqlx::query_as(LOAD).bind(id.as_bytes().to_vec());
                    Box::pin(query.fetch_optional(connection))
                })
                .await?;
            found.map(columns::row).transpose()
        })
    }

    fn touch(&self, touches: Vec<Touch>) -> Answer<'_, ()> {
        let rounds = Arc::new(columns::rounds(touches));
        self.ask(Repeat::Harmless, move |connection| {
            let rounds = Arc::clone(&rounds);
            Box::pin(async move { touch(connection, &rounds).await })
        })
    }

    fn remove(&self, ids: Vec<SessionId>) -> Answer<'_, Vec<SessionId>> {
        let ids: Vec<Vec<u8>> = ids.iter().map(|id| id.as_bytes().to_vec()).collect();
        Box::pin(async move {
            let gone = self.database.run(Repeat::Never, move |connection| {
                Box::pin(sqlx::query_scalar(REMOVE).bind(ids.clone()).fetch_all(connection))
            });
            Ok(columns::ids(gone.await?))
        })
    }

    fn of_user(&self, user: UserId) -> Answer<'_, Vec<Entry>> {
        Box::pin(async move {
            let found: Vec<Columns<String>> = self
                .database
                .run(Repeat::Harmless, move |connection| {
                    Box::pin(sqlx::query_as(OF_USER).bind(user.to_string()).fetch_all(connection))
                })
                .await?;
            Ok(columns::entries(found))
        })
    }

    fn remove_user(&self, user: UserId) -> Answer<'_, Vec<SessionId>> {
        Box::pin(async move {
            let gone = self.database.run(Repeat::Never, move |connection| {
                Box::pin(sqlx::query_scalar(REMOVE_USER).bind(user.to_string()).fetch_all(connection))
            });
            Ok(columns::ids(gone.await?))
        })
    }

    fn users(&self, now: Timestamp) -> Answer<'_, Vec<UserId>> {
        Box::pin(async move {
            let found: Vec<String> = self
                .database
                .run(Repeat::Harmless, move |connection| {
                    Box::pin(sqlx::query_scalar(USERS).bind(now.as_millis()).fetch_all(connection))
                })
                .await?;
            Ok(columns::users(found))
        })
    }

    fn key_use(&self, now: Timestamp) -> Answer<'_, Vec<KeyUse>> {
        Box::pin(async move {
            let found: Vec<KeyUseColumns> = self
                .database
                .run(Repeat::Harmless, move |connection| {
                    Box::pin(sqlx::query_as(KEY_USE).bind(now.as_millis()).fetch_all(connection))
                })
                .await?;
            Ok(columns::key_uses(found))
        })
    }

    fn by_end(&self, after: Option<Place>, until: Timestamp, limit: usize) -> Answer<'_, Vec<Entry>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        // Every place is behind the id of nothing at the beginning of time.
        let end = after.map_or(i64::MIN, |place| place.expires_at.as_millis());
        let id = after.map(|place| place.id.as_bytes().to_vec()).unwrap_or_default();
        Box::pin(async move {
            let found: Vec<Columns<String>> = self
                .database
                .run(Repeat::Harmless, move |connection| {
                    let query = sqlx::query_as(BY_END).bind(end).bind(id.clone());
                    Box::pin(query.bind(until.as_millis()).bind(limit).fetch_all(connection))
                })
                .await?;
            Ok(columns::entries(found))
        })
    }

    fn share(&self, listener: Arc<dyn Listener>) -> Sharing {
        let location = self.location.clone();
        let task = self.database.runtime().spawn(async move {
            listen(location, CHANNEL, |heard| tell(listener.as_ref(), heard)).await;
        });
        self.stop_listening();
        *self.listening.lock().unwrap_or_else(PoisonError::into_inner) = Some(task.abort_handle());
        Sharing::Told
    }

    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.stop_listening();
        Box::pin(self.database.close())
    }
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        self.stop_listening();
    }
}

async fn insert(connection: &mut PgConnection, row: &Row) -> sqlx::Result<()> {
    let insert = sqlx::query(INSERT)
        .bind(row.id.as_bytes().as_slice())
        .bind(row.user.as_str())
        .bind(row.key.as_bytes().as_slice())
        .bind(row.created.as_millis())
        .bind(row.last_seen.as_millis())
        .bind(row.expires_at.as_millis())
        .bind(row.record.as_slice());
    insert.execute(connection).await.map(drop)
}

async fn touch(connection: &mut PgConnection, rounds: &[Vec<Touch>]) -> sqlx::Result<()> {
    for round in rounds {
        touch_each(connection, round).await?;
    }
    Ok(())
}

/// In one statement, where no session may come twice.
async fn touch_each(connection: &mut PgConnection, touches: &[Touch]) -> sqlx::Result<()> {
    fn key(resealed: &Resealed) -> &[u8] {
        resealed.key.as_bytes()
    }
    let resealed = || touches.iter().map(|touch| touch.resealed.as_ref());
    let ids: Vec<&[u8]> = touches.iter().map(|touch| touch.id.as_bytes().as_slice()).collect();
    let last_seen: Vec<i64> = touches.iter().map(|touch| touch.last_seen.as_millis()).collect();
    let expires_at: Vec<i64> = touches.iter().map(|touch| touch.expires_at.as_millis()).collect();
    let keys: Vec<Option<&[u8]>> = resealed().map(|news| news.map(key)).collect();
    let records: Vec<Option<&[u8]>> =
        resealed().map(|news| news.map(|resealed| resealed.record.as_slice())).collect();
    let update = sqlx::query(TOUCH).bind(ids).bind(last_seen).bind(expires_at).bind(keys).bind(records);
    update.execute(connection).await.map(drop)
}

fn tell(listener: &dyn Listener, heard: Heard<'_>) {
    match heard {
        Heard::Began => listener.began(),
        Heard::Confirmed => listener.confirmed(),
        Heard::Lost => listener.lost(),
        Heard::Notice(text) => match id_of_notice(text) {
            Some(id) => listener.changed(id),
            None => tracing::warn!(channel = CHANNEL, "notice without a session's id ignored"),
        },
    }
}

fn id_of_notice(text: &str) -> Option<SessionId> {
    let mut id = [0; 32];
    if text.len() != 2 * id.len() || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, digits) in id.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(SessionId::from_bytes(id))
}

/// Version by version; what has shipped never changes. The lengths are checked so that a row of
/// another program cannot get in by accident. Names are compared byte by byte.
const SCHEMA: Schema = Schema {
    part: "sessions",
    steps: &[r#"
    CREATE TABLE vestibule_sessions (
        id         BYTEA  NOT NULL PRIMARY KEY CHECK (octet_length(id) = 32),
        user_name  TEXT   COLLATE "C" NOT NULL,
        key_id     BYTEA  NOT NULL CHECK (octet_length(key_id) = 4),
        created    BIGINT NOT NULL,
        last_seen  BIGINT NOT NULL,
        expires_at BIGINT NOT NULL,
        record     BYTEA  NOT NULL
    );
    CREATE INDEX vestibule_sessions_by_user ON vestibule_sessions (user_name);
    CREATE INDEX vestibule_sessions_by_end  ON vestibule_sessions (expires_at, id) INCLUDE (key_id, user_name);
"#],
};

/// Where notice of changed sessions is given; the payload is the id in hexadecimal.
const CHANNEL: &str = "vestibule_sessions";

const INSERT: &str = "
    INSERT INTO vestibule_sessions (id, user_name, key_id, created, last_seen, expires_at, record)
    VALUES ($1, $2, $3, $4, $5, $6, $7)";
const LOAD: &str = "
    SELECT id, user_name, key_id, created, last_seen, expires_at, record
    FROM vestibule_sessions WHERE id = $1";
/// A new record is news to the others; a later end is not.
const TOUCH: &str = "
    WITH news AS (
        SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::bigint[], $4::bytea[], $5::bytea[])
            AS news (id, last_seen, expires_at, key_id, record)
    ), held AS (
        SELECT id FROM vestibule_sessions WHERE id = ANY ($1::bytea[]) ORDER BY id FOR NO KEY UPDATE
    ), done AS (
        UPDATE vestibule_sessions AS session
        SET last_seen = news.last_seen, expires_at = news.expires_at,
            key_id = coalesce(news.key_id, session.key_id), record = coalesce(news.record, session.record)
        FROM held JOIN news USING (id)
        WHERE session.id = held.id AND session.last_seen <= news.last_seen
        RETURNING session.id, news.record IS NOT NULL AS is_resealed
    )
    SELECT pg_notify('vestibule_sessions', encode(id, 'hex')) FROM done WHERE is_resealed";
const REMOVE: &str = "
    WITH held AS (
        SELECT id FROM vestibule_sessions WHERE id = ANY ($1::bytea[]) ORDER BY id FOR UPDATE
    ), gone AS (
        DELETE FROM vestibule_sessions AS session USING held WHERE session.id = held.id
        RETURNING session.id
    )
    SELECT id, pg_notify('vestibule_sessions', encode(id, 'hex')) FROM gone";
const OF_USER: &str = "
    SELECT id, user_name, key_id, created, last_seen, expires_at, record
    FROM vestibule_sessions WHERE user_name = $1";
const REMOVE_USER: &str = "
    WITH held AS (
        SELECT id FROM vestibule_sessions WHERE user_name = $1 ORDER BY id FOR UPDATE
    ), gone AS (
        DELETE FROM vestibule_sessions AS session USING held WHERE session.id = held.id
        RETURNING session.id
    )
    SELECT id, pg_notify('vestibule_sessions', encode(id, 'hex')) FROM gone";
const USERS: &str = "SELECT DISTINCT user_name FROM vestibule_sessions WHERE expires_at > $1";
const KEY_USE: &str = "
    SELECT key_id, count(*), max(expires_at) FROM vestibule_sessions WHERE expires_at > $1 GROUP BY key_id";
const BY_END: &str = "
    SELECT id, user_name, key_id, created, last_seen, expires_at, record FROM vestibule_sessions
    WHERE (expires_at, id) > ($1, $2) AND expires_at <= $3 ORDER BY expires_at, id LIMIT $4";
