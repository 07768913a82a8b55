//! Which server of an upstream gets a request.
//!
//! Invariant: a server that was tried for this request is never chosen again; one that is left alone is
//! chosen only when every other was tried or is in the same state, the longest ago first.

use std::cell::Cell;

use super::affinity::Affinity;
use super::server::Server;
use super::upstream::Upstream;

/// Which server of an upstream gets a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// One after the other, each as often as its weight says.
    RoundRobin,
    /// The one with the fewest requests under way for its weight.
    LeastRequests,
    /// Always the same one for a visitor, as long as it can be reached.
    Sticky,
}

/// The index of the server to ask next; none when all were tried.
///
/// `turn` is the worker's own place in the round.
pub(super) fn choose(
    upstream: &Upstream,
    turn: &Cell<usize>,
    visitor: Affinity,
    tried: &[usize],
) -> Option<usize> {
    if upstream.servers().len() == 1 {
        return tried.is_empty().then_some(0);
    }
    // Who comes by once is known by the turn, so that a server on its way back gets a part of them.
    let lot = if visitor == Affinity::NOBODY { Affinity::passing(turn.get()) } else { visitor };
    let untried = |index: usize| !tried.contains(&index);
    best(upstream, turn, visitor, |index, server| untried(index) && upstream.admits(server, lot))
        .or_else(|| last_resort(upstream, untried))
}

/// The order in which servers of these weights take turns: each as often as its weight, spread evenly.
///
/// At each step everybody gains their weight, and who has most goes and pays what all gained.
pub(super) fn schedule(weights: &[u16]) -> Box<[usize]> {
    let total: i64 = weights.iter().copied().map(i64::from).sum();
    let mut credit = vec![0_i64; weights.len()];
    let step = |_| {
        credit.iter_mut().zip(weights).for_each(|(credit, weight)| *credit += i64::from(*weight));
        let richest = credit.iter_mut().enumerate().rev().max_by_key(|(_, credit)| **credit)?;
        *richest.1 -= total;
        Some(richest.0)
    };
    (0..total).filter_map(step).collect()
}

/// When nobody may be asked: the one whose failure is the longest ago.
fn last_resort(upstream: &Upstream, untried: impl Fn(usize) -> bool) -> Option<usize> {
    let servers = upstream.servers().iter().enumerate().filter(|(index, _)| untried(*index));
    servers.min_by_key(|(_, server)| server.health.failed_at()).map(|(index, _)| index)
}

/// The best of the servers that `may` be asked.
fn best(
    upstream: &Upstream,
    turn: &Cell<usize>,
    visitor: Affinity,
    may: impl Fn(usize, &Server) -> bool,
) -> Option<usize> {
    match upstream.config().balance {
        Balance::Sticky => nearest(upstream, visitor, may),
        Balance::RoundRobin => {
            let (place, index) =
                round(upstream, turn).find(|(_, index)| is_allowed(upstream, *index, &may))?;
            go_on(upstream, turn, place);
            Some(index)
        }
        Balance::LeastRequests => {
            let allowed = round(upstream, turn).filter(|(_, index)| is_allowed(upstream, *index, &may));
            let (place, index) =
                allowed.min_by_key(|(_, index)| upstream.server(*index).map(Server::strain))?;
            go_on(upstream, turn, place);
            Some(index)
        }
    }
}

/// The places of the schedule with their servers, from the worker's turn on, once around.
fn round(upstream: &Upstream, turn: &Cell<usize>) -> impl Iterator<Item = (usize, usize)> {
    let schedule = upstream.schedule().iter().copied().enumerate();
    let start = turn.get() % upstream.schedule().len().max(1);
    schedule.clone().skip(start).chain(schedule.take(start))
}

/// Puts the turn behind `place`; it only grows, so each turn has a number of its own.
fn go_on(upstream: &Upstream, turn: &Cell<usize>, place: usize) {
    let length = upstream.schedule().len().max(1);
    let steps = (place + length - turn.get() % length) % length;
    turn.set(turn.get().wrapping_add(steps + 1));
}

fn is_allowed(upstream: &Upstream, index: usize, may: &impl Fn(usize, &Server) -> bool) -> bool {
    upstream.server(index).is_some_and(|server| may(index, server))
}

fn nearest(upstream: &Upstream, visitor: Affinity, may: impl Fn(usize, &Server) -> bool) -> Option<usize> {
    let allowed = upstream.servers().iter().enumerate().filter(|(index, server)| may(*index, server));
    let distances = allowed.map(|(index, server)| (index, server.distance(visitor)));
    distances.min_by(|(_, one), (_, other)| one.total_cmp(other)).map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::proxy::{
        BackendTls, ForwardError, HeadLimits, HostHeader, HostPort, ServerAddress, UpstreamConfig,
        WeightedServer,
    };

    fn upstream(balance: Balance) -> Arc<Upstream> {
        weighted(balance, [1, 1, 1])
    }

    fn weighted(balance: Balance, weights: [u16; 3]) -> Arc<Upstream> {
        let place = |port| HostPort { host: "::1".to_owned(), port };
        let server = |(port, weight)| WeightedServer { address: ServerAddress::Http(place(port)), weight };
        let servers = (1..=3).zip(weights).map(server).collect();
        Arc::new(
            Upstream::new(UpstreamConfig {
                name: "three".to_owned(),
                servers,
                tls: BackendTls::default(),
                balance,
                host: HostHeader::Preserve,
                connect_timeout: Duration::from_secs(1),
                response_timeout: Duration::from_secs(1),
                max_connections: 8,
                head_limits: HeadLimits::default(),
                health: None,
            })
            .unwrap(),
        )
    }

    #[test]
    fn round_robin_asks_one_after_the_other() {
        let (upstream, turn) = (upstream(Balance::RoundRobin), Cell::new(0));
        let round: Vec<_> = (0..5).filter_map(|_| choose(&upstream, &turn, GUEST, &[])).collect();
        assert_eq!(round, [0, 1, 2, 0, 1]);
    }

    #[test]
    fn least_requests_asks_the_idlest_and_takes_turns_among_equals() {
        let (upstream, turn) = (upstream(Balance::LeastRequests), Cell::new(0));
        let _busy = (upstream.load(0), upstream.load(0), upstream.load(1));
        assert_eq!(choose(&upstream, &turn, GUEST, &[]), Some(2));
        let _more = upstream.load(2);
        assert_eq!(choose(&upstream, &turn, GUEST, &[]), Some(1));
        assert_eq!(choose(&upstream, &turn, GUEST, &[]), Some(2));
    }

    #[test]
    fn a_finished_request_no_longer_counts() {
        let upstream = upstream(Balance::LeastRequests);
        drop(upstream.load(1));
        assert!(upstream.servers().iter().all(|server| server.active() == 0));
    }

    #[test]
    fn a_server_that_is_down_is_asked_last_and_a_tried_one_never() {
        let (upstream, turn) = (upstream(Balance::RoundRobin), Cell::new(0));
        upstream.failed(0, &ForwardError::ConnectTimeout);
        assert_eq!(choose(&upstream, &turn, GUEST, &[]), Some(1));
        assert_eq!(choose(&upstream, &turn, GUEST, &[1, 2]), Some(0));
        assert_eq!(choose(&upstream, &turn, GUEST, &[0, 1, 2]), None);
    }

    #[test]
    fn a_server_of_three_times_the_weight_takes_three_turns_that_are_not_in_a_row() {
        let (upstream, turn) = (weighted(Balance::RoundRobin, [1, 3, 1]), Cell::new(0));
        let round: Vec<_> = (0..10).filter_map(|_| choose(&upstream, &turn, GUEST, &[])).collect();
        assert_eq!(round, [1, 0, 1, 2, 1, 1, 0, 1, 2, 1]);
    }

    #[test]
    fn a_server_of_twice_the_weight_bears_twice_the_requests() {
        let (upstream, turn) = (weighted(Balance::LeastRequests, [1, 2, 1]), Cell::new(0));
        let mut loads = Vec::new();
        for _ in 0..40 {
            loads.push(upstream.load(choose(&upstream, &turn, GUEST, &[]).unwrap()));
        }
        let active: Vec<_> = upstream.servers().iter().map(Server::active).collect();
        assert_eq!(active, [10, 20, 10]);
    }

    #[test]
    fn a_visitor_stays_and_moves_only_when_the_server_is_gone() {
        let (upstream, turn) = (upstream(Balance::Sticky), Cell::new(0));
        let visitors = || (0..1000_u32).map(|visitor| Affinity::of(&visitor.to_be_bytes()));
        let all = |tried: &[usize]| -> Vec<_> {
            visitors().filter_map(|visitor| choose(&upstream, &turn, visitor, tried)).collect()
        };
        let before = all(&[]);
        assert_eq!(before, all(&[]));
        for (was, is) in before.iter().zip(all(&[1])) {
            assert!(*was == is || *was == 1, "only visitors of the lost server move");
        }
    }

    #[test]
    fn visitors_are_spread_by_weight() {
        let (upstream, turn) = (weighted(Balance::Sticky, [1, 2, 1]), Cell::new(0));
        let mut count = [0; 3];
        for visitor in 0..4000_u32 {
            let visitor = Affinity::of(&visitor.to_be_bytes());
            count[choose(&upstream, &turn, visitor, &[]).unwrap()] += 1;
        }
        assert!((850..1150).contains(&count[0]) && (1850..2150).contains(&count[1]), "{count:?}");
    }

    /// Who comes does not matter here.
    const GUEST: Affinity = Affinity::NOBODY;
}
