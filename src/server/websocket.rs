//! A WebSocket on one stream of an HTTP/2 connection (RFC 8441).
//!
//! The handler sees what a client of HTTP/1.1 would have sent: a GET that asks to switch. Invariant: a
//! stream becomes a tunnel only if the handler hands one over; no other answer looks like that.

use std::rc::Rc;

use bytes::Bytes;
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Method, Request, StatusCode};
use hyper::body::Incoming;
use hyper::ext::Protocol;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::connection::{self, Answering, Connection, Handler, Tunnel};
use super::drain::Counted;
use super::phase::{Hold, Progress};
use super::worker::Site;

/// Whether the request asks for a WebSocket by an extended CONNECT.
pub(super) fn is_asked_for(request: &Request<Incoming>) -> bool {
    let protocol = request.extensions().get::<Protocol>();
    *request.method() == Method::CONNECT
        && protocol.is_some_and(|protocol| protocol.as_str().eq_ignore_ascii_case("websocket"))
}

/// Begins the answer to such a request, and the tunnel that may follow.
pub(super) fn answer<H: Handler>(
    site: &Rc<Site<H>>,
    connection: &Rc<Connection>,
    progress: &Rc<Progress>,
    mut request: Request<Incoming>,
) -> Answering<H::Body> {
    let stream = hyper::upgrade::on(&mut request);
    ask_as_http1(&mut request);
    let answer = connection::answer(site, connection, progress, request);
    let (site, connection, progress) = (Rc::clone(site), Rc::clone(connection), Rc::clone(progress));
    Box::pin(async move {
        let mut response = answer.await?;
        // Nothing else of this connection runs between the handler's last words and this.
        if let Some(tunnel) = connection.take_tunnel() {
            let counted = site.under_way.tunnels.add_one();
            tokio::task::spawn_local(carry(tunnel, stream, progress.hold(), counted));
        } else if response.status().is_success() {
            // SECURITY: to the client, any success would be the beginning of a tunnel.
            *response.status_mut() = StatusCode::NOT_IMPLEMENTED;
        }
        Ok(response)
    })
}

/// RFC 8441 section 5: what stands in the pseudo-header takes the place of these.
fn ask_as_http1(request: &mut Request<Incoming>) {
    *request.method_mut() = Method::GET;
    let headers = request.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
}

/// Runs a tunnel on its stream; the connection and its other streams go on.
async fn carry(tunnel: Tunnel, stream: OnUpgrade, _open: Hold, _counted: Counted) {
    match stream.await {
        Ok(stream) => {
            let mut io = TokioIo::new(stream);
            tunnel(&mut io, Bytes::new()).await;
            connection::close(io).await;
        }
        Err(error) => tracing::debug!(%error, "client left before its tunnel began"),
    }
}
