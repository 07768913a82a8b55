//! The composition root: configuration in, running gateway out.
//!
//! Start order: sockets, store and accounts, snapshot, workers, admin; stop order is the reverse.
//! Nothing is started before all files were read and found good ([`Parts::load`]) and all addresses
//! bound, so that a gateway that cannot start leaves nothing half started.

mod at_rest;
mod control;
mod early;
mod outdated;
mod parts;
mod reload;
mod signals;
mod worker;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

pub use self::at_rest::{AtRest, Errand};
pub use self::parts::{Parts, Problems};

use self::control::Running;
use crate::admin::{Admin, Doors};
use crate::clock::Clock;
use crate::config::Config;
use crate::gateway::snapshot::Snapshot;
use crate::proxy::Upstream;
use crate::server::inherited::Inherited;
use crate::server::tls::Tls;
use crate::server::{self, Drained, Server};
use crate::telemetry::access::AccessLog;
use crate::telemetry::audit::{Event, EventKind};
use crate::telemetry::metrics::{Meter, ServerState};

/// A running gateway.
pub struct Gateway {
    running: Arc<Running>,
    server: Server,
    admin: Admin,
    access: Option<AccessLog>,
}

impl Gateway {
    /// Starts a gateway on the current runtime, which becomes its control runtime.
    pub async fn start(parts: Parts, clock: Clock) -> Result<Self, Problems> {
        let Parts { config, ring, certificates, directory, look } = parts;
        parts::make_state_dir(&config)?;
        let mut inherited = Inherited::from_environment().map_err(Problems::one)?;
        let listeners = server::listeners::bind(&config.server, &mut inherited).map_err(Problems::one)?;
        let observers = config.admin.listen.and_then(|address| inherited.take("admin", address));
        inherited.finish().map_err(Problems::one)?;
        let doors = Doors::bind(&config.admin, observers).await.map_err(Problems::one)?;
        let tls = Tls::new(&config.server.tls, certificates).map_err(Problems::one)?;
        let access = access_log(&config)?;
        let running = Running::open(config, ring, directory, look, tls.resolver(), clock).await?;
        let running = Arc::new(running);
        running.end_outdated_sessions().await;
        let settings = running.current.lock().await.server.clone();
        let factory = worker::factory(running.shared(), running.metrics.clone(), access.clone());
        let server = Server::start(listeners, &settings, &tls, factory, Arc::clone(&running.early))
            .map_err(Problems::one)?;
        let admin = doors.serve(&(Arc::clone(&running) as _));
        let gateway = Self { running, server, admin, access };
        gateway.wire_metrics();
        gateway.running.watch_upstreams();
        gateway.running.audit.record(Event::new(EventKind::Started));
        Ok(gateway)
    }

    /// Where TLS is served, with the real ports.
    #[must_use]
    pub fn https_addresses(&self) -> &[SocketAddr] {
        self.server.https_addresses()
    }

    /// Where the redirects to https are served, with the real ports.
    #[must_use]
    pub fn http_addresses(&self) -> &[SocketAddr] {
        self.server.http_addresses()
    }

    /// Where `/live`, `/ready` and `/metrics` are served; none when off.
    #[must_use]
    pub const fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.address()
    }

    /// Takes over the configuration files as they are now; on any problem the old state stays.
    pub async fn reload(&self) -> Result<crate::admin::ReloadReport, Problems> {
        self.running.take_over().await
    }

    /// Stops: no new connections, requests and tunnels may end until the deadline, then all is cut.
    pub async fn stop(self) -> Drained {
        let drain = self.running.current.lock().await.server.drain;
        drop(self.admin);
        let drained = self.server.drain(drain).await;
        self.running.engine.stop().await;
        self.running.portal.stop().await;
        self.running.login.stop().await;
        self.running.audit.record(Event::new(EventKind::Stopped));
        self.running.audit.flush().await;
        if let Some(access) = &self.access {
            access.flush();
        }
        drained
    }

    fn wire_metrics(&self) {
        let metrics = &self.running.metrics;
        let gauges = self.server.gauges();
        metrics.read(Meter::Connections, {
            let gauges = gauges.clone();
            move || gauges.active_connections()
        });
        metrics.read(Meter::ConnectionsAccepted, {
            let gauges = gauges.clone();
            move || gauges.accepted()
        });
        metrics.read(Meter::ConnectionsRefused, {
            let gauges = gauges.clone();
            move || gauges.refused()
        });
        metrics.read(Meter::HandshakesFailed, move || gauges.handshakes_failed());
        let running = Arc::clone(&self.running);
        metrics.read(Meter::ReloadSucceeded, move || {
            u64::from(running.reload_succeeded.load(Ordering::Relaxed))
        });
        let certificates = Arc::clone(&self.running.certificates);
        metrics.read(Meter::CertificateExpiry, move || {
            certificates.first_expiry().map_or(0, |expiry| u64::try_from(expiry.as_seconds()).unwrap_or(0))
        });
        let engine = self.running.engine.clone();
        metrics.read(Meter::SessionsCached, move || engine.cached() as u64);
        let engine = self.running.engine.clone();
        metrics.read(Meter::SessionsSwept, move || engine.swept());
        let engine = self.running.engine.clone();
        metrics.read(Meter::SessionStoreDown, move || u64::from(engine.store_is_down()));
        let audit = self.running.audit.clone();
        metrics.read(Meter::AuditLinesDropped, move || audit.dropped());
        let audit = self.running.audit.clone();
        metrics.read_events(move || audit.counts());
        let snapshot = Arc::clone(&self.running.snapshot);
        metrics.read_servers(move || server_states(&snapshot.load()));
        if let Some(access) = self.access.clone() {
            metrics.read(Meter::AccessLinesDropped, move || access.dropped());
        }
    }
}

/// Serves until the process is asked to stop, on a control runtime made here.
pub fn run(parts: Parts, clock: Clock) -> Result<(), Problems> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(CONTROL_THREADS)
        .thread_name("control")
        .enable_all()
        .build()
        .map_err(Problems::one)?;
    runtime.block_on(async {
        crate::telemetry::log::start(parts.config.telemetry.format);
        let gateway = Gateway::start(parts, clock).await?;
        signals::serve_until_stopped(gateway).await
    })
}

fn server_states(snapshot: &Snapshot) -> Vec<ServerState> {
    let states = |upstream: &Arc<Upstream>| {
        let state = |(server, is_up): (&str, bool)| ServerState {
            upstream: upstream.name().to_owned(),
            server: server.to_owned(),
            is_up,
        };
        upstream.server_states().map(state).collect::<Vec<_>>()
    };
    snapshot.upstreams.iter().flat_map(states).collect()
}

fn access_log(config: &Config) -> Result<Option<AccessLog>, Problems> {
    if !config.telemetry.access {
        return Ok(None);
    }
    AccessLog::start(config.telemetry.format, Box::new(std::io::stdout())).map(Some).map_err(Problems::one)
}

/// Threads for the store, the admin doors and signals; requests have workers of their own.
const CONTROL_THREADS: usize = 2;
