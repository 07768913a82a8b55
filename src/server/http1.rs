//! HTTP/1.1 on one connection (RFC 9112).
//!
//! A connection that waits for its next request soon rests: what hyper holds for a request is given
//! back, and only TLS is kept. Invariant: a connection rests only between two requests, when nothing of
//! either is in any buffer.

use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::connection::{self, Answering, ClientIo, Connection, Handler, answer};
use super::drain::{LAST_CALL, Phase, reached};
use super::early_error::Guarded;
use super::phase::{Between, Deadline, Overdue, Progress, Tracked};
use super::refusal::Refusal;
use super::watched::Watched;
use super::worker::Site;

/// Serves requests until the client, a deadline or the server's end.
pub(super) async fn serve<H: Handler>(io: Box<ClientIo>, connection: Rc<Connection>, site: Rc<Site<H>>) {
    let progress = Rc::new(Progress::new(site.under_way.requests.clone(), Between::Heads));
    let mut io = io;
    loop {
        io = match Box::pin(converse(io, &connection, &site, &progress)).await {
            Some(io) => io,
            None => return,
        };
        if rest(&io, &progress, &site).await == Rest::Over {
            return connection::close(io).await;
        }
    }
}

/// How a rest ended.
#[derive(PartialEq, Eq)]
enum Rest {
    /// By bytes of the client, or by the server's end: both are for [`converse`].
    Disturbed,
    Over,
}

async fn rest<H>(io: &ClientIo, progress: &Progress, site: &Site<H>) -> Rest {
    let mut phases = site.phase.clone();
    tokio::select! {
        biased;
        () = reached(&mut phases, Phase::Draining) => Rest::Disturbed,
        _ = io.get_ref().0.readable() => Rest::Disturbed,
        () = tokio::time::sleep(progress.rest_left(&site.limits)) => Rest::Over,
    }
}

/// Serves requests; gives the connection back when it may rest.
async fn converse<H: Handler>(
    io: Box<ClientIo>,
    connection: &Rc<Connection>,
    site: &Rc<Site<H>>,
    progress: &Rc<Progress>,
) -> Option<Box<ClientIo>> {
    let service = service(Rc::clone(connection), Rc::clone(site), Rc::clone(progress));
    let io = Guarded::new(Watched::new(io, Rc::clone(progress)), Rc::clone(progress));
    let mut http = settings(site).serve_connection(TokioIo::new(io), service);
    let end = drive(&mut http, progress, site).await;
    let parts = http.into_parts();
    let guarded = parts.io.into_inner();
    if matches!(end, End::Overdue(Overdue::Rest)) && parts.read_buf.is_empty() {
        return Some(guarded.into_inner().into_inner());
    }
    let refusal = match &end {
        End::Broken(error) if error.is_parse() => guarded.refusal(&parts.read_buf, site.limits.header_bytes),
        End::Overdue(Overdue::Head) => Some(Refusal::Late),
        _ => None,
    };
    let read_ahead = guarded.read_ahead(parts.read_buf);
    let mut io = guarded.into_inner().into_inner();
    if let Some(refusal) = refusal {
        connection::refuse(&mut io, connection.peer, site, refusal, |answers| &answers.secure).await;
    }
    if progress.was_cut() || matches!(end, End::Overdue(Overdue::Write)) {
        connection::close(cut(&mut io)).await;
        return None;
    }
    if let (End::Done, Some(tunnel)) = (end, connection.take_tunnel()) {
        let _counted = site.under_way.tunnels.add_one();
        tunnel(&mut io, read_ahead).await;
    }
    connection::close(io).await;
    None
}

/// The connection beneath TLS.
///
/// SECURITY: a client whose answer ends with the connection, as in HTTP/1.0, would take TLS's goodbye for the
/// end of a whole answer (RFC 9112 section 9.8).
fn cut(io: &mut ClientIo) -> &mut TcpStream {
    io.get_mut().0
}

/// How the HTTP part of a connection ended.
enum End {
    Done,
    Broken(hyper::Error),
    Overdue(Overdue),
}

type Http<S> = http1::Connection<TokioIo<Guarded<Watched<Box<ClientIo>>>>, S>;

async fn drive<H, S, B>(http: &mut Http<S>, progress: &Progress, site: &Site<H>) -> End
where
    H: Handler,
    S: HttpService<Incoming, ResBody = B, Error: Into<BoxError>> + Unpin,
    B: Body<Error: Into<BoxError>> + 'static,
{
    let mut deadline = Deadline::new(progress, &site.limits);
    let mut phases = site.phase.clone();
    let mut draining: Option<Pin<Box<Sleep>>> = None;
    let mut ended = None;
    loop {
        let step = poll_fn(|context: &mut Context<'_>| {
            if let Poll::Ready(result) = poll_to_end(http, &mut ended, context) {
                return Poll::Ready(result.map_or_else(End::Broken, |()| End::Done));
            }
            deadline.poll(progress, &site.limits, context).map(End::Overdue)
        });
        tokio::select! {
            biased;
            () = reached(&mut phases, Phase::Draining), if draining.is_none() => {
                progress.close_after_next();
                // What a client sends just now would be lost; the next answer tells it to stop.
                draining = Some(Box::pin(tokio::time::sleep(LAST_CALL)));
            }
            () = rung(draining.as_mut()), if draining.as_ref().is_some_and(|bell| !bell.is_elapsed()) => {
                Pin::new(&mut *http).graceful_shutdown();
            }
            end = step => return end,
        }
    }
}

/// Ready when the bell rings; never without one.
async fn rung(bell: Option<&mut Pin<Box<Sleep>>>) {
    match bell {
        Some(bell) => bell.await,
        None => pending().await,
    }
}

/// Ready when hyper has ended and written all it had.
///
/// hyper leaves alone what is still in its buffer when a request of the connection asked for an upgrade,
/// granted or not. Polled once more, it writes that too.
fn poll_to_end<S, B>(
    http: &mut Http<S>,
    ended: &mut Option<hyper::Result<()>>,
    context: &mut Context<'_>,
) -> Poll<hyper::Result<()>>
where
    S: HttpService<Incoming, ResBody = B, Error: Into<BoxError>> + Unpin,
    B: Body<Error: Into<BoxError>> + 'static,
{
    loop {
        let result = ready!(Pin::new(&mut *http).poll(context));
        if let Some(first) = ended.take() {
            return Poll::Ready(first);
        }
        // A broken response must stay broken: hyper would end it in proper form.
        if result.as_ref().is_err_and(|error| !error.is_parse()) {
            return Poll::Ready(result);
        }
        *ended = Some(result);
    }
}

fn service<H: Handler>(
    connection: Rc<Connection>,
    site: Rc<Site<H>>,
    progress: Rc<Progress>,
) -> impl HttpService<Incoming, ResBody = Tracked<H::Body>, Error = Infallible, Future = Answering<H::Body>> + Unpin
{
    service_fn(move |request| answer(&site, &connection, &progress, request))
}

fn settings<H: Handler>(site: &Site<H>) -> http1::Builder {
    let mut settings = http1::Builder::new();
    settings
        // Deadlines are `phase`'s, which tells a silent client from a slow one.
        .header_read_timeout(None)
        .max_header_size(site.limits.header_bytes)
        .max_buf_size(site.limits.header_bytes.max(LEAST_BUFFER));
    // Told any number, hyper allocates room for so many headers with every request.
    if site.limits.header_count != HYPER_HEADERS {
        settings.max_headers(site.limits.header_count);
    }
    settings
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How many headers hyper takes if it is told nothing.
const HYPER_HEADERS: usize = 100;

/// hyper refuses buffers below 8 KiB.
const LEAST_BUFFER: usize = 64 * 1024;
