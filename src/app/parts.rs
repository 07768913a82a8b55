//! Everything a gateway is made of, read from its files and found good.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::config::{Config, people};
use crate::gateway::snapshot::{RequestLimits, Snapshot};
use crate::login::accounts::Directory;
use crate::portal::look::Look;
use crate::proxy::{Upstream, body};
use crate::server::tls::certificates::Certificates;
use crate::session::keyring::KeyRing;

/// Everything a gateway is made of.
pub struct Parts {
    /// The configuration file.
    pub config: Config,
    /// The key file.
    pub ring: KeyRing,
    /// The certificates.
    pub certificates: Certificates,
    /// The accounts, where a file declares them.
    pub directory: Option<Directory>,
    /// What the pages look like.
    pub look: Arc<Look>,
}

impl Parts {
    /// Reads the configuration and every file that it names, or says everything that is wrong.
    pub fn load(file: &Path, now: Timestamp) -> Result<Self, Problems> {
        let config = Config::load(file).map_err(|problems| Problems::many(&problems))?;
        let mut problems = Vec::new();
        let ring = KeyRing::load(&config.keys).map_err(|error| problems.push(error.to_string())).ok();
        let certificates = Certificates::load(&config.server.tls.certificates, now)
            .map_err(|errors| problems.extend(errors.iter().map(ToString::to_string)))
            .ok();
        let directory = people::read(&config.login.users).unwrap_or_else(|found| {
            problems.extend(Problems::many(&found).into_lines());
            None
        });
        let look = Look::load(&config.portal)
            .map_err(|errors| problems.extend(errors.iter().map(ToString::to_string)))
            .ok();
        check_state_dir(&config, &mut problems);
        check_upstreams(&config, &mut problems);
        match (ring, certificates, look) {
            (Some(ring), Some(certificates), Some(look)) if problems.is_empty() => {
                Ok(Self { config, ring, certificates, directory, look: Arc::new(look) })
            }
            _ => Err(Problems(problems)),
        }
    }
}

/// The state directory may be missing if a start can make it: its parent is there.
fn check_state_dir(config: &Config, problems: &mut Vec<String>) {
    let dir = &config.state_dir;
    if dir.is_dir() || dir.parent().is_some_and(|parent| parent == Path::new("") || parent.is_dir()) {
        return;
    }
    problems.push(format!(
        "{}: server.state_dir: there is no folder `{}`; make it, owned by the user that runs the gateway",
        config.file.display(),
        dir.display()
    ));
}

/// The files that upstreams name are read here for the first time.
fn check_upstreams(config: &Config, problems: &mut Vec<String>) {
    for upstream in &config.upstreams {
        if let Err(error) = Upstream::new(upstream.clone()) {
            problems.push(format!("{}: upstream `{}`: {error}", config.file.display(), upstream.name));
        }
    }
}

/// Makes the state directory if it is missing.
pub(super) fn make_state_dir(config: &Config) -> Result<(), Problems> {
    let dir = &config.state_dir;
    if dir.is_dir() {
        return Ok(());
    }
    std::fs::create_dir(dir).map_err(|error| {
        Problems::one(format!(
            "{}: server.state_dir: cannot make `{}`: {error}",
            config.file.display(),
            dir.display()
        ))
    })
}

/// The snapshot of a configuration; `before` lends upstreams that stay as they are.
pub(super) fn snapshot(
    config: &Config,
    look: Arc<Look>,
    before: Option<&Snapshot>,
) -> Result<Snapshot, Problems> {
    let limits = &config.server.limits;
    let limits = RequestLimits {
        header_bytes: limits.header_bytes,
        header_count: limits.header_count,
        body: body::Limits {
            body_bytes: limits.body_bytes,
            body_stall: limits.body_stall,
            min_rate: limits.min_rate,
        },
    };
    Snapshot::new(&config.gateway, &config.upstreams, look, limits, before)
        .map_err(|error| Problems::one(format!("{}: upstream: {error}", config.file.display())))
}

/// Everything that keeps a gateway from starting or reloading, one line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(Vec<String>);

impl Problems {
    /// A single problem.
    pub fn one(problem: impl fmt::Display) -> Self {
        Self(vec![problem.to_string()])
    }

    /// The lines of a text.
    pub fn many(problems: &impl fmt::Display) -> Self {
        Self(problems.to_string().lines().map(str::to_owned).collect())
    }

    /// One line each.
    #[must_use]
    pub fn into_lines(self) -> Vec<String> {
        self.0
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for Problems {}
