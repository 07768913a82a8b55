//! Sections of lines up to an empty one: the head of an answer, and its trailers.
//!
//! Invariants: a section that comes in small pieces costs no more than one that comes at once; one that does
//! not end costs a bounded amount of memory.

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use memchr::memchr_iter;

use super::Fault;

/// Looks for the end of a section.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct SectionReader {
    /// Bytes in which the end is not.
    searched: usize,
}

impl SectionReader {
    /// Takes a section with its empty line from the beginning of what was read; none if it is not complete.
    pub(super) fn take_from(&mut self, incoming: &mut BytesMut) -> Result<Option<Bytes>, Fault> {
        let end = end_of_section(incoming, self.searched);
        if end.unwrap_or(incoming.len()) > LONGEST {
            return Err(Fault::TooLong);
        }
        // The end may have begun.
        self.searched = if end.is_some() { 0 } else { incoming.len().saturating_sub(LONGEST_END) };
        // Copied, because who keeps a field for long (the tables of HTTP/2) would keep all that was read with it.
        Ok(end.map(|end| {
            let section = Bytes::copy_from_slice(incoming.get(..end).unwrap_or_default());
            incoming.advance(section.len());
            section
        }))
    }
}

/// The length of a section, if its end is there from `start` on.
fn end_of_section(bytes: &[u8], start: usize) -> Option<usize> {
    let rest = bytes.get(start..).unwrap_or_default();
    memchr_iter(b'\n', rest).find_map(|line_end| match rest.get(line_end + 1..).unwrap_or_default() {
        [b'\n', ..] => Some(start + line_end + 2),
        [b'\r', b'\n', ..] => Some(start + line_end + 3),
        _ => None,
    })
}

/// The fields that were found in a section, of which their values are parts.
pub(super) fn fields_of(section: &Bytes, found: &[httparse::Header<'_>]) -> Result<HeaderMap, Fault> {
    let mut fields = HeaderMap::with_capacity(found.len() + ADDED_LATER);
    for field in found {
        let name = HeaderName::from_bytes(field.name.as_bytes());
        let name = name.map_err(|_| Fault::Head(httparse::Error::HeaderName))?;
        let value = HeaderValue::from_maybe_shared(section.slice_ref(field.value));
        fields.append(name, value.map_err(|_| Fault::Head(httparse::Error::HeaderValue))?);
    }
    Ok(fields)
}

/// The greatest head of an answer, and the greatest section of trailers, in bytes.
pub(super) const LONGEST: usize = 64 * 1024;

/// Fields that a section may have.
pub(super) const MOST_FIELDS: usize = 128;

/// The end of a line, and an empty one.
const LONGEST_END: usize = "\n\r\n".len();

/// Room for the fields that the gateway adds.
const ADDED_LATER: usize = 9;
