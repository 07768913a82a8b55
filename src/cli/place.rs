//! Where the configuration lies, and a runtime for commands that wait.

use std::path::{Path, PathBuf};

use clap::Args;

use super::report::Failure;
use crate::config::Config;

/// The configuration file of a command.
#[derive(Clone, Debug, Args)]
pub(super) struct ConfigPath {
    /// Configuration file [default: ./vestibule.toml, then /etc/vestibule/vestibule.toml]
    #[arg(short, long = "config", value_name = "FILE", env = "VESTIBULE_CONFIG", global = true)]
    config: Option<PathBuf>,
}

impl ConfigPath {
    /// The file that was named, or the first of the usual places that exists.
    pub(super) fn find(&self) -> Result<PathBuf, Failure> {
        if let Some(path) = &self.config {
            return Ok(path.clone());
        }
        let usual = [Path::new("vestibule.toml"), Path::new("/etc/vestibule/vestibule.toml")];
        usual.iter().find(|path| path.exists()).map(|path| path.to_path_buf()).ok_or_else(|| {
            Failure::usage(
                "there is no `vestibule.toml` here and no `/etc/vestibule/vestibule.toml`; name one with `-c FILE`, \
                 or begin with `vestibule quickstart`",
            )
        })
    }

    /// Reads the configuration.
    pub(super) fn load(&self) -> Result<Config, Failure> {
        Config::load(&self.find()?).map_err(Failure::usage)
    }
}

/// Runs `work` to its end on a small runtime of its own.
pub(super) fn wait<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::failed)?
        .block_on(work)
}
