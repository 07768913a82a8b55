//! Answers in every shape, in pieces of every size.

use bytes::BytesMut;
use proptest::prelude::*;

use super::*;

/// What a reader makes of content that comes in pieces: the data, the trailers, and what is left behind it.
fn read(
    mut content: Content,
    stream: &[u8],
    cuts: &[usize],
) -> Result<(Vec<u8>, usize, Content, Vec<u8>), Fault> {
    let (mut incoming, mut data, mut trailers) = (BytesMut::new(), Vec::new(), 0);
    for piece in pieces(stream, cuts) {
        incoming.extend_from_slice(piece);
        while let Some(frame) = content.take_from(&mut incoming)? {
            match frame.into_data() {
                Ok(bytes) => data.extend_from_slice(&bytes),
                Err(frame) => trailers += frame.into_trailers().map_or(0, |fields| fields.len()),
            }
        }
    }
    Ok((data, trailers, content, incoming.to_vec()))
}

/// A stream cut into pieces of these lengths, over and over.
fn pieces<'a>(mut stream: &'a [u8], cuts: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    cuts.iter().cycle().map_while(move |&length| {
        let (piece, rest) = stream.split_at(length.clamp(1, stream.len().max(1)).min(stream.len()));
        stream = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

/// What a reader makes of a head that comes in pieces, and how many bytes it leaves.
fn read_head(stream: &[u8], cuts: &[usize]) -> Result<Option<(Response<()>, usize)>, Fault> {
    let (mut reader, mut incoming, mut read) = (SectionReader::default(), BytesMut::new(), 0);
    for piece in pieces(stream, cuts) {
        read += piece.len();
        incoming.extend_from_slice(piece);
        if let Some(head) = reader.take_from(&mut incoming)? {
            return Ok(Some((response::parse(&head)?, stream.len() - read + incoming.len())));
        }
    }
    Ok(None)
}

#[test]
fn heads_are_read_with_either_end_of_line_and_with_their_own_words() {
    for (head, status, version, reason) in [
        ("HTTP/1.1 200 OK\r\nA: 1\r\nb:  2 \r\n\r\n", 200, Version::HTTP_11, None),
        ("HTTP/1.0 404 Not here\nA: 1\nb: 2\n\n", 404, Version::HTTP_10, Some("Not here")),
        ("HTTP/1.1 999\r\na: 1\nB: 2\r\n\n", 999, Version::HTTP_11, Some("")),
    ] {
        for length in 1..9 {
            let stream = format!("{head}rest");
            let (response, left) = read_head(stream.as_bytes(), &[length]).unwrap().unwrap();
            assert_eq!((response.status().as_u16(), response.version()), (status, version), "{head}");
            assert_eq!(
                (&response.headers()["a"], &response.headers()["b"]),
                (&"1".parse().unwrap(), &"2".parse().unwrap())
            );
            let own = response.extensions().get::<hyper::ext::ReasonPhrase>();
            assert_eq!(own.map(hyper::ext::ReasonPhrase::as_bytes), reason.map(str::as_bytes), "{head}");
            assert_eq!(left, 4, "{head}");
        }
    }
}

#[test]
fn a_head_is_bounded_and_read_to_its_end() {
    let many = |fields: usize| format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(fields));
    assert!(read_head(many(section::MOST_FIELDS).as_bytes(), &[999]).unwrap().is_some());
    assert!(matches!(read_head(many(section::MOST_FIELDS + 1).as_bytes(), &[999]), Err(Fault::Head(_))));
    let long = |size: usize| format!("HTTP/1.1 200 OK\r\na: {}\r\n\r\n", "b".repeat(size));
    assert!(read_head(long(section::LONGEST - 100).as_bytes(), &[8192]).unwrap().is_some());
    for cut in [8192, usize::MAX] {
        assert!(matches!(read_head(long(section::LONGEST).as_bytes(), &[cut]), Err(Fault::TooLong)));
    }
    for nonsense in
        ["\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 20 OK\r\n\r\n", "HTTP/2.0 200 OK\r\n\r\n", "x\n\n"]
    {
        assert!(read_head(nonsense.as_bytes(), &[3]).is_err(), "{nonsense:?}");
    }
}

#[test]
fn what_is_no_chunk_is_refused() {
    let read = |stream: &str, cut| read(Content::of(Framing::Chunked), stream.as_bytes(), &[cut]).map(|_| ());
    for stream in [
        "\r\n",
        "g\r\n",
        "+4\r\npart\r\n",
        " 4\r\npart\r\n",
        "4 4\r\npart",
        "4 \0\r\npart",
        "4;a\rb\r\npart",
        "4:\r\npart",
        "4\npart\r\n",
        "4\r\npartx\r\n",
        "4\r\npart\n\n",
        "10000000000000000\r\n",
        "0\r\nno field\r\n\r\n",
        "0\r\n\nx\n\n",
    ] {
        for cut in [1, 2, 3, 99] {
            let read = read(stream, cut);
            assert!(matches!(read, Err(Fault::Chunk | Fault::Head(_))), "{stream:?}: {read:?}");
        }
    }
    let filler = "a".repeat(1 << 20);
    for cut in [8192, usize::MAX] {
        assert!(matches!(read(&format!("5;{filler}\r\n"), cut), Err(Fault::Chunk)));
        assert!(matches!(read(&format!("0\r\na: {filler}\r\n\r\n"), cut), Err(Fault::TooLong)));
    }
}

/// Content in chunks: its data, how many trailers, and its bytes.
fn chunked() -> impl Strategy<Value = (Vec<u8>, usize, Vec<u8>)> {
    let chunk = (proptest::collection::vec(any::<u8>(), 1..90), "( ?;[a-z=\"]{0,80})?");
    let chunks = (proptest::collection::vec(chunk, 0..5), proptest::collection::vec("[a-z]{1,9}", 0..3));
    chunks.prop_map(|(chunks, trailers)| {
        let (mut data, mut sent) = (Vec::new(), Vec::new());
        for (bytes, extension) in &chunks {
            data.extend(bytes);
            sent.extend(format!("{:02X}{extension}\r\n", bytes.len()).into_bytes());
            sent.extend(bytes);
            sent.extend(b"\r\n");
        }
        let fields = trailers.iter().map(|name| format!("x-{name}: 1\r\n")).collect::<Vec<_>>().concat();
        sent.extend(format!("0\r\n{fields}\r\n").into_bytes());
        (data, trailers.len(), sent)
    })
}

fn cuts() -> impl Strategy<Value = Vec<usize>> {
    proptest::collection::vec(1_usize..100, 1..8)
}

proptest! {
    #[test]
    fn chunks_give_their_data_and_leave_what_follows((data, trailers, sent) in chunked(), cuts in cuts()) {
        let stream = [&sent, &b"HTTP/1.1"[..]].concat();
        let (read_data, read_trailers, content, left) = read(Content::of(Framing::Chunked), &stream, &cuts).unwrap();
        prop_assert_eq!((read_data, read_trailers, &*left), (data, trailers, &b"HTTP/1.1"[..]));
        prop_assert!(content.is_complete());
    }

    #[test]
    fn content_that_is_cut_is_not_complete((_, _, sent) in chunked(), at in any::<prop::sample::Index>()) {
        let part = &sent[..at.index(sent.len())];
        let (_, _, content, _) = read(Content::of(Framing::Chunked), part, &[7]).unwrap();
        prop_assert!(!content.is_complete());
        let length = u64::try_from(sent.len()).unwrap();
        let (_, _, content, _) = read(Content::of(Framing::Length(length)), part, &[7]).unwrap();
        prop_assert!(!content.is_complete());
    }

    #[test]
    fn a_length_leaves_what_follows(bytes in proptest::collection::vec(any::<u8>(), 0..300), at in any::<prop::sample::Index>(), cuts in cuts()) {
        let length = at.index(bytes.len() + 1);
        let (data, _, content, left) = read(Content::of(Framing::Length(length as u64)), &bytes, &cuts).unwrap();
        prop_assert_eq!((&*data, &*left), bytes.split_at(length));
        prop_assert!(content.is_complete());
    }

    #[test]
    fn no_bytes_make_it_panic(
        words in proptest::collection::vec(prop::sample::select(vec!["\r\n", "\n", "\r", "0", "5", "f\r\n", "HTTP/1.1 200 OK\r\n", "a: b", ":", "\0", "\u{ff}", ";x"]), 0..40),
        cuts in cuts(),
    ) {
        let stream = words.concat();
        let at_once = read(Content::of(Framing::Chunked), stream.as_bytes(), &[usize::MAX]);
        let in_pieces = read(Content::of(Framing::Chunked), stream.as_bytes(), &cuts);
        prop_assert_eq!(at_once.is_ok(), in_pieces.is_ok());
        prop_assert_eq!(read_head(stream.as_bytes(), &[usize::MAX]).ok().map(|read| read.is_some()), read_head(stream.as_bytes(), &cuts).ok().map(|read| read.is_some()));
    }
}
