//! Sessions in a PostgreSQL database, for several gateways.
//!
//! How the server is reached is left to [`crate::storage::sql`]. A gateway that keeps or removes a
//! session or changes its record gives notice to the others within the same statement, so that they hear
//! of it when it is done and not without. PgBouncer in transaction mode passes no notices on: a gateway behind
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
        let rounds = Arc::new(rounds(touches));
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
            Ok(columns::ids(&gone.await?))
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
            Ok(columns::ids(&gone.await?))
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

/// Parts the touches so that none has two of one session, and those of each session stay in their
/// order.
fn rounds(mut touches: Vec<Touch>) -> Vec<Vec<Touch>> {
    touches.sort_by_key(|touch| touch.id);
    let mut rounds: Vec<Vec<Touch>> = Vec::new();
    let mut depth = 0;
    let mut previous = None;
    for touch in touches {
        depth = if previous == Some(touch.id) { depth + 1 } else { 0 };
        previous = Some(touch.id);
        match rounds.get_mut(depth) {
            Some(round) => round.push(touch),
            None => rounds.push(vec![touch]),
        }
    }
    rounds
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
        Heard::Notice(text) => {
            if let Some(id) = id_of_notice(text) {
                listener.changed(id);
            } else {
                tracing::warn!(channel = CHANNEL, "notice without a session's id ignored");
            }
        }
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
    WITH begun AS (
        INSERT INTO vestibule_sessions (id, user_name, key_id, created, last_seen, expires_at, record)
        VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING id
    )
    SELECT pg_notify('vestibule_sessions', encode(id, 'hex')) FROM begun";
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
        SET expires_at = CASE WHEN session.last_seen <= news.last_seen
                THEN news.expires_at ELSE session.expires_at END,
            last_seen = greatest(session.last_seen, news.last_seen),
            key_id = coalesce(news.key_id, session.key_id), record = coalesce(news.record, session.record)
        FROM held JOIN news USING (id)
        WHERE session.id = held.id
            AND (session.last_seen <= news.last_seen OR news.record IS NOT NULL)
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::mpsc;
    use tokio::time::{sleep, timeout};

    use super::*;
    use crate::clock::Stopwatch;
    use crate::session::store::conformance::row;
    use crate::session::store::servers::postgres::Postgres as Server;
    use crate::session::store::sql_trials::{self, trials_on};

    trials_on!(Server:
        it_keeps_the_contract_of_a_store,
        it_starts_without_its_server_and_outlives_its_falls,
        two_gateways_may_make_the_tables_at_once,
        tables_that_are_gone_are_missed_and_made_again,
        junk_in_a_row_is_corrupt_and_harms_no_other,
        names_that_look_alike_are_different_users,
        many_writers_of_the_same_rows_never_block_each_other,
    );

    impl sql_trials::Server for Server {
        type Store = PostgresStore;

        const BETWEEN: char = '|';
        const SHARING: Sharing = Sharing::Told;

        fn start() -> Self {
            Self::start()
        }

        fn store_at(location: Location) -> PostgresStore {
            PostgresStore::new(location)
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
            format!("'\\x{digits}'")
        }

        fn saw_a_deadlock(&self) -> bool {
            self.printed().contains("deadlock")
        }
    }

    fn store(server: &Server) -> PostgresStore {
        sql_trials::Server::store(server)
    }

    #[derive(Debug, PartialEq, Eq)]
    enum News {
        Began,
        Confirmed,
        Changed(SessionId),
        Lost,
    }

    struct Ear(mpsc::UnboundedSender<News>);

    impl Listener for Ear {
        fn began(&self) {
            self.0.send(News::Began).unwrap();
        }

        fn confirmed(&self) {
            self.0.send(News::Confirmed).unwrap();
        }

        fn changed(&self, id: SessionId) {
            self.0.send(News::Changed(id)).unwrap();
        }

        fn changed_some(&self) {}

        fn lost(&self) {
            self.0.send(News::Lost).unwrap();
        }
    }

    struct Told(mpsc::UnboundedReceiver<News>);

    impl Told {
        fn by(store: &PostgresStore) -> Self {
            let (sender, receiver) = mpsc::unbounded_channel();
            assert_eq!(store.share(Arc::new(Ear(sender))), Sharing::Told);
            Self(receiver)
        }

        /// The next thing heard that is no confirmation.
        async fn next(&mut self) -> News {
            loop {
                match self.any().await {
                    News::Confirmed => {}
                    news => return news,
                }
            }
        }

        async fn any(&mut self) -> News {
            timeout(Duration::from_secs(10), self.0.recv()).await.expect("news").expect("a listener")
        }
    }

    #[test]
    fn touches_of_one_session_keep_their_order_and_never_share_a_round() {
        let touch = |number: u8, seen: i64| {
            let row = row(number, "alice", seen);
            let (id, user, key, last_seen) = (row.id, row.user, row.key, row.last_seen);
            Touch { id, user, key, last_seen, expires_at: row.expires_at, resealed: None }
        };
        let rounds = rounds(vec![touch(2, 5), touch(1, 9), touch(2, 3), touch(3, 1), touch(2, 7)]);
        let first = vec![touch(1, 9), touch(2, 5), touch(3, 1)];
        assert_eq!(rounds, [first, vec![touch(2, 3)], vec![touch(2, 7)]]);
    }

    #[tokio::test]
    async fn a_connection_that_idled_to_death_costs_no_write() {
        let server = Server::start();
        let store = store(&server);
        store.insert(row(1, "alice", 10)).await.unwrap();
        server.query(END_OTHERS);
        // Only a connection that has not answered for a second is asked whether it lives.
        sleep(Duration::from_millis(1_100)).await;
        assert_eq!(store.remove(vec![row(1, "alice", 10).id]).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn by_its_unix_socket_it_is_the_same_database() {
        let server = Server::start();
        let kept = row(1, "alice", 10);
        store(&server).insert(kept.clone()).await.unwrap();
        let by_socket = PostgresStore::new(Location::parse(&server.socket_url()).unwrap());
        assert_eq!(by_socket.load(kept.id).await, Ok(Some(kept)));
    }

    #[tokio::test]
    async fn a_server_that_refuses_is_unavailable_and_says_why() {
        let server = Server::start();
        let (store, kept) = (store(&server), row(1, "alice", 10));
        store.insert(kept.clone()).await.unwrap();
        server.query("ALTER ROLE vestibule SET default_transaction_read_only = on");
        server.query(END_OTHERS);
        assert_eq!(store.load(kept.id).await, Ok(Some(kept.clone())));
        let refused = store.remove(vec![kept.id]).await.unwrap_err().to_string();
        assert!(refused.contains("read-only"), "{refused}");
        server.query("BEGIN READ WRITE; ALTER ROLE vestibule RESET ALL; COMMIT");
        assert_eq!(store.remove(vec![kept.id]).await, Ok(vec![kept.id]), "it may write again");
    }

    #[tokio::test]
    async fn no_session_goes_to_a_server_that_cannot_prove_its_name() {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let server = Server::start_with_tls(&made.cert.pem(), &made.signing_key.serialize_pem());
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, made.cert.pem()).unwrap();
        let known = format!("sslrootcert={}", file.display());
        let weaker = format!("sslmode=require&{known}");
        for (host, parameters, is_trusted) in [
            ("localhost", known.as_str(), true),
            ("127.0.0.1", &known, false),
            ("127.0.0.1", &weaker, true),
            ("localhost", "sslmode=verify-full", false),
            ("localhost", "sslmode=verify-ca", false),
            ("localhost", "sslmode=require", true),
            ("localhost", "sslmode=prefer", true),
        ] {
            let location = Location::parse(&server.url_with(host, parameters)).unwrap();
            let answer = PostgresStore::new(location).load(row(1, "alice", 10).id).await;
            assert_eq!(answer.is_ok(), is_trusted, "{host} {parameters}: {answer:?}");
        }
    }

    #[tokio::test]
    async fn another_gateway_hears_at_once_what_ended_or_changed() {
        let server = Server::start();
        let (one, two) = (store(&server), store(&server));
        let (first, second, third) = (row(1, "alice", 10), row(2, "alice", 10), row(3, "bob", 10));
        let mut told = Told::by(&one);
        assert_eq!(told.any().await, News::Began);
        assert_eq!(told.any().await, News::Confirmed);
        for row in [&first, &second, &third] {
            one.insert(row.clone()).await.unwrap();
            assert_eq!(told.next().await, News::Changed(row.id));
        }
        let touch = |resealed| Touch {
            id: third.id,
            user: third.user.clone(),
            key: third.key,
            last_seen: third.last_seen,
            expires_at: third.expires_at,
            resealed,
        };
        two.touch(vec![touch(None)]).await.unwrap();
        two.remove(vec![first.id, row(4, "x", 0).id]).await.unwrap();
        assert_eq!(told.next().await, News::Changed(first.id));
        two.remove_user(second.user.clone()).await.unwrap();
        assert_eq!(told.next().await, News::Changed(second.id));
        two.touch(vec![touch(Some(Resealed { key: third.key, record: vec![9; 9] }))]).await.unwrap();
        assert_eq!(told.next().await, News::Changed(third.id));

        let mut delays = Vec::new();
        for number in 100..111 {
            let row = row(number, "carol", 10);
            two.insert(row.clone()).await.unwrap();
            assert_eq!(told.next().await, News::Changed(row.id));
            let watch = Stopwatch::start();
            two.remove(vec![row.id]).await.unwrap();
            assert_eq!(told.next().await, News::Changed(row.id));
            delays.push(watch.elapsed());
        }
        delays.sort();
        assert!(delays[delays.len() / 2] < Duration::from_millis(100), "{delays:?}");
    }

    #[tokio::test]
    async fn who_listens_knows_when_notices_may_be_missed() {
        let mut server = Server::start();
        let store = store(&server);
        let mut told = Told::by(&store);
        assert_eq!(told.next().await, News::Began);
        server.query(END_OTHERS);
        assert_eq!(told.next().await, News::Lost);
        assert_eq!(told.next().await, News::Began);

        server.freeze();
        assert_eq!(told.next().await, News::Lost);
        server.thaw();
        assert_eq!(told.next().await, News::Began);

        server.stop();
        assert_eq!(told.next().await, News::Lost);
        server.start_again();
        assert_eq!(told.next().await, News::Began);
        assert_eq!(told.any().await, News::Confirmed);

        server.query("NOTIFY vestibule_sessions, 'no id'");
        store.insert(row(1, "alice", 10)).await.unwrap();
        assert_eq!(told.next().await, News::Changed(row(1, "alice", 10).id));
        store.close().await;
        while told.0.recv().await.is_some() {}
    }

    const END_OTHERS: &str =
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'vestibule'";
}
