//! Stands before a store that may hang or fail: every call has a deadline, and a store that keeps
//! failing is left alone until it answers again.
//!
//! What an answer means is left to the caller. Invariants: while the store is down, calls are answered
//! at once and only one probe at a time reaches it; no more than [`IN_FLIGHT`] calls wait for it; the log
//! hears of changes, not of requests.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::clock::{Stopwatch, Timestamp};
use crate::identity::UserId;

use super::{Answer, Claim, Entry, KeyUse, Listener, Place, Row, SessionStore, Sharing, StoreError, Touch};
use crate::session::token::{SessionId, Token};

/// A store with a deadline for every call and a circuit breaker.
///
/// A call whose deadline passed may have been done or not. Callers may be on any runtime.
pub(crate) struct Guarded {
    guard: Arc<Guard>,
    prober: JoinHandle<()>,
    control: Handle,
}

impl Guarded {
    /// Guards `store`. To be called on the runtime that its connections are to belong to.
    pub(crate) fn new(store: Box<dyn SessionStore>) -> Self {
        let breaker = Breaker { health: Mutex::default(), opened: Notify::new() };
        let guard = Arc::new(Guard { store, places: Semaphore::new(IN_FLIGHT), breaker });
        let prober = tokio::spawn(probe_while_down(Arc::clone(&guard)));
        Self { guard, prober, control: Handle::current() }
    }

    /// Why the store is left alone; nothing while it answers.
    #[cfg(test)]
    fn down(&self) -> Option<String> {
        self.guard.breaker.health().down.clone()
    }

    /// Calls on the runtime that the store's connections belong to. A call goes on to its end even if
    /// nobody waits for it any more.
    fn ask<T: Send + 'static>(
        &self,
        limit: Duration,
        call: impl for<'a> FnOnce(&'a dyn SessionStore) -> Answer<'a, T> + Send + 'static,
    ) -> Answer<'_, T> {
        Box::pin(async move {
            let begin = self.guard.breaker.admit()?;
            let guard = Arc::clone(&self.guard);
            let asked = self.control.spawn(async move {
                let Ok(_place) = guard.places.try_acquire() else {
                    return Err(StoreError::Unavailable("too many wait for the store".to_owned()));
                };
                guard.watch(begin, limit, call(&*guard.store)).await
            });
            asked.await.unwrap_or_else(|error| Err(StoreError::Unavailable(error.to_string())))
        })
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.prober.abort();
    }
}

impl SessionStore for Guarded {
    fn insert(&self, row: Row) -> Answer<'_, ()> {
        self.ask(ONE, move |store| store.insert(row))
    }

    fn load(&self, id: SessionId) -> Answer<'_, Option<Row>> {
        self.ask(ONE, move |store| store.load(id))
    }

    fn touch(&self, touches: Vec<Touch>) -> Answer<'_, ()> {
        self.ask(MANY, move |store| store.touch(touches))
    }

    fn remove(&self, ids: Vec<SessionId>) -> Answer<'_, Vec<SessionId>> {
        let limit = if ids.len() > 1 { MANY } else { ONE };
        self.ask(limit, move |store| store.remove(ids))
    }

    fn of_user(&self, user: UserId) -> Answer<'_, Vec<Entry>> {
        self.ask(MANY, move |store| store.of_user(user))
    }

    fn remove_user(&self, user: UserId) -> Answer<'_, Vec<SessionId>> {
        self.ask(MANY, move |store| store.remove_user(user))
    }

    fn users(&self, now: Timestamp) -> Answer<'_, Vec<UserId>> {
        self.ask(MANY, move |store| store.users(now))
    }

    fn key_use(&self, now: Timestamp) -> Answer<'_, Vec<KeyUse>> {
        self.ask(MANY, move |store| store.key_use(now))
    }

    fn by_end(&self, after: Option<Place>, until: Timestamp, limit: usize) -> Answer<'_, Vec<Entry>> {
        self.ask(MANY, move |store| store.by_end(after, until, limit))
    }

    fn permits(&self, claim: Claim) -> Answer<'_, bool> {
        self.ask(ONE, move |store| store.permits(claim))
    }

    fn tidy(&self, now: Timestamp) -> Answer<'_, usize> {
        self.ask(MANY, move |store| store.tidy(now))
    }

    fn share(&self, listener: Arc<dyn Listener>) -> Sharing {
        self.guard.store.share(listener)
    }

    fn is_down(&self) -> bool {
        self.guard.breaker.health().down.is_some()
    }

    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.guard.breaker.close();
        self.prober.abort();
        self.guard.store.close()
    }
}

/// What the guarded store and its prober share.
struct Guard {
    store: Box<dyn SessionStore>,
    places: Semaphore,
    breaker: Breaker,
}

impl Guard {
    /// Waits for an answer until the deadline, and lets the breaker know.
    async fn watch<T>(&self, begin: Begin, limit: Duration, answer: Answer<'_, T>) -> Result<T, StoreError> {
        let late = |_| Err(StoreError::Unavailable(format!("no answer within {limit:?}")));
        let answer = timeout(limit, answer).await.unwrap_or_else(late);
        match &answer {
            Err(StoreError::Unavailable(reason)) => self.breaker.note_failure(begin, reason),
            Ok(_) | Err(StoreError::Corrupt(_) | StoreError::Unsupported(_)) => self.breaker.note_answer(),
        }
        answer
    }

    /// Asks for a session that nobody has. Its answer is the breaker's to judge.
    async fn probe(&self) {
        let begin = self.breaker.begin();
        let nobodys = Token::generate().session();
        let _judged = self.watch(begin, ONE, self.store.load(nobodys)).await;
    }
}

/// Opens when calls fail in a row, and closes at the first answer.
struct Breaker {
    health: Mutex<Health>,
    /// Wakes the prober.
    opened: Notify,
}

impl Breaker {
    /// Lets a call through while the store answers.
    fn admit(&self) -> Result<Begin, StoreError> {
        let health = self.health();
        match &health.down {
            _ if health.closed => Err(StoreError::Unavailable("it is closed".to_owned())),
            Some(reason) => Err(StoreError::Unavailable(reason.clone())),
            None => Ok(Begin(health.answers)),
        }
    }

    fn begin(&self) -> Begin {
        Begin(self.health().answers)
    }

    fn note_answer(&self) {
        let mut health = self.health();
        health.answers = health.answers.wrapping_add(1);
        health.row = None;
        if health.down.take().is_some() {
            tracing::warn!("session store answers again");
        }
    }

    fn note_failure(&self, begin: Begin, reason: &str) {
        let mut health = self.health();
        // What began before the last answer tells nothing about the time after it: calls that hung
        // while the store was down would otherwise open the breaker again.
        if health.closed || begin.0 != health.answers {
            return;
        }
        let row = health.row.get_or_insert_with(FailureRow::begin);
        row.count = row.count.saturating_add(1);
        let is_down = row.count >= FAILURES || row.since.elapsed() >= FAILING_FOR;
        if let Some(down) = &mut health.down {
            reason.clone_into(down);
        } else if is_down {
            tracing::error!(reason, "session store is down");
            health.down = Some(reason.to_owned());
            self.opened.notify_one();
        }
    }

    /// From now on no call is let through, and nothing is told to the log.
    fn close(&self) {
        self.health().closed = true;
    }

    fn is_open(&self) -> bool {
        self.health().down.is_some()
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Default)]
struct Health {
    /// How often the store answered.
    answers: u64,
    /// The failures since its last answer.
    row: Option<FailureRow>,
    /// Why it is left alone.
    down: Option<String>,
    closed: bool,
}

struct FailureRow {
    count: u32,
    since: Stopwatch,
}

impl FailureRow {
    fn begin() -> Self {
        Self { count: 0, since: Stopwatch::start() }
    }
}

/// How many answers there had been when a call began.
#[derive(Clone, Copy)]
struct Begin(u64);

async fn probe_while_down(guard: Arc<Guard>) {
    loop {
        guard.breaker.opened.notified().await;
        while guard.breaker.is_open() {
            sleep(PROBE_EVERY).await;
            guard.probe().await;
        }
    }
}

/// How long a call about one session may take, and one about many.
const ONE: Duration = Duration::from_secs(1);
const MANY: Duration = Duration::from_secs(5);
/// The store is down after so many failures in a row, or when they have lasted so long.
const FAILURES: u32 = 3;
const FAILING_FOR: Duration = Duration::from_secs(1);
const PROBE_EVERY: Duration = Duration::from_millis(500);
/// How many calls may wait for the store.
const IN_FLIGHT: usize = 512;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::session::store::conformance::{self, Lists};
    use crate::session::store::memory::MemoryStore;

    #[derive(Clone, Copy)]
    enum Mood {
        Answer,
        Refuse,
        Hang,
        Corrupt,
        Slow(Duration),
    }

    /// A store that holds nothing and does as it is told.
    #[derive(Clone)]
    struct Moody(Arc<(Mutex<Mood>, AtomicUsize)>);

    impl Moody {
        fn new(mood: Mood) -> Self {
            Self(Arc::new((Mutex::new(mood), AtomicUsize::new(0))))
        }

        fn set(&self, mood: Mood) {
            *self.0.0.lock().unwrap() = mood;
        }

        fn calls(&self) -> usize {
            self.0.1.load(Ordering::SeqCst)
        }

        fn answer<T: Default + Send + 'static>(&self) -> Answer<'_, T> {
            self.0.1.fetch_add(1, Ordering::SeqCst);
            let mood = *self.0.0.lock().unwrap();
            Box::pin(async move {
                match mood {
                    Mood::Answer => Ok(T::default()),
                    Mood::Refuse => Err(StoreError::Unavailable("refused".to_owned())),
                    Mood::Hang => std::future::pending().await,
                    Mood::Corrupt => Err(StoreError::Corrupt("junk".to_owned())),
                    Mood::Slow(time) => {
                        sleep(time).await;
                        Ok(T::default())
                    }
                }
            })
        }
    }

    impl SessionStore for Moody {
        fn insert(&self, _: Row) -> Answer<'_, ()> {
            self.answer()
        }
        fn load(&self, _: SessionId) -> Answer<'_, Option<Row>> {
            self.answer()
        }
        fn touch(&self, _: Vec<Touch>) -> Answer<'_, ()> {
            self.answer()
        }
        fn remove(&self, _: Vec<SessionId>) -> Answer<'_, Vec<SessionId>> {
            self.answer()
        }
        fn of_user(&self, _: UserId) -> Answer<'_, Vec<Entry>> {
            self.answer()
        }
        fn remove_user(&self, _: UserId) -> Answer<'_, Vec<SessionId>> {
            self.answer()
        }
        fn users(&self, _: Timestamp) -> Answer<'_, Vec<UserId>> {
            self.answer()
        }
        fn key_use(&self, _: Timestamp) -> Answer<'_, Vec<KeyUse>> {
            self.answer()
        }
        fn by_end(&self, _: Option<Place>, _: Timestamp, _: usize) -> Answer<'_, Vec<Entry>> {
            self.answer()
        }
        fn share(&self, _: Arc<dyn Listener>) -> Sharing {
            Sharing::Untold
        }
        fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
            Box::pin(async move { self.set(Mood::Refuse) })
        }
    }

    fn guarded(mood: Mood) -> (Moody, Arc<Guarded>) {
        let store = Moody::new(mood);
        (store.clone(), Arc::new(Guarded::new(Box::new(store))))
    }

    fn id() -> SessionId {
        SessionId::from_bytes([7; 32])
    }

    async fn fail(store: &Guarded, times: u32) {
        for _ in 0..times {
            assert!(matches!(store.load(id()).await, Err(StoreError::Unavailable(_))));
        }
    }

    fn is_down(store: &Guarded) -> bool {
        store.down().is_some()
    }

    /// Lets the paused time go on until the store is up again.
    async fn recovered(store: &Guarded) {
        let up = async {
            while is_down(store) {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(5), up).await.expect("no recovery within 5 s");
    }

    #[tokio::test]
    async fn it_keeps_the_contract_of_a_store() {
        let open = || async { Guarded::new(Box::new(MemoryStore::new())) };
        conformance::check(Lists::Everything, open).await;
    }

    #[tokio::test(start_paused = true)]
    async fn three_failures_in_a_row_open_it_and_then_the_store_is_left_alone() {
        let (inner, store) = guarded(Mood::Refuse);
        fail(&store, 2).await;
        assert!(!is_down(&store));
        fail(&store, 1).await;
        let reason = store.down().expect("it is down");
        assert_eq!(reason, "refused");
        fail(&store, 100).await;
        assert_eq!(inner.calls(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_in_between_keeps_it_closed() {
        let (inner, store) = guarded(Mood::Refuse);
        for _ in 0..5 {
            inner.set(Mood::Refuse);
            fail(&store, 2).await;
            inner.set(Mood::Answer);
            assert_eq!(store.load(id()).await, Ok(None));
        }
        assert!(!is_down(&store));
    }

    #[tokio::test]
    async fn failures_that_last_a_second_open_it_before_there_are_three() {
        let (_inner, store) = guarded(Mood::Hang);
        fail(&store, 1).await;
        assert!(!is_down(&store));
        fail(&store, 1).await;
        assert!(is_down(&store));
    }

    #[tokio::test(start_paused = true)]
    async fn a_row_that_cannot_be_read_is_an_answer() {
        let (_inner, store) = guarded(Mood::Corrupt);
        for _ in 0..9 {
            assert_eq!(store.load(id()).await, Err(StoreError::Corrupt("junk".to_owned())));
        }
        assert!(!is_down(&store));
    }

    #[tokio::test(start_paused = true)]
    async fn a_hanging_store_is_unavailable_at_the_deadline_of_the_call() {
        let (_inner, store) = guarded(Mood::Hang);
        let almost = Duration::from_millis(999);
        let mut one = store.remove(vec![id()]);
        assert!(timeout(almost, &mut one).await.is_err(), "too early");
        assert!(timeout(Duration::from_millis(2), one).await.expect("too late").is_err());
        let mut many = store.touch(Vec::new());
        assert!(timeout(Duration::from_secs(4) + almost, &mut many).await.is_err(), "too early");
        assert!(timeout(Duration::from_millis(2), many).await.expect("too late").is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_answer_before_the_deadline_is_an_answer() {
        let (_inner, store) = guarded(Mood::Slow(Duration::from_millis(900)));
        for _ in 0..5 {
            assert_eq!(store.load(id()).await, Ok(None));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_probe_at_a_time_finds_out_that_it_is_up_again() {
        let (inner, store) = guarded(Mood::Refuse);
        fail(&store, 3).await;
        sleep(Duration::from_millis(2_600)).await;
        assert_eq!(inner.calls(), 3 + 5, "a probe every 500 ms");
        inner.set(Mood::Hang);
        sleep(Duration::from_secs(3)).await;
        assert!(
            (9..=11).contains(&inner.calls()),
            "{} calls: a hanging probe is the only one",
            inner.calls()
        );
        inner.set(Mood::Answer);
        recovered(&store).await;
        let before = inner.calls();
        sleep(Duration::from_secs(10)).await;
        assert_eq!(inner.calls(), before, "a store that answers is not probed");
        assert_eq!(store.load(id()).await, Ok(None));
    }

    #[tokio::test(start_paused = true)]
    async fn it_opens_again_after_a_recovery() {
        let (inner, store) = guarded(Mood::Answer);
        for _ in 0..3 {
            inner.set(Mood::Refuse);
            fail(&store, 3).await;
            assert!(is_down(&store));
            inner.set(Mood::Answer);
            recovered(&store).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn calls_that_hung_before_the_recovery_do_not_open_it_again() {
        let (inner, store) = guarded(Mood::Hang);
        let listing: Vec<_> = (0..5)
            .map(|_| {
                let store = Arc::clone(&store);
                tokio::spawn(async move { store.touch(Vec::new()).await })
            })
            .collect();
        tokio::task::yield_now().await;
        inner.set(Mood::Refuse);
        fail(&store, 3).await;
        inner.set(Mood::Answer);
        recovered(&store).await;
        for call in listing {
            assert!(call.await.unwrap().is_err());
        }
        assert!(!is_down(&store));
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_calls_wait_for_a_slow_store_than_there_are_places() {
        let (inner, store) = guarded(Mood::Slow(Duration::from_millis(500)));
        let calls: Vec<_> = (0..IN_FLIGHT + 50)
            .map(|_| {
                let store = Arc::clone(&store);
                tokio::spawn(async move { store.load(id()).await })
            })
            .collect();
        let mut refused = 0;
        for call in calls {
            match call.await.unwrap() {
                Ok(_) => {}
                Err(error) => {
                    assert!(error.to_string().contains("too many"), "{error}");
                    refused += 1;
                }
            }
        }
        assert_eq!((refused, inner.calls()), (50, IN_FLIGHT));
        assert!(!is_down(&store), "a full house is not the fault of the store");
        assert_eq!(store.load(id()).await, Ok(None), "the places are free again");
    }

    #[tokio::test(start_paused = true)]
    async fn probing_ends_when_it_is_dropped_or_closed() {
        for closed in [true, false] {
            let (inner, store) = guarded(Mood::Refuse);
            fail(&store, 3).await;
            if closed {
                store.close().await;
                assert!(store.load(id()).await.unwrap_err().to_string().contains("closed"));
            } else {
                drop(store);
            }
            let before = inner.calls();
            sleep(Duration::from_secs(10)).await;
            assert_eq!(inner.calls(), before);
            assert_eq!(Arc::strong_count(&inner.0), if closed { 2 } else { 1 }, "the prober has let go");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_log_hears_of_changes_and_not_of_requests() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false);
        let _guard = tracing::subscriber::set_default(subscriber.finish());
        let (inner, store) = guarded(Mood::Refuse);
        fail(&store, 50).await;
        inner.set(Mood::Answer);
        recovered(&store).await;
        store.close().await;
        fail(&store, 9).await;
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let told: Vec<&str> = text.lines().collect();
        assert_eq!(told.len(), 2, "{text}");
        assert!(told[0].contains("session store is down") && told[0].contains("refused"), "{text}");
        assert!(told[1].contains("session store answers again"), "{text}");
    }

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
}
