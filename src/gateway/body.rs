//! The body of every response: bytes of ours or the backend's stream, with the record that ends when
//! it ends.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::record::Record;
use crate::proxy::body::{BodyError, UpstreamBody};

/// The body of a response.
#[derive(Debug)]
pub struct ResponseBody {
    source: Source,
    record: Option<Box<Record>>,
}

#[derive(Debug)]
enum Source {
    Own(Option<Bytes>),
    Upstream(UpstreamBody),
}

impl ResponseBody {
    /// Bytes of ours.
    #[must_use]
    pub fn own(bytes: Bytes) -> Self {
        Self { source: Source::Own(Some(bytes).filter(|bytes| !bytes.is_empty())), record: None }
    }

    /// Nothing.
    #[must_use]
    pub fn empty() -> Self {
        Self::own(Bytes::new())
    }

    /// What the backend sends.
    #[must_use]
    pub fn upstream(body: UpstreamBody) -> Self {
        Self { source: Source::Upstream(body), record: None }
    }

    /// Lets `record` see what is sent, and end with it.
    #[must_use]
    pub fn recorded_by(self, record: Box<Record>) -> Self {
        Self { record: Some(record), ..self }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = match &mut self.source {
            Source::Own(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Source::Upstream(body) => Pin::new(body).poll_frame(context),
        };
        if let (Poll::Ready(Some(Ok(frame))), Some(record)) = (&frame, &mut self.record) {
            record.sent(frame.data_ref().map_or(0, Bytes::len));
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Own(bytes) => bytes.is_none(),
            Source::Upstream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Own(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Source::Upstream(body) => body.size_hint(),
        }
    }
}
