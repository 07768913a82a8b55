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
    use std::time::Duration;

    use tokio::time::sleep;

    use super::*;
    use crate::clock::Stopwatch;
    use crate::session::store::conformance::{self, Lists, row};
    use crate::session::store::servers::mariadb::MariaDb as Server;
    use crate::session::store::{Resealed, StoreError};

    fn store(server: &Server) -> MySqlStore {
        MySqlStore::new(&Location::parse(&server.url()).unwrap())
    }

    async fn until_available(store: &MySqlStore) {
        for _ in 0..500 {
            if store.load(row(9, "nobody", 0).id).await.is_ok() {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("the store did not come back");
    }

    async fn assert_unavailable_soon(store: &MySqlStore) {
        let watch = Stopwatch::start();
        let answers = tokio::join!(
            store.load(row(1, "alice", 0).id),
            store.remove(vec![row(1, "alice", 0).id]),
            store.users(Timestamp::default()),
        );
        assert!(matches!(answers.0, Err(StoreError::Unavailable(_))), "{answers:?}");
        assert!(matches!(answers.1, Err(StoreError::Unavailable(_))), "{answers:?}");
        assert!(matches!(answers.2, Err(StoreError::Unavailable(_))), "{answers:?}");
        assert!(watch.elapsed() < Duration::from_millis(2_500), "{:?}", watch.elapsed());
    }

    #[tokio::test]
    async fn it_keeps_the_contract_of_a_store() {
        let server = Server::start();
        let open = || async {
            let store = store(&server);
            until_available(&store).await;
            server.query("TRUNCATE vestibule_sessions");
            store
        };
        conformance::check(Lists::Everything, open).await;
        assert_eq!(store(&server).share(Arc::new(Deaf)), Sharing::Untold);
    }

    #[tokio::test]
    async fn it_starts_without_its_server_and_outlives_its_falls() {
        let mut server = Server::start();
        server.stop();
        let (store, kept) = (store(&server), row(1, "alice", 10));
        assert_unavailable_soon(&store).await;
        server.start_again();
        store.insert(kept.clone()).await.unwrap();

        server.stop();
        assert_unavailable_soon(&store).await;
        server.start_again();
        assert_eq!(store.load(kept.id).await, Ok(Some(kept.clone())));

        // Nothing is asked while it is down: the connection that waits is dead, and nobody knows.
        server.stop();
        server.start_again();
        assert_eq!(store.load(kept.id).await, Ok(Some(kept.clone())));

        server.freeze();
        assert_unavailable_soon(&store).await;
        assert_unavailable_soon(&store).await;
        server.thaw();
        until_available(&store).await;
        assert_eq!(store.of_user(kept.user.clone()).await.unwrap().len(), 1);
        store.close().await;
        assert!(matches!(store.load(kept.id).await, Err(StoreError::Unavailable(_))));
    }

    #[tokio::test]
    async fn two_gateways_may_make_the_tables_at_once() {
        let server = Server::start();
        let stores: Vec<_> = (0..4).map(|_| store(&server)).collect();
        let rows: Vec<_> = (0..4).map(|number| row(number, "alice", 10)).collect();
        let (one, two, three, four) = tokio::join!(
            stores[0].insert(rows[0].clone()),
            stores[1].insert(rows[1].clone()),
            stores[2].insert(rows[2].clone()),
            stores[3].insert(rows[3].clone()),
        );
        assert_eq!((one, two, three, four), (Ok(()), Ok(()), Ok(()), Ok(())));
        assert_eq!(stores[0].of_user(rows[0].user.clone()).await.unwrap().len(), 4);
        assert_eq!(server.query("SELECT part, version FROM vestibule_schema"), "sessions\t1");

        server.query("UPDATE vestibule_schema SET version = 7");
        assert!(stores[0].load(rows[0].id).await.is_ok(), "who was there first may go on");
        let refused = store(&server).load(rows[0].id).await.unwrap_err().to_string();
        assert!(refused.contains("version 7") && refused.contains("knows only 1"), "{refused}");
    }

    #[tokio::test]
    async fn a_server_that_refuses_is_unavailable_and_says_why() {
        let server = Server::start();
        let wrong = server.url().replace("vestibule:", "vestibule:hunter2");
        let stranger = MySqlStore::new(&Location::parse(&wrong).unwrap());
        let refused = stranger.load(row(1, "alice", 10).id).await.unwrap_err().to_string();
        assert!(refused.contains("Access denied") && !refused.contains("hunter2"), "{refused}");

        let (store, kept) = (store(&server), row(1, "alice", 10));
        store.insert(kept.clone()).await.unwrap();
        server.query("DROP TABLE vestibule_sessions; DROP TABLE vestibule_schema");
        let missing = store.load(kept.id).await.unwrap_err().to_string();
        assert!(missing.contains("vestibule_sessions"), "{missing}");
        assert_eq!(store.insert(kept).await, Ok(()), "they are made again");
    }

    #[tokio::test]
    async fn junk_in_a_row_is_corrupt_and_harms_no_other() {
        let server = Server::start();
        let store = store(&server);
        let (junk, worse, good) = (row(1, "alice", 10), row(2, "mallory", 10), row(3, "bob", 10));
        for row in [&junk, &worse, &good] {
            store.insert(row.clone()).await.unwrap();
        }
        server.query("UPDATE vestibule_sessions SET user_name = 'a, b' WHERE user_name = 'alice'");
        server.query("UPDATE vestibule_sessions SET user_name = x'ff00' WHERE user_name = 'mallory'");
        assert!(matches!(store.load(junk.id).await, Err(StoreError::Corrupt(_))));
        assert!(matches!(store.load(worse.id).await, Err(StoreError::Corrupt(_))));
        assert_eq!(store.load(good.id).await.unwrap(), Some(good.clone()));
        let users = store.users(Timestamp::default()).await.unwrap();
        assert_eq!(users, std::slice::from_ref(&good.user));
        let due = store.by_end(None, Timestamp::from_millis(i64::MAX), 9).await.unwrap();
        let unreadable = |row: &Row| Entry { place: row.place(), row: None };
        let good_due = Entry { place: good.place(), row: Some(good) };
        assert_eq!(due, [unreadable(&junk), unreadable(&worse), good_due]);
        assert_eq!(store.remove(vec![junk.id]).await.unwrap(), [junk.id]);
    }

    #[tokio::test]
    async fn names_that_look_alike_are_different_users() {
        let server = Server::start();
        let store = store(&server);
        let names = ["straße", "strasse", "alice", "Alice", "alice ", "alicé", "alice\t"];
        store.insert(row(1, "alice", 10)).await.unwrap();
        for (number, name) in names.iter().enumerate() {
            server.query(&format!(
                "INSERT INTO vestibule_sessions VALUES
                 (unhex(repeat('a{number}', 32)), '{name}', x'00000000', 1, 1, 1, '')"
            ));
        }
        let alice = row(1, "alice", 10);
        assert_eq!(store.of_user(alice.user.clone()).await.unwrap().len(), 2);
        assert_eq!(store.remove_user(alice.user).await.unwrap().len(), 2);
        assert_eq!(server.query("SELECT count(*) FROM vestibule_sessions"), "6");
    }

    #[tokio::test]
    async fn many_writers_of_the_same_rows_never_block_each_other() {
        let server = Server::start();
        let (one, two) = (store(&server), store(&server));
        let rows: Vec<_> = (0..250).map(|number| row(number, "alice", 10)).collect();
        for row in &rows {
            one.insert(row.clone()).await.unwrap();
        }
        let touches = |seen: i64| {
            let touch = |row: &Row| Touch {
                id: row.id,
                user: row.user.clone(),
                key: row.key,
                last_seen: Timestamp::from_millis(row.last_seen.as_millis() + seen),
                expires_at: row.expires_at,
                resealed: (row.id.as_bytes()[0] % 2 == 1)
                    .then(|| Resealed { key: row.key, record: vec![row.id.as_bytes()[0]; 500] }),
            };
            rows.iter().map(touch).collect::<Vec<_>>()
        };
        let backwards = |seen| touches(seen).into_iter().rev().collect::<Vec<_>>();
        for round in 0..10 {
            let done = tokio::join!(
                one.touch(touches(round)),
                two.touch(backwards(round)),
                one.touch(backwards(round)),
                two.touch(touches(round)),
            );
            assert_eq!(done, (Ok(()), Ok(()), Ok(()), Ok(())));
        }
        let resealed = store(&server).load(rows[201].id).await.unwrap().unwrap();
        assert_eq!(resealed.record, vec![201; 500]);
        assert_eq!(store(&server).load(rows[200].id).await.unwrap().unwrap().record, vec![200; 50]);
        let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
        let back = ids.iter().rev().copied().collect();
        let alice = rows[0].user.clone();
        let gone = tokio::join!(one.remove(ids), two.remove(back), one.remove_user(alice));
        assert_eq!(gone.0.unwrap().len() + gone.1.unwrap().len() + gone.2.unwrap().len(), 250);
        assert_eq!(server.query("SHOW GLOBAL STATUS LIKE 'Innodb_deadlocks'"), "Innodb_deadlocks\t0");
    }

    struct Deaf;

    impl Listener for Deaf {
        fn began(&self) {}
        fn confirmed(&self) {}
        fn changed(&self, _: SessionId) {}
        fn changed_some(&self) {}

        fn lost(&self) {}
    }
}
