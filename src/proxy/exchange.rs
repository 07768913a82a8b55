//! One request to a backend and its answer: connections that turn out closed, timeouts, retries.
//!
//! Invariants: a request is sent a second time only if nothing of it was sent, or if sending it twice
//! is the same as once (RFC 9110 9.2.2), and then once, on a fresh connection; a request with any other
//! method reaches a backend at most once.

use std::error::Error;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, ready};

use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, Response, Uri, Version};
use http_body::Body;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;

use super::affinity::Affinity;
use super::pool::{Lease, Origin, Pool, Reuse};
use super::upgrade::Switch;
use super::upload::{Progress, RequestBody, UploadError};
use super::{ForwardError, ResponseFault, headers};

/// Brings a request into the form in which a backend reads it: HTTP/1.1, origin-form, framed by us.
pub(super) fn outgoing(
    mut request: Request<RequestBody>,
    switch: Switch,
) -> Result<Request<RequestBody>, ForwardError> {
    if request.method() == Method::CONNECT {
        return Err(ForwardError::Method);
    }
    if headers::is_looping(request.headers()) {
        return Err(ForwardError::Loop);
    }
    request.extensions_mut().clear();
    *request.version_mut() = Version::HTTP_11;
    set_target(&mut request);
    set_connection(&mut request, switch);
    set_framing(&mut request);
    Ok(request)
}

/// Sends the request to a server of the pool's upstream; gives its answer and the connection.
pub(super) async fn run(
    pool: &Rc<Pool>,
    visitor: Affinity,
    mut request: Request<RequestBody>,
    progress: Option<Rc<Progress>>,
) -> Result<(Response<Incoming>, Lease), ForwardError> {
    let mut reuse = Reuse::Allowed;
    loop {
        let (mut lease, origin) = pool.lease(reuse, visitor).await?;
        pool.upstream().set_host(lease.server(), request.headers_mut());
        let mut spare = Spare::of(&request, origin);
        let sent = send(&mut lease, request, progress.as_deref(), pool).await;
        let failed = |error: &ForwardError| pool.upstream().failed(lease.server(), error);
        match sent.inspect_err(failed)? {
            Ok(response) => {
                pool.upstream().answered(lease.server());
                return Ok((response, lease));
            }
            Err(failure) => request = spare.again(failure).inspect_err(failed)?,
        }
        reuse = Reuse::Forbidden;
    }
}

type Failure = TrySendError<Request<RequestBody>>;

/// Sends over one connection and waits for the head of the answer.
///
/// The response timeout counts from the last piece of the upload, and not while the client is to send.
async fn send(
    lease: &mut Lease,
    request: Request<RequestBody>,
    progress: Option<&Progress>,
    pool: &Pool,
) -> Result<Result<Response<Incoming>, Failure>, ForwardError> {
    let limit = pool.upstream().config().response_timeout;
    let connection = &mut lease.connection;
    let mut answer = pin!(connection.sender.try_send_request(request));
    let timer = &mut connection.timer;
    timer.moved();
    let result = poll_fn(|cx| {
        if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
            return Poll::Ready(Ok(answer));
        }
        loop {
            ready!(timer.poll(cx, limit));
            if !progress.is_some_and(Progress::excuses_the_backend) {
                return Poll::Ready(Err(ForwardError::ResponseTimeout));
            }
            timer.moved();
        }
    })
    .await;
    timer.moved();
    result
}

/// What is kept to send a request again, should its connection turn out closed.
struct Spare {
    origin: Origin,
    head: Option<Request<()>>,
}

impl Spare {
    /// Only a connection that was used before may be closed without a fault of the backend.
    fn of(request: &Request<RequestBody>, origin: Origin) -> Self {
        let repeatable = request.method().is_idempotent() && request.body().is_empty();
        let head = (origin == Origin::Reused && repeatable).then(|| {
            let mut head = Request::new(());
            *head.method_mut() = request.method().clone();
            *head.uri_mut() = request.uri().clone();
            *head.headers_mut() = request.headers().clone();
            head
        });
        Self { origin, head }
    }

    /// The request once more, or why not.
    fn again(&mut self, mut failure: Failure) -> Result<Request<RequestBody>, ForwardError> {
        if self.origin == Origin::Reused {
            if let Some(unsent) = failure.take_message() {
                return Ok(unsent);
            }
            if is_hang_up(failure.error())
                && let Some(head) = self.head.take()
            {
                return Ok(head.map(|()| RequestBody::empty()));
            }
        }
        Err(blame(failure.into_error()))
    }
}

/// Whether the backend closed the connection instead of answering.
fn is_hang_up(error: &hyper::Error) -> bool {
    error.is_incomplete_message()
        || error.is_closed()
        || error.is_canceled()
        || error.source().is_some_and(<dyn Error + 'static>::is::<io::Error>)
}

/// Whose fault it is that there is no answer.
fn blame(error: hyper::Error) -> ForwardError {
    match error.source().and_then(|source| source.downcast_ref()) {
        Some(UploadError::TooLarge) => ForwardError::BodyTooLarge,
        Some(UploadError::Stalled) => ForwardError::BodyStalled,
        Some(UploadError::ClientGone(_)) => ForwardError::ClientGone,
        Some(UploadError::Malformed(_)) => ForwardError::BodyMalformed,
        None => ResponseFault::Broken(error).into(),
    }
}

/// Makes the target origin-form; an authority in it is the host (RFC 9112 3.2.2, RFC 9113 8.3.1).
fn set_target(request: &mut Request<RequestBody>) {
    let Some(authority) = request.uri().authority() else { return };
    let named = authority.as_str().rsplit_once('@').map_or(authority.as_str(), |(_, host)| host);
    let host = HeaderValue::from_str(named);
    let target = request.uri().path_and_query().cloned();
    *request.uri_mut() = Uri::from(target.unwrap_or_else(|| PathAndQuery::from_static("/")));
    if let Ok(host) = host {
        request.headers_mut().insert(HOST, host);
    }
}

/// SECURITY: whatever `Connection` says by now is ignored; it is written anew.
fn set_connection(request: &mut Request<RequestBody>, switch: Switch) {
    let headers = request.headers_mut();
    headers.remove(CONNECTION);
    match switch {
        Switch::WebSocket => drop(headers.insert(CONNECTION, HeaderValue::from_static("upgrade"))),
        Switch::No => drop(headers.remove(UPGRADE)),
    }
    if headers.contains_key(TE) {
        headers.append(CONNECTION, HeaderValue::from_static("te"));
    }
}

/// Makes hyper frame the body as it is, whatever the method.
fn set_framing(request: &mut Request<RequestBody>) {
    let (empty, exact) = (request.body().is_empty(), request.body().size_hint().exact());
    let content = matches!(*request.method(), Method::POST | Method::PUT | Method::PATCH);
    let headers = request.headers_mut();
    headers.remove(TRANSFER_ENCODING);
    match exact {
        // A method that has a body says so when it is empty (RFC 9110 8.6).
        Some(_) if empty && !content => drop(headers.remove(CONTENT_LENGTH)),
        Some(length) => drop(headers.insert(CONTENT_LENGTH, HeaderValue::from(length))),
        // SECURITY: without this, hyper sends GET and HEAD without their body.
        None => {
            headers.remove(CONTENT_LENGTH);
            headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
    }
}
