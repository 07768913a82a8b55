//! `Accept-Language` in any text: it never panics, and a weight is never more than the whole.
#![no_main]

use libfuzzer_sys::fuzz_target;

/// The file itself: the module is no part of the crate's interface.
#[path = "../../../src/portal/languages/accept.rs"]
mod accept;

fuzz_target!(|header: &str| {
    for wish in accept::wishes(header) {
        assert!(wish.weight <= 1000);
        assert!(!wish.is_for_any() || !wish.is_for("en"));
    }
});
