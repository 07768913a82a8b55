//! One connection to a backend: opening it, and the socket that carries its slot.
//!
//! Invariant: a slot lives exactly as long as the socket it was taken for, also when the socket
//! becomes a tunnel.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tracing::debug;

use super::stall::StallTimer;
use super::upload::RequestBody;
use super::upstream::{Slot, Target, Upstream};
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
        let stream = timeout(upstream.config().connect_timeout, connect(server.target()))
            .await
            .map_err(|_| ForwardError::ConnectTimeout)?
            .map_err(ForwardError::Connect)?;
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

/// A TCP connection to a backend and its slot.
pub(super) struct Socket {
    stream: TcpStream,
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

async fn connect(target: &Target) -> io::Result<TcpStream> {
    let stream = match target {
        Target::Address(address) => TcpStream::connect(*address).await?,
        Target::Name(name, port) => connect_by_name(name, *port).await?,
    };
    stream.set_nodelay(true)?;
    SockRef::from(&stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))?;
    Ok(stream)
}

/// Tries each address of a name in the resolver's order.
async fn connect_by_name(name: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = None;
    for address in lookup_host((name, port)).await? {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(no_address))
}

fn no_address() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "the server has no address")
}

/// Bounds for what a backend may make us keep in memory.
fn settings() -> http1::Builder {
    let mut settings = http1::Builder::new();
    settings.max_buf_size(BUFFER).max_header_size(HEAD);
    settings
}

/// Idle time after which the kernel asks whether the backend is still there.
const KEEPALIVE: Duration = Duration::from_mins(1);

/// The greatest read buffer of one connection, in bytes.
const BUFFER: usize = 128 * 1024;

/// The greatest response head, and the greatest trailer section, in bytes.
const HEAD: usize = 64 * 1024;
