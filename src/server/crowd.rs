//! How many connections each client address has, so that one cannot take the places of all.
//!
//! Invariant: an address is remembered only while it has a connection.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The connections of all workers by client.
#[derive(Clone, Debug, Default)]
pub(super) struct Crowd(Arc<Mutex<HashMap<IpAddr, u32>>>);

impl Crowd {
    /// Counts a connection from `address`; none if it has `limit` already.
    pub(super) fn enter(&self, address: IpAddr, limit: u32) -> Option<InCrowd> {
        let client = household(address);
        let mut crowd = self.lock();
        let count = crowd.entry(client).or_default();
        if *count >= limit {
            return None;
        }
        *count += 1;
        Some(InCrowd { crowd: self.clone(), client })
    }

    fn leave(&self, client: IpAddr) {
        if let Entry::Occupied(mut count) = self.lock().entry(client) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that is counted.
#[derive(Debug)]
pub(super) struct InCrowd {
    crowd: Crowd,
    client: IpAddr,
}

impl Drop for InCrowd {
    fn drop(&mut self) {
        self.crowd.leave(self.client);
    }
}

/// Whom an address belongs to: a subscriber of IPv6 has at least a /64 to choose from.
fn household(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_places_and_gets_them_back() {
        let crowd = Crowd::default();
        let [one, two] = ["192.0.2.1", "192.0.2.2"].map(|address| address.parse().unwrap());
        let places = [crowd.enter(one, 2), crowd.enter(one, 2)];
        assert!(places.iter().all(Option::is_some));
        assert!(crowd.enter(one, 2).is_none() && crowd.enter(two, 2).is_some());
        drop(places);
        assert!(crowd.enter(one, 2).is_some());
        assert!(crowd.lock().is_empty());
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let crowd = Crowd::default();
        let enter = |address: &str| crowd.enter(address.parse().unwrap(), 1);
        let _here = enter("2001:db8::1");
        assert!(enter("2001:db8::2").is_none() && enter("2001:db8:0:1::1").is_some());
        let _there = enter("::ffff:192.0.2.1");
        assert!(enter("192.0.2.1").is_none());
    }
}
