//! A body of a backend on its way to the client, with the script spliced in.
//!
//! Leaves what is spliced where to [`super::splice`]. Invariant: a body that the backend breaks off breaks off
//! here too.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::splice::Splice;
use crate::proxy::{BodyError, UpstreamBody};

/// The body of a page that gets the script.
#[derive(Debug)]
pub(super) struct NoticedBody {
    upstream: UpstreamBody,
    splice: Splice,
    /// What follows the last of the bytes.
    next: Next,
}

impl NoticedBody {
    pub(super) const fn new(upstream: UpstreamBody, splice: Splice) -> Self {
        Self { upstream, splice, next: None }
    }

    /// What goes on after this frame; no bytes as long as they are held.
    fn pass(&mut self, frame: Next) -> Next {
        match frame.map(|frame| frame.map(Frame::into_data)) {
            Some(Ok(Ok(piece))) => Some(Ok(Frame::data(self.splice.feed(piece)))),
            Some(Ok(Err(trailers))) => {
                let rest = self.splice.finish();
                self.before(rest, Some(Ok(trailers)))
            }
            Some(Err(error)) => {
                let rest = self.splice.break_off();
                self.before(rest, Some(Err(error)))
            }
            None => {
                let rest = self.splice.finish();
                self.before(rest, None)
            }
        }
    }

    /// Some of the bytes, and then `next`; or that at once.
    fn before(&mut self, bytes: Bytes, next: Next) -> Next {
        if bytes.is_empty() {
            return next;
        }
        self.next = next;
        Some(Ok(Frame::data(bytes)))
    }
}

impl Body for NoticedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Next> {
        let this = &mut *self;
        if let Some(next) = this.next.take() {
            return Poll::Ready(Some(next));
        }
        loop {
            let frame = ready!(Pin::new(&mut this.upstream).poll_frame(context));
            let passed = this.pass(frame);
            let is_held = matches!(&passed, Some(Ok(frame)) if frame.data_ref().is_some_and(Bytes::is_empty));
            if !is_held {
                return Poll::Ready(passed);
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.splice.is_over() && self.next.is_none() && self.upstream.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// What a body gives next; nothing at its end.
type Next = Option<Result<Frame<Bytes>, BodyError>>;
