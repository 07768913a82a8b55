//! Why requests were refused lately, for administrators who ask for one by its id.
//!
//! In the memory of the gateway that answered, and nowhere else. Invariants: a bounded number is kept, and
//! who is not signed in cannot push out what concerns those who are; nothing here holds a query, a header or
//! a cookie.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::Method;

use super::explain::Explanation;
use super::record::Record;
use super::request_id::RequestId;
use crate::clock::Timestamp;
use crate::identity::{Group, UserId};

/// The refusals of all workers.
#[derive(Clone, Debug, Default)]
pub struct Refusals(Arc<Mutex<Shelves>>);

/// A request that was refused, or would have been.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Its id.
    pub request_id: RequestId,
    /// When it came.
    pub time: Timestamp,
    /// Its method.
    pub method: Method,
    /// The real client.
    pub client: IpAddr,
    /// Who asked, and in which groups they were at login; none for a guest.
    pub user: Option<(UserId, Vec<Group>)>,
    /// What was decided, by which route.
    pub explanation: Explanation,
}

impl Refusal {
    /// The refusal of the request that `record` is about.
    #[must_use]
    pub fn of(record: &Record, explanation: Explanation) -> Self {
        let identity = record.session.as_ref().map(|session| session.identity());
        Self {
            request_id: record.request_id,
            time: record.time(),
            method: record.method().clone(),
            client: record.client,
            user: identity.map(|identity| (identity.user.clone(), identity.groups.clone())),
            explanation,
        }
    }
}

impl Refusals {
    /// Keeps a refusal; the oldest of its kind makes room.
    pub fn keep(&self, refusal: Refusal) {
        let mut shelves = self.lock();
        let (kept, most) = match refusal.user {
            Some(_) => (&mut shelves.of_users, MOST_OF_USERS),
            None => (&mut shelves.of_guests, MOST_OF_GUESTS),
        };
        if kept.len() >= most {
            kept.pop_front();
        }
        kept.push_back(refusal);
    }

    /// The refusal of the request with this id, if it is still kept.
    #[must_use]
    pub fn find(&self, request_id: &str) -> Option<Refusal> {
        let shelves = self.lock();
        let mut all = shelves.of_users.iter().chain(&shelves.of_guests);
        all.find(|refusal| refusal.request_id.as_str() == request_id).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, Shelves> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
struct Shelves {
    of_users: VecDeque<Refusal>,
    of_guests: VecDeque<Refusal>,
}

const MOST_OF_USERS: usize = 1_000;

const MOST_OF_GUESTS: usize = 200;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::super::explain::Verdict;
    use super::super::request_id::RequestIds;
    use super::*;

    fn refusal(request_id: RequestId, user: Option<&str>) -> Refusal {
        Refusal {
            request_id,
            time: Timestamp::default(),
            method: Method::GET,
            client: Ipv4Addr::LOCALHOST.into(),
            user: user.map(|user| (user.try_into().unwrap(), Vec::new())),
            explanation: Explanation {
                canonical: None,
                route: None,
                verdict: Verdict::NoRoute,
                instead: None,
            },
        }
    }

    #[test]
    fn a_flood_of_guests_pushes_out_no_refusal_of_a_user() {
        let (refusals, ids) = (Refusals::default(), RequestIds::new());
        let (of_alice, of_guest) = (ids.next(), ids.next());
        refusals.keep(refusal(of_alice, Some("alice")));
        refusals.keep(refusal(of_guest, None));
        assert!(refusals.find(of_guest.as_str()).is_some());
        for _ in 0..2 * MOST_OF_USERS {
            refusals.keep(refusal(ids.next(), None));
        }
        let found = refusals.find(of_alice.as_str()).unwrap();
        assert_eq!(found.user.unwrap().0.as_str(), "alice");
        assert!(refusals.find(of_guest.as_str()).is_none());
        assert_eq!(refusals.lock().of_guests.len(), MOST_OF_GUESTS);
    }

    #[test]
    fn an_id_that_nobody_was_given_finds_nothing() {
        let refusals = Refusals::default();
        for id in ["", "0011223344556677", "/", "\u{e9}"] {
            assert!(refusals.find(id).is_none());
        }
    }
}
