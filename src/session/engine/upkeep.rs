//! What the engine does beside requests: stores activity in batches, makes the store forget what
//! ended here, and sweeps out what expired.
//!
//! Invariant: nothing that the store did not take is forgotten; the next round brings it again.

use std::collections::HashMap;
use std::mem;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::clock::{Stopwatch, Timestamp};
use crate::session::cache::{Burial, Buried};
use crate::session::cookie::Form;
use crate::session::lifetime::{Ended, Times};
use crate::session::record::{Listing, Session};
use crate::session::store::{Entry, Resealed, StoreError, Touch};
use crate::session::token::SessionId;
use crate::telemetry::audit::EventKind;

use super::{Shared, trail::Cause};

/// Runs until the engine stops or is dropped.
pub(super) async fn run(engine: Weak<Shared>, mut stop: watch::Receiver<bool>) {
    let mut ticks = interval(FLUSH_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut round = 0_u32;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stop.changed() => return,
        }
        let Some(engine) = engine.upgrade() else { return };
        round = round.wrapping_add(1);
        // Failures are told to the log by the guard of the store, and tried again.
        let _tried_again = match round % SWEEP_ROUNDS {
            0 => engine.sweep().await,
            _ => engine.flush().await,
        };
    }
}

impl Shared {
    pub(super) fn keep(&self, task: JoinHandle<()>) {
        *self.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
    }

    /// Ends the task, lets the round that it is in finish, and does the last one.
    pub(super) async fn finish_upkeep(&self) {
        self.stop.send_replace(true);
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            let _ended = task.await;
        }
        if let Err(error) = self.flush().await {
            tracing::error!(%error, "last activity of sessions is not stored");
        }
    }

    pub(super) fn list(&self, session: &Arc<Session>) {
        self.touched().push(Arc::clone(session));
    }

    /// Stores what happened since the last round.
    pub(super) async fn flush(&self) -> Result<(), StoreError> {
        let touched = self.flush_touched().await;
        let buried = self.flush_buried().await;
        touched.and(buried)
    }

    /// Removes what expired and was not asked for since. The rows' own ends are those of the policy
    /// under which they were written, so each is judged again by the present one.
    ///
    /// A million dead sessions take minutes: activity is stored meanwhile, and a stop is heeded.
    pub(super) async fn sweep(&self) -> Result<(), StoreError> {
        // Without the latest activity a session in use could look abandoned.
        self.flush().await?;
        let until = self.clock.now() - SWEEP_GRACE;
        let (mut flushed, mut removed, mut place) = (Stopwatch::start(), 0_u64, None);
        while !*self.stop.borrow() {
            let step = Stopwatch::start();
            let due = match self.store.by_end(place, until, SWEEP_BATCH).await {
                // Such a store forgets by itself.
                Err(StoreError::Unsupported(_)) => break,
                answer => answer?,
            };
            let Some(last) = due.last() else { break };
            place = Some(last.place);
            removed = removed.saturating_add(self.sweep_batch(&due).await?);
            if flushed.elapsed() >= FLUSH_EVERY {
                self.flush().await?;
                flushed = Stopwatch::start();
            }
            // The store has at least as much time for others, however slow it is.
            sleep(SWEEP_PAUSE.max(step.elapsed())).await;
        }
        let tidied = self.store.tidy(self.clock.now()).await?;
        self.note_removed(removed, tidied);
        Ok(())
    }

    async fn flush_touched(&self) -> Result<(), StoreError> {
        let touched = self.take_touched();
        // First off the list, then read: what is touched meanwhile is listed again.
        for session in &touched {
            session.unlist();
        }
        let mut rest = touched.as_slice();
        while !rest.is_empty() {
            let (batch, after) = rest.split_at(rest.len().min(BATCH));
            if let Err(error) = self.flush_batch(batch).await {
                self.list_again(rest);
                return Err(error);
            }
            rest = after;
        }
        Ok(())
    }

    async fn flush_batch(&self, batch: &[Arc<Session>]) -> Result<(), StoreError> {
        let resealed: Vec<_> = batch.iter().map(|session| self.reseal(session)).collect();
        let news = batch.iter().zip(&resealed);
        let touches = news.map(|(session, resealed)| self.news(session, session.times(), resealed.clone()));
        let outcome = self.store.touch(touches.collect()).await;
        for (session, resealed) in batch.iter().zip(resealed) {
            match (&outcome, resealed) {
                (Ok(()), Some(resealed)) => session.stored_under(resealed.key),
                (Err(_), Some(_)) => session.set_changed(),
                (_, None) => {}
            }
        }
        outcome
    }

    /// The record of a session that changed since it was stored.
    fn reseal(&self, session: &Session) -> Option<Resealed> {
        if session.take_changed() { session.seal(&self.settings.load().ring) } else { None }
    }

    fn list_again(&self, sessions: &[Arc<Session>]) {
        let needed = sessions.iter().filter(|session| session.list() == Listing::Needed);
        self.touched().extend(needed.cloned());
    }

    async fn flush_buried(&self) -> Result<(), StoreError> {
        let (ended, expired) = self.cache.buried();
        self.forget_in_store(&ended).await?;
        match self.form {
            Form::Token => self.forget_in_store(&expired).await,
            // What its browser keeps says itself that it has expired.
            Form::Record => {
                self.cache.forget_all(&expired);
                Ok(())
            }
        }
    }

    async fn forget_in_store(&self, buried: &[SessionId]) -> Result<(), StoreError> {
        for batch in buried.chunks(BATCH) {
            self.store.remove(batch.to_vec()).await?;
            self.cache.forget_all(batch);
        }
        Ok(())
    }

    /// Removes those that are over, and gives the others their new end. Answers how many were removed
    /// here: several gateways may sweep one store.
    async fn sweep_batch(&self, due: &[Entry]) -> Result<u64, StoreError> {
        let now = self.clock.now();
        let (mut over, mut alive) = (HashMap::new(), Vec::new());
        for one in due {
            match self.verdict(one, now) {
                Verdict::Alive(news) => alive.push(news),
                Verdict::Over(limit) => {
                    let burial = self.cache.bury(one.place.id, Buried::Expired(limit.unwrap_or(Ended::Idle)));
                    over.insert(one.place.id, (one, limit, burial));
                }
            }
        }
        if !alive.is_empty() {
            self.store.touch(alive).await?;
        }
        let ids: Vec<_> = over.keys().copied().collect();
        let removed = self.store.remove(ids.clone()).await?;
        for (one, limit, burial) in removed.iter().filter_map(|id| over.get(id)) {
            if *burial != Burial::Again {
                self.note_swept(one, *limit);
            }
        }
        self.cache.forget_all(&ids);
        self.tell_of_an_end();
        Ok(self.count_swept(removed.len()))
    }

    fn count_swept(&self, removed: usize) -> u64 {
        let removed = u64::try_from(removed).unwrap_or(0);
        self.swept.fetch_add(removed, Ordering::Relaxed);
        removed
    }

    fn note_removed(&self, removed: u64, tidied: usize) {
        let count = removed.saturating_add(self.count_swept(tidied));
        if count > 0 {
            tracing::info!(count, "expired sessions removed");
        }
    }

    fn verdict(&self, due: &Entry, now: Timestamp) -> Verdict {
        let settings = self.settings.load();
        let opened = due.row.as_ref().and_then(|row| Session::open(row, &settings.ring).ok());
        let Some(stored) = opened else { return Verdict::Over(None) };
        let mut times = stored.times();
        if let Some(live) = self.cache.get(due.place.id) {
            times.last_seen = times.last_seen.max(live.last_seen());
        }
        match settings.policy.lifetimes.ended(times, now) {
            Some(limit) => Verdict::Over(Some(limit)),
            None => Verdict::Alive(self.news(&stored, times, None)),
        }
    }

    fn note_swept(&self, due: &Entry, limit: Option<Ended>) {
        let user = due.row.as_ref().map(|row| &row.user);
        let detail = limit.map_or("record cannot be read", Ended::as_str);
        self.note_id(EventKind::SessionExpired, due.place.id, user, detail, Cause::default());
    }

    fn news(&self, session: &Session, times: Times, resealed: Option<Resealed>) -> Touch {
        Touch {
            id: session.id(),
            user: session.identity().user.clone(),
            key: session.stored_key(),
            last_seen: times.last_seen,
            expires_at: self.settings.load().policy.lifetimes.ends_at(times),
            resealed,
        }
    }

    /// The list, of which an empty one of the same size takes the place: requests that put sessions on it
    /// need not wait until it has grown again.
    fn take_touched(&self) -> Vec<Arc<Session>> {
        let mut touched = self.touched();
        let empty = Vec::with_capacity(touched.len());
        mem::replace(&mut *touched, empty)
    }

    fn touched(&self) -> MutexGuard<'_, Vec<Arc<Session>>> {
        self.touched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the present policy says of a session whose stored end has come.
enum Verdict {
    Alive(Touch),
    /// By which limit, if its record can be read.
    Over(Option<Ended>),
}

/// How often activity is stored; a crash loses at most this much of it.
const FLUSH_EVERY: Duration = Duration::from_secs(5);
/// Every so many rounds the expired are swept: once a minute.
const SWEEP_ROUNDS: u32 = 12;
/// A session that expired is left for its browser to ask for a moment longer.
const SWEEP_GRACE: Duration = Duration::from_secs(30);
/// Rows in one write of activity: what a request waits for that comes behind it.
const BATCH: usize = 100;
/// Sessions in one step of a sweep: a login never waits for more of them.
const SWEEP_BATCH: usize = 25;
/// Between two steps of a sweep, at least.
const SWEEP_PAUSE: Duration = Duration::from_millis(5);
