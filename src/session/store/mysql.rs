//! Sessions in a MySQL or MariaDB database, for several gateways.
//!
//! How the server is reached is left to [`crate::storage::sql`]. The server gives no notice of changes,
//! so the other gateways ask again after a while.
//! Invariants: all statements lock rows in the order of their ids, so that they never block each
//! other; a value that is not what its column should hold makes its own row corrupt and no other.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use sqlx::{AssertSqlSafe, Connection as _, MySql, MySqlConnection, QueryBuilder};

use crate::clock::Timestamp;
use crate::identity::UserId;
use crate::storage::sql::{Database, Location, Repeat, Schema, Work};

use super::columns::{self, Columns, KeyUseColumns};
use super::{Answer, Entry, KeyUse, Listener, Place, Row, SessionStore, Sharing, Touch};
use crate::session::token::SessionId;

/// A store that several gateways share.
pub(crate) struct MySqlStore {
    database: Database<MySql>,
}

impl MySqlStore {
    /// The store at `location`, which is not looked at yet. To be called on the runtime that does its
    /// work.
    pub(crate) fn new(location: &Location) -> Self {
        Self { database: Database::new(location, SCHEMA) }
    }

    fn ask<T: Send + 'static>(
        &self,
        repeat: Repeat,
        work: impl for<'c> Fn(&'c mut MySqlConnection) -> Work<'c, T> + Send + Sync + 'static,
    ) -> Answer<'_, T> {
        Box::pin(async move { Ok(self.database.run(repeat, work).await?) })
    }
}

impl SessionStore for MySqlStore {
    fn insert(&self, row: Row) -> Answer<'_, ()> {
        let row = Arc::new(row);
        self.ask(Repeat::Never, move |connection| {
            let row = Arc::clone(&row);
            Box::pin(async move { insert(connection, &row).await })
        })
    }

    fn load(&self, id: SessionId) -> Answer<'_, Option<Row>> {
        Box::pin(async move {
            let found: Option<Columns<Vec<u8>>> = self
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
        let ids = Arc::new(columns::sorted(ids));
        Box::pin(async move {
            let gone = self.database.run(Repeat::Never, move |connection| {
                let ids = Arc::clone(&ids);
                Box::pin(async move { remove(connection, &ids).await })
            });
            Ok(columns::ids(gone.await?))
        })
    }

    fn of_user(&self, user: UserId) -> Answer<'_, Vec<Entry>> {
        Box::pin(async move {
            let found: Vec<Columns<Vec<u8>>> = self
                .database
                .run(Repeat::Harmless, move |connection| {
                    let query = sqlx::query_as(OF_USER).bind(user.as_str().as_bytes().to_vec());
                    Box::pin(query.fetch_all(connection))
                })
                .await?;
            Ok(columns::entries(found))
        })
    }

    fn remove_user(&self, user: UserId) -> Answer<'_, Vec<SessionId>> {
        let user: Arc<[u8]> = user.as_str().as_bytes().into();
        Box::pin(async move {
            let gone = self.database.run(Repeat::Never, move |connection| {
                let user = Arc::clone(&user);
                Box::pin(async move { remove_user(connection, &user).await })
            });
            Ok(columns::ids(gone.await?))
        })
    }

    fn users(&self, now: Timestamp) -> Answer<'_, Vec<UserId>> {
        Box::pin(async move {
            let found: Vec<Vec<u8>> = self
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
            let found: Vec<Columns<Vec<u8>>> = self
                .database
                .run(Repeat::Harmless, move |connection| {
                    let query = sqlx::query_as(BY_END).bind(end).bind(end).bind(id.clone());
                    Box::pin(query.bind(until.as_millis()).bind(limit).fetch_all(connection))
                })
                .await?;
            Ok(columns::entries(found))
        })
    }

    fn share(&self, listener: Arc<dyn Listener>) -> Sharing {
        drop(listener);
        Sharing::Untold
    }

    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.database.close())
    }
}

async fn insert(connection: &mut MySqlConnection, row: &Row) -> sqlx::Result<()> {
    let insert = sqlx::query(INSERT)
        .bind(row.id.as_bytes().as_slice())
        .bind(row.user.as_str().as_bytes())
        .bind(row.key.as_bytes().as_slice())
        .bind(row.created.as_millis())
        .bind(row.last_seen.as_millis())
        .bind(row.expires_at.as_millis())
        .bind(row.record.as_slice());
    insert.execute(connection).await.map(drop)
}

async fn touch(connection: &mut MySqlConnection, rounds: &[Vec<Touch>]) -> sqlx::Result<()> {
    for touches in rounds.iter().flat_map(|round| round.chunks(CHUNK)) {
        sqlx::raw_sql(AssertSqlSafe(update(touches))).execute(&mut *connection).await?;
    }
    Ok(())
}

/// The statement for touches of which no two are of one session.
///
/// The values stand in it: what type a parameter has in a list that is joined differs from server to
/// server. SECURITY: they are numbers and hexadecimal digits only, so nothing is to be quoted.
fn update(touches: &[Touch]) -> String {
    let value = |touch: &Touch| {
        let resealed = touch.resealed.as_ref();
        format!(
            "SELECT {} AS id, {} AS last_seen, {} AS expires_at, {} AS key_id, {} AS record",
            Literal(Some(touch.id.as_bytes())),
            touch.last_seen.as_millis(),
            touch.expires_at.as_millis(),
            Literal(resealed.map(|news| news.key.as_bytes().as_slice())),
            Literal(resealed.map(|news| news.record.as_slice())),
        )
    };
    let news: Vec<String> = touches.iter().map(value).collect();
    format!("{TOUCH_BEGIN}{}{TOUCH_END}", news.join(" UNION ALL "))
}

async fn remove(connection: &mut MySqlConnection, ids: &[SessionId]) -> sqlx::Result<Vec<Vec<u8>>> {
    let mut transaction = connection.begin().await?;
    let mut gone: Vec<Vec<u8>> = Vec::new();
    for ids in ids.chunks(CHUNK) {
        // Locked, so that nobody else is told that he removed them.
        let mut hold = among(HOLD, ids.iter().map(|id| id.as_bytes().to_vec()));
        hold.push(" ORDER BY id FOR UPDATE");
        let held = hold.build_query_scalar().persistent(false).fetch_all(&mut *transaction);
        gone.append(&mut held.await?);
    }
    remove_held(&mut transaction, &gone).await?;
    transaction.commit().await?;
    Ok(gone)
}

async fn remove_user(connection: &mut MySqlConnection, user: &[u8]) -> sqlx::Result<Vec<Vec<u8>>> {
    let mut transaction = connection.begin().await?;
    let held: Vec<Vec<u8>> = sqlx::query_scalar(HOLD_USER).bind(user).fetch_all(&mut *transaction).await?;
    remove_held(&mut transaction, &held).await?;
    transaction.commit().await?;
    Ok(held)
}

async fn remove_held(connection: &mut MySqlConnection, held: &[Vec<u8>]) -> sqlx::Result<()> {
    for ids in held.chunks(CHUNK) {
        let mut delete = among(REMOVE, ids.iter().cloned());
        delete.build().persistent(false).execute(&mut *connection).await?;
    }
    Ok(())
}

/// A statement and a list of ids.
fn among(begin: &'static str, ids: impl Iterator<Item = Vec<u8>>) -> QueryBuilder<MySql> {
    let mut statement = QueryBuilder::new(begin);
    let mut list = statement.separated(", ");
    list.push_unseparated("(");
    for id in ids {
        list.push_bind(id);
    }
    list.push_unseparated(")");
    statement
}

/// Bytes, or nothing, as SQL writes them.
struct Literal<'a>(Option<&'a [u8]>);

impl fmt::Display for Literal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(bytes) = self.0 else { return f.write_str("NULL") };
        f.write_str("x'")?;
        bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str("'")
    }
}

/// Version by version; what has shipped never changes. Names are bytes, so that they are compared as
/// such: no collation takes two of them for one.
const SCHEMA: Schema = Schema {
    part: "sessions",
    steps: &["
    CREATE TABLE IF NOT EXISTS vestibule_sessions (
        id         BINARY(32)     NOT NULL PRIMARY KEY,
        user_name  VARBINARY(128) NOT NULL,
        key_id     BINARY(4)      NOT NULL,
        created    BIGINT         NOT NULL,
        last_seen  BIGINT         NOT NULL,
        expires_at BIGINT         NOT NULL,
        record     MEDIUMBLOB     NOT NULL,
        KEY vestibule_sessions_by_user (user_name),
        KEY vestibule_sessions_by_end  (expires_at, id, key_id, user_name)
    ) ENGINE = InnoDB
"],
};

const INSERT: &str = "
    INSERT INTO vestibule_sessions (id, user_name, key_id, created, last_seen, expires_at, record)
    VALUES (?, ?, ?, ?, ?, ?, ?)";
const LOAD: &str = "
    SELECT id, user_name, key_id, created, last_seen, expires_at, record
    FROM vestibule_sessions WHERE id = ?";
const TOUCH_BEGIN: &str = "UPDATE vestibule_sessions AS session JOIN (";
const TOUCH_END: &str = ") AS news ON session.id = news.id
    SET session.last_seen = news.last_seen, session.expires_at = news.expires_at,
        session.key_id = coalesce(news.key_id, session.key_id),
        session.record = coalesce(news.record, session.record)
    WHERE session.last_seen <= news.last_seen";
const OF_USER: &str = "
    SELECT id, user_name, key_id, created, last_seen, expires_at, record
    FROM vestibule_sessions WHERE user_name = ?";
const HOLD_USER: &str = "SELECT id FROM vestibule_sessions WHERE user_name = ? ORDER BY id FOR UPDATE";
const HOLD: &str = "SELECT id FROM vestibule_sessions WHERE id IN ";
const REMOVE: &str = "DELETE FROM vestibule_sessions WHERE id IN ";
const USERS: &str = "SELECT DISTINCT user_name FROM vestibule_sessions WHERE expires_at > ?";
const KEY_USE: &str = "
    SELECT key_id, count(*), max(expires_at) FROM vestibule_sessions WHERE expires_at > ? GROUP BY key_id";
/// Spelt out, because the comparison of pairs uses no index here.
const BY_END: &str = "
    SELECT id, user_name, key_id, created, last_seen, expires_at, record FROM vestibule_sessions
    WHERE expires_at >= ? AND (expires_at > ? OR id > ?) AND expires_at <= ?
    ORDER BY expires_at, id LIMIT ?";

/// Sessions in one statement: far below the smallest packet that a server takes.
const CHUNK: usize = 100;
