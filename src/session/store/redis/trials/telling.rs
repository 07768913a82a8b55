//! What a store is told of changes by others.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_refuses_tracking_leaves_the_store_untold() {
    let server = Server::start_secure("gate:way", &acl("-client|tracking"));
    let store = open(&secure_url(&server)).await;
    assert_eq!(store.share(Recorder::new()), Sharing::Untold);
    store.insert(row(1, "alice", 10)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn lives_in_redis_outlast_the_session_and_touches_do_not_announce_themselves() {
    let server = Server::start();
    let store = open(&server.url()).await;
    let now = Clock::system().now();
    let row = Row { last_seen: now, expires_at: now + SECOND * 100, ..row(1, "alice", 0) };
    store.insert(row.clone()).await.unwrap();
    let life =
        |key: Vec<u8>| server.command(["TTL", &String::from_utf8(key).unwrap()]).parse::<i64>().unwrap();
    let lives = || (life(store.tables.keys.session(row.id)), life(store.tables.keys.times(row.id)));
    let day = 24 * 60 * 60;
    assert!((day + 90..day + 101).contains(&lives().0) && (day + 90..day + 101).contains(&lives().1));
    let listener = Recorder::share(&store);
    listener.wait_for("began").await;
    store.touch(vec![touched(&row, 50)]).await.unwrap();
    assert!(lives().0 < day + 101 && lives().1 > day + 120, "{:?}", lives());
    store.touch(vec![touched(&row, 2 * day)]).await.unwrap();
    assert!(lives().0 > 4 * day, "{:?}", lives());
    store.remove(vec![row.id]).await.unwrap();
    listener.wait_for(&format!("changed {}", row.id)).await;
    // One that the long touch made, one that the removal made.
    listener
        .wait_until(|events| events.iter().filter(|event| event.starts_with("changed")).count() == 2)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_through_another_store_is_told_within_100_milliseconds() {
    let server = Server::start();
    told_in_time(&server.url()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_on_every_server_of_a_cluster_are_told() {
    let mut cluster = Cluster::start();
    told_in_time(&cluster.url()).await;
    let store = open(&cluster.url()).await;
    let listener = Recorder::share(&store);
    listener.wait_for("began").await;
    cluster.primary().kill();
    listener.wait_for("lost").await;
    listener.clear();
    listener.wait_for("began").await;
    let rows: Vec<Row> = (1..20).map(|number| row(number, "bob", 10)).collect();
    for row in &rows {
        eventually("a failover", async || store.insert(row.clone()).await.is_ok()).await;
        assert_eq!(store.load(row.id).await, Ok(Some(row.clone())));
        listener.wait_for(&format!("changed {}", row.id)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_line_is_told_and_so_is_its_return() {
    let server = Server::start();
    let store = open(&server.url()).await;
    let listener = Recorder::share(&store);
    listener.wait_for("began").await;
    listener.wait_for("confirmed").await;
    for disturbance in [&["CLIENT", "KILL", "TYPE", "normal"][..], &["FLUSHALL"]] {
        listener.clear();
        match disturbance {
            [one] => server.command([one]),
            all => server.command(<[&str; 4]>::try_from(all).unwrap()),
        };
        listener.wait_for("lost").await;
        listener.wait_for("began").await;
        listener.wait_for("confirmed").await;
    }
    listener.clear();
    server.hang();
    listener.wait_for("lost").await;
    server.go_on();
    listener.wait_for("began").await;
    store.close().await;
}
