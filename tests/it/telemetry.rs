//! What the gateway says of itself, and what it never says.

use std::time::Duration;

use serde_json::Value;

use crate::harness::assumptions::event;
use crate::harness::client::{LOGIN, SESSION_COOKIE};
use crate::harness::frames::{DATA, frame};
use crate::harness::{Backend, Frames, Gateway, PASSWORD, Setup, Upload, eventually};

#[test]
fn every_request_is_one_line_of_text() {
    let backend = Backend::start();
    let gateway = Gateway::spawn(&logged(&backend, "text"));
    let alice = gateway.visitor().signed_in_as("alice");
    let stranger = gateway.visitor().over_h2();
    for (answer, user, request, outcome, upstream) in [
        (alice.get("/a/b?c=d"), "alice", "GET HOST/a/b HTTP/1.1", "forwarded", "app"),
        (alice.get("/admin"), "alice", "GET HOST/admin HTTP/1.1", "forbidden", "-"),
        (stranger.ask("PUT", "/x").send(), "-", "PUT HOST/x HTTP/2", "login_needed", "-"),
    ] {
        let id = answer.header("x-request-id");
        let line = gateway.line_with(&[id]);
        let fields: Vec<&str> = line.split(' ').collect();
        assert!(fields.len() == 12 && fields[0].ends_with('Z') && fields[8].ends_with("ms"), "{line}");
        let request = request.replace("HOST", &alice.authority());
        let (status, bytes) = (answer.status, answer.body.len());
        let said = format!("127.0.0.1 {user} \"{request}\" {status} {bytes} {outcome} {upstream} {id}");
        assert_eq!([&fields[1..8], &fields[9..]].concat().join(" "), said);
        assert_eq!(gateway.printed().matches(id).count(), 1, "one line for {id}");
    }
}

#[test]
fn every_request_is_one_line_of_json() {
    let backend = Backend::start();
    let gateway = Gateway::spawn(&logged(&backend, "json"));
    let alice = gateway.visitor().signed_in_as("alice");
    for (answer, status, user, outcome, upstream) in [
        (alice.get("/a?secret=1"), 200, "alice", "forwarded", "app"),
        (alice.get("/admin"), 403, "alice", "forbidden", ""),
        (gateway.visitor().over_h2().get("/a"), 401, "", "login_needed", ""),
        (gateway.visitor().get("/.vestibule/ping"), 200, "", "portal", ""),
    ] {
        let id = answer.header("x-request-id");
        let line: Value = serde_json::from_str(&gateway.line_with(&[id, "microseconds"])).expect("JSON");
        assert_eq!(line["status"], status);
        assert_eq!(line["user"], user);
        assert_eq!(line["outcome"], outcome);
        assert_eq!(line["upstream"], upstream);
        assert_eq!(line["client"], "127.0.0.1");
        assert_eq!(line["bytes"], answer.body.len());
        assert!(!line["path"].as_str().expect("a path").contains('?'));
        let ids = gateway.printed().matches(&format!("\"request_id\":\"{id}\"")).count();
        assert_eq!(ids, 1, "one line for {id}");
    }
    gateway.terminate();
    let (code, printed, _folder) = gateway.ended();
    assert_eq!(code, 0);
    for line in printed.lines() {
        serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    }
}

#[test]
fn the_page_that_is_built_in_is_no_failure() {
    let setup = Setup::new().set("log.access", "true").route("upstream = 'builtin'; access = 'public'");
    let gateway = Gateway::spawn(&setup);
    for visitor in [gateway.visitor(), gateway.visitor().over_h2()] {
        let (page, head) = (visitor.get("/"), visitor.ask("HEAD", "/").send());
        assert_eq!((page.status, head.status, head.body.len()), (200, 200, 0));
        assert!(head.header("content-length").parse::<usize>().is_ok_and(|length| length > 0));
        for answer in [page, head] {
            let line = gateway.line_with(&[answer.header("x-request-id")]);
            assert!(line.contains(" fixed "), "{line}");
        }
    }
}

#[test]
fn what_never_becomes_a_request_is_one_line_and_one_count_too() {
    let backend = Backend::start();
    let setup = logged(&backend, "text")
        .set("server.http", "['127.0.0.1:0']")
        .set("server.limits.header_bytes", "'8KiB'")
        .set("server.limits.request_head", "'1s'");
    let gateway = Gateway::spawn(&setup);
    let long = "x".repeat(9 << 10);
    let cases = [
        ("nonsense\r\n\r\n".to_owned(), 400, "malformed_head"),
        (format!("GET /{long} HTTP/1.1\r\nHost: localhost\r\n\r\n"), 414, "uri_too_long"),
        (format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {long}\r\n\r\n"), 431, "header_too_large"),
        ("GET / HTTP/1.1\r\nHost:".to_owned(), 408, "head_timeout"),
    ];
    for (head, status, reason) in cases {
        assert_eq!(gateway.raw().write(head).response().status, status, "{reason}");
        let line = gateway.line_with(&[reason]);
        let said = format!(" 127.0.0.1 - \"- - HTTP/1.1\" {status} 0 0.000ms refused/{reason} - -");
        assert!(line.ends_with(&said), "{line}");
        assert_eq!(gateway.printed().matches(reason).count(), 1, "{reason}");
    }
    assert_eq!(gateway.raw_http().write("nonsense\r\n\r\n").response().status, 400);
    let twice = || Some(gateway.printed()).filter(|log| log.matches("refused/malformed_head").count() == 2);
    eventually("the line of the clear-text listener", twice);
    let mut rules = Frames::open(gateway.raw_h2());
    rules.send(&frame(DATA, 0, 0, b"for no stream"));
    assert!(rules.is_sent_away());
    let line = gateway.line_with(&["http2_error"]);
    assert!(line.ends_with(" 127.0.0.1 - \"- - HTTP/2\" 0 0 0.000ms refused/http2_error - -"), "{line}");
    for (status, count) in [("4xx", 5.0), ("none", 1.0)] {
        let name = format!("vestibule_requests_total{{outcome=\"refused\",status=\"{status}\"}}");
        assert!((gateway.metric(&name) - count).abs() < 0.5, "{}", gateway.admin("/metrics").text());
    }
    assert_eq!(backend.connections(), 0);
}

#[test]
fn a_refused_connection_is_one_line_of_json() {
    let backend = Backend::start();
    let crowded = logged(&backend, "json").set("server.limits.connections_per_address", "1");
    let behind_a_proxy = logged(&backend, "json")
        .set("server.proxy_protocol", "true")
        .set("server.trusted_proxies", "['192.0.2.1']");
    for (setup, reason) in [(crowded, "connections_per_address"), (behind_a_proxy, "no_proxy_header")] {
        let gateway = Gateway::spawn(&setup);
        let first = gateway.visitor();
        let _takes_the_place = first.ask("GET", "/public").try_send();
        assert!(gateway.raw().write("GET / HTTP/1.1\r\n\r\n").is_closed(), "{reason}");
        let line: Value = serde_json::from_str(&gateway.line_with(&[reason])).expect("JSON");
        assert_eq!((&line["outcome"], &line["reason"]), (&"refused".into(), &reason.into()));
        assert_eq!((&line["client"], &line["status"]), (&"127.0.0.1".into(), &0.into()));
        assert_eq!((&line["method"], &line["path"]), (&"-".into(), &"-".into()));
        let name = "vestibule_requests_total{outcome=\"refused\",status=\"none\"}";
        assert!(gateway.metric(name) >= 1.0, "{}", gateway.admin("/metrics").text());
    }
}

#[test]
fn without_an_access_log_no_request_is_a_line() {
    let backend = Backend::start();
    let gateway = Gateway::spawn(&Setup::in_front_of(&backend.url()));
    let id = gateway.visitor().get("/public").header("x-request-id").to_owned();
    gateway.terminate();
    assert!(!gateway.ended().1.contains(&id));
}

#[test]
fn the_audit_trail_tells_of_every_event_once() {
    let backend = Backend::start();
    let setup = Setup::in_front_of(&backend.url()).set("login.throttle.per_account", "'1 in 10m'");
    let gateway = Gateway::start(&setup);
    let alice = gateway.visitor().signed_in_as("alice");
    let second_tab = alice.second_tab();
    assert_eq!(alice.get("/admin").status, 403);
    alice.sign_out();
    assert_eq!(second_tab.get("/").status, 401);
    let ada = gateway.visitor().signed_in_as("ada");
    gateway.advance(Duration::from_mins(30));
    assert_eq!(ada.get("/").status, 401);
    assert_eq!(gateway.visitor().try_login("/", "eve", PASSWORD).status, 401);
    assert_eq!(gateway.visitor().try_login("/", "eve", PASSWORD).status, 429);
    assert_eq!(gateway.visitor().post(LOGIN, "user=alice").status, 403);
    let ada = gateway.visitor().signed_in_as("ada");
    assert_eq!(gateway.folder.run(&["users", "disable", "ada"]).code, 0);
    assert_eq!(ada.get("/").status, 401);
    gateway.reload().expect("a reload");
    let config = gateway.folder.read("vestibule.toml");
    gateway.folder.write("vestibule.toml", "");
    gateway.reload().expect_err("a refusal");
    gateway.folder.write("vestibule.toml", &config);
    let folder = gateway.stop();
    let trail = folder.read("audit.log");
    let events: Vec<Value> = trail.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    for (kind, user, count) in [
        (event::STARTED, Value::Null, 1),
        (event::LOGIN_SUCCESS, "alice".into(), 1),
        (event::LOGIN_SUCCESS, "ada".into(), 2),
        (event::SESSION_CREATED, "alice".into(), 1),
        (event::SESSION_CREATED, "ada".into(), 2),
        (event::AUTHORIZATION_FAILED, "alice".into(), 1),
        (event::SESSION_ENDED, "alice".into(), 1),
        (event::SESSION_EXPIRED, "ada".into(), 1),
        (event::LOGIN_FAILURE, "eve".into(), 1),
        (event::LOGIN_THROTTLED, "eve".into(), 1),
        (event::CSRF, Value::Null, 1),
        (event::SESSION_REVOKED, "ada".into(), 1),
        (event::USE_AFTER_END, Value::Null, 2),
        (event::RELOAD_DONE, Value::Null, 1),
        (event::RELOAD_REFUSED, Value::Null, 1),
        (event::STOPPED, Value::Null, 1),
    ] {
        let found = events.iter().filter(|event| event["event"] == kind && event["user"] == user);
        assert_eq!(found.count(), count, "{kind} {user} in\n{trail}");
    }
    assert!(events.iter().all(|event| event["time"].as_str().is_some_and(|time| time.ends_with('Z'))));
}

#[test]
fn health_and_metrics_are_told_on_the_admin_listener_only() {
    let backend = Backend::start();
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    gateway.visitor().signed_in_as("alice").get("/");
    assert_eq!((gateway.admin("/live").status, gateway.admin("/ready").text().as_str()), (200, "ready\n"));
    let metrics = gateway.admin("/metrics");
    assert!(metrics.header("content-type").starts_with("application/openmetrics-text"));
    assert!(metrics.text().ends_with("# EOF\n"));
    for (name, value) in [
        ("vestibule_requests_total{outcome=\"forwarded\",status=\"2xx\"}", 1.0),
        ("vestibule_requests_total{outcome=\"login_needed\",status=\"3xx\"}", 1.0),
        ("vestibule_events_total{event=\"authn_login_success\"}", 1.0),
        ("vestibule_sessions_cached", 1.0),
        ("vestibule_config_last_reload_successful", 1.0),
        ("vestibule_audit_lines_dropped_total", 0.0),
        ("vestibule_certificate_expiry_timestamp_seconds", 4_102_444_800.0),
    ] {
        let found =
            eventually(name, || Some(gateway.metric(name)).filter(|found| (found - value).abs() < 0.5));
        assert!(found >= 0.0);
        assert!(gateway.admin("/metrics").text().contains(name.split('{').next().unwrap_or(name)), "{name}");
    }
    for path in ["/reload", "/ask", "/keys", "/nothing"] {
        assert_eq!(gateway.admin(path).status, 404, "{path}");
    }
    assert!(gateway.visitor().page("/metrics").asks_login());
}

#[test]
fn a_gateway_that_cannot_work_is_alive_but_not_ready() {
    let backend = Backend::start();
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    gateway.advance(Duration::from_hours(24 * 365 * 100));
    assert_eq!(gateway.admin("/live").status, 200);
    let ready = gateway.admin("/ready");
    assert_eq!((ready.status, ready.text().as_str()), (503, "a certificate has expired\n"));
}

#[test]
fn no_secret_stands_in_any_log_trail_or_metric() {
    let backend = Backend::start();
    let gateway = Gateway::spawn_loudly(&logged(&backend, "text"));
    let visitor = gateway.visitor();
    let (place, page) = visitor.login_page("/?q=Query5ecret");
    let form = page.login_form();
    let mut secrets = vec![PASSWORD.to_owned(), "Query5ecret".to_owned(), form.hidden_value("token")];
    secrets.extend(page.cookies().into_values());
    let wrong = form.fill("text", "alice").fill("password", "Wr0ngPassword");
    visitor.submit(&wrong, &place);
    visitor.submit(&page.login_form().fill("text", "alice").fill("password", PASSWORD), &place);
    secrets.push("Wr0ngPassword".to_owned());
    let cookie = visitor.session_cookie().expect("a session cookie");
    secrets.extend([cookie[..cookie.len() / 2].to_owned(), cookie[cookie.len() / 2..].to_owned()]);
    for (name, value) in
        [("authorization", "Bearer Auth5ecret"), ("x-api-key", "Key5ecret"), ("cookie", "app=App5ecret")]
    {
        visitor.ask("GET", "/x?token=Query5ecret").header(name, value).send();
        visitor.ask("POST", "/public").header(name, value).body(Upload::text("Body5ecret")).send();
    }
    let forged = format!("{SESSION_COOKIE}=F0rged{}", &cookie[6..]);
    visitor.ask("GET", "/").header("cookie", &forged).send();
    secrets.extend(["Auth5ecret", "Key5ecret", "App5ecret", "Body5ecret", "F0rged"].map(str::to_owned));
    visitor.sign_out();
    gateway.reload().expect("a reload");
    secrets.extend(
        gateway.folder.read("keys.toml").split('"').filter(|part| part.len() > 30).map(str::to_owned),
    );
    let metrics = gateway.admin("/metrics").text();
    gateway.terminate();
    let (code, printed, folder) = gateway.ended();
    assert_eq!(code, 0);
    for (place, text) in [("log", printed), ("audit trail", folder.read("audit.log")), ("metrics", metrics)] {
        assert!(text.len() > 100, "{place}: {text}");
        for secret in &secrets {
            assert!(!text.contains(secret), "{secret} in the {place}");
        }
    }
}

fn logged(backend: &Backend, format: &str) -> Setup {
    Setup::in_front_of(&backend.url()).set("log.access", "true").set("log.format", &format!("'{format}'"))
}
