//! HTTP/2 by hand: every frame as the test wants it (RFC 9113), heads without Huffman codes (RFC 7541).
//! For everything that no honest client sends.

use super::Raw;

/// An HTTP/2 connection whose every frame the test chooses.
pub(crate) struct Frames {
    raw: Raw,
    seen: Vec<Frame>,
}

/// A frame as it stood on the wire.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Complete,
    Reset,
    /// With the whole connection.
    Gone,
}

impl Frames {
    /// Opens a connection that takes whatever comes.
    pub(crate) fn open(raw: Raw) -> Self {
        Self::open_with(raw, 1 << 20)
    }

    /// Opens a connection with this window for each stream.
    pub(crate) fn open_with(mut raw: Raw, window: u32) -> Self {
        raw.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        let mut settings = 4_u16.to_be_bytes().to_vec();
        settings.extend(window.to_be_bytes());
        raw.write(frame(SETTINGS, 0, 0, &settings));
        raw.write(frame(WINDOW_UPDATE, 0, 0, &(1_u32 << 30).to_be_bytes()));
        Self { raw, seen: Vec::new() }
    }

    /// GET of `localhost`.
    pub(crate) fn ask(&mut self, stream: u32, path: &str) {
        self.ask_host(stream, "localhost", path);
    }

    pub(crate) fn ask_host(&mut self, stream: u32, host: &str, path: &str) {
        self.send(&frame(HEADERS, END_HEADERS | END_STREAM, stream, &head(host, path, &[])));
    }

    /// Lets the peer send so many more bytes on a stream.
    pub(crate) fn grant(&mut self, stream: u32, bytes: u32) {
        self.send(&frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes()));
    }

    /// Sends bytes; whether the peer still takes them.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> bool {
        self.raw.try_write(bytes)
    }

    /// The status of a response.
    pub(crate) fn status_of(&mut self, stream: u32) -> Option<u16> {
        let head = self.until(|frame| frame.kind == HEADERS && frame.stream == stream)?;
        status(&head.payload)
    }

    /// How a stream ends; waits for it.
    pub(crate) fn end_of(&mut self, stream: u32) -> End {
        let ends = |frame: &Frame| {
            frame.stream == stream
                && (frame.kind == RST_STREAM || frame.kind <= HEADERS && frame.flags & END_STREAM != 0)
        };
        match self.until(ends) {
            Some(frame) if frame.kind == RST_STREAM => End::Reset,
            Some(_) => End::Complete,
            None => End::Gone,
        }
    }

    /// Whether the peer ends the connection, with a GOAWAY or without; waits for it.
    pub(crate) fn is_sent_away(&mut self) -> bool {
        self.until(|frame| frame.kind == GOAWAY).is_some()
            || !self.raw.try_write(frame(PING, 0, 0, &[0; 8]))
            || self.raw.is_closed()
    }

    /// The first frame like that, of those seen and those to come; none when the connection ends before.
    fn until(&mut self, is_wanted: impl Fn(&Frame) -> bool) -> Option<Frame> {
        let mut at = 0;
        loop {
            while let Some(frame) = self.seen.get(at) {
                if is_wanted(frame) {
                    return Some(frame.clone());
                }
                at += 1;
            }
            let next = self.next()?;
            self.seen.push(next);
        }
    }

    fn next(&mut self) -> Option<Frame> {
        let head = self.raw.exactly(9);
        let [high, middle, low, kind, flags, stream @ ..] = <[u8; 9]>::try_from(head).ok()?;
        let length = u32::from_be_bytes([0, high, middle, low]) as usize;
        let payload = self.raw.exactly(length);
        // What was sent is of no interest, but that it ended is.
        let kept = if kind == DATA { Vec::new() } else { payload.clone() };
        let stream = u32::from_be_bytes(stream) & (u32::MAX >> 1);
        (payload.len() == length).then_some(Frame { kind, flags, stream, payload: kept })
    }
}

/// A frame on the wire.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = u32::try_from(payload.len()).expect("a frame's length").to_be_bytes();
    [&length[..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The head of a GET, with more fields.
pub(crate) fn head(host: &str, path: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    // `:method: GET` and `:scheme: https` stand in the static table; the others have only their names there.
    let mut block = vec![0x82, 0x87, 0x01];
    block.extend(text(host));
    block.push(0x04);
    block.extend(text(path));
    for (name, value) in fields {
        block.push(0x00);
        block.extend(text(name));
        block.extend(text(value));
    }
    block
}

/// A string: its length in seven bits or more, and its bytes.
pub(crate) fn text(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    if text.len() < 127 {
        bytes.push(u8::try_from(text.len()).expect("a short text"));
    } else {
        bytes.push(127);
        let mut rest = text.len() - 127;
        while rest >= 128 {
            bytes.push(u8::try_from(rest % 128).expect("seven bits") | 0x80);
            rest /= 128;
        }
        bytes.push(u8::try_from(rest).expect("seven bits"));
    }
    bytes.extend(text.as_bytes());
    bytes
}

/// The status that a response begins with: one of the static table, or digits beside its name.
fn status(block: &[u8]) -> Option<u16> {
    match block {
        [first, ..] if (0x88..=0x8e).contains(first) => {
            Some([200, 204, 206, 304, 400, 404, 500][usize::from(first - 0x88)])
        }
        [_, length, ..] if length & 0x80 == 0 => std::str::from_utf8(block.get(2..5)?).ok()?.parse().ok(),
        [_, length, packed @ ..] => unpacked(&packed[..usize::from(length & 0x7f)]),
        _ => None,
    }
}

/// Digits in Huffman codes (RFC 7541 appendix B): five bits for 0, 1 and 2, six for the others.
fn unpacked(bytes: &[u8]) -> Option<u16> {
    let bits: Vec<u32> =
        bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| u32::from(byte >> bit & 1))).collect();
    let mut rest = &bits[..];
    let mut number = 0;
    for _ in 0..3 {
        let take = |count: usize| rest.get(..count).map(|bits| bits.iter().fold(0, |sum, bit| sum * 2 + bit));
        let (digit, length) = match take(5)? {
            short @ 0..=2 => (short, 5),
            _ => (take(6)?.checked_sub(0x19)? + 3, 6),
        };
        number = number * 10 + digit;
        rest = &rest[length..];
    }
    u16::try_from(number).ok()
}

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
