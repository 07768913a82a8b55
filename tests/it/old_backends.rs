//! Kindness to backends that do not know how they are reached, and protection from what they say.

use crate::harness::legacy::Legacy;
use crate::harness::people::Person;
use crate::harness::{After, Answer, Backend, Gateway, Setup};

#[test]
fn addresses_of_the_backend_itself_become_those_that_a_browser_can_follow() {
    let backend = answering_with("location");
    let setup = Setup::new()
        .upstream("app", &backend.url())
        .upstream_with("told", &format!("servers = ['{}']; host = 'told.internal:81'", backend.url()))
        .routes(&[
            "path = '/as-is'; upstream = 'app'; access = 'public'",
            "path = '/wiki'; upstream = 'app'; access = 'public'; repair = ['location', 'prefix']; strip_prefix = '/wiki'; add_prefix = '/app'",
            "path = '/told'; upstream = 'told'; access = 'public'; repair = ['location']",
            "path = '/'; upstream = 'app'; access = 'public'; repair = ['prefix']; add_prefix = '/app'",
        ]);
    let gateway = Gateway::start(&setup);
    let visitor = gateway.visitor();
    let own = visitor.authority();
    let location = |path: &str, location: &str| {
        let answer = visitor.ask("GET", path).header("x-answer", location).send();
        answer.header("location").to_owned()
    };
    for (path, from, to) in [
        ("/as-is", format!("http://{own}/x"), format!("http://{own}/x")),
        ("/wiki", format!("http://{own}/app/x?y"), format!("https://{own}/wiki/x?y")),
        ("/wiki", "http://localhost/app".to_owned(), format!("https://{own}/wiki")),
        ("/wiki", "/app/x".to_owned(), "/wiki/x".to_owned()),
        ("/", "/app/x".to_owned(), "/x".to_owned()),
        ("/", "/app//evil.test/".to_owned(), "/app//evil.test/".to_owned()),
        ("/", "/app/\\evil.test/".to_owned(), "/app/\\evil.test/".to_owned()),
        ("/", "/app/\t/evil.test/".to_owned(), "/app/\t/evil.test/".to_owned()),
        ("/wiki", "/elsewhere".to_owned(), "/elsewhere".to_owned()),
        ("/wiki", "http://other.test/app/".to_owned(), "http://other.test/app/".to_owned()),
        ("/wiki", "x/y".to_owned(), "x/y".to_owned()),
        ("/told", "http://told.internal:81/x".to_owned(), format!("https://{own}/x")),
        ("/told", "http://told.internal/x".to_owned(), "http://told.internal/x".to_owned()),
    ] {
        assert_eq!(location(path, &from), to, "{path} {from}");
    }
}

#[test]
fn cookies_get_what_they_lack_and_stay_apart_byte_for_byte() {
    let backend = answering_with("set-cookie");
    let gateway = Gateway::start(&Setup::new().upstream("app", &backend.url()).routes(&[
        "path = '/as-is'; upstream = 'app'; access = 'public'",
        "path = '/all'; upstream = 'app'; access = 'public'; repair = ['cookies']",
        "path = '/secure'; upstream = 'app'; access = 'public'; repair = ['cookie-secure']",
        "path = '/wiki'; upstream = 'app'; access = 'public'; repair = ['prefix']; strip_prefix = '/wiki'",
    ]));
    let sent =
        ["b=\"1, 2\" ; Expires=Thu, 01 Jan 2099 00:00:00 GMT;Path=/", "a=1; secure; SameSite=None", "b=3"];
    for (path, expected) in [
        ("/as-is", sent.map(str::to_owned)),
        (
            "/all",
            [
                format!("{}; Secure; HttpOnly; SameSite=Lax", sent[0]),
                format!("{}; HttpOnly", sent[1]),
                format!("{}; Secure; HttpOnly; SameSite=Lax", sent[2]),
            ],
        ),
        ("/secure", [format!("{}; Secure", sent[0]), sent[1].to_owned(), format!("{}; Secure", sent[2])]),
        ("/wiki", [sent[0].replace("Path=/", "Path=/wiki"), sent[1].to_owned(), sent[2].to_owned()]),
    ] {
        for visitor in [gateway.visitor(), gateway.visitor().over_h2()] {
            let answer = visitor.ask("GET", path).header("x-answer", &sent.join("|")).send();
            assert_eq!(answer.values("set-cookie"), expected, "{path}");
        }
    }
}

#[test]
fn no_backend_sets_a_cookie_of_the_gateway() {
    let backend = answering_with("set-cookie");
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    let alice = gateway.visitor().signed_in_as("alice");
    let mine = alice.session_cookie();
    for line in [
        "__Host-vestibule=stolen; Path=/; Secure",
        " __Host-vestibule = stolen; Path=/; Secure",
        "__Host-vestibule=; Max-Age=0; Path=/; Secure",
        "__Host-vestibule-3=stolen; Path=/; Secure",
        "=__Host-vestibule=stolen; Path=/; Secure",
        "__Host-vestibule",
        "__Host-vestibule-form=known; Path=/; Secure",
        "__Host-vestibule-device=known; Path=/; Secure",
    ] {
        for path in ["/", "/public", "/optional"] {
            let answer = alice.ask("GET", path).header("x-answer", &format!("a=1|{line}|b=2")).send();
            assert_eq!(answer.values("set-cookie"), ["a=1", "b=2"], "{path} {line}");
        }
    }
    for line in ["__Host-vestibules=1; Path=/; Secure", "x=__Host-vestibule=1", "__host-vestibule=1"] {
        let answer = alice.ask("GET", "/public").header("x-answer", line).send();
        assert_eq!(answer.values("set-cookie"), [line]);
    }
    assert!(mine.is_some() && alice.session_cookie() == mine);
}

#[test]
fn headers_that_nobody_needs_to_see_are_taken_away() {
    let backend = Backend::answering(CHATTY);
    let setup = Setup::in_front_of(&backend.url())
        .set("headers.remove", "['Server', 'x-powered-by']")
        .route("path = '/quiet'; upstream = 'app'; access = 'public'; remove_headers = ['X-Runtime']");
    let gateway = Gateway::start(&setup);
    for (path, runtime) in [("/public", "1"), ("/quiet", "")] {
        let answer = gateway.visitor().get(path);
        assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
        let found = ["server", "x-powered-by", "x-runtime"].map(|name| answer.header(name).to_owned());
        assert_eq!(found, ["", "", runtime].map(str::to_owned), "{path}");
    }
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    assert_eq!(gateway.visitor().get("/public").values("server"), ["old/1.0"]);
}

#[test]
fn what_identified_users_get_is_kept_by_no_cache_where_that_is_wanted() {
    let backend = Backend::answering(CACHED);
    let setup = Setup::in_front_of(&backend.url())
        .set("headers.no_store", "true")
        .route("path = '/files'; upstream = 'app'; no_store = false");
    let gateway = Gateway::start(&setup);
    let (guest, alice) = (gateway.visitor(), gateway.visitor().signed_in_as("alice"));
    let told = |answer: &Answer| {
        ["cache-control", "expires", "cdn-cache-control"].map(|name| answer.values(name).join("|"))
    };
    let as_sent = KEPT.map(str::to_owned);
    let never = ["no-store", "", ""].map(str::to_owned);
    for (who, path, expected) in [
        (&alice, "/", &never),
        (&alice, "/optional", &never),
        (&guest, "/optional", &as_sent),
        (&alice, "/public", &as_sent),
        (&alice, "/files", &as_sent),
    ] {
        assert_eq!(&told(&who.get(path)), expected, "{path}");
    }
    let setup =
        Setup::in_front_of(&backend.url()).route("path = '/files'; upstream = 'app'; no_store = true");
    let gateway = Gateway::start(&setup);
    let alice = gateway.visitor().signed_in_as("alice");
    assert_eq!([told(&alice.get("/files")), told(&alice.get("/"))], [never, as_sent]);
}

#[test]
fn an_answer_that_carries_a_cookie_of_ours_is_kept_by_no_cache_of_any_kind() {
    let backend = Backend::answering(CACHED);
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()).set("session.anonymous", "true"));
    let visitor = gateway.visitor();
    for cookies in [true, false] {
        let answer = visitor.get("/public");
        let told =
            ["cache-control", "expires", "cdn-cache-control"].map(|name| answer.values(name).join("|"));
        assert_eq!(!answer.values("set-cookie").is_empty(), cookies);
        let expected = if cookies { ["no-store", "", ""] } else { KEPT };
        assert_eq!(told, expected);
    }
}

#[test]
fn a_header_that_gunicorn_would_not_take_is_named_before_gunicorn_refuses_it() {
    let legacy = Legacy::start();
    let before = Gateway::start(&Setup::in_front_of(&legacy.url()));
    let setup = Setup::new()
        .upstream_with("app", &format!("servers = ['{}']; max_header_line = '8190B'", legacy.url()))
        .route("upstream = 'app'; access = 'public'");
    let gateway = Gateway::start(&setup);
    let line = |size: usize| "c".repeat(size - "x-long: \r\n".len());
    let status = |gateway: &Gateway, size: usize| {
        let visitor = gateway.visitor();
        visitor.ask("GET", "/whoami").header("x-long", &line(size)).send()
    };
    let public = |gateway: &Gateway, size: usize| {
        gateway.visitor().ask("GET", "/public").header("x-long", &line(size)).send().status
    };
    assert!([400, 431].contains(&public(&before, 8191)), "what gunicorn says, by its version");
    assert_eq!(status(&gateway, 8190).status, 200);
    let refused = status(&gateway, 8191);
    assert_eq!((refused.status, refused.error().as_str()), (431, "header_too_large_for_backend"));
    let message = refused.json()["message"].to_string();
    assert!(message.contains("The largest is x-long.") && !message.contains("ccc"), "{message}");
}

#[test]
fn the_largest_part_of_a_head_is_named_and_never_its_value() {
    let backend = Backend::start();
    let upstream = format!("servers = ['{}']; max_header_bytes = '2KiB'", backend.url());
    let groups = (0..40)
        .fold(Person::named("ada"), |ada, number| ada.in_group(&format!("a-long-group-{number}-{GROUP}")));
    let gateway = Gateway::start(
        &Setup::new()
            .upstream_with("app", &upstream)
            .person(groups)
            .routes(&["upstream = 'app'", "path = '/public'; upstream = 'app'; access = 'public'"]),
    );
    let visitor = gateway.visitor();
    let page =
        visitor.ask("GET", "/public").as_page().header("cookie", &format!("a={}", "s".repeat(2000))).send();
    assert_eq!(page.status, 431);
    for part in ["The largest is cookie.", "Delete the cookies"] {
        assert!(page.text().contains(part), "{part} is missing in {}", page.text());
    }
    assert!(!page.text().contains("ssss"));
    let long = visitor.get(&format!("/public/{}", "p".repeat(2000)));
    assert_eq!((long.status, long.error().as_str()), (414, "target_too_long"));
    let ada = gateway.visitor().signed_in_as("ada");
    assert!(ada.get("/public").status == 200 && ada.get("/").status == 431, "identity headers count");
    let message = ada.get("/").json()["message"].to_string();
    assert!(
        message.contains("The largest is x-user-groups.") && message.contains("Ask the people"),
        "{message}"
    );
}

#[test]
fn a_head_that_fits_to_the_byte_is_sent() {
    let backend = Backend::start();
    let setup = |limit: usize| {
        let upstream = format!("servers = ['{}']; max_header_bytes = '{limit}B'", backend.url());
        Setup::new().upstream_with("app", &upstream).route("upstream = 'app'; access = 'public'")
    };
    let size = |gateway: &Gateway| {
        assert_eq!(gateway.visitor().at("localhost").get("/x").status, 200);
        backend.received().head.len() + "\r\n\r\n".len()
    };
    let exact = size(&Gateway::start(&setup(8192)));
    assert_eq!(size(&Gateway::start(&setup(exact))), exact);
    assert_eq!(Gateway::start(&setup(exact - 1)).visitor().get("/x").status, 431);
}

/// Answers with what the request says in `X-Answer`, as one header line for each piece between `|`.
fn answering_with(name: &'static str) -> Backend {
    Backend::with(move |peer| {
        let head = &peer.request.head;
        let wanted = head.lines().find_map(|line| line.strip_prefix("x-answer: ")).unwrap_or_default();
        let lines: Vec<_> = wanted.split('|').map(|value| format!("{name}: {value}\r\n")).collect();
        peer.write(format!("HTTP/1.1 200 OK\r\n{}Content-Length: 2\r\n\r\nok", lines.concat()));
        After::KeepAlive
    })
}

const GROUP: &str = "of-people-who-are-in-very-many-groups";

const CHATTY: &str = "HTTP/1.1 200 OK\r\nServer: old/1.0\r\nX-Powered-By: PHP/5\r\nx-powered-by: more\r\n\
    X-Runtime: 1\r\nContent-Length: 5\r\n\r\nhello";

const CACHED: &str = "HTTP/1.1 200 OK\r\nCache-Control: public, max-age=60\r\nExpires: Thu, 01 Jan 2099 00:00:00 GMT\r\n\
    CDN-Cache-Control: max-age=9\r\nContent-Length: 5\r\n\r\nhello";

/// What [`CACHED`] says to caches.
const KEPT: [&str; 3] = ["public, max-age=60", "Thu, 01 Jan 2099 00:00:00 GMT", "max-age=9"];
