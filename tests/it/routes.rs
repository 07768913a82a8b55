//! Which request meets which rule, and what happens then.

use crate::harness::client::LOGIN;
use crate::harness::form::unescape;
use crate::harness::{Answer, Backend, Client, Gateway, PASSWORD, Setup};

#[test]
fn a_page_load_without_a_session_is_sent_to_the_login_page_and_back() {
    let backend = Backend::start();
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    let visitor = gateway.visitor();
    let answer = visitor.page("/some/page?x=1");
    assert_eq!(answer.status, 303);
    assert_eq!(answer.location(), "/.vestibule/login?next=/some/page%3Fx%3D1");
    let visitor = visitor.signed_in_as("alice");
    assert_eq!(visitor.page("/some/page?x=1").status, 200);
    assert_eq!(backend.received().header("x-user-id"), "alice");
}

#[test]
fn the_longest_path_prefix_wins_on_segment_borders_whatever_the_order() {
    let backend = Backend::start();
    let gateway = Gateway::start(&signposts(&backend, &["short", "root", "long"]).routes(&[
        "path = '/a'; upstream = 'short'; access = 'public'",
        "path = '/'; upstream = 'root'; access = 'public'",
        "path = '/a/b/'; upstream = 'long'; access = 'public'",
    ]));
    let visitor = gateway.visitor();
    for (path, upstream) in [
        ("/", "root"),
        ("/ab", "root"),
        ("/b/a", "root"),
        ("/A/b", "root"),
        ("/a", "short"),
        ("/a?b=/a/b", "short"),
        ("/a/", "short"),
        ("/a/bc", "short"),
        ("/a/c/a/b", "short"),
        ("/a/b", "long"),
        ("/a/b/c", "long"),
        ("/%61/%62", "long"),
        ("//a//b", "long"),
        ("/x/../a/./b", "long"),
        ("/a/b/..", "short"),
    ] {
        assert_eq!(visitor.get(path).status, 200, "{path}");
        assert_eq!(backend.received().header("host"), upstream, "{path}");
    }
}

#[test]
fn the_exact_host_comes_before_the_longest_wildcard_and_that_before_any_host() {
    let backend = Backend::start();
    let gateway = Gateway::start(&signposts(&backend, &["exact", "near", "far", "any"]).routes(&[
        "upstream = 'any'; access = 'public'",
        "host = '*.test'; upstream = 'far'; access = 'public'",
        "host = '*.b.test'; upstream = 'near'; access = 'public'",
        "host = 'a.b.test'; path = '/exact'; upstream = 'exact'; access = 'public'",
    ]));
    // Without a name in the handshake, every host may be asked for.
    let visitor = gateway.visitor().at("127.0.0.1");
    for (host, path, upstream) in [
        ("a.b.test", "/exact", "exact"),
        ("A.B.Test:8443", "/exact", "exact"),
        ("a.b.test.", "/exact", "exact"),
        ("a.b.test", "/", "near"),
        ("x.y.b.test", "/", "near"),
        ("b.test", "/", "far"),
        ("xb.test", "/", "far"),
        ("test", "/", "any"),
        ("atest", "/exact", "any"),
        ("a.b.test.example", "/exact", "any"),
        ("127.0.0.1", "/", "any"),
        ("[::1]:8443", "/", "any"),
    ] {
        assert_eq!(visitor.ask("GET", path).header("host", host).send().status, 200, "{host}{path}");
        assert_eq!(backend.received().header("host"), upstream, "{host}{path}");
    }
}

#[test]
fn where_no_route_leads_there_is_nothing_not_even_for_people_who_are_signed_in() {
    let backend = Backend::start();
    let setup = Setup::in_front_of(&backend.url());
    let gateway = Gateway::start(&signposts(&backend, &["known"]).routes(&[
        "host = 'known.test'; path = '/app'; upstream = 'known'; access = 'public'",
        "host = '*.wild.test'; upstream = 'known'; access = 'public'",
    ]));
    let visitor = gateway.visitor();
    for (host, path) in
        [("known.test", "/"), ("known.test", "/apple"), ("wild.test", "/"), ("localhost", "/")]
    {
        let page = visitor.ask("GET", path).as_page().header("host", host).send();
        assert_eq!((page.status, page.header("content-type")), (404, "text/html; charset=utf-8"));
        let script = visitor.ask("POST", path).header("host", host).send();
        assert_eq!((script.status, script.error().as_str()), (404, "not_found"));
    }
    let gateway = Gateway::start(&setup);
    let alice = gateway.visitor().signed_in_as("alice");
    assert_eq!(alice.get("/.vestibule/no-such-page").status, 404);
    assert!(backend.saw_nothing());
}

#[test]
fn each_kind_of_access_lets_in_whom_it_names() {
    let backend = Backend::start();
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    let guest = gateway.visitor();
    let alice = gateway.visitor().signed_in_as("alice");
    let ada = gateway.visitor().signed_in_as("ada");
    for (path, as_guest, as_alice, as_ada) in [
        ("/", 401, 200, 200),
        ("/public", 200, 200, 200),
        ("/optional", 200, 200, 200),
        ("/admin/users", 401, 403, 200),
        ("/closed", 403, 403, 403),
    ] {
        let found = [&guest, &alice, &ada].map(|who| who.get(path).status);
        assert_eq!(found, [as_guest, as_alice, as_ada], "{path}");
    }
}

#[test]
fn an_optional_route_tells_who_is_signed_in_and_a_public_one_does_not() {
    let backend = Backend::start();
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    let guest = gateway.visitor();
    let alice = gateway.visitor().signed_in_as("alice");
    for (who, path, user) in [
        (&guest, "/optional", ""),
        (&alice, "/optional", "alice"),
        (&guest, "/public", ""),
        (&alice, "/public", ""),
    ] {
        assert_eq!(who.get(path).status, 200);
        assert_eq!(backend.received().header("x-user-id"), user, "{path}");
    }
}

#[test]
fn a_route_that_names_users_and_groups_lets_either_in() {
    let backend = Backend::start();
    let setup = Setup::in_front_of(&backend.url())
        .route("path = '/users'; upstream = 'app'; users = ['ada']")
        .route("path = '/both'; upstream = 'app'; users = ['ada']; groups = ['staff']")
        .route("path = '/others'; upstream = 'app'; users = ['eve']; groups = ['sta', 'staffs']");
    let gateway = Gateway::start(&setup);
    let alice = gateway.visitor().signed_in_as("alice");
    let ada = gateway.visitor().signed_in_as("ada");
    for (path, as_alice, as_ada) in [("/users", 403, 200), ("/both", 200, 200), ("/others", 403, 403)] {
        assert_eq!([alice.get(path).status, ada.get(path).status], [as_alice, as_ada], "{path}");
    }
}

#[test]
fn another_method_than_the_route_takes_is_answered_with_those_it_takes() {
    let backend = Backend::start();
    let setup = Setup::in_front_of(&backend.url())
        .route("path = '/read'; upstream = 'app'; methods = ['GET', 'HEAD', 'PROPFIND']");
    let gateway = Gateway::start(&setup);
    let alice = gateway.visitor().signed_in_as("alice");
    for method in ["GET", "HEAD", "PROPFIND"] {
        assert_eq!(alice.ask(method, "/read/x").send().status, 200);
        assert_eq!(backend.received().method(), method);
    }
    for method in ["POST", "DELETE", "OPTIONS", "get", "X-OWN"] {
        for visitor in [&alice, &gateway.visitor()] {
            let answer = visitor.ask(method, "/read/x").send();
            assert_eq!((answer.status, answer.header("allow")), (405, "GET, HEAD, PROPFIND"), "{method}");
            assert_eq!(answer.error(), "method_not_allowed");
        }
    }
    assert!(backend.saw_nothing());
}

#[test]
fn a_route_with_networks_looks_at_the_real_address_of_the_client() {
    let backend = Backend::start();
    let setup = Setup::in_front_of(&backend.url()).set("server.trusted_proxies", "['127.0.0.9']").route(
        "path = '/office'; upstream = 'app'; access = 'public'; networks = ['127.0.0.2', '10.0.0.0/8']",
    );
    let gateway = Gateway::start(&setup);
    let from = |address: &str, claim: &str| {
        let visitor = gateway.visitor().from(address);
        let ask = visitor.ask("GET", "/office");
        if claim.is_empty() { ask.send() } else { ask.header("x-forwarded-for", claim).send() }.status
    };
    assert_eq!(from("127.0.0.2", ""), 200);
    assert_eq!(from("127.0.0.1", ""), 403);
    assert_eq!(from("127.0.0.1", "10.1.2.3"), 403, "nobody believes a stranger");
    assert_eq!(from("127.0.0.9", "10.1.2.3"), 200);
    assert_eq!(from("127.0.0.9", "10.1.2.3, 192.0.2.1"), 403, "the rightmost is the one that was seen");
    assert_eq!(backend.requests(), 2);
}

#[test]
fn a_page_load_of_any_browser_without_a_session_is_a_redirect() {
    let backend = Backend::start();
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    let visitor = gateway.visitor();
    for method in ["GET", "HEAD"] {
        for answer in [
            visitor.ask(method, "/a").as_page().send(),
            visitor.ask(method, "/a").header("accept", "text/html").send(),
            visitor.ask(method, "/a").header("accept", "*/*").header("sec-fetch-mode", "navigate").send(),
        ] {
            assert_eq!((answer.status, answer.location()), (303, "/.vestibule/login?next=/a"), "{method}");
        }
    }
    assert_eq!(gateway.visitor().over_h2().page("/a").status, 303);
    assert!(backend.saw_nothing());
}

#[test]
fn everything_else_without_a_session_is_a_401_in_json_and_never_a_redirect() {
    let backend = Backend::start();
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    let visitor = gateway.visitor();
    let over_h2 = gateway.visitor().over_h2();
    for answer in [
        visitor.get("/api"),
        over_h2.get("/api"),
        visitor.ask("GET", "/api").header("accept", "text/html").header("sec-fetch-mode", "cors").send(),
        visitor.ask("POST", "/api").as_page().send(),
        visitor.ask("DELETE", "/api").send(),
        visitor.ask("OPTIONS", "/api").header("accept", "application/json").send(),
        websocket(&visitor, "/api"),
    ] {
        assert_eq!(answer.status, 401);
        assert_eq!(answer.header("content-type"), "application/json");
        assert!(!answer.header("www-authenticate").is_empty() && answer.location().is_empty());
        assert_eq!(
            (answer.error().as_str(), answer.json()["login_url"].as_str()),
            ("login_required", Some(LOGIN))
        );
    }
    assert!(backend.saw_nothing());
}

#[test]
fn somebody_who_may_not_pass_reads_who_they_are_and_how_to_switch() {
    let backend = Backend::start();
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    let alice = gateway.visitor().signed_in_as("alice");
    let page = alice.page("/admin?tab=2");
    assert_eq!((page.status, page.header("content-type")), (403, "text/html; charset=utf-8"));
    assert!(page.text().contains("<strong>alice</strong>"), "{}", page.text());
    assert!(unescape(&page.text()).contains("/.vestibule/login?next=/admin%3Ftab%3D2"), "{}", page.text());
    for answer in [alice.get("/admin"), alice.post("/admin", "x"), websocket(&alice, "/admin")] {
        assert_eq!((answer.status, answer.error().as_str()), (403, "forbidden"));
        assert_eq!(answer.header("content-type"), "application/json");
    }
    assert!(backend.saw_nothing());
}

#[test]
fn somebody_who_may_not_pass_never_runs_in_circles_through_the_login() {
    let backend = Backend::start();
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    let visitor = gateway.visitor();
    let answer = visitor.try_login("/admin", "alice", PASSWORD);
    assert_eq!((answer.status, answer.location()), (303, "/admin"));
    let page = visitor.page("/admin");
    assert_eq!((page.status, page.location()), (403, ""));
    let page = visitor.page("/.vestibule/login?next=/admin");
    assert_eq!(
        (page.status, page.location()),
        (200, ""),
        "who is signed in is asked before anything happens"
    );
    // The way out: sign out here, and come back as somebody else.
    let left = visitor.submit(&page.form(), LOGIN);
    assert_eq!(left.status, 303);
    assert!(visitor.page("/admin").asks_login());
    let answer = visitor.try_login("/admin", "ada", PASSWORD);
    assert_eq!((answer.status, answer.location()), (303, "/admin"));
    assert_eq!(visitor.page("/admin").status, 200);
    assert_eq!(backend.received().header("x-user-id"), "ada");
}

/// Asks for a WebSocket as a browser does.
fn websocket(visitor: &Client, path: &str) -> Answer {
    visitor
        .ask("GET", path)
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("sec-fetch-mode", "websocket")
        .send()
}

/// One upstream for each name; the backend sees the name of the one that was chosen as its host.
fn signposts(backend: &Backend, names: &[&str]) -> Setup {
    names.iter().fold(Setup::new(), |setup, name| {
        setup.upstream_with(name, &format!("servers = ['{}']; host = '{name}'", backend.url()))
    })
}
