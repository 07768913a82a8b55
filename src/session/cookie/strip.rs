//! Keeps our cookies from the backend, and the backend from our cookies.
//!
//! Invariant: every byte that is not of ours stays as it came.

use http::HeaderMap;
use http::header::{COOKIE, HeaderValue, SET_COOKIE};

use super::{Segments, pair, place};

/// Removes the cookies called `names`, and their chunks, from a request; every other byte stays as it
/// came.
pub fn strip(headers: &mut HeaderMap, names: &[&str]) {
    let is_ours = |segment: &[u8]| {
        pair(segment).is_some_and(|(name, _)| names.iter().any(|ours| place(ours, name).is_some()))
    };
    let holds_ours = |line: &HeaderValue| Segments(Some(line.as_bytes())).any(is_ours);
    if !headers.get_all(COOKIE).iter().any(holds_ours) {
        return;
    }
    let kept: Vec<HeaderValue> =
        headers.get_all(COOKIE).iter().filter_map(|line| without(line, &is_ours)).collect();
    headers.remove(COOKIE);
    for line in kept {
        headers.append(COOKIE, line);
    }
}

/// A line without some of its cookies; nothing when none is left.
fn without(line: &HeaderValue, is_ours: &impl Fn(&[u8]) -> bool) -> Option<HeaderValue> {
    let mut kept: Vec<&[u8]> = Vec::new();
    let mut first_is_gone = false;
    for segment in Segments(Some(line.as_bytes())) {
        if is_ours(segment) {
            first_is_gone |= kept.is_empty();
        } else {
            kept.push(segment);
        }
    }
    if let Some(first) = kept.first_mut().filter(|_| first_is_gone) {
        *first = first.trim_ascii_start();
    }
    let line = kept.join(&b';');
    if line.is_empty() { None } else { HeaderValue::from_bytes(&line).ok() }
}

/// Removes from a response what a backend would set as one of the cookies called `names`, or a chunk of
/// one; every other line stays as it came.
pub fn keep_ours(headers: &mut HeaderMap, names: &[&str]) {
    let takes_ours = |line: &&HeaderValue| {
        let name = set_name(line.as_bytes());
        names.iter().any(|ours| place(ours, name).is_some())
    };
    if !headers.get_all(SET_COOKIE).iter().any(|line| takes_ours(&line)) {
        return;
    }
    let kept: Vec<HeaderValue> =
        headers.get_all(SET_COOKIE).iter().filter(|line| !takes_ours(line)).cloned().collect();
    headers.remove(SET_COOKIE);
    for line in kept {
        headers.append(SET_COOKIE, line);
    }
}

/// The name of the cookie that a `Set-Cookie` line sets.
///
/// SECURITY: a cookie without a name is sent as its value alone (RFC 6265bis section 5.6): what stands
/// behind `=` at its beginning reads as a name when it comes back.
fn set_name(line: &[u8]) -> &[u8] {
    let pair = line.split(|byte| *byte == b';').next().unwrap_or_default();
    let named = pair.iter().position(|byte| *byte != b'=' && !byte.is_ascii_whitespace());
    let pair = named.and_then(|start| pair.get(start..)).unwrap_or_default();
    pair.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii()
}
