//! The body of every response: bytes of ours or the backend's stream, with the record that ends when
//! it ends.
//!
//! Invariant: a body of the backend's that is no longer allowed ends with an error, never as if it were
//! complete.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::record::Record;
use super::streams::Ticket;
use crate::proxy::body::{BodyError, UpstreamBody};
use crate::telemetry::metrics::StreamEnd;

/// The body of a response.
#[derive(Debug)]
pub struct ResponseBody {
    source: Source,
    watch: Option<Watch>,
}

#[derive(Debug)]
enum Source {
    Own(Option<Bytes>),
    Upstream(UpstreamBody),
    Changed(Pin<Box<dyn ChangedBody>>),
}

/// What the backend sends, changed on its way.
pub trait ChangedBody: Body<Data = Bytes, Error = BodyError> + fmt::Debug {}

impl<B: Body<Data = Bytes, Error = BodyError> + fmt::Debug> ChangedBody for B {}

impl ResponseBody {
    /// Bytes of ours.
    #[must_use]
    pub fn own(bytes: Bytes) -> Self {
        Self { source: Source::Own(Some(bytes).filter(|bytes| !bytes.is_empty())), watch: None }
    }

    /// Nothing.
    #[must_use]
    pub fn empty() -> Self {
        Self::own(Bytes::new())
    }

    /// What the backend sends.
    #[must_use]
    pub fn upstream(body: UpstreamBody) -> Self {
        Self { source: Source::Upstream(body), watch: None }
    }

    /// What the backend sends, changed on its way.
    #[must_use]
    pub fn changed(body: impl ChangedBody + 'static) -> Self {
        Self { source: Source::Changed(Box::pin(body)), watch: None }
    }

    /// Lets `record` see what is sent, and end with it; `ticket` ends it before its time.
    #[must_use]
    pub fn watched_by(self, record: Box<Record>, ticket: Ticket) -> Self {
        Self { watch: Some(Watch { record, ticket }), ..self }
    }
}

/// Who follows a body.
#[derive(Debug)]
struct Watch {
    record: Box<Record>,
    ticket: Ticket,
}

impl Watch {
    /// Notes why the body is ended before its time, if it is.
    fn end(&mut self) -> Option<StreamEnd> {
        let end = self.ticket.end()?;
        self.record.reason = Some(end.as_str());
        Some(end)
    }

    /// Notes what the body gave. One that keeps its client waiting, or is long, is entered as a stream.
    fn saw<E>(&mut self, frame: &Poll<Option<Result<Frame<Bytes>, E>>>, context: &Context<'_>) {
        match frame {
            Poll::Ready(Some(Ok(frame))) => {
                self.record.sent(frame.data_ref().map_or(0, Bytes::len));
                if self.record.bytes() > LONG {
                    self.ticket.enter(&self.record);
                }
            }
            Poll::Ready(_) => {}
            Poll::Pending => {
                // Entered or found alive just now: what ends it from here on wakes the task.
                let _still_allowed = self.ticket.enter(&self.record).poll_end(context);
            }
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Self { source, watch } = &mut *self;
        let frame = match source {
            Source::Own(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Source::Upstream(_) | Source::Changed(_)
                if watch.as_mut().is_some_and(|watch| watch.end().is_some()) =>
            {
                return Poll::Ready(Some(Err(BodyError::Revoked)));
            }
            Source::Upstream(body) => Pin::new(body).poll_frame(context),
            Source::Changed(body) => body.as_mut().poll_frame(context),
        };
        if let Some(watch) = watch {
            watch.saw(&frame, context);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Own(bytes) => bytes.is_none(),
            Source::Upstream(body) => body.is_end_stream(),
            Source::Changed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Own(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Source::Upstream(body) => body.size_hint(),
            Source::Changed(body) => body.size_hint(),
        }
    }
}

/// Bytes after which a body is watched even if its backend never kept the client waiting: a download
/// that a slow client takes.
const LONG: u64 = 1 << 20;
