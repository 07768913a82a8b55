//! Whether anything at all comes from the other end of a connection.
//!
//! Invariant: costs a connection one counter, and no look at a clock.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::Socket;

/// Counts what was heard on a connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard(Rc<Cell<u64>>);

impl Heard {
    /// Bytes since the connection began.
    pub(super) fn bytes(&self) -> u64 {
        self.0.get()
    }
}

/// A socket whose incoming bytes are counted.
#[derive(Debug)]
pub(super) struct Listening {
    socket: Socket,
    heard: Heard,
}

impl Listening {
    /// Begins to count; the second is where the count stands.
    pub(super) fn to(socket: Socket) -> (Self, Heard) {
        let heard = Heard::default();
        (Self { socket, heard: heard.clone() }, heard)
    }
}

impl AsyncRead for Listening {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.socket).poll_read(cx, buffer));
        let bytes = buffer.filled().len().saturating_sub(before);
        self.heard.0.set(self.heard.bytes().wrapping_add(u64::try_from(bytes).unwrap_or(u64::MAX)));
        Poll::Ready(read)
    }
}

impl AsyncWrite for Listening {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
