//! The store against real servers: alone, with TLS and an ACL user, behind Sentinels, as a cluster;
//! and what happens when they hang, die, refuse, fail over or hold junk.

mod damage;
mod falls;
mod telling;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::*;
use crate::clock::Stopwatch;
use crate::session::store::conformance::{self, Lists, row};
use crate::session::store::servers::redis::{Cluster, Redis as Server, Watched};
use crate::session::store::{Place, Resealed};

#[tokio::test(flavor = "multi_thread")]
async fn a_single_server_keeps_the_contract_of_a_store() {
    let server = Server::start();
    check(&server.url()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_tls_and_a_narrow_acl_keeps_the_contract_of_a_store() {
    let server = Server::start_secure("gate:way", &acl(""));
    check(&secure_url(&server)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_behind_sentinels_keeps_the_contract_of_a_store() {
    let servers = Watched::start();
    check(&servers.url()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_keeps_the_contract_of_a_store() {
    let cluster = Cluster::start();
    check(&cluster.url()).await;
    // Touches and removals of many sessions, which are all over the cluster.
    let store = open(&format!("{}?prefix=many", cluster.url())).await;
    let rows: Vec<Row> = (0..100).map(|number| row(number, "alice", 10)).collect();
    for row in &rows {
        store.insert(row.clone()).await.unwrap();
    }
    store.touch(rows.iter().map(|row| touched(row, 5)).collect()).await.unwrap();
    assert_eq!(store.load(rows[7].id).await.unwrap().unwrap().last_seen, rows[7].last_seen + SECOND * 5);
    assert_eq!(store.remove(rows.iter().map(|row| row.id).collect()).await.unwrap().len(), rows.len());
    assert_eq!(store.users(Timestamp::default()).await, Ok(Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_with_tls_and_a_narrow_acl_keeps_the_contract_of_a_store() {
    let cluster = Cluster::start_secure("gate:way", &acl(""));
    let ca = cluster.servers[0].path().join("ca.pem");
    let url = format!("rediss+cluster://gate%3Away:pass%20word@{}?ca={}", cluster.hosts(), ca.display());
    check(&url).await;
    let store = open(&url).await;
    Recorder::share(&store).wait_for("confirmed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_logins_and_authorities_are_unavailable_and_say_why() {
    let server = Server::start_secure("gateway", &acl(""));
    let (port, ca) = (server.port(), server.path().join("ca.pem"));
    let wrong = open(&format!("rediss://gateway:hunter2@127.0.0.1:{port}?ca={}", ca.display())).await;
    let answer = wrong.load(row(1, "alice", 10).id).await;
    assert_unavailable(answer.clone(), "password");
    assert!(!answer.unwrap_err().to_string().contains("hunter2"));
    let untrusted = open(&format!("rediss://gateway:pass%20word@127.0.0.1:{port}")).await;
    assert_unavailable(untrusted.load(row(1, "alice", 10).id).await, "certificate");
    let missing = open(&format!("rediss://gateway:pass%20word@127.0.0.1:{port}?ca=none.pem")).await;
    assert_unavailable(missing.load(row(1, "alice", 10).id).await, "none.pem");
    let plain = open(&format!("redis://gateway:pass%20word@127.0.0.1:{port}")).await;
    assert_unavailable(plain.load(row(1, "alice", 10).id).await, "no connection");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_refuses_is_unavailable_and_never_empty() {
    let server = Server::start();
    let (store, kept) = (open(&server.url()).await, row(1, "alice", 10));
    store.insert(kept.clone()).await.unwrap();
    server.command(["CONFIG", "SET", "maxmemory", "1"]);
    assert_unavailable(store.insert(row(2, "bob", 10)).await, "OOM");
    assert_eq!(store.load(kept.id).await, Ok(Some(kept.clone())));
    server.command(["CONFIG", "SET", "maxmemory", "0"]);
    server.command(["CONFIG", "SET", "replica-serve-stale-data", "no"]);
    server.command(["REPLICAOF", "127.0.0.1", "1"]);
    assert_unavailable(store.load(kept.id).await, "MASTERDOWN");
    server.command(["CONFIG", "SET", "replica-serve-stale-data", "yes"]);
    eventually("a read-only answer", async || {
        let answer = store.insert(row(2, "bob", 10)).await;
        assert_unavailable(answer.clone(), "");
        answer.unwrap_err().to_string().contains("READONLY")
    })
    .await;
    server.command(["REPLICAOF", "NO", "ONE"]);
    eventually("a recovery", async || store.insert(row(2, "bob", 10)).await.is_ok()).await;
    server.command(["CONFIG", "SET", "requirepass", "secret"]);
    server.command(["-a", "secret", "CLIENT", "KILL", "TYPE", "normal"]);
    eventually("a refusal", async || {
        let answer = store.load(kept.id).await;
        answer.is_err_and(|error| error.to_string().contains("NOAUTH"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_without_rights_is_unavailable_and_sessions_are_not_absent() {
    let server = Server::start_secure("gate:way", &acl("-evalsha"));
    let store = open(&secure_url(&server)).await;
    assert_unavailable(store.load(row(1, "alice", 10).id).await, "NOPERM");
}

#[tokio::test(flavor = "multi_thread")]
async fn any_number_of_sessions_may_end_at_the_same_time() {
    let server = Server::start();
    let store = open(&server.url()).await;
    let mut places = Vec::new();
    for number in 0..600_u16 {
        let mut id = [0; 32];
        id[..2].copy_from_slice(&number.wrapping_mul(40_503).to_be_bytes());
        let row = Row { id: SessionId::from_bytes(id), ..row(1, "alice", 10) };
        places.push(row.place());
        store.insert(row).await.unwrap();
    }
    places.sort();
    let mut found: Vec<Place> = Vec::new();
    loop {
        let page = store.by_end(found.last().copied(), END, 7).await.unwrap();
        if page.is_empty() {
            break;
        }
        found.extend(page.iter().map(|entry| entry.place));
        assert!(found.len() <= places.len(), "the pages do not end");
    }
    assert_eq!(found, places);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_is_one_command_and_a_batch_is_few_round_trips() {
    let server = Server::start();
    let store = open(&server.url()).await;
    let rows: Vec<Row> = (0..100).map(|number| row(number, "alice", 10)).collect();
    for row in &rows {
        store.insert(row.clone()).await.unwrap();
    }
    store.touch(vec![touched(&rows[0], 1)]).await.unwrap();
    store.load(rows[0].id).await.unwrap();
    let scripts = || server.figure("commandstats", "cmdstat_evalsha:", "calls");
    let commands = || server.figure("commandstats", "cmdstat_get:", "calls");
    let reads = || server.figure("stats", "total_reads_processed:", "");
    let before = (scripts(), commands(), reads());
    store.load(rows[1].id).await.unwrap();
    let after = (scripts(), commands(), reads());
    assert_eq!((after.0 - before.0, after.1 - before.1), (1, 2));
    // One read more than without the load: each question of the test costs the same.
    let questions = reads() - after.2;
    assert!(after.2 - before.2 <= 3 * questions + 1, "{before:?} {after:?} {questions}");

    let before = reads();
    store.touch(rows.iter().map(|row| touched(row, 5)).collect()).await.unwrap();
    store.remove(rows.iter().map(|row| row.id).collect()).await.unwrap();
    assert!(reads() - before < 30, "{} round trips for two batches", reads() - before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_is_told_to_others_and_its_use_is_counted() {
    let server = Server::start();
    let (store, row) = (open(&server.url()).await, row(1, "alice", 10));
    store.insert(row.clone()).await.unwrap();
    let listener = Recorder::share(&store);
    listener.wait_for("began").await;
    let other = open(&server.url()).await;
    let key = crate::session::keyring::KeyId::from_bytes([9; 4]);
    let resealed = Some(Resealed { key, record: vec![1; 10] });
    other.touch(vec![Touch { resealed, ..touched(&row, 5) }]).await.unwrap();
    listener.wait_for(&format!("changed {}", row.id)).await;
    let until = row.expires_at + SECOND * 5;
    assert_eq!(store.key_use(Timestamp::default()).await, Ok(vec![KeyUse { key, sessions: 1, until }]));
}

/// The suite, each part under a prefix of its own.
async fn check(url: &str) {
    let part = AtomicUsize::new(0);
    let separator = if url.contains('?') { '&' } else { '?' };
    conformance::check(Lists::Everything, || {
        let part = part.fetch_add(1, Ordering::Relaxed);
        let url = format!("{url}{separator}prefix=part{part}");
        async move { open(&url).await }
    })
    .await;
}

async fn told_in_time(url: &str) {
    let (here, there) = (open(url).await, open(url).await);
    let listener = Recorder::share(&here);
    listener.wait_for("began").await;
    for number in 1..10 {
        let row = row(number, "alice", 10);
        there.insert(row.clone()).await.unwrap();
        listener.wait_for(&format!("changed {}", row.id)).await;
        listener.clear();
        there.remove(vec![row.id]).await.unwrap();
        let told = Stopwatch::start();
        listener.wait_for(&format!("changed {}", row.id)).await;
        assert!(told.elapsed() < Duration::from_millis(100), "{:?}", told.elapsed());
    }
}

async fn open(url: &str) -> RedisStore {
    RedisStore::open(Location::parse(url).unwrap(), Clock::system()).await
}

fn secure_url(server: &Server) -> String {
    let ca = server.path().join("ca.pem");
    format!("rediss://gate%3Away:pass%20word@127.0.0.1:{}?ca={}", server.port(), ca.display())
}

/// The rules that the documentation names, then `more`.
fn acl(more: &str) -> String {
    let documented = include_str!("mod.rs").lines().skip_while(|line| !line.starts_with("//! ACL SETUSER"));
    let lines = documented.take_while(|line| !line.starts_with("//! ```"));
    let words: Vec<&str> = lines.flat_map(|line| line.trim_start_matches("//!").split_whitespace()).collect();
    let rules = words.iter().skip_while(|word| **word != "resetkeys").copied();
    format!("{} {more}", rules.collect::<Vec<_>>().join(" ").replace("~PREFIX:*", "~part*:* ~vestibule:*"))
}

fn touched(row: &Row, seconds: i64) -> Touch {
    let later = SECOND * u32::try_from(seconds).unwrap();
    Touch {
        id: row.id,
        user: row.user.clone(),
        key: row.key,
        last_seen: row.last_seen + later,
        expires_at: row.expires_at + later,
        resealed: None,
    }
}

#[track_caller]
fn assert_unavailable<T: std::fmt::Debug>(answer: Result<T, StoreError>, why: &str) {
    match answer {
        Err(StoreError::Unavailable(reason)) => assert!(reason.contains(why), "{reason}"),
        other => panic!("{other:?} instead of unavailable"),
    }
}

async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("no {what}"));
}

/// Keeps what a listener is told.
struct Recorder(watch::Sender<Vec<String>>);

impl Recorder {
    fn new() -> Arc<Self> {
        Arc::new(Self(watch::Sender::new(Vec::new())))
    }

    fn share(store: &RedisStore) -> Arc<Self> {
        let recorder = Self::new();
        assert_eq!(store.share(Arc::clone(&recorder) as Arc<dyn Listener>), Sharing::Told);
        recorder
    }

    fn note(&self, event: String) {
        self.0.send_modify(|events| events.push(event));
    }

    fn clear(&self) {
        self.0.send_modify(Vec::clear);
    }

    async fn wait_for(&self, event: &str) {
        self.wait_until(|events| events.iter().any(|told| told == event)).await;
    }

    async fn wait_until(&self, is_so: impl Fn(&[String]) -> bool) {
        let mut events = self.0.subscribe();
        let told = timeout(PATIENCE, events.wait_for(|events| is_so(events))).await;
        assert!(told.is_ok(), "only {:?} was told", self.0.borrow());
    }
}

impl Listener for Recorder {
    fn began(&self) {
        self.note("began".to_owned());
    }

    fn confirmed(&self) {
        self.note("confirmed".to_owned());
    }

    fn changed(&self, id: SessionId) {
        self.note(format!("changed {id}"));
    }

    fn changed_some(&self) {}

    fn lost(&self) {
        self.note("lost".to_owned());
    }
}

const SECOND: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(20);
const END: Timestamp = Timestamp::from_millis(i64::MAX);
