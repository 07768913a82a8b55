//! Which answers of backends get the script, and what becomes of their heads and bodies.

use crate::harness::backend::Peer;
use crate::harness::client::Ask;
use crate::harness::{After, Answer, Backend, Client, Gateway, Setup};

#[test]
fn a_page_that_somebody_loads_gets_the_script_at_the_end_of_its_head() {
    for protocol in [Client::over_h2, |client| client] {
        let house = House::answering("ETag: \"v1\"\r\nAccept-Ranges: bytes\r\nDigest: sha-256=x", PAGE);
        let alice = protocol(house.gateway.visitor()).signed_in_as("alice");
        let page = load(&alice, "/noted").send();
        assert_eq!(page.text(), with_script(PAGE, &alice));
        for gone in ["content-length", "accept-ranges", "digest"] {
            assert_eq!(page.header(gone), "", "{gone}");
        }
        assert_eq!(page.header("etag"), "W/\"v1-vestibule\"");
        assert_eq!(house.last_request().header("accept-encoding"), "identity");
    }
}

#[test]
fn what_is_no_page_stays_as_it_is() {
    const GZIP: &str = "Content-Encoding: gzip";
    let table = [
        ("200 OK", "Content-Type: text/plain", PAGE),
        ("200 OK", "Content-Type: application/json", "{}"),
        ("200 OK", "Content-Type: text/html; charset=utf-16le", PAGE),
        ("200 OK", "Content-Type: text/html; charset=iso-2022-jp", PAGE),
        ("200 OK", "X-Nothing: said of the type", PAGE),
        ("200 OK", "Content-Type: text/html", "<li>a piece</li>"),
        ("200 OK", "Content-Type: text/html", ""),
        ("200 OK", GZIP, "packed"),
        ("200 OK", "Content-Type: text/html\r\nCache-Control: private, no-transform", PAGE),
        ("200 OK", "Content-Type: text/html\r\nContent-Disposition: Attachment; filename=a.html", PAGE),
        ("206 Partial Content", "Content-Type: text/html\r\nContent-Range: bytes 0-69/500", PAGE),
        ("404 Not Found", "Content-Type: text/html", PAGE),
        ("500 Internal Server Error", "Content-Type: text/html", PAGE),
    ];
    let answers = table.map(|(status, headers, body)| answer(status, headers, body));
    let house = House::with(move |peer| answers[number_of(peer)].clone());
    let alice = house.alice();
    for (number, (status, headers, body)) in table.into_iter().enumerate() {
        let page = load(&alice, &format!("/noted/{number}")).send();
        assert_eq!(page.text(), body, "{status} {headers}");
        assert!(status.starts_with(&page.status.to_string()), "{status}");
        if !body.starts_with("<li>") && !body.is_empty() {
            assert_eq!(page.header("content-length"), body.len().to_string(), "{headers}");
        }
    }
}

#[test]
fn an_answer_without_a_body_stays_without_one() {
    for head in ["204 No Content\r\nContent-Type: text/html", "304 Not Modified\r\nETag: \"v1\""] {
        let house = House::with(move |_| format!("HTTP/1.1 {head}\r\n\r\n"));
        let page = load(&house.alice(), "/noted").send();
        assert!(head.starts_with(&page.status.to_string()) && page.body.is_empty(), "{head}");
        assert!(["", "\"v1\""].contains(&page.header("etag")));
    }
}

#[test]
fn only_the_loading_of_a_page_gets_it() {
    let house = House::answering("X-A: b", PAGE);
    let alice = house.alice();
    let get = |headers: &[(&str, &str)]| {
        let ask = alice.ask("GET", "/noted");
        headers.iter().fold(ask, |ask, (name, value)| ask.header(name, value)).send()
    };
    let html = ("accept", "text/html,*/*");
    for headers in
        [&[("sec-fetch-dest", "document")][..], &[("sec-fetch-dest", "iframe"), ("accept", "*/*")], &[html]]
    {
        assert_eq!(get(headers).text(), with_script(PAGE, &alice), "{headers:?}");
    }
    for headers in [
        &[("sec-fetch-dest", "empty"), html][..],
        &[("sec-fetch-dest", "image")],
        &[("accept", "*/*")],
        &[],
        &[html, ("cache-control", "no-transform")],
    ] {
        assert_eq!(get(headers).text(), PAGE, "{headers:?}");
    }
    let posted = alice.ask("POST", "/noted").as_page().header("sec-fetch-dest", "document").send();
    assert_eq!(posted.text(), PAGE);
    assert_eq!(load(&alice, "/elsewhere").send().text(), PAGE);
}

#[test]
fn guests_of_an_optional_route_get_the_page_as_it_is() {
    let house = House::answering("X-A: b", PAGE);
    assert_eq!(load(&house.gateway.visitor(), "/perhaps").send().text(), PAGE);
    let alice = house.alice();
    assert_eq!(load(&alice, "/perhaps").send().text(), with_script(PAGE, &alice));
}

#[test]
fn encodings_are_asked_for_as_ever_where_nothing_is_changed() {
    let house = House::answering("X-A: b", PAGE);
    let alice = house.alice();
    let offer = ("accept-encoding", "gzip, br");
    load(&alice, "/elsewhere").header(offer.0, offer.1).send();
    assert_eq!(house.last_request().header(offer.0), offer.1);
    alice.ask("GET", "/noted").header("sec-fetch-dest", "script").header(offer.0, offer.1).send();
    assert_eq!(house.last_request().header(offer.0), offer.1);
    load(&alice, "/noted").header(offer.0, offer.1).send();
    assert_eq!(house.last_request().header(offer.0), "identity");
}

#[test]
fn a_head_request_is_told_of_the_page_that_a_get_would_bring() {
    let length = PAGE.len();
    let house = House::with(move |_| {
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nETag: \"v1\"\r\nContent-Length: {length}\r\n\r\n"
        )
    });
    for protocol in [Client::over_h2, |client| client] {
        let alice = protocol(house.gateway.visitor()).signed_in_as("alice");
        let head = alice.ask("HEAD", "/noted").as_page().header("sec-fetch-dest", "document").send();
        assert_eq!((head.status, head.header("etag")), (200, "W/\"v1-vestibule\""));
        assert_eq!((head.header("content-length"), head.body.len()), ("", 0));
    }
}

#[test]
fn a_page_that_did_not_change_is_not_sent_again() {
    let house = House::with(|peer| {
        if peer.request.values("if-none-match").concat() == "\"v1\"" {
            let policy = "Content-Security-Policy: script-src 'none'";
            return format!("HTTP/1.1 304 Not Modified\r\nETag: \"v1\"\r\n{policy}\r\n\r\n");
        }
        answer("200 OK", "Content-Type: text/html\r\nETag: \"v1\"", PAGE)
    });
    let alice = house.alice();
    let tag = load(&alice, "/noted").send().header("etag").to_owned();
    let same = load(&alice, "/noted").header("if-none-match", &tag).send();
    assert_eq!((same.status, same.header("etag")), (304, tag.as_str()));
    assert!(same.header("content-security-policy").contains("/.vestibule/notice.js"));
    // A copy from before the route had the notice.
    let older = load(&alice, "/noted").header("if-none-match", "\"v1\"").send();
    assert_eq!((older.status, older.header("etag")), (304, "\"v1\""));
    assert_eq!(older.header("content-security-policy"), "script-src 'none'");
}

#[test]
fn a_page_comes_whole_however_it_is_divided() {
    let house = House::with(|_| {
        let pieces = PAGE.chars().map(|byte| format!("1\r\n{byte}\r\n")).collect::<Vec<_>>().concat();
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n{pieces}0\r\n\r\n"
        )
    });
    let alice = house.alice();
    assert_eq!(load(&alice, "/noted").send().text(), with_script(PAGE, &alice));
}

#[test]
fn a_large_page_streams_and_one_that_is_too_odd_passes_unchanged() {
    let text = "x".repeat(3 << 20);
    let large = format!("<html><head><style>{text}</style></head><body>{text}");
    let odd = format!("<html><head><link href=\"{text}\"></head><body>");
    let (first, second) = (answer("200 OK", HTML, &large), answer("200 OK", HTML, &odd));
    let house = House::with(move |peer| [&first, &second][number_of(peer)].clone());
    let alice = house.alice();
    assert!(load(&alice, "/noted/0").send().text() == with_script(&large, &alice));
    assert!(load(&alice, "/noted/1").send().text() == odd);
}

#[test]
fn the_beginning_of_a_page_does_not_wait_for_its_end() {
    let backend = Backend::with(|peer| {
        let is_noted = peer.request.target().starts_with("/noted");
        peer.write("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n");
        peer.write("c\r\n<html><head>\r\n7\r\n</head>\r\n");
        if is_noted {
            peer.wait();
        }
        peer.write("1\r\n.\r\n0\r\n\r\n");
        After::KeepAlive
    });
    let gateway = Gateway::start(&setup(&backend));
    let alice = gateway.visitor().signed_in_as("alice");
    let mut page = load(&alice, "/noted").stream();
    let beginning = with_script("<html><head></head>", &alice);
    assert_eq!(page.read(beginning.len()), beginning.as_bytes());
    backend.release();
    assert_eq!(page.count(), Ok(1));
}

#[test]
fn a_page_that_the_backend_cuts_off_is_cut_off_here() {
    for framing in ["Content-Length: 500", "Transfer-Encoding: chunked"] {
        for page in ["<html><head><link hre", PAGE] {
            let house = House::of(Backend::with(move |peer| {
                let page = if framing.starts_with('T') {
                    format!("{:x}\r\n{page}\r\n", page.len())
                } else {
                    page.to_owned()
                };
                peer.write(format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n{framing}\r\n\r\n{page}"));
                After::Close
            }));
            let alice = house.alice();
            let whole = with_script(page, &alice);
            let mut answer = load(&alice, "/noted").stream();
            let mut came = Vec::new();
            let end = loop {
                match answer.try_piece() {
                    Ok(Some(piece)) => came.extend_from_slice(&piece),
                    end => break end,
                }
            };
            assert!(end.is_err(), "{framing} {page}");
            assert!(whole.as_bytes().starts_with(&came), "{}", String::from_utf8_lossy(&came));
        }
    }
}

#[test]
fn the_key_is_heeded_after_a_reload() {
    let backend = Backend::with(|peer| {
        peer.write(answer("200 OK", HTML, PAGE));
        After::KeepAlive
    });
    let gateway = Gateway::start(&setup(&backend));
    let alice = gateway.visitor().signed_in_as("alice");
    assert_eq!(load(&alice, "/noted").send().text(), with_script(PAGE, &alice));
    let text = gateway.folder.read("vestibule.toml").replace("expiry_notice = true", "expiry_notice = false");
    gateway.folder.write("vestibule.toml", &text);
    gateway.reload().expect("a reload");
    assert_eq!(load(&alice, "/noted").send().text(), PAGE);
}

/// A backend, and a gateway with the notice on `/noted` and, for guests too, on `/perhaps`.
pub(super) struct House {
    backend: Backend,
    pub(super) gateway: Gateway,
}

impl House {
    /// Where every answer is a page with these headers.
    pub(super) fn answering(headers: &str, body: &str) -> Self {
        let bytes = answer("200 OK", &format!("{HTML}\r\n{headers}"), body);
        Self::with(move |_| bytes.clone())
    }

    fn with(answer: impl Fn(&Peer<'_>) -> String + Send + Sync + 'static) -> Self {
        Self::of(Backend::with(move |peer| {
            let bytes = answer(peer);
            peer.write(bytes);
            After::KeepAlive
        }))
    }

    fn of(backend: Backend) -> Self {
        let gateway = Gateway::start(&setup(&backend));
        Self { backend, gateway }
    }

    pub(super) fn alice(&self) -> Client {
        self.gateway.visitor().signed_in_as("alice")
    }

    fn last_request(&self) -> crate::harness::backend::Received {
        self.backend.all_received().pop().expect("a request")
    }
}

fn setup(backend: &Backend) -> Setup {
    Setup::in_front_of(&backend.url())
        .route("path = '/noted'; upstream = 'app'; expiry_notice = true")
        .route("path = '/perhaps'; upstream = 'app'; access = 'optional'; expiry_notice = true")
}

/// As a browser that loads a page.
pub(super) fn load<'a>(client: &'a Client, target: &str) -> Ask<'a> {
    client.ask("GET", target).as_page().header("sec-fetch-dest", "document")
}

pub(super) fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// The page with the script before the end of its head.
pub(super) fn with_script(page: &str, client: &Client) -> String {
    page.replacen("</head>", &format!("{}</head>", script(client, "")), 1)
}

pub(super) fn script(client: &Client, attribute: &str) -> String {
    format!("<script src=\"{}/.vestibule/notice.js\"{attribute} async></script>", client.origin())
}

/// The number at the end of the path.
fn number_of(peer: &Peer<'_>) -> usize {
    peer.request.target().rsplit('/').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

pub(super) const HTML: &str = "Content-Type: text/html; charset=utf-8";

pub(super) const PAGE: &str = "<!doctype html><html><head><title>a</title></head><body>b</body></html>";

/// The policy headers of an answer.
pub(super) fn policies(answer: &Answer) -> Vec<&str> {
    answer.values("content-security-policy")
}
