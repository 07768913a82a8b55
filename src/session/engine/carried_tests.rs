//! Two engines whose sessions are in the browsers' cookies, over one deny list that tells of changes.

use std::pin::Pin;
use std::time::Duration;

use super::tests::{VISIT, login, ticket};
use super::*;
use crate::clock::{ClockHand, Timestamp};
use crate::identity::UserId;
use crate::session::lifetime::{Ended, Remember};
use crate::session::store::memory::MemoryStore;
use crate::session::store::sealed::SealedStore;
use crate::session::store::{Answer, Entry, Listener, Place, Row, Sharing, Touch};
use crate::session::token::SessionId;

#[tokio::test]
async fn a_logout_on_one_gateway_is_one_on_the_other_at_once() {
    let house = House::new();
    let mut browser = house.sign_in("alice").await;
    assert_eq!([house.ask(0, &mut browser).await, house.ask(1, &mut browser).await], ["live", "live"]);
    house.engines[0].end_by_id(browser.token.session(), EndReason::Logout).await.unwrap();
    house.settled().await;
    assert_eq!([house.ask(0, &mut browser).await, house.ask(1, &mut browser).await], ["gone", "gone"]);
}

#[tokio::test]
async fn the_end_of_a_user_reaches_sessions_in_the_memory_of_every_gateway_and_nobody_elses() {
    let house = House::new();
    let (mut alice, mut bob) = (house.sign_in("alice").await, house.sign_in("bob").await);
    for engine in [0, 1] {
        assert_eq!(
            [house.ask(engine, &mut alice).await, house.ask(engine, &mut bob).await],
            ["live", "live"]
        );
    }
    let user = UserId::try_from("alice").unwrap();
    house.engines[0].end_user(&user, EndReason::AccountDisabled).await.unwrap();
    house.settled().await;
    for engine in [0, 1] {
        assert_eq!(
            [house.ask(engine, &mut alice).await, house.ask(engine, &mut bob).await],
            ["gone", "live"]
        );
    }
}

#[tokio::test]
async fn a_session_that_is_read_while_its_user_is_ended_does_not_stay() {
    let house = House::new();
    let mut alice = house.sign_in("alice").await;
    // The mark is asked for before the end, and its answer comes after it.
    house.marks.hold.store(true, Ordering::SeqCst);
    let reader = {
        let (engine, ticket) = (house.engines[1].clone(), alice.clone());
        tokio::spawn(async move { engine.resume(&ticket, VISIT).await.is_ok() })
    };
    house.marks.arrived.notified().await;
    let user = UserId::try_from("alice").unwrap();
    house.engines[1].end_user(&user, EndReason::AccountDisabled).await.unwrap();
    house.marks.release.notify_one();
    reader.await.unwrap();
    assert_eq!(house.ask(1, &mut alice).await, "gone");
}

#[tokio::test]
async fn activity_on_one_gateway_counts_on_the_other_and_an_expiry_is_nobody_elses() {
    let house = House::new();
    let mut browser = house.sign_in("alice").await;
    assert_eq!(house.ask(0, &mut browser).await, "live");
    for _ in 0..4 {
        house.hand.advance(Duration::from_mins(10));
        assert_eq!(house.ask(1, &mut browser).await, "live");
    }
    assert_eq!(house.ask(0, &mut browser).await, "live", "40 minutes after its last request here");
    let mut copy = browser.clone();
    house.hand.advance(Duration::from_mins(29));
    assert_eq!(house.ask(1, &mut browser).await, "live");
    house.hand.advance(Duration::from_mins(2));
    assert_eq!(house.ask(0, &mut copy).await, "idle", "an old copy of the cookie");
    house.engines[0].shared.flush().await.unwrap();
    house.settled().await;
    assert_eq!(house.ask(1, &mut browser).await, "live");
}

#[tokio::test]
async fn a_mark_that_a_failover_lost_is_set_again() {
    let house = House::new();
    let mut browser = house.sign_in("alice").await;
    house.engines[0].end_by_id(browser.token.session(), EndReason::Logout).await.unwrap();
    house.marks.store.remove(vec![browser.token.session()]).await.unwrap();
    house.marks.tell(|listener| listener.began());
    house.settled().await;
    assert_eq!([house.ask(0, &mut browser).await, house.ask(1, &mut browser).await], ["gone", "gone"]);
}

#[tokio::test]
async fn marks_that_cannot_be_read_for_a_moment_cost_a_moment() {
    let house = House::new();
    let mut browser = house.sign_in("alice").await;
    assert_eq!(house.ask(1, &mut browser).await, "live");
    house.marks.broken.store(true, Ordering::SeqCst);
    house.marks.tell(|listener| listener.changed(SessionId::from_bytes([9; 32])));
    house.settled().await;
    assert_eq!(house.ask(1, &mut browser).await, "error", "nobody knows whose end it was");
    house.marks.broken.store(false, Ordering::SeqCst);
    assert_eq!(house.ask(1, &mut browser).await, "live");
    house.marks.broken.store(true, Ordering::SeqCst);
    assert_eq!(house.ask(1, &mut browser).await, "live", "it is certain again");
}

/// Two gateways.
struct House {
    engines: [Engine; 2],
    marks: Arc<Marks>,
    hand: ClockHand,
}

impl House {
    fn new() -> Self {
        let (clock, hand) = Clock::movable();
        let ring = Arc::new(KeyRing::generate(clock.now()));
        let marks = Arc::new(Marks::default());
        let engine = || {
            let marks: Arc<dyn SessionStore> = Arc::new(Way(Arc::clone(&marks)));
            let store = SealedStore::new(marks, clock.clone(), Duration::from_hours(12));
            let (policy, ring, clock) = (Policy::plain(), Arc::clone(&ring), clock.clone());
            Engine::with_store(Box::new(store), Form::Record, policy, ring, clock, Audit::discard())
        };
        Self { engines: [engine(), engine()], marks, hand }
    }

    async fn sign_in(&self, user: &str) -> Ticket {
        let opened = self.engines[0].open(login(user, Remember::No)).await.unwrap();
        // So that a mark of this very moment is later than the session.
        self.hand.advance(Duration::from_millis(1));
        ticket(&self.engines[0], &opened.cookies)
    }

    /// A request of a browser that keeps the cookies it is given.
    async fn ask(&self, engine: usize, browser: &mut Ticket) -> &'static str {
        match self.engines[engine].resume(browser, VISIT).await {
            Ok(Resumed::Live(live)) => {
                let cookies = live.renewal.map(Renewal::into_cookies).unwrap_or_default();
                if !cookies.is_empty() {
                    *browser = ticket(&self.engines[engine], &cookies);
                }
                "live"
            }
            Ok(Resumed::Expired(Ended::Idle)) => "idle",
            Ok(Resumed::Expired(Ended::Absolute)) => "absolute",
            Ok(Resumed::Gone) => "gone",
            Err(_) => "error",
        }
    }

    /// Lets every task that is ready run.
    async fn settled(&self) {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }
}

/// A deny list that several gateways share, and that tells them of changes.
struct Marks {
    store: MemoryStore,
    listeners: Mutex<Vec<Arc<dyn Listener>>>,
    broken: std::sync::atomic::AtomicBool,
    hold: std::sync::atomic::AtomicBool,
    arrived: tokio::sync::Notify,
    release: tokio::sync::Notify,
}

impl Default for Marks {
    fn default() -> Self {
        Self {
            store: MemoryStore::new(),
            listeners: Mutex::default(),
            broken: false.into(),
            hold: false.into(),
            arrived: tokio::sync::Notify::new(),
            release: tokio::sync::Notify::new(),
        }
    }
}

impl Marks {
    fn tell(&self, news: impl Fn(&dyn Listener)) {
        for listener in self.listeners.lock().unwrap().iter() {
            news(&**listener);
        }
    }

    fn check(&self) -> Result<(), StoreError> {
        if self.broken.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable("broken on purpose".to_owned()));
        }
        Ok(())
    }
}

/// One gateway's way to the deny list.
struct Way(Arc<Marks>);

impl SessionStore for Way {
    fn insert(&self, row: Row) -> Answer<'_, ()> {
        Box::pin(async move {
            self.0.check()?;
            let id = row.id;
            self.0.store.insert(row).await?;
            self.0.tell(|listener| listener.changed(id));
            Ok(())
        })
    }

    fn load(&self, id: SessionId) -> Answer<'_, Option<Row>> {
        Box::pin(async move {
            self.0.check()?;
            self.0.store.load(id).await
        })
    }

    fn touch(&self, touches: Vec<Touch>) -> Answer<'_, ()> {
        self.0.store.touch(touches)
    }

    fn remove(&self, ids: Vec<SessionId>) -> Answer<'_, Vec<SessionId>> {
        self.0.store.remove(ids)
    }

    fn of_user(&self, user: UserId) -> Answer<'_, Vec<Entry>> {
        Box::pin(async move {
            self.0.check()?;
            let found = self.0.store.of_user(user).await;
            if self.0.hold.swap(false, Ordering::SeqCst) {
                self.0.arrived.notify_one();
                self.0.release.notified().await;
            }
            found
        })
    }

    fn remove_user(&self, user: UserId) -> Answer<'_, Vec<SessionId>> {
        self.0.store.remove_user(user)
    }

    fn users(&self, now: Timestamp) -> Answer<'_, Vec<UserId>> {
        self.0.store.users(now)
    }

    fn key_use(&self, now: Timestamp) -> Answer<'_, Vec<KeyUse>> {
        self.0.store.key_use(now)
    }

    fn by_end(&self, after: Option<Place>, until: Timestamp, limit: usize) -> Answer<'_, Vec<Entry>> {
        self.0.store.by_end(after, until, limit)
    }

    fn share(&self, listener: Arc<dyn Listener>) -> Sharing {
        listener.began();
        self.0.listeners.lock().unwrap().push(listener);
        Sharing::Told
    }

    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::ready(()))
    }
}
