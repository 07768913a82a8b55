//! The store against real servers: what it must do as any store, and what happens when items or
//! servers go away behind its back.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::sleep;

use super::users::{LISTED, Users};
use super::*;
use crate::clock::Stopwatch;
use crate::session::store::conformance::{self, Lists, row};
use crate::session::store::servers::memcached::Memcached;
use crate::session::store::servers::relay::{Mode, Relay};
use crate::storage::memcached::{Expiry, Key};

/// A store over servers on these ports, and the client that sees behind it.
fn open(ports: &[u16]) -> MemcachedStore {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let hosts: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    let prefix = NEXT.fetch_add(1, Ordering::Relaxed);
    let text = format!("memcached://{}?prefix=t{prefix}", hosts.join(","));
    MemcachedStore::open(&Location::parse(&text).unwrap(), Clock::system())
}

fn user_key(store: &MemcachedStore, user: &UserId) -> Key {
    Users::new(Arc::clone(&store.client), Clock::system()).key(user)
}

fn session_key(store: &MemcachedStore, id: SessionId) -> Key {
    store.client.key('s', id.as_bytes())
}

fn id(number: u16) -> SessionId {
    let mut bytes = [0xee; 32];
    bytes[..2].copy_from_slice(&number.to_be_bytes());
    SessionId::from_bytes(bytes)
}

async fn overwrite(store: &MemcachedStore, key: &Key, value: &[u8]) {
    store.client.delete_many([key.clone()]).await;
    let now = Clock::system().now();
    store.client.add(key, value, Expiry::at(now + Duration::from_mins(1), now)).await.unwrap();
}

async fn value(store: &MemcachedStore, key: &Key) -> Vec<u8> {
    store.client.get(key).await.unwrap().unwrap().value
}

fn is_unavailable<T>(answer: &Result<T, StoreError>) -> bool {
    matches!(answer, Err(StoreError::Unavailable(_)))
}

/// Asks until there is an answer.
async fn answers(store: &MemcachedStore, id: SessionId) -> Option<Row> {
    let asking = Stopwatch::start();
    while asking.elapsed() < Duration::from_secs(5) {
        match store.load(id).await {
            Ok(answer) => return answer,
            Err(_) => sleep(Duration::from_millis(20)).await,
        }
    }
    panic!("no recovery within 5 s");
}

#[tokio::test]
async fn it_keeps_the_contract_of_a_store() {
    let server = Memcached::start();
    conformance::check(Lists::OnlyOfUser, || async { open(&[server.port()]) }).await;
}

#[tokio::test]
async fn it_keeps_the_contract_of_a_store_over_two_servers() {
    let servers = [Memcached::start(), Memcached::start()];
    let ports = [servers[0].port(), servers[1].port()];
    conformance::check(Lists::OnlyOfUser, || async { open(&ports) }).await;
}

#[tokio::test]
async fn a_session_whose_user_is_evicted_is_absent_and_stays_so() {
    let server = Memcached::start();
    let store = open(&[server.port()]);
    let (old, new) = (row(1, "alice", 10), row(2, "alice", 10));
    store.insert(old.clone()).await.unwrap();
    store.client.delete_many([user_key(&store, &old.user)]).await;
    assert_eq!(store.load(old.id).await, Ok(None));
    store.insert(new.clone()).await.unwrap();
    assert_eq!(store.load(old.id).await, Ok(None), "a new login brings no old session back");
    assert_eq!(store.load(new.id).await, Ok(Some(new.clone())));
    assert_eq!(store.of_user(new.user.clone()).await.unwrap().len(), 1);
    assert_eq!(store.remove(vec![old.id, new.id]).await, Ok(vec![new.id]));
}

#[tokio::test]
async fn a_session_that_is_evicted_is_absent_and_on_no_list() {
    let server = Memcached::start();
    let store = open(&[server.port()]);
    let (one, two) = (row(1, "alice", 10), row(2, "alice", 10));
    store.insert(one.clone()).await.unwrap();
    store.insert(two.clone()).await.unwrap();
    store.client.delete_many([session_key(&store, one.id)]).await;
    assert_eq!(store.load(one.id).await, Ok(None));
    let listed = store.of_user(two.user.clone()).await.unwrap();
    assert_eq!(listed, [Entry { place: two.place(), row: Some(two.clone()) }]);
    assert_eq!(store.remove_user(two.user).await, Ok(vec![two.id]));
}

#[tokio::test]
async fn a_server_that_forgot_everything_is_no_error() {
    let server = Memcached::start();
    let store = open(&[server.port()]);
    let row = row(1, "alice", 10);
    store.insert(row.clone()).await.unwrap();
    server.forget_everything();
    assert_eq!(store.load(row.id).await, Ok(None));
    assert_eq!(store.of_user(row.user.clone()).await, Ok(Vec::new()));
    assert_eq!(store.remove(vec![row.id]).await, Ok(Vec::new()));
    assert_eq!(store.remove_user(row.user.clone()).await, Ok(Vec::new()));
    store.insert(row.clone()).await.unwrap();
    assert_eq!(store.load(row.id).await, Ok(Some(row)));
}

#[tokio::test]
async fn swapped_sessions_are_corrupt_and_can_be_removed() {
    let server = Memcached::start();
    let store = open(&[server.port()]);
    let (alice, bob) = (row(1, "alice", 10), row(2, "bob", 10));
    store.insert(alice.clone()).await.unwrap();
    store.insert(bob.clone()).await.unwrap();
    let of_bob = value(&store, &session_key(&store, bob.id)).await;
    overwrite(&store, &session_key(&store, alice.id), &of_bob).await;
    assert!(matches!(store.load(alice.id).await, Err(StoreError::Corrupt(_))));
    assert_eq!(store.load(bob.id).await, Ok(Some(bob)));
    let listed = store.of_user(alice.user.clone()).await.unwrap();
    assert_eq!((listed[0].place.id, &listed[0].row), (alice.id, &None));
    assert_eq!(store.remove(vec![alice.id]).await, Ok(vec![alice.id]));
    assert_eq!(store.load(alice.id).await, Ok(None));
}

#[tokio::test]
async fn the_item_of_another_user_gives_nobody_a_session() {
    let server = Memcached::start();
    let store = open(&[server.port()]);
    let (alice, bob) = (row(1, "alice", 10), row(2, "bob", 10));
    store.insert(alice.clone()).await.unwrap();
    store.insert(bob.clone()).await.unwrap();
    let of_bob = value(&store, &user_key(&store, &bob.user)).await;
    for junk in [of_bob.as_slice(), b"junk", b""] {
        overwrite(&store, &user_key(&store, &alice.user), junk).await;
        assert!(matches!(store.load(alice.id).await, Err(StoreError::Corrupt(_))));
        assert!(matches!(store.of_user(alice.user.clone()).await, Err(StoreError::Corrupt(_))));
    }
    assert_eq!(store.load(bob.id).await, Ok(Some(bob)));
    // A new login mends it, and brings nothing back.
    let new = row(3, "alice", 10);
    store.insert(new.clone()).await.unwrap();
    assert_eq!(store.load(new.id).await, Ok(Some(new)));
    assert_eq!(store.load(alice.id).await, Ok(None));
}

#[tokio::test]
async fn sessions_that_fell_off_the_list_end_with_the_others() {
    let server = Memcached::start();
    let store = open(&[server.port()]);
    let count = u16::try_from(LISTED).unwrap() + 10;
    for number in 0..count {
        store.insert(Row { id: id(number), ..row(1, "alice", 10) }).await.unwrap();
    }
    let user = row(1, "alice", 10).user;
    assert!(store.load(id(0)).await.unwrap().is_some());
    assert_eq!(store.of_user(user.clone()).await.unwrap().len(), LISTED);
    assert_eq!(store.remove_user(user).await.unwrap().len(), LISTED);
    for number in 0..count {
        assert_eq!(store.load(id(number)).await, Ok(None), "{number}");
    }
}

#[tokio::test]
async fn sessions_that_are_gone_leave_the_list_to_the_others() {
    let server = Memcached::start();
    let store = open(&[server.port()]);
    let count = u16::try_from(LISTED).unwrap() + 200;
    for number in 0..count {
        store.insert(Row { id: id(number), ..row(1, "alice", 10) }).await.unwrap();
        if number > 0 {
            store.client.delete_many([session_key(&store, id(number))]).await;
        }
    }
    let listed = store.of_user(row(1, "alice", 10).user).await.unwrap();
    assert_eq!(listed.iter().map(|entry| entry.place.id).collect::<Vec<_>>(), [id(0)]);
}

#[tokio::test]
async fn fifty_logins_of_one_user_at_once_are_all_kept() {
    let server = Memcached::start();
    let store = Arc::new(open(&[server.port()]));
    let logins: Vec<_> = (0..50)
        .map(|number| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.insert(Row { id: id(number), ..row(1, "alice", 10) }).await })
        })
        .collect();
    for login in logins {
        login.await.unwrap().unwrap();
    }
    assert_eq!(store.of_user(row(1, "alice", 10).user).await.unwrap().len(), 50);
}

#[tokio::test]
async fn the_item_of_a_user_outlives_a_session_that_is_kept_alive() {
    let server = Memcached::start();
    let (clock, hand) = Clock::movable();
    let mut store = open(&[server.port()]);
    store.shelf = Shelf::new(Arc::clone(&store.client), clock.clone());
    let begin = clock.now();
    let short = begin + Duration::from_secs(100);
    let row = Row { created: begin, last_seen: begin, expires_at: short, ..row(1, "alice", 10) };
    store.insert(row.clone()).await.unwrap();
    let key = user_key(&store, &row.user);
    let first = store.client.get(&key).await.unwrap().unwrap();
    let touch = |expires_at| Touch {
        id: row.id,
        user: row.user.clone(),
        key: row.key,
        last_seen: clock.now(),
        expires_at,
        resealed: None,
    };
    hand.advance(Duration::from_secs(50));
    store.touch(vec![touch(short + Duration::from_secs(50))]).await.unwrap();
    assert_eq!(store.client.get(&key).await.unwrap(), Some(first), "not written for every activity");
    let late = short + Duration::from_hours(9);
    store.touch(vec![touch(late)]).await.unwrap();
    let item = item::UserItem::decode(&row.user, &value(&store, &key).await).unwrap();
    assert!(item.until >= late, "{} is before {late}", item.until);
}

#[tokio::test]
async fn a_session_over_is_forgotten_by_the_server_itself() {
    let server = Memcached::start();
    let mut store = open(&[server.port()]);
    // By this clock the session and its margin are over in a second.
    let (clock, hand) = Clock::movable();
    store.shelf = Shelf::new(Arc::clone(&store.client), clock.clone());
    let end = clock.now();
    hand.advance(Duration::from_hours(2));
    let row = Row { expires_at: end, ..row(1, "alice", 10) };
    store.insert(row.clone()).await.unwrap();
    let key = session_key(&store, row.id);
    let waiting = Stopwatch::start();
    while store.client.get(&key).await.unwrap().is_some() {
        assert!(waiting.elapsed() < Duration::from_secs(10), "it is still there");
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_killed_server_is_unavailable_and_works_again_after_a_restart() {
    let mut server = Memcached::start();
    let store = open(&[server.port()]);
    let row = row(1, "alice", 10);
    store.insert(row.clone()).await.unwrap();
    server.kill();
    let waiting = Stopwatch::start();
    assert!(is_unavailable(&store.load(row.id).await));
    assert!(is_unavailable(&store.remove_user(row.user.clone()).await));
    assert!(waiting.elapsed() < Duration::from_secs(1), "{:?}", waiting.elapsed());
    server.start_again();
    assert_eq!(answers(&store, row.id).await, None);
    store.insert(row.clone()).await.unwrap();
    assert_eq!(store.load(row.id).await, Ok(Some(row)));
}

#[tokio::test]
async fn a_restart_that_nobody_saw_breaks_no_call() {
    let mut server = Memcached::start();
    let store = open(&[server.port()]);
    store.insert(row(1, "alice", 10)).await.unwrap();
    server.kill();
    server.start_again();
    assert_eq!(store.load(row(1, "alice", 10).id).await, Ok(None));
}

#[tokio::test]
async fn a_hanging_server_is_unavailable_within_the_deadline_and_then_at_once() {
    let server = Memcached::start();
    let store = open(&[server.port()]);
    let row = row(1, "alice", 10);
    store.insert(row.clone()).await.unwrap();
    server.hang();
    let waiting = Stopwatch::start();
    assert!(is_unavailable(&store.load(row.id).await));
    assert!(waiting.elapsed() < Duration::from_millis(900), "{:?}", waiting.elapsed());
    let waiting = Stopwatch::start();
    assert!(is_unavailable(&store.load(row.id).await));
    assert!(waiting.elapsed() < Duration::from_millis(100), "{:?}", waiting.elapsed());
    server.go_on();
    assert_eq!(answers(&store, row.id).await, Some(row));
}

#[tokio::test]
async fn an_answer_that_comes_too_late_is_never_the_answer_to_another() {
    let server = Memcached::start();
    let relay = Relay::start(server.address());
    let store = open(&[relay.port()]);
    let (alice, bob) = (row(1, "alice", 10), row(2, "bob", 10));
    store.insert(alice.clone()).await.unwrap();
    store.insert(bob.clone()).await.unwrap();
    relay.set(Mode::Delay(Duration::from_millis(600)));
    assert!(is_unavailable(&store.load(alice.id).await));
    relay.set(Mode::Pass);
    assert_eq!(answers(&store, bob.id).await, Some(bob));
    assert_eq!(answers(&store, alice.id).await, Some(alice));
}

#[tokio::test]
async fn a_broken_network_is_unavailable_and_loses_nothing() {
    let server = Memcached::start();
    let relay = Relay::start(server.address());
    let store = open(&[relay.port()]);
    let row = row(1, "alice", 10);
    store.insert(row.clone()).await.unwrap();
    for mode in [Mode::BlackHole, Mode::Refuse] {
        relay.set(mode);
        assert!(is_unavailable(&store.load(row.id).await), "{mode:?}");
        assert!(is_unavailable(&store.remove(vec![row.id]).await), "{mode:?}");
        relay.set(Mode::Pass);
        assert_eq!(answers(&store, row.id).await, Some(row.clone()), "{mode:?}");
    }
    relay.set(Mode::Delay(Duration::from_millis(20)));
    assert_eq!(answers(&store, row.id).await, Some(row.clone()));
    relay.set(Mode::Cut);
    assert_eq!(answers(&store, row.id).await, Some(row));
}

#[tokio::test]
async fn of_two_servers_one_that_is_down_takes_only_its_own_sessions() {
    let (mut one, two) = (Memcached::start(), Memcached::start());
    let store = open(&[one.port(), two.port()]);
    let rows: Vec<Row> = (0..40)
        .map(|number| {
            let user = UserId::try_from(format!("user-{number}")).unwrap();
            Row { id: id(number), user, ..row(1, "alice", 10) }
        })
        .collect();
    for row in &rows {
        store.insert(row.clone()).await.unwrap();
    }
    one.kill();
    let (mut served, mut unavailable) = (0, 0);
    for row in &rows {
        match store.load(row.id).await {
            Ok(found) => {
                assert_eq!(found.as_ref(), Some(row), "down is not absent");
                served += 1;
            }
            Err(error) => {
                assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
                unavailable += 1;
            }
        }
    }
    // A session and its user each have a server.
    assert!(served > 2 && unavailable > 10, "{served} and {unavailable}");
    // What can be stored is stored although the rest cannot.
    let touches = rows.iter().map(|row| Touch {
        id: row.id,
        user: row.user.clone(),
        key: row.key,
        last_seen: row.last_seen + Duration::from_mins(1),
        expires_at: row.expires_at + Duration::from_mins(1),
        resealed: None,
    });
    assert!(is_unavailable(&store.touch(touches.collect()).await));
    let mut moved = 0;
    for row in &rows {
        if let Ok(Some(found)) = store.load(row.id).await {
            assert!(found.last_seen > row.last_seen);
            moved += 1;
        }
    }
    assert_eq!(moved, served);
}

#[tokio::test]
async fn a_removal_is_done_even_if_its_caller_goes_away() {
    let server = Memcached::start();
    let store = open(&[server.port()]);
    let row = row(1, "alice", 10);
    store.insert(row.clone()).await.unwrap();
    {
        let mut abandoned = store.remove(vec![row.id]);
        let polled = abandoned.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
        assert!(polled.is_pending());
    }
    let waiting = Stopwatch::start();
    while store.load(row.id).await.unwrap().is_some() {
        assert!(waiting.elapsed() < Duration::from_secs(5), "it is still there");
    }
}

#[tokio::test]
async fn a_caller_on_another_runtime_is_served_from_home() {
    let server = Memcached::start();
    let store = Arc::new(open(&[server.port()]));
    let row = row(1, "alice", 10);
    let (guest, wanted) = (Arc::clone(&store), row.clone());
    let elsewhere = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(guest.insert(wanted))
    });
    while !elsewhere.is_finished() {
        sleep(Duration::from_millis(1)).await;
    }
    elsewhere.join().unwrap().unwrap();
    assert_eq!(store.load(row.id).await, Ok(Some(row)));
}
