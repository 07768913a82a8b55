//! What is left of a request after a 101: bytes both ways, and the record that ends with them.

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

use super::record::Record;
use crate::proxy;

/// The backend's side of a tunnel, waiting for the client's.
#[derive(Debug)]
pub struct Tunnel {
    pub(super) backend: proxy::Backend,
    pub(super) read_ahead: Bytes,
    pub(super) record: Box<Record>,
}

impl Tunnel {
    /// Copies both ways until both sides have ended.
    pub async fn run<C: AsyncRead + AsyncWrite + Unpin>(mut self, client: C, client_read_ahead: Bytes) {
        let passed = proxy::tunnel(client, client_read_ahead, self.backend, self.read_ahead).await;
        self.record.sent(usize::try_from(passed.received).unwrap_or(usize::MAX));
        if let Err(error) = passed.ended {
            tracing::debug!(request_id = %self.record.request_id, %error, "tunnel broke");
        }
    }
}
