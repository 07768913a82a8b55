//! One client connection: the TLS handshake, then HTTP/1.1 or HTTP/2 as ALPN says.

use std::cell::RefCell;
use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

use super::acceptor::{Accepted, Scheme};
use super::drain::{Phase, reached};
use super::phase::{Progress, Tracked};
use super::worker::Site;
use super::{http1, http2, redirect};

/// The client's side of a connection.
pub type ClientIo = TlsStream<TcpStream>;

/// The client's side of a tunnel: a connection, or one stream of an HTTP/2 connection.
pub trait ClientSide: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> ClientSide for T {}

/// What happens after the client was let switch: it gets the client's side and what was read ahead.
///
/// That side is closed behind it, so that its last words arrive.
pub type Tunnel = Box<dyn FnOnce(&mut dyn ClientSide, Bytes) -> Tunnelling<'_>>;

/// A tunnel under way.
pub type Tunnelling<'io> = Pin<Box<dyn Future<Output = ()> + 'io>>;

/// Answers the requests of one worker.
pub trait Handler: 'static {
    /// The body of its responses.
    type Body: http_body::Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
        + Unpin
        + 'static;

    /// Answers a request.
    fn handle(
        &self,
        request: Request<Incoming>,
        connection: &Connection,
    ) -> impl Future<Output = Response<Self::Body>>;
}

/// What is known of the connection that a request came by.
pub struct Connection {
    /// The other end; a proxy, maybe.
    pub peer: SocketAddr,
    /// The host name of the TLS handshake, if the client gave one.
    pub sni: Option<Box<str>>,
    tunnel: RefCell<Option<Tunnel>>,
}

impl Connection {
    /// Lets `tunnel` take over once the answer that lets the client switch is written: the connection,
    /// or over HTTP/2 the stream. To be called right before that answer is given.
    pub fn hand_over(&self, tunnel: Tunnel) {
        self.tunnel.replace(Some(tunnel));
    }

    pub(super) fn take_tunnel(&self) -> Option<Tunnel> {
        self.tunnel.take()
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("peer", &self.peer).field("sni", &self.sni).finish_non_exhaustive()
    }
}

/// Serves a connection to its end.
pub(super) async fn serve<H: Handler>(accepted: Accepted, site: Rc<Site<H>>) {
    let Accepted { stream, peer, scheme, place } = accepted;
    // The place is free again when the connection has ended.
    let _place = place;
    let stream = match ready(stream) {
        Ok(stream) => stream,
        Err(error) => return tracing::debug!(%error, "connection was gone before it was served"),
    };
    match scheme {
        Scheme::Https => serve_tls(stream, peer, site).await,
        Scheme::Http => redirect::serve(stream, site).await,
    }
}

fn ready(stream: std::net::TcpStream) -> io::Result<TcpStream> {
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    TcpStream::from_std(stream)
}

async fn serve_tls<H: Handler>(stream: TcpStream, peer: SocketAddr, site: Rc<Site<H>>) {
    let mut phases = site.phase.clone();
    let handshake = Box::pin(timeout(site.limits.handshake, site.tls.accept(stream)));
    let shaken = tokio::select! {
        shaken = handshake => shaken,
        // No request is lost: none can have begun.
        () = reached(&mut phases, Phase::Draining) => return,
    };
    let stream = match shaken {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            site.gauges.count_failed_handshake();
            return tracing::debug!(%peer, %error, "TLS handshake failed");
        }
        Err(_) => {
            site.gauges.count_failed_handshake();
            return tracing::debug!(%peer, "TLS handshake took too long");
        }
    };
    let session = stream.get_ref().1;
    let is_http2 = session.alpn_protocol() == Some(b"h2");
    let sni = session.server_name().map(Into::into);
    let connection = Rc::new(Connection { peer, sni, tunnel: RefCell::new(None) });
    if is_http2 {
        Box::pin(http2::serve(stream, connection, site)).await;
    } else {
        Box::pin(http1::serve(stream, connection, site)).await;
    }
}

/// The answer to one request of a connection.
pub(super) type Answering<B> = Pin<Box<dyn Future<Output = Result<Response<Tracked<B>>, Infallible>>>>;

/// Begins the answer to a request; boxed, so that an idle connection holds no room for one.
pub(super) fn answer<H: Handler>(
    site: &Rc<Site<H>>,
    connection: &Rc<Connection>,
    progress: &Rc<Progress>,
    request: Request<Incoming>,
) -> Answering<H::Body> {
    let exchange = progress.begin();
    let (site, connection) = (Rc::clone(site), Rc::clone(connection));
    // The handler's future, which is large, is made in its final place.
    Box::pin(async move { Ok(exchange.answer_with(site.handler.handle(request, &connection).await)) })
}

/// Ends a connection so that the client reads our last words: they would be lost with a reset if
/// bytes of the client were still unread (RFC 9112 section 9.6).
pub(super) async fn close(mut io: impl AsyncRead + AsyncWrite + Unpin) {
    let goodbye = async {
        io.shutdown().await?;
        let mut rest = [0; 1024];
        let mut left = LINGER_BYTES;
        while left > 0 {
            match io.read(&mut rest).await? {
                0 => break,
                read => left = left.saturating_sub(read),
            }
        }
        Ok::<_, io::Error>(())
    };
    // Whoever does not let us say goodbye is left without.
    let _ended = timeout(LINGER, goodbye).await;
}

/// How long a client may take to end its side.
const LINGER: Duration = Duration::from_secs(1);

/// How much a client may go on sending meanwhile.
const LINGER_BYTES: usize = 1 << 20;
