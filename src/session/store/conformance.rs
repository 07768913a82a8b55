//! What every store must do; a new store runs [`check`] and tests of what it alone does.

use super::*;

/// Whether a store keeps an index over all sessions, beside those of one user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lists {
    Everything,
    OnlyOfUser,
}

/// A session of `user` whose last activity was at second `seen` after [`START`], and which ends 100
/// seconds later.
pub(crate) fn row(number: u8, user: &str, seen: i64) -> Row {
    Row {
        id: SessionId::from_bytes([number; 32]),
        user: UserId::try_from(user).unwrap(),
        key: key(number % 2),
        created: second(0),
        last_seen: second(seen),
        expires_at: second(seen + 100),
        record: vec![number; 50],
    }
}

/// Runs the whole suite, each part on an empty store of its own.
pub(crate) async fn check<S: SessionStore, F: Future<Output = S>>(lists: Lists, open: impl Fn() -> F) {
    what_is_absent_is_no_error(&open().await).await;
    what_was_inserted_is_loaded(&open().await).await;
    an_id_is_never_taken_twice(&open().await).await;
    a_touch_moves_times_forward_only(&open().await).await;
    a_touch_brings_nothing_back(&open().await).await;
    a_new_record_takes_the_place_of_the_old(&open().await).await;
    removing_twice_is_no_error(&open().await).await;
    two_writers_harm_nothing(&open().await).await;
    a_user_is_removed_by_index(&open().await).await;
    what_a_removed_user_begins_anew_is_kept(&open().await).await;
    a_closed_store_is_unavailable_and_not_empty(&open().await).await;
    if lists == Lists::Everything {
        an_empty_index_is_no_error(&open().await).await;
        users_and_keys_of_live_sessions_are_counted(&open().await).await;
        a_new_key_takes_over_from_the_old(&open().await).await;
        all_sessions_come_in_the_order_of_their_ends(&open().await).await;
        a_touch_moves_the_place(&open().await).await;
    } else {
        what_is_not_indexed_is_said(&open().await).await;
    }
}

/// Far ahead, so that no server drops the sessions of a test by its own clock: 2100-01-01.
const START: i64 = 4_102_444_800_000;

fn second(number: i64) -> Timestamp {
    Timestamp::from_millis(START + number * 1000)
}

fn key(number: u8) -> KeyId {
    KeyId::from_bytes([number; 4])
}

fn touch(row: &Row, seen: i64) -> Touch {
    Touch {
        id: row.id,
        user: row.user.clone(),
        key: row.key,
        last_seen: second(seen),
        expires_at: second(seen + 100),
        resealed: None,
    }
}

async fn filled(store: &dyn SessionStore, rows: &[Row]) {
    for row in rows {
        store.insert(row.clone()).await.unwrap();
    }
}

async fn ids_of(store: &dyn SessionStore, user: &UserId) -> Vec<SessionId> {
    let mut ids: Vec<_> =
        store.of_user(user.clone()).await.unwrap().iter().map(|entry| entry.place.id).collect();
    ids.sort();
    ids
}

async fn what_is_absent_is_no_error(store: &dyn SessionStore) {
    let row = row(1, "alice", 10);
    assert_eq!(store.load(row.id).await, Ok(None));
    assert_eq!(store.remove(vec![row.id]).await, Ok(Vec::new()));
    assert_eq!(store.remove(Vec::new()).await, Ok(Vec::new()));
    assert_eq!(store.touch(Vec::new()).await, Ok(()));
    assert_eq!(store.of_user(row.user.clone()).await, Ok(Vec::new()));
    assert_eq!(store.remove_user(row.user).await, Ok(Vec::new()));
}

async fn an_empty_index_is_no_error(store: &dyn SessionStore) {
    assert_eq!(store.users(second(0)).await, Ok(Vec::new()));
    assert_eq!(store.key_use(second(0)).await, Ok(Vec::new()));
    assert_eq!(store.by_end(None, second(1_000), 10).await, Ok(Vec::new()));
}

async fn what_was_inserted_is_loaded(store: &dyn SessionStore) {
    let (one, mut two) = (row(1, "alice", 10), row(2, "bob@example.com", 20));
    two.record = (0..=255).cycle().take(900).collect();
    filled(store, &[one.clone(), two.clone()]).await;
    assert_eq!(store.load(one.id).await, Ok(Some(one.clone())));
    assert_eq!(store.load(two.id).await, Ok(Some(two)));
    assert_eq!(store.of_user(one.user.clone()).await, Ok(vec![Entry { place: one.place(), row: Some(one) }]));
}

async fn an_id_is_never_taken_twice(store: &dyn SessionStore) {
    let (first, second) = (row(1, "alice", 10), row(1, "bob", 10));
    filled(store, std::slice::from_ref(&first)).await;
    assert!(store.insert(second.clone()).await.is_err());
    assert_eq!(store.load(first.id).await, Ok(Some(first.clone())));
    assert_eq!(ids_of(store, &second.user).await, Vec::new());
    assert_eq!(ids_of(store, &first.user).await, [first.id]);
}

async fn a_touch_moves_times_forward_only(store: &dyn SessionStore) {
    let before = row(1, "alice", 10);
    filled(store, std::slice::from_ref(&before)).await;
    store.touch(vec![touch(&before, 50), touch(&before, 30)]).await.unwrap();
    let after = Row { last_seen: second(50), expires_at: second(150), ..before.clone() };
    assert_eq!(store.load(before.id).await, Ok(Some(after)));
    // A policy that changed moves the end alone.
    let longer = Touch { expires_at: second(500), ..touch(&before, 50) };
    store.touch(vec![longer]).await.unwrap();
    assert_eq!(store.load(before.id).await.unwrap().unwrap().expires_at, second(500));
}

async fn a_touch_moves_the_place(store: &dyn SessionStore) {
    let row = row(1, "alice", 10);
    filled(store, std::slice::from_ref(&row)).await;
    let longer = Touch { expires_at: second(500), ..touch(&row, 50) };
    store.touch(vec![longer]).await.unwrap();
    assert_eq!(store.by_end(None, second(499), 10).await, Ok(Vec::new()));
    assert_eq!(store.by_end(None, second(500), 10).await.unwrap().len(), 1);
    assert_eq!(store.users(second(499)).await.unwrap(), [row.user]);
    assert_eq!(store.users(second(500)).await, Ok(Vec::new()));
}

async fn a_touch_brings_nothing_back(store: &dyn SessionStore) {
    let row = row(1, "alice", 10);
    filled(store, std::slice::from_ref(&row)).await;
    store.remove(vec![row.id]).await.unwrap();
    let resealed = Some(Resealed { key: key(7), record: vec![7; 9] });
    store.touch(vec![touch(&row, 50), Touch { resealed, ..touch(&row, 60) }]).await.unwrap();
    assert_eq!(store.load(row.id).await, Ok(None));
    assert_eq!(ids_of(store, &row.user).await, Vec::new());
    // The id may be used again, and nothing of the old session is in the new one.
    filled(store, std::slice::from_ref(&row)).await;
    assert_eq!(store.load(row.id).await, Ok(Some(row)));
}

async fn a_new_record_takes_the_place_of_the_old(store: &dyn SessionStore) {
    let before = row(1, "alice", 10);
    filled(store, std::slice::from_ref(&before)).await;
    let resealed = Some(Resealed { key: key(7), record: vec![7; 99] });
    store.touch(vec![Touch { resealed, ..touch(&before, 20) }]).await.unwrap();
    let after = Row { key: key(7), record: vec![7; 99], last_seen: second(20), ..before.clone() };
    let after = Row { expires_at: second(120), ..after };
    assert_eq!(store.load(before.id).await, Ok(Some(after.clone())));
    // News from a process that does not know the new record yet.
    store.touch(vec![touch(&before, 30)]).await.unwrap();
    let later = Row { last_seen: second(30), expires_at: second(130), ..after };
    assert_eq!(store.load(before.id).await, Ok(Some(later.clone())));
    // A record from a process that saw the session earlier.
    let resealed = Some(Resealed { key: key(7), record: vec![8; 60] });
    store.touch(vec![Touch { key: key(7), resealed, ..touch(&before, 25) }]).await.unwrap();
    assert_eq!(store.load(before.id).await, Ok(Some(Row { record: vec![8; 60], ..later })));
}

async fn removing_twice_is_no_error(store: &dyn SessionStore) {
    let (one, two) = (row(1, "alice", 10), row(2, "alice", 10));
    filled(store, &[one.clone(), two.clone()]).await;
    assert_eq!(store.remove(vec![one.id, row(3, "x", 0).id]).await, Ok(vec![one.id]));
    assert_eq!(store.remove(vec![one.id]).await, Ok(Vec::new()));
    assert_eq!(store.load(one.id).await, Ok(None));
    assert_eq!(ids_of(store, &two.user).await, [two.id]);
}

async fn two_writers_harm_nothing(store: &dyn SessionStore) {
    let (ended, kept) = (row(1, "alice", 10), row(2, "alice", 10));
    filled(store, std::slice::from_ref(&ended)).await;
    let (removed, touched, inserted) = tokio::join!(
        store.remove(vec![ended.id]),
        store.touch(vec![touch(&ended, 50)]),
        store.insert(kept.clone()),
    );
    assert_eq!((removed, touched, inserted), (Ok(vec![ended.id]), Ok(()), Ok(())));
    let both = tokio::join!(store.remove(vec![kept.id]), store.remove(vec![kept.id]));
    assert_eq!(both.0.unwrap().len() + both.1.unwrap().len(), 1, "only one of two removed it");
    assert_eq!(store.load(ended.id).await, Ok(None));
    assert_eq!(ids_of(store, &kept.user).await, Vec::new());
}

async fn a_user_is_removed_by_index(store: &dyn SessionStore) {
    let (one, two, other) = (row(1, "alice", 10), row(2, "alice", 10), row(3, "Alice", 10));
    filled(store, &[one.clone(), two.clone(), other.clone()]).await;
    let listed = ids_of(store, &one.user).await;
    let mut removed = store.remove_user(one.user.clone()).await.unwrap();
    removed.sort();
    assert_eq!(listed, [one.id, two.id]);
    assert_eq!(removed, listed);
    assert_eq!(store.load(one.id).await, Ok(None));
    assert_eq!(store.load(two.id).await, Ok(None));
    assert_eq!(store.load(other.id).await, Ok(Some(other)));
}

async fn what_a_removed_user_begins_anew_is_kept(store: &dyn SessionStore) {
    let (old, new) = (row(1, "alice", 10), row(2, "alice", 10));
    filled(store, std::slice::from_ref(&old)).await;
    store.remove_user(old.user.clone()).await.unwrap();
    filled(store, std::slice::from_ref(&new)).await;
    store.touch(vec![touch(&old, 50)]).await.unwrap();
    assert_eq!(store.load(new.id).await, Ok(Some(new.clone())));
    assert_eq!(ids_of(store, &new.user).await, [new.id]);
}

async fn users_and_keys_of_live_sessions_are_counted(store: &dyn SessionStore) {
    let rows = [row(1, "alice", 10), row(2, "alice", 20), row(3, "bob", 20), row(4, "carol", 0)];
    filled(store, &rows).await;
    let mut users: Vec<_> = store.users(second(100)).await.unwrap().iter().map(ToString::to_string).collect();
    users.sort();
    assert_eq!(users, ["alice", "bob"]);
    let mut by_key = store.key_use(second(100)).await.unwrap();
    by_key.sort();
    let expected = |number, sessions| KeyUse { key: key(number), sessions, until: second(120) };
    assert_eq!(by_key, [expected(0, 1), expected(1, 2)]);
}

async fn a_new_key_takes_over_from_the_old(store: &dyn SessionStore) {
    let row = row(1, "alice", 10);
    filled(store, std::slice::from_ref(&row)).await;
    let resealed = Some(Resealed { key: key(7), record: vec![7; 9] });
    store.touch(vec![Touch { resealed, ..touch(&row, 20) }]).await.unwrap();
    let uses = store.key_use(second(0)).await.unwrap();
    assert_eq!(uses, [KeyUse { key: key(7), sessions: 1, until: second(120) }]);
    store.remove(vec![row.id]).await.unwrap();
    assert_eq!(store.key_use(second(0)).await, Ok(Vec::new()));
}

async fn all_sessions_come_in_the_order_of_their_ends(store: &dyn SessionStore) {
    let rows =
        [row(1, "alice", 30), row(2, "bob", 10), row(3, "carol", 20), row(4, "dave", 90), row(5, "eve", 10)];
    filled(store, &rows).await;
    let ids =
        |entries: &[Entry]| entries.iter().map(|entry| entry.place.id.as_bytes()[0]).collect::<Vec<_>>();
    let first = store.by_end(None, second(130), 2).await.unwrap();
    assert_eq!(ids(&first), [2, 5]);
    assert_eq!(first[0].row.as_ref(), Some(&rows[1]));
    let after = Some(rows[4].place());
    assert_eq!(ids(&store.by_end(after, second(130), 9).await.unwrap()), [3, 1]);
    assert_eq!(ids(&store.by_end(None, second(130), 9).await.unwrap()), [2, 5, 3, 1]);
    let last = Some(rows[3].place());
    assert_eq!(store.by_end(last, second(1_000), 9).await, Ok(Vec::new()));
}

async fn what_is_not_indexed_is_said(store: &dyn SessionStore) {
    assert!(matches!(store.users(second(0)).await, Err(StoreError::Unsupported(_))));
    assert!(matches!(store.key_use(second(0)).await, Err(StoreError::Unsupported(_))));
    assert!(matches!(store.by_end(None, second(0), 9).await, Err(StoreError::Unsupported(_))));
}

async fn a_closed_store_is_unavailable_and_not_empty(store: &dyn SessionStore) {
    let row = row(1, "alice", 10);
    filled(store, std::slice::from_ref(&row)).await;
    store.close().await;
    assert!(matches!(store.load(row.id).await, Err(StoreError::Unavailable(_))));
    assert!(matches!(store.insert(row).await, Err(StoreError::Unavailable(_))));
}
