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

    fn touch(&self, mut touches: Vec<Touch>) -> Answer<'_, ()> {
        // Those of one session stay in their order.
        touches.sort_by_key(|touch| touch.id);
        let touches = Arc::new(touches);
        self.ask(Repeat::Harmless, move |connection| {
            let touches = Arc::clone(&touches);
            Box::pin(async move { touch(connection, &touches).await })
        })
    }

    fn remove(&self, mut ids: Vec<SessionId>) -> Answer<'_, Vec<SessionId>> {
        ids.sort();
        ids.dedup();
        let ids: Arc<[Vec<u8>]> = ids.iter().map(|id| id.as_bytes().to_vec()).collect();
        Box::pin(async move {
            let gone = self.database.run(Repeat::Never, move |connection| {
                let ids = Arc::clone(&ids);
                Box::pin(async move { remove(connection, &ids).await })
            });
            Ok(columns::ids(&gone.await?))
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
            Ok(columns::ids(&gone.await?))
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

async fn touch(connection: &mut MySqlConnection, touches: &[Touch]) -> sqlx::Result<()> {
    let mut transaction = connection.begin().await?;
    for touches in touches.chunks(CHUNK) {
        // One text, one round trip.
        let updates: Vec<String> = touches.iter().map(update).collect();
        sqlx::raw_sql(AssertSqlSafe(updates.join(";"))).execute(&mut *transaction).await?;
    }
    transaction.commit().await
}

/// SECURITY: what is put into the statement are numbers and hexadecimal digits; there is nothing to
/// quote.
fn update(touch: &Touch) -> String {
    let resealed = touch.resealed.as_ref().map(|resealed| {
        let (key, record) = (Literal(resealed.key.as_bytes()), Literal(&resealed.record));
        format!(", key_id = {key}, record = {record}")
    });
    // An assignment sees those before it, so the end comes first.
    format!(
        "UPDATE vestibule_sessions SET expires_at = IF(last_seen <= {seen}, {ends}, expires_at), \
         last_seen = GREATEST(last_seen, {seen}){resealed} WHERE id = {id}",
        seen = touch.last_seen.as_millis(),
        ends = touch.expires_at.as_millis(),
        resealed = resealed.unwrap_or_default(),
        id = Literal(touch.id.as_bytes()),
    )
}

async fn remove(connection: &mut MySqlConnection, ids: &[Vec<u8>]) -> sqlx::Result<Vec<Vec<u8>>> {
    let mut transaction = connection.begin().await?;
    let mut gone = Vec::new();
    for ids in ids.chunks(CHUNK) {
        // Locked, so that nobody else is told that he removed them.
        let mut query = among(HOLD, ids);
        query.push(" ORDER BY id FOR UPDATE");
        let held = query.build_query_scalar().persistent(false).fetch_all(&mut *transaction);
        let held: Vec<Vec<u8>> = held.await?;
        if !held.is_empty() {
            among(REMOVE, &held).build().persistent(false).execute(&mut *transaction).await?;
        }
        gone.extend(held);
    }
    transaction.commit().await?;
    Ok(gone)
}

/// Locks no row on the way through the index of users: who removes by id would come from the other
/// side.
async fn remove_user(connection: &mut MySqlConnection, user: &[u8]) -> sqlx::Result<Vec<Vec<u8>>> {
    let ids: Vec<Vec<u8>> = sqlx::query_scalar(IDS_OF_USER).bind(user).fetch_all(&mut *connection).await?;
    remove(connection, &ids).await
}

/// A statement and a list of ids.
fn among(begin: &'static str, ids: &[Vec<u8>]) -> QueryBuilder<MySql> {
    let mut statement = QueryBuilder::new(begin);
    let mut list = statement.separated(", ");
    list.push_unseparated("(");
    for id in ids {
        list.push_bind(id.clone());
    }
    list.push_unseparated(")");
    statement
}

/// Bytes as SQL writes them.
struct Literal<'a>(&'a [u8]);

impl fmt::Display for Literal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("x'")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
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
const OF_USER: &str = "
    SELECT id, user_name, key_id, created, last_seen, expires_at, record
    FROM vestibule_sessions WHERE user_name = ?";
const IDS_OF_USER: &str = "SELECT id FROM vestibule_sessions WHERE user_name = ? ORDER BY id";
/// By the primary key, whatever the server thinks of a small table: it locks as it goes.
const HOLD: &str = "SELECT id FROM vestibule_sessions FORCE INDEX (PRIMARY) WHERE id IN ";
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::store::conformance::row;
    use crate::session::store::servers::mariadb::MariaDb;
    use crate::session::store::sql_trials::{Server, is_corrupt_and_harms_nobody, trials_on};

    trials_on!(MariaDb:
        it_keeps_the_contract_of_a_store,
        it_starts_without_its_server_and_outlives_its_falls,
        two_gateways_may_make_the_tables_at_once,
        tables_that_are_gone_are_missed_and_made_again,
        junk_in_a_row_is_corrupt_and_harms_no_other,
        names_that_look_alike_are_different_users,
        many_writers_of_the_same_rows_never_block_each_other,
    );

    impl Server for MariaDb {
        type Store = MySqlStore;

        const BETWEEN: char = '\t';
        const SHARING: Sharing = Sharing::Untold;

        fn start() -> Self {
            Self::start()
        }

        fn store_at(location: Location) -> MySqlStore {
            MySqlStore::new(&location)
        }

        fn url(&self) -> String {
            self.url()
        }

        fn query(&self, statement: &str) -> String {
            self.query(statement)
        }

        fn stop(&mut self) {
            self.stop();
        }

        fn start_again(&mut self) {
            self.start_again();
        }

        fn freeze(&self) {
            self.freeze();
        }

        fn thaw(&self) {
            self.thaw();
        }

        fn bytes(digits: &str) -> String {
            format!("x'{digits}'")
        }

        fn saw_a_deadlock(&self) -> bool {
            self.query("SHOW GLOBAL STATUS LIKE 'Innodb_deadlocks'") != "Innodb_deadlocks\t0"
        }
    }

    #[tokio::test]
    async fn a_server_that_refuses_is_unavailable_and_says_why() {
        let server = MariaDb::start();
        let wrong = server.url().replace("vestibule:", "vestibule:hunter2");
        let stranger = MySqlStore::new(&Location::parse(&wrong).unwrap());
        let refused = stranger.load(row(1, "alice", 10).id).await.unwrap_err().to_string();
        assert!(refused.contains("Access denied") && !refused.contains("hunter2"), "{refused}");
    }

    #[tokio::test]
    async fn a_name_that_is_no_text_is_corrupt_and_harms_no_other() {
        let server = MariaDb::start();
        let store = server.store();
        let (junk, good) = (row(1, "mallory", 10), row(2, "bob", 10));
        store.insert(junk.clone()).await.unwrap();
        store.insert(good.clone()).await.unwrap();
        server.query("UPDATE vestibule_sessions SET user_name = x'ff00' WHERE user_name = 'mallory'");
        is_corrupt_and_harms_nobody(&store, &junk, good).await;
    }
}
