//! A request and an identity in, the backend's response out.
//!
//! [`forward`] is the only way to a backend. It leaves every decision about who may pass to the
//! gateway, which also sets identity headers and removes the session cookie before it calls. One worker
//! thread owns its [`Pools`]; workers share an [`Upstream`] without locks.
//!
//! Invariants: a response that breaks off is never passed on as complete; a POST reaches a backend at
//! most once; nothing that a client names in `Connection` is heeded.

mod affinity;
mod balance;
pub mod body;
mod bound;
mod check;
pub mod client_addr;
mod connection;
mod dial;
mod exchange;
mod handshake;
mod head_size;
pub mod headers;
mod health;
mod heard;
mod host_name;
mod http1;
mod lease;
mod multiplex;
pub mod pool;
mod server;
mod shape;
mod shared;
mod stall;
mod stream;
#[cfg(test)]
mod tests;
mod tls;
pub mod trailers;
pub mod tunnel;
pub mod upgrade;
mod upload;
pub mod upstream;
mod websocket;

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Request, Response, StatusCode, Version, header};
use http_body::Body;
use hyper::body::Incoming;

pub use self::affinity::Affinity;
pub use self::balance::Balance;
use self::body::Content;
pub use self::body::{BodyError, Limits, UpstreamBody};
pub use self::check::{HealthCheck, watch};
pub use self::client_addr::{ForwardedBy, Unproven, client_address};
use self::handshake::Expected;
pub use self::head_size::{HeadLimits, LargestPart};
pub use self::http1::Fault as Http1Fault;
pub use self::pool::Pools;
use self::pool::Reuse;
pub use self::server::{HostPort, ServerAddress, WeightedServer};
pub use self::tls::{BackendTls, OwnCertificate, Protocol, TlsError};
pub use self::trailers::TrailerFilter;
pub use self::tunnel::{Side, Tunnelled, tunnel};
use self::upgrade::Switch;
pub use self::upgrade::{Backend, Upgraded};
use self::upload::{Conversation, Progress, RequestBody, UploadError};
pub use self::upstream::{Upstream, UpstreamError};

/// A named group of servers that answer the same requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamConfig {
    /// Its name in routes and logs.
    pub name: String,
    /// Where it answers; at least one.
    pub servers: Vec<WeightedServer>,
    /// How its TLS servers are spoken with.
    pub tls: BackendTls,
    /// Which server gets a request.
    pub balance: Balance,
    /// The `Host` header the backend sees.
    pub host: HostHeader,
    /// How long the opening of a connection may take.
    pub connect_timeout: Duration,
    /// How long the response head may take once the request is sent.
    pub response_timeout: Duration,
    /// Open connections of all workers together.
    pub max_connections: usize,
    /// The largest request heads that its servers take.
    pub head_limits: HeadLimits,
    /// How its servers are asked whether they are well; they are not if there is none.
    pub health: Option<HealthCheck>,
}

/// The `Host` header that a backend sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostHeader {
    /// What the client asked for.
    Preserve,
    /// The server's own `host:port`; `localhost` behind a Unix socket.
    Upstream,
    /// Always this.
    Literal(String),
}

/// Where a request goes and within which bounds.
#[derive(Clone, Copy, Debug)]
pub struct Forward<'a> {
    /// The servers that may answer.
    pub upstream: &'a Arc<Upstream>,
    /// This worker's connections.
    pub pools: &'a Rc<Pools>,
    /// Who asks, where the upstream is sticky.
    pub visitor: Affinity,
    /// Bounds of the bodies.
    pub limits: Limits,
    /// What a request's trailers may not carry.
    pub trailers: &'a TrailerFilter,
}

/// What a backend answers.
#[derive(Debug)]
pub enum Answer {
    /// An ordinary response; its body streams.
    Response(Response<UpstreamBody>),
    /// The backend switched, and so may the client: a [`tunnel()`] follows.
    Upgraded(Upgraded),
}

impl Answer {
    /// The headers of the response.
    pub fn headers_mut(&mut self) -> &mut HeaderMap {
        match self {
            Self::Response(response) => response.headers_mut(),
            Self::Upgraded(upgraded) => upgraded.response.headers_mut(),
        }
    }
}

/// Sends a request to a backend and gives its answer, as soon as the head of it is there.
///
/// The request has passed [`headers::prepare`] and carries the identity headers. Its target may be
/// in absolute form; the `Host` is set from it.
pub async fn forward(forward: Forward<'_>, request: Request<Incoming>) -> Result<Answer, ForwardError> {
    let Forward { upstream, pools, visitor, limits, trailers } = forward;
    let switch = Switch::asked(&request);
    let (parts, incoming) = request.into_parts();
    let body = RequestBody::new(incoming, limits, trailers);
    let body = body.map_err(|error| ForwardError::from(&error))?;
    let progress = body.progress();
    let later = bound::after_request(&parts.headers);
    let mut request = exchange::outgoing(Request::from_parts(parts, body), switch)?;
    let expected = match switch {
        Switch::Bridged => Some(Expected::ask(request.headers_mut()).ok_or(ForwardError::NoSwitch)?),
        Switch::No | Switch::WebSocket => None,
    };
    head_size::check(upstream, &request)?;
    let (mut response, mut lease) =
        exchange::run(&pools.of(upstream), visitor, switch, request, progress.clone()).await?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return match switch {
            Switch::WebSocket | Switch::Bridged => {
                upgrade::take_over(response.map(drop), lease, expected.as_ref()).map(Answer::Upgraded)
            }
            Switch::No => Err(ResponseFault::Switched.into()),
        };
    }
    if [later, bound::after_response(response.headers())].contains(&Reuse::Forbidden) {
        lease.spend();
    }
    headers::prepare_response(response.headers_mut());
    let conversation = conversation(&response, progress);
    *response.version_mut() = Version::HTTP_11;
    let stall = (!may_be_silent(response.headers())).then_some(limits.body_stall);
    Ok(Answer::Response(response.map(|body| UpstreamBody::new(body, lease, conversation, stall))))
}

/// A call of gRPC, which both sides may let rest for as long as they like; none if the answer begins none.
///
/// SECURITY: what the client says its request is does not count. Only who answers over HTTP/2 by a head of
/// gRPC that is not already the end takes messages at all.
fn conversation(response: &Response<Content>, progress: Option<Rc<Progress>>) -> Option<Conversation> {
    let Content::Shared(messages) = response.body() else { return None };
    let kind = response.headers().get(header::CONTENT_TYPE)?;
    let is_call = headers::is_grpc(kind.as_bytes()) && !messages.is_end_stream();
    progress.filter(|_| is_call).map(Progress::converse)
}

/// Whether the body is a stream of events, which may be silent for as long as it likes: server-sent
/// ones (WHATWG HTML section 9.2) or the messages of gRPC.
fn may_be_silent(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|kind| {
        let kind = kind.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
        kind.trim_ascii().eq_ignore_ascii_case(b"text/event-stream") || headers::is_grpc(kind)
    })
}

/// Why there is no answer of a backend.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// No server could be reached.
    #[error("the backend cannot be reached")]
    Connect(#[source] io::Error),
    /// No server could be reached that proves who it is.
    #[error("the TLS of the backend was not accepted")]
    Tls(#[source] io::Error),
    /// No server could be reached in time.
    #[error("the backend did not accept a connection in time")]
    ConnectTimeout,
    /// The backend did not begin to answer in time.
    #[error("the backend did not answer in time")]
    ResponseTimeout,
    /// No connection became free in time, or too many requests wait for one.
    #[error("the backend has too many connections")]
    TooManyConnections,
    /// The backend's answer is none.
    #[error("the backend gave no valid answer")]
    BadResponse(#[source] ResponseFault),
    /// The request body is longer than allowed.
    #[error("the request body is longer than allowed")]
    BodyTooLarge,
    /// The client sent nothing of its request body for longer than allowed, or sent it too slowly.
    #[error("the request body stalled")]
    BodyStalled,
    /// The client broke off its request body.
    #[error("the client is gone")]
    ClientGone,
    /// The client framed its request body in a way that nobody can read.
    #[error("the framing of the request body is broken")]
    BodyMalformed,
    /// The request comes from ourselves, over and over.
    #[error("the request runs in a circle")]
    Loop,
    /// The head of the request is larger than the backend takes; names its largest part.
    #[error("the head of the request is larger than the backend takes")]
    HeadTooLarge(LargestPart),
    /// A WebSocket is asked for, and no server of the upstream speaks HTTP/1.1.
    #[error("the backend cannot switch protocols: it is spoken with over HTTP/2 alone")]
    NoSwitch,
    /// `CONNECT` is for forward proxies.
    #[error("the method is not forwarded")]
    Method,
}

impl From<&UploadError> for ForwardError {
    fn from(error: &UploadError) -> Self {
        match error {
            UploadError::TooLarge => Self::BodyTooLarge,
            UploadError::Stalled => Self::BodyStalled,
            UploadError::ClientGone(_) => Self::ClientGone,
            UploadError::Malformed(_) => Self::BodyMalformed,
        }
    }
}

impl From<ResponseFault> for ForwardError {
    fn from(fault: ResponseFault) -> Self {
        Self::BadResponse(fault)
    }
}

/// What is wrong with the answer of a backend.
#[derive(Debug, thiserror::Error)]
pub enum ResponseFault {
    /// The connection ended before the answer, or what came is no HTTP/1.1.
    #[error("the connection broke or did not carry HTTP/1.1")]
    Http1(#[from] http1::Fault),
    /// The connection or the stream ended before the answer, or what came is no HTTP/2.
    #[error("the connection broke or did not carry HTTP/2")]
    Http2(#[from] hyper::Error),
    /// A 101 that was not asked for, or to another protocol.
    #[error("the backend switched protocols unasked")]
    Switched,
    /// A 101 that does not answer our key (RFC 6455 section 4.1).
    #[error("the backend did not prove that it speaks WebSocket")]
    Handshake,
    /// A transfer coding other than `chunked`.
    #[error("the backend used a transfer coding that was not allowed")]
    Coding,
    /// A length that is no number, or more than one, or one beside a transfer coding.
    #[error("the backend gave a length that can be read differently")]
    Length,
}
