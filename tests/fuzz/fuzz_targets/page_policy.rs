//! Content security policies that our script is to pass, on any text: amending one never panics, and what was amended
//! once is never refused afterwards.
#![no_main]

use libfuzzer_sys::fuzz_target;

/// The file itself: the module is no part of the crate's interface.
#[path = "../../../src/gateway/notice/policy.rs"]
mod policy;

/// Why a policy keeps the script out; the real one also tells the log.
mod refusal {
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) enum Refusal {
        StrictDynamic,
        Nonces,
        Sandbox,
    }
}

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut admission = policy::Admission::of("https://a.example/.vestibule");
    if let Ok(Some(amended)) = admission.admit(text) {
        assert!(amended.contains("https://a.example/.vestibule/"));
        assert!(admission.admit(&amended).is_ok());
    }
    assert!(admission.element().ends_with(" async></script>"));
});
