//! Values that are not what they should be, and halves of sessions.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn junk_is_corrupt_and_never_another_session() {
    let server = Server::start();
    let store = open(&server.url()).await;
    let rows = [row(1, "alice", 10), row(2, "bob", 10), row(3, "carol", 10), row(4, "dave", 10)];
    for row in &rows {
        store.insert(row.clone()).await.unwrap();
    }
    let [list, bytes, swapped, good] = &rows;
    let name = |row: &Row| String::from_utf8(store.tables.keys.session(row.id)).unwrap();
    server.command(["DEL", &name(list)]);
    server.command(["RPUSH", &name(list), "junk"]);
    server.command(["SET", &name(bytes), "junk"]);
    server.command(["COPY", &name(good), &name(swapped), "REPLACE"]);
    for junk in [list, bytes, swapped] {
        assert!(matches!(store.load(junk.id).await, Err(StoreError::Corrupt(_))), "{junk:?}");
        let listed = store.of_user(junk.user.clone()).await.unwrap();
        assert_eq!(listed, [Entry { place: junk.place(), row: None }]);
    }
    // Junk in a batch harms no other session in it.
    store.touch(rows.iter().map(|row| touched(row, 5)).collect()).await.unwrap();
    let after = store.load(good.id).await.unwrap().unwrap();
    assert_eq!(after.last_seen, good.last_seen + SECOND * 5);
    assert_eq!(store.by_end(None, END, 9).await.unwrap().len(), rows.len());
    let ids: Vec<SessionId> = rows.iter().map(|row| row.id).collect();
    assert_eq!(store.remove(ids.clone()).await, Ok(ids));
    assert_eq!(store.by_end(None, END, 9).await, Ok(Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_evicted_half_of_a_session_is_no_session() {
    let server = Server::start();
    let (store, row) = (open(&server.url()).await, row(1, "alice", 10));
    store.insert(row.clone()).await.unwrap();
    server.command(["DEL", &String::from_utf8(store.tables.keys.times(row.id)).unwrap()]);
    store.touch(vec![touched(&row, 5)]).await.unwrap();
    assert_eq!(store.load(row.id).await, Ok(None));
    assert_eq!(store.of_user(row.user.clone()).await, Ok(Vec::new()));
    assert_eq!(store.remove_user(row.user).await, Ok(vec![row.id]));
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_without_a_session_are_passed_over_and_pruned_after_their_end() {
    let server = Server::start();
    let store = open(&server.url()).await;
    let (past, future) = (Timestamp::from_millis(1_000), row(3, "alice", 10));
    let old = (1..=2).map(|number| Row { expires_at: past, last_seen: past, ..row(number, "alice", 0) });
    for row in old.chain([future.clone()]) {
        store.insert(row.clone()).await.unwrap();
        server.command(["DEL", &String::from_utf8(store.tables.keys.session(row.id)).unwrap()]);
    }
    let last = row(4, "alice", 500);
    store.insert(last.clone()).await.unwrap();
    let found = store.by_end(None, END, 1).await.unwrap();
    assert_eq!(found, [Entry { place: last.place(), row: Some(last.clone()) }]);
    assert_eq!(store.of_user(last.user.clone()).await.unwrap().len(), 1);
    assert_eq!(server.command(["ZCARD", "vestibule:e"]), "2");
    assert_eq!(server.command(["ZCARD", "vestibule:u:alice"]), "2");
}
