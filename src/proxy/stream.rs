//! The bytes between us and a backend: TCP, with TLS or without, or a Unix socket.
//!
//! Leaves deadlines and slots to [`super::connection`]. Invariant: which kind it is costs a request
//! neither an allocation nor a dynamic call.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

use super::dial::first_to_answer;
use super::server::Target;

/// An open connection to a backend.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Unix(UnixStream),
}

impl Stream {
    /// Connects to a server.
    pub(super) async fn connect(target: &Target) -> io::Result<Self> {
        let stream = match target {
            Target::Address(address) => TcpStream::connect(*address).await?,
            Target::Name(name) => first_to_answer(&name.addresses().await?).await?,
            Target::Unix(path) => return connect_locally(path).await.map(Self::Unix),
        };
        stream.set_nodelay(true)?;
        SockRef::from(&stream).set_tcp_keepalive(&KEEPALIVE)?;
        Ok(Self::Tcp(stream))
    }

    /// Lets the connection break when the other end does not take for [`LOST`] what it was sent, be it that
    /// the network lost it or that there is no room for it.
    pub(super) fn give_up_lost_bytes(&self) -> io::Result<()> {
        let stream = match self {
            Self::Tcp(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
            Self::Unix(_) => return Ok(()),
        };
        SockRef::from(stream).set_tcp_user_timeout(Some(LOST))
    }
}

/// Calls a method of the stream, of whatever kind it is.
macro_rules! delegate {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Self::Tcp(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
            Self::Tls(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
            Self::Unix(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        delegate!(self, stream => stream.poll_read(cx, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        delegate!(self, stream => stream.poll_write(cx, data))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        delegate!(self, stream => stream.poll_write_vectored(cx, data))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
            Self::Unix(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, stream => stream.poll_shutdown(cx))
    }
}

/// Connects to a socket of this machine, waiting while the queue of its server is full.
///
/// There, a Unix socket fails at once where a TCP one waits; the caller's deadline bounds the wait.
async fn connect_locally(path: &Path) -> io::Result<UnixStream> {
    loop {
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => tokio::time::sleep(FULL_QUEUE).await,
            result => return result,
        }
    }
}

/// How the kernel asks over a silent connection whether the backend is still there: after half a minute, and
/// a minute later it is not.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(30))
    .with_interval(Duration::from_secs(15))
    .with_retries(4);

/// How long bytes may be on their way before the kernel gives a connection up.
const LOST: Duration = Duration::from_secs(25);

/// How soon a Unix socket with a full queue is tried again.
const FULL_QUEUE: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn the_kernel_looks_whether_the_backend_is_still_there() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = Stream::connect(&Target::Address(listener.local_addr().unwrap())).await.unwrap();
        let Stream::Tcp(tcp) = &stream else { panic!("not TCP") };
        let socket = SockRef::from(tcp);
        assert_eq!(
            (socket.keepalive().unwrap(), socket.tcp_keepalive_time().unwrap()),
            (true, Duration::from_secs(30))
        );
        assert_eq!(
            socket.tcp_keepalive_interval().unwrap() * socket.tcp_keepalive_retries().unwrap(),
            Duration::from_mins(1)
        );
        assert_eq!(socket.tcp_user_timeout().unwrap(), None, "who takes an upload slowly is not lost");
        stream.give_up_lost_bytes().unwrap();
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(LOST));
    }
}
