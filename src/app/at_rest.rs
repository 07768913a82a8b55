//! The sessions while no gateway runs: their store, opened for one command.
//!
//! Invariants: looking leaves no file behind that was not there; what a command ends is in the audit
//! trail before it is done.

use std::sync::Arc;

use super::{Problems, control};
use crate::admin::Desk;
use crate::clock::Clock;
use crate::config::Config;
use crate::session::StoreKind;
use crate::session::engine::Engine;
use crate::session::keyring::KeyRing;
use crate::telemetry::audit::Audit;
use crate::telemetry::reports::Reports;

/// The sessions while no gateway runs.
#[derive(Debug)]
pub struct AtRest {
    engine: Engine,
    audit: Audit,
    desk: Desk,
}

/// What a command wants with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errand {
    /// To look at them.
    Look,
    /// To end some of them.
    End,
}

impl AtRest {
    /// Opens the store of a configuration, on the current runtime.
    pub async fn open(config: &Config, errand: Errand) -> Result<Self, Problems> {
        let ring = KeyRing::load(&config.keys).map_err(Problems::one)?;
        let clock = Clock::system();
        let store = store(&config.session.store, errand);
        let sessions = crate::session::Config { store, policy: config.session.policy.clone() };
        let audit = match errand {
            Errand::End if sessions.store != StoreKind::Memory => control::open_audit(config, &clock)?,
            _ => Audit::discard(),
        };
        let engine = Engine::start(sessions, Arc::new(ring), clock.clone(), audit.clone())
            .await
            .map_err(Problems::one)?;
        let desk = Desk::new(engine.clone(), Reports::default(), clock);
        Ok(Self { engine, audit, desk })
    }

    /// Where questions about them are answered.
    #[must_use]
    pub const fn desk(&self) -> &Desk {
        &self.desk
    }

    /// Closes the store. To be called before the command ends.
    pub async fn close(self) {
        self.engine.stop().await;
        self.audit.flush().await;
    }
}

/// A file that no gateway has made yet holds no sessions, and is not made by who looks.
fn store(kind: &StoreKind, errand: Errand) -> StoreKind {
    match kind {
        StoreKind::Sqlite(path) if !path.exists() => StoreKind::Memory,
        // Which sessions of browsers were ended is to be kept, also if it is the first.
        StoreKind::Browser(marks) if errand == Errand::Look => {
            StoreKind::Browser(Box::new(store(marks, errand)))
        }
        kind => kind.clone(),
    }
}
