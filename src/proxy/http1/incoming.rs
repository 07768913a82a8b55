//! What was read from a backend and not yet looked at.
//!
//! Invariant: the memory for large reads is kept no longer than they last.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Bytes that whoever takes a part of them takes from the beginning.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) bytes: BytesMut,
    /// How many bytes are read at once, as far as there are so many.
    read_size: usize,
    /// Whether there is more memory than small reads need.
    has_grown: bool,
}

impl Default for Incoming {
    fn default() -> Self {
        Self { bytes: BytesMut::new(), read_size: SMALLEST_READ, has_grown: false }
    }
}

impl Incoming {
    /// Reads what is there; the number of bytes, 0 at the end.
    pub(super) fn poll_fill<S: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut S,
    ) -> Poll<io::Result<usize>> {
        self.give_back();
        // Takes the same memory as the last time, if what was read then is done with.
        if self.bytes.capacity() - self.bytes.len() < self.read_size {
            self.bytes.reserve(self.read_size);
            self.has_grown |= self.read_size > SMALLEST_READ;
        }
        let read = ready!(pin!(socket.read_buf(&mut self.bytes)).poll(cx))?;
        // Who says much has more to say.
        self.read_size = if read < SMALLEST_READ { SMALLEST_READ } else { LARGEST_READ };
        Poll::Ready(Ok(read))
    }

    /// Gets ready for the next answer, which may be a small one.
    pub(super) fn settle(&mut self) {
        self.read_size = SMALLEST_READ;
        self.give_back();
    }

    fn give_back(&mut self) {
        if self.has_grown && self.read_size == SMALLEST_READ && self.bytes.is_empty() {
            *self = Self::default();
        }
    }
}

/// Bytes that are read at once from a backend that says little, and from one that says much.
const SMALLEST_READ: usize = 8 * 1024;
const LARGEST_READ: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// Reads what `source` has, as one answer; gives the greatest read.
    fn read(incoming: &mut Incoming, mut source: &[u8]) -> usize {
        let mut cx = Context::from_waker(Waker::noop());
        let mut greatest = 0;
        loop {
            let Poll::Ready(Ok(read)) = incoming.poll_fill(&mut cx, &mut source) else { panic!() };
            greatest = greatest.max(read);
            // Nobody holds on to it.
            drop(incoming.bytes.split().freeze());
            if read == 0 {
                incoming.settle();
                return greatest;
            }
        }
    }

    #[test]
    fn small_answers_share_their_memory_and_large_ones_give_theirs_back() {
        let mut incoming = Incoming::default();
        assert_eq!(read(&mut incoming, b"x"), 1);
        incoming.bytes.reserve(SMALLEST_READ);
        let memory = incoming.bytes.as_ptr();
        assert_eq!(read(&mut incoming, b"x"), 1);
        incoming.bytes.reserve(SMALLEST_READ);
        assert_eq!(incoming.bytes.as_ptr(), memory);
        assert!(read(&mut incoming, &vec![0; 1 << 20]) >= LARGEST_READ);
        assert_eq!(incoming.bytes.capacity(), 0);
    }

    #[test]
    fn a_stream_that_became_quiet_gives_its_memory_back() {
        let mut incoming = Incoming::default();
        let mut cx = Context::from_waker(Waker::noop());
        let all = vec![0; SMALLEST_READ + LARGEST_READ + 2];
        let mut source = all.as_slice();
        for expected in [SMALLEST_READ, LARGEST_READ, 2] {
            assert!(
                matches!(incoming.poll_fill(&mut cx, &mut source), Poll::Ready(Ok(read)) if read == expected)
            );
            drop(incoming.bytes.split().freeze());
        }
        let _end = incoming.poll_fill(&mut cx, &mut source);
        assert_eq!(incoming.bytes.capacity(), SMALLEST_READ);
    }
}
