//! Sockets that outlive the gateway: restarts under load, and sockets that do not fit.

use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use rustls::RootCertStore;

use crate::harness::gateway::{passing, prepared};
use crate::harness::{Backend, Client, Folder, Gateway, Raw, Setup};

#[test]
fn twenty_restarts_under_load_lose_no_request() {
    let backend = Backend::start();
    let socket = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let address = socket.local_addr().expect("its address");
    let setup = Setup::in_front_of(&backend.url()).set("server.https", &format!("['{address}']"));
    let mut gateway = Gateway::spawn_on(&socket, prepared(Folder::new(), &setup));
    let load = Load::default();
    let roots = gateway.folder.trust();
    let _last = thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| load.keep_asking(|| raw_client(address, &roots)));
            scope.spawn(|| load.keep_asking(|| multiplexed_client(address, &roots)));
        }
        for _ in 0..20 {
            load.wait_for_some();
            gateway.terminate();
            let (code, printed, folder) = gateway.ended();
            assert_eq!(code, 0, "{printed}");
            assert!(printed.contains("stopped cut_requests=0 cut_tunnels=0"), "{printed}");
            gateway = Gateway::spawn_on(&socket, folder);
            assert_eq!(gateway.address(), address);
        }
        load.wait_for_some();
        load.over.store(true, Ordering::Relaxed);
        // Until nobody asks any more.
        gateway
    });
    let lost = load.lost.into_inner().expect("a list");
    assert!(lost.is_empty(), "{lost:?} of {}", load.answered.load(Ordering::Relaxed));
}

#[test]
fn a_socket_that_no_listener_wants_keeps_the_gateway_from_starting() {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let address = socket.local_addr().expect("its address");
    let folder = prepared(Folder::new(), &Setup::new().route("access = 'deny'"));
    let mut command = passing(&socket, "other", &folder);
    let output = command.output().expect("the end of the program");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains(&format!("listens on {address}, which is in none of")), "{said}");
}

/// Asks until it is told to stop, and counts what came of it.
#[derive(Default)]
struct Load {
    answered: AtomicUsize,
    lost: Mutex<Vec<String>>,
    over: AtomicBool,
}

impl Load {
    /// `client` makes a connection's worth of asking: true = answered, and may be asked again.
    fn keep_asking<A: FnMut() -> Asked>(&self, client: impl Fn() -> A) {
        let mut ask = client();
        while !self.over.load(Ordering::Relaxed) {
            match ask() {
                Asked::Answered => {
                    self.answered.fetch_add(1, Ordering::Relaxed);
                }
                Asked::AnsweredForTheLastTime => {
                    self.answered.fetch_add(1, Ordering::Relaxed);
                    ask = client();
                }
                Asked::NotBegun => ask = client(),
                Asked::Lost(how) => {
                    self.lost.lock().expect("a list").push(how);
                    ask = client();
                }
            }
        }
    }

    /// Returns when more was asked and answered.
    fn wait_for_some(&self) {
        let before = self.answered.load(Ordering::Relaxed);
        crate::harness::eventually("answers", || {
            (self.answered.load(Ordering::Relaxed) > before + 50).then_some(())
        });
    }
}

/// What came of a request.
enum Asked {
    Answered,
    /// The gateway said that it closes the connection.
    AnsweredForTheLastTime,
    /// The client knows that the gateway has not begun it.
    NotBegun,
    Lost(String),
}

/// HTTP/1.1 on one connection, until `Connection: close`.
fn raw_client(address: std::net::SocketAddr, roots: &Arc<RootCertStore>) -> impl FnMut() -> Asked {
    let mut raw = Raw::tls(address, roots);
    move || match raw.write("GET /public HTTP/1.1\r\nHost: localhost\r\n\r\n").try_response() {
        Some(response) if response.status != 200 => Asked::Lost(response.head),
        Some(response) if response.header("connection") == "close" => Asked::AnsweredForTheLastTime,
        Some(_) => Asked::Answered,
        None => Asked::Lost("HTTP/1.1: closed without an answer".to_owned()),
    }
}

/// HTTP/2 on one connection, until a GOAWAY.
fn multiplexed_client(address: std::net::SocketAddr, roots: &Arc<RootCertStore>) -> impl FnMut() -> Asked {
    let client = Client::new(address, Arc::clone(roots)).over_h2();
    move || match client.ask("GET", "/public").try_send() {
        Ok(answer) if answer.status == 200 => Asked::Answered,
        Ok(answer) => Asked::Lost(format!("HTTP/2: {}", answer.status)),
        // The second is a GOAWAY that names only earlier streams: the request may be sent again.
        Err(error) if ["canceled", "not a result of an error"].iter().any(|end| error.contains(end)) => {
            Asked::NotBegun
        }
        Err(error) => Asked::Lost(format!("HTTP/2: {error}")),
    }
}
