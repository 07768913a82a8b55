//! The network between the gateway and a backend, which can lose connections without a word.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

/// Passes connections on to a backend.
pub(crate) struct Relay {
    address: SocketAddr,
    state: Arc<State>,
}

struct State {
    backend: SocketAddr,
    /// How often all connections were lost.
    losses: AtomicUsize,
    is_over: AtomicBool,
}

impl Relay {
    pub(crate) fn to(backend: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(State { backend, losses: AtomicUsize::new(0), is_over: AtomicBool::new(false) });
        let accepting = Arc::clone(&state);
        thread::spawn(move || accepting.accept(&listener));
        Self { address, state }
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on nothing passes over the connections that are open; new ones work.
    pub(crate) fn lose_connections(&self) {
        self.state.losses.fetch_add(1, Ordering::SeqCst);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.state.is_over.store(true, Ordering::SeqCst);
        let _woken = TcpStream::connect(self.address);
    }
}

impl State {
    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        for stream in listener.incoming() {
            if self.is_over.load(Ordering::SeqCst) {
                return;
            }
            let (Ok(near), Ok(far)) = (stream, TcpStream::connect(self.backend)) else { continue };
            let other_way = (near.try_clone().expect("a socket"), far.try_clone().expect("a socket"));
            for (from, to) in [(near, far), (other_way.1, other_way.0)] {
                let state = Arc::clone(self);
                thread::spawn(move || state.copy(from, to));
            }
        }
    }

    /// Reads on when the connection is lost, so that no end is seen anywhere.
    fn copy(&self, mut from: TcpStream, mut to: TcpStream) {
        let losses = self.losses.load(Ordering::SeqCst);
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            if self.losses.load(Ordering::SeqCst) == losses && to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
    }
}
