//! New configuration, keys and certificates under a running gateway.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use vestibule::clock::Clock;
use vestibule::session::KeyRing;

use crate::harness::backend::HELLO;
use crate::harness::folder::Validity;
use crate::harness::people::Person;
use crate::harness::{After, Backend, Client, Folder, Gateway, Raw, Setup};

#[test]
fn routes_are_taken_over_on_open_connections() {
    let backend = Backend::start();
    let gateway = Gateway::spawn(&routes(&backend, &["/stays", "/goes", "/closes"]));
    let mut open = gateway.raw();
    assert_eq!(
        ["/stays", "/goes", "/closes", "/comes"].map(|path| status(&mut open, path)),
        [200, 200, 200, 404]
    );
    let changed =
        routes(&backend, &["/stays", "/comes"]).route("path = '/closes'; upstream = 'app'; access = 'login'");
    changed.write_to(&gateway.folder);
    let line = gateway.hang_up();
    assert!(line.contains("reloaded") && line.contains("changed=\"route\""), "{line}");
    assert_eq!(
        ["/stays", "/goes", "/closes", "/comes"].map(|path| status(&mut open, path)),
        [200, 404, 401, 200]
    );
}

#[test]
fn a_changed_rule_bites_on_an_open_session() {
    let backend = Backend::start();
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    let alice = gateway.visitor().signed_in_as("alice");
    let ada = gateway.visitor().signed_in_as("ada");
    assert_eq!((alice.get("/admin").status, ada.get("/admin").status), (403, 200));
    let config = gateway.folder.read("vestibule.toml").replace("groups = ['admin']", "groups = ['staff']");
    gateway.folder.write("vestibule.toml", &config);
    let report = gateway.reload().expect("a reload");
    assert!(report.contains("changed: [\"route\"]"), "{report}");
    assert_eq!((alice.get("/admin").status, ada.get("/admin").status), (200, 403));
}

#[test]
fn what_waits_for_a_restart_is_said_until_it_was_made_or_put_back() {
    let backend = Backend::start();
    let with_workers = |count: &str| Setup::in_front_of(&backend.url()).set("server.workers", count);
    let gateway = Gateway::start(&with_workers("2"));
    for (workers, waits) in [("3", "[\"server.workers\"]"), ("3", "[\"server.workers\"]"), ("2", "[]")] {
        with_workers(workers).write_to(&gateway.folder);
        let report = gateway.reload().expect("a reload");
        assert!(report.contains(&format!("restart_needed: {waits}")), "{workers}: {report}");
    }
}

#[test]
fn an_account_that_cannot_be_read_keeps_no_other_in() {
    let backend = Backend::start();
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()).person(Person::named("bob")));
    let [ada, alice, bob] = ["ada", "alice", "bob"].map(|user| gateway.visitor().signed_in_as(user));
    let database = rusqlite::Connection::open(gateway.folder.path("users.db")).expect("a database");
    database.execute("UPDATE groups SET name = 'no group' WHERE user = 'ada'", []).expect("damage");
    database.execute("UPDATE users SET disabled = 1 WHERE name = 'alice'", []).expect("an account");
    let report = gateway.reload().expect("a reload");
    assert!(report.contains("sessions_ended: 2, warnings: []"), "{report}");
    assert_eq!([&ada, &alice, &bob].map(|visitor| visitor.get("/").status), [401, 401, 200]);
}

#[test]
fn the_command_says_what_came_of_a_reload() {
    let backend = Backend::start();
    let gateway = Gateway::spawn(&Setup::in_front_of(&backend.url()));
    assert_eq!(gateway.reload().as_deref(), Ok("reloaded; no setting changed\n"));
    let changed = Setup::in_front_of(&backend.url())
        .set("server.workers", "3")
        .set("log.format", "'json'")
        .set("session.idle", "'5m'");
    changed.write_to(&gateway.folder);
    assert_eq!(
        gateway.reload().as_deref(),
        Ok("reloaded; changed: server, session, log\n\
            `server.workers` changed, which needs a restart\n\
            `log.format` changed, which needs a restart\n")
    );
    gateway.folder.write("vestibule.toml", "[server]\nhttsp = []\n");
    let refused = gateway.reload().expect_err("a refusal");
    let file = gateway.folder.config().display().to_string();
    let file = file.rsplit('/').next().expect("a file name");
    assert!(
        refused.contains(&format!("{file}:2: server.httsp: unknown key; did you mean `https`?")),
        "{refused}"
    );
    assert_eq!(gateway.visitor().get("/public").status, 200);
}

#[test]
fn a_rotated_key_signs_new_cookies_and_a_retired_one_opens_nothing_any_more() {
    let backend = Backend::start();
    let gateway = Gateway::spawn(&Setup::in_front_of(&backend.url()));
    let before = gateway.visitor().signed_in_as("alice");
    let old = signer(&before);
    let rotated = gateway.folder.run(&["keys", "rotate"]);
    assert_eq!(
        (rotated.code, rotated.stdout.as_str()),
        (0, "a new key signs from now on\nthe running gateway has taken it over\n")
    );
    assert_eq!(before.get("/").status, 200);
    let after = gateway.visitor().signed_in_as("alice");
    assert_ne!(signer(&after), old);
    let retired = gateway.folder.run(&["keys", "retire", &old, "--force"]);
    assert_eq!(
        (retired.code, retired.stdout),
        (
            0,
            format!(
                "key {old} is gone; cookies that it signed are refused\nthe running gateway has taken it over\n"
            )
        )
    );
    assert_eq!(before.get("/").status, 401);
    assert_eq!(after.get("/").status, 200);
}

#[test]
fn a_key_file_that_is_exchanged_by_hand_is_taken_over_at_sighup() {
    let backend = Backend::start();
    let gateway = Gateway::spawn(&Setup::in_front_of(&backend.url()));
    let alice = gateway.visitor().signed_in_as("alice");
    gateway.folder.new_keys();
    assert_eq!(alice.get("/").status, 200);
    let line = gateway.hang_up();
    assert!(line.contains("changed=\"keys\""), "{line}");
    assert_eq!(alice.get("/").status, 401);
    gateway.visitor().signed_in_as("alice");
}

#[test]
fn a_half_written_file_changes_nothing_and_is_named() {
    let backend = Backend::start();
    let gateway = Gateway::spawn(&Setup::in_front_of(&backend.url()));
    let alice = gateway.visitor().signed_in_as("alice");
    for (file, empty, cut) in [
        ("vestibule.toml", "vestibule.toml: ", "vestibule.toml:"),
        ("keys.toml", "keys.toml` is not valid: ", "keys.toml` is not valid: "),
        ("gateway.pem", "gateway.pem` holds no PEM", "gateway.pem` ends in the middle of a certificate"),
        ("gateway.key", "gateway.key` holds no PEM private key", "gateway.key` holds no PEM private key"),
    ] {
        let whole = gateway.folder.read(file);
        for (length, said) in [(0, empty), (whole.len() / 2, cut), (whole.len() * 4 / 5, cut)] {
            gateway.folder.write(file, &whole[..length]);
            let line = gateway.hang_up();
            assert!(line.contains("reload refused; the old configuration stays in force"), "{line}");
            assert!(line.contains(said), "{file} cut to {length} bytes: {line}");
            assert_eq!(alice.get("/").status, 200);
            assert_eq!(gateway.visitor().get("/public").status, 200);
        }
        assert!(gateway.metric("vestibule_config_last_reload_successful").abs() < 0.5);
        gateway.folder.write(file, &whole);
        let line = gateway.hang_up();
        assert!(line.contains("reloaded"), "{line}");
    }
    assert!(gateway.metric("vestibule_config_last_reload_successful") > 0.5);
    assert_eq!(gateway.audited("sys_reload_fail")["event"], "sys_reload_fail");
    assert_eq!(gateway.audited("sys_reload")["event"], "sys_reload");
}

#[test]
fn files_that_do_not_belong_together_are_refused() {
    let backend = Backend::start();
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    let shown = certificate(&gateway);
    let refused = |gateway: &Gateway, said: &str| {
        let problem = gateway.reload().expect_err("a refusal");
        assert!(problem.contains(said), "{problem}");
        assert_eq!(certificate(gateway), shown);
    };
    let folder = &gateway.folder;
    let (pem, key) = (folder.read("gateway.pem"), folder.read("gateway.key"));
    folder.certificate("other", &["localhost"], Validity::Current);
    folder.write("gateway.pem", &folder.read("other.pem"));
    refused(&gateway, "gateway.pem` is not the certificate of the key `");
    folder.certificate("gateway", &["localhost"], Validity::Past);
    refused(&gateway, "gateway.pem` expired at 2001-01-01T00:00:00.000Z; put the renewed certificate there");
    folder.certificate("gateway", &["localhost"], Validity::Future);
    refused(&gateway, "gateway.pem` is valid only from 2100-01-01T00:00:00.000Z");
    folder.write("gateway.pem", &pem);
    folder.write("gateway.key", &key);
    open_to_all(folder, "gateway.key");
    refused(&gateway, "gateway.key` can be read by everybody (mode 0644); run `chmod 600 ");
    fs::remove_file(folder.path("gateway.key")).expect("a removed file");
    refused(&gateway, "tls.certificate: there is no file `");
    folder.write("gateway.key", &key);
    open_to_all(folder, "keys.toml");
    refused(&gateway, "keys.toml` has mode 644, so others can reach the keys; run `chmod 600 ");
    let keys = folder.read("keys.toml");
    fs::remove_file(folder.path("keys.toml")).expect("a removed file");
    refused(&gateway, "cannot read the key file `");
    folder.write("keys.toml", &keys);
    gateway.reload().expect("a reload");
}

#[test]
fn a_new_certificate_is_shown_from_the_next_connection_on_and_drops_none() {
    let backend = Backend::start();
    let gateway = Gateway::spawn(&Setup::in_front_of(&backend.url()));
    let mut open = gateway.raw();
    assert_eq!(status(&mut open, "/public"), 200);
    let before = certificate(&gateway);
    gateway.folder.certificate("gateway", &["localhost"], Validity::Current);
    let line = gateway.hang_up();
    assert!(line.contains("reloaded"), "{line}");
    assert_eq!(status(&mut open, "/public"), 200);
    assert_ne!(certificate(&gateway), before);
}

#[test]
fn a_request_under_way_ends_by_the_rules_it_began_with() {
    let backend = Backend::with(|peer| {
        peer.wait();
        peer.write(HELLO);
        After::KeepAlive
    });
    let gateway = Gateway::spawn(&routes(&backend, &["/slow"]));
    let mut open = gateway.raw();
    open.write(get("/slow"));
    backend.received();
    routes(&backend, &["/other"]).write_to(&gateway.folder);
    gateway.hang_up();
    backend.release();
    let answer = open.response();
    assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
    assert_eq!(status(&mut open, "/slow"), 404);
}

#[test]
fn fifty_reloads_lose_no_request() {
    let backend = Backend::start();
    let gateway = Gateway::spawn(&Setup::in_front_of(&backend.url()));
    let is_over = AtomicBool::new(false);
    let asking = |visitor: Client| {
        let mut count = 0;
        while !is_over.load(Ordering::SeqCst) {
            assert_eq!(visitor.get("/").status, 200);
            count += 1;
        }
        count
    };
    let kept_alive = gateway.visitor().signed_in_as("alice");
    let multiplexed = gateway.visitor().over_h2().signed_in_as("ada");
    thread::scope(|scope| {
        let askers = [scope.spawn(|| asking(kept_alive)), scope.spawn(|| asking(multiplexed))];
        for round in 0..50 {
            if round % 2 == 0 {
                gateway.folder.certificate("gateway", &["localhost"], Validity::Current);
            }
            let line = gateway.hang_up();
            assert!(line.contains("reloaded"), "{line}");
        }
        is_over.store(true, Ordering::SeqCst);
        for asker in askers {
            assert!(asker.join().expect("every answer") > 0);
        }
    });
    assert!((gateway.metric("vestibule_events_total{event=\"sys_reload\"}") - 50.0).abs() < 0.5);
}

#[test]
fn fifty_hangups_while_the_key_file_is_being_written_lose_nobody_and_sign_with_whole_keys_only() {
    let backend = Backend::start();
    let setup = Setup::in_front_of(&backend.url()).set("session.max_per_user", "0");
    let gateway = Gateway::spawn(&setup);
    let (rings, keys) = two_rings(&gateway.folder);
    let alice = gateway.visitor().signed_in_as("alice");
    let is_over = AtomicBool::new(false);
    let asking = |visitor: Client| {
        while !is_over.load(Ordering::SeqCst) {
            assert_eq!(visitor.get("/").status, 200);
            assert!(keys.contains(&signer(&visitor)));
        }
        visitor
    };
    let alice = thread::scope(|scope| {
        scope.spawn(|| {
            for ring in rings.iter().cycle().take_while(|_| !is_over.load(Ordering::SeqCst)) {
                write_in_pieces(&gateway.folder, ring);
            }
        });
        let asker = scope.spawn(|| asking(alice));
        let hangups = (0..5).map(|_| scope.spawn(|| (0..10).for_each(|_| gateway.ask_to_reload())));
        for hangup in hangups.collect::<Vec<_>>() {
            hangup.join().expect("ten signals");
            assert!(keys.contains(&signer(&gateway.visitor().signed_in_as("ada"))));
        }
        gateway.line_with(&["reload refused"]);
        is_over.store(true, Ordering::SeqCst);
        asker.join().expect("every answer")
    });
    write_in_pieces(&gateway.folder, &rings[1]);
    let line = gateway.hang_up();
    assert!(line.contains("reloaded"), "{line}");
    assert_eq!(alice.get("/").status, 200);
    assert_eq!(signer(&gateway.visitor().signed_in_as("ada")), keys[1]);
}

/// Two key files with the same two keys, of which each has another one sign; and the ids of the keys.
fn two_rings(folder: &Folder) -> ([String; 2], [String; 2]) {
    let now = Clock::system().now();
    let first = KeyRing::load(&folder.path("keys.toml")).expect("a key file");
    let second = first.rotate(now);
    let keys = [first.signer().id(), second.signer().id()];
    let text = |ring: &KeyRing| {
        ring.save(&folder.path("other.toml")).expect("a key file");
        folder.read("other.toml")
    };
    let rings = keys.map(|key| text(&second.activate(key).expect("a key of the ring")));
    (rings, keys.map(|key| key.to_string()))
}

/// As a careless program does it: whoever reads meanwhile finds a part.
fn write_in_pieces(folder: &Folder, text: &str) {
    let mut file = fs::File::create(folder.path("keys.toml")).expect("the key file");
    for piece in text.as_bytes().chunks(16) {
        file.write_all(piece).expect("a piece");
    }
}

/// Public routes at these paths.
fn routes(backend: &Backend, paths: &[&str]) -> Setup {
    let setup = Setup::new().upstream("app", &backend.url());
    paths.iter().fold(setup, |setup, path| {
        setup.route(&format!("path = '{path}'; upstream = 'app'; access = 'public'"))
    })
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

#[track_caller]
fn status(connection: &mut Raw, path: &str) -> u16 {
    connection.write(get(path)).response().status
}

/// The certificate that a new connection is shown.
fn certificate(gateway: &Gateway) -> Vec<u8> {
    let visitor = gateway.visitor();
    assert_eq!(visitor.get("/public").status, 200);
    visitor.certificate_seen().expect("a certificate")
}

/// The id of the key that signed the visitor's cookie.
fn signer(visitor: &Client) -> String {
    let cookie = visitor.session_cookie().expect("a session cookie");
    let wire = URL_SAFE_NO_PAD.decode(cookie).expect("base64url");
    let [_version, a, b, c, d, ..] = wire[..] else { panic!("a short cookie") };
    format!("{a:02x}{b:02x}{c:02x}{d:02x}")
}

fn open_to_all(folder: &Folder, name: &str) {
    fs::set_permissions(folder.path(name), fs::Permissions::from_mode(0o644)).expect("a new mode");
}
