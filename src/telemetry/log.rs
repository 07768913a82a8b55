//! The log for people: what the gateway does, on standard error.
//!
//! Leaves access lines to [`super::access`] and security events to [`super::audit`].

use std::io::IsTerminal;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt};

use super::Format;

/// Starts the log of this process; `VESTIBULE_LOG` sets levels, as in `info,vestibule::proxy=debug`.
pub fn start(format: Format) {
    let levels = std::env::var("VESTIBULE_LOG").ok().and_then(|text| text.parse().ok());
    let levels: Targets = levels.unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO));
    let lines = fmt::layer().with_writer(std::io::stderr).with_target(false);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match format {
        Format::Text => Box::new(lines.with_ansi(std::io::stderr().is_terminal()).with_filter(levels)),
        Format::Json => Box::new(lines.json().flatten_event(true).with_filter(levels)),
    };
    // A second start in one process keeps the first log.
    let _already_started = tracing_subscriber::registry().with(lines).try_init();
}
