//! Switching a request to the WebSocket protocol.
//!
//! Leaves the bytes that follow to [`super::tunnel()`] and the client's side of the socket to the server
//! room. Invariant: a connection becomes raw only after the backend's 101 to a complete request for
//! exactly that.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, SEC_WEBSOCKET_ACCEPT, UPGRADE};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::Body;
use hyper::ext::Protocol;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::{Line, Socket};
use super::handshake::Expected;
use super::headers::{names_websocket, strip_hop_by_hop};
use super::lease::Lease;
use super::upstream::Load;
use super::{ForwardError, ResponseFault};

/// The backend switched protocols: its answer, and its side of the tunnel.
#[derive(Debug)]
pub struct Upgraded {
    /// The answer for the client: 101, or 200 on a stream of HTTP/2.
    pub response: Response<()>,
    /// The backend's raw connection.
    pub backend: Backend,
    /// What the backend sent behind its answer.
    pub read_ahead: Bytes,
}

/// A raw connection to a backend; counts as one of the upstream's connections while it lives.
pub struct Backend {
    socket: Socket,
    _load: Load,
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.socket.fmt(f)
    }
}

impl AsyncRead for Backend {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Backend {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

/// Whether a request switches protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Switch {
    No,
    WebSocket,
    /// The client asks by HTTP/2 (RFC 8441): the handshake of HTTP/1.1 is ours.
    Bridged,
}

impl Switch {
    /// What the client asks for, under the rules that leave no doubt (RFC 9110 7.8).
    ///
    /// SECURITY: anything less than a GET of HTTP/1.1 without a body, naming exactly `websocket`, is an
    /// ordinary request; reading on past its end as raw bytes would smuggle requests. The extended CONNECT
    /// of HTTP/2 comes as such a GET, with the mark that h2 sets for nothing else.
    pub(super) fn asked<B: Body>(request: &Request<B>) -> Self {
        let plain = request.method() == Method::GET && request.body().is_end_stream();
        match request.version() {
            Version::HTTP_11 if plain && names_websocket(request.headers()) => Self::WebSocket,
            Version::HTTP_2 if plain && names_websocket(request.headers()) && is_extended(request) => {
                Self::Bridged
            }
            _ => Self::No,
        }
    }
}

fn is_extended<B>(request: &Request<B>) -> bool {
    request.extensions().get::<Protocol>().is_some()
}

/// Takes over the backend's socket after its 101; where the handshake is ours, that must answer it.
pub(super) fn take_over(
    mut response: Response<()>,
    lease: Lease,
    expected: Option<&Expected>,
) -> Result<Upgraded, ForwardError> {
    if !names_websocket(response.headers()) {
        return Err(ResponseFault::Switched.into());
    }
    if expected.is_some_and(|expected| !expected.is_met_by(response.headers())) {
        return Err(ResponseFault::Handshake.into());
    }
    let (Line::Own(connection), load) = lease.into_parts() else {
        return Err(ResponseFault::Switched.into());
    };
    // Behind a part of a request nothing else can follow.
    if connection.is_sending() {
        return Err(ResponseFault::Switched.into());
    }
    let (socket, read_ahead) = connection.into_raw();
    strip_hop_by_hop(response.headers_mut());
    if expected.is_some() {
        answer_as_http2(&mut response);
    } else {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
        response.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
    }
    Ok(Upgraded { response, backend: Backend { socket, _load: load }, read_ahead })
}

/// A stream of HTTP/2 is a tunnel by a 200 (RFC 8441 section 5), which has no length.
fn answer_as_http2(response: &mut Response<()>) {
    *response.status_mut() = StatusCode::OK;
    for name in [CONNECTION, UPGRADE, SEC_WEBSOCKET_ACCEPT, CONTENT_LENGTH] {
        response.headers_mut().remove(name);
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{Empty, Full};

    use super::*;

    fn request(method: Method, version: Version, upgrade: &'static str) -> Request<Empty<Bytes>> {
        let request = Request::builder().method(method).version(version);
        request.header(CONNECTION, "Upgrade").header(UPGRADE, upgrade).body(Empty::new()).unwrap()
    }

    #[test]
    fn only_a_bodyless_get_of_http_1_1_may_switch() {
        let ask = |method, version| Switch::asked(&request(method, version, "websocket"));
        assert_eq!(ask(Method::GET, Version::HTTP_11), Switch::WebSocket);
        assert_eq!(ask(Method::POST, Version::HTTP_11), Switch::No);
        assert_eq!(ask(Method::GET, Version::HTTP_10), Switch::No);
        assert_eq!(ask(Method::GET, Version::HTTP_2), Switch::No);
        let mut extended = request(Method::GET, Version::HTTP_2, "websocket");
        extended.extensions_mut().insert(Protocol::from_static("websocket"));
        assert_eq!(Switch::asked(&extended), Switch::Bridged);
        assert_eq!(Switch::asked(&request(Method::GET, Version::HTTP_11, "h2c")), Switch::No);
        let with_body =
            request(Method::GET, Version::HTTP_11, "websocket").map(|_| Full::<Bytes>::from("body"));
        assert_eq!(Switch::asked(&with_body), Switch::No);
    }
}
