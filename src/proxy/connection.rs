//! One connection to a backend: opening it, and the socket that carries its slot.
//!
//! Invariant: a slot lives exactly as long as the socket it was taken for, also when the socket
//! becomes a tunnel.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;
use tracing::debug;

use super::host_name::no_address;
use super::server::Server;
use super::stall::StallTimer;
use super::stream::Stream;
use super::upload::RequestBody;
use super::upstream::{Slot, Upstream};
use super::{ForwardError, ResponseFault};

/// An HTTP/1.1 connection to a backend, driven by a task of its own.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) sender: SendRequest<RequestBody>,
    /// Used by one request after the other, so that none registers a timer of its own.
    pub(super) timer: StallTimer,
}

impl Connection {
    /// Connects to the server at `index` within the connect timeout.
    pub(super) async fn open(upstream: &Upstream, index: usize, slot: Slot) -> Result<Self, ForwardError> {
        let server = upstream.server(index).ok_or_else(|| ForwardError::Connect(no_address()))?;
        let opening = timeout(upstream.config().connect_timeout, open_stream(upstream, server));
        let stream = opening.await.map_err(|_| ForwardError::ConnectTimeout)??;
        let socket = Socket { stream, _slot: slot };
        let (sender, connection) =
            settings().handshake(TokioIo::new(socket)).await.map_err(ResponseFault::Broken)?;
        tokio::task::spawn_local(async move {
            if let Err(error) = connection.with_upgrades().await {
                debug!(%error, "backend connection ended");
            }
        });
        Ok(Self { sender, timer: StallTimer::default() })
    }
}

/// The bytes of a connection to a backend, and its slot.
pub(super) struct Socket {
    stream: Stream,
    _slot: Slot,
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.stream.fmt(f)
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Connects and, where the server speaks TLS, has it prove who it is.
pub(super) async fn open_stream(upstream: &Upstream, server: &Server) -> Result<Stream, ForwardError> {
    let stream = Stream::connect(server.target()).await.map_err(ForwardError::Connect)?;
    match (stream, server.tls_name(), upstream.tls()) {
        (Stream::Tcp(stream), Some(name), Some(tls)) => {
            tls.connect(name.clone(), stream).await.map(Stream::Tls).map_err(ForwardError::Tls)
        }
        (stream, None, _) => Ok(stream),
        // SECURITY: never in clear text where TLS was asked for; no upstream is made like that.
        (_, Some(_), _) => Err(ForwardError::Connect(no_address())),
    }
}

/// Bounds for what a backend may make us keep in memory.
fn settings() -> http1::Builder {
    let mut settings = http1::Builder::new();
    settings.max_buf_size(BUFFER).max_header_size(HEAD);
    settings
}

/// The greatest read buffer of one connection, in bytes.
const BUFFER: usize = 128 * 1024;

/// The greatest response head, and the greatest trailer section, in bytes.
const HEAD: usize = 64 * 1024;
