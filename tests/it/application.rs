//! What belongs to the application alone: its headers in their order and number, its cookies, its host.

use crate::harness::{Backend, Gateway, Setup};

#[test]
fn headers_pass_in_their_order_and_number() {
    let backend = Backend::answering(
        "HTTP/1.1 200 OK\r\nX-List: 1\r\nX-List: 2\r\nX-List: 1\r\nWWW-Authenticate: Basic realm=\"app\"\r\n\
         Access-Control-Allow-Origin: *\r\nContent-Length: 0\r\n\r\n",
    );
    let gateway = Gateway::start(&public(&backend));
    for visitor in [gateway.visitor(), gateway.visitor().over_h2()] {
        let answer = visitor
            .ask("GET", "/")
            .header("x-list", "b")
            .header("x-list", "a")
            .header("x-list", "")
            .header("x-list", "b")
            .header("accept-encoding", "br")
            .send();
        let received = backend.received();
        assert_eq!(received.values("x-list"), ["b", "a", "", "b"]);
        assert_eq!(received.header("accept-encoding"), "br");
        assert_eq!(answer.values("x-list"), ["1", "2", "1"]);
        assert_eq!(answer.header("www-authenticate"), "Basic realm=\"app\"");
        assert_eq!(answer.header("access-control-allow-origin"), "*");
    }
}

#[test]
fn cookies_that_the_application_sets_come_line_by_line() {
    let backend = Backend::answering(
        "HTTP/1.1 200 OK\r\nSet-Cookie: a=1; Path=/; HttpOnly\r\nX-Between: 1\r\n\
         Set-Cookie: b=\"x, y\"; Expires=Wed, 18 May 2033 03:33:20 GMT\r\nSet-Cookie: a=2; Path=/sub\r\n\
         Content-Length: 0\r\n\r\n",
    );
    let gateway = Gateway::start(&public(&backend));
    let lines =
        ["a=1; Path=/; HttpOnly", "b=\"x, y\"; Expires=Wed, 18 May 2033 03:33:20 GMT", "a=2; Path=/sub"];
    for visitor in [gateway.visitor(), gateway.visitor().over_h2()] {
        assert_eq!(visitor.get("/").values("set-cookie"), lines);
    }
}

#[test]
fn the_host_is_kept_or_replaced_as_configured() {
    let backend = Backend::start();
    let servers = format!("servers = ['{}']", backend.url());
    let setup = Setup::new()
        .upstream_with("kept", &servers)
        .upstream_with("own", &format!("{servers}; host = 'upstream'"))
        .upstream_with("fixed", &format!("{servers}; host = 'wiki.internal'"))
        .route("path = '/kept'; upstream = 'kept'; access = 'public'")
        .route("path = '/own'; upstream = 'own'; access = 'public'")
        .route("path = '/fixed'; upstream = 'fixed'; access = 'public'");
    let gateway = Gateway::start(&setup);
    let asked = "wiki.test:8443";
    for (path, host) in
        [("/kept", asked.to_owned()), ("/own", backend.authority()), ("/fixed", "wiki.internal".to_owned())]
    {
        assert_eq!(gateway.visitor().ask("GET", path).header("host", asked).send().status, 200);
        let received = backend.received();
        assert_eq!(received.header("host"), host, "{path}");
        assert_eq!(received.header("x-forwarded-host"), asked, "{path}");
    }
}

/// Everybody may see everything of the backend.
fn public(backend: &Backend) -> Setup {
    Setup::new().upstream("app", &backend.url()).route("upstream = 'app'; access = 'public'")
}
