//! What the running gateway does for its administrator.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arc_swap::ArcSwap;
use tokio::sync::Mutex;

use super::{Problems, early, parts};
use crate::admin::{Control, Desk, Doing, ReloadReport};
use crate::clock::Clock;
use crate::config::Config;
use crate::gateway::Shared;
use crate::gateway::refusals::Refusals;
use crate::gateway::snapshot::Snapshot;
use crate::login::Login;
use crate::login::accounts::{self, AccountsError, Directory};
use crate::login::factors::{self, Factors};
use crate::portal::look::Look;
use crate::portal::{self, Forms, Portal, RingVault};
use crate::server::EarlyErrors;
use crate::server::tls::certificates::Resolver;
use crate::session::StoreKind;
use crate::session::engine::Engine;
use crate::session::keyring::KeyRing;
use crate::storage::Meeting;
use crate::telemetry::audit::Audit;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::reports::Reports;

/// The parts of a running gateway that an administrator reaches.
pub(super) struct Running {
    /// The configuration in force; locked for the length of a reload.
    pub current: Mutex<Config>,
    /// The one that sockets, threads and open files were made from.
    pub started: Config,
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    pub early: Arc<ArcSwap<EarlyErrors>>,
    pub engine: Engine,
    pub desk: Desk,
    pub login: Arc<Login>,
    pub factors: Factors,
    pub portal: Arc<Portal>,
    pub certificates: Arc<Resolver>,
    pub audit: Audit,
    pub metrics: Metrics,
    pub reports: Reports,
    pub clock: Clock,
    pub reload_succeeded: AtomicBool,
}

impl Running {
    /// Opens the store and the accounts and makes what requests need.
    pub(super) async fn open(
        config: Config,
        ring: KeyRing,
        directory: Option<Directory>,
        look: Arc<Look>,
        certificates: Arc<Resolver>,
        clock: Clock,
    ) -> Result<Self, Problems> {
        warn_of_factors_apart(&config);
        let audit = open_audit(&config, &clock)?;
        let engine = Engine::start(config.session.clone(), Arc::new(ring), clock.clone(), audit.clone())
            .await
            .map_err(Problems::one)?;
        let meeting = meeting(&config.session.store);
        let opening = Login::open(&config.login, directory, &meeting, clock.clone(), audit.clone());
        let (login, forms) = tokio::join!(opening, Forms::at(&meeting));
        let login = Arc::new(login.map_err(Problems::one)?);
        if let Err(error) = login.forget_who_is_gone(&config.login).await {
            tracing::warn!(%error, "second factors of people who are gone may be left; reload to try again");
        }
        let vault = Arc::new(RingVault::new(engine.clone()));
        let factors = Factors::new(login.factor_store(), vault, login.hasher(), clock.clone(), audit.clone());
        seal_anew(&factors).await?;
        let portal = Portal::new(
            engine.clone(),
            Arc::clone(&login),
            factors.clone(),
            clock.clone(),
            audit.clone(),
            portal::Settings { look: Arc::clone(&look), methods: config.login.methods.clone() },
        );
        let portal = portal.keeping(forms);
        let snapshot = parts::snapshot(&config, look, None)?;
        let reports = Reports::default();
        Ok(Self {
            early: Arc::new(ArcSwap::from_pointee(early::responses(&snapshot))),
            snapshot: Arc::new(ArcSwap::from_pointee(snapshot)),
            started: config.clone(),
            current: Mutex::new(config),
            desk: Desk::new(engine.clone(), reports.clone(), clock.clone()),
            reports,
            engine,
            login,
            factors,
            portal: Arc::new(portal),
            certificates,
            audit,
            metrics: Metrics::default(),
            clock,
            reload_succeeded: AtomicBool::new(true),
        })
    }

    /// What the request paths of all workers share.
    pub(super) fn shared(&self) -> Shared {
        Shared {
            snapshot: Arc::clone(&self.snapshot),
            engine: self.engine.clone(),
            portal: Arc::clone(&self.portal),
            audit: self.audit.clone(),
            reports: self.reports.clone(),
            refusals: Refusals::default(),
            clock: self.clock.clone(),
        }
    }

    /// Has the servers of all upstreams asked how they are; those of gone upstreams are left in peace.
    pub(super) fn watch_upstreams(&self) {
        self.snapshot.load().upstreams.iter().for_each(crate::proxy::watch);
    }

    async fn find_impediments(&self) -> Vec<String> {
        let mut impediments = Vec::new();
        if let Err(error) = self.engine.reachable().await {
            impediments.push(format!("session store: {error}"));
        }
        if let Err(error) = self.login.reachable().await {
            impediments.push(format!("account database: {error}"));
        }
        let now = self.clock.now();
        if self.certificates.first_expiry().is_some_and(|expiry| expiry <= now) {
            impediments.push("a certificate has expired".to_owned());
        }
        impediments
    }
}

/// Seals the secrets of second factors by the key that signs now.
async fn seal_anew(factors: &Factors) -> Result<(), Problems> {
    match factors.reseal().await {
        // A server may come up later, and no key can be retired before.
        Err(AccountsError::Sql(error)) => {
            tracing::warn!(%error, "second factors may depend on older keys; reload when their database answers");
            Ok(())
        }
        sealed => sealed.map(drop).map_err(Problems::one),
    }
}

/// SECURITY: a gateway that does not know of somebody's factor lets them in by the password alone.
fn warn_of_factors_apart(config: &Config) {
    let is_shared = !matches!(config.session.store, StoreKind::Memory | StoreKind::Sqlite(_));
    let is_apart = matches!(config.login.factors, factors::Place::Sqlite(_));
    if is_shared && is_apart && matches!(config.login.users, accounts::Place::Declared(_)) {
        tracing::warn!(
            "sessions may be shared with other gateways, but second factors lie on this machine; \
             if there are others, name a database in `login.factors`"
        );
    }
}

/// Opens the audit trail of a configuration.
pub(super) fn open_audit(config: &Config, clock: &Clock) -> Result<Audit, Problems> {
    let path = &config.telemetry.audit;
    Audit::to_file(path, clock.clone())
        .map_err(|error| Problems::one(format!("log.audit: cannot open `{}`: {error}", path.display())))
}

impl Control for Running {
    fn reload(&self) -> Doing<'_, Result<ReloadReport, Vec<String>>> {
        Box::pin(async { self.take_over().await.map_err(Problems::into_lines) })
    }

    fn impediments(&self) -> Doing<'_, Vec<String>> {
        Box::pin(self.find_impediments())
    }

    fn metrics(&self) -> String {
        self.metrics.encode()
    }

    fn desk(&self) -> &Desk {
        &self.desk
    }
}

/// Gateways that share their sessions count failed logins and keep interrupted forms together.
fn meeting(store: &StoreKind) -> Meeting {
    match store {
        StoreKind::Redis(location) => Meeting::Redis(location.clone()),
        StoreKind::Sql(location) => Meeting::Sql(location.clone()),
        StoreKind::Browser(marks) => meeting(marks),
        // memcached may forget anything at any time.
        StoreKind::Memory | StoreKind::Sqlite(_) | StoreKind::Memcached(_) => Meeting::Nowhere,
    }
}
