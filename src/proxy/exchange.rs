//! One request to a backend and its answer: connections that turn out closed, timeouts, retries.
//!
//! Invariants: a request is sent a second time only if nothing of it was sent, if the backend says that it
//! has not looked at it, or if sending it twice is the same as once (RFC 9110 9.2.2); a request with any
//! other method reaches an application at most once.

use std::error::Error;
use std::future::{Future, poll_fn};
use std::io;
use std::mem;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{Method, Request, Response};

use super::affinity::Affinity;
use super::body::Content;
use super::connection::{Connection, Line};
use super::headers::{self, Framing};
use super::http1;
use super::lease::Lease;
use super::multiplex::Place;
use super::pool::{Origin, Pool, Reuse, Wish};
use super::shape::{as_http1, as_http2};
use super::stall::StallTimer;
use super::upgrade::Switch;
use super::upload::{Progress, RequestBody};
use super::{ForwardError, ResponseFault};

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
) -> Result<(Response<Content>, Lease), ForwardError> {
    let mut wish = Wish { reuse: Reuse::Allowed, switch };
    let limit = pool.upstream().config().response_timeout;
    let mut number = 0;
    // Before the connection is chosen: nothing comes between a look at it and the request.
    let_others_go_first().await;
    loop {
        number += 1;
        let (mut lease, origin) = pool.lease(wish, visitor).await?;
        pool.upstream().set_host(lease.server(), request.headers_mut());
        let attempt = Attempt { number, origin, switch, limit, progress: progress.as_deref() };
        let Connection { line, timer } = &mut lease.connection;
        let answered = match line {
            Line::Own(connection) => attempt.over_http1(connection, timer, &mut request).await,
            // Boxed, because it is large, and most backends speak HTTP/1.1.
            Line::Shared(place) => Box::pin(attempt.over_http2(place, timer, &mut request)).await,
        };
        match answered {
            Ok(response) => {
                pool.upstream().answered(lease.server());
                return Ok((response, lease));
            }
            Err(Unanswered::Again(reuse)) => wish.reuse = reuse,
            Err(Unanswered::Failed(error)) => {
                lease.failed(&error);
                return Err(error);
            }
        }
    }
}

/// One attempt to have a request answered.
struct Attempt<'a> {
    /// Counted from 1.
    number: u32,
    origin: Origin,
    switch: Switch,
    /// How long the backend may take.
    limit: Duration,
    progress: Option<&'a Progress>,
}

impl Attempt<'_> {
    async fn over_http1(
        &self,
        connection: &mut http1::Connection,
        timer: &mut StallTimer,
        request: &mut Request<RequestBody>,
    ) -> Result<Response<Content>, Unanswered> {
        let is_bare = request.body().is_empty();
        connection.begin(request);
        let fault = match self.wait(timer, |cx| connection.poll_answer(cx)).await? {
            Ok(response) => return Ok(response.map(|()| Content::Own)),
            Err(fault) => fault,
        };
        let is_gone = matches!(&fault, ResponseFault::Http1(fault) if fault.is_hang_up());
        let is_harmless = connection.is_untouched() || self.may_repeat(request);
        // Only a connection that was used before may be closed without a fault of the backend.
        if is_gone && is_bare && is_harmless && self.origin == Origin::Reused {
            return Err(Unanswered::Again(Reuse::Forbidden));
        }
        Err(self.blame(fault))
    }

    async fn over_http2(
        &self,
        place: &Rc<Place>,
        timer: &mut StallTimer,
        request: &mut Request<RequestBody>,
    ) -> Result<Response<Content>, Unanswered> {
        let spare = request.body().is_empty().then(|| head_of(request));
        as_http2(request, place.scheme());
        request.body_mut().hold(place);
        let mut answer = pin!(place.send(mem::replace(request, Request::new(RequestBody::empty()))));
        let mut failure = match self.wait(timer, |cx| answer.as_mut().poll(cx)).await? {
            Ok(response) => {
                Framing::of(response.headers()).map_err(ForwardError::from)?;
                return Ok(response.map(Content::Shared));
            }
            Err(failure) => failure,
        };
        let is_reused = self.origin == Origin::Reused;
        if is_reused && let Some(unsent) = failure.take_message() {
            *request = unsent;
            request.body_mut().let_go();
            as_http1(request, self.switch);
            return Err(Unanswered::Again(self.reuse_next()));
        }
        let Some(head) = spare else { return Err(self.blame(failure.into_error().into())) };
        *request = head;
        let error = failure.into_error();
        let is_harmless =
            is_unprocessed(&error) || is_reused && self.may_repeat(request) && is_hang_up(&error);
        if is_harmless && self.number < ATTEMPTS {
            return Err(Unanswered::Again(self.reuse_next()));
        }
        Err(self.blame(error.into()))
    }

    /// Waits for the head of the answer.
    ///
    /// The response timeout counts from the last piece of the upload, and not while the client is to send.
    async fn wait<T>(
        &self,
        timer: &mut StallTimer,
        mut poll_answer: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Result<T, ForwardError> {
        timer.moved();
        let result = poll_fn(|cx| {
            if let Poll::Ready(answer) = poll_answer(cx) {
                return Poll::Ready(Ok(answer));
            }
            loop {
                ready!(timer.poll(cx, self.limit));
                if !self.progress.is_some_and(Progress::excuses_the_backend) {
                    return Poll::Ready(Err(ForwardError::ResponseTimeout));
                }
                timer.moved();
            }
        })
        .await;
        timer.moved();
        result
    }

    /// Whether it does no harm that the backend may get the request twice.
    fn may_repeat(&self, request: &Request<RequestBody>) -> bool {
        self.number == 1 && request.method().is_idempotent()
    }

    /// A connection that many share was lost to all of them: they meet again on the next one.
    const fn reuse_next(&self) -> Reuse {
        if self.number == 1 { Reuse::Allowed } else { Reuse::Forbidden }
    }

    /// Whose fault it is that there is no answer: an upload that breaks off ends the exchange, too.
    fn blame(&self, fault: ResponseFault) -> Unanswered {
        let of_client = self.progress.and_then(Progress::fault);
        Unanswered::Failed(of_client.unwrap_or_else(|| fault.into()))
    }
}

/// Lets this worker read what its other clients have sent before it writes.
///
/// The requests then go out together, and a backend that sleeps is woken once for all of them: to wake it costs
/// more than to write.
async fn let_others_go_first() {
    let mut is_our_turn = false;
    poll_fn(|cx| {
        if mem::replace(&mut is_our_turn, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Why an attempt brought no answer.
enum Unanswered {
    /// The request, which is as it was, can be sent once more.
    Again(Reuse),
    Failed(ForwardError),
}

impl From<ForwardError> for Unanswered {
    fn from(error: ForwardError) -> Self {
        Self::Failed(error)
    }
}

/// What is kept to send a request again that has no body.
fn head_of(request: &Request<RequestBody>) -> Request<RequestBody> {
    let mut head = Request::new(RequestBody::empty());
    *head.method_mut() = request.method().clone();
    *head.uri_mut() = request.uri().clone();
    *head.version_mut() = request.version();
    *head.headers_mut() = request.headers().clone();
    head
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

/// How often a request that nobody has looked at is sent at most.
const ATTEMPTS: u32 = 3;
