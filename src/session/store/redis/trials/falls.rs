//! Servers that fall, hang, fail over or were never there.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_a_cluster_that_hangs_is_left_behind() {
    let mut cluster = Cluster::start();
    let store = open(&cluster.url()).await;
    let rows: Vec<Row> = (1..30).map(|number| row(number, "alice", 10)).collect();
    for row in &rows {
        store.insert(row.clone()).await.unwrap();
    }
    for server in &cluster.servers {
        server.command(["WAIT", "1", "1000"]);
    }
    cluster.primary().hang();
    for row in &rows {
        let answer = store.load(row.id).await;
        assert!(!matches!(answer, Ok(None) | Err(StoreError::Corrupt(_))), "{answer:?}");
    }
    for row in &rows {
        eventually("a failover", async || store.load(row.id).await == Ok(Some(row.clone()))).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hung_server_is_unavailable_within_the_deadline_and_recovers_by_itself() {
    let server = Server::start();
    let (store, row) = (open(&server.url()).await, row(1, "alice", 10));
    store.insert(row.clone()).await.unwrap();
    server.hang();
    for _ in 0..3 {
        let watch = Stopwatch::start();
        assert_unavailable(store.load(row.id).await, "");
        assert!(watch.elapsed() < Duration::from_millis(900), "{:?}", watch.elapsed());
    }
    eventually("fast refusals", async || {
        let watch = Stopwatch::start();
        assert_unavailable(store.load(row.id).await, "");
        watch.elapsed() < Duration::from_millis(10)
    })
    .await;
    server.go_on();
    let recovering = Stopwatch::start();
    eventually("a recovery", async || store.load(row.id).await == Ok(Some(row.clone()))).await;
    assert!(recovering.elapsed() < Duration::from_secs(3), "{:?}", recovering.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_is_unavailable_at_once_and_its_successor_is_found() {
    let mut server = Server::start();
    let (store, row) = (open(&server.url()).await, row(1, "alice", 10));
    store.insert(row.clone()).await.unwrap();
    server.kill();
    eventually("a refusal", async || {
        let answer = store.load(row.id).await;
        assert_unavailable(answer.clone(), "");
        answer.unwrap_err().to_string().contains("refused")
    })
    .await;
    let watch = Stopwatch::start();
    assert_unavailable(store.remove(vec![row.id]).await, "no connection");
    assert!(watch.elapsed() < Duration::from_millis(50), "{:?}", watch.elapsed());
    server.start_again();
    let recovering = Stopwatch::start();
    eventually("a recovery", async || store.load(row.id).await == Ok(None)).await;
    assert!(recovering.elapsed() < Duration::from_secs(3), "{:?}", recovering.elapsed());
    // The new server knows none of the scripts.
    store.insert(row.clone()).await.unwrap();
    assert_eq!(store.remove(vec![row.id]).await, Ok(vec![row.id]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_opens_while_its_server_is_down() {
    let mut server = Server::start();
    server.kill();
    let (store, row) = (open(&server.url()).await, row(1, "alice", 10));
    let listener = Recorder::share(&store);
    assert_unavailable(store.insert(row.clone()).await, "no connection");
    server.start_again();
    eventually("a recovery", async || store.insert(row.clone()).await.is_ok()).await;
    listener.wait_for("began").await;
    assert_eq!(store.load(row.id).await, Ok(Some(row)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_that_a_failover_lost_is_done_again() {
    let server = Server::start();
    let (store, row) = (open(&server.url()).await, row(1, "alice", 10));
    store.insert(row.clone()).await.unwrap();
    let names = [store.tables.keys.session(row.id), store.tables.keys.times(row.id)];
    let names = names.map(|name| String::from_utf8(name).unwrap());
    for name in &names {
        server.command(["COPY", name, &format!("{name}-lost")]);
    }
    assert_eq!(store.remove(vec![row.id]).await, Ok(vec![row.id]));
    for name in &names {
        server.command(["RENAME", &format!("{name}-lost"), name]);
    }
    assert_eq!(store.load(row.id).await, Ok(Some(row.clone())));
    server.command(["CLIENT", "KILL", "TYPE", "normal"]);
    eventually("a second removal", async || store.load(row.id).await == Ok(None)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_by_sentinels_is_survived_by_the_same_store() {
    let mut servers = Watched::start();
    let store = open(&servers.url()).await;
    let listener = Recorder::share(&store);
    let (kept, ended) = (row(1, "alice", 10), row(2, "bob", 10));
    store.insert(kept.clone()).await.unwrap();
    store.insert(ended.clone()).await.unwrap();
    servers.servers[0].command(["WAIT", "2", "2000"]);
    listener.wait_for("began").await;
    assert_eq!(store.remove(vec![ended.id]).await, Ok(vec![ended.id]));
    servers.servers[0].kill();
    listener.wait_for("lost").await;
    listener.clear();
    eventually("a failover", async || match store.load(kept.id).await {
        Ok(found) => {
            assert_eq!(found.as_ref(), Some(&kept), "a session is absent because of a failover");
            store.touch(vec![touched(&kept, 5)]).await.is_ok()
        }
        Err(error) => {
            assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
            false
        }
    })
    .await;
    listener.wait_for("began").await;
    eventually("the end of the other", async || store.load(ended.id).await == Ok(None)).await;
}
