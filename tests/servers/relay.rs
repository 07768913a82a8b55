//! A TCP relay between a gateway and a server, which a test can break: refuse, hold back, delay, cut.
//!
//! What is held back is not lost: it goes on when the mode allows it, as TCP would send it again.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use super::free_port;

/// What a relay does with connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Forwards.
    Pass,
    /// Nobody listens, and present connections are cut, as when a server was killed.
    Refuse,
    /// Accepts and keeps connections, but nothing goes through, in either direction.
    BlackHole,
    /// Forwards every chunk after this time.
    Delay(Duration),
    /// Cuts the present connections, then forwards as [`Mode::Pass`] does.
    Cut,
}

/// A relay on a loopback port of its own; it ends on drop.
#[derive(Debug)]
pub struct Relay {
    port: u16,
    road: Arc<Road>,
    /// Runs while the relay listens.
    acceptor: Mutex<Option<JoinHandle<()>>>,
}

impl Relay {
    /// A relay to `target` that forwards; whether somebody listens there is seen with each connection.
    pub fn start(target: SocketAddr) -> Self {
        let state = State { mode: Mode::Pass, cuts: 0, ends: Vec::new() };
        let road = Arc::new(Road { target, state: Mutex::new(state), changed: Condvar::new() });
        let relay = Self { port: free_port(), road, acceptor: Mutex::new(None) };
        relay.set(Mode::Pass);
        relay
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What it does from now on. When this returns, connections are refused or accepted as it says.
    pub fn set(&self, mode: Mode) {
        self.road.set(mode);
        let mut acceptor = self.acceptor.lock().expect("no thread panicked");
        if mode == Mode::Refuse {
            if let Some(running) = acceptor.take() {
                let _wakes_it = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
                running.join().expect("the relay accepts");
            }
        } else if acceptor.is_none() {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)).expect("the relay's port");
            let road = Arc::clone(&self.road);
            *acceptor = Some(std::thread::spawn(move || road.accept(&listener)));
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.set(Mode::Refuse);
    }
}

/// What the threads of a relay share.
#[derive(Debug)]
struct Road {
    target: SocketAddr,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    mode: Mode,
    /// How often connections were cut.
    cuts: u64,
    /// Both ends of every connection since the last cut.
    ends: Vec<TcpStream>,
}

impl Road {
    fn set(&self, mode: Mode) {
        let mut state = self.state();
        state.mode = mode;
        if matches!(mode, Mode::Refuse | Mode::Cut) {
            state.cuts += 1;
            for end in state.ends.drain(..) {
                let _gone_already = end.shutdown(Shutdown::Both);
            }
        }
        self.changed.notify_all();
    }

    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        loop {
            let Ok((client, _)) = listener.accept() else { continue };
            let Some(birth) = self.register(&client) else { return };
            let road = Arc::clone(self);
            std::thread::spawn(move || road.connect(client, birth));
        }
    }

    /// Notes an end of a connection, so that it can be cut. Answers how many cuts there were before,
    /// and nothing when the relay has stopped to listen.
    fn register(&self, end: &TcpStream) -> Option<u64> {
        let mut state = self.state();
        if state.mode == Mode::Refuse {
            return None;
        }
        state.ends.push(end.try_clone().expect("a socket"));
        Some(state.cuts)
    }

    fn connect(self: Arc<Self>, client: TcpStream, birth: u64) {
        if !self.may_go_on(birth) {
            return;
        }
        let Ok(server) = TcpStream::connect(self.target) else {
            let _gone_already = client.shutdown(Shutdown::Both);
            return;
        };
        if self.register(&server) != Some(birth) {
            let _gone_already = server.shutdown(Shutdown::Both);
            return;
        }
        let from_client = client.try_clone().expect("a socket");
        let to_server = server.try_clone().expect("a socket");
        let road = Arc::clone(&self);
        std::thread::spawn(move || road.pump(from_client, to_server, birth));
        self.pump(server, client, birth);
    }

    /// Forwards one direction until it ends.
    fn pump(&self, mut from: TcpStream, mut to: TcpStream, birth: u64) {
        let _slower_at_worst = to.set_nodelay(true);
        let mut chunk = [0; 16 << 10];
        while let Ok(count @ 1..) = from.read(&mut chunk) {
            if !self.may_go_on(birth) || to.write_all(&chunk[..count]).is_err() {
                break;
            }
        }
        if self.may_go_on(birth) {
            let _gone_already = to.shutdown(Shutdown::Write);
        }
    }

    /// Waits as the mode says. Answers whether a connection was not cut meanwhile.
    fn may_go_on(&self, birth: u64) -> bool {
        let state = self.state();
        let is_held = |state: &mut State| state.mode == Mode::BlackHole && state.cuts == birth;
        let state = self.changed.wait_while(state, is_held).expect("no thread panicked");
        let Mode::Delay(time) = state.mode else { return state.cuts == birth };
        let is_waiting = |state: &mut State| state.cuts == birth;
        let (state, _) =
            self.changed.wait_timeout_while(state, time, is_waiting).expect("no thread panicked");
        state.cuts == birth
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread panicked")
    }
}
