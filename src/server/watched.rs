//! A connection that notes in its [`Progress`] what passes through it, and writes what is large in
//! [`pieces`]; it changes no byte.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::phase::Progress;
use super::pieces;

/// A connection under observation.
pub(super) struct Watched<S> {
    io: S,
    progress: Rc<Progress>,
}

impl<S> Watched<S> {
    pub(super) const fn new(io: S, progress: Rc<Progress>) -> Self {
        Self { io, progress }
    }

    /// The connection itself.
    pub(super) fn into_inner(self) -> S {
        self.io
    }

    fn note_written(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.note(&written, |&bytes| bytes);
        written
    }

    fn note_done(&self, done: Poll<io::Result<()>>) -> Poll<io::Result<()>> {
        self.note(&done, |()| 0);
        done
    }

    fn note<T>(&self, result: &Poll<io::Result<T>>, bytes: impl FnOnce(&T) -> usize) {
        match result {
            Poll::Pending => self.progress.write_is_blocked(),
            Poll::Ready(result) => self.progress.wrote(result.as_ref().map_or(0, bytes)),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.io).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.progress.received();
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let io = Pin::new(&mut self.io);
        let written = if pieces::is_large(data) {
            io.poll_write_vectored(context, pieces::cut([data], &mut pieces::none()))
        } else {
            io.poll_write(context, data)
        };
        self.note_written(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let io = Pin::new(&mut self.io);
        let written = if data.iter().any(|data| pieces::is_large(data)) {
            let data = data.iter().map(|data| &**data);
            io.poll_write_vectored(context, pieces::cut(data, &mut pieces::none()))
        } else {
            io.poll_write_vectored(context, data)
        };
        self.note_written(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(context);
        self.note_done(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = Pin::new(&mut self.io).poll_shutdown(context);
        self.note_done(ended)
    }
}
