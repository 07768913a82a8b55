//! The engine on a Redis, which counts what it is asked.

use std::time::Duration;

use super::tests::{login, state, ticket};
use super::*;
use crate::clock::Timestamp;
use crate::session::StoreKind;
use crate::session::lifetime::Remember;
use crate::session::store::servers::redis::Redis as Server;
use crate::storage::redis::Location;

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_not_in_memory_is_one_round_trip_and_every_other_request_is_none() {
    let stand = Stand::new();
    let first = stand.engine().await;
    let (alice, bob) = (sign_in(&first, "alice").await, sign_in(&first, "bob").await);
    // A gateway that has just started. Its first load teaches Redis the script.
    let second = stand.engine().await;
    assert_eq!(state(&second, &alice).await, "live");
    stand.forget_counts();
    assert_eq!(state(&second, &bob).await, "live");
    // The two keys of a session are read within the script.
    let once = [("evalsha".to_owned(), 1), ("get".to_owned(), 2)];
    assert_eq!(stand.counts(), once);
    for _ in 0..1_000 {
        assert_eq!(state(&second, &bob).await, "live");
    }
    assert_eq!(stand.counts(), once);
}

#[tokio::test(flavor = "multi_thread")]
async fn activity_is_one_write_a_session_and_flush_however_many_requests_there_were() {
    let stand = Stand::new();
    let engine = stand.engine().await;
    eventually(|| engine.shared.freshness.present(Timestamp::default()).epoch % 2 == 1).await;
    let mut tickets = Vec::new();
    for number in 0..50 {
        tickets.push(sign_in(&engine, &format!("person{number}")).await);
    }
    // Redis tells of each login, in their order, and what it tells of is read once more.
    let last = tickets[49].token.session();
    eventually(|| engine.shared.cache.get(last).unwrap().verified().is_none()).await;
    for ticket in &tickets {
        assert_eq!(state(&engine, ticket).await, "live");
    }
    // The first flush teaches Redis the script.
    engine.shared.flush().await.unwrap();
    stand.forget_counts();
    for _ in 0..20 {
        for ticket in &tickets {
            assert_eq!(state(&engine, ticket).await, "live");
        }
    }
    assert_eq!(stand.counts(), []);
    engine.shared.flush().await.unwrap();
    assert_eq!(stand.count("evalsha"), 50);
    assert_eq!(stand.count("set"), 50);
    engine.shared.flush().await.unwrap();
    assert_eq!(stand.count("evalsha"), 50, "nothing happened since");
}

/// A Redis, and keys and a time that several engines on it share. Nothing is done beside requests, so that
/// what is counted is theirs.
struct Stand {
    server: Server,
    clock: Clock,
    ring: Arc<KeyRing>,
}

impl Stand {
    fn new() -> Self {
        let (clock, _stands_still) = Clock::movable();
        let ring = Arc::new(KeyRing::generate(clock.now()));
        Self { server: Server::start(), clock, ring }
    }

    async fn engine(&self) -> Engine {
        let (policy, clock) = (Policy::plain(), self.clock.clone());
        let kind = StoreKind::Redis(Location::parse(&self.server.url()).unwrap());
        let (store, form) = store::open::open(&kind, &clock, policy.lifetimes.longest()).await.unwrap();
        Engine::with_store(store, form, policy, Arc::clone(&self.ring), clock, Audit::discard())
    }

    fn forget_counts(&self) {
        self.server.command(["CONFIG", "RESETSTAT"]);
    }

    /// The commands since then about sessions, and how often they came.
    fn counts(&self) -> Vec<(String, u64)> {
        let told = self.server.command(["INFO", "commandstats"]);
        let commands = told.lines().filter_map(|line| line.strip_prefix("cmdstat_")?.split_once(":calls="));
        let counts = commands.map(|(name, rest)| (name, rest.split(',').next().unwrap().parse().unwrap()));
        // The test's own questions, and the signs of life of connections.
        let others =
            |name: &str| ["info", "config", "ping", "hello", "client"].iter().any(|it| name.starts_with(it));
        let mut counts: Vec<_> =
            counts.filter(|(name, _)| !others(name)).map(|(name, count)| (name.to_owned(), count)).collect();
        counts.sort();
        counts
    }

    fn count(&self, command: &str) -> u64 {
        self.counts().iter().find(|(name, _)| name == command).map_or(0, |(_, count)| *count)
    }
}

/// Waits, for some seconds at most, until `is_so`.
async fn eventually(is_so: impl Fn() -> bool) {
    for _ in 0..1_000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never was so");
}

async fn sign_in(engine: &Engine, user: &str) -> Ticket {
    ticket(engine, &engine.open(login(user, Remember::No)).await.unwrap().cookies)
}
