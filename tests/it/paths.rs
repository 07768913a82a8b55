//! What a route does beside handing a request on: paths written anew, answers of its own, maintenance.

use crate::harness::people::Person;
use crate::harness::{Backend, Gateway, Setup};

#[test]
fn a_prefix_is_cut_off_and_another_put_before_the_rest() {
    let backend = Backend::start();
    let gateway = Gateway::start(&Setup::new().upstream("app", &backend.url()).routes(&[
        "path = '/'; upstream = 'app'; access = 'public'",
        "path = '/wiki'; upstream = 'app'; access = 'public'; strip_prefix = true",
        "path = '/v1'; upstream = 'app'; access = 'public'; add_prefix = '/app'",
        "path = '/a/b'; upstream = 'app'; access = 'public'; strip_prefix = '/a'; add_prefix = '/x/y'",
    ]));
    let visitor = gateway.visitor();
    for (asked, read, prefix) in [
        ("/other?x", "/other?x", ""),
        ("/wiki", "/", "/wiki"),
        ("/wiki/", "/", "/wiki"),
        ("/wiki?next=/wiki", "/?next=/wiki", "/wiki"),
        ("/wiki//a/./b%2D/../c", "/a/c", "/wiki"),
        ("/wiki/wiki/%c3%bc", "/wiki/%C3%BC", "/wiki"),
        ("/wikis", "/wikis", ""),
        ("/v1/x", "/app/v1/x", ""),
        ("/a/b", "/x/y/b", "/a"),
        ("/a/b/c?d", "/x/y/b/c?d", "/a"),
    ] {
        let forged = visitor.ask("GET", asked).header("x-forwarded-prefix", "/forged").send();
        assert_eq!(forged.status, 200, "{asked}");
        let received = backend.received();
        assert_eq!((received.target(), received.header("x-forwarded-prefix")), (read, prefix), "{asked}");
    }
}

#[test]
fn no_second_reading_leads_out_of_a_prefix_that_was_added_though_everybody_may_pass() {
    let backend = Backend::start();
    let setup = |keys: &str| {
        let route = format!("path = '/v1'; upstream = 'app'; access = 'public'{keys}");
        Setup::new().upstream("app", &backend.url()).route(&route)
    };
    let spellings =
        ["/v1/..%2fadmin", "/v1/%2e%2e%2fadmin", "/v1/..;/admin", "/v1/..%5cadmin", "/v1/%252e%252e/"];
    let gateway = Gateway::start(&setup("; add_prefix = '/app'"));
    for path in spellings {
        assert_eq!(gateway.visitor().get(path).status, 400, "{path}");
    }
    assert_eq!(gateway.visitor().get("/v1/../admin").status, 404);
    assert!(backend.saw_nothing());
    let gateway = Gateway::start(&setup(""));
    for path in spellings {
        assert_eq!(gateway.visitor().get(path).status, 200, "{path}");
    }
}

#[test]
fn the_rule_is_that_of_the_path_that_was_asked_for() {
    let backend = Backend::start();
    let gateway = Gateway::start(&Setup::new().upstream("app", &backend.url()).routes(&[
        "path = '/wiki'; upstream = 'app'; access = 'public'; strip_prefix = '/wiki'",
        "path = '/wiki/admin'; access = 'deny'",
        "path = '/admin'; access = 'deny'",
    ]));
    let visitor = gateway.visitor();
    assert_eq!([visitor.get("/wiki/admin").status, visitor.get("/wiki/%61dmin/x").status], [403, 403]);
    assert!(backend.saw_nothing());
    assert_eq!(visitor.get("/wiki/wiki/admin").status, 200);
    assert_eq!(backend.received().target(), "/wiki/admin");
}

#[test]
fn a_redirect_leads_where_the_route_says_and_carries_along_what_it_says() {
    let gateway = Gateway::start(&Setup::new().person(Person::named("alice")).routes(&[
        "path = '/plain'; access = 'public'; redirect = { to = 'https://new.test/start#top' }",
        "path = '/old'; access = 'public'; redirect = { to = 'https://new.test/w/', status = 308, keep_path = true }",
        "path = '/moved'; access = 'public'; redirect = { to = '/here', status = 301, keep_path = true }",
        "path = '/mine'; redirect = { to = '/home', status = 303 }",
        "upstream = 'builtin'",
    ]));
    let visitor = gateway.visitor();
    for (method, path, status, location) in [
        ("GET", "/plain/x?y", 307, "https://new.test/start#top"),
        ("GET", "/old", 308, "https://new.test/w/"),
        ("POST", "/old/a//b/?c=%2F&d", 308, "https://new.test/w/a/b/?c=%2F&d"),
        ("HEAD", "/moved/x", 301, "/here/x"),
        ("GET", "/moved?a", 301, "/here?a"),
    ] {
        let answer = visitor.ask(method, path).send();
        assert_eq!((answer.status, answer.location()), (status, location), "{path}");
        assert_eq!((answer.header("cache-control"), answer.text().as_str()), ("no-store", ""), "{path}");
        assert_eq!(answer.values("strict-transport-security").len(), 1, "{path}");
    }
    let asked = visitor.page("/mine");
    assert!(asked.asks_login(), "{}", asked.location());
    assert_eq!(visitor.get("/mine").status, 401);
    let alice = visitor.signed_in_as("alice").page("/mine/x");
    assert_eq!((alice.status, alice.location()), (303, "/home"));
}

#[test]
fn no_request_bends_a_redirect_to_another_host() {
    let gateway = Gateway::start(&Setup::new().routes(&[
        "path = '/old'; access = 'public'; redirect = { to = '/', keep_path = true }",
        "host = 'far.test'; access = 'public'; redirect = { to = 'https://new.test', keep_path = true }",
    ]));
    for host in ["localhost", "far.test"] {
        for path in [
            "/old//evil.test",
            "/old///evil.test/",
            "/old/%2fevil.test",
            "/old/%5cevil.test",
            "/old/\\evil.test",
            "/old/\\/evil.test",
            "/old/.//evil.test",
            "/old/%2e/%2e%2e/old//evil.test",
            "/old/x/..//evil.test",
            "/old/;//evil.test",
            "/old/@evil.test",
            "/old/.evil.test",
            "/old?//evil.test",
            "/old/%09/evil.test",
            "/old/%0d%0aLocation:%20https://evil.test",
            "/old/x%0aSet-Cookie:a=b",
        ] {
            let mut raw = gateway.raw();
            let answer = raw.write(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")).response();
            if answer.status == 400 {
                continue;
            }
            assert_eq!(answer.status, 307, "{path}");
            let location = answer.header("location");
            let is_local =
                location.starts_with('/') && !location.starts_with("//") && !location.starts_with("/\\");
            assert!(is_local || location.starts_with("https://new.test/"), "{path}: {location}");
            assert!(answer.values("set-cookie").is_empty() && answer.values("location").len() == 1, "{path}");
        }
    }
}

#[test]
fn a_fixed_answer_is_given_to_whom_the_route_lets_in_and_no_backend_is_asked() {
    let gateway = Gateway::start(&Setup::new().person(Person::named("alice")).routes(&[
        "path = '/gone'; access = 'public'; respond = { status = 410, body = 'It is gone.' }",
        "path = '/page'; access = 'public'; respond = { body = '<p>Hello', content_type = 'text/html' }",
        "path = '/empty'; access = 'public'; respond = { status = 204 }",
        "path = '/mine'; respond = { body = 'for you' }",
        "upstream = 'builtin'",
    ]));
    for visitor in [gateway.visitor(), gateway.visitor().over_h2()] {
        let gone = visitor.post("/gone/x?y", "a body");
        assert_eq!((gone.status, gone.text().as_str()), (410, "It is gone."));
        assert_eq!(gone.header("content-type"), "text/plain; charset=utf-8");
        assert_eq!(
            (gone.header("x-content-type-options"), gone.header("cache-control")),
            ("nosniff", "no-store")
        );
        let page = visitor.get("/page");
        assert_eq!((page.status, page.header("content-type")), (200, "text/html"));
        let head = visitor.ask("HEAD", "/page").send();
        assert_eq!((head.header("content-length"), head.text().as_str()), ("8", ""));
        let empty = visitor.get("/empty");
        assert_eq!((empty.status, empty.header("content-type")), (204, ""));
        assert_eq!(visitor.get("/mine").status, 401);
        assert_eq!(visitor.signed_in_as("alice").get("/mine").text(), "for you");
    }
    assert!(gateway.metric("vestibule_requests_total{outcome=\"fixed\",status=\"4xx\"}") >= 2.0);
}

#[test]
fn a_route_that_is_closed_for_maintenance_says_so_to_everybody_but_those_who_work_on_it() {
    let backend = Backend::start();
    let setup = |keys: &str| {
        Setup::in_front_of(&backend.url()).route(&format!("path = '/wiki'; upstream = 'app'; {keys}"))
    };
    let gateway = Gateway::start(&setup("access = 'login'"));
    let alice = gateway.visitor().signed_in_as("alice");
    assert_eq!(alice.get("/wiki").status, 200);
    let closed =
        "maintenance = { message = 'Back at <6> pm.', retry_after = '90s', networks = ['127.0.0.2'] }";
    setup(closed).write_to(&gateway.folder);
    assert!(gateway.reload().expect("a reload").contains("route"));
    backend.received();
    for visitor in [&alice, &gateway.visitor(), &gateway.visitor().over_h2()] {
        let page = visitor.page("/wiki/x?y=1");
        assert_eq!((page.status, page.header("retry-after")), (503, "90"));
        assert_eq!(page.header("cache-control"), "no-store");
        for part in
            ["We will be right back", "Back at &lt;6&gt; pm.", "Try again", "href=\"&#x2f;wiki&#x2f;x?y=1\""]
        {
            assert!(page.text().contains(part), "{part} is missing in {}", page.text());
        }
        let script = visitor.get("/wiki");
        assert_eq!(
            (script.status, script.header("retry-after"), script.error().as_str()),
            (503, "90", "maintenance")
        );
        assert!(script.json()["message"].as_str().is_some_and(|text| text.contains("Back at <6> pm.")));
        assert_eq!(visitor.get("/public").status, 200);
        backend.received();
    }
    assert!(backend.saw_nothing());
    let working = gateway.visitor().from("127.0.0.2");
    assert_eq!(working.get("/wiki").status, 401, "the rule of the route still holds");
    assert_eq!(working.signed_in_as("alice").get("/wiki").status, 200);
    setup("maintenance = true").write_to(&gateway.folder);
    gateway.reload().expect("a reload");
    let page = alice.page("/wiki");
    assert_eq!((page.status, page.header("retry-after")), (503, "300"));
    setup("maintenance = false").write_to(&gateway.folder);
    gateway.reload().expect("a reload");
    assert_eq!(alice.get("/wiki").status, 200);
}

#[test]
fn maintenance_asks_no_session_store() {
    let backend = Backend::start();
    let setup = Setup::in_front_of(&backend.url())
        .route("path = '/wiki'; upstream = 'app'; maintenance = true")
        .set("session.store", "'redis://127.0.0.1:1/'");
    let gateway = Gateway::start(&setup);
    let visitor = gateway.visitor();
    visitor.put_cookie("__Host-vestibule", "anything");
    assert_eq!(visitor.get("/wiki").error(), "maintenance");
}

#[test]
fn an_options_request_is_counted_down_and_answered_when_it_may_go_no_further() {
    let backend = Backend::start();
    let setup = Setup::in_front_of(&backend.url())
        .route("path = '/read'; upstream = 'app'; access = 'public'; methods = ['GET', 'OPTIONS']");
    let gateway = Gateway::start(&setup);
    for visitor in [gateway.visitor(), gateway.visitor().over_h2()] {
        let ask = |method: &str, path: &str, left: &str| {
            visitor.ask(method, path).header("max-forwards", left).send()
        };
        let answer = ask("OPTIONS", "/read", "0");
        assert_eq!((answer.status, answer.header("allow")), (204, "GET, OPTIONS"));
        let answer = ask("OPTIONS", "/public", "0");
        assert!(answer.status == 204 && answer.header("allow").contains("POST"), "{:?}", answer.headers);
        assert_eq!(ask("OPTIONS", "/", "0").status, 401, "who may not ask is told nothing");
        assert_eq!(ask("TRACE", "/public", "0").status, 405);
        assert!(backend.saw_nothing());
        for (method, left, expected) in [("OPTIONS", "2", "1"), ("OPTIONS", "x", "x"), ("GET", "0", "0")] {
            assert_eq!(ask(method, "/public", left).status, 200);
            assert_eq!(backend.received().header("max-forwards"), expected, "{method}");
        }
    }
}

#[test]
fn the_commands_show_what_a_route_does_with_requests() {
    let gateway = Gateway::start(&Setup::new().upstream("app", "http://127.0.0.1:1").routes(&[
        "path = '/wiki'; upstream = 'app'; access = 'public'; strip_prefix = '/wiki'; add_prefix = '/x'; repair = ['prefix', 'cookies']",
        "path = '/old'; access = 'public'; redirect = { to = 'https://new.test/', status = 308, keep_path = true }",
        "path = '/gone'; access = 'public'; respond = { status = 410 }",
        "path = '/shut'; upstream = 'app'; maintenance = { networks = ['10.0.0.0/8'] }; remove_headers = ['Server']; no_store = true",
    ]));
    let said = |arguments: &[&str]| gateway.folder.run(arguments).stdout;
    for (arguments, result) in [
        (&["https://a.test/wiki/a//b?c"][..], "forwarded without an identity, for /x/a/b?c"),
        (&["https://a.test/old/a?b"], "redirected with 308 to https://new.test/a?b"),
        (&["https://a.test/gone/x"], "answered with 410 by the route itself"),
        (&["https://a.test/shut"], "refused with 503: the route is closed for maintenance, whoever asks"),
        (&["https://a.test/shut", "--user", "bob", "--from", "10.0.0.1"], "forwarded as `bob`"),
        (&["https://a.test/wiki/..%2fx"], "refused with 400: the path holds an escaped slash"),
    ] {
        let told = said(&[&["explain", "GET"], arguments].concat());
        assert!(told.contains(&format!("result   {result}")), "{arguments:?}: {told}");
    }
    let told = said(&["explain", "GET", "https://a.test/wiki/a", "--json"]);
    assert!(told.contains("\"forwarded_for\": \"/x/a\""), "{told}");
    let told = said(&["check"]);
    for line in [
        "*/wiki  public -> app  strip: /wiki  add: /x  repair: prefix, cookie-secure, cookie-httponly, cookie-samesite\n",
        "*/old  public -> 308 https://new.test/\n",
        "*/gone  public -> 410\n",
        "*/shut  login -> app  closed for maintenance  without: server  no-store\n",
    ] {
        assert!(told.contains(line), "{line} is missing in {told}");
    }
}
