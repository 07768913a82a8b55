//! Where accounts may be kept: databases that gateways share, and files that people edit.

use std::fs;

use crate::harness::gateway::prepared;
use crate::harness::{Backend, Client, Folder, Gateway, PASSWORD, Setup};
use crate::servers::mariadb::MariaDb;
use crate::servers::postgres::Postgres;

#[test]
fn gateways_share_accounts_in_postgresql() {
    let server = Postgres::start();
    accounts_are_shared_through(&server.url());
    assert_eq!(server.query("SELECT part, version FROM vestibule_schema"), "accounts|2");
}

#[test]
fn gateways_share_accounts_in_mariadb() {
    let server = MariaDb::start();
    accounts_are_shared_through(&server.url());
    assert_eq!(server.query("SELECT part, version FROM vestibule_schema"), "accounts\t2");
}

#[test]
fn a_login_while_the_database_of_accounts_is_down_is_a_503_and_works_when_it_is_back() {
    let mut server = Postgres::start();
    let backend = Backend::start();
    let setup = setup(&backend, &server.url());
    let gateway = Gateway::start(&setup);
    add(&gateway.folder, "bob");
    let bob = gateway.visitor().signed_in_as("bob");
    server.stop();
    assert_eq!(gateway.visitor().try_login("/", "bob", PASSWORD).status, 503);
    assert_eq!(bob.get("/").status, 200, "who is signed in stays so");
    server.start_again();
    assert_eq!(gateway.visitor().try_login("/", "bob", PASSWORD).status, 303);
}

#[test]
fn a_file_of_accounts_is_taken_over_by_a_reload_and_ends_what_it_takes_away() {
    let backend = Backend::start();
    let folder = prepared(Folder::new(), &setup(&backend, "file:users.toml"));
    let alice = folder.run_with_input(&["users", "hash", "alice"], PASSWORD).stdout;
    assert!(alice.starts_with("[[user]]\nuser = \"alice\"\npassword = \"$argon2id$"), "{alice}");
    let with_profile = |lines: &str| format!("{alice}groups = [\"staff\"]\nname = \"Zoë\"\n{lines}");
    folder.write("users.toml", &with_profile(""));
    let gateway = Gateway::start_in(folder);
    let visitor = gateway.visitor().signed_in_as("alice");
    assert_eq!(visitor.get("/").status, 200);
    let seen = backend.received();
    assert_eq!((seen.header("x-user-groups"), seen.header("x-user-name")), ("staff", "Zoë"));

    let before = fs::read(gateway.folder.path("users.toml")).expect("the file");
    let refused = gateway.folder.run_with_input(&["users", "passwd", "alice"], "another fine password\n");
    assert_eq!(refused.code, 1);
    assert!(
        refused.stderr.contains("edited by hand") && refused.stderr.contains("users.toml"),
        "{}",
        refused.stderr
    );
    assert_eq!(fs::read(gateway.folder.path("users.toml")).expect("the file"), before);
    assert!(gateway.folder.run(&["users", "list"]).stdout.contains("\nalice "));

    gateway.folder.write("users.toml", &with_profile("disabled = yes\n"));
    let refused = gateway.reload().expect_err("a refusal");
    assert!(refused.contains("users.toml:6"), "{refused}");
    assert_eq!(visitor.get("/").status, 200, "the old accounts stay in force");
    gateway.folder.write("users.toml", &with_profile("disabled = true\n"));
    let report = gateway.reload().expect("a reload");
    assert!(report.contains("users"), "{report}");
    assert_eq!(visitor.get("/").status, 401, "a disabled account has no sessions");
    assert_eq!(gateway.visitor().try_login("/", "alice", PASSWORD).status, 401);
}

#[test]
fn whoever_is_declared_otherwise_signs_in_again_and_nobody_else() {
    let backend = Backend::start();
    let folder = prepared(Folder::new(), &setup(&backend, "file:users.toml"));
    let declare = |folder: &Folder, bob: &str| {
        let alice = person("alice", SHA1, "groups = ['staff']");
        folder.write("users.toml", &format!("{alice}{bob}"));
    };
    let before = person("bob", SHA1, "groups = ['admin', 'staff']");
    declare(&folder, &before);
    let gateway = Gateway::start_in(folder);
    for after in [
        person("bob", SHA1, "groups = ['staff']"),
        person("bob", APR1, "groups = ['admin', 'staff']"),
        person("bob", SHA1, "groups = ['admin', 'staff']\nemail = 'bob@example.com'"),
        String::new(),
    ] {
        declare(&gateway.folder, &before);
        gateway.reload().expect("a reload");
        let [alice, bob] = ["alice", "bob"].map(|user| {
            let visitor = gateway.visitor();
            assert_eq!(visitor.try_login("/", user, OLD_PASSWORD).status, 303);
            visitor
        });
        declare(&gateway.folder, &after);
        let report = gateway.reload().expect("a reload");
        assert!(report.contains("sessions_ended: 1"), "{report}");
        assert_eq!((alice.get("/").status, bob.get("/").status), (200, 401), "{after}");
    }
}

#[test]
fn a_start_ends_what_the_file_of_accounts_declares_otherwise_since() {
    let backend = Backend::start();
    let folder = prepared(Folder::new(), &setup(&backend, "file:users.toml"));
    let declare = |folder: &Folder, groups: &str| {
        let bob = person("bob", SHA1, &format!("groups = [{groups}]"));
        folder.write("users.toml", &format!("{}{bob}", person("alice", SHA1, "")));
    };
    declare(&folder, "'admin', 'staff'");
    let gateway = Gateway::start_in(folder);
    let [alice, bob] = ["alice", "bob"].map(|user| {
        let visitor = gateway.visitor();
        assert_eq!(visitor.try_login("/", user, OLD_PASSWORD).status, 303);
        visitor
    });
    let folder = gateway.stop();
    declare(&folder, "'staff'");
    let gateway = Gateway::start_in(folder);
    let status = |visitor: &Client| visitor.moved_to(gateway.address()).get("/").status;
    assert_eq!((status(&alice), status(&bob)), (200, 401));
}

#[test]
fn a_file_of_accounts_offers_nobody_another_password_and_loses_factors_by_a_command() {
    let backend = Backend::start();
    let folder = prepared(Folder::new(), &setup(&backend, "file:users.toml"));
    folder.write("users.toml", &person("alice", SHA1, ""));
    let gateway = Gateway::start_in(folder);
    let alice = gateway.visitor();
    assert_eq!(alice.try_login("/", "alice", OLD_PASSWORD).status, 303);
    let page = alice.page("/.vestibule/account");
    assert_eq!(page.status, 200);
    assert!(!page.text().contains("/account/password"), "{}", page.text());
    assert_eq!(alice.page("/.vestibule/account/password").status, 404);
    let count = kept(&gateway.folder);
    assert_eq!(count(true), 1);
    let refused = gateway.folder.run(&["users", "reset", "bob"]);
    assert_eq!(refused.code, 1, "{}", refused.stdout);
    let refused = gateway.folder.run(&["users", "reset", "alice"]);
    assert!(refused.code == 1 && refused.stderr.contains("edited by hand"), "{}", refused.stderr);
    gateway.folder.write("users.toml", &person("Bob", SHA1, ""));
    let done = gateway.folder.run(&["users", "reset", "bob", "--remove-factors"]);
    assert_eq!((done.code, done.stderr.as_str()), (0, ""));
    assert_eq!(done.stdout, "`Bob` has no second factors any more\n");
    assert_eq!(count(false), 0);
}

#[test]
fn an_htpasswd_file_with_groups_lets_its_people_in() {
    let backend = Backend::start();
    let setup = setup(&backend, "htpasswd:people").set("login.password.groups", "'groups'");
    let folder = prepared(Folder::new(), &setup);
    folder.write("people", &format!("# made by htpasswd\nalice:{APR1}\nbob:{BCRYPT}\ncarol:{SHA1}\n"));
    folder.write("groups", "staff: alice bob\nadmin: bob\n");
    let gateway = Gateway::start_in(folder);
    for (user, groups) in [("alice", vec!["staff"]), ("bob", vec!["admin,staff"]), ("carol", vec![])] {
        let visitor = gateway.visitor();
        assert_eq!(visitor.try_login("/", user, OLD_PASSWORD).status, 303, "{user}");
        assert_eq!(visitor.get("/").status, 200);
        assert_eq!(backend.received().values("x-user-groups"), groups, "{user}");
        assert_eq!(gateway.visitor().try_login("/", user, "wrong").status, 401, "{user}");
    }
    gateway.folder.write("people", "dora:8EAcYFavHM/9w\n");
    let refused = gateway.reload().expect_err("a refusal");
    assert!(
        refused.contains("people:1: the password of `dora`: it is a hash of the old `crypt`"),
        "{refused}"
    );
}

#[test]
fn an_imported_hash_is_replaced_by_argon2id_at_the_next_login() {
    let backend = Backend::start();
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    let people = format!("alice:{APR1}\nbob:{APR1}\ndora:8EAcYFavHM/9w\nnobody\n");
    gateway.folder.write("people", &people);
    let import = gateway.folder.run(&["users", "import", &path(&gateway.folder, "people")]);
    assert_eq!(import.code, 0, "{}", import.stderr);
    assert!(import.stdout.starts_with("1 account imported, 3 skipped\n"), "{}", import.stdout);
    assert!(import.stdout.contains("skipped: alice: there is an account of that name already"));
    assert!(import.stdout.contains("skipped: line 3: the password of `dora`: it is a hash of the old"));
    assert!(import.stdout.contains("skipped: line 4: it is not `NAME:HASH`"));
    assert_eq!(stored_hash(&gateway.folder, "bob"), APR1);
    assert_eq!(gateway.visitor().try_login("/", "bob", "wrong").status, 401);
    assert_eq!(gateway.visitor().try_login("/", "bob", OLD_PASSWORD).status, 303);
    assert!(stored_hash(&gateway.folder, "bob").starts_with("$argon2id$"));
    assert_eq!(gateway.visitor().try_login("/", "bob", OLD_PASSWORD).status, 303);
}

#[test]
fn django_users_are_imported_with_a_report_of_what_did_not_map() {
    let folder = prepared(Folder::new(), &Setup::in_front_of("http://127.0.0.1:1"));
    let dump = r#"[{"model": "auth.group", "pk": 1, "fields": {"name": "night shift"}},
        {"model": "auth.user", "pk": 1, "fields": {"username": "bob", "is_superuser": true, "groups": [1],
         "password": "pbkdf2_sha256$1000$seasalt$B4Z5Cum0PMgRdOBgciYsdCAY1DcYMltvBCObhdQxhHU=",
         "email": "bob@example.com", "is_active": false}}]"#;
    folder.write("dump.json", dump);
    let file = path(&folder, "dump.json");
    let tried = folder.run(&["users", "import", &file, "--dry-run"]);
    assert!(tried.stdout.starts_with("1 account would be imported, 0 skipped\n"), "{}", tried.stdout);
    assert_eq!(folder.run(&["users", "show", "bob"]).code, 1, "nothing was done");
    let report = folder.run(&["users", "import", &file, "--json"]);
    let report: serde_json::Value = serde_json::from_str(&report.stdout).expect("JSON");
    assert_eq!(report["imported"], serde_json::json!(["bob"]));
    let lost = report["not_taken_over"].to_string();
    assert!(lost.contains("night shift") && lost.contains("is_superuser"), "{lost}");
    let bob = folder.run(&["users", "show", "bob"]).stdout;
    assert!(bob.contains("state       disabled") && bob.contains("bob@example.com"), "{bob}");
}

fn accounts_are_shared_through(url: &str) {
    let backend = Backend::start();
    let setup = setup(&backend, url);
    let one = Gateway::start(&setup);
    let two = Gateway::start(&setup);
    add(&one.folder, "bob");
    assert_eq!(two.visitor().try_login("/", "BOB", PASSWORD).status, 303);
    let bob = one.visitor().signed_in_as("bob");
    assert_eq!(bob.get("/").status, 200);
    assert_eq!(backend.received().header("x-user-groups"), "staff");
    let done = two.folder.run(&["users", "disable", "bob"]);
    assert_eq!((done.code, done.stderr.as_str()), (0, ""));
    assert_eq!(one.visitor().try_login("/", "bob", PASSWORD).status, 401);
}

fn setup(backend: &Backend, users: &str) -> Setup {
    let setup = Setup::new().upstream("app", &backend.url()).route("upstream = 'app'; access = 'login'");
    setup.set("login.password.users", &format!("'{users}'"))
}

#[test]
fn the_factors_of_a_name_that_is_gone_from_the_file_are_gone_too() {
    let backend = Backend::start();
    let folder = prepared(Folder::new(), &setup(&backend, "file:users.toml"));
    let [alice, bob] = ["alice", "bob"].map(|user| person(user, SHA1, ""));
    folder.write("users.toml", &format!("{alice}{bob}"));
    let gateway = Gateway::start_in(folder);
    let count = kept(&gateway.folder);
    assert_eq!(count(true), 1);
    for (people, is_taken) in
        [(format!("{alice}{bob}# same"), true), ("[[user]]".to_owned(), false), (String::new(), true)]
    {
        gateway.folder.write("users.toml", &people);
        assert_eq!(gateway.reload().is_ok(), is_taken, "{people}");
        assert_eq!(count(false), 1, "while nobody knows that bob is gone: {people}");
    }
    gateway.folder.write("users.toml", &alice);
    gateway.reload().expect("a reload");
    assert_eq!(count(false), 0);
    assert_eq!(count(true), 1);
    let folder = gateway.stop();
    Gateway::start_in(folder);
    assert_eq!(count(false), 0, "nor does a start keep them");
}

/// Counts the second factors of declared accounts, after one of `BOB` was added if that is wanted.
fn kept(folder: &Folder) -> impl Fn(bool) -> i64 + use<> {
    let database = rusqlite::Connection::open(folder.path("factors.db")).expect("a database");
    let insert =
        "INSERT OR IGNORE INTO factors VALUES ('id', 'BOB', 'totp', '', x'00', NULL, NULL, 0, 0, NULL)";
    move |add| {
        if add {
            database.execute(insert, []).expect("a factor");
        }
        database.query_row("SELECT count(*) FROM factors", [], |row| row.get(0)).expect("a count")
    }
}

fn person(user: &str, hash: &str, lines: &str) -> String {
    format!("[[user]]\nuser = '{user}'\npassword = '{hash}'\n{lines}\n")
}

fn add(folder: &Folder, user: &str) {
    let added = folder.run_with_input(&["users", "add", user, "--group", "staff"], PASSWORD);
    assert_eq!(added.code, 0, "{}", added.stderr);
}

fn path(folder: &Folder, name: &str) -> String {
    folder.path(name).display().to_string()
}

fn stored_hash(folder: &Folder, user: &str) -> String {
    let database = rusqlite::Connection::open(folder.path("users.db")).expect("a database");
    let query = "SELECT password FROM users WHERE name = ?1";
    database.query_row(query, [user], |row| row.get(0)).expect("an account")
}

/// Behind the three hashes.
const OLD_PASSWORD: &str = "correct horse é";
const APR1: &str = "$apr1$xBbcD9Wz$WTuu4Dh9IaAydWcjWxdzU/";
const BCRYPT: &str = "$2y$05$tMp5JKtL2Enn417qVqCFd.nCSVsHGreItFbJuo/z3uGeh67zabz4S";
const SHA1: &str = "{SHA}/8wfRUGm8tTSBrWrjhQj2hPe5cw=";
