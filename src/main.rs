//! The `vestibule` program: arguments in, exit code out.

use std::process::ExitCode;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    keep_to_small_pages();
    vestibule::cli::main()
}

/// Most of what a connection holds for its next request it seldom touches: in huge pages all of it would be resident.
fn keep_to_small_pages() {
    // Where that cannot be had, it only costs memory.
    #[cfg(target_os = "linux")]
    let _refused = rustix::thread::disable_transparent_huge_pages(true);
}
