//! The bytes of a request on their way to the socket.
//!
//! Invariants: nothing of the client's says where the request ends; a body that breaks off, or whose length
//! is not the one that was said, is never ended as if it were whole.

use std::io::{self, IoSlice, Write};
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::{HeaderMap, Request};
use http_body::{Body, Frame};
use tokio::io::AsyncWrite;

use crate::proxy::headers::Framing;
use crate::proxy::shape::framing_of;
use crate::proxy::upload::RequestBody;

/// A request that is being sent, piece by piece.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    /// The head, and what stands before a piece of a body.
    frame: Vec<u8>,
    /// How much of `frame` is sent.
    sent: usize,
    piece: Bytes,
    /// What stands behind the piece.
    end: &'static [u8],
    /// What is not yet taken from the client.
    rest: Option<(RequestBody, Framing)>,
    is_under_way: bool,
    is_untouched: bool,
}

impl Outgoing {
    /// Takes the request and its body.
    pub(super) fn begin(&mut self, request: &mut Request<RequestBody>) {
        self.frame.clear();
        self.frame.shrink_to(LARGEST_KEPT);
        self.sent = 0;
        write_head(&mut self.frame, request);
        let body = mem::replace(request.body_mut(), RequestBody::empty());
        let framing = framing_of(&body);
        self.rest = (!body.is_empty()).then_some((body, framing));
        (self.is_under_way, self.is_untouched) = (true, true);
    }

    /// Whether nothing is left to send.
    pub(super) const fn is_sent(&self) -> bool {
        !self.is_under_way
    }

    /// Whether nothing was sent.
    pub(super) const fn is_untouched(&self) -> bool {
        self.is_untouched
    }

    /// Ready when the request is sent, or cannot be. The head and what is there of the body go together.
    pub(super) fn poll_send<S: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut S,
    ) -> Poll<Result<(), Interrupted>> {
        let mut socket = Pin::new(socket);
        loop {
            if self.piece.is_empty() && self.end.is_empty() {
                self.take_piece(cx)?;
            }
            if !self.has_bytes() {
                ready!(socket.as_mut().poll_flush(cx)).map_err(Interrupted::ByBackend)?;
                if self.rest.is_some() {
                    return Poll::Pending;
                }
                self.is_under_way = false;
                return Poll::Ready(Ok(()));
            }
            let written = ready!(self.poll_write(cx, socket.as_mut())).map_err(Interrupted::ByBackend)?;
            self.advance(written);
        }
    }

    fn has_bytes(&self) -> bool {
        self.sent < self.frame.len() || !self.piece.is_empty() || !self.end.is_empty()
    }

    fn poll_write<S: AsyncWrite>(
        &self,
        cx: &mut Context<'_>,
        socket: Pin<&mut S>,
    ) -> Poll<io::Result<usize>> {
        let frame = self.frame.get(self.sent..).unwrap_or_default();
        let written = if self.piece.is_empty() && self.end.is_empty() {
            ready!(socket.poll_write(cx, frame))?
        } else {
            let parts = [frame, &*self.piece, self.end].map(IoSlice::new);
            ready!(socket.poll_write_vectored(cx, &parts))?
        };
        Poll::Ready(if written == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(written) })
    }

    fn advance(&mut self, written: usize) {
        self.is_untouched = false;
        let of_frame = written.min(self.frame.len() - self.sent);
        let of_piece = (written - of_frame).min(self.piece.len());
        self.sent += of_frame;
        self.piece.advance(of_piece);
        self.end = self.end.get(written - of_frame - of_piece..).unwrap_or_default();
        if self.sent == self.frame.len() {
            self.frame.clear();
            self.sent = 0;
        }
    }

    /// Takes the next piece of the body, if the client has sent one.
    fn take_piece(&mut self, cx: &mut Context<'_>) -> Result<(), Interrupted> {
        while let Some((body, framing)) = &mut self.rest {
            let Poll::Ready(next) = Pin::new(&mut *body).poll_frame(cx) else { return Ok(()) };
            let next = next.transpose().map_err(|_| Interrupted::ByClient)?;
            match next.map(Frame::into_data) {
                Some(Ok(data)) if data.is_empty() => {}
                Some(Ok(data)) => {
                    self.end = begin_piece(framing, data.len(), &mut self.frame)?;
                    self.piece = data;
                    // Of such a body nobody tells the end.
                    if *framing == Framing::Length(0) {
                        self.rest = None;
                    }
                    return Ok(());
                }
                Some(Err(last)) => {
                    end_body(*framing, last.trailers_ref(), &mut self.frame)?;
                    self.rest = None;
                }
                None => {
                    end_body(*framing, None, &mut self.frame)?;
                    self.rest = None;
                }
            }
        }
        Ok(())
    }
}

/// Why a request is not sent.
#[derive(Debug)]
pub(super) enum Interrupted {
    /// The client broke it off.
    ByClient,
    /// The backend does not take it.
    ByBackend(io::Error),
}

/// Writes what stands before a piece of this size; gives what stands behind it.
fn begin_piece(
    framing: &mut Framing,
    size: usize,
    frame: &mut Vec<u8>,
) -> Result<&'static [u8], Interrupted> {
    if let Framing::Length(left) = framing {
        let size = u64::try_from(size).unwrap_or(u64::MAX);
        *left = left.checked_sub(size).ok_or(Interrupted::ByClient)?;
        return Ok(b"");
    }
    // Memory never refuses.
    let _written = write!(frame, "{size:x}\r\n");
    Ok(b"\r\n")
}

/// Writes what stands behind the last piece.
fn end_body(framing: Framing, trailers: Option<&HeaderMap>, frame: &mut Vec<u8>) -> Result<(), Interrupted> {
    match framing {
        Framing::Length(0) => {}
        Framing::Length(_) => return Err(Interrupted::ByClient),
        Framing::Chunked | Framing::None => {
            frame.extend_from_slice(b"0\r\n");
            write_fields(frame, trailers.into_iter().flatten());
            frame.extend_from_slice(b"\r\n");
        }
    }
    Ok(())
}

fn write_head(head: &mut Vec<u8>, request: &Request<RequestBody>) {
    head.extend_from_slice(request.method().as_str().as_bytes());
    head.push(b' ');
    head.extend_from_slice(request.uri().path().as_bytes());
    if let Some(query) = request.uri().query() {
        head.push(b'?');
        head.extend_from_slice(query.as_bytes());
    }
    head.extend_from_slice(b" HTTP/1.1\r\n");
    write_fields(head, request.headers());
    head.extend_from_slice(b"\r\n");
}

fn write_fields<'a>(
    head: &mut Vec<u8>,
    fields: impl IntoIterator<Item = (&'a http::HeaderName, &'a http::HeaderValue)>,
) {
    for (name, value) in fields {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
}

/// Bytes that a connection keeps for the heads of its next requests.
const LARGEST_KEPT: usize = 4 * 1024;
