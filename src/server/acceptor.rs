//! Takes connections from the kernel, on the threads of the workers, and hands each to the worker with the fewest.
//!
//! Invariants: a socket is never shut down, since the process that takes over may share it; a connection
//! that was accepted is served. Accepting never fails: a shortage (file descriptors, memory) is logged once, waited out
//! and logged again when it is over. At the limit of connections one waits here and the rest in the kernel's queue.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use super::drain::{Phase, reached};
use super::worker::{Gauges, WorkerHandle};

/// What is spoken on a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    Https,
    Http,
}

/// A connection on its way to a worker.
#[derive(Debug)]
pub(super) struct Accepted {
    /// Does not block.
    pub(super) stream: TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) scheme: Scheme,
    /// None when the server was stopped while the connection waited for one.
    pub(super) place: Option<OwnedSemaphorePermit>,
}

/// Where connections come in, and how that ends.
#[derive(Debug)]
pub(super) struct Doors {
    acceptor: Option<Acceptor>,
    all_gone: mpsc::Receiver<Infallible>,
}

impl Doors {
    /// For connections to `workers`, at most `places` at once.
    pub(super) fn new(
        workers: Vec<WorkerHandle>,
        places: usize,
        gauges: Gauges,
        phases: watch::Receiver<Phase>,
    ) -> Self {
        let (present, all_gone) = mpsc::channel(1);
        let places = Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS)));
        let acceptor = Acceptor { workers: workers.into(), places, gauges, phases, _present: present };
        Self { acceptor: Some(acceptor), all_gone }
    }

    /// Has connections accepted from a listener.
    pub(super) fn open(&self, listener: &TcpListener, scheme: Scheme) -> io::Result<()> {
        // Another worker, or another process, may take what we were woken for.
        listener.set_nonblocking(true)?;
        prepare(listener)?;
        if let Some(acceptor) = &self.acceptor {
            for worker in acceptor.workers.iter().take(WATCHING) {
                worker.watch(listener.try_clone()?, scheme, acceptor.clone());
            }
        }
        Ok(())
    }

    /// Returns when no connection is accepted any more, and none waits for a place. To be called in the phase that
    /// tells it to the acceptors.
    pub(super) async fn close(&mut self) {
        if let Some(acceptor) = self.acceptor.take() {
            acceptor.places.close();
        }
        let _none = self.all_gone.recv().await;
    }
}

/// Accepts from a listener, as a task of a worker, until the server closes its doors.
#[derive(Clone, Debug)]
pub(super) struct Acceptor {
    workers: Arc<[WorkerHandle]>,
    places: Arc<Semaphore>,
    gauges: Gauges,
    phases: watch::Receiver<Phase>,
    _present: mpsc::Sender<Infallible>,
}

impl Acceptor {
    pub(super) async fn run(mut self, listener: TcpListener, scheme: Scheme) {
        let listener = match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => return tracing::error!(%error, "a worker cannot accept connections"),
        };
        let mut shortage = false;
        loop {
            let accepted = tokio::select! {
                biased;
                () = reached(&mut self.phases, Phase::Closing) => return,
                accepted = listener.accept() => accepted,
            };
            // Free of this worker, since another one may get it.
            match accepted.and_then(|(stream, peer)| Ok((stream.into_std()?, peer))) {
                Ok((stream, peer)) => {
                    if std::mem::take(&mut shortage) {
                        tracing::info!("connections are accepted again");
                    }
                    // Only with a connection at hand: an idle listener must not keep a place from others.
                    let place = Arc::clone(&self.places).acquire_owned().await.ok();
                    self.hand_over(Accepted { stream, peer, scheme, place });
                }
                // The client was gone before it was its turn.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    if !std::mem::replace(&mut shortage, true) {
                        tracing::error!(%error, "connections cannot be accepted; trying again until they can");
                    }
                    tokio::time::sleep(SHORTAGE_PAUSE).await;
                }
            }
        }
    }

    fn hand_over(&self, accepted: Accepted) {
        self.gauges.count_accepted();
        // A worker that panicked has no connections, and must not attract any.
        let alive = self.workers.iter().filter(|worker| worker.is_alive());
        if let Some(worker) = alive.min_by_key(|worker| worker.connections()) {
            worker.take(accepted);
        }
    }
}

/// Sets what every connection takes over from its listener: no delay of small pieces, and questions over a silent one.
fn prepare(listener: &TcpListener) -> io::Result<()> {
    let listener = SockRef::from(listener);
    listener.set_tcp_nodelay(true)?;
    listener.set_tcp_keepalive(&KEEPALIVE)
}

/// How the kernel asks over a silent connection whether the client is still there: after a minute, and a
/// minute later it is not. A tunnel has no deadline that would notice.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_mins(1))
    .with_interval(Duration::from_secs(15))
    .with_retries(4);

/// How many workers watch a listener: the kernel wakes all of them for each connection.
const WATCHING: usize = 2;

/// How long to wait for descriptors or memory to be free again.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_has_what_its_listener_was_given() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        prepare(&listener).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let socket = SockRef::from(&accepted);
        assert!(socket.tcp_nodelay().unwrap() && socket.keepalive().unwrap());
        let probing = socket.tcp_keepalive_interval().unwrap() * socket.tcp_keepalive_retries().unwrap();
        assert_eq!([socket.tcp_keepalive_time().unwrap(), probing], [Duration::from_mins(1); 2]);
    }
}
