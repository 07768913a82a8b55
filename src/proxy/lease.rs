//! A connection lent to one request, and how it comes back.
//!
//! Invariant: a connection goes back to its pool only after a complete response, and only if hyper says
//! that it can take another request.

use std::rc::Rc;

use http::uri::Scheme;

use super::ForwardError;
use super::connection::{Connection, Sender};
use super::pool::{Pool, Reuse};
use super::server::Server;
use super::shape::as_http2;
use super::upload::RequestBody;
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

    /// Brings the request into the form in which the server reads it.
    pub(super) fn fit(&self, request: &mut http::Request<RequestBody>) {
        if let Sender::Shared(place) = &self.connection.sender {
            let is_tls = self.pool.upstream().server(self.server).is_some_and(Server::is_tls);
            as_http2(request, if is_tls { Scheme::HTTPS } else { Scheme::HTTP });
            request.body_mut().hold(place);
        }
    }

    /// Notes that the request was not answered.
    pub(super) fn failed(&self, error: &ForwardError) {
        if matches!(error, ForwardError::ResponseTimeout) {
            self.connection.sender.timed_out();
        }
        self.pool.upstream().failed(self.server, error);
    }

    /// Makes this the last request over the connection.
    pub(super) const fn spend(&mut self) {
        self.later = Reuse::Forbidden;
    }

    /// Ends the loan of a connection that is not HTTP any more; what it carries still counts.
    pub(super) fn into_load(self) -> Load {
        self.load
    }

    /// Gives the connection back after a complete response.
    ///
    /// When the request body is still being sent, the connection comes back once that is done; it is
    /// dropped when the backend closes it.
    pub(super) fn release(self) {
        let Self { pool, server, mut connection, load, later } = self;
        drop(load);
        if later == Reuse::Forbidden {
            return;
        }
        if connection.sender.is_ready() {
            pool.put(server, connection);
        } else if !connection.sender.is_closed() {
            tokio::task::spawn_local(async move {
                if connection.sender.becomes_ready().await {
                    pool.put(server, connection);
                }
            });
        }
    }
}
