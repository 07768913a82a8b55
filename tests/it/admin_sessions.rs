//! What administrators do with sessions, cookies and keys: beside a running gateway, and at rest.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::harness::assumptions::event;
use crate::harness::client::SESSION_COOKIE;
use crate::harness::command::Finished;
use crate::harness::{Backend, Client, Folder, Gateway, Setup};

#[test]
fn sessions_are_listed_shown_and_counted_alike_by_the_gateway_and_at_rest() {
    let (_backend, gateway) = house();
    let alice = gateway.visitor().signed_in_as("alice");
    let _ada = gateway.visitor().remembered_as("ada");
    let _again = gateway.visitor().signed_in_as("ada");
    let running = everything_of(&gateway.folder, &alice);
    let folder = gateway.stop();
    let at_rest = everything_of(&folder, &alice);
    let without_time = |mut all: Vec<Value>| {
        for session in all.iter_mut().filter_map(Value::as_object_mut) {
            session.retain(|key, _| key != "left" && key != "ends_in_seconds");
        }
        all
    };
    assert_eq!(without_time(running), without_time(at_rest));
}

/// Asks for everything in every way; the sessions in the order of the list.
fn everything_of(folder: &Folder, alice: &Client) -> Vec<Value> {
    let listed = answer(folder, &["sessions", "list", "--json"]);
    assert_eq!(listed["more"], false);
    let all = listed["sessions"].as_array().expect("a list").clone();
    let mut users: Vec<&str> = all.iter().filter_map(|session| session["user"].as_str()).collect();
    users.sort_unstable();
    assert_eq!(users, ["ada", "ada", "alice"]);
    let of_ada = answer(folder, &["sessions", "list", "--user", "ada", "--json"]);
    assert_eq!(of_ada["sessions"].as_array().map(Vec::len), Some(2));
    let nobody = answer(folder, &["sessions", "list", "--user", "nobody", "--json"]);
    assert_eq!(nobody, json!({"sessions": [], "more": false}));

    let of_alice = all.iter().find(|session| session["user"] == "alice").expect("alice's session");
    let id = of_alice["id"].as_str().expect("an id");
    let told = answer(folder, &["cookie", "inspect", "--json", &cookie(alice)]);
    assert_eq!((told["id"].as_str(), id.len()), (Some(id), 64));
    for prefix in [id, &id[..8], &id[..16], &id.to_ascii_uppercase()[..11]] {
        let shown = answer(folder, &["sessions", "show", prefix, "--json"]);
        assert_eq!((&shown["id"], &shown["verdict"]), (&json!(id), &json!("live")), "{prefix}");
        assert_eq!(shown["session"]["groups"], json!(["staff"]));
    }
    let table = folder.run(&["sessions", "list"]).stdout;
    let line = table.lines().find(|line| line.starts_with(&id[..16])).expect("alice's line");
    assert!(line.contains("  alice  ") && line.contains("127.0.0.1"), "{line}");
    let shown = folder.run(&["sessions", "show", &id[..8]]).stdout;
    assert!(shown.starts_with(&format!("session        {id}\nuser           alice\n")), "{shown}");
    assert!(shown.contains("\nidle left      ") && shown.contains("\nabsolute left  "), "{shown}");

    let stats = answer(folder, &["sessions", "stats", "--json"]);
    assert_eq!((&stats["live"], &stats["users"]), (&json!(3), &json!(2)), "{stats}");
    assert_eq!(stats["keys"][0]["sessions"], 3);
    let oldest = all.iter().filter_map(|session| session["created"].as_str()).min();
    assert_eq!(stats["oldest"].as_str(), oldest);
    let stats = folder.run(&["sessions", "stats"]).stdout;
    assert!(stats.starts_with("live sessions  3\nusers          2\noldest         "), "{stats}");
    all
}

#[test]
fn a_list_stops_at_its_limit_and_says_that_there_are_more() {
    let (_backend, gateway) = house();
    let _sessions = ["alice", "ada", "alice"].map(|user| gateway.visitor().signed_in_as(user));
    let some = gateway.folder.run(&["sessions", "list", "--limit", "2"]).stdout;
    assert_eq!(some.lines().count(), 1 + 2 + 1, "{some}");
    assert!(some.ends_with("there are more than 2; `--limit N` shows more\n"), "{some}");
    let some = answer(&gateway.folder, &["sessions", "list", "--limit", "2", "--json"]);
    assert_eq!((some["sessions"].as_array().map(Vec::len), &some["more"]), (Some(2), &json!(true)));
    let all = gateway.folder.run(&["sessions", "list", "--limit", "3"]).stdout;
    assert_eq!(all.lines().count(), 1 + 3, "{all}");
    assert_eq!(gateway.folder.run(&["sessions", "list", "--limit", "0"]).code, 2);
}

#[test]
fn a_beginning_that_fits_several_sessions_is_refused_with_all_of_them() {
    let (_backend, gateway) = house();
    let _sessions = ["alice", "ada"].map(|user| gateway.visitor().signed_in_as(user));
    let folder = gateway.stop();
    // Nobody finds two tokens whose ids begin alike, so two rows are moved.
    let database = Connection::open(folder.path("sessions.db")).expect("the store");
    let ids = ["abcdef0123456789".repeat(4), format!("abcdef01{}", "0".repeat(56))];
    for (id, user) in ids.iter().zip(["alice", "ada"]) {
        let moved = format!("UPDATE sessions SET id = X'{id}' WHERE user = '{user}'");
        assert_eq!(database.execute(&moved, []).expect("an update"), 1);
    }
    drop(database);
    for command in ["show", "revoke"] {
        let refused = folder.run(&["sessions", command, "abcdef01"]);
        assert_eq!(refused.code, 1, "{command}");
        assert!(refused.stderr.contains("begins the ids of several sessions"), "{}", refused.stderr);
        assert!(ids.iter().all(|id| refused.stderr.contains(id)), "{}", refused.stderr);
    }
    let shown = answer(&folder, &["sessions", "show", "abcdef012", "--json"]);
    assert_eq!(shown["verdict"], "untrusted", "its record belongs to another id: {shown}");
    let listed = folder.run(&["sessions", "list"]).stdout;
    assert_eq!(listed.matches("(cannot be used: ").count(), 2, "{listed}");
    assert_eq!(folder.run(&["sessions", "revoke", "abcdef012"]).code, 0);
    assert_eq!(folder.run(&["sessions", "revoke", "abcdef01"]).code, 0, "one of them is left");
    assert!(
        answer(&folder, &["sessions", "list", "--json"])["sessions"].as_array().is_some_and(Vec::is_empty)
    );
}

#[test]
fn what_names_no_session_is_refused() {
    let (_backend, gateway) = house();
    let _alice = gateway.visitor().signed_in_as("alice");
    for (arguments, code, said) in [
        (&["show", "abc"][..], 2, "`abc` names no session: the id of a session is 64 hexadecimal digits"),
        (&["show", "not-a-session"], 2, "names no session"),
        (&["show", "00000000"], 1, "there is no session `00000000`"),
        (&["revoke", "00000000"], 1, "there is no session `00000000`"),
        (&["revoke", &"0".repeat(64)], 1, "there is no session"),
        (&["revoke"], 2, ""),
        (&["revoke", "00000000", "--all"], 2, ""),
        (&["revoke", "--user", "alice", "--all"], 2, ""),
        (&["revoke", "--user", "a b"], 2, "cannot be a user name"),
        (&["revoke", "--all"], 2, "without a terminal say `--yes` too"),
    ] {
        let refused = gateway.folder.run(&[&["sessions"], arguments].concat());
        assert_eq!(refused.code, code, "{arguments:?}: {}", refused.stderr);
        assert!(refused.stderr.contains(said), "{arguments:?}: {}", refused.stderr);
    }
    assert_eq!(count(&gateway.folder), 1);
}

#[test]
fn whoever_is_revoked_is_asked_to_sign_in_and_nobody_else() {
    let (_backend, gateway) = house();
    let [first, second, third] = ["alice", "alice", "ada"].map(|user| gateway.visitor().signed_in_as(user));
    let revoke = |arguments: &[&str]| gateway.folder.run(&[&["sessions", "revoke"], arguments].concat());
    let id = id_of(&gateway.folder, &first);
    assert_eq!(said(&revoke(&[&id[..10]])), (0, "one session ended\n", ""));
    assert!(first.page("/").asks_login());
    assert_eq!((second.get("/").status, third.get("/").status), (200, 200));
    assert_eq!(revoke(&[&id]).code, 1, "it is gone");

    assert_eq!(said(&revoke(&["--user", "alice"])), (0, "one session of `alice` ended\n", ""));
    assert_eq!((second.get("/").status, third.get("/").status), (401, 200));
    assert_eq!(said(&revoke(&["--user", "alice"])), (0, "there was no session of `alice`\n", ""));

    let _more = [gateway.visitor().signed_in_as("alice"), gateway.visitor().signed_in_as("ada")];
    assert_eq!(answer(&gateway.folder, &["sessions", "revoke", "--all", "--yes", "--json"])["ended"], 3);
    assert!(third.page("/").asks_login());
    assert_eq!(count(&gateway.folder), 0);
    assert_eq!(revoked(&gateway), ["ada", "ada", "alice", "alice", "alice"]);
}

#[test]
fn what_is_revoked_at_rest_stays_so_and_is_in_the_audit_trail() {
    let (_backend, gateway) = house();
    let [alice, ada, third] = ["alice", "ada", "ada"].map(|user| gateway.visitor().signed_in_as(user));
    let id = id_of(&gateway.folder, &third);
    let folder = gateway.stop();
    let at_rest = "no gateway is running here; this is what its session store holds\n";
    let ended = folder.run(&["sessions", "revoke", &id]);
    assert_eq!((ended.code, ended.stdout), (0, format!("one session ended\n{at_rest}")));
    let ended = folder.run(&["sessions", "revoke", "--user", "alice"]);
    assert_eq!((ended.code, ended.stdout), (0, format!("one session of `alice` ended\n{at_rest}")));
    let gateway = Gateway::start_in(folder);
    assert!(alice.moved_to(gateway.address()).page("/").asks_login());
    assert!(third.moved_to(gateway.address()).page("/").asks_login());
    assert_eq!(ada.moved_to(gateway.address()).page("/").status, 200);
    assert_eq!(revoked(&gateway), ["ada", "alice"]);
    let folder = gateway.stop();
    assert_eq!(answer(&folder, &["sessions", "revoke", "--all", "--yes", "--json"])["ended"], 1);
    assert_eq!(count(&folder), 0);
}

#[test]
fn sessions_in_memory_end_with_their_process_and_it_is_said() {
    let backend = Backend::start();
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()).set("session.store", "'memory:'"));
    let alice = gateway.visitor().signed_in_as("alice");
    assert_eq!(count(&gateway.folder), 1);
    let folder = gateway.stop();
    let listed = folder.run(&["sessions", "list"]);
    assert_eq!(listed.code, 0, "{}", listed.stderr);
    assert!(
        listed.stdout.ends_with("the sessions of `memory:` ended with its process\n"),
        "{}",
        listed.stdout
    );
    let told = inspect(&folder, &cookie(&alice));
    assert_eq!((told.code, &told.report["verdict"]), (1, &json!("ended")));
    assert_eq!(answer(&folder, &["keys", "status", "--json"])[0]["sessions"], 0);
}

#[test]
fn sessions_that_browsers_keep_cannot_be_listed_and_can_be_ended_all_the_same() {
    let backend = Backend::start();
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()).set("session.store", "'cookie:'"));
    let [alice, ada] = ["alice", "ada"].map(|user| gateway.visitor().signed_in_as(user));
    let told = inspect(&gateway.folder, &cookie(&alice));
    assert_eq!((told.code, &told.report["kind"]), (0, &json!("session-with-record")), "{}", told.report);
    let no_list = "sessions are in the cookies of their browsers, so nobody can list them";
    for arguments in [&["list"][..], &["stats"], &["show", "00000000"], &["revoke", "--all", "--yes"]] {
        let refused = gateway.folder.run(&[&["sessions"], arguments].concat());
        assert_eq!(said(&refused), (1, "", format!("error: {no_list}\n").as_str()), "{arguments:?}");
    }
    let known = gateway.folder.run(&["sessions", "list", "--user", "alice"]).stdout;
    assert!(known.contains("  alice  ") && known.contains("there may be others"), "{known}");
    let ended = gateway.folder.run(&["sessions", "revoke", "--user", "alice"]);
    let uncounted = format!("the sessions of `alice` ended; how many is not known: {no_list}\n");
    assert_eq!(said(&ended), (0, uncounted.as_str(), ""));
    assert!(alice.page("/").asks_login());
    assert_eq!(inspect(&gateway.folder, &cookie(&ada)).code, 0);

    let old = key_ids(&gateway.folder).remove(0);
    assert_eq!(gateway.folder.run(&["keys", "rotate"]).code, 0);
    let status = gateway.folder.run(&["keys", "status"]).stdout;
    assert!(status.contains("  ?         after ") && status.contains(no_list), "{status}");
    let refused = gateway.folder.run(&["keys", "retire", &old]);
    assert!(refused.code == 1 && refused.stderr.contains(no_list), "{}", refused.stderr);

    let id = id_of(&gateway.folder, &ada);
    let folder = gateway.stop();
    assert_eq!(folder.run(&["sessions", "list", "--user", "ada"]).code, 1, "nobody knows at rest");
    assert_eq!(inspect(&folder, &cookie(&ada)).report["session"]["user"], "ada");
    assert_eq!(folder.run(&["sessions", "revoke", &id]).code, 0);
    assert_eq!(inspect(&folder, &cookie(&ada)).report["verdict"], "ended");
    let gateway = Gateway::start_in(folder);
    assert!(ada.moved_to(gateway.address()).page("/").asks_login());
}

#[test]
fn a_valid_cookie_is_told_with_everything_in_it() {
    let (_backend, gateway) = house();
    let alice = gateway.visitor().signed_in_as("alice");
    gateway.advance(Duration::from_mins(10));
    let value = cookie(&alice);
    let pasted = [
        value.clone(),
        format!("{SESSION_COOKIE}={value}"),
        format!("Cookie: theme=dark; {SESSION_COOKIE}={value}"),
        format!("{SESSION_COOKIE}={value}; HttpOnly; SameSite=Lax; Secure; Path=/"),
    ];
    for text in pasted {
        let told = inspect(&gateway.folder, &text);
        let report = told.report;
        assert_eq!((told.code, &report["verdict"]), (0, &json!("live")), "{report}");
        assert_eq!((&report["kind"], &report["key"]["role"]), (&json!("session"), &json!("signs")));
        assert_eq!(report["token"], json!({"generation": 0, "newest": 0, "state": "current"}));
        assert_eq!(report["session"]["user"], "alice");
        assert_eq!(report["session"]["left"], json!({"ordinary": {"idle": 1_200, "absolute": 42_600}}));
        assert_eq!(report["bound_to"], json!(["user-agent"]));
    }
    let text = gateway.folder.run_with_input(&["cookie", "inspect"], &value).stdout;
    for line in ["valid: it opens a live session\n", "\nidle left      20 min\n", "\nabsolute left  11 h\n"] {
        assert!(text.contains(line), "{text}");
    }
    gateway.advance(Duration::from_mins(10));
    let due = inspect(&gateway.folder, &value);
    assert_eq!((due.code, &due.report["token"]["state"]), (0, &json!("due")));
    let remembered = inspect(&gateway.folder, &cookie(&gateway.visitor().remembered_as("ada")));
    assert_eq!(remembered.report["session"]["left"], json!({"remembered": 30 * 24 * 3600}));
}

#[test]
fn a_cookie_that_is_none_of_ours_is_refused_with_the_reason() {
    let (_backend, gateway) = house();
    let (_other_backend, other) = house();
    let mine = cookie(&gateway.visitor().signed_in_as("alice"));
    let second = cookie(&gateway.visitor().signed_in_as("alice"));
    let strange = cookie(&other.visitor().signed_in_as("alice"));
    let mut bytes = URL_SAFE_NO_PAD.decode(&mine).expect("base64url");
    *bytes.last_mut().expect("a byte") ^= 1;
    let changed = URL_SAFE_NO_PAD.encode(bytes);
    let doubled = format!("{SESSION_COOKIE}={mine}; {SESSION_COOKIE}={second}");
    for (text, verdict, reason) in [
        ("theme=dark", "not-ours", "there is no cookie `__Host-vestibule` in it"),
        ("abc", "malformed", "is all of it there?"),
        (&mine[..mine.len() - 4], "malformed", "is all of it there?"),
        (&"A".repeat(4_000), "oversized", "longer than any cookie of ours"),
        (&doubled, "doubled", "two different cookies"),
        (&changed, "forged", "which did not: it was changed"),
        (&strange, "forged", "which is not in the ring: it was retired"),
    ] {
        let told = inspect(&gateway.folder, text);
        assert_eq!((told.code, told.report["verdict"].as_str()), (1, Some(verdict)), "{}", told.report);
        assert!(told.report["reason"].as_str().is_some_and(|told| told.contains(reason)), "{}", told.report);
    }
    let key = key_ids(&other.folder).remove(0);
    let told = inspect(&gateway.folder, &strange).report;
    assert_eq!(told["key"], json!({"id": key, "role": "unlisted", "created": null}));
    assert!(told["reason"].as_str().is_some_and(|reason| reason.contains(&key)));
    for nothing in ["", " \n"] {
        assert_eq!(gateway.folder.run_with_input(&["cookie", "inspect"], nothing).code, 2);
    }
}

#[test]
fn a_cookie_whose_session_is_over_is_refused_with_the_reason() {
    let (_backend, gateway) = house();
    let [alice, ada] = ["alice", "ada"].map(|user| gateway.visitor().signed_in_as(user));
    let left = cookie(&alice);
    alice.sign_out();
    let told = inspect(&gateway.folder, &left);
    assert_eq!((told.code, &told.report["verdict"]), (1, &json!("ended")), "{}", told.report);
    gateway.advance(IDLE);
    let told = inspect(&gateway.folder, &cookie(&ada));
    assert_eq!((told.code, &told.report["verdict"]), (1, &json!("expired")));
    assert!(
        told.report["reason"].as_str().is_some_and(|told| told.contains("the idle time")),
        "{}",
        told.report
    );
    assert_eq!(told.report["session"]["user"], "ada", "what it was");
    // Looking has ended nothing and told nobody.
    let told: Vec<Value> = gateway.audit_trail();
    for kind in [event::USE_AFTER_END, event::SESSION_EXPIRED] {
        assert!(told.iter().all(|line| line["event"] != kind), "{told:#?}");
    }
}

#[test]
fn looking_at_a_session_is_no_activity() {
    let (_backend, gateway) = house();
    let alice = gateway.visitor().signed_in_as("alice");
    gateway.advance(IDLE - Duration::from_secs(1));
    let id = id_of(&gateway.folder, &alice);
    for command in
        [&["sessions", "list"][..], &["sessions", "show", &id], &["sessions", "stats"], &["keys", "status"]]
    {
        assert_eq!(gateway.folder.run(command).code, 0);
    }
    gateway.advance(Duration::from_secs(1));
    assert!(alice.page("/").asks_login());
}

#[test]
fn a_token_that_was_replaced_is_told_and_its_session_lives_on() {
    let (_backend, gateway) = house();
    let alice = gateway.visitor().signed_in_as("alice");
    let old = cookie(&alice);
    gateway.advance(Duration::from_mins(16));
    assert_eq!(alice.get("/").status, 200);
    assert_ne!(cookie(&alice), old, "a new token");
    assert_eq!(inspect(&gateway.folder, &cookie(&alice)).report["token"]["state"], "next");
    assert_eq!(alice.get("/").status, 200);
    let told = inspect(&gateway.folder, &old);
    assert_eq!((told.code, &told.report["token"]["state"]), (0, &json!("previous")));
    gateway.advance(Duration::from_mins(1));
    let told = inspect(&gateway.folder, &old);
    assert_eq!((told.code, &told.report["verdict"]), (1, &json!("replaced")), "{}", told.report);
    assert_eq!(told.report["token"], json!({"generation": 0, "newest": 1, "state": "replaced"}));
    assert_eq!(alice.get("/").status, 200, "nobody used the old one");
}

#[test]
fn a_guest_is_told_from_a_session() {
    let backend = Backend::start();
    let recognised = Setup::in_front_of(&backend.url()).set("session.anonymous", "true");
    let gateway = Gateway::start(&recognised);
    let guest = gateway.visitor();
    assert_eq!(guest.get("/optional").status, 200);
    let value = cookie(&guest);
    let told = inspect(&gateway.folder, &value);
    assert_eq!((told.code, &told.report["verdict"]), (0, &json!("guest")), "{}", told.report);
    assert_eq!((&told.report["kind"], &told.report["session"]), (&json!("guest"), &Value::Null));
    assert_eq!(told.report["guest"]["ends_in_seconds"], 12 * 3600);
    let name = told.report["guest"]["pseudonym"].as_str().expect("a pseudonym").to_owned();
    assert_eq!(backend.received().header("x-session-id"), name);
    gateway.advance(Duration::from_hours(12));
    let told = inspect(&gateway.folder, &value);
    assert_eq!((told.code, &told.report["verdict"]), (1, &json!("expired")));
    Setup::in_front_of(&backend.url()).write_to(&gateway.folder);
    gateway.reload().expect("a reload");
    let told = inspect(&gateway.folder, &value);
    assert_eq!((told.code, &told.report["verdict"]), (1, &json!("guests-off")), "{}", told.report);
}

#[test]
fn a_key_that_nothing_depends_on_any_more_is_retired_and_nobody_notices() {
    let (_backend, gateway) = house();
    let alice = gateway.visitor().signed_in_as("alice");
    let before = cookie(&alice);
    let old = key_ids(&gateway.folder).remove(0);
    assert_eq!(gateway.folder.run(&["keys", "rotate"]).code, 0);
    assert_eq!(inspect(&gateway.folder, &before).report["key"]["role"], "verifies");
    let status = key_status(&gateway.folder, &old);
    assert_eq!((&status["sessions"], &status["role"]), (&json!(1), &json!("verify")), "{status}");
    let refused = gateway.folder.run(&["keys", "retire", &old]);
    assert_eq!(refused.code, 1);
    let until = status["can_go"].as_str().expect("a time");
    assert!(
        refused.stderr.contains("one session depends on key") && refused.stderr.contains(until),
        "{refused:?}"
    );
    assert_eq!(alice.get("/").status, 200);
    assert_eq!(alice.get("/").status, 200);
    let told = inspect(&gateway.folder, &cookie(&alice)).report;
    assert_eq!(told["key"]["role"], "signs");
    let status = key_status(&gateway.folder, &old);
    assert_eq!((&status["sessions"], &status["can_go"]), (&json!(0), &json!("now")), "{status}");
    let retired = gateway.folder.run(&["keys", "retire", &old]);
    assert_eq!(retired.code, 0, "{}", retired.stderr);
    assert_eq!(alice.page("/").status, 200, "nobody is signed out");
    let told = inspect(&gateway.folder, &before).report;
    assert_eq!((&told["verdict"], &told["key"]["role"]), (&json!("forged"), &json!("unlisted")));
    let gateway = Gateway::start_in(gateway.stop());
    assert_eq!(alice.moved_to(gateway.address()).page("/").status, 200, "nor after a restart");
}

#[test]
fn a_key_that_is_retired_by_force_takes_its_sessions_with_it() {
    let (_backend, gateway) = house();
    let alice = gateway.visitor().signed_in_as("alice");
    let old = key_ids(&gateway.folder).remove(0);
    assert_eq!(gateway.folder.run(&["keys", "rotate"]).code, 0);
    assert_eq!(gateway.folder.run(&["keys", "retire", &old]).code, 1);
    assert_eq!(gateway.folder.run(&["keys", "retire", &old, "--force"]).code, 0);
    assert!(alice.page("/").asks_login());
    let status = gateway.folder.run(&["keys", "status"]).stdout;
    assert!(status.contains(&format!("key {old} is not in the ring: 1 sessions")), "{status}");
    let listed = gateway.folder.run(&["sessions", "list"]).stdout;
    assert!(listed.contains("(cannot be used: "), "{listed}");
}

#[test]
fn keys_are_guarded_at_rest_too() {
    let (_backend, gateway) = house();
    let alice = gateway.visitor().signed_in_as("alice");
    let folder = gateway.stop();
    let old = key_ids(&folder).remove(0);
    assert_eq!(folder.run(&["keys", "rotate"]).code, 0);
    let status = folder.run(&["keys", "status"]).stdout;
    assert!(
        status.contains("  1         after ") && status.contains("  0         no: it signs\n"),
        "{status}"
    );
    let refused = folder.run(&["keys", "retire", &old]);
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("one session depends on key"), "{}", refused.stderr);
    let gateway = Gateway::start_in(folder);
    assert_eq!(alice.moved_to(gateway.address()).page("/").status, 200);
}

/// A gateway with its sessions in a file, in front of a backend that says hello.
fn house() -> (Backend, Gateway) {
    let backend = Backend::start();
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    (backend, gateway)
}

fn cookie(client: &Client) -> String {
    client.session_cookie().expect("a session cookie")
}

/// What `cookie inspect` says, in words and as JSON alike.
struct Told {
    code: i32,
    report: Value,
}

#[track_caller]
fn inspect(folder: &Folder, text: &str) -> Told {
    let finished = folder.run_with_input(&["cookie", "inspect", "--json"], text);
    let in_words = folder.run_with_input(&["cookie", "inspect"], text);
    assert_eq!(finished.code, in_words.code, "{in_words:?}");
    for printed in [&finished, &in_words] {
        assert_no_secret(printed, text);
    }
    let report: Value = serde_json::from_str(&finished.stdout).unwrap_or_else(|_| panic!("{finished:?}"));
    let word = if finished.code == 0 { "valid: " } else { "refused: " };
    let reason = report["reason"].as_str().expect("a reason");
    assert!(in_words.stdout.starts_with(&format!("{word}{reason}\n")), "{in_words:?}");
    Told { code: finished.code, report }
}

/// Neither a cookie's value nor the token in it.
#[track_caller]
fn assert_no_secret(finished: &Finished, pasted: &str) {
    let printed = format!("{}{}", finished.stdout, finished.stderr);
    for value in pasted.split([';', '=', ' ']).filter(|part| part.len() > 60) {
        assert!(!printed.contains(&value[..20]), "{printed}");
        let bytes = URL_SAFE_NO_PAD.decode(value).unwrap_or_default();
        let token = bytes.get(5..29).unwrap_or_default();
        let hex = token.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
        assert!(hex.is_empty() || !printed.contains(&hex), "{printed}");
        assert!(token.is_empty() || !printed.contains(&URL_SAFE_NO_PAD.encode(token)), "{printed}");
    }
}

/// The JSON answer of a command that succeeds.
#[track_caller]
fn answer(folder: &Folder, arguments: &[&str]) -> Value {
    let finished = folder.run(arguments);
    assert_eq!(finished.code, 0, "{arguments:?}: {}", finished.stderr);
    serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished:?}"))
}

fn said(finished: &Finished) -> (i32, &str, &str) {
    (finished.code, &finished.stdout, &finished.stderr)
}

#[track_caller]
fn count(folder: &Folder) -> usize {
    answer(folder, &["sessions", "list", "--json"])["sessions"].as_array().expect("a list").len()
}

#[track_caller]
fn id_of(folder: &Folder, client: &Client) -> String {
    inspect(folder, &cookie(client)).report["id"].as_str().expect("an id").to_owned()
}

fn key_ids(folder: &Folder) -> Vec<String> {
    let status = answer(folder, &["keys", "status", "--json"]);
    let keys = status.as_array().expect("a list").iter();
    keys.map(|key| key["id"].as_str().expect("an id").to_owned()).collect()
}

#[track_caller]
fn key_status(folder: &Folder, id: &str) -> Value {
    let status = answer(folder, &["keys", "status", "--json"]);
    status.as_array().expect("a list").iter().find(|key| key["id"] == id).expect("the key").clone()
}

/// Whose sessions were revoked, as the audit trail says.
fn revoked(gateway: &Gateway) -> Vec<String> {
    gateway.audited(event::SESSION_REVOKED);
    let mut users: Vec<String> = gateway
        .audit_trail()
        .iter()
        .filter(|line| line["event"] == event::SESSION_REVOKED && line["detail"] == "revoked")
        .map(|line| line["user"].as_str().expect("a user").to_owned())
        .collect();
    users.sort_unstable();
    users
}

/// The idle time of the default policy.
const IDLE: Duration = Duration::from_mins(30);
