//! The scanner of request heads on any bytes: it never panics, and how they are cut changes nothing.
//!
//! The first byte says into pieces of which length the rest is cut.
#![no_main]

use libfuzzer_sys::fuzz_target;

/// The file itself: the module is no part of the crate's interface.
#[path = "../../../src/server/scanner.rs"]
mod scanner;

fn verdict(stream: &[u8], piece: usize) -> Option<usize> {
    let mut scanner = scanner::Scanner::new();
    let mut known = 0;
    for piece in stream.chunks(piece.max(1)) {
        if let Err((at, _flaw)) = scanner.scan(piece) {
            return Some(known + at);
        }
        known += piece.len();
    }
    None
}

fuzz_target!(|data: &[u8]| {
    let Some((&piece, stream)) = data.split_first() else { return };
    let whole = verdict(stream, usize::MAX);
    assert_eq!(verdict(stream, piece.into()), whole);
    assert_eq!(verdict(stream, 1), whole);
});
