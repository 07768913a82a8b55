//! A connection that ends so that the client reads our last words.
//!
//! When a connection is closed while bytes of the client are unread, the kernel sends a reset, and the
//! client loses what it had not read yet: the GOAWAY that says which requests were never begun. hyper
//! keeps an HTTP/2 connection to itself, so the waiting is done where it shuts the connection down.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::connection::{LINGER, LINGER_BYTES};

/// A connection whose shutdown waits for the client's end of it, within bounds.
pub(super) struct Lingering<S> {
    io: S,
    waiting: Option<Waiting>,
}

struct Waiting {
    longest: Pin<Box<Sleep>>,
    bytes_left: usize,
}

impl<S> Lingering<S> {
    pub(super) const fn new(io: S) -> Self {
        Self { io, waiting: None }
    }
}

impl<S: AsyncRead + Unpin> Lingering<S> {
    /// Ready when the client has ended its side, or has had its time.
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let waiting = self
            .waiting
            .get_or_insert_with(|| Waiting { longest: Box::pin(sleep(LINGER)), bytes_left: LINGER_BYTES });
        while waiting.bytes_left > 0 {
            let mut rest = [0; 1024];
            let mut rest = ReadBuf::new(&mut rest);
            match Pin::new(&mut self.io).poll_read(context, &mut rest) {
                Poll::Ready(Ok(())) if !rest.filled().is_empty() => {
                    waiting.bytes_left = waiting.bytes_left.saturating_sub(rest.filled().len());
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return waiting.longest.as_mut().poll(context),
            }
        }
        Poll::Ready(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lingering<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.waiting.is_none() {
            ready!(Pin::new(&mut self.io).poll_shutdown(context))?;
        }
        self.poll_end(context).map(Ok)
    }
}
