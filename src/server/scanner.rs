//! Reads along with hyper and finds what hyper would repair in silence.
//!
//! hyper merges equal `Content-Length` lines, prefers `Transfer-Encoding` to a length beside it and
//! cuts a fragment off the target. Two readers may understand such a head differently, which is how
//! requests are smuggled, and behind hyper nobody can see it any more. [`Scanner`] sees the bytes as
//! they come from the client. It knows just enough of RFC 9112 to follow the borders between heads
//! and bodies, so that bytes of a body are never taken for a head.
//!
//! Leaves to hyper what hyper refuses by itself: whitespace before a colon, folded lines, bare CR,
//! control characters, broken chunks. Leaves to `gateway::canonical` whether host and target agree.
//!
//! Invariants: whatever hyper accepts up to a message border, the scanner sees the same border, or
//! has refused before; the verdict does not depend on how the stream is cut into reads; no
//! allocation, and the bytes of bodies are skipped by count.

use memchr::{memchr, memchr_iter};

/// Follows the requests of one connection.
#[derive(Debug)]
pub(super) struct Scanner {
    part: Part,
    /// The beginning of a line whose end is still to come.
    begun: Begun,
    framing: Framing,
    hosts: Hosts,
}

/// What a request must not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Flaw {
    /// Some readers cut it off, others take it for a part of the path.
    #[error("the request line holds a `#`")]
    Fragment,
    /// More than one line that frames the body, be they equal.
    #[error("the end of the body is given twice")]
    FramedTwice,
    /// Not `1*DIGIT`, or more than there can be.
    #[error("`Content-Length` is not a number of bytes")]
    Length,
    /// Codings that hyper does not undo, or more than one reader may know.
    #[error("`Transfer-Encoding` is not exactly `chunked`")]
    Coding,
    /// Be it the same.
    #[error("a request names exactly one `Host`")]
    SecondHost,
    /// None, or beyond all bounds.
    #[error("a chunk begins without its size")]
    ChunkSize,
    /// LF without CR.
    #[error("a trailer line does not end with CRLF")]
    TrailerEnd,
}

/// The index of the byte that shows a flaw, and which.
pub(super) type Found = (usize, Flaw);

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// The empty lines that may stand before a request, or its first line.
    RequestLine,
    /// A header line, or the empty one behind the last.
    Field,
    /// A body with this many bytes to come.
    Body(u64),
    /// The line before a chunk.
    ChunkSize,
    /// A chunk and the line break behind it, with this many bytes to come.
    Chunk(u64),
    /// A line behind the last chunk.
    Trailer,
}

/// How the head that is being read says where its body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    None,
    Length(u64),
    Chunked,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hosts {
    None,
    One,
}

impl Scanner {
    pub(super) const fn new() -> Self {
        Self { part: Part::RequestLine, begun: Begun::NOTHING, framing: Framing::None, hosts: Hosts::None }
    }

    /// Reads on; the first flaw is the last thing that a scanner can say.
    pub(super) fn scan(&mut self, data: &[u8]) -> Result<(), Found> {
        let mut rest = data;
        while !rest.is_empty() {
            let at = data.len() - rest.len();
            rest = match self.part {
                Part::Body(left) => self.skip(rest, left, Part::Body, Part::RequestLine),
                Part::Chunk(left) => self.skip(rest, left, Part::Chunk, Part::ChunkSize),
                _ => self.lines(rest).map_err(|(index, flaw)| (at + index, flaw))?,
            };
        }
        Ok(())
    }

    /// Passes over `left` bytes; what comes then is `next`, or `more` of the same.
    fn skip<'a>(&mut self, data: &'a [u8], left: u64, more: fn(u64) -> Part, next: Part) -> &'a [u8] {
        let here = usize::try_from(left).unwrap_or(usize::MAX).min(data.len());
        self.part = match left - here as u64 {
            0 => next,
            left => more(left),
        };
        data.get(here..).unwrap_or_default()
    }

    /// Reads lines for as long as lines are to come.
    fn lines<'a>(&mut self, data: &'a [u8]) -> Result<&'a [u8], Found> {
        let mut start = 0;
        for end in memchr_iter(b'\n', data) {
            let piece = data.get(start..end).unwrap_or_default();
            if self.part == Part::RequestLine {
                refuse_fragment(piece, start)?;
            }
            self.line(piece).map_err(|flaw| (end, flaw))?;
            start = end + 1;
            if matches!(self.part, Part::Body(_) | Part::Chunk(_)) {
                return Ok(data.get(start..).unwrap_or_default());
            }
        }
        let piece = data.get(start..).unwrap_or_default();
        if self.part == Part::RequestLine {
            refuse_fragment(piece, start)?;
        }
        self.begun.add(piece);
        Ok(&[])
    }

    /// A line is complete with `piece`.
    fn line(&mut self, piece: &[u8]) -> Result<(), Flaw> {
        if self.begun.length == 0 {
            return self.whole(Line { start: piece, length: piece.len(), last: piece.last().copied() });
        }
        let mut begun = std::mem::replace(&mut self.begun, Begun::NOTHING);
        begun.add(piece);
        self.whole(begun.line())
    }

    fn whole(&mut self, line: Line<'_>) -> Result<(), Flaw> {
        match self.part {
            Part::RequestLine if !line.is_empty() => self.part = Part::Field,
            Part::Field if line.is_empty() => self.end_head(),
            Part::Field => return self.field(line),
            Part::ChunkSize => {
                self.part = match chunk_size(line.start)? {
                    0 => Part::Trailer,
                    size => Part::Chunk(size.checked_add(CRLF).ok_or(Flaw::ChunkSize)?),
                }
            }
            // SECURITY: hyper ends these lines at CRLF alone, and would read on where we see the end.
            Part::Trailer if line.last != Some(b'\r') => return Err(Flaw::TrailerEnd),
            Part::Trailer if line.is_empty() => self.part = Part::RequestLine,
            _ => {}
        }
        Ok(())
    }

    fn end_head(&mut self) {
        self.hosts = Hosts::None;
        self.part = match std::mem::replace(&mut self.framing, Framing::None) {
            Framing::None | Framing::Length(0) => Part::RequestLine,
            Framing::Length(length) => Part::Body(length),
            Framing::Chunked => Part::ChunkSize,
        };
    }

    fn field(&mut self, line: Line<'_>) -> Result<(), Flaw> {
        // Most lines are none of ours, and their first letter tells.
        match line.start.first().map(u8::to_ascii_lowercase) {
            Some(b'c') if line.names(b"content-length:") => {
                self.frame(Framing::Length(length(line.short().ok_or(Flaw::Length)?)?))
            }
            Some(b't') if line.names(b"transfer-encoding:") => {
                coding(line.short().ok_or(Flaw::Coding)?)?;
                self.frame(Framing::Chunked)
            }
            Some(b'h') if line.names(b"host:") => match std::mem::replace(&mut self.hosts, Hosts::One) {
                Hosts::None => Ok(()),
                Hosts::One => Err(Flaw::SecondHost),
            },
            _ => Ok(()),
        }
    }

    fn frame(&mut self, framing: Framing) -> Result<(), Flaw> {
        match std::mem::replace(&mut self.framing, framing) {
            Framing::None => Ok(()),
            _ => Err(Flaw::FramedTwice),
        }
    }
}

/// A line without its LF: as much of its beginning as matters, and its end.
#[derive(Clone, Copy)]
struct Line<'a> {
    start: &'a [u8],
    length: usize,
    last: Option<u8>,
}

impl<'a> Line<'a> {
    /// Whether there is nothing on it, but a CR maybe.
    fn is_empty(self) -> bool {
        self.length == 0 || (self.length == 1 && self.last == Some(b'\r'))
    }

    /// Whether it begins with this name; in lower case, with its colon.
    fn names(self, name: &[u8]) -> bool {
        self.start.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name))
    }

    /// The whole of it, if it is no longer than a line may be that we read to its end.
    fn short(self) -> Option<&'a [u8]> {
        (self.length <= LONGEST_KEPT).then_some(self.start)
    }
}

/// The beginning of a line that is cut by the end of a read.
#[derive(Debug)]
struct Begun {
    start: [u8; LONGEST_KEPT],
    length: usize,
    last: u8,
}

impl Begun {
    const NOTHING: Self = Self { start: [0; LONGEST_KEPT], length: 0, last: 0 };

    fn add(&mut self, piece: &[u8]) {
        let room = self.start.get_mut(self.length..).unwrap_or_default();
        for (kept, byte) in room.iter_mut().zip(piece) {
            *kept = *byte;
        }
        self.length = self.length.saturating_add(piece.len());
        self.last = piece.last().copied().unwrap_or(self.last);
    }

    fn line(&self) -> Line<'_> {
        let start = self.start.get(..self.length).unwrap_or(&self.start);
        Line { start, length: self.length, last: (self.length > 0).then_some(self.last) }
    }
}

/// Looks for a `#` in a piece of the request line that begins at `start`.
fn refuse_fragment(piece: &[u8], start: usize) -> Result<(), Found> {
    memchr(b'#', piece).map_or(Ok(()), |index| Err((start + index, Flaw::Fragment)))
}

fn length(line: &[u8]) -> Result<u64, Flaw> {
    let digits = value(line);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Flaw::Length);
    }
    let number = std::str::from_utf8(digits).map_err(|_| Flaw::Length)?;
    number.parse().map_err(|_| Flaw::Length)
}

fn coding(line: &[u8]) -> Result<(), Flaw> {
    if value(line).eq_ignore_ascii_case(b"chunked") { Ok(()) } else { Err(Flaw::Coding) }
}

/// What stands behind the colon, without the blanks around it.
fn value(line: &[u8]) -> &[u8] {
    let colon = memchr(b':', line).map_or(line.len(), |colon| colon + 1);
    let mut value = line.get(colon..).unwrap_or_default();
    value = value.strip_suffix(b"\r").unwrap_or(value);
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// The size before a chunk; extensions are hyper's to bound and to ignore (RFC 9112 section 7.1.1).
fn chunk_size(line: &[u8]) -> Result<u64, Flaw> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    if digits > MOST_DIGITS {
        return Err(Flaw::ChunkSize);
    }
    let digits = std::str::from_utf8(line.get(..digits).unwrap_or_default()).unwrap_or_default();
    u64::from_str_radix(digits, 16).map_err(|_| Flaw::ChunkSize)
}

/// No line that frames a body has a reason to be longer.
const LONGEST_KEPT: usize = 64;

/// Hexadecimal digits of the largest number.
const MOST_DIGITS: usize = 16;

/// Behind every chunk.
const CRLF: u64 = 2;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The verdict on a stream that comes in pieces of these lengths, over and over.
    fn scan(stream: &[u8], pieces: &[usize]) -> (Result<(), Found>, Scanner) {
        let mut scanner = Scanner::new();
        let mut lengths = pieces.iter().cycle().map(|&length| length.max(1));
        let mut start = 0;
        while start < stream.len() {
            let end = stream.len().min(start + lengths.next().unwrap_or(usize::MAX));
            if let Err((at, flaw)) = scanner.scan(&stream[start..end]) {
                return (Err((start + at, flaw)), scanner);
            }
            start = end;
        }
        (Ok(()), scanner)
    }

    fn flaw_in(stream: &str) -> Option<Flaw> {
        let whole = scan(stream.as_bytes(), &[usize::MAX]).0;
        for length in 1..4 {
            assert_eq!(scan(stream.as_bytes(), &[length]).0, whole, "{stream:?} in pieces of {length}");
        }
        whole.err().map(|(_, flaw)| flaw)
    }

    fn is_between_requests(scanner: &Scanner) -> bool {
        scanner.part == Part::RequestLine && scanner.begun.length == 0
    }

    #[test]
    fn a_body_is_framed_once_and_without_doubt() {
        for (lines, flaw) in [
            ("content-length: 5\r\ntransfer-encoding: chunked", Flaw::FramedTwice),
            ("Transfer-Encoding: chunked\r\nContent-Length: 5", Flaw::FramedTwice),
            ("Content-Length: 5\r\nContent-Length: 5", Flaw::FramedTwice),
            ("Content-Length: 5\ncontent-LENGTH: 6", Flaw::FramedTwice),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", Flaw::FramedTwice),
            ("Content-Length: 5, 5", Flaw::Length),
            ("Content-Length: +5", Flaw::Length),
            ("Content-Length:", Flaw::Length),
            ("Content-Length: 0x5", Flaw::Length),
            ("Content-Length: 18446744073709551616", Flaw::Length),
            ("Content-Length: 00000000000000000000000000000000000000000000000000005", Flaw::Length),
            ("Transfer-Encoding: gzip, chunked", Flaw::Coding),
            ("Transfer-Encoding: chunked;q=1", Flaw::Coding),
            ("Transfer-Encoding: \"chunked\"", Flaw::Coding),
            ("Transfer-Encoding:", Flaw::Coding),
        ] {
            assert_eq!(flaw_in(&format!("POST / HTTP/1.1\r\n{lines}\r\n\r\n")), Some(flaw), "{lines}");
        }
    }

    #[test]
    fn a_target_has_no_fragment_and_a_request_one_host() {
        assert_eq!(flaw_in("GET /a#b HTTP/1.1\r\n\r\n"), Some(Flaw::Fragment));
        assert_eq!(flaw_in("\r\n\nGET /#"), Some(Flaw::Fragment));
        assert_eq!(flaw_in("GET / HTTP/1.1\r\nReferer: #\r\n\r\n#"), Some(Flaw::Fragment));
        assert_eq!(flaw_in("GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n"), Some(Flaw::SecondHost));
        assert_eq!(flaw_in(&"GET / HTTP/1.1\r\nHost: a\r\nX-Host: #\r\nHosts: b\r\n\r\n".repeat(2)), None);
    }

    #[test]
    fn a_flaw_is_found_behind_other_requests_and_their_bodies_are_not_taken_for_heads() {
        let post = "POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n/# HTTP\r\n";
        let chunked = "PUT / HTTP/1.1\r\ntransfer-encoding:\tChunked \r\n\r\n\
                       0009 ;a=b\r\n/# HTTP\r\n\r\nA\r\nHost: #\r\n#\r\n0\r\nHost: #\r\nHost: #\r\n\r\n";
        let stream = format!("{post}{chunked}\r\n{post}{chunked}");
        assert_eq!(flaw_in(&stream), None);
        let bad = "GET /# HTTP/1.1\r\n\r\n";
        let (found, _) = scan(format!("{stream}{bad}").as_bytes(), &[7, 1, 30]);
        assert_eq!(found, Err((stream.len() + 5, Flaw::Fragment)));
    }

    #[test]
    fn chunks_and_trailers_that_hyper_would_end_elsewhere_are_refused() {
        for (body, flaw) in [
            ("+5\r\nhello\r\n", Flaw::ChunkSize),
            (" 5\r\nhello\r\n", Flaw::ChunkSize),
            ("\r\n", Flaw::ChunkSize),
            (";a\r\n", Flaw::ChunkSize),
            ("10000000000000000\r\n", Flaw::ChunkSize),
            ("ffffffffffffffff\r\n", Flaw::ChunkSize),
            ("0\r\nX: y\n\r\n", Flaw::TrailerEnd),
            ("0\r\n\n", Flaw::TrailerEnd),
        ] {
            let stream = format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
            assert_eq!(flaw_in(&stream), Some(flaw), "{body:?}");
        }
    }

    /// What a body may look like: how it is framed, and its bytes as they are sent.
    fn body() -> impl Strategy<Value = (String, Vec<u8>)> {
        let bytes = || proptest::collection::vec(any::<u8>(), 0..90);
        let exact = bytes().prop_map(|body| (format!("Content-Length: \t{:03}\r\n", body.len()), body));
        let chunks = (
            proptest::collection::vec((bytes(), " ?(;[a-z=\"#]{0,80})?"), 0..4),
            "(X: [#a-z]{0,80}\r\n){0,3}",
        );
        let chunked = chunks.prop_map(|(chunks, trailers)| {
            let mut sent = Vec::new();
            for (bytes, extension) in chunks.iter().filter(|(bytes, _)| !bytes.is_empty()) {
                sent.extend(format!("{:02X}{extension}\r\n", bytes.len()).into_bytes());
                sent.extend(bytes);
                sent.extend(b"\r\n");
            }
            sent.extend(format!("0\r\n{trailers}\r\n").into_bytes());
            ("transfer-ENCODING:chunked\r\n".to_owned(), sent)
        });
        prop_oneof![Just((String::new(), Vec::new())), exact, chunked]
    }

    /// A request without a flaw.
    fn request() -> impl Strategy<Value = Vec<u8>> {
        let lines = "((X|Cookie|TE|Content-Type|Hostile|T|H|C): [ -~]{0,100}\r?\n){0,4}";
        ("(\r?\n){0,2}", "[A-Z]{1,7} /[!\"$-~]{0,90} HTTP/1\\.[01]\r?\n", lines, body()).prop_map(
            |(before, line, lines, (framing, body))| {
                let head = format!("{before}{line}Host: a\r\n{framing}{lines}\r\n");
                [head.into_bytes(), body].concat()
            },
        )
    }

    /// Bytes among which what matters is frequent.
    fn noise() -> impl Strategy<Value = Vec<u8>> {
        let word = proptest::sample::select(vec![
            "\r\n",
            "\n",
            "\r",
            "Host: a\r\n",
            "POST / HTTP/1.1\r\n",
            "Content-Length: 7\r\n",
            "Content-Length: ",
            "Transfer-Encoding: chunked\r\n\r\n",
            "Transfer-Encoding:",
            "5\r\nhello\r\n",
            "0\r\n",
            "#",
        ]);
        let piece = prop_oneof![4 => word.prop_map(|word| word.as_bytes().to_vec()), 1 => proptest::collection::vec(any::<u8>(), 0..70)];
        proptest::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat())
    }

    fn cuts() -> impl Strategy<Value = Vec<usize>> {
        proptest::collection::vec(1_usize..100, 1..8)
    }

    proptest! {
        #[test]
        fn requests_without_a_flaw_pass_and_the_scanner_knows_where_they_end(
            requests in proptest::collection::vec(request(), 1..5),
            cuts in cuts(),
        ) {
            let (verdict, scanner) = scan(&requests.concat(), &cuts);
            prop_assert_eq!(verdict, Ok(()));
            prop_assert!(is_between_requests(&scanner));
        }

        #[test]
        fn a_flaw_behind_any_requests_is_found_where_it_stands(
            requests in proptest::collection::vec(request(), 0..4),
            cuts in cuts(),
        ) {
            let good = requests.concat();
            let bad = b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r";
            let stream = [&good, &bad[..], b"\n\r\n0\r\n\r\n"].concat();
            prop_assert_eq!(scan(&stream, &cuts).0, Err((good.len() + bad.len(), Flaw::FramedTwice)));
        }

        #[test]
        fn the_verdict_does_not_depend_on_how_the_stream_is_cut(stream in noise(), cuts in cuts()) {
            prop_assert_eq!(scan(&stream, &cuts).0, scan(&stream, &[usize::MAX]).0);
        }
    }
}
