//! Who is asking, as the backend is told: never what a client says, never our own cookies.

use http::{HeaderMap, HeaderValue};

use crate::harness::backend::Received;
use crate::harness::client::SESSION_COOKIE;
use crate::harness::people::Person;
use crate::harness::{Backend, Client, Gateway, Setup, Upload};

#[test]
fn a_forged_identity_in_any_spelling_reaches_no_backend_on_any_route() {
    let backend = Backend::start();
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    let alice = gateway.visitor().signed_in_as("alice");
    let forged = FORGED.map(|name| [name, ": root\r\n"].concat()).concat();
    let session = format!("Cookie: {SESSION_COOKIE}={}\r\n", alice.session_cookie().expect("a session"));
    for (path, cookie, user) in [
        ("/", &*session, "alice"),
        ("/optional", &session, "alice"),
        ("/optional", "", ""),
        ("/public", "", ""),
    ] {
        let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{cookie}{forged}\r\n");
        assert_eq!(gateway.raw().write(head).response().status, 200, "{path}");
        assert_identity(&backend.received(), user);
    }
}

#[test]
fn a_forged_identity_reaches_no_backend_over_http_2() {
    let backend = Backend::start();
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    let alice = gateway.visitor().over_h2().signed_in_as("alice");
    for (visitor, path, user) in [(&alice, "/", "alice"), (&gateway.visitor().over_h2(), "/public", "")] {
        let ask = FORGED.iter().fold(visitor.ask("GET", path), |ask, name| ask.header(name, "root"));
        assert_eq!(ask.send().status, 200);
        assert_identity(&backend.received(), user);
    }
}

#[test]
fn a_connection_list_takes_nothing_away_that_the_gateway_says() {
    let backend = Backend::start();
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    let alice = gateway.visitor().signed_in_as("alice");
    let names =
        "X-User-Id, x-user-groups, X_User_Id, X-Forwarded-For, x-forwarded-proto, X-Request-Id, Via, Host";
    let answer = alice.ask("GET", "/").header("connection", names).header("x-user-id", "root").send();
    assert_eq!(answer.status, 200);
    let request = backend.received();
    assert_identity(&request, "alice");
    assert_eq!(request.header("x-user-groups"), "staff");
    assert_eq!(request.header("x-forwarded-for"), "127.0.0.1");
    assert_eq!(request.header("x-forwarded-proto"), "https");
    assert_eq!(request.header("x-request-id"), answer.header("x-request-id"));
    assert_eq!((request.header("via"), request.header("host")), ("1.1 vestibule", &*alice.authority()));
}

#[test]
fn a_trailer_tells_no_identity_and_the_others_pass() {
    let backend = Backend::start();
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    for visitor in [gateway.visitor(), gateway.visitor().over_h2()] {
        let visitor = visitor.signed_in_as("alice");
        let (body, pieces) = Upload::in_pieces();
        pieces.send("body");
        let mut trailers = HeaderMap::new();
        for name in FORGED.iter().chain(&["x-checksum"]) {
            let name = http::HeaderName::from_bytes(name.as_bytes()).expect("a name");
            trailers.append(name, HeaderValue::from_static("root"));
        }
        let list = format!("{}, x-checksum", FORGED.join(", "));
        pieces.trailers(trailers);
        assert_eq!(visitor.ask("POST", "/").header("trailer", &list).body(body).send().status, 200);
        let request = backend.received();
        assert_identity(&request, "alice");
        assert_eq!((&*request.body, &*request.trailers), (&b"body"[..], "x-checksum: root\r\n"));
    }
}

#[test]
fn an_upgrade_carries_the_identity_of_the_session_and_no_other() {
    let backend = Backend::echoing_tunnel();
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    let alice = gateway.visitor().signed_in_as("alice");
    let session = alice.session_cookie().expect("a session");
    for (path, cookie, user) in [("/", &*session, "alice"), ("/public", "x", "")] {
        let mut socket = gateway.raw();
        let head = socket
            .write(format!(
                "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, X-User-Id\r\n\
                 Upgrade: websocket\r\nX-User-Id: root\r\nx_user_id: root\r\nRemote-User: root\r\n\
                 Cookie: {SESSION_COOKIE}={cookie}; kept=1\r\n\r\n"
            ))
            .response();
        assert_eq!(head.status, 101, "{}", head.head);
        assert_eq!(socket.write("ping").exactly(4), b"ping");
        let request = backend.received();
        assert_identity(&request, user);
        assert_eq!(request.header("cookie"), "kept=1");
    }
}

#[test]
fn the_backend_learns_groups_name_and_address_of_who_has_them() {
    let backend = Backend::start();
    let zoe = Person::named("zoe")
        .in_group("staff")
        .in_group("admin")
        .called("Zoë Q")
        .with_email("zoe@example.org");
    let gateway =
        Gateway::start(&Setup::in_front_of(&backend.url()).person(zoe).person(Person::named("bob")));
    let zoe = gateway.visitor().signed_in_as("zoe");
    assert_eq!(zoe.get("/").status, 200);
    let request = backend.received();
    assert_eq!(request.header("x-user-id"), "zoe");
    let mut groups: Vec<_> = request.header("x-user-groups").split(',').collect();
    groups.sort_unstable();
    assert_eq!(groups, ["admin", "staff"]);
    assert_eq!((request.header("x-user-name"), request.header("x-user-email")), ("Zoë Q", "zoe@example.org"));
    let bob = gateway.visitor().signed_in_as("bob");
    let forged = bob
        .ask("GET", "/")
        .header("x-user-email", "root@x")
        .header("x_user_name", "R")
        .header("x-user-groups", "admin");
    assert_eq!(forged.send().status, 200);
    let request = backend.received();
    assert_eq!(request.header("x-user-id"), "bob");
    for name in ["x-user-groups", "x-user-name", "x-user-email"] {
        assert_eq!(request.folded(name), [""; 0], "{name}");
    }
}

#[test]
fn other_names_can_be_told_and_the_usual_ones_still_cannot_be_forged() {
    let backend = Backend::start();
    let setup = Setup::in_front_of(&backend.url())
        .set("identity.user", "'X-Who'")
        .set("identity.also", "['remote-user', 'x-webauth-user']");
    let gateway = Gateway::start(&setup);
    let alice = gateway.visitor().signed_in_as("alice");
    let forged = FORGED.iter().fold(alice.ask("GET", "/"), |ask, name| ask.header(name, "root"));
    assert_eq!(forged.header("x_who", "root").send().status, 200);
    let request = backend.received();
    for name in ["x-who", "remote-user", "x-webauth-user"] {
        assert_eq!(request.folded(name), ["alice"], "{name}");
    }
    assert_eq!(request.folded("x-user-id"), [""; 0]);
}

#[test]
fn our_cookies_stay_here_and_all_others_pass_byte_for_byte_in_their_order() {
    let backend = Backend::start();
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    let session = gateway.visitor().signed_in_as("alice").session_cookie().expect("a session");
    let ours = format!("{SESSION_COOKIE}={session}");
    for (path, sent, expected) in [
        (
            "/",
            format!("z=1; {ours}; a=\"x y\";; c; d=%7E ; __Host-vestibule-form=n; e==é"),
            "z=1; a=\"x y\";; c; d=%7E ; e==é",
        ),
        (
            "/",
            format!("{ours}; __host-vestibule=1; __Host-vestibulex=2; x__Host-vestibule=3"),
            "__host-vestibule=1; __Host-vestibulex=2; x__Host-vestibule=3",
        ),
        ("/", ours.clone(), ""),
        ("/public", format!("a=1;{ours};b=2"), "a=1;b=2"),
        ("/public", format!("{SESSION_COOKIE}=forged; a=1; __Host-vestibule-form="), "a=1"),
        ("/public", "a=1; a=2;a=1".to_owned(), "a=1; a=2;a=1"),
    ] {
        let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nCookie: {sent}\r\n\r\n");
        assert_eq!(gateway.raw().write(head).response().status, 200, "{sent}");
        assert_eq!(backend.received().header("cookie"), expected);
    }
}

#[test]
fn cookies_in_several_pieces_reach_the_backend_as_one_line() {
    let backend = Backend::start();
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    let alice = gateway.visitor().signed_in_as("alice");
    let session = format!("{SESSION_COOKIE}={}", alice.session_cookie().expect("a session"));
    let send = |visitor: &Client| {
        let ask = visitor.ask("GET", "/").header("cookie", "b=2").header("cookie", &session);
        assert_eq!(ask.header("cookie", "a=1; c").header("cookie", "b=3").send().status, 200);
        assert_eq!(backend.received().values("cookie"), ["b=2; a=1; c; b=3"]);
    };
    send(&alice);
    send(&alice.second_tab().over_h2());
}

#[test]
fn the_authorization_of_the_application_passes_untouched() {
    let backend = Backend::start();
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    let alice = gateway.visitor().signed_in_as("alice");
    assert_eq!(alice.ask("GET", "/").header("authorization", "Basic  YTpi=").send().status, 200);
    assert_eq!(backend.received().header("authorization"), "Basic  YTpi=");
}

/// Who the request says it comes from, in every spelling: `user` alone, or nobody.
#[track_caller]
fn assert_identity(request: &Received, user: &str) {
    let told: Vec<_> = Some(user).into_iter().filter(|user| !user.is_empty()).collect();
    assert_eq!(request.folded("x-user-id"), told, "{}", request.head);
    assert!(!request.head.contains("root"), "{}", request.head);
}

/// Names under which backends believe who is asking, or for what.
const FORGED: [&str; 26] = [
    "X-User-Id",
    "x-user-id",
    "X_USER_ID",
    "x_user-id",
    "x-User_Id",
    "X-User-Groups",
    "X_User_Groups",
    "X-User-Email",
    "x-user_email",
    "X-User-Name",
    "Remote-User",
    "REMOTE_USER",
    "X-Remote-User",
    "X-Forwarded-User",
    "x_forwarded_user",
    "X-Forwarded-Email",
    "X-Forwarded-Preferred-Username",
    "X-Auth-Request-User",
    "X-Auth-Request-Email",
    "X-WebAuth-User",
    "X-Original-URL",
    "x_original_url",
    "X-Rewrite-URL",
    "X_Rewrite-Url",
    "Proxy",
    "PROXY",
];
