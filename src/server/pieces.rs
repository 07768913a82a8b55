//! Large writes, cut into pieces that are quick to copy.
//!
//! rustls copies what it encrypts. From 2112 bytes on, the `memcpy` of the C library of Debian 12
//! (glibc before 2.39) uses an instruction that is slow on AMD processors unless source and target
//! happen to be aligned alike; it took as much time as the encryption. Below, it is fast everywhere.
//!
//! Invariant: the pieces are the bytes that were given, in their order, maybe not all of them.

use std::io::IoSlice;

/// Room for the pieces of one write: more bytes than rustls takes at once.
pub(super) type Pieces<'a> = [IoSlice<'a>; MOST];

/// Room without pieces.
pub(super) fn none<'a>() -> Pieces<'a> {
    [IoSlice::new(&[]); MOST]
}

/// The first bytes of `data`, cut into `pieces`.
pub(super) fn cut<'p, 'a>(
    data: impl IntoIterator<Item = &'a [u8]>,
    pieces: &'p mut Pieces<'a>,
) -> &'p [IoSlice<'a>] {
    let mut count = 0;
    let cut = data.into_iter().flat_map(|bytes| bytes.chunks(PIECE));
    for (place, piece) in pieces.iter_mut().zip(cut) {
        *place = IoSlice::new(piece);
        count += 1;
    }
    pieces.get(..count).unwrap_or_default()
}

/// Whether cutting changes anything.
pub(super) fn is_large(data: &[u8]) -> bool {
    data.len() > PIECE
}

/// Bytes of a piece.
const PIECE: usize = 2048;
const MOST: usize = 36;

const _: () = assert!(PIECE * MOST > 64 * 1024, "rustls takes 64 KiB at once");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_pieces_are_the_beginning_of_what_was_given(data: Vec<Vec<u8>>, large in 0..100_000_usize) {
            let mut data = data;
            data.push(vec![7; large]);
            let whole = data.concat();
            let mut room = none();
            let pieces = cut(data.iter().map(Vec::as_slice), &mut room);
            prop_assert!(pieces.iter().all(|piece| piece.len() <= PIECE));
            let joined: Vec<u8> = pieces.iter().flat_map(|piece| piece.iter().copied()).collect();
            prop_assert!(whole.starts_with(&joined));
            prop_assert!(joined.len() == whole.len() || pieces.len() == MOST);
        }
    }
}
