//! A WebSocket on one stream of a visitor's HTTP/2 connection (RFC 8441), and a backend for it.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::backend::Peer;
use super::{After, Backend, Client, block_on};

/// An open WebSocket, as its bytes.
pub(crate) struct H2Socket(TokioIo<Upgraded>);

impl H2Socket {
    #[track_caller]
    pub(crate) fn open(visitor: &Client, target: &str) -> Self {
        let answer = visitor.ask_for_websocket(target);
        assert_eq!(answer.status(), 200, "{:?}", answer.headers());
        for name in ["sec-websocket-accept", "upgrade", "connection"] {
            assert!(!answer.headers().contains_key(name), "{name}");
        }
        Self(TokioIo::new(block_on(hyper::upgrade::on(answer)).expect("a tunnel")))
    }

    pub(crate) fn write(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        block_on(self.0.write_all(bytes.as_ref())).expect("an open stream");
        self
    }

    /// The next so many bytes.
    #[track_caller]
    pub(crate) fn exactly(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        block_on(self.0.read_exact(&mut bytes)).expect("more bytes");
        bytes
    }

    /// What comes until the stream ends.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let _broken = block_on(self.0.read_to_end(&mut bytes));
        bytes
    }

    pub(crate) fn finish_writing(&mut self) {
        block_on(self.0.shutdown()).expect("an open stream");
    }
}

/// Takes WebSockets, answers their keys, and sends back every byte.
pub(crate) fn echo() -> Backend {
    Backend::with_head(|peer| {
        let accept = accept(peer.request.header("sec-websocket-key"));
        switch(peer, &accept);
        while let Some(bytes) = peer.read_some() {
            peer.write(bytes);
        }
        After::Close
    })
}

/// Lets a client switch, with this answer to its key.
pub(crate) fn switch(peer: &mut Peer<'_>, accept: &str) {
    peer.write(format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
    ));
}

/// RFC 6455 section 4.2.2.
fn accept(key: &str) -> String {
    let both = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, both.as_bytes()))
}
