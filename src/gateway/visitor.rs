//! Whom a sticky upstream knows a caller as.

use std::net::IpAddr;

use super::record::Record;
use crate::proxy::{Affinity, Balance, Upstream};

/// The session, or for guests the network that they are in; nobody where the upstream is not sticky.
pub(super) fn of(upstream: &Upstream, record: &Record) -> Affinity {
    if upstream.config().balance != Balance::Sticky {
        return Affinity::NOBODY;
    }
    match (&record.session, record.client.to_canonical()) {
        (Some(session), _) => Affinity::of(session.id().as_bytes()),
        (None, IpAddr::V4(address)) => Affinity::of(&address.octets()),
        // Browsers change their address within their network as they like.
        (None, IpAddr::V6(address)) => Affinity::of(&(address.to_bits() >> 64).to_be_bytes()),
    }
}
