//! What is left of a request after its client was let switch protocols: bytes both ways, and the record that ends with them.

use std::future::poll_fn;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

use super::record::Record;
use super::streams::Ticket;
use crate::proxy::{self, Side};
use crate::telemetry::metrics::StreamEnd;

/// The backend's side of a tunnel, waiting for the client's.
#[derive(Debug)]
pub struct Tunnel {
    pub(super) backend: Side<proxy::Backend>,
    pub(super) ticket: Ticket,
    pub(super) record: Box<Record>,
}

impl Tunnel {
    /// Copies both ways until both sides have ended, or until the request is no longer allowed.
    pub async fn run<C: AsyncRead + AsyncWrite + Unpin + ?Sized>(self, client: &mut C, read_ahead: Bytes) {
        let Self { backend, mut ticket, mut record } = self;
        let stream = ticket.enter(&record);
        let client = Side { io: client, read_ahead };
        let stop = poll_fn(|cx| stream.poll_end(cx).map(drop));
        let passed = proxy::tunnel(client, backend, &stream.said, stop).await;
        record.reason = stream.end().map(StreamEnd::as_str);
        record.sent(usize::try_from(passed.received).unwrap_or(usize::MAX));
        if let Err(error) = passed.ended {
            tracing::debug!(request_id = %record.request_id, %error, "tunnel broke");
        }
    }
}
