//! memcached for tests.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;

use super::{Server, as_nobody, free_port, listens};

/// A memcached on a loopback port of its own.
#[derive(Debug)]
pub struct Memcached {
    server: Server,
    port: u16,
}

impl Memcached {
    /// Starts one and waits until it answers.
    pub fn start() -> Self {
        let port = free_port();
        let server = Server::start(&mut command(port), Server::folder());
        let mut memcached = Self { server, port };
        memcached.wait();
        memcached
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The same as an address.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.server.kill();
    }

    /// Starts it again on its port, empty, and waits until it answers.
    pub fn start_again(&mut self) {
        self.server.start_again(&mut command(self.port));
        self.wait();
    }

    /// Stops the process where it stands: it accepts connections and says nothing.
    pub fn hang(&self) {
        self.server.signal("STOP");
    }

    /// Lets it go on.
    pub fn go_on(&self) {
        self.server.signal("CONT");
    }

    /// Evicts every item.
    pub fn forget_everything(&self) {
        let mut stream = TcpStream::connect(self.address()).expect("memcached listens");
        stream.write_all(b"flush_all\r\n").expect("a request");
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).expect("an answer");
        assert_eq!(&answer, b"OK\r\n");
    }

    fn wait(&mut self) {
        let port = self.port;
        self.server.wait_until("memcached listens", || listens(port));
    }
}

fn command(port: u16) -> Command {
    let mut command = as_nobody("memcached");
    command.args(["-l", "127.0.0.1", "-p", &port.to_string(), "-U", "0", "-m", "64"]);
    command
}
