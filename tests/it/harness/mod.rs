//! What the tests speak with: a gateway in a folder of its own, visitors, backends, a browser.
//!
//! Tests are plain functions; the harness keeps one tokio runtime and hides it. Every wait is
//! bounded by [`PATIENCE`]. Everything a value started ends with it, by its own process id or thread.

pub(crate) mod answer;
pub(crate) mod assumptions;
pub(crate) mod backend;
pub(crate) mod body;
pub(crate) mod browser;
pub(crate) mod client;
pub(crate) mod command;
pub(crate) mod counted;
pub(crate) mod folder;
pub(crate) mod form;
pub(crate) mod frames;
pub(crate) mod gateway;
pub(crate) mod h2_backend;
pub(crate) mod h2_socket;
pub(crate) mod legacy;
pub(crate) mod pair;
pub(crate) mod people;
pub(crate) mod process;
pub(crate) mod raw;
pub(crate) mod readers;
pub(crate) mod relay;
pub(crate) mod setup;
pub(crate) mod socket;
pub(crate) mod source;
pub(crate) mod tls_front;
pub(crate) mod websocket;

use std::future::Future;
use std::sync::OnceLock;
use std::time::Duration;

use tokio::runtime::Runtime;
use vestibule::clock::Stopwatch;

pub(crate) use answer::Answer;
pub(crate) use backend::{After, Backend};
pub(crate) use body::Upload;
pub(crate) use client::Client;
pub(crate) use folder::Folder;
pub(crate) use frames::Frames;
pub(crate) use gateway::Gateway;
pub(crate) use h2_backend::H2Backend;
pub(crate) use pair::Pair;
pub(crate) use people::PASSWORD;
pub(crate) use raw::Raw;
pub(crate) use relay::Relay;
pub(crate) use setup::Setup;

/// How long anything may take before a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Runs `future` to its end, at most for [`PATIENCE`].
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    runtime().block_on(async {
        tokio::time::timeout(PATIENCE, future).await.expect("an answer within the test's patience")
    })
}

/// The runtime of all tests of this process.
pub(crate) fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        // The first to come decides for the process: all of it speaks aws-lc-rs.
        let _already_installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
    })
}

/// Looks at something that another thread writes (a file, a counter) until it is as wanted.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let watch = Stopwatch::start();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(watch.elapsed() < PATIENCE, "in vain: {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// How long it takes until this is so; asks without a pause.
#[track_caller]
pub(crate) fn time_until(what: &str, mut is_so: impl FnMut() -> bool) -> Duration {
    let watch = Stopwatch::start();
    while !is_so() {
        assert!(watch.elapsed() < PATIENCE, "in vain: {what}");
    }
    watch.elapsed()
}
