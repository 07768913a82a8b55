//! An unmodified old application behind the gateway.

use std::fmt::Write;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::harness::form::Form;
use crate::harness::legacy::Legacy;
use crate::harness::{Answer, Client, Gateway, Setup, Upload, eventually};

const UPLOAD: u64 = 20 << 20;

const TARGET: &str = "/headers/a%20b/%C3%BC?q=%20&q=+&slash=%2F";

#[test]
fn the_application_learns_the_user_and_never_the_session_cookie() {
    let (_legacy, gateway) = house();
    let visitor = gateway.visitor().signed_in_as("alice");
    visitor.put_cookie("flavour", "oat");
    let seen = visitor.ask("GET", TARGET).header("x_user_id", "root").send().json();
    assert_eq!(header(&seen, "X-User-Id"), ["alice"]);
    assert_eq!(header(&seen, "X-User-Groups"), ["staff"]);
    assert_eq!(header(&seen, "Cookie"), ["flavour=oat"]);
    assert_eq!(header(&seen, "Host"), [visitor.authority()]);
    assert_eq!(header(&seen, "X-Forwarded-Proto"), ["https"]);
    assert_eq!(header(&seen, "X-Forwarded-For"), ["127.0.0.1"]);
    assert_eq!(header(&seen, "X-Forwarded-Host"), [visitor.authority()]);
    assert_eq!(header(&seen, "X-Request-Id").len(), 1);
    assert_eq!(seen["target"], TARGET);
    assert_eq!(seen["scheme"], "https");
    assert!(!seen.to_string().contains("__Host-vestibule"), "{seen}");
}

#[test]
fn the_applications_own_cookies_pass_both_ways() {
    let (_legacy, gateway) = house();
    let visitor = gateway.visitor().signed_in_as("alice");
    let answer = visitor.get("/cookie/set?name=taste");
    let taste = answer.set_cookie("taste").expect("the application's cookie");
    assert!(taste.starts_with("taste=\"oat meal\"; Expires="), "{taste}");
    assert!(taste.ends_with("; Max-Age=3600; HttpOnly; Path=/; SameSite=Lax"), "{taste}");
    assert!(answer.set_cookie("theme").is_some_and(|line| line.contains("Secure")));
    assert_eq!(visitor.get("/cookie/show").json()["cookie"], "taste=\"oat meal\"; theme=dark");
    visitor.sign_out();
    assert!(visitor.cookie("taste").is_none(), "what the application knows of its user goes with a logout");
}

#[test]
fn a_form_that_checks_token_and_referer_works() {
    let (_legacy, gateway) = house();
    let visitor = gateway.visitor().signed_in_as("alice");
    let form = visitor.page("/form").form().forge("note", "milk & bread");
    let referer = format!("{}/form", visitor.origin());
    assert_eq!(submit(&visitor, &form, None).status, 400);
    let answer = submit(&visitor, &form, Some(&referer));
    assert_eq!((answer.status, answer.location()), (303, "/form"), "{}", answer.text());
    assert!(visitor.page("/form").text().contains("milk &amp; bread"));
}

#[test]
fn an_upload_of_20_mib_arrives_byte_for_byte() {
    let (_legacy, gateway) = house();
    let piece = [b'x'; 1024];
    let hash = (0..UPLOAD / 1024).fold(Sha256::new(), |hash, _| hash.chain_update(piece));
    let expected = hex(&hash.finalize());
    for visitor in [gateway.visitor(), gateway.visitor().over_h2()] {
        let visitor = visitor.signed_in_as("alice");
        let told = visitor.ask("PUT", "/upload").body(Upload::Pattern(UPLOAD)).send().json();
        assert_eq!((&told["bytes"], &told["sha256"]), (&UPLOAD.into(), &expected.clone().into()));
    }
}

#[test]
fn an_upload_without_a_length_arrives_whole() {
    let (_legacy, gateway) = house();
    let visitor = gateway.visitor().signed_in_as("alice");
    let (body, pieces) = Upload::in_pieces();
    for piece in ["one ", "two ", "three"] {
        pieces.send(piece);
    }
    drop(pieces);
    let told = visitor.ask("POST", "/upload").body(body).send().json();
    assert_eq!(told["sha256"], hex(&Sha256::digest("one two three")));
}

#[test]
fn a_download_of_20_mib_arrives_byte_for_byte() {
    let (_legacy, gateway) = house();
    let visitor = gateway.visitor().signed_in_as("alice");
    let pattern: Vec<u8> = (0..=255).collect();
    let expected = (0..UPLOAD >> 8).fold(Sha256::new(), |hash, _| hash.chain_update(&pattern)).finalize();
    for target in ["/download/20971520", "/download/20971520?chunked=1"] {
        let mut download = visitor.ask("GET", target).stream();
        let mut hash = Sha256::new();
        while let Some(piece) = download.piece() {
            hash.update(&piece);
        }
        assert_eq!(hash.finalize(), expected, "{target}");
    }
}

#[test]
fn events_arrive_one_by_one_as_they_are_sent() {
    let (_legacy, gateway) = house();
    let visitor = gateway.visitor().signed_in_as("alice");
    let mut stream = visitor.ask("GET", "/sse?n=2&ms=700").stream();
    assert_eq!(stream.headers["content-type"], "text/event-stream; charset=utf-8");
    let first = stream.piece().expect("the first event");
    assert_eq!(first, "id: 0\ndata: {\"tick\": 0}\n\n");
    assert_eq!(stream.piece().expect("the second event"), "id: 1\ndata: {\"tick\": 1}\n\n");
    assert_eq!(stream.piece(), None);
}

#[test]
fn every_status_of_the_application_passes_as_it_is() {
    let (_legacy, gateway) = house();
    let visitor = gateway.visitor().signed_in_as("alice");
    for status in
        [200, 201, 203, 299, 400, 401, 403, 404, 409, 410, 418, 422, 429, 451, 500, 502, 503, 504, 599]
    {
        let answer = visitor.page(&format!("/status/{status}"));
        assert_eq!((answer.status, answer.text()), (status, format!("status {status}\n")));
    }
    for status in [204, 304] {
        let answer = visitor.get(&format!("/status/{status}"));
        assert_eq!((answer.status, answer.body.len()), (status, 0));
    }
}

#[test]
fn redirects_lead_where_the_application_says() {
    let (_legacy, gateway) = house();
    let visitor = gateway.visitor().signed_in_as("alice");
    let answer = visitor.page("/redirect");
    assert_eq!((answer.status, answer.location()), (302, "/whoami"));
    let answer = visitor.page("/redirect/absolute");
    assert_eq!((answer.status, answer.location()), (301, format!("{}/whoami", visitor.origin()).as_str()));
}

#[test]
fn conditions_and_ranges_are_answered_by_the_application() {
    let (_legacy, gateway) = house();
    let visitor = gateway.visitor().signed_in_as("alice");
    let whole = visitor.get("/etag");
    assert_eq!((whole.status, whole.body.len()), (200, 10_000));
    let tag = whole.header("etag");
    for (name, value) in [("if-none-match", tag), ("if-modified-since", whole.header("last-modified"))] {
        let answer = visitor.ask("GET", "/etag").header(name, value).send();
        assert_eq!((answer.status, answer.body.len(), answer.header("etag")), (304, 0, tag), "{name}");
    }
    let part = visitor.ask("GET", "/range").header("range", "bytes=10-14").send();
    assert_eq!((part.status, part.text().as_str()), (206, "01234"));
    assert_eq!(part.header("content-range"), "bytes 10-14/10000");
    let beyond = visitor.ask("GET", "/range").header("range", "bytes=20000-").send();
    assert_eq!(beyond.status, 416);
}

#[test]
fn head_has_the_headers_of_get_and_no_body() {
    let (_legacy, gateway) = house();
    for visitor in [gateway.visitor(), gateway.visitor().over_h2()] {
        let visitor = visitor.signed_in_as("alice");
        let answer = visitor.ask("HEAD", "/etag").send();
        assert_eq!((answer.status, answer.header("content-length"), answer.body.len()), (200, "10000", 0));
        assert_eq!(visitor.get("/echo").status, 200, "the connection goes on");
    }
}

#[test]
fn methods_of_every_kind_pass_with_their_bodies() {
    let (_legacy, gateway) = house();
    for visitor in [gateway.visitor(), gateway.visitor().over_h2()] {
        let visitor = visitor.signed_in_as("alice");
        for method in
            ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "MKCOL", "LOCK", "REPORT", "SEARCH"]
        {
            let answer = visitor.ask(method, "/echo").body(Upload::text(format!("<{method}/>"))).send();
            assert_eq!((answer.status, answer.header("x-method")), (200, method));
            assert_eq!(answer.text(), format!("<{method}/>"));
        }
    }
}

#[test]
fn headers_of_the_applications_own_are_not_doubled() {
    let (_legacy, gateway) = house();
    let answer = gateway.visitor().signed_in_as("alice").get("/own-headers");
    assert_eq!(answer.values("x-frame-options"), ["SAMEORIGIN"]);
    assert_eq!(answer.values("referrer-policy"), ["origin"]);
    assert_eq!(answer.values("content-security-policy"), ["default-src 'self'"]);
    assert_eq!(answer.values("x-content-type-options"), ["nosniff"]);
}

/// Both workers of gunicorn are replaced while requests go on: each closes the connections it kept alive.
#[test]
fn connections_that_the_application_closes_never_cost_a_get() {
    let (legacy, gateway) = house();
    let visitor = gateway.visitor().signed_in_as("alice");
    for round in 1..=2 {
        legacy.replace_workers();
        eventually("the end of both workers", || {
            assert_eq!(visitor.get("/status/200").status, 200);
            (legacy.workers_gone() == 2 * round).then_some(())
        });
        assert_eq!(visitor.get("/status/200").status, 200);
    }
}

fn house() -> (Legacy, Gateway) {
    let legacy = Legacy::start();
    let gateway = Gateway::start(&Setup::in_front_of(&legacy.url()));
    (legacy, gateway)
}

/// The values of a header in what `/headers` tells.
fn header<'a>(seen: &'a Value, name: &str) -> Vec<&'a str> {
    let pairs = seen["headers"].as_array().expect("headers").iter();
    let named = pairs.filter(|pair| pair[0].as_str().is_some_and(|key| key.eq_ignore_ascii_case(name)));
    named.map(|pair| pair[1].as_str().expect("a value")).collect()
}

fn submit(visitor: &Client, form: &Form, referer: Option<&str>) -> Answer {
    let ask =
        visitor.ask("POST", "/form").as_page().header("content-type", "application/x-www-form-urlencoded");
    let ask = match referer {
        Some(referer) => ask.header("referer", referer),
        None => ask,
    };
    ask.body(Upload::text(form.encoded())).send()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("text");
        text
    })
}
