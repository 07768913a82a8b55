//! The ways to a backend: sockets of this machine.

use crate::harness::folder::Folder;
use crate::harness::legacy::Legacy;
use crate::harness::{Gateway, Setup, Upload};

#[test]
fn an_application_behind_a_unix_socket_is_served() {
    let folder = Folder::empty();
    let legacy = Legacy::on_socket(&folder.path("app.sock"));
    let gateway = Gateway::start(&Setup::in_front_of(&legacy.url()));
    let visitor = gateway.visitor().signed_in_as("alice");
    assert_eq!(visitor.get("/whoami").status, 200);
    let told = visitor.ask("PUT", "/upload").body(Upload::Pattern(1 << 20)).send().json();
    assert_eq!(told["bytes"], 1 << 20);
    let seen = visitor.get("/headers").json();
    assert!(seen.to_string().contains(&visitor.authority()), "the host of the client: {seen}");
}

#[test]
fn a_socket_that_nobody_serves_is_a_bad_gateway_until_somebody_does() {
    let folder = Folder::empty();
    let socket = folder.path("app.sock");
    let gateway = Gateway::start(&Setup::in_front_of(&format!("unix:{}", socket.display())));
    assert_eq!(gateway.visitor().get("/public").status, 502);
    let _legacy = Legacy::on_socket(&socket);
    assert_eq!(gateway.visitor().get("/public").status, 404);
}
