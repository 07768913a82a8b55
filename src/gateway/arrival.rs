//! How a request arrived, and whether it came by the right door.
//!
//! Leaves TLS to `server`. Invariant: a request for a host that its connection does not stand for is
//! never routed, unless a proxy of ours brings it.

use std::fmt;
use std::net::IpAddr;

use super::canonical::Canonical;
use super::reject::Reject;
use super::snapshot::Snapshot;

/// What the connection of a request says of it.
#[derive(Clone, Copy)]
pub struct Arrival<'a> {
    /// The other end of the connection.
    pub peer: IpAddr,
    /// Whether requests for a host belong on the connection.
    pub serves: &'a dyn Fn(&str) -> bool,
}

impl Arrival<'_> {
    /// SECURITY: what stands before us, or a browser that shares connections, took the name in the handshake for the
    /// host, and decided by it. A trusted proxy may have one name for us and pass on many hosts.
    pub(super) fn refuse_misdirected(
        &self,
        snapshot: &Snapshot,
        canonical: &Canonical,
    ) -> Result<(), Reject> {
        if (self.serves)(canonical.host()) || snapshot.is_trusted(self.peer) {
            return Ok(());
        }
        Err(Reject::Misdirected)
    }
}

impl fmt::Debug for Arrival<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arrival").field("peer", &self.peer).finish_non_exhaustive()
    }
}
