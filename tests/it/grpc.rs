//! gRPC clients are refused in the terms of gRPC.

use std::time::Duration;

use crate::harness::client::{Ask, Client};
use crate::harness::people::Person;
use crate::harness::{Answer, Gateway, H2Backend, Setup, Upload};

#[test]
fn a_refused_call_gets_a_status_of_grpc() {
    let backend = H2Backend::start();
    let gateway = Gateway::start(&services(&backend.url()));
    let guest = gateway.visitor().over_h2();
    let alice = gateway.visitor().signed_in_as("alice").over_h2();
    for (who, method, status) in [
        (&guest, "/private.Service/Call", "16"),
        (&alice, "/admin.Service/Call", "7"),
        (&alice, "/closed.Service/Call", "7"),
        (&alice, "/factor.Service/Call", "16"),
        (&guest, "/mended.Service/Call", "14"),
        (&guest, "/.vestibule/nowhere", "12"),
        (&guest, "/get.Service/Call", "12"),
        (&guest, "/dead.Service/Call", "14"),
        (&guest, "/public.Service/..%2fCall", "13"),
    ] {
        let answer = call(who, method, "application/grpc").body(Upload::text("abc")).send();
        refused(&answer, status, method);
        assert_eq!(answer.header("content-type"), "application/grpc");
    }
    assert!(backend.seen().is_empty());
}

#[test]
fn a_message_that_is_too_large_exhausts_a_resource() {
    let backend = H2Backend::start();
    let gateway = Gateway::start(&services(&backend.url()));
    let guest = gateway.visitor().over_h2();
    let answer = call(&guest, "/small.Service/Call", "application/grpc+proto")
        .body(Upload::text("x".repeat(5_000)))
        .send();
    refused(&answer, "8", "too large");
}

#[test]
fn a_service_that_does_not_answer_in_time_is_unavailable() {
    let backend = H2Backend::with(|mut call| async move {
        call.wait().await;
    });
    let lines = format!("servers = ['{}']; response_timeout = '50ms'", backend.url());
    let setup =
        Setup::new().upstream_with("app", &lines).route("path = '/'; upstream = 'app'; access = 'public'");
    let gateway = Gateway::start(&setup);
    let answer = call(&gateway.visitor().over_h2(), "/a.B/C", "application/grpc").send();
    refused(&answer, "14", "504");
}

#[test]
fn a_client_of_grpc_web_is_answered_in_its_own_dialect() {
    let backend = H2Backend::start();
    let gateway = Gateway::start(&services(&backend.url()));
    for (sent, answered) in [
        ("application/grpc-web+proto", "application/grpc-web"),
        ("application/grpc-web-text", "application/grpc-web-text"),
    ] {
        for visitor in [gateway.visitor(), gateway.visitor().over_h2()] {
            let answer = call(&visitor, "/private.Service/Call", sent).send();
            refused(&answer, "16", sent);
            assert_eq!(answer.header("content-type"), answered);
        }
    }
}

#[test]
fn everybody_else_is_refused_as_ever_and_what_a_backend_says_passes() {
    let backend = H2Backend::with(|call| async move {
        call.reply(http::Response::builder().header("content-type", "application/grpc"))
            .data("hi")
            .trailers(&[("grpc-status", "5"), ("grpc-message", "none")]);
    });
    let gateway = Gateway::start(&services(&backend.url()));
    let guest = gateway.visitor().over_h2();
    let answer = call(&guest, "/public.Service/Call", "application/grpc").send();
    let status = answer.trailers.get("grpc-status").and_then(|value| value.to_str().ok());
    assert_eq!((answer.status, status), (200, Some("5")));
    for content_type in ["application/json", "application/grpcish"] {
        let answer = call(&guest, "/private.Service/Call", content_type).send();
        assert_eq!((answer.status, answer.error().as_str()), (401, "login_required"));
    }
}

#[test]
fn a_call_that_is_refused_by_a_limit_of_hours_says_so_in_its_message() {
    let backend = H2Backend::start();
    // A minute that is over for the next hours, or was just now.
    let before = vestibule::clock::Clock::system().now() - Duration::from_hours(2);
    let minute = before.to_string()[11..16].to_owned();
    let after = (before + Duration::from_mins(1)).to_string()[11..16].to_owned();
    let setup = Setup::new().upstream("app", &backend.url()).route(&format!(
        "path = '/'; upstream = 'app'; access = 'public'; hours = ['{minute}-{after}']; time_zone = 'UTC'"
    ));
    let gateway = Gateway::start(&setup);
    let answer = call(&gateway.visitor().over_h2(), "/a.B/C", "application/grpc").send();
    refused(&answer, "7", "closed");
    assert!(answer.header("grpc-message").contains("opens again at"), "{:?}", answer.headers);
}

#[track_caller]
fn refused(answer: &Answer, status: &str, what: &str) {
    assert_eq!((answer.status, answer.header("grpc-status")), (200, status), "{what}: {:?}", answer.headers);
    assert!(!answer.header("grpc-message").is_empty() && answer.body.is_empty(), "{what}");
    assert_eq!((answer.header("www-authenticate"), answer.header("x-request-id").len()), ("", 16), "{what}");
    // Trailers-Only: the status stands in the head, and no trailers follow.
    assert!(answer.trailers.is_empty(), "{what}");
}

fn call<'a>(client: &'a Client, method: &str, content_type: &str) -> Ask<'a> {
    client.ask("POST", method).header("te", "trailers").header("content-type", content_type)
}

/// A service for each way to be refused.
fn services(url: &str) -> Setup {
    let route = |service: &str, rule: &str| format!("path = '/{service}.Service'; upstream = 'app'; {rule}");
    Setup::new()
        .upstream("app", url)
        .upstream("dead", "h2c://127.0.0.1:1")
        .route("path = '/'; upstream = 'app'; access = 'login'")
        .route(&route("private", "access = 'login'"))
        .route(&route("admin", "access = 'login'; groups = ['admin']"))
        .route("path = '/closed.Service'; access = 'deny'")
        .route(&route("factor", "access = 'login'; mfa = true"))
        .route(&route("mended", "access = 'public'; maintenance = true"))
        .route(&route("get", "access = 'public'; methods = ['GET']"))
        .route("path = '/dead.Service'; upstream = 'dead'; access = 'public'")
        .route(&route("public", "access = 'public'"))
        .route(&route("small", "access = 'public'; body_bytes = '1KiB'"))
        .person(Person::named("alice"))
}
