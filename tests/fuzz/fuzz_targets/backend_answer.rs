//! Answers of a backend over HTTP/1.1 on any bytes: reading them never panics, how they are cut changes nothing,
//! and content that is complete stays so with more behind it.
//!
//! The first byte says into pieces of which length the rest is cut, and how its content ends.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;

use self::content::Content;
use self::proxy::headers::Framing;
use self::section::SectionReader;

#[path = "../../../src/proxy/http1/content.rs"]
mod content;
#[path = "../../../src/proxy/http1/response.rs"]
mod response;
#[path = "../../../src/proxy/http1/section.rs"]
mod section;

/// What the files find elsewhere in the room.
mod proxy {
    pub mod headers {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Framing {
            Length(u64),
            Chunked,
            None,
        }
    }
}

#[derive(Debug)]
pub enum Fault {
    Head(httparse::Error),
    TooLong,
    Chunk,
}

/// The status, the data and the number of trailers; whether all of it is there, and what is left.
type Read = (u16, Vec<u8>, usize, bool, Vec<u8>);

fn read(stream: &[u8], piece: usize, framing: Framing) -> Option<Read> {
    let (mut incoming, mut section, mut content) = (BytesMut::new(), SectionReader::default(), Content::of(framing));
    let (mut status, mut data, mut trailers) = (0, Vec::new(), 0);
    for piece in stream.chunks(piece.max(1)) {
        incoming.extend_from_slice(piece);
        if status == 0 {
            let Some(head) = section.take_from(&mut incoming).ok()? else { continue };
            status = response::parse(&head).ok()?.status().as_u16();
        }
        while let Some(frame) = content.take_from(&mut incoming).ok()? {
            match frame.into_data() {
                Ok(bytes) => data.extend_from_slice(&bytes),
                Err(frame) => trailers += frame.into_trailers().map_or(0, |fields| fields.len()),
            }
        }
    }
    Some((status, data, trailers, content.is_complete(), incoming.to_vec()))
}

fuzz_target!(|input: &[u8]| {
    let Some((&first, stream)) = input.split_first() else { return };
    let framing = match first % 3 {
        0 => Framing::Chunked,
        1 => Framing::Length(u64::from(first)),
        _ => Framing::None,
    };
    let whole = read(stream, usize::MAX, framing);
    assert_eq!(read(stream, first.into(), framing), whole);
    assert_eq!(read(stream, 1, framing), whole);
    if let Some((status, data, trailers, true, left)) = whole {
        let more = read(&[stream, b"more"].concat(), usize::MAX, framing);
        assert_eq!(more, Some((status, data, trailers, true, [&left[..], b"more"].concat())));
    }
});
