//! One connection to a backend: opening it, and the socket that carries its slot.
//!
//! Leaves the protocols to [`super::http1`] and [`super::multiplex`]. Invariant: a slot lives exactly as long as
//! the socket it was taken for, also when the socket becomes a tunnel.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use http::uri::Scheme;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::ForwardError;
use super::host_name::no_address;
use super::http1;
use super::multiplex::{Multiplexed, Place};
use super::server::{Server, Speech};
use super::stall::StallTimer;
use super::stream::Stream;
use super::upgrade::Switch;
use super::upstream::{Slot, Upstream};

/// A connection to a backend as one request has it.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) line: Line,
    /// Used by one request after the other, so that none registers a timer of its own.
    pub(super) timer: StallTimer,
}

impl Connection {
    /// Room on a connection that others use too.
    pub(super) fn shared(place: Place) -> Self {
        Self { line: Line::Shared(Rc::new(place)), timer: StallTimer::default() }
    }

    fn own(socket: Socket) -> Self {
        Self { line: Line::Own(Box::new(http1::Connection::new(socket))), timer: StallTimer::default() }
    }

    /// Whether it is a connection of its own that can take a request.
    pub(super) fn is_ready(&mut self) -> bool {
        match &mut self.line {
            Line::Own(connection) => connection.is_ready(),
            Line::Shared(_) => false,
        }
    }
}

/// Where a request goes.
#[derive(Debug)]
pub(super) enum Line {
    /// HTTP/1.1: one request at a time.
    Own(Box<http1::Connection>),
    /// HTTP/2: this request's place on a connection.
    Shared(Rc<Place>),
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
                Wire::Http2 => {
                    let scheme = if server.is_tls() { Scheme::HTTPS } else { Scheme::HTTP };
                    Multiplexed::open(socket, scheme, Rc::clone(news)).await.map(Ok)
                }
            }
            .map_err(ForwardError::Connect)
        });
        match opening.await.map_err(|_| ForwardError::ConnectTimeout)?? {
            Ok(shared) => Ok(Self::Shared(shared)),
            Err(socket) => Ok(Self::Own(Connection::own(socket))),
        }
    }
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

impl Drop for Socket {
    /// Says goodbye over TLS, as far as there is room for that: a server takes a connection that just ends for cut
    /// (RFC 8446 section 6.1).
    fn drop(&mut self) {
        if let Stream::Tls(tls) = &mut self.stream {
            let _said = Pin::new(tls).poll_shutdown(&mut Context::from_waker(Waker::noop()));
        }
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
