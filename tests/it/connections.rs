//! How clients and backends are connected: certificates by name, old versions, order, many at once, ends.

use std::net::TcpStream;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::harness::folder::Validity;
use crate::harness::frames::End;
use crate::harness::gateway::{by_shell, prepared};
use crate::harness::{After, Backend, Client, Folder, Frames, Gateway, Setup, eventually};

#[test]
fn each_host_shows_its_own_certificate_and_an_unknown_one_the_first() {
    let backend = Backend::start();
    let folder = Folder::new();
    folder.certificate("wiki", &["wiki.example.com", "localhost"], Validity::Current);
    folder.certificate("below", &["*.example.com"], Validity::Current);
    let setup = public(&backend).certificate("wiki").certificate("below");
    let gateway = Gateway::start_in(prepared(folder, &setup));
    let shown = |host: &str| {
        let visitor = gateway.visitor().at(host);
        assert_eq!(visitor.get("/").status, 200, "{host}");
        visitor.certificate_seen().expect("a certificate")
    };
    assert_eq!(shown("wiki.example.com"), certificate(&gateway, "wiki"));
    assert_eq!(shown("mail.example.com"), certificate(&gateway, "below"));
    assert_eq!(shown("localhost"), certificate(&gateway, "gateway"));
    // No name at all: an address is none.
    assert_eq!(shown("127.0.0.1"), certificate(&gateway, "gateway"));
}

#[test]
fn a_request_for_a_host_of_another_certificate_is_sent_back() {
    let backend = Backend::start();
    let gateway = Gateway::start(&public(&backend));
    let visitor = gateway.visitor();
    let asked_for = |host: &str| visitor.ask("GET", "/").header("host", host).send();
    // The certificate is for `localhost` and everything below `test`: a browser may share the connection.
    assert_eq!(["localhost", "one.test", "two.test:8443"].map(|host| asked_for(host).status), [200; 3]);
    let answer = asked_for("elsewhere.example");
    assert_eq!(answer.status, 421);
    assert!(answer.text().contains("misdirected"), "{}", answer.text());
    // Who opens the connection for that name has nothing to complain of but the certificate.
    let mut shared = Frames::open(gateway.raw_h2());
    shared.ask_host(1, "one.test", "/");
    assert_eq!(shared.status_of(1), Some(200));
    shared.ask_host(3, "elsewhere.example", "/");
    assert_eq!(shared.status_of(3), Some(421));
    assert_eq!(backend.requests(), 4);
}

#[test]
fn a_trusted_proxy_may_bring_requests_for_every_host() {
    let backend = Backend::start();
    let gateway = Gateway::start(&public(&backend).set("server.trusted_proxies", "['127.0.0.1']"));
    assert_eq!(gateway.visitor().ask("GET", "/").header("host", "elsewhere.example").send().status, 200);
}

#[test]
fn an_address_has_only_so_many_connections() {
    let backend = Backend::start();
    let gateway = Gateway::start(&public(&backend).set("server.limits.connections_per_address", "2"));
    let (one, two) = (gateway.visitor(), gateway.visitor().over_h2());
    assert_eq!([one.get("/").status, two.get("/").status], [200; 2]);
    assert!(gateway.visitor().ask("GET", "/").try_send().is_err());
    assert!(gateway.metric("vestibule_connections_refused_total") >= 1.0);
    assert_eq!(gateway.visitor().from("127.0.0.2").get("/").status, 200);
    drop(two);
    one.hang_up();
    eventually("a free place", || gateway.visitor().ask("GET", "/").try_send().ok());
}

#[test]
fn a_stream_whose_client_takes_nothing_is_reset_and_the_others_go_on() {
    let backend = Backend::with(|peer| {
        peer.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n"));
        peer.write(vec![b'x'; LARGE]);
        After::KeepAlive
    });
    let gateway = Gateway::start(&public(&backend).set("server.limits.body_stall", "'500ms'"));
    let mut client = Frames::open_with(gateway.raw_h2(), 0);
    client.ask(1, "/");
    assert_eq!(client.status_of(1), Some(200));
    assert_eq!(client.end_of(1), End::Reset);
    // The connection is still a good one.
    client.ask(3, "/");
    client.grant(3, 1 << 20);
    assert_eq!(client.end_of(3), End::Complete);
}

#[test]
fn a_client_of_http_1_0_gets_no_chunks_and_no_second_request() {
    let backend =
        Backend::answering("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n");
    let gateway = Gateway::start(&public(&backend));
    let mut raw = gateway.raw();
    let response = raw.write("GET / HTTP/1.0\r\nHost: localhost\r\n\r\n").response();
    assert_eq!((response.status, response.text().as_str()), (200, "ok"));
    assert_eq!(response.values("transfer-encoding"), [""; 0]);
    assert!(raw.is_closed());
    assert!(backend.received().head.starts_with("GET / HTTP/1.1"));
}

#[test]
fn a_cut_answer_is_no_whole_one_to_a_client_of_http_1_0() {
    let backend = Backend::with(|peer| {
        let is_whole = peer.request.target() == "/whole";
        peer.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n");
        peer.write(if is_whole { "0\r\n\r\n" } else { "2\r\n" });
        After::Close
    });
    let gateway = Gateway::start(&public(&backend));
    for (target, is_whole) in [("/whole", true), ("/cut", false)] {
        let mut raw = gateway.raw();
        raw.write(format!("GET {target} HTTP/1.0\r\nHost: localhost\r\n\r\n"));
        assert_eq!(raw.says_goodbye(), is_whole, "{target}");
    }
}

#[test]
fn the_kernel_looks_whether_a_silent_client_is_still_there() {
    let backend = Backend::start();
    let gateway = Gateway::start(&public(&backend));
    let mut raw = gateway.raw();
    assert_eq!(raw.write("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").response().status, 200);
    let port = |address: std::net::SocketAddr| format!(":{:04X}", address.port());
    let (ours, theirs) = (port(gateway.address()), port(raw.address()));
    let timer = eventually("the silence of the connection", || {
        let table = std::fs::read_to_string("/proc/self/net/tcp").expect("the kernel's table");
        let fields = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let mut own = fields.filter(|it| it[1].ends_with(&ours) && it[2].ends_with(&theirs));
        // 01: something is to be sent again; 02: keep-alive; 00: nothing.
        own.next().map(|fields| fields[5].to_owned()).filter(|timer| !timer.starts_with("01"))
    });
    let ticks = u64::from_str_radix(timer.trim_start_matches("02:"), 16).expect("a keep-alive timer");
    assert!(ticks > 50 * 100 && ticks <= 60 * 100, "{timer}");
}

#[test]
fn a_client_that_asks_whether_to_go_on_is_told_so_by_the_gateway() {
    let backend = Backend::start();
    let gateway = Gateway::start(&public(&backend));
    let mut raw = gateway.raw();
    raw.write("POST / HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    assert_eq!(raw.response().status, 100);
    assert_eq!(raw.write("body").response().status, 200);
    let received = backend.received();
    assert_eq!(received.values("expect"), [""; 0]);
    assert_eq!(received.body, b"body");
}

#[test]
fn requests_sent_all_at_once_are_answered_in_their_order() {
    let backend = naming_the_target();
    let gateway = Gateway::start(&public(&backend));
    let mut raw = gateway.raw();
    raw.write(
        ["/1", "/2", "/3"].map(|target| format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n")).concat(),
    );
    assert_eq!([(); 3].map(|()| raw.response().text()), ["/1", "/2", "/3"]);
}

#[test]
fn many_requests_at_once_over_one_connection_do_not_mix() {
    let backend = naming_the_target();
    let gateway = Gateway::start(&public(&backend));
    let visitor = gateway.visitor().over_h2();
    let streams: Vec<_> =
        (0..40).map(|number| visitor.ask("GET", &format!("/{number:03}")).stream()).collect();
    for (number, mut stream) in streams.into_iter().enumerate() {
        assert_eq!(stream.read(4), format!("/{number:03}").into_bytes());
    }
}

#[test]
fn visitors_share_a_connection_to_the_backend_and_never_an_identity() {
    let backend = Backend::start();
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()).set("server.workers", "1"));
    let (alice, ada) =
        (gateway.visitor().signed_in_as("alice"), gateway.visitor().over_h2().signed_in_as("ada"));
    let stranger = gateway.visitor();
    for _ in 0..5 {
        for (visitor, user) in [(&alice, "alice"), (&ada, "ada"), (&stranger, "")] {
            assert_eq!(visitor.get("/optional").status, 200);
            assert_eq!(backend.received().header("x-user-id"), user);
        }
    }
    assert_eq!((backend.requests(), backend.connections()), (15, 1));
}

#[test]
fn requests_go_round_over_the_servers() {
    let (one, two) = (Backend::start(), Backend::start());
    let servers = format!("servers = ['{}', '{}']; balance = 'round-robin'", one.url(), two.url());
    let setup = Setup::new()
        .set("server.workers", "1")
        .upstream_with("app", &servers)
        .route("upstream = 'app'; access = 'public'");
    let gateway = Gateway::start(&setup);
    let visitor = gateway.visitor();
    for _ in 0..10 {
        assert_eq!(visitor.get("/").status, 200);
    }
    assert_eq!((one.requests(), two.requests()), (5, 5));
}

#[test]
fn a_client_that_goes_away_frees_the_backend() {
    let backend = Backend::with(|peer| {
        peer.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n.\r\n");
        while peer.read_some().is_some() {}
        After::Close
    });
    let gateway = Gateway::start(&public(&backend));
    for visitor in [gateway.visitor(), gateway.visitor().over_h2()] {
        let mut answer = visitor.ask("GET", "/").stream();
        assert_eq!(answer.read(1), b".");
        drop(answer);
        visitor.hang_up();
        eventually("the end of the backend's connection", || (backend.open_connections() == 0).then_some(()));
    }
}

#[test]
fn a_request_that_runs_in_a_circle_is_ended() {
    let backend = Backend::start();
    let gateway = Gateway::start(&public(&backend));
    let via = ["1.1 vestibule"; 20].join(", ");
    assert_eq!(gateway.visitor().ask("GET", "/").header("via", &via).send().status, 508);
    assert!(backend.saw_nothing());
}

/// Everybody may see everything of the backend.
fn public(backend: &Backend) -> Setup {
    Setup::new().upstream("app", &backend.url()).route("upstream = 'app'; access = 'public'")
}

/// Answers every request with its own target.
fn naming_the_target() -> Backend {
    Backend::with(|peer| {
        let target = peer.request.target().to_owned();
        peer.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{target}", target.len()));
        After::KeepAlive
    })
}

/// The certificate in `stem.pem`, as a client sees it.
fn certificate(gateway: &Gateway, stem: &str) -> Vec<u8> {
    let pem = gateway.folder.read(&format!("{stem}.pem"));
    CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate").to_vec()
}

/// More than the gateway keeps for a stream, less than the window of a connection.
const LARGE: usize = 600 * 1024;

#[test]
fn a_connection_that_somebody_proved_themselves_on_is_nobody_elses() {
    let backend = Backend::with(|peer| {
        let head = match peer.request.target() {
            "/challenge" => {
                "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"a\"\r\nWWW-Authenticate: NTLM\r\n"
            }
            _ => "HTTP/1.1 200 OK\r\n",
        };
        peer.write(format!("{head}Content-Length: 0\r\nX-Connection: {}\r\n\r\n", peer.connection));
        After::KeepAlive
    });
    let gateway = Gateway::start(&public(&backend).set("server.workers", "1"));
    let ask = |visitor: &Client, target: &str, credentials: &str| {
        let answer = visitor.ask("GET", target).header("authorization", credentials).send();
        answer.header("x-connection").to_owned()
    };
    let (one, other) = (gateway.visitor(), gateway.visitor().over_h2());
    for (target, credentials) in [
        ("/", "NTLM TlRMTVNTUAAB"),
        ("/", "negotiate YIIJvwYGKwYBBQUCoIIJszCC"),
        ("/challenge", "Basic YTpi"),
    ] {
        for (one, other) in [(&one, &other), (&other, &one)] {
            assert_ne!(ask(one, target, credentials), ask(other, "/", "Basic Yjpj"), "{credentials}");
        }
    }
    assert_eq!(ask(&one, "/", "Basic YTpi"), ask(&other, "/", "Basic Yjpj"), "told with each request");
}

#[test]
fn connections_that_find_no_descriptor_wait_until_there_is_one() {
    let backend = Backend::start();
    let folder = prepared(Folder::new(), &Setup::in_front_of(&backend.url()));
    let mut command = by_shell("ulimit -n 128; exec \"$0\" \"$@\"", &folder);
    let gateway = Gateway::spawn_by(&mut command, folder);
    let held: Vec<_> = (0..128).map(|_| TcpStream::connect(gateway.address())).collect();
    gateway.line_with(&["connections cannot be accepted"]);
    drop(held);
    gateway.line_with(&["connections are accepted again"]);
    assert_eq!(gateway.visitor().get("/public").status, 200);
}

#[test]
fn what_connections_do_not_touch_is_not_in_memory() {
    let backend = Backend::start();
    let gateway = Gateway::spawn(&Setup::in_front_of(&backend.url()));
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).expect("a process");
    assert!(status.contains("THP_enabled:\t0\n"), "{status}");
}
