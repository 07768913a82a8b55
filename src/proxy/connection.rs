//! One connection to a backend: opening it, and the socket that carries its slot.
//!
//! Leaves HTTP/2 to [`super::multiplex`]. Invariant: a slot lives exactly as long as the socket it was taken for, also when the socket
//! becomes a tunnel.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use futures_util::future::Either;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::timeout;
use tracing::debug;

use super::host_name::no_address;
use super::multiplex::{Failure, Multiplexed, Place};
use super::server::{Server, Speech};
use super::stall::StallTimer;
use super::stream::Stream;
use super::upgrade::Switch;
use super::upload::RequestBody;
use super::upstream::{Slot, Upstream};
use super::{ForwardError, ResponseFault};

/// A connection to a backend as one request has it, driven by tasks of its own.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) sender: Sender,
    /// Used by one request after the other, so that none registers a timer of its own.
    pub(super) timer: StallTimer,
}

impl Connection {
    /// Room on a connection that others use too.
    pub(super) fn shared(place: Place) -> Self {
        Self { sender: Sender::Shared(Rc::new(place)), timer: StallTimer::default() }
    }

    fn own(sender: SendRequest<RequestBody>) -> Self {
        Self { sender: Sender::Own(sender), timer: StallTimer::default() }
    }
}

/// Takes requests for a connection.
#[derive(Debug)]
pub(super) enum Sender {
    /// HTTP/1.1: one request at a time.
    Own(SendRequest<RequestBody>),
    /// HTTP/2: this request's place on it.
    Shared(Rc<Place>),
}

impl Sender {
    pub(super) const fn wire(&self) -> Wire {
        match self {
            Self::Own(_) => Wire::Http1,
            Self::Shared(_) => Wire::Http2,
        }
    }

    /// Whether it is a connection of its own that can take a request.
    pub(super) fn is_ready(&self) -> bool {
        match self {
            Self::Own(sender) => sender.is_ready(),
            Self::Shared(_) => false,
        }
    }

    /// Whether there is nothing to keep for another request.
    pub(super) fn is_closed(&self) -> bool {
        match self {
            Self::Own(sender) => sender.is_closed(),
            Self::Shared(_) => true,
        }
    }

    /// Ready when a connection of its own can take a request; false when it never will.
    pub(super) async fn becomes_ready(&mut self) -> bool {
        match self {
            Self::Own(sender) => sender.ready().await.is_ok(),
            Self::Shared(_) => false,
        }
    }

    /// Notes that the request waited for its answer in vain.
    pub(super) fn timed_out(&self) {
        if let Self::Shared(place) = self {
            place.timed_out();
        }
    }

    /// Sends the request.
    pub(super) fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Result<Response<Incoming>, Failure>> + use<> {
        match self {
            Self::Own(sender) => Either::Left(sender.try_send_request(request)),
            Self::Shared(place) => Either::Right(place.send(request)),
        }
    }
}

/// Which protocol a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    Http1,
    Http2,
}

/// A connection that was just opened.
pub(super) enum Opened {
    Own(Connection),
    Shared(Rc<Multiplexed>),
}

impl Opened {
    /// Connects to the server at `index` within the connect timeout; `news` hears of room on it.
    pub(super) async fn open(
        upstream: &Upstream,
        index: usize,
        slot: Slot,
        switch: Switch,
        news: &Rc<Notify>,
    ) -> Result<Self, ForwardError> {
        let server = upstream.server(index).ok_or_else(|| ForwardError::Connect(no_address()))?;
        let opening = timeout(upstream.config().connect_timeout, async {
            let (stream, wire) = open_stream(upstream, server, switch).await?;
            let socket = Socket { stream, _slot: slot };
            match wire {
                Wire::Http1 => Ok(Err(socket)),
                Wire::Http2 => Multiplexed::open(socket, Rc::clone(news)).await.map(Ok),
            }
            .map_err(ForwardError::Connect)
        });
        match opening.await.map_err(|_| ForwardError::ConnectTimeout)?? {
            Ok(shared) => Ok(Self::Shared(shared)),
            Err(socket) => speak_http1(socket).await.map(Self::Own),
        }
    }
}

async fn speak_http1(socket: Socket) -> Result<Connection, ForwardError> {
    let (sender, connection) =
        settings().handshake(TokioIo::new(socket)).await.map_err(ResponseFault::Broken)?;
    tokio::task::spawn_local(async move {
        if let Err(error) = connection.with_upgrades().await {
            debug!(%error, "backend connection ended");
        }
    });
    Ok(Connection::own(sender))
}

/// The bytes of a connection to a backend, and its slot.
pub(super) struct Socket {
    stream: Stream,
    _slot: Slot,
}

impl Socket {
    /// Lets the connection break when the other end does not take for a while what it was sent.
    pub(super) fn give_up_lost_bytes(&self) -> io::Result<()> {
        self.stream.give_up_lost_bytes()
    }
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

/// Connects and, where the server speaks TLS, has it prove who it is; says which protocol follows.
pub(super) async fn open_stream(
    upstream: &Upstream,
    server: &Server,
    switch: Switch,
) -> Result<(Stream, Wire), ForwardError> {
    let stream = Stream::connect(server.target()).await.map_err(ForwardError::Connect)?;
    let stream = match (stream, server.tls_name(), upstream.tls()) {
        (Stream::Tcp(stream), Some(name), Some(tls)) => {
            tls.connect(name.clone(), stream, switch).await.map(Stream::Tls).map_err(ForwardError::Tls)?
        }
        (stream, None, _) => stream,
        // SECURITY: never in clear text where TLS was asked for; no upstream is made like that.
        (_, Some(_), _) => return Err(ForwardError::Connect(no_address())),
    };
    let wire = agreed(server, &stream, switch).map_err(ForwardError::Tls)?;
    Ok((stream, wire))
}

/// What follows: known before, or chosen by the server in the handshake (RFC 7301).
fn agreed(server: &Server, stream: &Stream, switch: Switch) -> io::Result<Wire> {
    let Stream::Tls(tls) = stream else {
        return Ok(if server.speech() == Speech::Http2 { Wire::Http2 } else { Wire::Http1 });
    };
    let chosen = tls.get_ref().1.alpn_protocol();
    let wire = if chosen == Some(b"h2") { Wire::Http2 } else { Wire::Http1 };
    if server.speech() == Speech::Http2 && switch == Switch::No && wire == Wire::Http1 {
        return Err(io::Error::other("the server does not speak HTTP/2"));
    }
    if switch == Switch::No {
        server.found_to_share(wire == Wire::Http2);
    }
    Ok(wire)
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
