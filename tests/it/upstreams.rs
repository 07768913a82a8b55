//! The ways to a backend: sockets of this machine, TLS, several servers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::harness::backend::HELLO;
use crate::harness::folder::Validity;
use crate::harness::gateway::prepared;
use crate::harness::legacy::Legacy;
use crate::harness::people::Person;
use crate::harness::tls_front::{ClientCertificate, TlsFront};
use crate::harness::{After, Backend, Folder, Gateway, Setup, Upload, eventually};

#[test]
fn an_application_behind_a_unix_socket_is_served() {
    let folder = Folder::empty();
    let legacy = Legacy::on_socket(&folder.path("app.sock"));
    let gateway = Gateway::start(&Setup::in_front_of(&legacy.url()));
    let visitor = gateway.visitor().signed_in_as("alice");
    assert_eq!(visitor.get("/whoami").status, 200);
    let told = visitor.ask("PUT", "/upload").body(Upload::Pattern(1 << 20)).send().json();
    assert_eq!(told["bytes"], 1 << 20);
    let seen = visitor.get("/headers").json();
    assert!(seen.to_string().contains(&visitor.authority()), "the host of the client: {seen}");
}

#[test]
fn a_backend_that_proves_its_name_is_spoken_with_over_tls() {
    let (backend, folder) = (Backend::closing_after(CLOSING), house());
    let front = TlsFront::before(&backend, &folder, "backend", ClientCertificate::NotAsked);
    let gateway = before(&front, folder, "ca = 'ca.pem', server_name = 'backend.internal'");
    for _ in 0..2 {
        assert_eq!(gateway.visitor().get("/public").text(), "hello");
    }
    let handshakes = front.handshakes();
    let names: Vec<_> = handshakes.iter().map(|it| (it.server_name.as_str(), it.protocol.as_str())).collect();
    assert_eq!(names, [("backend.internal", "http/1.1"); 2]);
    assert!(handshakes[1].is_resumed, "the second handshake is a short one");
}

#[test]
fn a_connection_over_tls_ends_with_a_goodbye() {
    let (backend, folder) = (Backend::start(), house());
    let front = TlsFront::before(&backend, &folder, "backend", ClientCertificate::NotAsked);
    let gateway = before(&front, folder, "ca = 'ca.pem', server_name = 'backend.internal'");
    assert_eq!(gateway.visitor().get("/public").text(), "hello");
    eventually("a goodbye", || (front.goodbyes() == 1).then_some(()));
}

#[test]
fn a_backend_that_does_not_prove_who_it_is_gets_nothing() {
    for (stem, tls, reason) in [
        ("backend", "ca = 'other.pem', server_name = 'backend.internal'", "invalid peer certificate"),
        ("backend", "ca = 'ca.pem', server_name = 'shop.internal'", "not valid for name"),
        ("backend", "ca = 'ca.pem'", "not valid for name"),
        ("expired", "ca = 'ca.pem', server_name = 'backend.internal'", "expired"),
    ] {
        let (backend, folder) = (Backend::start(), house());
        let front = TlsFront::before(&backend, &folder, stem, ClientCertificate::NotAsked);
        let gateway = spawned_before(&front, folder, tls);
        assert_eq!(gateway.visitor().get("/public").status, 502, "{tls}");
        gateway.line_with(&["backend is down", reason]);
        assert_eq!((backend.connections(), front.handshakes().len()), (0, 0), "{tls}");
    }
}

#[test]
fn a_backend_that_asks_who_we_are_is_told() {
    let backend = Backend::start();
    for (tls, status) in [
        ("ca = 'ca.pem', server_name = 'backend.internal', cert = 'client.pem', key = 'client.key'", 200),
        ("ca = 'ca.pem', server_name = 'backend.internal'", 502),
    ] {
        let folder = house();
        let front = TlsFront::before(&backend, &folder, "backend", ClientCertificate::Needed);
        let gateway = before(&front, folder, tls);
        assert_eq!(gateway.visitor().get("/public").status, status, "{tls}");
    }
}

#[test]
fn a_reload_reads_replaced_authorities_and_refuses_broken_ones() {
    let (backend, folder) = (Backend::start(), house());
    let front = TlsFront::before(&backend, &folder, "backend", ClientCertificate::NotAsked);
    let right = folder.read("ca.pem");
    folder.write("ca.pem", &folder.read("other.pem"));
    let gateway = before(&front, folder, "ca = 'ca.pem', server_name = 'backend.internal'");
    assert_eq!(gateway.visitor().get("/public").status, 502);
    gateway.folder.write("ca.pem", &right);
    gateway.reload().expect("a reload");
    assert_eq!(gateway.visitor().get("/public").status, 200);
    gateway.folder.write("ca.pem", "nothing");
    let problems = gateway.reload().expect_err("no authority");
    assert!(
        problems.contains("upstream `app`: tls: `") && problems.contains("no PEM certificate"),
        "{problems}"
    );
    assert_eq!(gateway.visitor().get("/public").status, 200);
}

#[test]
fn a_session_stays_with_its_server() {
    let backends = [Backend::start(), Backend::start(), Backend::start()];
    let servers: Vec<_> = backends.iter().map(|backend| format!("'{}'", backend.url())).collect();
    let lines = format!("balance = 'sticky'; servers = [{}]", servers.join(", "));
    let setup = Setup::new().upstream_with("app", &lines).route("path = '/'; upstream = 'app'");
    let gateway = Gateway::start(&setup.person(Person::named("alice")));
    let requests = || backends.iter().map(Backend::requests).collect::<Vec<_>>();
    for _ in 0..5 {
        let (visitor, before) = (gateway.visitor().signed_in_as("alice"), requests());
        for _ in 0..4 {
            assert_eq!(visitor.get("/").status, 200);
        }
        let mut served: Vec<_> = requests().iter().zip(before).map(|(now, before)| now - before).collect();
        served.sort_unstable();
        assert_eq!(served, [0, 0, 4]);
    }
}

#[test]
fn a_server_that_is_down_costs_no_request_and_is_told_of() {
    let (backend, gone) = (Backend::start(), Backend::start().url());
    let lines = format!("servers = ['{gone}', '{}']", backend.url());
    let setup =
        Setup::new().upstream_with("app", &lines).route("path = '/'; upstream = 'app'; access = 'public'");
    let gateway = Gateway::spawn(&setup);
    for _ in 0..10 {
        assert_eq!(gateway.visitor().get("/").status, 200);
    }
    gateway.line_with(&["backend is down", &gone]);
    assert_eq!(gateway.printed().matches("backend is down").count(), 1);
    let up = |url: &str| {
        gateway.metric(&format!("vestibule_upstream_server_up{{upstream=\"app\",server=\"{url}\"}}"))
    };
    assert_eq!((up(&gone), up(&backend.url())), (0.0, 1.0));
}

#[test]
fn an_upstream_whose_only_server_was_down_serves_as_soon_as_it_is_back() {
    let folder = Folder::empty();
    let socket = folder.path("app.sock");
    let gateway = Gateway::start(&Setup::in_front_of(&format!("unix:{}", socket.display())));
    for _ in 0..5 {
        assert_eq!(gateway.visitor().get("/public").status, 502);
    }
    let _legacy = Legacy::on_socket(&socket);
    assert_eq!(gateway.visitor().get("/public").status, 404);
}

#[test]
fn a_server_that_says_it_is_ill_gets_nothing_until_it_is_well() {
    let is_well = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&is_well);
    let ill = Backend::with(move |peer| {
        let is_bad = peer.request.target() == "/healthz" && !asked.load(Ordering::SeqCst);
        peer.write(if is_bad { UNAVAILABLE } else { HELLO });
        After::KeepAlive
    });
    let well = Backend::start();
    let lines = format!(
        "balance = 'round-robin'; servers = ['{}', '{}']; \
         health = {{ path = '/healthz', every = '20ms', rise = 1, fall = 2 }}",
        ill.url(),
        well.url()
    );
    let setup = Setup::new().upstream_with("app", &lines);
    let gateway = Gateway::start(&setup.route("path = '/'; upstream = 'app'; access = 'public'"));
    let name = format!("vestibule_upstream_server_up{{upstream=\"app\",server=\"{}\"}}", ill.url());
    eventually("the verdict", || (gateway.metric(&name) == 0.0).then_some(()));
    let visitor = gateway.visitor();
    for _ in 0..10 {
        assert_eq!(visitor.get("/page").status, 200);
    }
    let asked_for_pages = || {
        let mut seen = Vec::new();
        while let Some(request) = ill.next_received() {
            seen.push(request.target().to_owned());
        }
        seen.iter().any(|target| target == "/page")
    };
    assert!(!asked_for_pages());
    is_well.store(true, Ordering::SeqCst);
    eventually("a request for the server that is well again", || {
        assert_eq!(visitor.get("/page").status, 200);
        asked_for_pages().then_some(())
    });
}

/// A folder with certificates of a backend and of a client, and with the authorities of this folder and
/// of another.
fn house() -> Folder {
    let folder = Folder::new();
    folder.certificate("backend", &["backend.internal"], Validity::Current);
    folder.certificate("expired", &["backend.internal"], Validity::Past);
    folder.certificate("client", &["gateway.internal"], Validity::Current);
    folder.write_authority("ca.pem");
    let other = Folder::empty();
    other.write_authority("ca.pem");
    folder.write("other.pem", &other.read("ca.pem"));
    folder
}

fn before(front: &TlsFront, folder: Folder, tls: &str) -> Gateway {
    Gateway::start_in(prepared(folder, &setup(front, tls)))
}

/// The program, whose log can be read.
fn spawned_before(front: &TlsFront, folder: Folder, tls: &str) -> Gateway {
    Gateway::spawn_in(prepared(folder, &setup(front, tls)))
}

fn setup(front: &TlsFront, tls: &str) -> Setup {
    Setup::new()
        .upstream_with("app", &format!("servers = ['{}']; tls = {{ {tls} }}", front.url()))
        .route("path = '/public'; upstream = 'app'; access = 'public'")
}

const UNAVAILABLE: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";

const CLOSING: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello";
