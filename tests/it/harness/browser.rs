//! Runs the scripts of `tests/browser` in Chromium against a gateway, and moves the gateway's clock when
//! they ask for it.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use vestibule::clock::ClockHand;

use super::command::finish;
use super::gateway::Gateway;
use super::legacy::{Legacy, LegacySocket, tests};
use super::people::{PASSWORD, Person};
use super::setup::Setup;

/// The old application and its WebSocket server behind a gateway, as the flows expect them.
pub(crate) struct Stage {
    gateway: Gateway,
    control: Control,
    _legacy: Legacy,
    _socket: LegacySocket,
}

impl Stage {
    pub(crate) fn set() -> Self {
        Self::with(Setup::new())
    }

    /// Where nobody may have more than two sessions.
    pub(crate) fn with_room_for_two() -> Self {
        Self::with(Setup::new().set("session.max_per_user", "2").set("session.at_limit", "'refuse'"))
    }

    /// Where `/passkey` demands one.
    #[cfg(feature = "passkeys")]
    pub(crate) fn with_passkeys() -> Self {
        Self::with(Setup::new().route("path = '/passkey'; upstream = 'app'; mfa = 'passkey'"))
    }

    /// Where the application also stands below `/noted`, with the expiry notice on its pages.
    #[cfg(feature = "html-rewrite")]
    pub(crate) fn with_notice() -> Self {
        Self::with(noted())
    }

    /// The same with sessions that end an hour after the login, whatever happens.
    #[cfg(feature = "html-rewrite")]
    pub(crate) fn with_notice_and_sessions_of_an_hour() -> Self {
        Self::with(noted().set("session.idle", "'1h'").set("session.absolute", "'1h'"))
    }

    /// In the clothes of a deployer.
    pub(crate) fn dressed() -> Self {
        let links =
            "[{ text = 'Imprint', url = '/imprint' }, { text = 'Help', url = 'mailto:help@example.com' }]";
        Self::with(
            Setup::new()
                .set("portal.branding.name", "'Wonderland Library'")
                .set("portal.branding.accent", "'#7a1f5c'")
                .set("portal.branding.lead", "'Readers sign in with the number on their card.'")
                .set("portal.branding.link", links),
        )
    }

    fn with(setup: Setup) -> Self {
        let (legacy, socket) = (Legacy::start(), LegacySocket::start());
        let setup = setup
            .upstream("app", &legacy.url())
            .upstream("socket", &socket.url())
            .upstream("broken", "http://127.0.0.1:1")
            .route("path = '/'; upstream = 'app'; access = 'login'")
            .route("path = '/ws'; upstream = 'socket'; access = 'login'")
            .route("path = '/broken'; upstream = 'broken'; access = 'login'")
            .route("path = '/builtin'; upstream = 'builtin'; access = 'login'")
            .route("path = '/admin'; upstream = 'app'; access = 'login'; groups = ['admin']")
            .route("path = '/works'; upstream = 'app'; access = 'login'; maintenance = true")
            .person(Person::named("alice").in_group("staff").called("Alice Liddell"))
            .person(Person::named("bob"))
            .set("admin.groups", "['support']")
            .person(Person::named("carol"))
            .person(Person::named("dora").in_group("support"));
        let gateway = Gateway::start(&setup);
        let control = Control::start(gateway.clock_hand());
        Self { gateway, control, _legacy: legacy, _socket: socket }
    }

    /// Plays a script of `tests/browser` with these arguments before and after the addresses.
    #[track_caller]
    pub(crate) fn play(&self, script: &str, before: &[&str], after: &[&str]) -> String {
        let mut node = Command::new("node");
        node.arg(tests().join("browser").join(script));
        node.args(before).args([self.gateway.url(), self.control.url()]).args(after);
        node.env("VESTIBULE_TEST_PASSWORD", PASSWORD).env("VESTIBULE_TEST_RESET", self.link_for("carol"));
        let finished = finish(&mut node, "");
        assert!(finished.code == 0, "{}{}", finished.stdout, finished.stderr);
        finished.stdout
    }
}

#[cfg(feature = "html-rewrite")]
fn noted() -> Setup {
    let route = "path = '/noted'; upstream = 'app'; strip_prefix = true; expiry_notice = true";
    Setup::new().route(route).person(Person::named("ada"))
}

impl Stage {
    /// Path and query of the link that an administrator gives to somebody who lost everything.
    fn link_for(&self, user: &str) -> String {
        let made =
            self.gateway.folder.run(&["users", "reset", user, "--host", "localhost", "--expires", "24h"]);
        let link =
            made.stdout.split_whitespace().find(|word| word.starts_with("https://")).unwrap_or_default();
        link.trim_start_matches("https://")
            .split_once('/')
            .map_or(String::new(), |(_, path)| format!("/{path}"))
    }
}

/// `POST /advance?seconds=N` and `GET /now` on a free port.
pub(crate) struct Control {
    address: SocketAddr,
    is_over: Arc<AtomicBool>,
}

impl Control {
    pub(crate) fn start(hand: ClockHand) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let is_over = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&is_over);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if flag.load(Ordering::SeqCst) {
                    return;
                }
                serve(stream, &hand);
            }
        });
        Self { address, is_over }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        let _woken = TcpStream::connect(self.address);
    }
}

fn serve(mut stream: TcpStream, hand: &ClockHand) {
    let mut lines = BufReader::new(stream.try_clone().expect("a socket")).lines().map_while(Result::ok);
    let request = lines.next().unwrap_or_default();
    let _head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let seconds = request.split("seconds=").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok());
    if let Some(seconds) = seconds {
        hand.advance(Duration::from_secs(seconds));
    }
    let now = hand.now().as_millis().to_string();
    let length = now.len();
    let _gone =
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{now}");
}
