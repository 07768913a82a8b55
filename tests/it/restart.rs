//! Sockets that outlive the gateway: restarts under load, and sockets that do not fit.

use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use rustls::RootCertStore;

use crate::harness::backend::HELLO;
use crate::harness::gateway::{passing, prepared};
use crate::harness::{After, Backend, Client, Folder, Gateway, Raw, Setup, eventually};

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

#[test]
fn a_new_process_serves_everybody_while_the_old_one_finishes_its_requests() {
    let backend = Backend::with(|peer| {
        if peer.request.target() == "/public/long" {
            peer.wait();
        }
        peer.write(HELLO);
        After::KeepAlive
    });
    let socket = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let address = socket.local_addr().expect("its address");
    let setup = Setup::in_front_of(&backend.url()).set("server.https", &format!("['{address}']"));
    let old = Gateway::spawn_on(&socket, prepared(Folder::new(), &setup));
    let alice = old.visitor().signed_in_as("alice");
    let mut long = old.raw();
    long.write("GET /public/long HTTP/1.1\r\nHost: localhost\r\n\r\n");
    eventually("the long request", || backend.received().target().ends_with("/long").then_some(()));
    old.terminate();
    eventually("the admin socket to be free", || (!old.folder.path("admin.sock").exists()).then_some(()));
    let new = Gateway::spawn_on(&socket, old.folder.shared());
    let stranger = new.visitor();
    assert_eq!(stranger.get("/public").status, 200);
    assert_eq!(alice.moved_to(address).get("/").status, 200, "the session of the old process");
    let ada = new.visitor().signed_in_as("ada");
    assert_eq!(ada.get("/admin").status, 200);
    let stats = new.folder.run(&["sessions", "stats"]);
    assert_eq!(stats.code, 0, "{}", stats.stderr);
    assert!(!old.printed().contains("stopped"), "the old process still works");
    backend.release();
    assert_eq!(long.response().text(), "hello");
    let (code, printed, folder) = old.ended();
    assert_eq!(code, 0, "{printed}");
    assert!(printed.contains("stopped cut_requests=0 cut_tunnels=0"), "{printed}");
    assert!(folder.path("admin.sock").exists(), "the new process's own");
    assert_eq!([alice.moved_to(address).get("/").status, ada.get("/admin").status], [200; 2]);
    let trail = new.audit_trail();
    assert_eq!(trail.len(), folder.read("audit.log").lines().count(), "whole lines");
    for (kind, count) in [("sys_startup", 2), ("sys_shutdown", 1), ("authn_login_success", 2)] {
        assert_eq!(trail.iter().filter(|event| event["event"] == kind).count(), count, "{kind}");
    }
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
        eventually("answers", || (self.answered.load(Ordering::Relaxed) > before + 50).then_some(()));
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
