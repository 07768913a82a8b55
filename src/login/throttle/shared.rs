//! Meters that several gateways share, where they share their sessions.
//!
//! A server that is down or slow holds up nobody: each gateway then counts for itself, as it does anyway.
//! Invariant: nobody waits for the counters of others longer than [`DEADLINE`], and no fault opens a limit or
//! closes a login.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::timeout;

use super::redis::RedisMeters;
use super::sql::{MySqlMeters, PostgresMeters};
use super::{Claim, Release};
use crate::clock::Timestamp;
use crate::storage::{Meeting, sql};

/// Meters that all gateways see.
#[derive(Debug)]
pub(in crate::login) struct Shared {
    meters: Meters,
    is_down: AtomicBool,
}

impl Shared {
    /// None where nothing is shared. To be called on the runtime that its connections are to belong to; a
    /// server that is down is no error.
    pub(in crate::login) async fn open(meeting: &Meeting) -> Option<Self> {
        let meters = match meeting {
            Meeting::Nowhere => return None,
            Meeting::Redis(location) => Meters::Redis(RedisMeters::open(location.clone()).await),
            Meeting::Sql(location) => match location.engine() {
                sql::Engine::Postgres => Meters::Postgres(PostgresMeters::new(location)),
                sql::Engine::MySql => Meters::MySql(MySqlMeters::new(location)),
            },
        };
        Some(Self { meters, is_down: AtomicBool::new(false) })
    }

    /// Counts an attempt everywhere, or answers how long it must wait. Zero if there is no answer: then
    /// only what is counted here holds.
    pub(super) async fn take(&self, claims: &[Claim], now: Timestamp) -> Duration {
        let taking = async {
            match &self.meters {
                Meters::Redis(meters) => meters.take(claims, now).await,
                Meters::Postgres(meters) => meters.take(claims, now).await.map_err(|error| error.to_string()),
                Meters::MySql(meters) => meters.take(claims, now).await.map_err(|error| error.to_string()),
            }
        };
        let taken = timeout(DEADLINE, taking).await.unwrap_or_else(|_| Err("no answer in time".to_owned()));
        self.note(taken.as_ref().err().map(String::as_str));
        taken.unwrap_or_default()
    }

    /// Takes back what a success, or an attempt that was never looked at, has counted.
    pub(super) async fn release(&self, claims: &[Claim], release: Release, now: Timestamp) {
        let releasing = async {
            match &self.meters {
                Meters::Redis(meters) => meters.release(claims, release, now).await.is_ok(),
                Meters::Postgres(meters) => meters.release(claims, release, now).await.is_ok(),
                Meters::MySql(meters) => meters.release(claims, release, now).await.is_ok(),
            }
        };
        if !timeout(DEADLINE, releasing).await.unwrap_or(false) {
            tracing::debug!("a login stays counted as a failure at the other gateways for a while");
        }
    }

    pub(super) async fn close(&self) {
        match &self.meters {
            Meters::Redis(meters) => meters.close(),
            Meters::Postgres(meters) => meters.close().await,
            Meters::MySql(meters) => meters.close().await,
        }
    }

    /// Told once when it goes down and once when it is back.
    fn note(&self, fault: Option<&str>) {
        if self.is_down.swap(fault.is_some(), Ordering::Relaxed) == fault.is_some() {
            return;
        }
        if let Some(error) = fault {
            tracing::warn!(error, "failed logins are counted by each gateway for itself for a while");
        } else {
            tracing::info!("failed logins are counted by all gateways together again");
        }
    }
}

#[derive(Debug)]
enum Meters {
    Redis(RedisMeters),
    Postgres(PostgresMeters),
    MySql(MySqlMeters),
}

/// How long a login waits for the counters of others.
const DEADLINE: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::super::{Origin, Throttle, Wait};
    use super::*;
    use crate::clock::Clock;
    use crate::login::{Rate, ThrottleConfig};
    use crate::session::store::servers::mariadb::MariaDb;
    use crate::session::store::servers::postgres::Postgres;
    use crate::session::store::servers::redis::Redis as Server;
    use crate::storage::redis;

    const CONFIG: ThrottleConfig = ThrottleConfig {
        per_account: Rate { count: 3, period: Duration::from_mins(3) },
        per_address: Rate { count: 100, period: Duration::from_mins(1) },
    };
    const HOME: Origin = Origin::Stranger(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)));

    async fn throttle(meeting: &Meeting, clock: &Clock) -> Throttle {
        Throttle::new(CONFIG, clock.clone()).sharing(Shared::open(meeting).await)
    }

    fn in_redis(server: &Server) -> Meeting {
        Meeting::Redis(redis::Location::parse(&server.url()).unwrap())
    }

    #[tokio::test]
    async fn gateways_count_together_in_redis() {
        let server = Server::start();
        check(&in_redis(&server)).await;
    }

    #[tokio::test]
    async fn gateways_count_together_in_postgresql() {
        let server = Postgres::start();
        check(&Meeting::Sql(sql::Location::parse(&server.url()).unwrap())).await;
    }

    #[tokio::test]
    async fn gateways_count_together_in_mariadb() {
        let server = MariaDb::start();
        check(&Meeting::Sql(sql::Location::parse(&server.url()).unwrap())).await;
    }

    async fn check(meeting: &Meeting) {
        let (clock, hand) = Clock::movable();
        let (one, two) = (throttle(meeting, &clock).await, throttle(meeting, &clock).await);
        for throttle in [&one, &two, &one] {
            assert!(throttle.reserve("alice", HOME).await.is_ok());
        }
        for seconds in [1, 2, 4] {
            let wait = Some(Wait(Duration::from_secs(seconds)));
            // What it counted itself spares the second gateway the question, and may be less.
            assert!(two.reserve("alice", HOME).await.is_err());
            assert_eq!(one.reserve("ALICE", HOME).await.err(), wait);
            hand.advance(Duration::from_secs(seconds));
            assert!(two.reserve("alice", HOME).await.is_ok());
        }
        hand.advance(Duration::from_secs(8));
        one.reserve("alice", HOME).await.unwrap().succeeded().await;
        let (a, b, c, d) = tokio::join!(
            one.reserve("alice", HOME),
            two.reserve("alice", HOME),
            one.reserve("alice", HOME),
            two.reserve("alice", HOME),
        );
        let passed = [a, b, c, d].iter().filter(|reserved| reserved.is_ok()).count();
        assert_eq!(passed, 3, "parallel attempts at two gateways do not pass the limit");
        for _ in 0..10 {
            one.reserve("bob", HOME).await.unwrap().withdraw().await;
        }
        assert!(two.reserve("bob", HOME).await.is_ok(), "what was not looked at is counted by nobody");
    }

    #[tokio::test]
    async fn whoever_waits_at_one_limit_fills_no_other_in_redis() {
        let server = Server::start();
        let counters = in_redis(&server);
        let (clock, hand) = Clock::movable();
        let config = ThrottleConfig { per_address: Rate { count: 1, ..CONFIG.per_account }, ..CONFIG };
        let mut tries = 0;
        // Each gateway is new, so that none knows the wait without asking.
        for _ in 0..60 {
            let one = Throttle::new(config, clock.clone()).sharing(Shared::open(&counters).await);
            tries += usize::from(one.reserve("alice", HOME).await.is_ok());
            one.close().await;
        }
        assert_eq!(tries, 1, "the address has failed too often");
        hand.advance(Duration::from_secs(1));
        let other = throttle(&counters, &clock).await;
        for network in 0..29 {
            let from = Origin::Stranger(IpAddr::from([198, 51, network, 1]));
            assert!(other.reserve("alice", from).await.is_ok(), "the account has failed once: {network}");
        }
    }

    #[tokio::test]
    async fn a_redis_that_is_down_leaves_each_gateway_counting_for_itself() {
        let mut server = Server::start();
        let (clock, _) = Clock::movable();
        let one = throttle(&in_redis(&server), &clock).await;
        assert!(one.reserve("alice", HOME).await.is_ok());
        server.kill();
        for _ in 0..2 {
            assert!(one.reserve("alice", HOME).await.is_ok(), "never a lockout");
        }
        assert!(one.reserve("alice", HOME).await.is_err(), "never open");
    }
}
