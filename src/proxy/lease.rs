//! A connection lent to one request, and how it comes back.
//!
//! Invariant: a connection goes back to its pool only after a complete response, and only if it can take
//! another request.

use std::rc::Rc;

use super::ForwardError;
use super::connection::{Connection, Line};
use super::pool::{Pool, Reuse};
use super::upstream::Load;

/// A connection lent to one request.
#[derive(Debug)]
pub(super) struct Lease {
    pool: Rc<Pool>,
    server: usize,
    pub(super) connection: Connection,
    load: Load,
    /// Whether another request may use the connection later.
    later: Reuse,
}

impl Lease {
    /// Lends the connection that `pool` took or opened for the server at that index.
    pub(super) const fn new(
        pool: Rc<Pool>,
        server: usize,
        connection: Connection,
        load: Load,
        later: Reuse,
    ) -> Self {
        Self { pool, server, connection, load, later }
    }

    /// The index of the server at the other end.
    pub(super) const fn server(&self) -> usize {
        self.server
    }

    /// Notes that the request was not answered.
    pub(super) fn failed(&self, error: &ForwardError) {
        if let (Line::Shared(place), ForwardError::ResponseTimeout) = (&self.connection.line, error) {
            place.timed_out();
        }
        self.pool.upstream().failed(self.server, error);
    }

    /// Makes this the last request over the connection.
    pub(super) const fn spend(&mut self) {
        self.later = Reuse::Forbidden;
    }

    /// Ends the loan of a connection that is not HTTP any more; what it carries still counts.
    pub(super) fn into_parts(self) -> (Line, Load) {
        (self.connection.line, self.load)
    }

    /// Gives the connection back after a complete response.
    ///
    /// When the request body is still being sent, that goes on until the backend closes the connection: a
    /// client that is cut off would not see the answer. Then the connection comes back, if it may.
    pub(super) fn release(self) {
        let Self { pool, server, mut connection, load, later } = self;
        drop(load);
        if connection.is_ready() {
            if later == Reuse::Allowed {
                pool.put(server, connection);
            }
            return;
        }
        let Connection { line: Line::Own(mut line), timer } = connection else { return };
        if line.is_sending() {
            tokio::task::spawn_local(async move {
                if line.finish().await && later == Reuse::Allowed {
                    pool.put(server, Connection { line: Line::Own(line), timer });
                }
            });
        }
    }
}
