//! Request bodies: a text, a pattern of any size, pieces that the test hands out one by one, trailers.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// The body of a request.
#[derive(Debug)]
pub(crate) enum Upload {
    Whole(Option<Bytes>),
    /// So many bytes of a pattern are still to come.
    Pattern(u64),
    Pieces(UnboundedReceiver<Frame<Bytes>>),
}

/// Hands out the pieces of a body; the body ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Pieces(UnboundedSender<Frame<Bytes>>);

impl Upload {
    pub(crate) fn none() -> Self {
        Self::Whole(None)
    }

    pub(crate) fn text(text: impl Into<Bytes>) -> Self {
        Self::Whole(Some(text.into()))
    }

    /// A body without a length, whose pieces the test hands out.
    pub(crate) fn in_pieces() -> (Self, Pieces) {
        let (sender, receiver) = unbounded_channel();
        (Self::Pieces(receiver), Pieces(sender))
    }
}

impl Pieces {
    pub(crate) fn send(&self, piece: impl Into<Bytes>) {
        // The other side may have hung up; the test sees that in the answer.
        let _gone = self.0.send(Frame::data(piece.into()));
    }

    pub(crate) fn trailers(self, trailers: HeaderMap) {
        let _gone = self.0.send(Frame::trailers(trailers));
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Pattern(0) => Poll::Ready(None),
            Self::Pattern(left) => {
                let size = usize::try_from(*left).unwrap_or(usize::MAX).min(PATTERN.len());
                *left -= size as u64;
                Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(PATTERN).slice(..size)))))
            }
            Self::Pieces(receiver) => receiver.poll_recv(context).map(|frame| frame.map(Ok)),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None) | Self::Pattern(0))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Pattern(left) => SizeHint::with_exact(*left),
            Self::Pieces(_) => SizeHint::new(),
        }
    }
}

const PATTERN: &[u8] = &[b'x'; 64 * 1024];
