//! The first level: live sessions in memory, so that a request does no I/O.
//!
//! How a session is loaded is left to the engine. Invariant: a session that was buried
//! ([`Cache::bury`]) is not in the cache and cannot get in, not even by a load that began earlier: burying moves a
//! generation, which it shares with few other sessions, and only a load that saw the present one is admitted.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::identity::UserId;

use super::lifetime::Ended;
use super::record::Session;
use super::token::SessionId;

pub(super) struct Cache {
    live: quick_cache::sync::Cache<SessionId, Arc<Session>>,
    shards: [Mutex<Shard>; SHARDS],
}

impl Cache {
    pub(super) fn new() -> Self {
        Self::with_capacity(CAPACITY)
    }

    pub(super) fn with_capacity(capacity: usize) -> Self {
        let shards = std::array::from_fn(|_| Mutex::new(Shard::new()));
        Self { live: quick_cache::sync::Cache::new(capacity), shards }
    }

    /// The hot path: no lock but a read lock for the length of a look-up, no allocation.
    pub(super) fn get(&self, id: SessionId) -> Option<Arc<Session>> {
        self.live.get(&id)
    }

    /// Sessions in memory.
    pub(super) fn len(&self) -> usize {
        self.live.len()
    }

    /// To be taken before the store is asked: a ticket to admit what it answers.
    pub(super) fn look(&self, id: SessionId) -> Look {
        let shard = self.shard(id);
        match shard.buried.get(&id) {
            Some(&why) => Look::Buried(why),
            None => Look::Unknown(Ticket { generation: shard.generation(id) }),
        }
    }

    /// Takes in a session that was loaded or opened since `ticket` was taken.
    pub(super) fn admit(&self, ticket: Ticket, session: &Arc<Session>) -> Admission {
        let id = session.id();
        let shard = self.shard(id);
        if let Some(&why) = shard.buried.get(&id) {
            return Admission::Buried(why);
        }
        if shard.generation(id) != ticket.generation {
            return Admission::Stale;
        }
        // Two loads of one session share the first one's value, brought up to date.
        if let Some(first) = self.live.peek(&id).filter(|first| first.merge(session)) {
            return Admission::Admitted(first);
        }
        self.live.insert(id, Arc::clone(session));
        Admission::Admitted(Arc::clone(session))
    }

    /// Ends a session here, until the store has forgotten it too. The first reason stays.
    pub(super) fn bury(&self, id: SessionId, why: Buried) -> Burial {
        let mut shard = self.shard(id);
        shard.move_on(id);
        let removed = self.live.remove(&id).is_some();
        if shard.buried.contains_key(&id) {
            return Burial::Again;
        }
        shard.buried.insert(id, why);
        if removed { Burial::OfLive } else { Burial::OfUnknown }
    }

    /// Others changed the session, or ended it: what is here is to be asked for again, and what is
    /// being read now is out of date.
    ///
    /// Answers whether it is here.
    pub(super) fn doubt(&self, id: SessionId) -> bool {
        let mut shard = self.shard(id);
        shard.move_on(id);
        let known = self.live.peek(&id);
        if let Some(session) = &known {
            session.doubt();
        }
        known.is_some()
    }

    /// [`Self::doubt`] for the sessions of a user, those included that are being read now.
    pub(super) fn doubt_user(&self, user: &UserId) {
        self.outdate_reads();
        for session in self.of_user(user) {
            self.doubt(session.id());
        }
    }

    /// [`Self::doubt`] for every session.
    pub(super) fn doubt_all(&self) {
        self.outdate_reads();
        self.live.iter().for_each(|(_, session)| session.doubt());
    }

    /// What is being read now is out of date, whichever session it is of.
    pub(super) fn outdate_reads(&self) {
        for shard in &self.shards {
            lock(shard).move_all_on();
        }
    }

    /// The store does not have the session any more, though nothing ended it here.
    pub(super) fn lose(&self, id: SessionId) {
        let mut shard = self.shard(id);
        shard.move_on(id);
        self.live.remove(&id);
    }

    /// The store has forgotten the session. Loads that read it earlier are stale from now on.
    pub(super) fn forget(&self, id: SessionId) {
        let mut shard = self.shard(id);
        shard.move_on(id);
        shard.buried.remove(&id);
    }

    /// [`Self::forget`] for several.
    pub(super) fn forget_all(&self, ids: &[SessionId]) {
        for id in ids {
            self.forget(*id);
        }
    }

    /// The sessions that the store must still forget: those that were ended, and those that expired.
    pub(super) fn buried(&self) -> (Vec<SessionId>, Vec<SessionId>) {
        let (mut ended, mut expired) = (Vec::new(), Vec::new());
        for shard in &self.shards {
            for (&id, why) in &lock(shard).buried {
                match why {
                    Buried::Ended => ended.push(id),
                    Buried::Expired(_) => expired.push(id),
                }
            }
        }
        (ended, expired)
    }

    /// The sessions of a user that are in memory; looks at all of them.
    pub(super) fn of_user(&self, user: &UserId) -> Vec<Arc<Session>> {
        let sessions = self.live.iter().map(|(_, session)| session);
        sessions.filter(|session| session.identity().user == *user).collect()
    }

    /// The users with sessions in memory.
    pub(super) fn users(&self) -> Vec<UserId> {
        let users: HashSet<UserId> =
            self.live.iter().map(|(_, session)| session.identity().user.clone()).collect();
        users.into_iter().collect()
    }

    /// No await may happen while the guard lives; none does, this file has no async code.
    #[expect(clippy::indexing_slicing, reason = "a remainder by `SHARDS` is a valid index")]
    fn shard(&self, id: SessionId) -> MutexGuard<'_, Shard> {
        let [first, ..] = id.as_bytes();
        lock(&self.shards[usize::from(*first) % SHARDS])
    }
}

/// Why a session is buried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Buried {
    Ended,
    Expired(Ended),
}

/// What is known of a session that is not live here.
#[derive(Clone, Copy, Debug)]
pub(super) enum Look {
    Buried(Buried),
    Unknown(Ticket),
}

/// The right to admit a session, as long as nothing of its generation was buried since.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket {
    generation: u64,
}

/// What became of a session that was loaded.
#[derive(Debug)]
pub(super) enum Admission {
    Admitted(Arc<Session>),
    Buried(Buried),
    /// Something of its generation was buried meanwhile: what was loaded may be out of date.
    Stale,
}

/// What was buried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Burial {
    OfLive,
    OfUnknown,
    Again,
}

#[derive(Debug)]
struct Shard {
    /// By the second byte of an id, so that a sweep, which ends thousands of sessions in a second, seldom
    /// makes the load of another one stale.
    generations: [u64; GENERATIONS],
    buried: HashMap<SessionId, Buried>,
}

impl Shard {
    fn new() -> Self {
        Self { generations: [0; GENERATIONS], buried: HashMap::new() }
    }

    fn generation(&self, id: SessionId) -> u64 {
        self.generations.get(Self::place(id)).copied().unwrap_or_default()
    }

    /// What is being loaded of this session is out of date.
    fn move_on(&mut self, id: SessionId) {
        if let Some(generation) = self.generations.get_mut(Self::place(id)) {
            *generation = generation.wrapping_add(1);
        }
    }

    fn move_all_on(&mut self) {
        for generation in &mut self.generations {
            *generation = generation.wrapping_add(1);
        }
    }

    const fn place(id: SessionId) -> usize {
        let [_, second, ..] = *id.as_bytes();
        second as usize
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many sessions are kept in memory: about 100 MiB at most.
const CAPACITY: usize = 100_000;
const SHARDS: usize = 64;
/// One for each value of a byte.
const GENERATIONS: usize = 256;

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::clock::Timestamp;
    use crate::identity::{AuthMethod, Identity};
    use crate::session::keyring::KeyId;
    use crate::session::lifetime::Remember;
    use crate::session::proofs::Proofs;
    use crate::session::record::Start;
    use crate::session::token::Token;

    fn session(id: SessionId) -> Arc<Session> {
        let user = UserId::try_from("alice").unwrap();
        let start = Start {
            identity: Identity { user, groups: Vec::new(), name: None, email: None },
            method: AuthMethod::Password,
            proofs: Proofs::default(),
            remember: Remember::No,
            user_agent: "",
            address: IpAddr::from([192, 0, 2, 1]),
            now: Timestamp::default(),
        };
        Arc::new(Session::new(id, KeyId::from_bytes([0; 4]), start))
    }

    fn ticket(cache: &Cache, id: SessionId) -> Ticket {
        match cache.look(id) {
            Look::Unknown(ticket) => ticket,
            Look::Buried(why) => panic!("{why:?}"),
        }
    }

    #[test]
    fn a_ticket_from_before_a_burial_admits_nothing() {
        let (cache, id) = (Cache::new(), Token::generate().session());
        let old = ticket(&cache, id);
        assert_eq!(cache.bury(id, Buried::Ended), Burial::OfUnknown);
        assert!(matches!(cache.admit(old, &session(id)), Admission::Buried(Buried::Ended)));
        cache.forget(id);
        assert!(matches!(cache.admit(old, &session(id)), Admission::Stale));
        assert!(matches!(cache.admit(ticket(&cache, id), &session(id)), Admission::Admitted(_)));
    }

    #[test]
    fn the_end_of_a_session_does_not_make_the_load_of_another_stale() {
        let cache = Cache::new();
        let [swept, wanted] = [1, 2].map(|second| {
            let mut bytes = [0; 32];
            bytes[1] = second;
            SessionId::from_bytes(bytes)
        });
        let loading = ticket(&cache, wanted);
        cache.bury(swept, Buried::Expired(Ended::Idle));
        cache.forget(swept);
        assert!(matches!(cache.admit(loading, &session(wanted)), Admission::Admitted(_)));
    }

    #[test]
    fn the_first_reason_of_a_burial_stays() {
        let (cache, id) = (Cache::new(), Token::generate().session());
        cache.admit(ticket(&cache, id), &session(id));
        assert_eq!(cache.bury(id, Buried::Expired(Ended::Idle)), Burial::OfLive);
        assert_eq!(cache.bury(id, Buried::Ended), Burial::Again);
        assert!(matches!(cache.look(id), Look::Buried(Buried::Expired(Ended::Idle))));
        assert_eq!(cache.buried(), (vec![], vec![id]));
    }

    #[test]
    fn two_loads_of_one_session_share_one_value() {
        let (cache, id) = (Cache::new(), Token::generate().session());
        let Admission::Admitted(first) = cache.admit(ticket(&cache, id), &session(id)) else { panic!() };
        let Admission::Admitted(second) = cache.admit(ticket(&cache, id), &session(id)) else { panic!() };
        assert!(Arc::ptr_eq(&first, &second));
    }

    #[test]
    fn more_sessions_than_fit_are_evicted_and_not_kept() {
        let cache = Cache::with_capacity(100);
        for id in std::iter::repeat_with(|| Token::generate().session()).take(1_000) {
            cache.admit(ticket(&cache, id), &session(id));
        }
        assert!(cache.of_user(&UserId::try_from("alice").unwrap()).len() <= 200);
    }

    #[test]
    fn loads_that_race_with_an_end_never_leave_the_session_behind() {
        for _ in 0..200 {
            let (cache, id) = (Cache::with_capacity(1_000), Token::generate().session());
            // Taken before the end, as by a load that is under way.
            let before = ticket(&cache, id);
            std::thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| cache.admit(before, &session(id)));
                }
                scope.spawn(|| cache.bury(id, Buried::Ended)).join().unwrap();
                assert!(cache.get(id).is_none());
            });
            cache.forget(id);
            assert!(cache.get(id).is_none());
        }
    }
}
