//! Takes connections from the kernel and hands each to the worker with the fewest.
//!
//! Invariants: a socket is never shut down, since the process that takes over may share it; a connection
//! that was accepted is served. Accepting never fails: a shortage (file descriptors, memory) is logged once, waited out
//! and logged again when it is over. At the limit of connections one waits here and the rest in the kernel's queue.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use socket2::{SockRef, TcpKeepalive};
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
    /// None when the server was stopped while the connection waited for one.
    pub(super) place: Option<OwnedSemaphorePermit>,
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
    /// Whose other end hears when it is gone.
    bell: UnixStream,
    thread: JoinHandle<()>,
    places: Arc<Semaphore>,
}

impl Stop {
    /// Returns when no connection is accepted any more, and none waits for a place.
    pub(super) fn stop(self) {
        self.places.close();
        drop(self.bell);
        // One that panicked has said so already.
        let _panicked = self.thread.join();
    }
}

impl Acceptor {
    /// Starts to accept; must be called within the control runtime.
    pub(super) fn start(self) -> io::Result<Stop> {
        // Another process may take what we were woken for.
        self.listener.set_nonblocking(true)?;
        prepare(&self.listener)?;
        let (bell, ear) = UnixStream::pair()?;
        let (control, places) = (Handle::current(), Arc::clone(&self.places));
        let run = move || self.accept_all(&control, &ear);
        let thread = std::thread::Builder::new().name("acceptor".to_owned()).spawn(run)?;
        Ok(Stop { bell, thread, places })
    }

    fn accept_all(&self, control: &Handle, ear: &UnixStream) {
        let mut shortage = false;
        loop {
            match self.listener.accept() {
                Ok((stream, peer)) => {
                    if std::mem::take(&mut shortage) {
                        tracing::info!("connections are accepted again");
                    }
                    // Only with a connection at hand: an idle listener must not keep a place from others.
                    let place = control.block_on(Arc::clone(&self.places).acquire_owned()).ok();
                    self.hand_over(Accepted { stream, peer, scheme: self.scheme, place });
                    if self.places.is_closed() {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.wait(ear) == Woken::ToEnd {
                        return;
                    }
                }
                // The client was gone before it was its turn.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(_) if self.places.is_closed() => return,
                Err(error) => {
                    if !std::mem::replace(&mut shortage, true) {
                        tracing::error!(%error, "connections cannot be accepted; trying again until they can");
                    }
                    std::thread::sleep(SHORTAGE_PAUSE);
                }
            }
        }
    }

    fn wait(&self, ear: &UnixStream) -> Woken {
        let mut events = [PollFd::new(&self.listener, PollFlags::IN), PollFd::new(ear, PollFlags::IN)];
        if let Err(error) = poll(&mut events, None) {
            tracing::debug!(%error, "waiting for connections was interrupted");
            return Woken::ToAccept;
        }
        let [_, bell] = &events;
        if bell.revents().is_empty() { Woken::ToAccept } else { Woken::ToEnd }
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

/// What a listener was woken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Woken {
    ToAccept,
    ToEnd,
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
