//! Whether a backend can take the head of a request, asked before it is sent.
//!
//! Counts what is written on an HTTP/1.1 connection. Invariant: where nothing is known of a backend,
//! nothing is counted; a value of a header never leaves this file.

use http::header::HOST;
use http::{HeaderName, Request};

use super::{ForwardError, Upstream};

/// What the servers of an upstream can take; 0 = not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes of the whole head, from the method to the empty line.
    pub bytes: usize,
    /// Bytes of one header line.
    pub line: usize,
}

/// The part of a head that has the most bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LargestPart {
    /// Path and query.
    Target,
    /// The header of this name.
    Header(HeaderName),
}

/// Refuses a request whose head is larger than its backend takes.
pub(super) fn check<B>(upstream: &Upstream, request: &Request<B>) -> Result<(), ForwardError> {
    let limits = upstream.config().head_limits;
    if limits == HeadLimits::default() {
        return Ok(());
    }
    let head = Head::of(request, upstream.longest_host());
    let fits = |size: usize, limit: usize| limit == 0 || size <= limit;
    if fits(head.bytes, limits.bytes) && fits(head.longest_line, limits.line) {
        return Ok(());
    }
    let is_target = fits(head.longest_line, limits.line) && head.target > head.longest_line;
    Err(ForwardError::HeadTooLarge(match head.longest_name.filter(|_| !is_target) {
        Some(name) => LargestPart::Header(name.clone()),
        None => LargestPart::Target,
    }))
}

/// The sizes of a head.
struct Head<'a> {
    bytes: usize,
    target: usize,
    longest_line: usize,
    longest_name: Option<&'a HeaderName>,
}

impl<'a> Head<'a> {
    /// `host` is the size of the host that is set later, if one is.
    fn of<B>(request: &'a Request<B>, host: Option<usize>) -> Self {
        let target = request.uri().path_and_query().map_or(1, |target| target.as_str().len());
        let bytes = request.method().as_str().len() + target + REQUEST_LINE + LINE_END;
        let mut head = Self { bytes, target, longest_line: 0, longest_name: None };
        for (name, value) in request.headers() {
            let value = host.filter(|_| name == HOST).unwrap_or(value.len());
            let line = name.as_str().len() + SEPARATOR + value + LINE_END;
            head.bytes += line;
            if line > head.longest_line {
                (head.longest_line, head.longest_name) = (line, Some(name));
            }
        }
        head
    }
}

/// `: `.
const SEPARATOR: usize = 2;
const LINE_END: usize = 2;
/// Two blanks, the version and the end of the line.
const REQUEST_LINE: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_counted_as_it_is_written() {
        let request = Request::get("/a?b").header("host", "x").header("cookie", "a=1").body(()).unwrap();
        let head = Head::of(&request, None);
        assert_eq!(head.bytes, "GET /a?b HTTP/1.1\r\nhost: x\r\ncookie: a=1\r\n\r\n".len());
        assert_eq!((head.longest_line, head.longest_name.unwrap().as_str()), (13, "cookie"));
        let head = Head::of(&request, Some(20));
        assert_eq!(head.longest_name.unwrap().as_str(), "host");
    }
}
