//! What people and scripts read when something is wrong: small, helpful, without internals.

use crate::harness::{After, Answer, Backend, Gateway, Setup, Upload};

#[test]
fn a_backend_that_is_down_is_a_502() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    drop(listener);
    let gateway = Gateway::start(&Setup::in_front_of(&format!("http://{address}")));
    let visitor = gateway.visitor();
    let ask = || (visitor.page("/public"), visitor.get("/public"));
    assert_explained(ask(), 502, "bad_gateway", &[&address]);
}

#[test]
fn a_backend_that_speaks_no_http_or_hangs_up_is_a_502() {
    for words in ["", "220 smtp ready\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n"] {
        let backend = Backend::closing_after(words);
        let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
        let visitor = gateway.visitor();
        let ask = || (visitor.page("/public"), visitor.get("/public"));
        assert_explained(ask(), 502, "bad_gateway", &[&backend.authority(), "smtp"]);
    }
}

#[test]
fn a_backend_that_takes_too_long_is_a_504() {
    let backend = Backend::silent();
    let servers = format!("servers = ['{}']; response_timeout = '50ms'", backend.url());
    let setup = Setup::new()
        .upstream_with("secret-name", &servers)
        .route("upstream = 'secret-name'; access = 'public'");
    let gateway = Gateway::start(&setup);
    let visitor = gateway.visitor();
    let ask = || (visitor.page("/"), visitor.get("/"));
    assert_explained(ask(), 504, "gateway_timeout", &[&backend.authority(), "secret-name"]);
}

#[test]
fn a_backend_with_all_its_connections_in_use_is_a_503_with_a_time_to_come_back() {
    let backend = Backend::with(|peer| {
        peer.wait();
        peer.write(crate::harness::backend::HELLO);
        After::KeepAlive
    });
    let servers = format!("servers = ['{}']; max_connections = 1; connect_timeout = '50ms'", backend.url());
    let setup = Setup::new().upstream_with("app", &servers).route("upstream = 'app'; access = 'public'");
    let gateway = Gateway::start(&setup);
    let mut busy = gateway.raw();
    busy.write("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    backend.received();
    let visitor = gateway.visitor();
    let (page, script) = (visitor.page("/"), visitor.get("/"));
    for answer in [&page, &script] {
        assert!(answer.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds > 0));
    }
    assert_explained((page, script), 503, "too_many_connections", &[&backend.authority()]);
    backend.release();
    assert_eq!(busy.response().text(), "hello", "who had the connection is not disturbed");
}

#[test]
fn a_body_beyond_the_limit_is_a_413_whether_it_says_so_or_not() {
    let backend = Backend::with_head(|peer| {
        while peer.read_some().is_some() {}
        After::Close
    });
    let setup = Setup::in_front_of(&backend.url()).set("server.limits.body_bytes", "'1KiB'");
    let gateway = Gateway::start(&setup);
    for protocol in ["h1", "h2"] {
        let visitor = || if protocol == "h2" { gateway.visitor().over_h2() } else { gateway.visitor() };
        let declared = || Upload::text(vec![b'x'; 1025]);
        let streamed = || {
            let (body, pieces) = Upload::in_pieces();
            pieces.send(vec![b'x'; 1025]);
            body
        };
        let page = |body| visitor().ask("POST", "/public").as_page().body(body).send();
        let script = |body| visitor().ask("POST", "/public").body(body).send();
        assert_explained((page(declared()), script(declared())), 413, "body_too_large", &[]);
        assert_explained((page(streamed()), script(streamed())), 413, "body_too_large", &[]);
    }
}

#[test]
fn a_route_may_take_shorter_or_longer_bodies_than_the_others() {
    let backend = Backend::start();
    let setup = |small: &str| {
        Setup::in_front_of(&backend.url())
            .set("server.limits.body_bytes", "'1KiB'")
            .route("path = '/public/large'; upstream = 'app'; access = 'public'; body_bytes = '2KiB'")
            .route("path = '/public/any'; upstream = 'app'; access = 'public'; body_bytes = '0'")
            .route(&format!(
                "path = '/public/small'; upstream = 'app'; access = 'public'; body_bytes = '{small}'"
            ))
    };
    let gateway = Gateway::start(&setup("10B"));
    for visitor in [gateway.visitor(), gateway.visitor().over_h2()] {
        let status = |path: &str, bytes| visitor.post(path, vec![b'x'; bytes]).status;
        assert_eq!([1024, 1025].map(|bytes| status("/public", bytes)), [200, 413]);
        assert_eq!([2048, 2049].map(|bytes| status("/public/large", bytes)), [200, 413]);
        assert_eq!([10, 11].map(|bytes| status("/public/small", bytes)), [200, 413]);
        assert_eq!(status("/public/any", 1 << 20), 200);
    }
    setup("11B").write_to(&gateway.folder);
    gateway.reload().expect("a reload");
    let visitor = gateway.visitor();
    assert_eq!([11, 12].map(|bytes| visitor.post("/public/small", vec![b'x'; bytes]).status), [200, 413]);
}

#[test]
fn an_upload_that_stands_still_is_a_408() {
    let backend = Backend::with_head(|peer| {
        while peer.read_some().is_some() {}
        After::Close
    });
    let setup = Setup::in_front_of(&backend.url()).set("server.limits.body_stall", "'100ms'");
    let gateway = Gateway::start(&setup);
    let ((first, pieces), (second, more_pieces)) = (Upload::in_pieces(), Upload::in_pieces());
    pieces.send("a part");
    more_pieces.send("a part");
    let page = gateway.visitor().ask("POST", "/public").as_page().body(first).send();
    let script = gateway.visitor().over_h2().ask("POST", "/public").body(second).send();
    assert_explained((page, script), 408, "request_timeout", &[&backend.authority()]);
}

#[test]
fn a_head_that_is_too_large_over_http_2_is_a_431() {
    let backend = Backend::start();
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    let visitor = gateway.visitor().over_h2();
    let large = "x".repeat(80 * 1024);
    let page = visitor.ask("GET", "/public").as_page().header("x-large", &large).send();
    let script = visitor.ask("GET", "/public").header("x-large", &large).send();
    assert_explained((page, script), 431, "header_too_large", &[]);
    let many = (0..200).fold(visitor.ask("GET", "/public"), |ask, _| ask.header("x-many", "x"));
    assert_eq!(many.send().status, 431);
    assert_eq!(visitor.get("/public").status, 200, "the connection goes on");
    assert_eq!(backend.requests(), 1);
}

/// A page for people and JSON for scripts, both with the number of the request and without internals.
#[track_caller]
fn assert_explained((page, script): (Answer, Answer), status: u16, code: &str, secrets: &[&str]) {
    assert_eq!((page.status, script.status), (status, status), "{} {}", page.text(), script.text());
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert!(
        page.body.len() < 4096
            && page.text().contains(&format!("<code>{}</code>", page.header("x-request-id")))
    );
    assert_eq!(script.header("content-type"), "application/json");
    let json = script.json();
    assert_eq!(
        (json["error"].as_str(), json["request_id"].as_str()),
        (Some(code), Some(script.header("x-request-id")))
    );
    assert!(!script.header("x-request-id").is_empty());
    for answer in [page, script] {
        for secret in secrets.iter().chain(&["hyper", "tokio", "os error", "src/", "vestibule/"]) {
            let text = answer.text().replace("/.vestibule/", "");
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
}
