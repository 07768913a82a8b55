//! What every store must do; a new store runs [`check`] and nothing else.

use super::*;

/// A session of `user` whose last activity was at second `seen`, and which ends 100 seconds later.
pub(crate) fn row(number: u8, user: &str, seen: i64) -> Row {
    Row {
        id: SessionId::from_bytes([number; 32]),
        user: UserId::try_from(user).unwrap(),
        key: KeyId::from_bytes([number % 2; 4]),
        created: second(0),
        last_seen: second(seen),
        expires_at: second(seen + 100),
        record: vec![number; 50],
    }
}

/// Runs the whole suite, each part on a store of its own.
pub(crate) async fn check<S: SessionStore, F: Future<Output = S>>(open: impl Fn() -> F) {
    what_is_absent_is_no_error(&open().await).await;
    what_was_inserted_is_loaded(&open().await).await;
    an_id_is_never_taken_twice(&open().await).await;
    a_touch_moves_times_forward_only(&open().await).await;
    a_touch_brings_nothing_back(&open().await).await;
    removing_twice_is_no_error(&open().await).await;
    a_user_is_removed_by_index(&open().await).await;
    users_and_keys_of_live_sessions_are_counted(&open().await).await;
    what_expired_comes_in_batches(&open().await).await;
}

fn second(number: i64) -> Timestamp {
    Timestamp::from_millis(number * 1000)
}

async fn filled(store: &dyn SessionStore, rows: &[Row]) {
    for row in rows {
        store.insert(row.clone()).await.unwrap();
    }
}

async fn what_is_absent_is_no_error(store: &dyn SessionStore) {
    let row = row(1, "alice", 10);
    assert_eq!(store.load(row.id).await, Ok(None));
    assert_eq!(store.of_user(row.user.clone()).await, Ok(Vec::new()));
    assert_eq!(store.remove_user(row.user).await, Ok(Vec::new()));
    assert_eq!(store.users(second(0)).await, Ok(Vec::new()));
    assert_eq!(store.key_use(second(0)).await, Ok(Vec::new()));
    assert_eq!(store.expired(second(1_000), 10).await, Ok(Vec::new()));
}

async fn what_was_inserted_is_loaded(store: &dyn SessionStore) {
    let (one, two) = (row(1, "alice", 10), row(2, "bob", 20));
    filled(store, &[one.clone(), two.clone()]).await;
    assert_eq!(store.load(one.id).await, Ok(Some(one)));
    assert_eq!(store.load(two.id).await, Ok(Some(two)));
}

async fn an_id_is_never_taken_twice(store: &dyn SessionStore) {
    let (first, second) = (row(1, "alice", 10), row(1, "bob", 10));
    filled(store, std::slice::from_ref(&first)).await;
    assert!(store.insert(second).await.is_err());
    assert_eq!(store.load(first.id).await, Ok(Some(first)));
}

async fn a_touch_moves_times_forward_only(store: &dyn SessionStore) {
    let before = row(1, "alice", 10);
    filled(store, std::slice::from_ref(&before)).await;
    let touch = |seen| Touch { id: before.id, last_seen: second(seen), expires_at: second(seen + 100) };
    store.touch(vec![touch(50), touch(30)]).await.unwrap();
    let after = Row { last_seen: second(50), expires_at: second(150), ..before.clone() };
    assert_eq!(store.load(before.id).await, Ok(Some(after)));
    // A policy that changed moves the end alone.
    let longer = Touch { expires_at: second(500), ..touch(50) };
    store.touch(vec![longer]).await.unwrap();
    assert_eq!(store.load(before.id).await.unwrap().unwrap().expires_at, second(500));
    assert_eq!(store.expired(second(499), 10).await, Ok(Vec::new()));
}

async fn a_touch_brings_nothing_back(store: &dyn SessionStore) {
    let row = row(1, "alice", 10);
    filled(store, std::slice::from_ref(&row)).await;
    store.remove(vec![row.id]).await.unwrap();
    store.touch(vec![Touch { id: row.id, last_seen: second(50), expires_at: second(150) }]).await.unwrap();
    assert_eq!(store.load(row.id).await, Ok(None));
}

async fn removing_twice_is_no_error(store: &dyn SessionStore) {
    let (one, two) = (row(1, "alice", 10), row(2, "alice", 10));
    filled(store, &[one.clone(), two.clone()]).await;
    assert_eq!(store.remove(vec![one.id, row(3, "x", 0).id]).await, Ok(1));
    assert_eq!(store.remove(vec![one.id]).await, Ok(0));
    assert_eq!(store.load(one.id).await, Ok(None));
    assert_eq!(store.of_user(two.user.clone()).await, Ok(vec![two.id]));
}

async fn a_user_is_removed_by_index(store: &dyn SessionStore) {
    let (one, two, other) = (row(1, "alice", 10), row(2, "alice", 10), row(3, "Alice", 10));
    filled(store, &[one.clone(), two.clone(), other.clone()]).await;
    let mut listed = store.of_user(one.user.clone()).await.unwrap();
    let mut removed = store.remove_user(one.user.clone()).await.unwrap();
    listed.sort();
    removed.sort();
    assert_eq!(listed, [one.id, two.id]);
    assert_eq!(removed, listed);
    assert_eq!(store.load(one.id).await, Ok(None));
    assert_eq!(store.load(other.id).await, Ok(Some(other)));
}

async fn users_and_keys_of_live_sessions_are_counted(store: &dyn SessionStore) {
    let rows = [row(1, "alice", 10), row(2, "alice", 20), row(3, "bob", 20), row(4, "carol", 0)];
    filled(store, &rows).await;
    let names = |users: Vec<UserId>| users.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(names(store.users(second(100)).await.unwrap()), ["alice", "bob"]);
    let mut uses = store.key_use(second(100)).await.unwrap();
    uses.sort();
    assert_eq!(uses, [(rows[1].key, 1), (rows[0].key, 2)]);
}

async fn what_expired_comes_in_batches(store: &dyn SessionStore) {
    let rows = [row(1, "alice", 30), row(2, "bob", 10), row(3, "carol", 20), row(4, "dave", 90)];
    filled(store, &rows).await;
    let ids = |due: Vec<Due>| due.iter().map(|row| row.id).collect::<Vec<_>>();
    assert_eq!(ids(store.expired(second(130), 2).await.unwrap()), [rows[1].id, rows[2].id]);
    assert_eq!(ids(store.expired(second(130), 9).await.unwrap()), [rows[1].id, rows[2].id, rows[0].id]);
}
