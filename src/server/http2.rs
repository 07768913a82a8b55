//! HTTP/2 on one connection (RFC 9113).

use std::error::Error;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};

use super::connection::{ClientIo, Connection, Handler, answer};
use super::drain::{Phase, reached};
use super::linger::Lingering;
use super::phase::{Between, Deadline, Overdue, Progress};
use super::refusal::Refusal;
use super::stalled::patiently;
use super::watched::Watched;
use super::websocket;
use super::worker::Site;
use crate::pace::LeastPace;

/// Serves requests until the client, a deadline or the server's end.
pub(super) async fn serve<H: Handler>(io: Box<ClientIo>, connection: Rc<Connection>, site: Rc<Site<H>>) {
    let progress = Rc::new(Progress::new(site.under_way.requests.clone(), Between::Anything));
    let client = connection.peer.ip();
    let service = service_fn({
        let (site, progress) = (Rc::clone(&site), Rc::clone(&progress));
        move |request: Request<Incoming>| {
            if websocket::is_asked_for(&request) {
                websocket::answer(&site, &connection, &progress, request)
            } else {
                answer(&site, &connection, &progress, request)
            }
        }
    });
    let io = TokioIo::new(Watched::new(Lingering::new(io), Rc::clone(&progress)));
    let streams = Local { progress: Rc::clone(&progress), least: site.limits.least_pace() };
    let mut http = std::pin::pin!(settings(&site, streams).serve_connection(io, service));
    let mut deadline = Deadline::new(&progress, &site.limits);
    let mut phases = site.phase.clone();
    let mut ending = false;
    loop {
        let step = poll_fn(|context: &mut Context<'_>| {
            if let Poll::Ready(result) = http.as_mut().poll(context) {
                return Poll::Ready(Step::Ended(result));
            }
            deadline.poll(&progress, &site.limits, context).map(Step::Overdue)
        });
        tokio::select! {
            biased;
            () = reached(&mut phases, Phase::Draining), if !ending => {}
            step = step => match step {
                // The client hears which requests were not begun (RFC 9113 section 6.8).
                Step::Overdue(Overdue::Idle) if !ending => progress.start_over(),
                Step::Overdue(_) | Step::Ended(Ok(())) => return,
                Step::Ended(Err(error)) => {
                    if breaks_the_rules(&error) {
                        site.handler.refused(client, Refusal::BrokenHttp2);
                    }
                    return tracing::debug!(%error, "HTTP/2 connection ended");
                }
            },
        }
        ending = true;
        http.as_mut().graceful_shutdown();
    }
}

enum Step {
    Ended(hyper::Result<()>),
    Overdue(Overdue),
}

/// Whether the connection ended with a GOAWAY of ours that blames the client (RFC 9113 section 5.4.1).
fn breaks_the_rules(error: &hyper::Error) -> bool {
    let cause = error.source().and_then(|source| source.downcast_ref::<h2::Error>());
    cause.is_some_and(|cause| cause.is_library() && cause.is_go_away())
}

/// Runs the streams of a connection on the worker's own thread.
#[derive(Clone)]
struct Local {
    progress: Rc<Progress>,
    least: LeastPace,
}

impl<F: Future<Output = ()> + 'static> Executor<F> for Local {
    fn execute(&self, stream: F) {
        tokio::task::spawn_local(patiently(stream, Rc::clone(&self.progress), self.least));
    }
}

fn settings<H: Handler>(site: &Site<H>, streams: Local) -> http2::Builder<Local> {
    let mut settings = http2::Builder::new(streams);
    let header_bytes = u32::try_from(site.limits.header_bytes.saturating_mul(2)).unwrap_or(u32::MAX);
    settings
        .timer(TokioTimer::new())
        .max_concurrent_streams(site.limits.streams)
        .enable_connect_protocol()
        // h2 answers beyond this with a bare 431; the gateway answers from half of it with ours.
        .max_header_list_size(header_bytes)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_local_error_reset_streams(ERROR_RESETS)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    settings
}

/// What a client may send ahead on one stream, in bytes.
const STREAM_WINDOW: u32 = 256 * 1024;

/// What a client may send ahead on one connection, in bytes.
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// What is kept of a response that the client does not take, in bytes for each stream.
const SEND_BUFFER: usize = 128 * 1024;

/// How often a silent client is asked whether it is still there.
const PING_INTERVAL: Duration = Duration::from_secs(45);

/// How long it may take to say so.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Requests that a client may have taken back before they were looked at (CVE-2023-44487).
const PENDING_RESETS: usize = 20;

/// Streams of one connection that may end because the client broke the rules (CVE-2025-8671).
const ERROR_RESETS: usize = 100;
