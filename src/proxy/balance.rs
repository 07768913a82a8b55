//! Which server of an upstream gets a request.
//!
//! Invariant: a server that was tried for this request is never chosen again; one that could not be
//! reached a moment ago is chosen only when every other was tried or is in the same state.

use std::cell::Cell;

use super::Balance;
use super::server::Server;
use super::upstream::Upstream;

/// The index of the server to ask next; none when all were tried.
///
/// `turn` is the worker's own place in the round.
pub(super) fn choose(upstream: &Upstream, turn: &Cell<usize>, tried: &[usize]) -> Option<usize> {
    let count = upstream.servers().len();
    if count == 1 {
        return tried.is_empty().then_some(0);
    }
    let start = turn.get() % count;
    let chosen = best(upstream, start, |index, server| !tried.contains(&index) && upstream.is_up(server))
        .or_else(|| best(upstream, start, |index, _| !tried.contains(&index)))?;
    turn.set(chosen + 1);
    Some(chosen)
}

/// The best of the servers that `may` be asked, looking from `start` on.
fn best(upstream: &Upstream, start: usize, may: impl Fn(usize, &Server) -> bool) -> Option<usize> {
    let servers = upstream.servers().iter().enumerate();
    let mut round = servers.clone().skip(start).chain(servers.take(start)).filter(|(i, s)| may(*i, s));
    let found = match upstream.config().balance {
        Balance::RoundRobin => round.next(),
        Balance::LeastRequests => round.min_by_key(|(_, server)| server.active()),
    };
    found.map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::proxy::{BackendTls, ForwardError, HostHeader, HostPort, ServerAddress, UpstreamConfig};

    fn upstream(balance: Balance) -> Arc<Upstream> {
        let place = |port| HostPort { host: "::1".to_owned(), port };
        let servers = (1..=3).map(|port| ServerAddress::Http(place(port))).collect();
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
            })
            .unwrap(),
        )
    }

    #[test]
    fn round_robin_asks_one_after_the_other() {
        let (upstream, turn) = (upstream(Balance::RoundRobin), Cell::new(0));
        let round: Vec<_> = (0..5).filter_map(|_| choose(&upstream, &turn, &[])).collect();
        assert_eq!(round, [0, 1, 2, 0, 1]);
    }

    #[test]
    fn least_requests_asks_the_idlest_and_takes_turns_among_equals() {
        let (upstream, turn) = (upstream(Balance::LeastRequests), Cell::new(0));
        let _busy = (upstream.load(0), upstream.load(0), upstream.load(1));
        assert_eq!(choose(&upstream, &turn, &[]), Some(2));
        let _more = upstream.load(2);
        assert_eq!(choose(&upstream, &turn, &[]), Some(1));
        assert_eq!(choose(&upstream, &turn, &[]), Some(2));
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
        upstream.mark_down(0, &ForwardError::ConnectTimeout);
        assert_eq!(choose(&upstream, &turn, &[]), Some(1));
        assert_eq!(choose(&upstream, &turn, &[1, 2]), Some(0));
        assert_eq!(choose(&upstream, &turn, &[0, 1, 2]), None);
    }
}
