//! The commands as a person sees them: exact text and exit code.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::harness::command::Finished;
use crate::harness::folder::Validity;
use crate::harness::gateway::prepared;
use crate::harness::people::Person;
use crate::harness::{Backend, Folder, Gateway, PASSWORD, Setup};

#[test]
fn an_account_lives_through_all_its_commands() {
    let folder = prepared(Folder::new(), &setup());
    let password = format!("{PASSWORD}\n");
    let add = [
        "users", "add", "bob", "--group", "staff", "--group", "wiki", "--name", "Bob B.", "--email",
        "b@b.test",
    ];
    assert_eq!(said(&folder.run_with_input(&add, &password)), (0, "`bob` may sign in\n", ""));
    let again = "error: there is an account `bob` already; `users passwd bob` sets its password\n";
    assert_eq!(said(&folder.run_with_input(&add, &password)), (1, "", again));
    let shown = folder.run(&["users", "show", "bob"]);
    let lines: Vec<&str> = shown.stdout.lines().collect();
    assert_eq!(
        lines[..5],
        [
            "user        bob",
            "state       enabled",
            "groups      staff, wiki",
            "name        Bob B.",
            "e-mail      b@b.test"
        ]
    );
    assert_eq!(lines[6], "last login  never");
    assert_eq!(
        folder.run_with_input(&["users", "passwd", "bob"], "another fine password\n").stdout,
        "`bob` has a new password\n"
    );
    assert_eq!(folder.run(&["users", "edit", "bob", "--name", "Bobby"]).stdout, "`bob` is changed\n");
    assert_eq!(folder.run(&["users", "disable", "bob"]).stdout, "`bob` is disabled\n");
    let shown = json(&folder, &["users", "show", "bob", "--json"]);
    assert_eq!(
        (&shown["state"], &shown["name"], &shown["groups"]),
        (&"disabled".into(), &"Bobby".into(), &Value::Array(vec![]))
    );
    assert_eq!(folder.run(&["users", "enable", "bob"]).stdout, "`bob` may sign in again\n");
    let listed = json(&folder, &["users", "list", "--json"]);
    let names: Vec<&Value> =
        listed.as_array().expect("a list").iter().map(|account| &account["user"]).collect();
    assert_eq!(names, ["alice", "bob"]);
    let listed = folder.run(&["users", "list"]).stdout;
    assert!(
        listed.starts_with("USER                 STATE     LAST LOGIN                GROUPS\n"),
        "{listed}"
    );
    assert!(listed.contains("\nbob                  enabled   never                     -\n"), "{listed}");
    assert_eq!(folder.run(&["users", "remove", "bob"]).stdout, "`bob` is removed\n");
    let nobody = "error: there is no account `bob`; `users list` shows all\n";
    for command in ["show", "passwd", "edit", "disable", "enable", "remove"] {
        assert_eq!(said(&folder.run(&["users", command, "bob"])), (1, "", nobody), "{command}");
    }
}

#[test]
fn names_and_passwords_that_cannot_be_used_are_refused() {
    let folder = prepared(Folder::new(), &setup());
    for name in ["", " ", "a\nb", "caf\u{e9}"] {
        let finished = folder.run_with_input(&["users", "add", name], PASSWORD);
        assert_eq!(finished.code, 2, "{name:?}: {}", finished.stderr);
        assert!(finished.stderr.contains("cannot be a user name: "), "{}", finished.stderr);
    }
    for password in ["", "short", "bob"] {
        let finished = folder.run_with_input(&["users", "add", "bob"], password);
        assert_eq!(finished.code, 2);
        assert!(finished.stderr.starts_with("error: this password cannot be used: "), "{}", finished.stderr);
    }
    assert_eq!(folder.run(&["users", "show", "bob"]).code, 1);
}

#[test]
fn whatever_takes_a_right_away_ends_the_sessions_of_any_name() {
    let backend = Backend::start();
    let names = ["alice", "b@b.test", "a", "a#b", "a^b|c'd&e+f"];
    let setup =
        names[1..].iter().fold(in_front_of(&backend), |setup, name| setup.person(Person::named(name)));
    let gateway = Gateway::start(&setup);
    for name in names {
        for command in [&["users", "passwd"][..], &["users", "edit"], &["users", "remove"]] {
            let visitor = gateway.visitor();
            let (place, page) = visitor.login_page("/");
            let password = if command == ["users", "passwd"] { PASSWORD } else { "another fine password" };
            let form = page.login_form().fill("text", name).fill("password", password);
            assert_eq!(visitor.submit(&form, &place).status, 303, "{name} {command:?}");
            let finished =
                gateway.folder.run_with_input(&[command, &[name]].concat(), "another fine password\n");
            assert!(
                finished.stdout.ends_with("; one session ended\n"),
                "{name}: {}{}",
                finished.stdout,
                finished.stderr
            );
            assert_eq!(visitor.get("/").status, 401, "{name} {command:?}");
        }
    }
}

#[test]
fn keys_are_made_shown_and_retired() {
    let folder = prepared(Folder::new(), &setup());
    fs::remove_file(folder.path("keys.toml")).expect("a removed file");
    let made = folder.run(&["keys", "rotate"]);
    assert_eq!(made.code, 0, "{}", made.stderr);
    assert!(made.stdout.ends_with(
        "keys.toml` is made, with a first key\nno gateway is running here; it holds from the next start\n"
    ));
    assert_eq!(mode(&folder, "keys.toml"), 0o600);
    let first = json(&folder, &["keys", "status", "--json"])[0]["id"].as_str().expect("an id").to_owned();
    let only = format!("error: `{first}` is the only active key; run `vestibule keys rotate` first\n");
    assert_eq!(said(&folder.run(&["keys", "retire", &first])), (2, "", only.as_str()));
    let rotated = "a new key signs from now on\nno gateway is running here; it holds from the next start\n";
    assert_eq!(said(&folder.run(&["keys", "rotate"])), (0, rotated, ""));
    let status = folder.run(&["keys", "status"]).stdout;
    assert!(
        status.starts_with("KEY       ROLE    CREATED                   AGE         SESSIONS  CAN GO\n"),
        "{status}"
    );
    assert!(status.contains(&format!("\n{first}  verify  ")), "{status}");
    assert!(
        status.ends_with("no gateway is running here; this is what its session store holds\n"),
        "{status}"
    );
    assert!(!folder.path("sessions.db").exists(), "who looks makes no store");
    let gone = format!(
        "key {first} is gone; cookies that it signed are refused\nno gateway is running here; it holds from the next start\n"
    );
    assert_eq!(said(&folder.run(&["keys", "retire", &first])), (0, gone.as_str(), ""));
    let unknown = "error: there is no key `00000000`; `vestibule keys status` lists them\n";
    assert_eq!(said(&folder.run(&["keys", "retire", "00000000"])), (2, "", unknown));
    let no_id = "error: a key id is 8 hexadecimal digits, as in `5f3a09c1`\n";
    assert_eq!(said(&folder.run(&["keys", "retire", "x"])), (2, "", no_id));
}

#[test]
fn the_sessions_that_depend_on_a_key_are_counted() {
    let backend = Backend::start();
    let gateway = Gateway::start(&in_front_of(&backend));
    let _alice = gateway.visitor().signed_in_as("alice");
    gateway.folder.run(&["keys", "rotate"]);
    let _again = [gateway.visitor().signed_in_as("alice"), gateway.visitor().signed_in_as("alice")];
    let status = json(&gateway.folder, &["keys", "status", "--json"]);
    let mut counts: Vec<u64> =
        status.as_array().expect("a list").iter().filter_map(|key| key["sessions"].as_u64()).collect();
    counts.sort_unstable();
    assert_eq!(counts, [1, 2], "{status}");
}

#[test]
fn check_shows_what_a_route_demands() {
    let demands = "path = '/desk'; upstream = 'app'; mfa = 'passkey'; fresh = '5m'; activity = 'navigation'";
    let setup = setup()
        .route(&format!("{demands}; body_bytes = '2MiB'"))
        .route("path = '/vault'; upstream = 'app'; mfa = true; body_bytes = '0'");
    let told = prepared(Folder::new(), &setup).run(&["check"]).stdout;
    for line in [
        "*/desk  login -> app  mfa: passkey  fresh: 5m  activity: navigation  body_bytes: 2097152\n",
        "*/vault  login -> app  mfa: true  body_bytes: any\n",
    ] {
        assert!(told.contains(line), "{told}");
    }
}

#[test]
fn check_shows_the_routes_as_they_work_or_every_problem() {
    let folder = prepared(Folder::new(), &setup());
    let finished = folder.run(&["check"]);
    let routes = "\
        \x20 */wiki/admin  login -> app  groups: admin  methods: GET, POST  networks: 127.0.0.0/8\n\
        \x20 */wiki  login -> app\n\
        \x20 */closed  deny\n\
        \x20 */  public -> app\n";
    let expected =
        format!("{} is in order; its routes, the first that matches decides:\n", folder.config().display());
    let (first, rest) = finished.stdout.split_once('\n').expect("lines");
    assert_eq!((finished.code, format!("{first}\n")), (0, expected), "{}", finished.stderr);
    assert_eq!(sorted(rest), sorted(routes));
    folder.write(
        "vestibule.toml",
        "[server]\nhttsp = 1\nworkers = \"four\"\n\n[[route]]\npath = \"x\"\naccess = \"maybe\"\n",
    );
    let finished = folder.run(&["check"]);
    assert_eq!((finished.code, finished.stdout.as_str()), (2, ""));
    let lines: Vec<&str> = finished.stderr.lines().collect();
    assert!(lines.len() >= 5, "{}", finished.stderr);
    assert!(
        lines.iter().all(|line| line.starts_with("error: ") && line.contains("vestibule.toml")),
        "{lines:#?}"
    );
    for part in [
        "vestibule.toml:2: server.httsp: unknown key; did you mean `https`?",
        ":3: server.workers: ",
        ":6: route[1].path: ",
        ":7: route[1].access: ",
    ] {
        assert!(finished.stderr.contains(part), "{part} in {}", finished.stderr);
    }
}

#[test]
fn explain_says_which_rule_decides() {
    let folder = prepared(Folder::new(), &setup());
    let file = folder.config().display().to_string();
    let explain = |arguments: &[&str]| folder.run(&[&["explain"], arguments].concat());
    let line = |path: &str| {
        let text = folder.read("vestibule.toml");
        let at = text.find(&format!("path = '{path}'")).expect("the route");
        text[..at].matches('\n').count()
    };
    let more = |path: &str| match path {
        "/wiki/admin" => {
            ", groups = [\"admin\"], methods = [\"GET\", \"POST\"], networks = [\"127.0.0.0/8\"]"
        }
        _ => "",
    };
    for (arguments, read_as, route, result) in [
        (
            &["get", "https://a.test/wiki/./x"][..],
            "a.test/wiki/x",
            Some(("/wiki", "login")),
            "asked to sign in: 303 to the login page for a page load, 401 for everything else",
        ),
        (
            &["GET", "https://a.test/wiki", "--user", "bob"],
            "a.test/wiki",
            Some(("/wiki", "login")),
            "forwarded as `bob`",
        ),
        (
            &["GET", "https://a.test/wiki/admin", "--user", "bob"],
            "a.test/wiki/admin",
            Some(("/wiki/admin", "login")),
            "refused with 403: the route names neither this user nor one of their groups",
        ),
        (
            &["POST", "https://a.test/wiki/admin", "--user", "bob", "--group", "admin"],
            "a.test/wiki/admin",
            Some(("/wiki/admin", "login")),
            "forwarded as `bob`",
        ),
        (
            &["PUT", "https://a.test/wiki/admin", "--user", "bob", "--group", "admin"],
            "a.test/wiki/admin",
            Some(("/wiki/admin", "login")),
            "refused with 405: the route does not list this method",
        ),
        (
            &["TRACE", "https://a.test/wiki"],
            "a.test/wiki",
            None,
            "refused with 405: the route does not list this method",
        ),
        (
            &["GET", "https://a.test/wiki/admin", "--from", "10.0.0.1"],
            "a.test/wiki/admin",
            Some(("/wiki/admin", "login")),
            "refused with 403: the client's address is in none of the route's networks",
        ),
        (
            &["GET", "https://a.test/wikipedia"],
            "a.test/wikipedia",
            Some(("/", "public")),
            "forwarded without an identity",
        ),
        (
            &["GET", "https://a.test/closed"],
            "a.test/closed",
            Some(("/closed", "deny")),
            "refused with 403: the route lets nobody pass",
        ),
        (
            &["GET", "https://a.test/.vestibule/login"],
            "a.test/.vestibule/login",
            None,
            "answered by the gateway itself",
        ),
        (&["GET", "/wiki"], "-", None, "refused with 400: the URL names no host; write `https://host/path`"),
    ] {
        let route = route.map_or_else(
            || "-".to_owned(),
            |(path, access)| format!("*{path} ({file}:{}), access = {access}{}", line(path), more(path)),
        );
        let expected = format!("read as  {read_as}\nroute    {route}\nresult   {result}\n");
        assert_eq!(said(&explain(arguments)), (0, expected.as_str(), ""), "{arguments:?}");
    }
    let told = json(&folder, &["explain", "GET", "https://a.test/wiki", "--json"]);
    assert_eq!((&told["read_as"], &told["route"]["path"]), (&"a.test/wiki".into(), &"/wiki".into()));
    for wrong in [
        &["G T", "https://a.test/"][..],
        &["GET", "https://a test/"],
        &["GET", "https://a.test/", "--group", "x"],
        &["GET"],
    ] {
        assert_eq!(explain(wrong).code, 2, "{wrong:?}");
    }
}

#[test]
fn explain_goes_through_everything_that_a_rule_can_say() {
    let rule = "host = 'a.test'; path = '/'; upstream = 'app'; access = 'login'; groups = ['staff']; mfa = true; \
                fresh = '5m'; networks = ['10.0.0.0/8']; hours = ['mon-fri 08:00-18:00', 'sat 09:00-12:00']; \
                time_zone = 'Europe/Berlin'";
    let trial = rule.replace("'a.test'", "'b.test'") + "; report_only = ['hours', 'mfa']";
    let setup = Setup::new().upstream("app", "http://127.0.0.1:1").route(rule).route(&trial);
    let setup = setup.route("host = 'c.test'; upstream = 'app'; maintenance = { networks = ['10.0.0.1'] }");
    let folder = prepared(Folder::new(), &setup);
    let known = ["--user", "bob", "--group", "staff", "--from", "10.0.0.7"];
    let (open, closed) = (["--at", "2026-11-20 17:59"], ["--at", "2026-11-21 22:00"]);
    for (host, arguments, expected) in [
        ("a", [&known[..], &["--mfa", "--fresh"], &open].concat(), "forwarded as `bob`"),
        ("a", [&known[..], &["--mfa"], &open].concat(), "asked to show a second factor"),
        ("a", [&known[..], &["--fresh"], &open].concat(), "asked to show a second factor"),
        ("a", [&known[..], &["--shown", "code"], &open].concat(), "forwarded as `bob`"),
        ("a", [&known[..4], &open].concat(), "refused with 403: the client's address"),
        ("a", [&known[..2], &known[4..], &open].concat(), "refused with 403: the route names neither"),
        (
            "a",
            [&known[..], &["--mfa", "--fresh"], &closed].concat(),
            "refused with 403: the route is not open at this hour; it opens again at 2026-11-23 08:00 (Europe/Berlin)",
        ),
        (
            "a",
            [&known[..], &["--mfa", "--fresh", "--at", "2026-11-21T22:00:00+13:00"]].concat(),
            "forwarded as `bob`",
        ),
        (
            "b",
            [&known[..], &["--fresh"], &open].concat(),
            "forwarded as `bob`\ninstead  asked to show a second",
        ),
        ("b", [&known[..], &closed].concat(), "asked to confirm that it is still them"),
        ("c", known[4..].to_vec(), "refused with 503: the route is closed for maintenance"),
        ("c", vec!["--from", "10.0.0.1"], "asked to sign in"),
    ] {
        let url = format!("https://{host}.test/");
        let told = folder.run(&[&["explain", "GET", url.as_str()], arguments.as_slice()].concat());
        assert!(told.stdout.contains(&format!("result   {expected}")), "{arguments:?}: {told:?}");
    }
    let told = json(
        &folder,
        &[&["explain", "GET", "https://b.test/", "--json", "--fresh"], &known[..], &open].concat(),
    );
    assert_eq!(told["result"], "forwarded as `bob`");
    assert!(told["instead"].as_str().is_some_and(|instead| instead.contains("second factor")), "{told}");
    let rule = told["route"]["rule"].as_str().expect("the rule");
    for part in
        ["hours = [\"mon-fri 08:00-18:00\", \"sat 09:00-12:00\"]", "report_only = [\"hours\", \"mfa\"]"]
    {
        assert!(rule.contains(part), "{part} in {rule}");
    }
    assert_eq!(folder.run(&["explain", "GET", "https://a.test/", "--at", "tomorrow"]).code, 2);
    let checked = folder.run(&["check"]).stdout;
    for part in
        ["hours: mon-fri 08:00-18:00, sat 09:00-12:00 (Europe/Berlin)", "mfa", "only reports: hours, mfa"]
    {
        assert!(checked.contains(part), "{part} in {checked}");
    }
}

#[test]
fn commands_for_a_running_gateway_say_that_none_runs() {
    let folder = prepared(Folder::new(), &setup());
    let finished = folder.run(&["reload"]);
    assert_eq!(finished.code, 1);
    assert!(finished.stderr.starts_with("error: no gateway is running here ("), "{}", finished.stderr);
    assert_eq!(folder.run(&["no-such-command"]).code, 2);
    assert_eq!(folder.run(&[]).code, 2);
    assert_eq!(folder.run(&["--version"]).code, 0);
}

#[test]
fn a_start_that_cannot_succeed_is_refused_and_leaves_nothing_behind() {
    let refused = |spoil: &dyn Fn(&Folder), said: &str| {
        let folder = prepared(Folder::new(), &setup());
        spoil(&folder);
        let finished = folder.run(&["run"]);
        assert_eq!((finished.code, finished.stdout.as_str()), (2, ""), "{}", finished.stderr);
        assert!(
            finished.stderr.starts_with("error: ") && finished.stderr.contains(said),
            "{}",
            finished.stderr
        );
        assert_eq!(finished.stderr.lines().count(), 1, "{}", finished.stderr);
        for left in ["admin.sock", "sessions.db", "audit.log"] {
            assert!(!folder.path(left).exists(), "{said} leaves {left}");
        }
    };
    refused(&|folder| fs::remove_file(folder.config()).expect("a removed file"), "vestibule.toml");
    refused(
        &|folder| open_to_all(folder, "keys.toml"),
        "keys.toml` has mode 644, so others can reach the keys; run `chmod 600 ",
    );
    refused(
        &|folder| open_to_all(folder, "gateway.key"),
        "gateway.key` can be read by everybody (mode 0644); run `chmod 600 ",
    );
    refused(
        &|folder| {
            folder.certificate("other", &["localhost"], Validity::Current);
            folder.write("gateway.key", &folder.read("other.key"));
        },
        "gateway.pem` is not the certificate of the key `",
    );
    refused(
        &|folder| folder.certificate("gateway", &["localhost"], Validity::Past),
        "gateway.pem` expired at 2001-01-01T00:00:00.000Z; put the renewed certificate there",
    );
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address");
    refused(
        &|folder| setup().set("server.https", &format!("['{address}']")).write_to(folder),
        &format!("{address}"),
    );
}

#[test]
fn a_second_gateway_is_refused_and_does_not_disturb_the_first() {
    let backend = Backend::start();
    let gateway = Gateway::spawn(&in_front_of(&backend));
    let alice = gateway.visitor().signed_in_as("alice");
    let finished = gateway.folder.run(&["run"]);
    assert_eq!(finished.code, 2, "{}", finished.stderr);
    assert!(finished.stderr.contains("another gateway answers there; stop it first"), "{}", finished.stderr);
    assert_eq!(gateway.reload().as_deref(), Ok("reloaded; no setting changed\n"));
    assert_eq!(mode(&gateway.folder, "admin.sock"), 0o600);
    assert_eq!(alice.get("/").status, 200);
    let started = gateway.audit_trail().into_iter().filter(|event| event["event"] == "sys_startup");
    assert_eq!(started.count(), 1);
}

/// Routes of every kind, in front of a backend that nobody asks.
fn setup() -> Setup {
    Setup::new()
        .upstream("app", "http://127.0.0.1:9")
        .route("path = '/'; upstream = 'app'; access = 'public'")
        .route("path = '/wiki'; upstream = 'app'; access = 'login'")
        .route("path = '/wiki/admin'; upstream = 'app'; access = 'login'; groups = ['admin']; methods = ['GET', 'POST']; networks = ['127.0.0.0/8']")
        .route("path = '/closed'; access = 'deny'")
        .person(Person::named("alice"))
}

/// Alice may sign in to everything.
fn in_front_of(backend: &Backend) -> Setup {
    Setup::new()
        .upstream("app", &backend.url())
        .route("upstream = 'app'; access = 'login'")
        .person(Person::named("alice"))
}

fn said(finished: &Finished) -> (i32, &str, &str) {
    (finished.code, &finished.stdout, &finished.stderr)
}

#[track_caller]
fn json(folder: &Folder, arguments: &[&str]) -> Value {
    let finished = folder.run(arguments);
    serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished:?}"))
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

fn mode(folder: &Folder, name: &str) -> u32 {
    fs::metadata(folder.path(name)).expect("a file").permissions().mode() & 0o7777
}

fn open_to_all(folder: &Folder, name: &str) {
    fs::set_permissions(folder.path(name), fs::Permissions::from_mode(0o644)).expect("a new mode");
}
