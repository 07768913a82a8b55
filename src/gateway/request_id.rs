//! A name for each request, the same in the response, at the backend and in every log line.
//!
//! Not a secret: a random start for each worker and a counter, mixed so that ids look unrelated.

use std::cell::Cell;
use std::fmt;

use http::HeaderValue;

/// Sixteen hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RequestId([u8; 16]);

impl RequestId {
    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The digits, for a header.
    #[must_use]
    pub fn to_header(self) -> HeaderValue {
        HeaderValue::from_str(self.as_str()).unwrap_or_else(|_| HeaderValue::from_static("-"))
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Makes the ids of one worker.
#[derive(Debug)]
pub struct RequestIds(Cell<u64>);

impl RequestIds {
    /// Begins at a random place.
    #[must_use]
    pub fn new() -> Self {
        // Without randomness two workers may use the same ids, which only a reader of logs would mind.
        Self(Cell::new(getrandom::u64().unwrap_or(0)))
    }

    /// The next id.
    #[must_use]
    pub fn next(&self) -> RequestId {
        // The step and the mixer are those of SplitMix64 (Steele, Lea, Flood 2014): each input has an
        // output of its own, so ids of one worker do not repeat.
        let counter = self.0.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.0.set(counter);
        let mut mixed = (counter ^ (counter >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        RequestId(hexadecimal(mixed ^ (mixed >> 31)))
    }
}

impl Default for RequestIds {
    fn default() -> Self {
        Self::new()
    }
}

fn hexadecimal(value: u64) -> [u8; 16] {
    let mut digits = [0; 16];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(value.to_be_bytes()) {
        pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 0xF)]);
    }
    digits
}

const fn digit(value: u8) -> u8 {
    if value < 10 { b'0' + value } else { b'a' + value - 10 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_sixteen_digits_and_do_not_repeat() {
        let ids = RequestIds::new();
        let made: std::collections::HashSet<String> = (0..10_000).map(|_| ids.next().to_string()).collect();
        assert_eq!(made.len(), 10_000);
        assert!(made.iter().all(|id| id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit())));
        assert_eq!(hexadecimal(0x0123_4567_89ab_cdef), *b"0123456789abcdef");
    }
}
