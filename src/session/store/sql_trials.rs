//! What the stores on database servers must bear beside the contract of every store: falls of the server,
//! missing tables, damaged rows, many writers. One text over both engines.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::conformance::{self, Lists, row};
use super::{Entry, Listener, Resealed, Row, SessionStore, Sharing, StoreError, Touch};
use crate::clock::{Stopwatch, Timestamp};
use crate::session::token::SessionId;
use crate::storage::sql::Location;

/// A database server under trial.
pub(super) trait Server: Sized {
    /// The store that speaks with it.
    type Store: SessionStore;

    /// What stands between two columns that [`Self::query`] prints.
    const BETWEEN: char;
    /// How changes by others become known.
    const SHARING: Sharing;

    fn start() -> Self;
    fn store_at(location: Location) -> Self::Store;
    fn url(&self) -> String;
    fn query(&self, statement: &str) -> String;
    fn stop(&mut self);
    fn start_again(&mut self);
    fn freeze(&self);
    fn thaw(&self);
    /// Bytes as a statement writes them, from hexadecimal digits.
    fn bytes(digits: &str) -> String;
    /// Whether it ever saw two transactions wait for each other.
    fn saw_a_deadlock(&self) -> bool;

    fn store(&self) -> Self::Store {
        Self::store_at(Location::parse(&self.url()).unwrap())
    }
}

/// The trials as tests of a server.
macro_rules! trials_on {
    ($server:ty: $($trial:ident),+ $(,)?) => {
        $(
            #[tokio::test]
            async fn $trial() {
                $crate::session::store::sql_trials::$trial::<$server>().await;
            }
        )+
    };
}
pub(super) use trials_on;

pub(super) async fn it_keeps_the_contract_of_a_store<S: Server>() {
    let server = S::start();
    let open = || async {
        let store = server.store();
        until_available(&store).await;
        server.query("TRUNCATE vestibule_sessions");
        store
    };
    conformance::check(Lists::Everything, open).await;
    assert_eq!(server.store().share(Arc::new(Deaf)), S::SHARING);
}

pub(super) async fn it_starts_without_its_server_and_outlives_its_falls<S: Server>() {
    let mut server = S::start();
    server.stop();
    let (store, kept) = (server.store(), row(1, "alice", 10));
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

pub(super) async fn two_gateways_may_make_the_tables_at_once<S: Server>() {
    let server = S::start();
    let stores: Vec<_> = (0..4).map(|_| server.store()).collect();
    let rows: Vec<_> = (0..4).map(|number| row(number, "alice", 10)).collect();
    let (one, two, three, four) = tokio::join!(
        stores[0].insert(rows[0].clone()),
        stores[1].insert(rows[1].clone()),
        stores[2].insert(rows[2].clone()),
        stores[3].insert(rows[3].clone()),
    );
    assert_eq!((one, two, three, four), (Ok(()), Ok(()), Ok(()), Ok(())));
    assert_eq!(stores[0].of_user(rows[0].user.clone()).await.unwrap().len(), 4);
    let versions = server.query("SELECT part, version FROM vestibule_schema");
    assert_eq!(versions, format!("sessions{}1", S::BETWEEN));

    server.query("UPDATE vestibule_schema SET version = 7");
    assert!(stores[0].load(rows[0].id).await.is_ok(), "who was there first may go on");
    let refused = server.store().load(rows[0].id).await.unwrap_err().to_string();
    assert!(refused.contains("version 7") && refused.contains("knows only 1"), "{refused}");
}

pub(super) async fn tables_that_are_gone_are_missed_and_made_again<S: Server>() {
    let server = S::start();
    let (store, kept) = (server.store(), row(1, "alice", 10));
    store.insert(kept.clone()).await.unwrap();
    server.query("DROP TABLE vestibule_sessions; DROP TABLE vestibule_schema");
    let missing = store.load(kept.id).await.unwrap_err().to_string();
    assert!(missing.contains("vestibule_sessions"), "{missing}");
    assert_eq!(store.insert(kept).await, Ok(()));
}

pub(super) async fn junk_in_a_row_is_corrupt_and_harms_no_other<S: Server>() {
    let server = S::start();
    let store = server.store();
    let (junk, good) = (row(1, "alice", 10), row(2, "bob", 10));
    store.insert(junk.clone()).await.unwrap();
    store.insert(good.clone()).await.unwrap();
    server.query("UPDATE vestibule_sessions SET user_name = 'a, b' WHERE user_name = 'alice'");
    is_corrupt_and_harms_nobody(&store, &junk, good).await;
}

/// `junk` cannot be read, `good` can; both can be ended.
pub(super) async fn is_corrupt_and_harms_nobody(store: &impl SessionStore, junk: &Row, good: Row) {
    assert!(matches!(store.load(junk.id).await, Err(StoreError::Corrupt(_))));
    assert_eq!(store.load(good.id).await.unwrap(), Some(good.clone()));
    let users = store.users(Timestamp::default()).await.unwrap();
    assert_eq!(users, std::slice::from_ref(&good.user));
    let due = store.by_end(None, Timestamp::from_millis(i64::MAX), 9).await.unwrap();
    let junk_due = Entry { place: junk.place(), row: None };
    let good_due = Entry { place: good.place(), row: Some(good) };
    assert_eq!(due, [junk_due, good_due]);
    assert_eq!(store.remove(vec![junk.id]).await.unwrap(), [junk.id]);
}

pub(super) async fn names_that_look_alike_are_different_users<S: Server>() {
    let server = S::start();
    let store = server.store();
    let names = ["straße", "strasse", "alice", "Alice", "alice ", "alicé", "alice\t"];
    store.insert(row(1, "alice", 10)).await.unwrap();
    for (number, name) in names.iter().enumerate() {
        let (id, key) = (S::bytes(&format!("a{number}").repeat(32)), S::bytes("00000000"));
        server.query(&format!("INSERT INTO vestibule_sessions VALUES ({id}, '{name}', {key}, 1, 1, 1, '')"));
    }
    let alice = row(1, "alice", 10);
    assert_eq!(store.of_user(alice.user.clone()).await.unwrap().len(), 2);
    assert_eq!(store.remove_user(alice.user).await.unwrap().len(), 2);
    assert_eq!(server.query("SELECT count(*) FROM vestibule_sessions"), "6");
}

pub(super) async fn many_writers_of_the_same_rows_never_block_each_other<S: Server>() {
    let server = S::start();
    let (one, two) = (server.store(), server.store());
    let rows: Vec<_> = (0..250).map(|number| row(number, "alice", 10)).collect();
    for row in &rows {
        one.insert(row.clone()).await.unwrap();
    }
    let touches = |seen| rows.iter().map(|row| touch(row, seen)).collect::<Vec<_>>();
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
    let resealed = server.store().load(rows[201].id).await.unwrap().unwrap();
    assert_eq!(resealed.record, vec![201; 500]);
    assert_eq!(server.store().load(rows[200].id).await.unwrap().unwrap().record, vec![200; 50]);
    let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
    let back = ids.iter().rev().copied().collect();
    let alice = rows[0].user.clone();
    let gone = tokio::join!(one.remove(ids), two.remove(back), one.remove_user(alice));
    assert_eq!(gone.0.unwrap().len() + gone.1.unwrap().len() + gone.2.unwrap().len(), 250);
    assert!(!server.saw_a_deadlock());
}

/// Every second row is resealed.
fn touch(row: &Row, seen: i64) -> Touch {
    let number = row.id.as_bytes()[0];
    Touch {
        id: row.id,
        user: row.user.clone(),
        key: row.key,
        last_seen: Timestamp::from_millis(row.last_seen.as_millis() + seen),
        expires_at: row.expires_at,
        resealed: (number % 2 == 1).then(|| Resealed { key: row.key, record: vec![number; 500] }),
    }
}

async fn until_available(store: &impl SessionStore) {
    for _ in 0..500 {
        if store.load(row(9, "nobody", 0).id).await.is_ok() {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("the store did not come back");
}

async fn assert_unavailable_soon(store: &impl SessionStore) {
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

struct Deaf;

impl Listener for Deaf {
    fn began(&self) {}
    fn confirmed(&self) {}
    fn changed(&self, _: SessionId) {}
    fn changed_some(&self) {}
    fn lost(&self) {}
}
