//! The header of the PROXY protocol on any bytes: it never panics, and what it names stands in the bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;

/// The file itself: the module is no part of the crate's interface.
#[path = "../../../src/server/proxy_header.rs"]
mod proxy_header;

fuzz_target!(|data: &[u8]| {
    if let Ok(Some(client)) = proxy_header::text(data) {
        assert!(data.starts_with(b"PROXY TCP"));
        assert!(String::from_utf8_lossy(data).contains(&format!(" {} ", client.port())));
    }
    let Some((fixed, rest)) = data.split_first_chunk::<{ proxy_header::FIXED }>() else { return };
    let _length = proxy_header::length(fixed);
    if let Ok(Some(client)) = proxy_header::binary(fixed, rest) {
        let begins = match client.ip() {
            std::net::IpAddr::V4(address) => rest.starts_with(&address.octets()),
            std::net::IpAddr::V6(address) => rest.starts_with(&address.octets()),
        };
        assert!(begins);
    }
});
