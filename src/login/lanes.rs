//! A queue with two lanes: whoever is known here does not wait behind strangers.
//!
//! Invariants: each lane is bounded; a lane that is full fills no other.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Whom a job is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Somebody on a device that signed in before, or who is signed in.
    Known,
    /// Anybody at all.
    Anybody,
}

/// The end from which jobs are taken. Clones share the queue.
pub(super) struct Lanes<J>(Arc<Shared<J>>);

impl<J> Lanes<J> {
    /// With room for so many jobs in each lane.
    pub(super) fn new(limit: usize) -> Self {
        let waiting = Waiting { known: VecDeque::new(), anybody: VecDeque::new(), senders: 0 };
        Self(Arc::new(Shared { limit, waiting: Mutex::new(waiting), news: Condvar::new() }))
    }

    pub(super) fn sender(&self) -> Sender<J> {
        self.0.waiting().senders += 1;
        Sender(Arc::clone(&self.0))
    }

    /// Waits for a job; none once every sender is gone.
    pub(super) fn next(&self) -> Option<J> {
        let mut waiting = self.0.waiting();
        loop {
            let job = waiting.known.pop_front().or_else(|| waiting.anybody.pop_front());
            if job.is_some() || waiting.senders == 0 {
                return job;
            }
            waiting = self.0.news.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<J> Clone for Lanes<J> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// The end at which jobs come in.
pub(super) struct Sender<J>(Arc<Shared<J>>);

impl<J> Sender<J> {
    /// Whether there was room.
    pub(super) fn send(&self, lane: Lane, job: J) -> bool {
        let mut waiting = self.0.waiting();
        let jobs = match lane {
            Lane::Known => &mut waiting.known,
            Lane::Anybody => &mut waiting.anybody,
        };
        let has_room = jobs.len() < self.0.limit;
        if has_room {
            jobs.push_back(job);
            self.0.news.notify_one();
        }
        has_room
    }
}

impl<J> Clone for Sender<J> {
    fn clone(&self) -> Self {
        self.0.waiting().senders += 1;
        Self(Arc::clone(&self.0))
    }
}

impl<J> Drop for Sender<J> {
    fn drop(&mut self) {
        self.0.waiting().senders -= 1;
        self.0.news.notify_all();
    }
}

impl<J> fmt::Debug for Sender<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("limit", &self.0.limit).finish_non_exhaustive()
    }
}

struct Shared<J> {
    limit: usize,
    waiting: Mutex<Waiting<J>>,
    news: Condvar,
}

impl<J> Shared<J> {
    fn waiting(&self) -> MutexGuard<'_, Waiting<J>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Waiting<J> {
    known: VecDeque<J>,
    anybody: VecDeque<J>,
    senders: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_known_comes_first_and_each_lane_has_its_own_bound() {
        let lanes = Lanes::new(2);
        let sender = lanes.sender();
        for (lane, job, taken) in [
            (Lane::Anybody, 1, true),
            (Lane::Anybody, 2, true),
            (Lane::Anybody, 3, false),
            (Lane::Known, 4, true),
        ] {
            assert_eq!(sender.send(lane, job), taken, "{job}");
        }
        drop(sender);
        let order: Vec<i32> = std::iter::from_fn(|| lanes.next()).collect();
        assert_eq!(order, [4, 1, 2]);
    }

    #[test]
    fn whoever_waits_for_a_job_goes_home_when_the_last_sender_does() {
        let lanes = Lanes::<i32>::new(1);
        let sender = lanes.sender();
        let other = sender.clone();
        std::thread::scope(|scope| {
            let taker = scope.spawn(|| lanes.next());
            drop((sender, other));
            assert_eq!(taker.join().unwrap(), None);
        });
    }
}
