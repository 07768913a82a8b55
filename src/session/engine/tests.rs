//! The engine with stores that wait, fail and lie.

mod ends;
mod upkeep;

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::header::COOKIE;
use tokio::sync::Notify;

use super::*;
use crate::clock::ClockHand;
use crate::identity::{AuthMethod, Identity};
use crate::session::binding::Device;
use crate::session::keyring::KeyId;
use crate::session::lifetime::{Ended, Remember};
use crate::session::proofs::Proofs;
use crate::session::store::memory::MemoryStore;
use crate::session::store::{Answer, Entry, Place, Row, Touch};
use crate::session::token::SessionId;
use crate::session::{Beyond, Limit, StoreKind};
use crate::telemetry::audit::{EventKind, Lines};

/// A memory store that a test holds up, breaks, or makes answer with another row.
#[derive(Clone)]
struct Odd(Arc<OddParts>);

struct OddParts {
    inner: MemoryStore,
    broken: AtomicBool,
    held: AtomicBool,
    arrived: Notify,
    release: Notify,
    lie: Mutex<Option<Row>>,
}

impl Odd {
    fn new() -> Self {
        Self(Arc::new(OddParts {
            inner: MemoryStore::new(),
            broken: AtomicBool::new(false),
            held: AtomicBool::new(false),
            arrived: Notify::new(),
            release: Notify::new(),
            lie: Mutex::new(None),
        }))
    }

    fn set_broken(&self, broken: bool) {
        self.0.broken.store(broken, Ordering::SeqCst);
    }

    async fn row(&self, id: SessionId) -> Option<Row> {
        self.0.inner.load(id).await.unwrap()
    }

    fn unless_broken<'a, T: Send + 'a>(&'a self, answer: Answer<'a, T>) -> Answer<'a, T> {
        if self.0.broken.load(Ordering::SeqCst) {
            return Box::pin(async { Err(StoreError::Unavailable("broken on purpose".to_owned())) });
        }
        answer
    }
}

impl SessionStore for Odd {
    fn insert(&self, row: Row) -> Answer<'_, ()> {
        self.unless_broken(Box::pin(async move { self.0.inner.insert(row).await }))
    }

    /// Reads first and waits then, so that what it answers may be out of date.
    fn load(&self, id: SessionId) -> Answer<'_, Option<Row>> {
        self.unless_broken(Box::pin(async move {
            let row = self.0.inner.load(id).await;
            if self.0.held.swap(false, Ordering::SeqCst) {
                self.0.arrived.notify_one();
                self.0.release.notified().await;
            }
            match self.0.lie.lock().unwrap().clone() {
                Some(lie) => Ok(Some(lie)),
                None => row,
            }
        }))
    }

    fn touch(&self, touches: Vec<Touch>) -> Answer<'_, ()> {
        self.unless_broken(Box::pin(async move { self.0.inner.touch(touches).await }))
    }

    fn remove(&self, ids: Vec<SessionId>) -> Answer<'_, Vec<SessionId>> {
        self.unless_broken(Box::pin(async move { self.0.inner.remove(ids).await }))
    }

    fn of_user(&self, user: UserId) -> Answer<'_, Vec<Entry>> {
        self.unless_broken(Box::pin(async move {
            let entries = self.0.inner.of_user(user).await;
            // A real store takes its time; others act meanwhile.
            tokio::task::yield_now().await;
            entries
        }))
    }

    fn remove_user(&self, user: UserId) -> Answer<'_, Vec<SessionId>> {
        self.unless_broken(Box::pin(async move { self.0.inner.remove_user(user).await }))
    }

    fn users(&self, now: Timestamp) -> Answer<'_, Vec<UserId>> {
        self.0.inner.users(now)
    }

    fn key_use(&self, now: Timestamp) -> Answer<'_, Vec<KeyUse>> {
        self.0.inner.key_use(now)
    }

    fn by_end(&self, after: Option<Place>, until: Timestamp, limit: usize) -> Answer<'_, Vec<Entry>> {
        self.0.inner.by_end(after, until, limit)
    }

    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        // Others may still use it: what is closed here is this process's way to it.
        Box::pin(std::future::ready(()))
    }
}

/// An engine with everything that a test may turn.
struct Bench {
    engine: Engine,
    store: Odd,
    hand: ClockHand,
    lines: Lines,
}

impl Bench {
    fn new() -> Self {
        let (clock, hand) = Clock::movable();
        let (audit, lines) = Audit::to_memory();
        let ring = Arc::new(KeyRing::generate(clock.now()));
        let store = Odd::new();
        let engine =
            Engine::with_store(Box::new(store.clone()), Form::Token, Policy::plain(), ring, clock, audit);
        Self { engine, store, hand, lines }
    }

    async fn login(&self, user: &str) -> (Ticket, Arc<Session>) {
        self.login_for(user, Remember::No).await
    }

    async fn login_for(&self, user: &str, remember: Remember) -> (Ticket, Arc<Session>) {
        let opened = self.engine.open(login(user, remember)).await.unwrap();
        (ticket(&self.engine, &opened.cookies), opened.session)
    }

    /// The same store and keys seen by a process that has just started.
    fn restarted(&self) -> Engine {
        let shared = &self.engine.shared;
        let (clock, audit) = (shared.clock.clone(), shared.audit.clone());
        Engine::with_store(
            Box::new(self.store.clone()),
            Form::Token,
            Policy::plain(),
            self.engine.ring(),
            clock,
            audit,
        )
    }

    async fn state(&self, ticket: &Ticket) -> &'static str {
        state(&self.engine, ticket).await
    }
}

pub(super) fn login(user: &str, remember: Remember) -> Login<'_> {
    Login {
        identity: Identity {
            user: UserId::try_from(user).unwrap(),
            groups: Vec::new(),
            name: None,
            email: None,
        },
        method: AuthMethod::Password,
        proofs: Proofs::default(),
        remember,
        device: DEVICE,
    }
}

/// The ticket in cookies that were set, as a browser shows it.
pub(super) fn ticket(engine: &Engine, cookies: &[HeaderValue]) -> Ticket {
    let pairs = cookies.iter().map(|cookie| cookie.to_str().unwrap().split(';').next().unwrap().to_owned());
    let line = HeaderValue::from_str(&pairs.collect::<Vec<_>>().join("; ")).unwrap();
    match engine.present(&HeaderMap::from_iter([(COOKIE, line)])) {
        Found::Valid(ticket) => ticket,
        other => panic!("{other:?}"),
    }
}

/// A ticket that nobody was given.
fn made_up() -> Ticket {
    Ticket { token: Token::generate(), generation: 0, key: KeyId::from_bytes([0; 4]), carried: None }
}

const DEVICE: Device<'static> =
    Device { user_agent: "test", address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)) };

pub(super) const VISIT: Visit<'static> =
    Visit { device: DEVICE, activity: Activity::Counts, request_id: "r" };

const fn minutes(count: u64) -> Duration {
    Duration::from_secs(count * 60)
}

pub(super) async fn state(engine: &Engine, ticket: &Ticket) -> &'static str {
    match engine.resume(ticket, VISIT).await {
        Ok(Resumed::Live(_)) => "live",
        Ok(Resumed::Expired(Ended::Idle)) => "idle",
        Ok(Resumed::Expired(Ended::Absolute)) => "absolute",
        Ok(Resumed::Gone) => "gone",
        Err(_) => "error",
    }
}

#[tokio::test]
async fn a_login_is_a_session_here_and_after_a_restart() {
    let bench = Bench::new();
    let (token, session) = bench.login("alice").await;
    assert_eq!(bench.state(&token).await, "live");
    let Ok(Resumed::Live(again)) = bench.restarted().resume(&token, VISIT).await else { panic!("gone") };
    assert_eq!(again.session.identity(), session.identity());
    assert_eq!(bench.lines.count(EventKind::SessionCreated), 1);
}

#[tokio::test]
async fn resuming_a_session_in_memory_is_ready_at_once_and_asks_no_store() {
    let bench = Bench::new();
    let (token, _) = bench.login("alice").await;
    bench.store.set_broken(true);
    let mut resuming = Box::pin(bench.engine.resume(&token, VISIT));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(resuming.as_mut().poll(&mut context).is_ready());
}

#[tokio::test]
async fn a_token_that_was_never_issued_is_not_adopted() {
    let bench = Bench::new();
    let made_up = made_up();
    assert_eq!(bench.state(&made_up).await, "gone");
    let (token, _) = bench.login("alice").await;
    assert_ne!(token.token.session(), made_up.token.session());
    assert_eq!(bench.state(&made_up).await, "gone");
    assert_eq!(bench.lines.count(EventKind::UseAfterEnd), 2);
}

#[tokio::test]
async fn a_store_that_cannot_answer_logs_nobody_out_and_lets_nobody_in() {
    let bench = Bench::new();
    let (token, _) = bench.login("alice").await;
    let restarted = bench.restarted();
    bench.store.set_broken(true);
    assert_eq!(state(&restarted, &token).await, "error");
    assert_eq!(state(&restarted, &made_up()).await, "error");
    assert!(bench.engine.open(login("bob", Remember::No)).await.is_err());
    bench.store.set_broken(false);
    assert_eq!(state(&restarted, &token).await, "live");
}

#[tokio::test]
async fn of_logins_at_the_same_moment_no_more_than_allowed_stay() {
    for beyond in [Beyond::Refuse, Beyond::EvictOldest] {
        let bench = Bench::new();
        let limit = Some(Limit { sessions: NonZeroUsize::new(2).unwrap(), beyond });
        bench.engine.reload(Policy { limit, ..Policy::plain() }, bench.engine.ring());
        let open = || bench.engine.open(login("alice", Remember::No));
        let opened = tokio::join!(open(), open(), open(), open());
        let refused =
            [&opened.0, &opened.1, &opened.2, &opened.3].into_iter().filter(|it| it.is_err()).count();
        assert_eq!(refused, if beyond == Beyond::Refuse { 2 } else { 0 });
        let alice = UserId::try_from("alice").unwrap();
        assert_eq!(bench.engine.sessions_of(&alice).await.unwrap().len(), 2, "{beyond:?}");
    }
}

#[tokio::test]
async fn limits_hold_for_sessions_in_memory_and_are_noted_once() {
    let bench = Bench::new();
    let (token, _) = bench.login("alice").await;
    for _ in 0..24 {
        bench.hand.advance(minutes(29));
        assert_eq!(bench.state(&token).await, "live");
    }
    bench.hand.advance(minutes(24));
    assert_eq!(bench.state(&token).await, "absolute");
    assert_eq!(bench.state(&token).await, "absolute", "a page asks several times");
    bench.engine.shared.flush().await.unwrap();
    assert!(bench.store.row(token.token.session()).await.is_none());
    assert_eq!(bench.state(&token).await, "gone");
    assert_eq!(bench.lines.count(EventKind::SessionExpired), 1);
}

#[tokio::test]
async fn a_peek_does_not_keep_a_session_alive() {
    let bench = Bench::new();
    let (token, _) = bench.login("alice").await;
    for _ in 0..2 {
        bench.hand.advance(Duration::from_millis(15 * 60_000 - 1));
        assert!(matches!(
            bench.engine.resume(&token, Visit { activity: Activity::DoesNotCount, ..VISIT }).await,
            Ok(Resumed::Live(_))
        ));
    }
    bench.hand.advance(minutes(1));
    assert_eq!(bench.state(&token).await, "idle");
}

#[tokio::test]
async fn a_reloaded_policy_and_ring_bite_at_the_next_request() {
    let bench = Bench::new();
    let (token, _) = bench.login("alice").await;
    let (other, _) = bench.login("bob").await;
    let mut strict = Policy::plain();
    strict.lifetimes.idle = minutes(5);
    let ring = bench.engine.ring();
    bench.hand.advance(minutes(4));
    assert_eq!(bench.state(&other).await, "live");
    bench.hand.advance(minutes(2));
    bench.engine.reload(strict.clone(), Arc::clone(&ring));
    assert_eq!(bench.state(&token).await, "idle");
    assert_eq!(bench.state(&other).await, "live");
    let now = bench.engine.shared.clock.now();
    let retired = ring.rotate(now).retire(ring.signer().id()).unwrap();
    bench.engine.reload(strict, Arc::new(retired));
    assert_eq!(bench.state(&other).await, "gone", "on a connection that is open, too");
}

#[tokio::test]
async fn a_store_that_swaps_two_answers_turns_nobody_into_another() {
    let bench = Bench::new();
    let (token, _) = bench.login("alice").await;
    let (_, bob) = bench.login("bob").await;
    let engine = bench.restarted();
    *bench.store.0.lie.lock().unwrap() = bench.store.row(bob.id()).await;
    assert_eq!(state(&engine, &token).await, "gone");
    assert_eq!(bench.lines.count(EventKind::RecordRefused), 1);
    *bench.store.0.lie.lock().unwrap() = None;
    assert_eq!(state(&engine, &token).await, "live", "a refused record is not deleted");
}

#[tokio::test]
async fn only_a_remembered_session_outlives_its_browser() {
    let bench = Bench::new();
    let age = |remember| {
        let engine = bench.engine.clone();
        async move {
            engine.open(login("alice", remember)).await.unwrap().cookies[0]
                .to_str()
                .unwrap()
                .contains("Max-Age")
        }
    };
    assert!(!age(Remember::No).await);
    assert!(age(Remember::Yes).await);
}

#[tokio::test]
async fn a_cookie_name_that_browsers_do_not_guard_stops_the_start() {
    let mut config = Config { store: StoreKind::Memory, policy: Policy::plain() };
    config.policy.cookie.name = "vestibule".to_owned();
    let ring = Arc::new(KeyRing::generate(Timestamp::default()));
    let refused = Engine::start(config, ring, Clock::system(), Audit::discard()).await.unwrap_err();
    assert!(refused.to_string().contains("__Host-"), "{refused}");
}

#[tokio::test]
async fn sessions_and_logouts_outlive_the_process_that_answered() {
    let folder = tempfile::tempdir().unwrap();
    let config =
        Config { store: StoreKind::Sqlite(folder.path().join("sessions.db")), policy: Policy::plain() };
    let ring = Arc::new(KeyRing::generate(Clock::system().now()));
    let start = || Engine::start(config.clone(), Arc::clone(&ring), Clock::system(), Audit::discard());
    let first = start().await.unwrap();
    let kept = first.open(login("alice", Remember::No)).await.unwrap().session;
    let ended = first.open(login("bob", Remember::No)).await.unwrap().session;
    first.end(&ended, EndReason::Logout).await.unwrap();
    // No stop: the process died.
    let second = start().await.unwrap();
    assert!(second.shared.store.load(kept.id()).await.unwrap().is_some());
    assert!(second.shared.store.load(ended.id()).await.unwrap().is_none());
    let uses = second.key_use().await.unwrap();
    assert_eq!(uses.iter().map(|it| (it.key, it.sessions)).collect::<Vec<_>>(), [(ring.signer().id(), 1)]);
    second.stop().await;
    first.stop().await;
}
