//! The clear-text listener: it knows nothing but the way to https.

use std::convert::Infallible;
use std::future::ready;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;

use super::connection::{self, Handler};
use super::drain::{Count, last_call};
use super::early_error::Guarded;
use super::phase::{Between, Progress};
use super::refusal::Refusal;
use super::worker::Site;

/// Answers every request with the same target over https.
pub(super) async fn serve<H: Handler>(stream: TcpStream, peer: SocketAddr, site: Rc<Site<H>>) {
    let mut phases = site.phase.clone();
    let progress = Rc::new(Progress::new(Count::default(), Between::Heads));
    let service = service_fn({
        let (site, progress) = (Rc::clone(&site), Rc::clone(&progress));
        move |request| {
            let response = respond(&request, site.https_port, &site.early.load().redirect);
            if response.status() == StatusCode::BAD_REQUEST {
                site.handler.refused(peer.ip(), Refusal::Malformed);
            }
            ready(Ok::<_, Infallible>(progress.begin().answer_with(response)))
        }
    });
    let mut http = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(site.limits.request_head)
        .max_header_size(site.limits.header_bytes)
        // One request leads elsewhere; there is nothing to keep alive for.
        .keep_alive(false)
        .serve_connection(TokioIo::new(Guarded::new(stream, progress)), service);
    let ended = tokio::select! {
        biased;
        ended = &mut http => Some(ended),
        () = last_call(&mut phases) => None,
    };
    let ended = if let Some(ended) = ended {
        ended
    } else {
        Pin::new(&mut http).graceful_shutdown();
        (&mut http).await
    };
    let parts = http.into_parts();
    let guarded = parts.io.into_inner();
    let refusal = match ended {
        Err(error) if error.is_parse() => guarded.refusal(&parts.read_buf, site.limits.header_bytes),
        _ => None,
    };
    let mut io = guarded.into_inner();
    if let Some(refusal) = refusal {
        connection::refuse(&mut io, peer, &site, refusal, |answers| &answers.clear).await;
    }
    // The body of the request, if it has one, is still unread.
    connection::close(io).await;
}

fn respond<B>(request: &Request<B>, port: u16, security: &HeaderMap) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.headers_mut() = security.clone();
    match location(request, port) {
        Some(location) => {
            // A permanent redirect that old clients know; others must keep method and body.
            let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
            *response.status_mut() =
                if is_read { StatusCode::MOVED_PERMANENTLY } else { StatusCode::PERMANENT_REDIRECT };
            response.headers_mut().insert(header::LOCATION, location);
        }
        None => *response.status_mut() = StatusCode::BAD_REQUEST,
    }
    response
}

fn location<B>(request: &Request<B>, port: u16) -> Option<HeaderValue> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (host, None) = (hosts.next()?.to_str().ok()?, hosts.next()) else { return None };
    let name = without_port(host);
    let is_plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'[' | b']' | b':');
    // SECURITY: the host stands in a Location; nothing but a host name may pass.
    if name.is_empty() || !name.bytes().all(is_plain) {
        return None;
    }
    let target = request
        .uri()
        .path_and_query()
        .map(http::uri::PathAndQuery::as_str)
        .filter(|it| it.starts_with('/'))?;
    let location = match port {
        443 => format!("https://{name}{target}"),
        port => format!("https://{name}:{port}{target}"),
    };
    HeaderValue::try_from(location).ok()
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redirected(host: &str, target: &str, port: u16) -> Option<String> {
        let request = Request::builder().uri(target).header("host", host).body(()).unwrap();
        location(&request, port).map(|location| location.to_str().unwrap().to_owned())
    }

    #[test]
    fn the_target_is_kept_and_the_port_is_that_of_https() {
        assert_eq!(redirected("a.example", "/x?y=1", 443).as_deref(), Some("https://a.example/x?y=1"));
        assert_eq!(redirected("a.example:8080", "/", 8443).as_deref(), Some("https://a.example:8443/"));
        assert_eq!(redirected("[::1]:80", "/", 443).as_deref(), Some("https://[::1]/"));
    }

    #[test]
    fn a_host_that_is_no_host_is_refused() {
        for host in ["", "evil.example/path", "a@b", "a b", ":80"] {
            assert_eq!(redirected(host, "/", 443), None, "{host:?}");
        }
    }
}
