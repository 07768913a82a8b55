//! WebSockets through the gateway.

use std::sync::mpsc::channel;
use std::time::Duration;

use serde_json::Value;

use crate::harness::legacy::LegacySocket;
use crate::harness::websocket::{Message, WebSocket};
use crate::harness::{After, Backend, Gateway, PATIENCE, Setup, eventually};

const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

#[test]
fn text_and_binary_come_back_as_they_were_sent() {
    let server = LegacySocket::start();
    let gateway = Gateway::start(&Setup::in_front_of(&server.url()));
    let visitor = gateway.visitor().signed_in_as("alice");
    let mut socket = WebSocket::open(&gateway, &visitor, "/ws");
    socket.say("Grüße");
    assert_eq!(socket.heard(), Message::Text("Grüße".to_owned()));
    for size in [0, 125, 126, 70_000, 1 << 20] {
        let bytes: Vec<u8> = (0..=250).cycle().take(size).collect();
        socket.send_binary(&bytes);
        assert_eq!(socket.heard(), Message::Binary(bytes));
    }
}

#[test]
fn the_server_sees_who_it_is_and_no_session_cookie() {
    let server = LegacySocket::start();
    let gateway = Gateway::start(&Setup::in_front_of(&server.url()));
    let visitor = gateway.visitor().signed_in_as("alice");
    let mut socket = WebSocket::open(&gateway, &visitor, "/ws/room%201?x=%2F&x=2");
    socket.say("target");
    assert_eq!(socket.heard(), Message::Text("/ws/room%201?x=%2F&x=2".to_owned()));
    socket.say("headers");
    let Message::Text(text) = socket.heard() else { panic!("no text") };
    let headers: Vec<(String, String)> = serde_json::from_str(&text).expect("pairs");
    let values = |name: &str| -> Vec<&str> {
        let found = headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str()).collect()
    };
    assert_eq!(values("x-user-id"), ["alice"]);
    assert_eq!(values("x-user-groups"), ["staff"]);
    assert_eq!(values("host"), [visitor.authority()]);
    assert_eq!(values("cookie"), [""; 0]);
    assert_eq!(values("x-forwarded-proto"), ["https"]);
}

#[test]
fn without_a_session_the_answer_is_401_and_nothing_reaches_the_backend() {
    let backend = Backend::echoing_tunnel();
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    let (_, answer) = WebSocket::ask(&gateway, &gateway.visitor(), "/ws", "websocket");
    assert_eq!(answer.status, 401);
    assert!(!answer.header("www-authenticate").is_empty());
    assert!(answer.header("upgrade").is_empty());
    let body: Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert!(body["login_url"].as_str().is_some_and(|url| url.contains("/.vestibule/login")), "{body}");
    assert!(backend.saw_nothing());
}

#[test]
fn a_user_of_another_group_gets_403() {
    let backend = Backend::echoing_tunnel();
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    let visitor = gateway.visitor().signed_in_as("alice");
    let (_, answer) = WebSocket::ask(&gateway, &visitor, "/admin/ws", "websocket");
    assert_eq!(answer.status, 403);
    assert!(backend.saw_nothing());
}

#[test]
fn an_idle_socket_outlives_every_time_limit_of_requests() {
    let backend = Backend::echoing_tunnel();
    let mut setup = Setup::in_front_of(&backend.url());
    for limit in ["handshake", "request_head", "keep_alive", "body_stall"] {
        setup = setup.set(&format!("server.limits.{limit}"), "'1s'");
    }
    let gateway = Gateway::start(&setup);
    let visitor = gateway.visitor().signed_in_as("alice");
    let mut connection = WebSocket::open(&gateway, &visitor, "/ws").connection;
    assert!(connection.stands_still_for(Duration::from_millis(1500)));
    assert_eq!(connection.write("still there").exactly(11), b"still there");
}

#[test]
fn a_close_with_its_code_reaches_the_client_and_ends_the_connection() {
    let server = LegacySocket::start();
    let gateway = Gateway::start(&Setup::in_front_of(&server.url()));
    let visitor = gateway.visitor().signed_in_as("alice");
    let mut socket = WebSocket::open(&gateway, &visitor, "/ws");
    socket.say("close 4321");
    assert_eq!(socket.heard(), Message::Close(4321));
    socket.connection.finish_writing();
    assert!(socket.connection.is_closed());
}

#[test]
fn a_socket_ends_with_its_backend() {
    let backend = Backend::closing_after(SWITCHING);
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    let visitor = gateway.visitor().signed_in_as("alice");
    assert!(WebSocket::open(&gateway, &visitor, "/ws").connection.is_closed());
}

#[test]
fn a_socket_ends_with_its_client() {
    let backend = Backend::echoing_tunnel();
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    let visitor = gateway.visitor().signed_in_as("alice");
    let socket = WebSocket::open(&gateway, &visitor, "/ws");
    assert_eq!(backend.open_connections(), 1);
    drop(socket);
    eventually("the end of the backend's connection", || (backend.open_connections() == 0).then_some(()));
}

#[test]
fn a_client_that_has_said_everything_still_hears_the_last_words() {
    let backend = Backend::with_head(|peer| {
        peer.write(SWITCHING);
        while let Some(bytes) = peer.read_some() {
            peer.write(bytes);
        }
        peer.write("last words");
        After::Close
    });
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    let visitor = gateway.visitor().signed_in_as("alice");
    let mut connection = WebSocket::open(&gateway, &visitor, "/ws").connection;
    connection.write("goodbye").finish_writing();
    assert_eq!(String::from_utf8_lossy(&connection.rest()), "goodbyelast words");
}

#[test]
fn a_backend_that_has_said_everything_still_hears_the_client() {
    let (sender, heard) = channel();
    let backend = Backend::with_head(move |peer| {
        peer.write(SWITCHING);
        peer.finish_writing();
        let mut text = Vec::new();
        while let Some(bytes) = peer.read_some() {
            text.extend(bytes);
        }
        sender.send(text).expect("a waiting test");
        After::Close
    });
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    let visitor = gateway.visitor().signed_in_as("alice");
    let mut connection = WebSocket::open(&gateway, &visitor, "/ws").connection;
    assert!(connection.is_closed());
    connection.write("are you there?").finish_writing();
    assert_eq!(heard.recv_timeout(PATIENCE).expect("what the backend heard"), b"are you there?");
}

#[test]
fn an_upgrade_to_another_protocol_is_an_ordinary_request() {
    let backend = Backend::start();
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    let visitor = gateway.visitor().signed_in_as("alice");
    for protocol in ["h2c", "TLS/1.0", "websocket2"] {
        let (_, answer) = WebSocket::ask(&gateway, &visitor, "/page", protocol);
        assert_eq!((answer.status, answer.text()), (200, "hello".to_owned()), "{protocol}");
        let request = backend.received();
        assert!(request.values("upgrade").is_empty(), "{}", request.head);
        assert!(!request.header("connection").to_ascii_lowercase().contains("upgrade"), "{}", request.head);
    }
}

#[test]
fn a_refused_upgrade_passes_as_an_ordinary_answer() {
    let backend = Backend::answering("HTTP/1.1 426 Upgrade Required\r\nContent-Length: 3\r\n\r\nno\n");
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    let visitor = gateway.visitor().signed_in_as("alice");
    let (_, answer) = WebSocket::ask(&gateway, &visitor, "/ws", "websocket");
    assert_eq!((answer.status, answer.text()), (426, "no\n".to_owned()));
}
