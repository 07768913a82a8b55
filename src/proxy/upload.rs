//! The body of a request on its way to the backend: bounded, and never waited for without end, be it in
//! one wait or byte by byte.
//!
//! Leaves framing to [`super::shape`]. Invariant: a body that is too long, stalls or breaks off is an error for
//! the backend connection, so that the backend never takes a part for the whole.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::ForwardError;
use super::body::Limits;
use super::multiplex::Place;
use super::stall::StallTimer;
use super::trailers::TrailerFilter;
use crate::pace::{LeastPace, Pace};

/// A request body with bounds.
#[derive(Debug)]
pub(super) struct RequestBody {
    content: Option<Box<Upload>>,
}

impl RequestBody {
    /// A body of nothing.
    pub(super) const fn empty() -> Self {
        Self { content: None }
    }

    /// Wraps what the client sends; refuses at once what says that it is too long.
    pub(super) fn new(
        incoming: Incoming,
        limits: Limits,
        trailers: &TrailerFilter,
    ) -> Result<Self, UploadError> {
        if incoming.is_end_stream() {
            return Ok(Self::empty());
        }
        if limits.body_bytes.is_some_and(|limit| incoming.size_hint().lower() > limit) {
            return Err(UploadError::TooLarge);
        }
        let upload = Upload {
            incoming,
            left: limits.body_bytes,
            least: LeastPace::new(limits.min_rate, limits.body_stall),
            pace: Pace::default(),
            timer: StallTimer::default(),
            progress: Rc::default(),
            trailers: trailers.clone(),
            place: None,
        };
        Ok(Self { content: Some(Box::new(upload)) })
    }

    /// How the upload goes on; none for a request without a body.
    pub(super) fn progress(&self) -> Option<Rc<Progress>> {
        self.content.as_ref().map(|upload| Rc::clone(&upload.progress))
    }

    /// Keeps the place on a shared connection for as long as the upload takes.
    pub(super) fn hold(&mut self, place: &Rc<Place>) {
        if let Some(upload) = &mut self.content {
            upload.place = Some(Rc::clone(place));
        }
    }

    /// Gives back what [`Self::hold`] kept: the body goes another way.
    pub(super) fn let_go(&mut self) {
        if let Some(upload) = &mut self.content {
            upload.place = None;
        }
    }

    /// Whether there is nothing to send.
    pub(super) const fn is_empty(&self) -> bool {
        self.content.is_none()
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        let Some(upload) = self.get_mut().content.as_deref_mut() else {
            return Poll::Ready(None);
        };
        let frame = match Pin::new(&mut upload.incoming).poll_frame(cx) {
            Poll::Ready(next) => {
                upload.timer.moved();
                upload.pace.go_on();
                upload.progress.turn.set(Turn::Moved);
                next.map(|frame| upload.check(frame.map_err(UploadError::of)?))
            }
            Poll::Pending => {
                upload.progress.turn.set(Turn::Client);
                upload.pace.wait();
                ready!(upload.poll_stall(cx));
                Some(Err(UploadError::Stalled))
            }
        };
        if let Some(Err(error)) = &frame {
            upload.progress.fault.replace(Some(error.into()));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.content.as_ref().is_none_or(|upload| upload.incoming.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Some(upload) => upload.incoming.size_hint(),
            None => SizeHint::with_exact(0),
        }
    }
}

/// Tells who waits for the response how the upload goes on.
#[derive(Debug, Default)]
pub(super) struct Progress {
    turn: Cell<Turn>,
    /// Whether the backend takes messages that come as seldom as the client likes.
    is_conversation: Cell<bool>,
    /// Why it broke off.
    fault: RefCell<Option<ForwardError>>,
}

impl Progress {
    /// Whether the upload moved since the last call, or waits for the client.
    pub(super) fn excuses_the_backend(&self) -> bool {
        match self.turn.get() {
            Turn::Client => true,
            Turn::Moved => {
                self.turn.set(Turn::Backend);
                true
            }
            Turn::Backend => false,
        }
    }

    /// Lets the client send as seldom as it likes until what is returned is dropped.
    pub(super) fn converse(self: Rc<Self>) -> Conversation {
        self.is_conversation.set(true);
        Conversation(self)
    }

    /// Why the upload broke off, if it did; said once.
    pub(super) fn fault(&self) -> Option<ForwardError> {
        self.fault.take()
    }
}

/// An exchange of messages in which neither side has to hurry.
#[derive(Debug)]
pub(super) struct Conversation(Rc<Progress>);

impl Drop for Conversation {
    fn drop(&mut self) {
        self.0.is_conversation.set(false);
    }
}

/// Why a request body did not reach the backend.
#[derive(Debug, thiserror::Error)]
pub(super) enum UploadError {
    #[error("the request body is longer than allowed")]
    TooLarge,
    #[error("the request body stalled or came too slowly")]
    Stalled,
    #[error("the client broke off the request body")]
    ClientGone(#[source] hyper::Error),
    #[error("the framing of the request body is broken")]
    Malformed(#[source] hyper::Error),
}

impl UploadError {
    /// What hyper's decoder says of chunks that are none, and of everything else that ends a body early.
    fn of(error: hyper::Error) -> Self {
        let cause = error.source().and_then(|source| source.downcast_ref::<io::Error>());
        match cause.map(io::Error::kind) {
            Some(io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput) => Self::Malformed(error),
            _ => Self::ClientGone(error),
        }
    }
}

#[derive(Debug)]
struct Upload {
    incoming: Incoming,
    left: Option<u64>,
    least: LeastPace,
    pace: Pace,
    timer: StallTimer,
    progress: Rc<Progress>,
    trailers: TrailerFilter,
    place: Option<Rc<Place>>,
}

impl Upload {
    /// Ready when the client was silent for too long. In a conversation it is only looked whether that goes on.
    fn poll_stall(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.timer.poll(cx, self.least.window()));
            if !self.progress.is_conversation.get() {
                return Poll::Ready(());
            }
            self.timer.moved();
        }
    }

    /// What is there to its end is not too late.
    fn keep_pace(&mut self, frame: &Frame<Bytes>) -> Result<(), UploadError> {
        self.pace.passed(frame.data_ref().map_or(0, |data| u64::try_from(data.len()).unwrap_or(u64::MAX)));
        let may_dawdle = self.progress.is_conversation.get() || self.incoming.is_end_stream();
        match self.pace.check(&self.least) {
            Err(_) if !may_dawdle => Err(UploadError::Stalled),
            _ => Ok(()),
        }
    }

    fn check(&mut self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, UploadError> {
        if let (Some(data), Some(left)) = (frame.data_ref(), &mut self.left) {
            let size = u64::try_from(data.len()).unwrap_or(u64::MAX);
            *left = left.checked_sub(size).ok_or(UploadError::TooLarge)?;
        }
        self.keep_pace(&frame)?;
        Ok(match frame.into_trailers() {
            Ok(mut trailers) => {
                self.trailers.apply(&mut trailers);
                Frame::trailers(trailers)
            }
            Err(data) => data,
        })
    }
}

/// Who has to act next.
#[derive(Clone, Copy, Debug, Default)]
enum Turn {
    /// The backend: take more, or answer.
    #[default]
    Backend,
    /// The client: send more.
    Client,
    /// Something was sent since anybody looked.
    Moved,
}
