//! What is set right in answers of backends, on any bytes: it never panics, cookies stay apart and in their
//! order and keep their names and values, and no address of another host is touched.
//!
//! The first byte says what is wanted; the rest is an address, and lines of cookies.
#![no_main]

use http::{HeaderMap, HeaderValue, header};
use libfuzzer_sys::fuzz_target;

/// The files themselves: the modules are no part of the crate's interface.
#[path = "../../../src/gateway/repair.rs"]
mod repair;
#[path = "../../../src/gateway/rewrite.rs"]
mod rewrite;

/// What rewriting a request may end with.
mod reject {
    pub enum Reject {
        HeaderTooLarge,
    }
}

use repair::{Repair, Repairs};
use rewrite::Rewrite;

fuzz_target!(|data: &[u8]| {
    let Some((&wanted, values)) = data.split_first() else { return };
    let wanted: Vec<Repair> =
        (0..5).filter(|bit| wanted & (1 << bit) != 0).map(|bit: usize| Repair::ALL[bit].1).collect();
    let values: Vec<HeaderValue> =
        values.split(|byte| *byte == b'\n').filter_map(|value| HeaderValue::from_bytes(value).ok()).collect();
    let rewrite = Rewrite { strip: "/wiki".to_owned(), add: "/app".to_owned() };
    let is_told = |authority: &str| authority == "10.0.0.5:8080";
    let repairs = Repairs { wanted: &wanted, rewrite: &rewrite, authority: "w.test:8443", is_told: &is_told };
    let mut headers = HeaderMap::new();
    headers.extend(values.first().map(|address| (header::LOCATION, address.clone())));
    for cookie in &values {
        headers.append(header::SET_COOKIE, cookie.clone());
    }
    repairs.apply(&mut headers);
    check_address(values.first(), headers.get(header::LOCATION));
    let after: Vec<&HeaderValue> = headers.get_all(header::SET_COOKIE).iter().collect();
    assert_eq!(after.len(), values.len());
    for (before, after) in values.iter().zip(after) {
        assert_eq!(pair(before), pair(after));
        assert!(after.len() >= pair(before).len());
    }
});

fn check_address(before: Option<&HeaderValue>, after: Option<&HeaderValue>) {
    let (Some(before), Some(after)) = (before, after) else { return assert!(before.is_none()) };
    let text = before.as_bytes().to_ascii_lowercase();
    let names = |host: &[u8]| memchr::memmem::find(&text, host).is_some();
    if !text.starts_with(b"/") && !names(b"w.test") && !names(b"10.0.0.5:8080") {
        assert_eq!(before, after);
    }
    if text.starts_with(b"//") && !names(b"w.test") && !names(b"10.0.0.5:8080") {
        assert_eq!(before, after);
    }
}

/// Name and value of a cookie.
fn pair(line: &HeaderValue) -> &[u8] {
    line.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default()
}
