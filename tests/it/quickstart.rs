//! From an empty folder to a protected application in one command.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
#[cfg(feature = "passkeys")]
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

#[cfg(feature = "passkeys")]
use crate::harness::command::finish;
#[cfg(feature = "passkeys")]
use crate::harness::legacy::tests;
use crate::harness::{Backend, Client, Folder, Gateway};

#[test]
fn one_command_protects_an_application_from_an_empty_folder() {
    let _alone = the_ports();
    let folder = the_built_in_page_is_served_twice();
    another_backend_is_refused(&folder);
    a_backend_is_protected();
    wrong_addresses_are_refused();
}

#[cfg(feature = "passkeys")]
#[test]
fn a_new_user_comes_from_an_empty_folder_to_a_route_that_demands_a_passkey() {
    let _alone = the_ports();
    let backend = Backend::start();
    let gateway = Gateway::spawn_with(Folder::empty(), &["quickstart", &backend.url()]);
    let (user, password) = introduced(&gateway.printed());
    in_the_browser("sign_in", &gateway, &user, &password);
    let route = "\n[[route]]\npath = \"/vault\"\nupstream = \"app\"\naccess = \"login\"\nmfa = \"passkey\"\n";
    gateway.folder.write("vestibule.toml", &(gateway.folder.read("vestibule.toml") + route));
    let checked = gateway.folder.run(&["check"]);
    assert!(checked.stdout.contains("*/vault  login -> app  mfa: passkey"), "{checked:?}");
    let line = gateway.hang_up();
    assert!(line.contains("reloaded") && line.contains("changed=\"route\""), "{line}");
    let url = "https://localhost:8443/vault";
    let told = gateway.folder.run(&["explain", "GET", url, "--user", &user]).stdout;
    assert!(told.contains("asked to show a passkey"), "{told}");
    let guest = Client::new(gateway.address(), trust(&gateway));
    assert!(guest.page("/vault").asks_login());
    in_the_browser("passkey", &gateway, &user, &password);
    let received = backend.all_received();
    let vault = received.iter().filter(|received| received.target() == "/vault");
    let users: Vec<&str> = vault.map(|received| received.header("x-user-id")).collect();
    assert_eq!(users, [user.as_str(), user.as_str()], "nobody came there but with a passkey");
}

/// Plays a step of `tests/browser/new_user.mjs`.
#[cfg(feature = "passkeys")]
fn in_the_browser(step: &str, gateway: &Gateway, user: &str, password: &str) {
    let mut node = Command::new("node");
    node.arg(tests().join("browser/new_user.mjs")).args([step, &gateway.url()]);
    node.env("VESTIBULE_TEST_USER", user).env("VESTIBULE_TEST_PASSWORD", password);
    let finished = finish(&mut node, "");
    assert!(finished.code == 0, "{}{}", finished.stdout, finished.stderr);
}

/// The ports that a quickstart listens on: they are the product's promise, and there is only one of each.
fn the_ports() -> MutexGuard<'static, ()> {
    static PORTS: Mutex<()> = Mutex::new(());
    let alone = PORTS.lock().unwrap_or_else(PoisonError::into_inner);
    for port in [8443, 9443] {
        let free = TcpListener::bind(("127.0.0.1", port));
        assert!(free.is_ok(), "port {port} is taken by something else; stop it before this test");
    }
    alone
}

fn the_built_in_page_is_served_twice() -> Folder {
    let gateway = Gateway::spawn_with(Folder::empty(), &["quickstart"]);
    let (user, password) = introduced(&gateway.printed());
    let config = gateway.folder.read("vestibule.toml");
    assert!(config.lines().count() <= 20 && config.contains('#'), "{config}");
    for (secret, expected) in [("keys.toml", 0o600), ("localhost.key", 0o600), ("admin.sock", 0o600)] {
        let mode = fs::metadata(gateway.folder.path(secret)).expect("a file").permissions().mode() & 0o777;
        assert_eq!(mode, expected, "{secret}");
    }
    let visitor = sign_in(&gateway, &user, &password);
    let page = visitor.page("/hello?x=1");
    assert_eq!(page.status, 200);
    for shown in [user.as_str(), "x-user-id", "x-forwarded-proto", "x-request-id"] {
        assert!(page.text().to_ascii_lowercase().contains(shown), "{shown} in {}", page.text());
    }
    assert!(!page.text().contains("__Host-vestibule"), "{}", page.text());
    let gateway = Gateway::spawn_with(gateway.stop(), &["quickstart"]);
    assert!(!gateway.printed().contains(&password) && !gateway.printed().contains("password"));
    assert_eq!(gateway.folder.read("vestibule.toml"), config);
    assert_eq!(visitor.second_tab().page("/").status, 200);
    sign_in(&gateway, &user, &password);
    gateway.stop()
}

fn another_backend_is_refused(folder: &Folder) {
    let config = folder.read("vestibule.toml");
    let finished = folder.run(&["quickstart", "http://127.0.0.1:5000"]);
    assert_eq!((finished.code, finished.stdout.as_str()), (2, ""));
    assert_eq!(
        finished.stderr,
        "error: `vestibule.toml` is here already and names another application than `http://127.0.0.1:5000`; \
         change `servers` there, or begin in an empty folder\n"
    );
    assert_eq!(folder.read("vestibule.toml"), config);
}

fn a_backend_is_protected() {
    let backend = Backend::start();
    let gateway = Gateway::spawn_with(Folder::empty(), &["quickstart", &backend.url()]);
    assert!(gateway.folder.read("vestibule.toml").lines().count() <= 20);
    assert!(gateway.printed().contains(&format!("https://localhost:8443  protects  {}", backend.url())));
    let (user, password) = introduced(&gateway.printed());
    let visitor = sign_in(&gateway, &user, &password);
    assert_eq!(visitor.page("/x?y").text(), "hello");
    let received = backend.received();
    assert_eq!((received.header("x-user-id"), received.target()), (user.as_str(), "/x?y"));
    let gateway = Gateway::spawn_with(gateway.stop(), &["quickstart", &backend.url()]);
    assert_eq!(visitor.second_tab().page("/").text(), "hello");
    let other = gateway.folder.run(&["quickstart", "http://127.0.0.1:1"]);
    assert_eq!(other.code, 2, "{}", other.stderr);
}

fn wrong_addresses_are_refused() {
    let folder = Folder::empty();
    for (address, why) in [
        ("127.0.0.1:5000", "does not begin with `http://`"),
        ("https://127.0.0.1:5000", "does not begin with `http://`"),
        ("http://127.0.0.1:5000/app", "has a path"),
        ("not an address", "is not an address"),
    ] {
        let finished = folder.run(&["quickstart", address]);
        let help = "write your application's address as in `http://127.0.0.1:5000`";
        assert_eq!((finished.code, finished.stderr), (2, format!("error: `{address}` {why}; {help}\n")));
    }
    assert_eq!(fs::read_dir(folder.root()).expect("the folder").count(), 0);
}

/// The first user and the password, which is printed once.
fn introduced(printed: &str) -> (String, String) {
    let after = |mark: &str| {
        let mut lines = printed.lines().filter_map(|line| line.strip_prefix(mark));
        let word = lines.next().unwrap_or_else(|| panic!("{mark} in {printed}")).trim().to_owned();
        assert_eq!(lines.next(), None, "{printed}");
        word
    };
    (after("Sign in as "), after("password "))
}

/// The certificate that the quickstart made.
fn trust(gateway: &Gateway) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let pem = gateway.folder.read("localhost.pem");
    roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate")).expect("a root");
    Arc::new(roots)
}

fn sign_in(gateway: &Gateway, user: &str, password: &str) -> Client {
    let visitor = Client::new(gateway.address(), trust(gateway));
    assert_eq!(visitor.try_login("/", user, password).status, 303);
    visitor
}
