//! Takes connections from the kernel and hands each to the worker with the fewest.
//!
//! Invariant: accepting never fails. A shortage (file descriptors, memory) is logged once, waited out
//! and logged again when it is over. At the limit of connections one waits here and the rest in the kernel's queue.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

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
    pub(super) stream: TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) scheme: Scheme,
    pub(super) place: OwnedSemaphorePermit,
}

/// Accepts from one listener, on a thread of its own, until its [`Stop`] is used.
pub(super) struct Acceptor {
    pub(super) listener: TcpListener,
    pub(super) scheme: Scheme,
    pub(super) workers: Arc<[WorkerHandle]>,
    pub(super) places: Arc<Semaphore>,
    pub(super) gauges: Gauges,
}

/// Ends acceptors.
#[derive(Debug)]
pub(super) struct Stop {
    listener: TcpListener,
    places: Arc<Semaphore>,
}

impl Stop {
    /// Closes the listener: no connection is accepted any more, and none waits.
    pub(super) fn stop(self) {
        self.places.close();
        // On Linux this wakes a blocked `accept`.
        if let Err(error) = SockRef::from(&self.listener).shutdown(Shutdown::Both) {
            tracing::debug!(%error, "listener was closed already");
        }
    }
}

impl Acceptor {
    /// Starts to accept; must be called within the control runtime.
    pub(super) fn start(self) -> io::Result<Stop> {
        let stop = Stop { listener: self.listener.try_clone()?, places: Arc::clone(&self.places) };
        let control = Handle::current();
        std::thread::Builder::new().name("acceptor".to_owned()).spawn(move || self.accept_all(&control))?;
        Ok(stop)
    }

    fn accept_all(&self, control: &Handle) {
        let mut shortage = false;
        loop {
            match self.listener.accept() {
                Ok((stream, peer)) => {
                    if std::mem::take(&mut shortage) {
                        tracing::info!("connections are accepted again");
                    }
                    // Only with a connection at hand: an idle listener must not keep a place from others.
                    let place = control.block_on(Arc::clone(&self.places).acquire_owned());
                    let Ok(place) = place else { return };
                    self.hand_over(Accepted { stream, peer, scheme: self.scheme, place });
                }
                Err(_) if self.places.is_closed() => return,
                // The client was gone before it was its turn.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    if !std::mem::replace(&mut shortage, true) {
                        tracing::error!(%error, "connections cannot be accepted; trying again until they can");
                    }
                    std::thread::sleep(SHORTAGE_PAUSE);
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

/// How long to wait for descriptors or memory to be free again.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(50);
