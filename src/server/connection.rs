//! One client connection: the TLS handshake, then HTTP/1.1 or HTTP/2 as ALPN says.

use std::cell::RefCell;
use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

use super::acceptor::{Accepted, Scheme};
use super::crowd::InCrowd;
use super::drain::last_call;
use super::early_error::{EarlyErrors, Refusals};
use super::phase::{Progress, Tracked};
use super::refusal::Refusal;
use super::tls::certificates::Served;
use super::worker::Site;
use super::{announcement, http1, http2, redirect};

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

    /// Whether `address` is a proxy of ours, which may speak for others.
    fn trusts(&self, address: IpAddr) -> bool;

    /// Notes what the server refused `client` by itself, so that it never became a request.
    fn refused(&self, client: IpAddr, refusal: Refusal);
}

/// What is known of the connection that a request came by.
pub struct Connection {
    /// The other end, or whom it announced by the PROXY protocol; a proxy, maybe.
    pub peer: SocketAddr,
    /// The host name of the TLS handshake, if the client gave one.
    pub sni: Option<Box<str>>,
    /// What the client was shown who gave a name.
    certificate: Option<Arc<Served>>,
    tunnel: RefCell<Option<Tunnel>>,
}

impl Connection {
    /// Lets `tunnel` take over once the answer that lets the client switch is written: the connection,
    /// or over HTTP/2 the stream. To be called right before that answer is given.
    pub fn hand_over(&self, tunnel: Tunnel) {
        self.tunnel.replace(Some(tunnel));
    }

    /// Whether a request for `host`, in lower case and without a port, belongs on this connection: its client gave that
    /// name or none, or was shown a certificate that stands for it (RFC 9110 section 15.5.20).
    #[must_use]
    pub fn serves(&self, host: &str) -> bool {
        self.sni.as_deref().is_none_or(|sni| sni == host)
            || self.certificate.as_ref().is_some_and(|certificate| certificate.covers(host))
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
    let mut stream = match TcpStream::from_std(stream) {
        Ok(stream) => stream,
        Err(error) => return tracing::debug!(%error, "connection was gone before it was served"),
    };
    let Some(peer) = announcement::client(&mut stream, peer, &site).await else { return };
    let Ok(_counted) = crowd(&site, peer) else { return };
    match scheme {
        Scheme::Https => serve_tls(stream, peer, site).await,
        Scheme::Http => Box::pin(redirect::serve(stream, peer, site)).await,
    }
}

/// Finds room for one more connection from `peer`; none needed for a proxy of ours.
fn crowd<H: Handler>(site: &Site<H>, peer: SocketAddr) -> Result<Option<InCrowd>, Crowded> {
    let place = site.crowd.enter(peer.ip(), site.connections_per_address);
    if place.is_none() && !site.handler.trusts(peer.ip().to_canonical()) {
        site.gauges.count_refused();
        site.handler.refused(peer.ip(), Refusal::TooManyConnections);
        tracing::debug!(%peer, "connection refused: its address has too many (`server.limits.connections_per_address`)");
        return Err(Crowded);
    }
    Ok(place)
}

/// An address has all the connections that it may have.
struct Crowded;

async fn serve_tls<H: Handler>(stream: TcpStream, peer: SocketAddr, site: Rc<Site<H>>) {
    let mut phases = site.phase.clone();
    let shaken = tokio::select! {
        shaken = Box::pin(shake_hands(stream, &site)) => shaken,
        () = last_call(&mut phases) => return,
    };
    let stream = match shaken {
        Ok(stream) => stream,
        Err(error) => {
            site.gauges.count_failed_handshake();
            return tracing::debug!(%peer, %error, "TLS handshake failed");
        }
    };
    let session = stream.get_ref().1;
    let is_http2 = session.alpn_protocol() == Some(b"h2");
    let sni: Option<Box<str>> = session.server_name().map(|name| name.to_ascii_lowercase().into());
    let certificate = sni.as_deref().and_then(|name| site.tls.certificate_for(name));
    let connection = Rc::new(Connection { peer, sni, certificate, tunnel: RefCell::new(None) });
    if is_http2 {
        Box::pin(http2::serve(stream, connection, site)).await;
    } else {
        Box::pin(http1::serve(stream, connection, site)).await;
    }
}

/// The handshake within its deadline. In a box, because it is large and everything that waits for it or goes on with
/// it would keep room for it.
async fn shake_hands<H>(stream: TcpStream, site: &Site<H>) -> io::Result<Box<ClientIo>> {
    timeout(site.limits.handshake, site.tls.acceptor().accept(stream)).await?.map(Box::new)
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

/// Tells the client what it is refused, in the words of its kind of connection, and the handler that it was.
pub(super) async fn refuse<H: Handler>(
    io: &mut (impl AsyncWrite + Unpin),
    peer: SocketAddr,
    site: &Site<H>,
    refusal: Refusal,
    of: fn(&EarlyErrors) -> &Refusals,
) {
    site.handler.refused(peer.ip(), refusal);
    let answers = site.early.load_full();
    if let Some(answer) = of(&answers).answer(refusal) {
        // The client may be gone already.
        let _gone = timeout(site.limits.body_stall, io.write_all(answer)).await;
    }
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
pub(super) const LINGER: Duration = Duration::from_secs(1);

/// How much a client may go on sending meanwhile.
pub(super) const LINGER_BYTES: usize = 1 << 20;
