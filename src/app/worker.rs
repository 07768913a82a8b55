//! What a worker thread runs for each request: the request path, in the server's terms.

use std::net::IpAddr;

use http::{Request, Response};
use hyper::body::Incoming;

use crate::clock::Clock;
use crate::gateway::body::ResponseBody;
use crate::gateway::record::{Journal, Unheard};
use crate::gateway::{Arrival, Gateway, Shared};
use crate::server::{Connection, Handler, Refusal};
use crate::telemetry::access::AccessLog;
use crate::telemetry::metrics::Metrics;

/// The request path of one worker.
pub(super) struct Worker {
    gateway: Gateway,
    journal: Journal,
    clock: Clock,
}

/// Makes the request path of each worker, on its own thread.
pub(super) fn factory(
    shared: Shared,
    metrics: Metrics,
    access: Option<AccessLog>,
) -> impl Fn() -> Worker + Clone + Send + Sync + 'static {
    move || {
        let journal = Journal { access: access.as_ref().map(AccessLog::worker), counters: metrics.worker() };
        Worker {
            gateway: Gateway::new(shared.clone(), journal.clone()),
            journal,
            clock: shared.clock.clone(),
        }
    }
}

impl Handler for Worker {
    type Body = ResponseBody;

    async fn handle(&self, request: Request<Incoming>, connection: &Connection) -> Response<ResponseBody> {
        let arrival =
            Arrival { peer: connection.peer.ip().to_canonical(), serves: &|host| connection.serves(host) };
        let answer = self.gateway.handle(request, arrival).await;
        if let Some(tunnel) = answer.tunnel {
            connection
                .hand_over(Box::new(move |client, read_ahead| Box::pin(tunnel.run(client, read_ahead))));
        }
        answer.response
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.gateway.trusts(address)
    }

    fn refused(&self, client: IpAddr, refusal: Refusal) {
        self.journal.note_unheard(&Unheard {
            time: self.clock.now(),
            client: client.to_canonical(),
            protocol: refusal.protocol(),
            status: refusal.status(),
            reason: refusal.reason(),
        });
    }
}
