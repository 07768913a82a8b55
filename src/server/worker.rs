//! The worker threads, and the server that they make up.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::runtime::{LocalOptions, LocalRuntime};
use tokio::sync::{mpsc, watch};

use super::acceptor::{Accepted, Acceptor, Doors, Scheme};
use super::connection::{self, Handler};
use super::crowd::Crowd;
use super::drain::{Connections, Count, Counted, Drained, Phase, UnderWay, reached};
use super::early_error::EarlyErrors;
use super::listeners::Listeners;
use super::tls::Tls;
use super::{Config, Limits};

/// A running server.
#[derive(Debug)]
pub struct Server {
    https: Vec<SocketAddr>,
    http: Vec<SocketAddr>,
    phase: watch::Sender<Phase>,
    workers: Vec<(JoinHandle<()>, UnderWay)>,
    doors: Doors,
    gauges: Gauges,
}

impl Server {
    /// Starts the workers, each with a handler made on its own thread, and begins to accept.
    ///
    /// Must be called within the control runtime.
    pub fn start<H: Handler>(
        listeners: Listeners,
        config: &Config,
        tls: &Tls,
        handler: impl Fn() -> H + Clone + Send + 'static,
        early: Arc<ArcSwap<EarlyErrors>>,
    ) -> Result<Self, StartError> {
        let https = addresses(&listeners.https)?;
        let http = addresses(&listeners.http)?;
        let (phase, phases) = watch::channel(Phase::Serving);
        let gauges = Gauges::default();
        let settings = Settings {
            tls: tls.clone(),
            limits: config.limits.clone(),
            proxy_protocol: config.proxy_protocol,
            connections_per_address: config.connections_per_address,
            crowd: Crowd::default(),
            https_port: https.first().map_or(443, SocketAddr::port),
            early,
            phase: phases.clone(),
            gauges: gauges.clone(),
        };
        let mut workers = Vec::new();
        let mut pool = Vec::new();
        for index in 0..config.workers.max(1) {
            let (handle, thread, under_way) = start_worker(index, settings.clone(), handler.clone())?;
            workers.push((thread, under_way));
            pool.push(handle);
        }
        let doors = Doors::new(pool, config.max_connections, gauges.clone(), phases);
        let server = Self { https, http, phase, workers, doors, gauges };
        let secure = listeners.https.into_iter().map(|listener| (listener, Scheme::Https));
        let clear = listeners.http.into_iter().map(|listener| (listener, Scheme::Http));
        for (listener, scheme) in secure.chain(clear) {
            server.doors.open(&listener, scheme).map_err(StartError)?;
        }
        Ok(server)
    }

    /// Where TLS is served, with the real ports.
    #[must_use]
    pub fn https_addresses(&self) -> &[SocketAddr] {
        &self.https
    }

    /// Where redirects are served, with the real ports.
    #[must_use]
    pub fn http_addresses(&self) -> &[SocketAddr] {
        &self.http
    }

    /// What the server counts.
    #[must_use]
    pub fn gauges(&self) -> Gauges {
        self.gauges.clone()
    }

    /// Stops accepting, lets requests and tunnels end until `deadline`, then cuts the rest.
    pub async fn drain(mut self, deadline: Duration) -> Drained {
        self.phase.send_replace(Phase::Closing);
        // A worker that does not even do that is cut in the end.
        let _stuck = tokio::time::timeout(deadline, self.doors.close()).await;
        self.phase.send_replace(Phase::Draining);
        let (threads, under_way): (Vec<_>, Vec<_>) = self.workers.drain(..).unzip();
        let mut ended = tokio::task::spawn_blocking(move || {
            for thread in threads {
                // A worker that panicked has said so already.
                let _panicked = thread.join();
            }
        });
        if tokio::time::timeout(deadline, &mut ended).await.is_ok() {
            return Drained::default();
        }
        let cut = under_way.iter().map(UnderWay::drained).fold(Drained::default(), |sum, worker| Drained {
            cut_requests: sum.cut_requests + worker.cut_requests,
            cut_tunnels: sum.cut_tunnels + worker.cut_tunnels,
        });
        self.phase.send_replace(Phase::Cut);
        let _late = tokio::time::timeout(CUT_TIME, ended).await;
        cut
    }
}

/// A server that is just dropped is cut.
impl Drop for Server {
    fn drop(&mut self) {
        self.phase.send_replace(Phase::Cut);
    }
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
#[error("the server cannot start: {0}")]
pub struct StartError(#[source] io::Error);

/// What a server counts of its connections; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Gauges(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    connections: Count,
    accepted: AtomicU64,
    refused: AtomicU64,
    handshakes_failed: AtomicU64,
}

impl Gauges {
    /// Open client connections.
    #[must_use]
    pub fn active_connections(&self) -> u64 {
        self.0.connections.get() as u64
    }

    /// Client connections since the start.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.0.accepted.load(Ordering::Relaxed)
    }

    /// Client connections that were closed unheard: too many from one address, or without the header of
    /// a trusted proxy where one is due.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }

    /// TLS handshakes that failed.
    #[must_use]
    pub fn handshakes_failed(&self) -> u64 {
        self.0.handshakes_failed.load(Ordering::Relaxed)
    }

    pub(super) fn count_accepted(&self) {
        self.0.accepted.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_refused(&self) {
        self.0.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_failed_handshake(&self) {
        self.0.handshakes_failed.fetch_add(1, Ordering::Relaxed);
    }
}

/// What every connection of a worker needs to know.
pub(super) struct Site<H> {
    pub(super) handler: Rc<H>,
    pub(super) tls: Tls,
    pub(super) limits: Limits,
    pub(super) proxy_protocol: bool,
    pub(super) connections_per_address: u32,
    pub(super) crowd: Crowd,
    pub(super) https_port: u16,
    pub(super) early: Arc<ArcSwap<EarlyErrors>>,
    pub(super) phase: watch::Receiver<Phase>,
    pub(super) gauges: Gauges,
    pub(super) under_way: UnderWay,
}

/// The acceptors' end of a worker.
#[derive(Clone, Debug)]
pub(super) struct WorkerHandle {
    queue: mpsc::UnboundedSender<Task>,
    connections: Count,
    all_connections: Count,
}

impl WorkerHandle {
    pub(super) fn is_alive(&self) -> bool {
        !self.queue.is_closed()
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.get()
    }

    /// Hands a connection over; a worker that has ended drops it.
    pub(super) fn take(&self, accepted: Accepted) {
        let counted = [self.connections.add_one(), self.all_connections.add_one()];
        let _ended = self.queue.send(Task::Serve(accepted, counted));
    }

    /// Has it accept connections as well.
    pub(super) fn watch(&self, listener: TcpListener, scheme: Scheme, acceptor: Acceptor) {
        let _ended = self.queue.send(Task::Accept(listener, scheme, acceptor));
    }
}

/// What a worker is asked to do.
#[derive(Debug)]
enum Task {
    Serve(Accepted, [Counted; 2]),
    Accept(TcpListener, Scheme, Acceptor),
}

/// What all workers have in common.
#[derive(Clone)]
struct Settings {
    tls: Tls,
    limits: Limits,
    proxy_protocol: bool,
    connections_per_address: u32,
    crowd: Crowd,
    https_port: u16,
    early: Arc<ArcSwap<EarlyErrors>>,
    phase: watch::Receiver<Phase>,
    gauges: Gauges,
}

impl Settings {
    fn into_site<H>(self, handler: H, under_way: UnderWay) -> Site<H> {
        Site {
            handler: Rc::new(handler),
            tls: self.tls,
            limits: self.limits,
            proxy_protocol: self.proxy_protocol,
            connections_per_address: self.connections_per_address,
            crowd: self.crowd,
            https_port: self.https_port,
            early: self.early,
            phase: self.phase,
            gauges: self.gauges,
            under_way,
        }
    }
}

fn start_worker<H: Handler>(
    index: usize,
    settings: Settings,
    handler: impl Fn() -> H + Send + 'static,
) -> Result<(WorkerHandle, JoinHandle<()>, UnderWay), StartError> {
    let (queue, tasks) = mpsc::unbounded_channel();
    let handle = WorkerHandle {
        queue,
        connections: Count::default(),
        all_connections: settings.gauges.0.connections.clone(),
    };
    let under_way = UnderWay::default();
    let counts = under_way.clone();
    let (began, beginning) = std::sync::mpsc::sync_channel(1);
    let run = move || match local_runtime() {
        Ok(runtime) => {
            let site = Rc::new(settings.into_site(handler(), counts));
            let _waited_for = began.send(Ok(()));
            runtime.block_on(work(tasks, site));
        }
        Err(error) => drop(began.send(Err(error))),
    };
    let thread =
        std::thread::Builder::new().name(format!("worker-{index}")).spawn(run).map_err(StartError)?;
    let panicked = |_| Err(io::Error::other("a worker panicked"));
    beginning.recv().unwrap_or_else(panicked).map_err(StartError)?;
    Ok((handle, thread, under_way))
}

fn local_runtime() -> io::Result<LocalRuntime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build_local(LocalOptions::default())
}

/// Takes connections until the server drains and those that were accepted before, then waits for those
/// that are left, or leaves them.
async fn work<H: Handler>(mut tasks: mpsc::UnboundedReceiver<Task>, site: Rc<Site<H>>) {
    let connections = Connections::default();
    let mut phases = site.phase.clone();
    let begin = |task: Task| match task {
        Task::Serve(accepted, counted) => {
            let (present, site) = (connections.enter(), Rc::clone(&site));
            tokio::task::spawn_local(async move {
                let _here = (counted, present);
                connection::serve(accepted, site).await;
            });
        }
        Task::Accept(listener, scheme, acceptor) => {
            tokio::task::spawn_local(acceptor.run(listener, scheme));
        }
    };
    loop {
        tokio::select! {
            biased;
            () = reached(&mut phases, Phase::Draining) => break,
            next = tasks.recv() => match next {
                Some(next) => begin(next),
                None => break,
            }
        }
    }
    while let Ok(next) = tasks.try_recv() {
        begin(next);
    }
    tokio::select! {
        () = connections.all_gone() => {}
        () = reached(&mut phases, Phase::Cut) => {}
    }
}

fn addresses(listeners: &[TcpListener]) -> Result<Vec<SocketAddr>, StartError> {
    listeners.iter().map(TcpListener::local_addr).collect::<Result<_, _>>().map_err(StartError)
}

/// How long workers may take to cut what is left.
const CUT_TIME: Duration = Duration::from_secs(2);
