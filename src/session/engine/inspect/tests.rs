//! What an administrator sees, with stores that fail, keep no list or keep no records.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};

use http::header::{COOKIE, HeaderValue};

use super::*;
use crate::clock::{Clock, ClockHand};
use crate::identity::{AuthMethod, Identity, UserId};
use crate::session::engine::{EndReason, Login, Others};
use crate::session::store::memory::MemoryStore;
use crate::session::store::{Answer, Entry, KeyUse, Place, SessionStore, Touch};
use crate::session::{Device, IdPrefix, KeyRing, Policy, Proofs, Remember};
use crate::telemetry::audit::{Audit, EventKind, Lines};

struct Bench {
    engine: Engine,
    hand: ClockHand,
    lines: Lines,
}

impl Bench {
    fn new(store: impl SessionStore + 'static, form: Form) -> Self {
        let (clock, hand) = Clock::movable();
        let (audit, lines) = Audit::to_memory();
        let ring = Arc::new(KeyRing::generate(clock.now()));
        let engine = Engine::with_store(Box::new(store), form, Policy::plain(), ring, clock, audit);
        Self { engine, hand, lines }
    }

    /// A login; its session, and its cookies as the browser shows them.
    async fn login(&self, user: &str) -> (SessionId, HeaderMap) {
        let user = UserId::try_from(user).unwrap();
        let identity = Identity { user, groups: Vec::new(), name: None, email: None };
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let device = Device { user_agent: "test", address };
        let login = Login {
            identity,
            method: AuthMethod::Password,
            proofs: Proofs::default(),
            remember: Remember::No,
            device,
        };
        let opened = self.engine.open(login).await.unwrap();
        let pairs = opened.cookies.iter().map(|line| line.to_str().unwrap().split(';').next().unwrap());
        let line = HeaderValue::from_str(&pairs.collect::<Vec<_>>().join("; ")).unwrap();
        (opened.session.id(), HeaderMap::from_iter([(COOKIE, line)]))
    }

    async fn standing(&self, headers: &HeaderMap) -> Result<Standing, StoreError> {
        match self.engine.inspect(headers).await {
            Inspection::Session { standing, .. } => standing,
            other => panic!("{other:?}"),
        }
    }
}

/// Remembers who was ended, and nothing else.
#[derive(Default)]
struct DenyList(Mutex<HashSet<SessionId>>);

const NO_LIST: StoreError = StoreError::Unsupported("browsers keep the sessions");

fn answer<'a, T: Send + 'a>(answer: Result<T, StoreError>) -> Answer<'a, T> {
    Box::pin(std::future::ready(answer))
}

impl SessionStore for DenyList {
    fn insert(&self, _: Row) -> Answer<'_, ()> {
        answer(Ok(()))
    }
    fn load(&self, _: SessionId) -> Answer<'_, Option<Row>> {
        answer(Ok(None))
    }
    fn touch(&self, _: Vec<Touch>) -> Answer<'_, ()> {
        answer(Ok(()))
    }
    fn remove(&self, ids: Vec<SessionId>) -> Answer<'_, Vec<SessionId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(&ids);
        answer(Ok(ids))
    }
    fn of_user(&self, _: UserId) -> Answer<'_, Vec<Entry>> {
        answer(Err(NO_LIST))
    }
    fn remove_user(&self, _: UserId) -> Answer<'_, Vec<SessionId>> {
        answer(Ok(Vec::new()))
    }
    fn users(&self, _: Timestamp) -> Answer<'_, Vec<UserId>> {
        answer(Err(NO_LIST))
    }
    fn key_use(&self, _: Timestamp) -> Answer<'_, Vec<KeyUse>> {
        answer(Err(NO_LIST))
    }
    fn by_end(&self, _: Option<Place>, _: Timestamp, _: usize) -> Answer<'_, Vec<Entry>> {
        answer(Err(NO_LIST))
    }
    fn permits(&self, claim: Claim) -> Answer<'_, bool> {
        let denied = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        answer(Ok(!denied.contains(&claim.id)))
    }
    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::ready(()))
    }
}

#[tokio::test]
async fn looking_leaves_no_trace() {
    let bench = Bench::new(MemoryStore::new(), Form::Token);
    let (id, cookies) = bench.login("alice").await;
    assert!(matches!(bench.standing(&cookies).await, Ok(Standing::Live(_))));
    bench.hand.advance(bench.engine.policy().lifetimes.idle);
    let expired = bench.standing(&cookies).await;
    assert!(matches!(expired, Ok(Standing::Expired(Ended::Idle, Some(_)))), "{expired:?}");
    assert_eq!(bench.engine.end_by_id(id, EndReason::Logout).await, Ok(1));
    assert!(matches!(bench.standing(&cookies).await, Ok(Standing::Absent)));
    assert_eq!((bench.lines.all().len(), bench.lines.count(EventKind::SessionEnded)), (2, 1));
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_no_verdict_on_a_session() {
    let bench = Bench::new(MemoryStore::new(), Form::Token);
    let (id, cookies) = bench.login("alice").await;
    bench.engine.stop().await;
    assert!(matches!(bench.standing(&cookies).await, Err(StoreError::Unavailable(_))));
    assert!(matches!(bench.engine.standing(id).await, Err(StoreError::Unavailable(_))));
}

#[tokio::test]
async fn a_session_that_its_browser_keeps_is_known_by_its_cookie() {
    let bench = Bench::new(DenyList::default(), Form::Record);
    let (id, cookies) = bench.login("alice").await;
    bench.engine.shared.cache.lose(id);
    assert!(matches!(bench.engine.standing(id).await, Ok(Standing::Absent)), "only its browser knows it");
    match bench.standing(&cookies).await {
        Ok(Standing::Live(session)) => assert_eq!(session.identity().user.as_str(), "alice"),
        other => panic!("{other:?}"),
    }
    assert_eq!(bench.engine.end_by_id(id, EndReason::Revoked).await, Ok(1));
    assert!(matches!(bench.standing(&cookies).await, Ok(Standing::Ended)));
    assert_eq!(bench.lines.count(EventKind::UseAfterEnd), 0);
}

#[tokio::test]
async fn a_store_without_a_list_says_so() {
    let bench = Bench::new(DenyList::default(), Form::Record);
    let (id, _) = bench.login("alice").await;
    let known = bench.engine.known_of(&UserId::try_from("alice").unwrap()).await.unwrap();
    assert_eq!((known.sessions.len(), known.others), (1, Others::Perhaps("browsers keep the sessions")));
    let prefix: IdPrefix = id.to_string().parse().unwrap();
    assert_eq!(bench.engine.named(&prefix).await, Err(NO_LIST));
    assert_eq!(bench.engine.named(&id.to_hex().parse().unwrap()).await, Ok(vec![id]));
    assert_eq!(bench.engine.end_all(EndReason::Revoked).await, Err(NO_LIST));
    assert_eq!(bench.engine.stats().await, Err(NO_LIST));
}

#[tokio::test]
async fn more_sessions_than_one_step_are_found_counted_and_ended_each_with_its_line() {
    const MANY: usize = 2_003;
    let bench = Bench::new(MemoryStore::new(), Form::Token);
    let mut ids = Vec::new();
    for number in 0..MANY {
        bench.hand.advance(std::time::Duration::from_millis(1));
        ids.push(bench.login(&format!("user-{}", number % 7)).await.0);
    }
    for id in [ids[0], ids[999], ids[1_000], ids[MANY - 1]] {
        assert_eq!(bench.engine.named(&id.to_string().parse().unwrap()).await, Ok(vec![id]));
    }
    let stats = bench.engine.stats().await.unwrap();
    assert_eq!((stats.live, stats.users, stats.cached), (MANY as u64, 7, MANY));
    match bench.engine.standing(ids[0]).await {
        Ok(Standing::Live(first)) => assert_eq!(stats.oldest, Some(first.created())),
        other => panic!("{other:?}"),
    }
    assert_eq!(bench.engine.end_all(EndReason::Revoked).await, Ok(MANY));
    assert_eq!(bench.lines.count(EventKind::SessionRevoked), MANY);
    assert_eq!((bench.engine.cached(), bench.engine.stats().await.unwrap().live), (0, 0));
    assert_eq!(bench.engine.end_all(EndReason::Revoked).await, Ok(0));
}
