//! A WebSocket client of as few lines as RFC 6455 allows: one frame a message, no extensions.

use super::client::Client;
use super::gateway::Gateway;
use super::raw::{Raw, RawResponse};

/// An open WebSocket.
pub(crate) struct WebSocket {
    pub(crate) connection: Raw,
}

/// What came in one frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    Text(String),
    Binary(Vec<u8>),
    /// With its code.
    Close(u16),
}

impl WebSocket {
    /// Opens a WebSocket at `target` with the visitor's cookies.
    #[track_caller]
    pub(crate) fn open(gateway: &Gateway, visitor: &Client, target: &str) -> Self {
        let (connection, answer) = Self::ask(gateway, visitor, target, "websocket");
        assert_eq!(answer.status, 101, "{} {}", answer.head, answer.text());
        assert_eq!(answer.header("sec-websocket-accept"), ACCEPT);
        Self { connection }
    }

    /// Asks for an upgrade to `protocol`; the connection and the answer.
    #[track_caller]
    pub(crate) fn ask(
        gateway: &Gateway,
        visitor: &Client,
        target: &str,
        protocol: &str,
    ) -> (Raw, RawResponse) {
        let cookie = visitor
            .session_cookie()
            .map(|value| format!("Cookie: {}={value}\r\n", super::client::SESSION_COOKIE));
        let mut connection = gateway.raw();
        let answer = connection
            .write(format!(
                "GET {target} HTTP/1.1\r\nHost: {}\r\n{}X-User-Id: forged\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n",
                visitor.authority(),
                cookie.unwrap_or_default(),
            ))
            .response();
        (connection, answer)
    }

    pub(crate) fn say(&mut self, text: &str) {
        self.send(TEXT, text.as_bytes());
    }

    pub(crate) fn send_binary(&mut self, bytes: &[u8]) {
        self.send(BINARY, bytes);
    }

    /// Answers a ping, as browsers do by themselves.
    pub(crate) fn pong(&mut self) {
        self.send(PONG, b"");
    }

    /// The next message.
    #[track_caller]
    pub(crate) fn heard(&mut self) -> Message {
        let head = self.take(2);
        let length = match head[1] {
            TWO_BYTES => number(&self.take(2)),
            EIGHT_BYTES => number(&self.take(8)),
            length => length.into(),
        };
        let payload = self.take(length);
        match head[0] & 0x0f {
            TEXT => Message::Text(String::from_utf8(payload).expect("text")),
            BINARY => Message::Binary(payload),
            CLOSE => Message::Close(u16::try_from(number(&payload[..2])).expect("a code")),
            other => panic!("a frame of kind {other}"),
        }
    }

    /// One frame; clients mask theirs (RFC 6455 5.3).
    fn send(&mut self, kind: u8, payload: &[u8]) {
        let mut frame = vec![FINAL | kind];
        if let Ok(length @ ..=125) = u8::try_from(payload.len()) {
            frame.push(MASKED | length);
        } else if let Ok(length) = u16::try_from(payload.len()) {
            frame.push(MASKED | TWO_BYTES);
            frame.extend(length.to_be_bytes());
        } else {
            frame.push(MASKED | EIGHT_BYTES);
            frame.extend(payload.len().to_be_bytes());
        }
        frame.extend(MASK);
        frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        self.connection.write(frame);
    }

    #[track_caller]
    fn take(&mut self, count: usize) -> Vec<u8> {
        let bytes = self.connection.exactly(count);
        assert_eq!(bytes.len(), count, "the connection ended within a frame");
        bytes
    }
}

fn number(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte))
}

/// The key and its answer in RFC 6455 1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;

/// In the place of a length: how many bytes hold it (RFC 6455 5.2).
const TWO_BYTES: u8 = 126;
const EIGHT_BYTES: u8 = 127;

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PONG: u8 = 10;
