//! A reload: build everything anew beside the old, then swap; on any problem the old stays.
//!
//! Invariant: it never rebinds, never drops a connection and ends no session but those of accounts
//! that are gone, disabled or declared otherwise than before, and of keys that were retired.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::control::Running;
use super::{Parts, Problems, early, parts};
use crate::admin::ReloadReport;
use crate::config::change::Change;
use crate::identity::UserId;
use crate::portal;
use crate::session::engine::EndReason;
use crate::telemetry::audit::{Event, EventKind};

impl Running {
    /// Takes over the configuration files as they are now.
    pub(super) async fn take_over(&self) -> Result<ReloadReport, Problems> {
        let taken_over = self.try_take_over().await;
        self.reload_succeeded.store(taken_over.is_ok(), Ordering::Relaxed);
        match &taken_over {
            Ok(report) => {
                self.audit.record(Event::new(EventKind::ReloadDone));
                tracing::info!(
                    changed = report.changed.join(", "),
                    restart_needed = report.restart_needed.join(", "),
                    sessions_ended = report.sessions_ended,
                    "reloaded"
                );
                for warning in &report.warnings {
                    tracing::warn!(warning, "reloaded, but not everything was done");
                }
            }
            Err(problems) => {
                self.audit.record(Event::new(EventKind::ReloadRefused));
                for problem in problems.clone().into_lines() {
                    tracing::error!(problem, "reload refused; the old configuration stays in force");
                }
            }
        }
        taken_over
    }

    async fn try_take_over(&self) -> Result<ReloadReport, Problems> {
        let mut current = self.current.lock().await;
        let file = current.file.clone();
        let now = self.clock.now();
        let Parts { config, ring, certificates, directory, look } =
            tokio::task::spawn_blocking(move || Parts::load(&file, now)).await.map_err(Problems::one)??;
        let change = Change::between(&current, &config);
        let ring_changed = !self.engine.ring().has_same_keys(&ring);
        let mut changed: Vec<String> = change.changed.iter().map(ToString::to_string).collect();
        changed.extend(ring_changed.then(|| "keys".to_owned()));
        let snapshot = parts::snapshot(&config, Arc::clone(&look), Some(&self.snapshot.load()))?;
        self.login.reload(config.login.throttle);
        let people = directory.and_then(|directory| self.login.take_over(directory));
        changed.extend(people.is_some().then(|| "users".to_owned()));
        self.portal.reload(portal::Settings { look, methods: config.login.methods.clone() });
        self.certificates.replace(certificates);
        self.early.store(Arc::new(early::responses(&snapshot)));
        self.snapshot.store(Arc::new(snapshot));
        self.watch_upstreams();
        // Last, as it has open streams asked again whether they may go on.
        self.engine.reload(config.session.policy.clone(), Arc::new(ring));
        // What an earlier reload asked for still waits, and what was put back does not.
        let waiting = Change::between(&self.started, &config).restart_needed;
        let restart_needed = waiting.iter().map(ToString::to_string).collect();
        *current = config;
        drop(current);
        let mut warnings = Vec::new();
        if let Err(error) = self.login.forget_who_is_gone(&self.started.login).await {
            warnings
                .push(format!("second factors of people who are gone may be left: {error}; reload again"));
        }
        if let Err(error) = self.factors.reseal().await {
            warnings.push(format!("second factors may depend on older keys: {error}; reload again"));
        }
        let sessions_ended = self.end_sessions(&people.unwrap_or_default(), &mut warnings).await;
        Ok(ReloadReport { changed, restart_needed, sessions_ended, warnings })
    }

    /// Ends the sessions of accounts that are gone or disabled, in a database perhaps by other hands, and of
    /// `changed` ones: their sessions carry what they were. What cannot be done is a warning for each user.
    async fn end_sessions(&self, changed: &BTreeSet<UserId>, warnings: &mut Vec<String>) -> usize {
        let signed_in = self.engine.users().await.unwrap_or_else(|error| {
            warnings.push(format!("sessions of lost accounts may live on: {error}; reload again"));
            Vec::new()
        });
        let mut ended = 0;
        for user in changed.iter().chain(signed_in.iter().filter(|user| !changed.contains(user))) {
            ended += self.end_sessions_of(user, changed).await.unwrap_or_else(|error| {
                warnings.push(format!("sessions of `{user}` may live on: {error}; reload again"));
                0
            });
        }
        ended
    }

    async fn end_sessions_of(&self, user: &UserId, changed: &BTreeSet<UserId>) -> Result<usize, Problems> {
        let why = if !self.login.still_enabled(user).await.map_err(Problems::one)? {
            EndReason::AccountDisabled
        } else if changed.contains(user) {
            EndReason::Revoked
        } else {
            return Ok(0);
        };
        self.engine.end_user(user, why).await.map_err(Problems::one)
    }
}
