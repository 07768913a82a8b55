//! One request to a backend and its answer: connections that turn out closed, timeouts, retries.
//!
//! Invariants: a request is sent a second time only if nothing of it was sent, if the backend says that it
//! has not looked at it, or if sending it twice is the same as once (RFC 9110 9.2.2); a request with any
//! other method reaches an application at most once.

use std::error::Error;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::Duration;

use http::{Method, Request, Response, Version};
use hyper::body::Incoming;

use super::affinity::Affinity;
use super::connection::Wire;
use super::lease::Lease;
use super::multiplex::Failure;
use super::pool::{Origin, Pool, Reuse, Wish};
use super::shape::as_http1;
use super::stall::StallTimer;
use super::upgrade::Switch;
use super::upload::{Progress, RequestBody, UploadError};
use super::{ForwardError, ResponseFault, headers};

/// Brings a request into the form in which a backend of HTTP/1.1 reads it, framed by us.
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
    as_http1(&mut request, switch);
    Ok(request)
}

/// Sends the request to a server of the pool's upstream; gives its answer and the connection.
pub(super) async fn run(
    pool: &Rc<Pool>,
    visitor: Affinity,
    switch: Switch,
    mut request: Request<RequestBody>,
    progress: Option<Rc<Progress>>,
) -> Result<(Response<Incoming>, Lease), ForwardError> {
    let mut wish = Wish { reuse: Reuse::Allowed, switch };
    let limit = pool.upstream().config().response_timeout;
    let mut attempt = 0;
    loop {
        attempt += 1;
        let (mut lease, origin) = pool.lease(wish, visitor).await?;
        pool.upstream().set_host(lease.server(), request.headers_mut());
        let mut spare = Spare::of(&request, attempt, origin, lease.connection.sender.wire());
        lease.fit(&mut request);
        let answer = pin!(lease.connection.sender.send(request));
        let sent = wait_for(answer, &mut lease.connection.timer, progress.as_deref(), limit).await;
        let failed = |error: &ForwardError| lease.failed(error);
        match sent.inspect_err(failed)? {
            Ok(response) => {
                pool.upstream().answered(lease.server());
                return Ok((response, lease));
            }
            Err(failure) => request = spare.again(failure, progress.as_deref()).inspect_err(failed)?,
        }
        if request.version() == Version::HTTP_2 {
            request.body_mut().let_go();
            as_http1(&mut request, switch);
        }
        wish.reuse = spare.reuse_next();
    }
}

/// Waits for the head of the answer.
///
/// The response timeout counts from the last piece of the upload, and not while the client is to send.
async fn wait_for<F: Future>(
    mut answer: Pin<&mut F>,
    timer: &mut StallTimer,
    progress: Option<&Progress>,
    limit: Duration,
) -> Result<F::Output, ForwardError> {
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
    attempt: u32,
    origin: Origin,
    wire: Wire,
    /// Whether sending it twice is the same as once.
    is_idempotent: bool,
    head: Option<Request<()>>,
}

impl Spare {
    /// Only a connection that was used before may be closed without a fault of the backend; one of
    /// HTTP/2 may also refuse what it has not looked at.
    fn of(request: &Request<RequestBody>, attempt: u32, origin: Origin, wire: Wire) -> Self {
        let is_idempotent = request.method().is_idempotent();
        let may_come_back = wire == Wire::Http2 || origin == Origin::Reused && is_idempotent;
        let head = (may_come_back && request.body().is_empty()).then(|| {
            let mut head = Request::new(());
            *head.method_mut() = request.method().clone();
            *head.uri_mut() = request.uri().clone();
            *head.headers_mut() = request.headers().clone();
            head
        });
        Self { attempt, origin, wire, is_idempotent, head }
    }

    /// The request once more, or why not.
    fn again(
        &mut self,
        mut failure: Failure,
        progress: Option<&Progress>,
    ) -> Result<Request<RequestBody>, ForwardError> {
        let is_reused = self.origin == Origin::Reused;
        if is_reused && let Some(unsent) = failure.take_message() {
            return Ok(unsent);
        }
        let error = failure.error();
        let is_sent_once = self.attempt == 1 && self.is_idempotent;
        let is_harmless = is_unprocessed(error) || is_reused && is_sent_once && is_hang_up(error);
        match self.head.take() {
            Some(head) if is_harmless && self.attempt < ATTEMPTS => Ok(head.map(|()| RequestBody::empty())),
            _ => Err(blame(failure.into_error(), progress)),
        }
    }

    /// A connection that many share was lost to all of them: they meet again on the next one.
    fn reuse_next(&self) -> Reuse {
        match self.wire {
            Wire::Http2 if self.attempt == 1 => Reuse::Allowed,
            _ => Reuse::Forbidden,
        }
    }
}

/// Whether the backend says that it has not looked at the request (RFC 9113 8.7).
///
/// SECURITY: only its own word counts: h2 reports a GOAWAY of the peer's for streams above the last one
/// that the peer names, and for those alone.
fn is_unprocessed(error: &hyper::Error) -> bool {
    let cause = error.source().and_then(|source| source.downcast_ref::<h2::Error>());
    cause.is_some_and(|cause| {
        let is_refused = cause.is_reset() && cause.reason() == Some(h2::Reason::REFUSED_STREAM);
        cause.is_remote() && (is_refused || cause.is_go_away())
    })
}

/// Whether the backend closed the connection instead of answering.
fn is_hang_up(error: &hyper::Error) -> bool {
    error.is_incomplete_message()
        || error.is_closed()
        || error.is_canceled()
        || error.source().is_some_and(<dyn Error + 'static>::is::<io::Error>)
}

/// Whose fault it is that there is no answer.
fn blame(error: hyper::Error, progress: Option<&Progress>) -> ForwardError {
    // HTTP/2 resets the stream in silence when the upload breaks off.
    if let Some(fault) = progress.and_then(Progress::fault) {
        return fault;
    }
    match error.source().and_then(|source| source.downcast_ref::<UploadError>()) {
        Some(fault) => fault.into(),
        None => ResponseFault::Broken(error).into(),
    }
}

/// How often a request that nobody has looked at is sent at most.
const ATTEMPTS: u32 = 3;
