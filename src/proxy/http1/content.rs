//! The content of an answer, from bytes (RFC 9112 section 6.3).
//!
//! Invariants: content is complete only where its framing says so; what stands behind its end is left alone.

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use httparse::Status;
use memchr::memchr;

use super::Fault;
use super::section::{MOST_FIELDS, SectionReader, fields_of};
use crate::proxy::headers::Framing;

/// What is still to come of an answer's content.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// So many bytes.
    Length(u64),
    Chunked(Chunk),
    /// All that comes until the backend closes the connection.
    UntilClose,
}

/// What comes next of content in chunks (RFC 9112 section 7.1).
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Chunk {
    Size,
    /// So many bytes of data.
    Data(u64),
    DataEnd,
    Trailers(SectionReader),
}

impl Content {
    /// Nothing.
    pub(super) const NONE: Self = Self::Length(0);

    pub(super) const fn of(framing: Framing) -> Self {
        match framing {
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked(Chunk::Size),
            Framing::None => Self::UntilClose,
        }
    }

    pub(super) const fn is_complete(&self) -> bool {
        matches!(self, Self::Length(0))
    }

    pub(super) const fn ends_with_the_connection(&self) -> bool {
        matches!(self, Self::UntilClose)
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        match self {
            Self::Length(length) => SizeHint::with_exact(*length),
            Self::Chunked(_) | Self::UntilClose => SizeHint::default(),
        }
    }

    /// Takes the next part from the beginning of what was read; none if it is not there, or never will be.
    pub(super) fn take_from(&mut self, incoming: &mut BytesMut) -> Result<Option<Frame<Bytes>>, Fault> {
        let data = match self {
            Self::Length(left) => take_data(incoming, left),
            Self::UntilClose => take_data(incoming, &mut { u64::MAX }),
            Self::Chunked(chunk) => match chunk.take_from(incoming)? {
                Some(Part::Data(data)) => Some(data),
                Some(Part::End(trailers)) => {
                    *self = Self::NONE;
                    return Ok(trailers.map(Frame::trailers));
                }
                None => None,
            },
        };
        Ok(data.map(Frame::data))
    }
}

/// What was found in content in chunks.
enum Part {
    Data(Bytes),
    End(Option<HeaderMap>),
}

impl Chunk {
    fn take_from(&mut self, incoming: &mut BytesMut) -> Result<Option<Part>, Fault> {
        loop {
            match self {
                Self::Size => match take_size(incoming)? {
                    Some(0) => *self = Self::Trailers(SectionReader::default()),
                    Some(size) => *self = Self::Data(size),
                    None => return Ok(None),
                },
                Self::Data(left) => {
                    let data = take_data(incoming, left);
                    if *left == 0 {
                        *self = Self::DataEnd;
                    }
                    return Ok(data.map(Part::Data));
                }
                Self::DataEnd => match incoming.get(..LINE_END.len()) {
                    Some(LINE_END) => {
                        incoming.advance(LINE_END.len());
                        *self = Self::Size;
                    }
                    Some(_) => return Err(Fault::Chunk),
                    None => return Ok(None),
                },
                Self::Trailers(section) => return take_trailers(incoming, section),
            }
        }
    }
}

/// Takes what is there, but no more than is `left`.
fn take_data(incoming: &mut BytesMut, left: &mut u64) -> Option<Bytes> {
    let size = usize::try_from(*left).unwrap_or(usize::MAX).min(incoming.len());
    *left -= size as u64;
    (size > 0).then(|| incoming.split_to(size).freeze())
}

/// Takes the line before a chunk; its extensions mean nothing to us (RFC 9112 section 7.1.1).
fn take_size(incoming: &mut BytesMut) -> Result<Option<u64>, Fault> {
    let end = memchr(b'\n', incoming);
    if end.unwrap_or(incoming.len()) > LONGEST_SIZE {
        return Err(Fault::Chunk);
    }
    let Some(end) = end else { return Ok(None) };
    let line = incoming.split_to(end + 1);
    let line = line.strip_suffix(LINE_END).ok_or(Fault::Chunk)?;
    let (digits, rest) = line.split_at(line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count());
    let is_extension = matches!(rest.trim_ascii_start(), [] | [b';', ..]) && !rest.contains(&b'\r');
    if digits.len() > MOST_DIGITS || !is_extension {
        return Err(Fault::Chunk);
    }
    let digits = std::str::from_utf8(digits).map_err(|_| Fault::Chunk)?;
    u64::from_str_radix(digits, 16).map(Some).map_err(|_| Fault::Chunk)
}

fn take_trailers(incoming: &mut BytesMut, section: &mut SectionReader) -> Result<Option<Part>, Fault> {
    if incoming.starts_with(LINE_END) {
        incoming.advance(LINE_END.len());
        return Ok(Some(Part::End(None)));
    }
    let Some(section) = section.take_from(incoming)? else { return Ok(None) };
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    match httparse::parse_headers(&section, &mut fields).map_err(Fault::Head)? {
        Status::Complete((length, found)) if length == section.len() => {
            fields_of(&section, found).map(|trailers| Some(Part::End(Some(trailers))))
        }
        Status::Complete(_) | Status::Partial => Err(Fault::Chunk),
    }
}

const LINE_END: &[u8] = b"\r\n";

/// The greatest line before a chunk, in bytes.
const LONGEST_SIZE: usize = 4 * 1024;

/// Hexadecimal digits of the largest number.
const MOST_DIGITS: usize = 16;
