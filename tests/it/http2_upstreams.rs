//! Backends that speak HTTP/2: in clear text and over TLS, to clients of either version.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use h2::Reason;
use http::{HeaderMap, HeaderValue, Response};

use crate::harness::folder::Validity;
use crate::harness::gateway::prepared;
use crate::harness::people::Person;
use crate::harness::tls_front::TlsFront;
use crate::harness::websocket::WebSocket;
use crate::harness::{Answer, Backend, Client, Folder, Gateway, H2Backend, Setup, Upload, eventually};

// One connection for many requests

#[test]
fn requests_share_a_connection() {
    let backend = waiting(100);
    let gateway = Gateway::start(&before(&backend));
    let asked: Vec<_> = (0..20).map(|_| asking(gateway.visitor())).collect();
    eventually("all requests at the backend", || (backend.seen().len() == 20).then_some(()));
    backend.release();
    for answer in asked {
        assert_eq!(answer.join().expect("an answer").text(), "hello");
    }
    assert_eq!(backend.connections(), 1);
}

#[test]
fn a_connection_carries_no_more_requests_than_its_backend_allows() {
    let backend = waiting(2);
    let gateway = Gateway::start(&before(&backend));
    let asked: Vec<_> = (0..5).map(|_| asking(gateway.visitor())).collect();
    eventually("all requests at the backend", || (backend.seen().len() == 5).then_some(()));
    let mut connections: Vec<_> = backend.seen().iter().map(|seen| seen.connection).collect();
    connections.sort_unstable();
    assert_eq!(connections, [0, 0, 1, 1, 2]);
    backend.release();
    for answer in asked {
        assert_eq!(answer.join().expect("an answer").status, 200);
    }
}

#[test]
fn a_request_without_room_and_without_a_slot_waits_its_turn() {
    let backend = waiting(1);
    let gateway = Gateway::start(&setup("max_connections = 1; servers = ['URL']", &backend.url()));
    let asked: Vec<_> = (0..3).map(|_| asking(gateway.visitor())).collect();
    for turn in 1..=3 {
        eventually("the next request", || (backend.seen().len() == turn).then_some(()));
        backend.release();
    }
    for answer in asked {
        assert_eq!(answer.join().expect("an answer").status, 200);
    }
    assert_eq!(backend.connections(), 1);
}

#[test]
fn a_worker_gets_the_slot_of_another_worker_s_busy_connection() {
    let backend = waiting(100);
    let lines = "max_connections = 1; servers = ['URL']; connect_timeout = '9s'";
    let gateway = Gateway::start(&setup(lines, &backend.url()).set("server.workers", "2"));
    // Sockets are spread over the workers by chance; with so many, both have some.
    let asked: Vec<_> = (0..16).map(|_| asking(gateway.visitor())).collect();
    let served = Arc::new(AtomicUsize::new(0));
    let all: Vec<_> = asked
        .into_iter()
        .map(|asked| {
            let served = Arc::clone(&served);
            thread::spawn(move || {
                assert_eq!(asked.join().expect("an answer").status, 200);
                served.fetch_add(1, Ordering::SeqCst);
            })
        })
        .collect();
    eventually("everybody's answer", || {
        backend.release();
        (served.load(Ordering::SeqCst) == 16).then_some(())
    });
    for asked in all {
        asked.join().expect("an answer");
    }
    assert!(backend.connections() >= 2, "each worker had its turn");
}

// What passes

#[test]
fn the_backend_sees_the_request_in_the_form_of_http_2() {
    let backend = H2Backend::start();
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    for visitor in both(&gateway) {
        let visitor = visitor.signed_in_as("alice");
        visitor.put_cookie("app", "1");
        let ask = visitor.ask("PUT", "/a%20b?c=%2F").header("te", "trailers").header("x-user-id", "forged");
        assert_eq!(ask.header("x-list", "1").header("x-list", "2").send().text(), "hello");
        let head = backend.seen().pop().expect("a request").head;
        assert_eq!(head.method, "PUT");
        assert_eq!(head.uri, *format!("http://{}/a%20b?c=%2F", visitor.authority()));
        let values = |name: &str| -> Vec<&str> {
            head.headers.get_all(name).iter().map(|value| value.to_str().expect("text")).collect()
        };
        assert_eq!((values("x-user-id"), values("x-list")), (vec!["alice"], vec!["1", "2"]));
        assert_eq!((values("te"), values("cookie")), (vec!["trailers"], vec!["app=1"]));
        assert_eq!((values("host"), values("connection")), (Vec::<&str>::new(), Vec::<&str>::new()));
        assert_eq!(values("x-forwarded-host"), [visitor.authority().as_str()]);
    }
}

#[test]
fn the_host_that_is_configured_becomes_the_authority() {
    let backend = H2Backend::start();
    for (host, authority) in
        [("upstream", backend.address().to_string()), ("rpc.internal", "rpc.internal".to_owned())]
    {
        let gateway = Gateway::start(&setup(&format!("host = '{host}'; servers = ['URL']"), &backend.url()));
        assert_eq!(gateway.visitor().get("/").status, 200);
        let seen = backend.seen().pop().expect("a request");
        assert_eq!(seen.head.uri.authority().map(http::uri::Authority::as_str), Some(&*authority));
    }
}

#[test]
fn trailers_pass_both_ways_and_carry_no_identity() {
    let trailers = Arc::new(Mutex::new(HeaderMap::new()));
    let kept = Arc::clone(&trailers);
    let backend = H2Backend::with(move |mut call| {
        let kept = Arc::clone(&kept);
        async move {
            *kept.lock().expect("a lock") = call.rest().await.1;
            let head = Response::builder().header("trailer", "x-sum, set-cookie");
            call.reply(head).data("hi").trailers(&[("x-sum", "7"), ("set-cookie", "a=b")]);
        }
    });
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    for visitor in both(&gateway) {
        let (body, pieces) = Upload::in_pieces();
        pieces.send("body");
        let mut sent = HeaderMap::new();
        for (name, value) in [("x-up", "1"), ("x-user-id", "forged"), ("authorization", "no")] {
            sent.insert(name, HeaderValue::from_static(value));
        }
        pieces.trailers(sent);
        let ask = visitor.ask("POST", "/public").header("te", "trailers");
        let answer = ask.header("trailer", "x-up, x-user-id, authorization").body(body).send();
        assert_eq!((answer.text(), answer.trailers.len()), ("hi".to_owned(), 1), "{:?}", answer.trailers);
        assert_eq!(answer.trailers["x-sum"], "7");
        let arrived = std::mem::take(&mut *trailers.lock().expect("a lock"));
        assert_eq!((arrived.len(), arrived.get("x-up")), (1, Some(&HeaderValue::from_static("1"))));
    }
}

#[test]
fn large_bodies_pass_both_ways_without_losing_a_byte() {
    let backend = H2Backend::with(|mut call| async move {
        let count = call.rest().await.0.len();
        let mut reply = call.reply(Response::builder().header("x-count", count));
        reply.send(vec![b'x'; LARGE]);
        reply.end();
    });
    let gateway = Gateway::start(&before(&backend));
    for visitor in both(&gateway) {
        let download = visitor.ask("PUT", "/").body(Upload::Pattern(LARGE as u64)).stream();
        assert_eq!(download.headers["x-count"], LARGE.to_string().as_str());
        assert_eq!(download.count(), Ok(LARGE as u64));
    }
}

#[test]
fn answers_without_a_body_pass_as_they_are() {
    let backend = H2Backend::with(|call| async move {
        let head = Response::builder();
        let head = match call.head.uri.path() {
            "/204" => head.status(204).header("x-own", "1"),
            "/304" => head.status(304).header("etag", "\"a\""),
            "/206" => {
                return call.reply(head.status(206).header("content-range", "bytes 1-2/5")).data("el").end();
            }
            _ => head.header("content-length", "5"),
        };
        call.reply_bare(head);
    });
    let gateway = Gateway::start(&before(&backend));
    for visitor in both(&gateway) {
        let answer = visitor.get("/204");
        assert_eq!((answer.status, answer.header("x-own"), answer.body.len()), (204, "1", 0));
        let answer = visitor.ask("GET", "/304").header("if-none-match", "\"a\"").send();
        assert_eq!((answer.status, answer.header("etag")), (304, "\"a\""));
        let answer = visitor.ask("HEAD", "/head").send();
        assert_eq!((answer.status, answer.header("content-length"), answer.body.len()), (200, "5", 0));
        let answer = visitor.ask("GET", "/206").header("range", "bytes=1-2").send();
        assert_eq!(
            (answer.status, answer.header("content-range"), answer.text()),
            (206, "bytes 1-2/5", "el".to_owned())
        );
        let seen = backend.seen().pop().expect("a request");
        assert_eq!(seen.head.headers["range"], "bytes=1-2");
    }
}

#[test]
fn events_arrive_one_by_one_and_an_upload_before_it_ends() {
    let backend = H2Backend::with(|mut call| async move {
        let mut reply = call.begin_reply(Response::builder().header("content-type", "text/event-stream"));
        while let Some(piece) = call.piece().await {
            reply.send(piece);
        }
        reply.end();
    });
    let gateway = Gateway::start(&before(&backend).set("server.limits.body_stall", "'1s'"));
    for visitor in both(&gateway) {
        let (body, pieces) = Upload::in_pieces();
        pieces.send("first");
        // An answer that begins before the upload has ended, and goes on with it.
        let mut stream = visitor.ask("POST", "/").body(body).stream();
        assert_eq!(stream.piece().as_deref(), Some(&b"first"[..]));
        pieces.send("second");
        assert_eq!(stream.piece().as_deref(), Some(&b"second"[..]));
        drop(pieces);
        assert_eq!(stream.piece(), None);
    }
}

#[test]
fn an_early_answer_is_delivered_although_the_upload_never_ends() {
    let backend = H2Backend::with(|call| async move {
        call.reply(Response::builder().status(403)).data("no").end();
    });
    let gateway = Gateway::start(&before(&backend));
    for visitor in both(&gateway) {
        let (body, pieces) = Upload::in_pieces();
        pieces.send("begun");
        let mut stream = visitor.ask("POST", "/").body(body).stream();
        assert_eq!((stream.status, stream.piece().as_deref()), (403, Some(&b"no"[..])));
    }
    assert_eq!(gateway.visitor().get("/").status, 403);
}

#[test]
fn a_client_that_asks_whether_to_go_on_is_told_so() {
    let backend = H2Backend::with(|mut call| async move {
        let count = call.rest().await.0.len();
        call.reply(Response::builder().header("x-count", count)).end();
    });
    let gateway = Gateway::start(&before(&backend));
    let mut connection = gateway.raw();
    connection
        .write("POST / HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    assert_eq!(connection.exactly(25), b"HTTP/1.1 100 Continue\r\n\r\n");
    let answer = connection.write("hello").response();
    assert_eq!((answer.status, answer.header("x-count")), (200, "5"));
    assert!(!backend.seen()[0].head.headers.contains_key("expect"));
}

// gRPC

#[test]
fn a_unary_call_of_grpc_passes_with_its_status() {
    let backend = H2Backend::with(|mut call| async move {
        let (message, _) = call.rest().await;
        assert_eq!(call.head.headers["te"], "trailers");
        let head = Response::builder().header("content-type", GRPC);
        call.reply(head).data(message).trailers(&[("grpc-status", "0"), ("grpc-message", "fine")]);
    });
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    let caller = gateway.visitor().over_h2().signed_in_as("alice");
    let answer = calling(&caller, "/pkg.Service/Echo").body(Upload::text("\0\0\0\0\x02hi")).send();
    assert_eq!(
        (answer.status, answer.header("content-type"), answer.text()),
        (200, GRPC, "\0\0\0\0\x02hi".to_owned())
    );
    assert_eq!(
        (&answer.trailers["grpc-status"], &answer.trailers["grpc-message"]),
        (&"0".parse().unwrap(), &"fine".parse().unwrap())
    );
    let seen = backend.seen().pop().expect("a call");
    assert_eq!(
        (seen.head.uri.path(), &seen.head.headers["x-user-id"]),
        ("/pkg.Service/Echo", &"alice".parse().unwrap())
    );
}

#[test]
fn a_call_both_ways_streams_both_ways_and_may_be_silent() {
    let backend = H2Backend::with(|mut call| async move {
        let mut reply = call.begin_reply(Response::builder().header("content-type", GRPC));
        while let Some(piece) = call.piece().await {
            reply.send(piece);
        }
        reply.trailers(&[("grpc-status", "0")]);
    });
    let gateway = Gateway::start(&before(&backend).set("server.limits.body_stall", "'300ms'"));
    let caller = gateway.visitor().over_h2();
    let (body, pieces) = Upload::in_pieces();
    let mut stream = calling(&caller, "/chat").body(body).stream();
    for message in ["one", "two"] {
        pieces.send(message);
        assert_eq!(stream.piece().as_deref(), Some(message.as_bytes()));
        // Longer than a body may stall otherwise.
        thread::park_timeout(std::time::Duration::from_millis(700));
    }
    drop(pieces);
    assert_eq!(stream.trailers()["grpc-status"], "0");
}

#[test]
fn an_answer_of_trailers_alone_passes() {
    let backend = H2Backend::with(|call| async move {
        call.reply_bare(Response::builder().header("content-type", GRPC).header("grpc-status", "5"));
    });
    let gateway = Gateway::start(&before(&backend));
    let answer = calling(&gateway.visitor().over_h2(), "/none").send();
    assert_eq!((answer.status, answer.header("grpc-status"), answer.body.len()), (200, "5", 0));
}

// What goes wrong

#[test]
fn a_goodbye_lets_requests_end_and_sends_the_next_elsewhere() {
    let backend = H2Backend::with(|mut call| async move {
        if call.head.uri.path() == "/long" {
            call.say_goodbye();
            call.wait().await;
        }
        call.answer("hello");
    });
    let gateway = Gateway::start(&before(&backend));
    let long = asking_for(gateway.visitor(), "/long");
    eventually("the long request", || (backend.seen().len() == 1).then_some(()));
    for _ in 0..5 {
        assert_eq!(gateway.visitor().post("/short", "body").text(), "hello");
    }
    backend.release();
    assert_eq!(long.join().expect("an answer").text(), "hello");
    assert!(backend.seen().iter().skip(2).all(|seen| seen.connection > 0), "{:?}", backend.seen());
}

#[test]
fn what_was_refused_unread_is_sent_again_if_it_can_be_and_nothing_else_is() {
    for (reason, method, body, status, sent) in [
        (Reason::REFUSED_STREAM, "GET", "", 200, 2),
        (Reason::REFUSED_STREAM, "POST", "", 200, 2),
        (Reason::REFUSED_STREAM, "POST", "body", 502, 1),
        (Reason::INTERNAL_ERROR, "GET", "", 502, 1),
        (Reason::INTERNAL_ERROR, "POST", "", 502, 1),
    ] {
        let backend = H2Backend::with(move |call| async move {
            if call.number == 0 { call.reset(reason) } else { call.answer("hello") }
        });
        let gateway = Gateway::start(&before(&backend));
        let upload = if body.is_empty() { Upload::none() } else { Upload::text(body) };
        let answer = gateway.visitor().ask(method, "/").body(upload).send();
        assert_eq!((answer.status, backend.seen().len()), (status, sent), "{reason:?} {method} {body:?}");
    }
}

#[test]
fn a_server_that_refuses_everything_is_not_asked_for_ever() {
    let backend = H2Backend::with(|call| async move { call.reset(Reason::REFUSED_STREAM) });
    let gateway = Gateway::start(&before(&backend));
    assert_eq!(gateway.visitor().get("/").status, 502);
    assert_eq!(backend.seen().len(), 3);
}

#[test]
fn a_post_reaches_the_backend_at_most_once_however_its_connection_ends() {
    for ending in ["/hang-up", "/break-off"] {
        let backend = H2Backend::with(|mut call| async move {
            match call.head.uri.path() {
                "/hang-up" => call.hang_up(),
                "/break-off" => call.break_off(Reason::INTERNAL_ERROR),
                _ => return call.answer("hello"),
            }
            call.wait().await;
        });
        let gateway = Gateway::start(&before(&backend));
        let visitor = gateway.visitor();
        assert_eq!(visitor.get("/").status, 200);
        assert_eq!(visitor.ask("POST", ending).send().status, 502, "{ending}");
        assert_eq!(backend.paths(), ["/", ending]);
        assert_eq!(visitor.post("/", "body").status, 200, "the broken connection is not used again");
    }
}

#[test]
fn a_broken_connection_leaves_the_pool_at_once() {
    let backend = H2Backend::start();
    let gateway = Gateway::start(&before(&backend));
    let visitor = gateway.visitor();
    for _ in 0..5 {
        assert_eq!(visitor.post("/", "body").status, 200);
        backend.drop_connections();
        eventually("the end of the connection", || (backend.open_connections() == 0).then_some(()));
    }
    assert_eq!((backend.connections(), backend.seen().len()), (5, 5));
}

#[test]
fn a_request_that_is_not_answered_in_time_ends_alone() {
    let reset = Arc::new(Mutex::new(None));
    let noted = Arc::clone(&reset);
    let backend = H2Backend::with(move |mut call| {
        let noted = Arc::clone(&noted);
        async move {
            if call.head.uri.path() == "/silent" {
                *noted.lock().expect("a lock") = call.wait().await;
                return;
            }
            call.answer("hello");
        }
    });
    let gateway = Gateway::start(&setup("response_timeout = '500ms'; servers = ['URL']", &backend.url()));
    let visitor = gateway.visitor();
    let silent = asking_for(gateway.visitor(), "/silent");
    eventually("the silent request", || (backend.seen().len() == 1).then_some(()));
    assert_eq!(visitor.get("/").status, 200);
    assert_eq!(silent.join().expect("an answer").status, 504);
    assert_eq!(visitor.get("/").status, 200);
    eventually("the reset", || *reset.lock().expect("a lock"));
    assert_eq!((*reset.lock().expect("a lock"), backend.connections()), (Some(Reason::CANCEL), 1));
}

#[test]
fn a_client_that_leaves_ends_its_request_and_no_other() {
    let reset = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&reset);
    let backend = H2Backend::with(move |mut call| {
        let count = Arc::clone(&count);
        async move {
            let mut reply = call.begin_reply(Response::builder());
            reply.send("begun");
            if reply.is_reset().await.is_some() {
                count.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    let gateway = Gateway::start(&before(&backend));
    let [one, two] = both(&gateway);
    let mut stays = gateway.visitor().ask("GET", "/stays").stream();
    assert_eq!(stays.read(5), b"begun");
    for visitor in [one, two] {
        let before = reset.load(Ordering::SeqCst);
        let mut stream = visitor.ask("GET", "/").stream();
        assert_eq!(stream.read(5), b"begun");
        drop(stream);
        visitor.hang_up();
        eventually("the reset", || (reset.load(Ordering::SeqCst) == before + 1).then_some(()));
    }
    assert_eq!((backend.connections(), backend.open_connections()), (1, 1));
}

#[test]
fn an_answer_that_breaks_off_or_stalls_never_ends_cleanly() {
    let backend = H2Backend::with(|mut call| async move {
        let mut reply = call.begin_reply(Response::builder());
        reply.send("begun");
        call.wait().await;
        match call.head.uri.path() {
            "/reset" => reply.reset(Reason::INTERNAL_ERROR),
            "/hang-up" => call.hang_up(),
            _ => {
                reply.is_reset().await;
            }
        }
    });
    let gateway = Gateway::start(&before(&backend).set("server.limits.body_stall", "'300ms'"));
    for visitor in both(&gateway) {
        for path in ["/reset", "/hang-up", "/stall"] {
            let mut stream = visitor.ask("GET", path).stream();
            assert_eq!(stream.read(5), b"begun");
            if path != "/stall" {
                backend.release();
            }
            let ended = stream.count();
            assert!(ended.is_err(), "{path}: {ended:?}");
            visitor.hang_up();
        }
    }
}

#[test]
fn an_upload_that_is_too_long_or_stalls_is_refused_as_ever() {
    let backend = H2Backend::with(|mut call| async move {
        call.rest().await;
        call.wait().await;
    });
    let limited =
        before(&backend).set("server.limits.body_bytes", "'1KiB'").set("server.limits.body_stall", "'300ms'");
    let gateway = Gateway::start(&limited);
    for visitor in both(&gateway) {
        let (body, pieces) = Upload::in_pieces();
        pieces.send(vec![b'x'; 2048]);
        let status = visitor.ask("POST", "/").body(body).try_send().map(|answer| answer.status);
        assert_eq!(status, Ok(413));
        visitor.hang_up();
        let (body, _pieces) = Upload::in_pieces();
        let status = visitor.ask("POST", "/").body(body).try_send().map(|answer| answer.status);
        assert_eq!(status, Ok(408));
        visitor.hang_up();
    }
}

#[test]
fn a_head_that_is_too_long_is_no_answer() {
    let backend = H2Backend::with(|call| async move {
        let head = (0..9).fold(Response::builder(), |head, _| head.header("x-long", "x".repeat(8000)));
        call.reply_bare(head);
    });
    let gateway = Gateway::start(&before(&backend));
    assert_eq!(gateway.visitor().get("/").status, 502);
}

#[test]
fn a_server_that_does_not_speak_http_2_gets_no_request() {
    let backend = Backend::start();
    let gateway = Gateway::start(&setup("servers = ['URL']", &format!("h2c://{}", backend.authority())));
    assert_eq!(gateway.visitor().get("/").status, 502);
}

#[test]
fn a_server_that_says_it_is_ill_over_http_2_gets_nothing() {
    let ill = H2Backend::with(|call| async move {
        let status = if call.head.uri.path() == "/healthz" { 503 } else { 200 };
        call.reply(Response::builder().status(status)).end();
    });
    let well = H2Backend::start();
    let lines = format!(
        "balance = 'round-robin'; servers = ['URL', '{}']; \
         health = {{ path = '/healthz', every = '20ms', rise = 1, fall = 2 }}",
        ill.url()
    );
    let gateway = Gateway::start(&setup(&lines, &well.url()));
    let up = |url: &str| {
        gateway.metric(&format!("vestibule_upstream_server_up{{upstream=\"app\",server=\"{url}\"}}"))
    };
    eventually("the verdict", || (up(&ill.url()) == 0.0).then_some(()));
    for _ in 0..6 {
        assert_eq!(gateway.visitor().get("/page").text(), "hello");
    }
    assert!(up(&well.url()) > 0.0);
    assert!(!ill.paths().contains(&"/page".to_owned()));
}

// Over TLS

#[test]
fn what_is_spoken_over_tls_is_as_configured() {
    for (protocol, offered, agreed) in [
        ("http1", true, "http/1.1"),
        ("http2", true, "h2"),
        ("auto", true, "h2"),
        ("auto", false, "http/1.1"),
    ] {
        let (one, two, folder) = (Backend::start(), H2Backend::start(), house());
        let targets = [one.address(), two.address()];
        let front = if offered {
            TlsFront::by_protocol(targets, &folder, "backend")
        } else {
            TlsFront::of_http1(one.address(), &folder, "backend")
        };
        let gateway = over_tls(&front, folder, protocol);
        for _ in 0..3 {
            assert_eq!(gateway.visitor().get("/").text(), "hello", "{protocol}");
        }
        let handshakes = front.handshakes();
        assert!(handshakes.iter().all(|it| it.protocol == agreed), "{protocol}: {handshakes:?}");
        if agreed == "h2" {
            assert_eq!(two.seen()[0].head.uri.scheme_str(), Some("https"));
        }
    }
}

#[test]
fn a_server_that_must_speak_http_2_and_does_not_is_refused() {
    let (one, folder) = (Backend::start(), house());
    let front = TlsFront::of_http1(one.address(), &folder, "backend");
    let gateway = over_tls(&front, folder, "http2");
    assert_eq!(gateway.visitor().get("/").status, 502);
    assert!(one.saw_nothing());
}

#[test]
fn a_websocket_is_asked_for_over_http_1_1_where_the_server_has_the_choice() {
    let (one, two, folder) = (Backend::echoing_tunnel(), H2Backend::start(), house());
    let front = TlsFront::by_protocol([one.address(), two.address()], &folder, "backend");
    let gateway = over_tls(&front, folder, "auto");
    assert_eq!(gateway.visitor().get("/").text(), "hello");
    let mut socket = WebSocket::open(&gateway, &gateway.visitor(), "/ws").connection;
    assert_eq!(socket.write("ping").exactly(4), b"ping");
    assert_eq!((two.paths(), one.received().target()), (vec!["/".to_owned()], "/ws"));
}

#[test]
fn a_websocket_to_an_upstream_of_http_2_alone_is_not_possible() {
    let backend = H2Backend::start();
    let gateway = Gateway::start(&before(&backend));
    let (_, answer) = WebSocket::ask(&gateway, &gateway.visitor(), "/ws", "websocket");
    assert_eq!(answer.status, 501);
    assert!(backend.seen().is_empty());
    let (plain, other) = (Backend::echoing_tunnel(), H2Backend::start());
    let lines = format!("servers = ['URL', '{}', '{}']", other.url(), plain.url());
    let gateway = Gateway::start(&setup(&lines, &backend.url()));
    for _ in 0..3 {
        WebSocket::open(&gateway, &gateway.visitor(), "/ws");
    }
}

/// One worker, so that it is known which requests meet; everybody may see everything.
fn setup(lines: &str, url: &str) -> Setup {
    Setup::new()
        .set("server.workers", "1")
        .upstream_with("app", &lines.replace("URL", url))
        .route("path = '/'; upstream = 'app'; access = 'public'")
        .person(Person::named("alice"))
}

fn before(backend: &H2Backend) -> Setup {
    setup("servers = ['URL']", &backend.url())
}

/// Answers when it is told to, to so many requests at once on a connection.
fn waiting(streams: u32) -> H2Backend {
    H2Backend::limited(streams, |mut call| async move {
        if call.wait().await.is_none() {
            call.answer("hello");
        }
    })
}

fn asking(visitor: Client) -> thread::JoinHandle<Answer> {
    asking_for(visitor, "/")
}

fn asking_for(visitor: Client, target: &'static str) -> thread::JoinHandle<Answer> {
    thread::spawn(move || visitor.get(target))
}

fn calling<'a>(caller: &'a Client, method: &str) -> crate::harness::client::Ask<'a> {
    caller.ask("POST", method).header("te", "trailers").header("content-type", GRPC)
}

fn both(gateway: &Gateway) -> [Client; 2] {
    [gateway.visitor(), gateway.visitor().over_h2()]
}

fn house() -> Folder {
    let folder = Folder::new();
    folder.certificate("backend", &["backend.internal"], Validity::Current);
    folder.write_authority("ca.pem");
    folder
}

fn over_tls(front: &TlsFront, folder: Folder, protocol: &str) -> Gateway {
    let lines = format!(
        "protocol = '{protocol}'; servers = ['URL']; tls = {{ ca = 'ca.pem', server_name = 'backend.internal' }}"
    );
    Gateway::start_in(prepared(folder, &setup(&lines, &front.url())))
}

const GRPC: &str = "application/grpc";

const LARGE: usize = 16 << 20;
