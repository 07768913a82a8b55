//! A raw connection: bytes out, bytes in, over TLS or in clear text. For everything that no honest
//! client can send.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, RootCertStore, StreamOwned};

use super::PATIENCE;
use super::socket::{Protocol, tls};

/// A connection whose every byte the test chooses.
pub(crate) struct Raw {
    stream: Box<dyn ReadWrite>,
    socket: TcpStream,
    /// What was read beyond the last response.
    ahead: Vec<u8>,
}

/// A response as it stood on the wire.
#[derive(Clone, Debug)]
pub(crate) struct RawResponse {
    pub(crate) status: u16,
    /// Status line and header lines, without the empty line.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

trait ReadWrite: Read + Write {
    /// Says by the protocol's own means that no more will be sent.
    fn say_goodbye(&mut self) {}
}

impl ReadWrite for TcpStream {}

impl ReadWrite for StreamOwned<ClientConnection, TcpStream> {
    fn say_goodbye(&mut self) {
        self.conn.send_close_notify();
        let _closed = self.flush();
    }
}

impl Raw {
    /// A TLS connection with HTTP/1.1.
    pub(crate) fn tls(address: SocketAddr, roots: &Arc<RootCertStore>) -> Self {
        Self::over(connect(address), roots, Protocol::Http1)
    }

    /// A TLS connection with HTTP/2.
    pub(crate) fn tls_h2(address: SocketAddr, roots: &Arc<RootCertStore>) -> Self {
        Self::over(connect(address), roots, Protocol::Http2)
    }

    /// A TLS connection with HTTP/1.1 behind the words of a proxy.
    pub(crate) fn tls_behind(words: &[u8], address: SocketAddr, roots: &Arc<RootCertStore>) -> Self {
        let mut socket = connect(address);
        socket.write_all(words).expect("an open connection");
        Self::over(socket, roots, Protocol::Http1)
    }

    fn over(socket: TcpStream, roots: &Arc<RootCertStore>, protocol: Protocol) -> Self {
        super::runtime();
        let name = ServerName::try_from("localhost").expect("a host name");
        let session = ClientConnection::new(tls(roots, protocol), name).expect("a TLS session");
        let stream = StreamOwned::new(session, socket.try_clone().expect("a socket"));
        Self { stream: Box::new(stream), socket, ahead: Vec::new() }
    }

    /// A connection in clear text.
    pub(crate) fn plain(address: SocketAddr) -> Self {
        let socket = connect(address);
        Self { stream: Box::new(socket.try_clone().expect("a socket")), socket, ahead: Vec::new() }
    }

    /// Sends bytes; the peer may have closed already.
    pub(crate) fn write(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let _closed = self.stream.write_all(bytes.as_ref()).and_then(|()| self.stream.flush());
        self
    }

    /// Sends bytes; whether the peer still takes them.
    pub(crate) fn try_write(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).and_then(|()| self.stream.flush()).is_ok()
    }

    /// Reads one response, by its own framing.
    #[track_caller]
    pub(crate) fn response(&mut self) -> RawResponse {
        self.try_response().expect("a response before the connection closes")
    }

    /// The next response; none when the connection closes before one.
    pub(crate) fn try_response(&mut self) -> Option<RawResponse> {
        let end = self.read_until(b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&self.take(end)[..end - 4]).into_owned();
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let body = self.body_of(&head, status);
        Some(RawResponse { status, head, body })
    }

    fn body_of(&mut self, head: &str, status: u16) -> Vec<u8> {
        let lines = RawResponse { status, head: head.to_owned(), body: Vec::new() };
        if status < 200 || status == 204 || status == 304 {
            return Vec::new();
        }
        if lines.header("transfer-encoding").contains("chunked") {
            return self.chunks();
        }
        match lines.header("content-length").parse() {
            Ok(length) => self.exactly(length),
            Err(_) => self.rest(),
        }
    }

    fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        while let Some(end) = self.read_until(b"\r\n") {
            let line = self.take(end);
            let size = String::from_utf8_lossy(&line).trim().to_owned();
            let size = usize::from_str_radix(size.split(';').next().unwrap_or("0"), 16).unwrap_or(0);
            if size == 0 {
                while self.read_until(b"\r\n").is_some_and(|end| self.take(end).len() > 2) {}
                break;
            }
            let mut piece = self.exactly(size + 2);
            piece.truncate(size);
            body.extend(piece);
        }
        body
    }

    /// Everything until the peer closes.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        while self.read_more() {}
        std::mem::take(&mut self.ahead)
    }

    /// Whether the peer closes without another byte; waits for it, at most [`PATIENCE`].
    pub(crate) fn is_closed(&mut self) -> bool {
        if !self.ahead.is_empty() {
            return false;
        }
        let mut byte = [0];
        match self.stream.read(&mut byte) {
            Ok(count) => {
                self.ahead.extend_from_slice(&byte[..count]);
                count == 0
            }
            Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        }
    }

    /// Reads to the end; whether the peer said that this is the end, and did not just close.
    pub(crate) fn says_goodbye(&mut self) -> bool {
        let mut buffer = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{error}");
                    return false;
                }
            }
        }
    }

    /// Our end of the connection.
    pub(crate) fn address(&self) -> SocketAddr {
        self.socket.local_addr().expect("an address")
    }

    /// Whether nothing comes within `time`, not even the end.
    pub(crate) fn stands_still_for(&mut self, time: Duration) -> bool {
        self.socket.set_read_timeout(Some(time)).expect("a read timeout");
        let stands_still = self.ahead.is_empty() && !self.is_closed() && self.ahead.is_empty();
        self.socket.set_read_timeout(Some(PATIENCE)).expect("a read timeout");
        stands_still
    }

    /// Reads exactly so many bytes, or what comes before the end.
    pub(crate) fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.ahead.len() < count && self.read_more() {}
        let count = count.min(self.ahead.len());
        self.take(count)
    }

    /// Says that no more will be sent, and goes on reading.
    pub(crate) fn finish_writing(&mut self) {
        self.stream.say_goodbye();
        let _closed = self.socket.shutdown(Shutdown::Write);
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        self.ahead.drain(..count).collect()
    }

    /// The position after `mark`.
    fn read_until(&mut self, mark: &[u8]) -> Option<usize> {
        loop {
            if let Some(at) = self.ahead.windows(mark.len()).position(|window| window == mark) {
                return Some(at + mark.len());
            }
            if !self.read_more() {
                return None;
            }
        }
    }

    fn read_more(&mut self) -> bool {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) | Err(_) => false,
            Ok(count) => {
                self.ahead.extend_from_slice(&buffer[..count]);
                true
            }
        }
    }
}

impl RawResponse {
    /// The values of a header in the order of its lines.
    pub(crate) fn values(&self, name: &str) -> Vec<&str> {
        let pairs = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        pairs.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.values(name).first().copied().unwrap_or_default()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).expect("a connection");
    socket.set_read_timeout(Some(PATIENCE)).expect("a read timeout");
    socket.set_write_timeout(Some(PATIENCE)).expect("a write timeout");
    socket.set_nodelay(true).expect("no delay");
    socket
}
