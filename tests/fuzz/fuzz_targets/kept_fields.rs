//! The fields of an interrupted form, on any bytes: reading them never panics.
//!
//! The first byte says whether the rest is a multipart form, with the boundary `b`, or an encoded one.
#![no_main]

use libfuzzer_sys::fuzz_target;

/// The file itself: the module is no part of the crate's interface.
#[path = "../../../src/portal/kept_fields.rs"]
mod kept_fields;

fuzz_target!(|data: &[u8]| {
    let Some((&kind, body)) = data.split_first() else { return };
    let content_type =
        if kind % 2 == 0 { "multipart/form-data; boundary=b" } else { "application/x-www-form-urlencoded" };
    if let Some(fields) = kept_fields::Fields::of(content_type, body) {
        assert!(fields.fields.iter().all(|field| field.name.len() <= body.len()));
    }
});
