//! `vestibule run`: serve until SIGTERM.

use crate::app;
use crate::clock::Clock;

use super::place::ConfigPath;
use super::report::Failure;

pub(super) fn run(config: &ConfigPath) -> Result<String, Failure> {
    let file = config.find()?;
    serve(&file)
}

/// Serves by a configuration file until the process is asked to stop.
pub(super) fn serve(file: &std::path::Path) -> Result<String, Failure> {
    let parts = app::Parts::load(file, Clock::system().now()).map_err(Failure::usage)?;
    app::run(parts, Clock::system()).map_err(Failure::usage)?;
    Ok(String::new())
}
