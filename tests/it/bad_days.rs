//! The store is down, slow, stubborn or lying: nobody is signed out, and nobody becomes another.
//!
//! Two gateways share each store: one reaches it through a relay that breaks, the other directly, so
//! that there are sessions which the first does not have in memory.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use vestibule::clock::Stopwatch;

use crate::harness::assumptions::event;
use crate::harness::client::is_of_session;
use crate::harness::{Answer, Backend, Client, Gateway, PASSWORD, Setup, eventually, time_until};
use crate::servers::postgres::Postgres;
use crate::servers::redis::{Redis, Watched};
use crate::servers::relay::{Mode, Relay};

#[test]
fn a_redis_that_refuses_connections_signs_nobody_out() {
    let redis = Redis::start();
    let house = House::over_redis(&redis, "refuse");
    house.outlives(|| house.relay.set(Mode::Refuse), || house.relay.set(Mode::Pass));
}

#[test]
fn a_redis_behind_a_black_hole_signs_nobody_out() {
    let redis = Redis::start();
    let house = House::over_redis(&redis, "refuse");
    house.outlives(|| house.relay.set(Mode::BlackHole), || house.relay.set(Mode::Pass));
}

#[test]
fn a_redis_that_takes_two_seconds_for_an_answer_signs_nobody_out() {
    let redis = Redis::start();
    let house = House::over_redis(&redis, "refuse");
    house.outlives(|| house.relay.set(Mode::Delay(Duration::from_secs(2))), || house.relay.set(Mode::Pass));
}

#[test]
fn a_redis_that_hangs_signs_nobody_out() {
    let redis = Redis::start();
    let house = House::over_redis(&redis, "refuse");
    house.outlives(|| redis.hang(), || redis.go_on());
}

#[test]
fn a_postgresql_that_refuses_connections_signs_nobody_out() {
    let postgres = Postgres::start();
    let house = House::over_postgres(&postgres);
    house.outlives(|| house.relay.set(Mode::Refuse), || house.relay.set(Mode::Pass));
}

#[test]
fn a_postgresql_behind_a_black_hole_signs_nobody_out() {
    let postgres = Postgres::start();
    let house = House::over_postgres(&postgres);
    house.outlives(|| house.relay.set(Mode::BlackHole), || house.relay.set(Mode::Pass));
}

#[test]
fn a_redis_that_takes_no_writes_goes_on_with_the_sessions_it_has() {
    let redis = Redis::start();
    let house = House::over_redis(&redis, "refuse");
    // What takes nothing new may still take a removal.
    for (fault, repair, logout) in [
        (["REPLICAOF", "127.0.0.1", "1"], ["REPLICAOF", "NO", "ONE"], 503),
        (["CONFIG SET", "min-replicas-to-write", "1"], ["CONFIG SET", "min-replicas-to-write", "0"], 503),
        (["CONFIG SET", "maxmemory", "1"], ["CONFIG SET", "maxmemory", "0"], 303),
        (["ACL SETUSER", "default", "-set"], ["ACL SETUSER", "default", "+set"], 303),
    ] {
        let (warm, leaving) = (house.front.visitor().signed_in_as("alice"), house.cold("ada"));
        let cold = house.cold("ada");
        assert_eq!((warm.get("/").status, leaving.get("/").status), (200, 200));
        say(&redis, fault);
        assert_eq!(cold.page("/").status, 200, "{fault:?}");
        assert_eq!(warm.page("/").status, 200, "{fault:?}");
        let attempt = house.front.visitor().try_login("/", "alice", PASSWORD);
        is_told_to_wait(&attempt);
        let before = leaving.session_line();
        let answer = leaving.sign_out();
        assert_eq!(answer.status, logout, "{fault:?}");
        assert_eq!(keeps_the_session(&answer), logout == 503, "{:?}", answer.headers);
        assert_ne!(ask(&house.front, &before).status, 200, "{fault:?}: ended here in any case");
        assert_eq!(house.front.visitor().page("/public").status, 200);
        say(&redis, repair);
        works_again(&cold);
        works_again(&warm);
        let visitor = house.front.visitor();
        let answer = visitor.try_login("/", "alice", PASSWORD);
        assert_eq!(answer.status, 303, "{fault:?} {} {}", answer.header("retry-after"), answer.text());
        eventually("the end that could not be stored", || {
            (ask(&house.beside, &before).status == 401).then_some(())
        });
    }
}

#[test]
fn a_redis_that_loads_its_file_signs_nobody_out() {
    let slowly = "key-load-delay 500\nloading-process-events-interval-bytes 1024\n";
    let mut redis = Redis::start_with(slowly);
    let house = House::over_redis(&redis, "refuse");
    let (warm, cold) = (house.front.visitor().signed_in_as("alice"), house.cold("ada"));
    redis.command(["EVAL", FILLER, "0"]);
    assert_eq!(redis.command(["SAVE"]), "OK");
    redis.kill();
    thread::scope(|scope| {
        let restart = scope.spawn(|| redis.start_again());
        house.front.advance(RECHECK * 2);
        eventually("a Redis that loads", || {
            is_bearable(&warm.page("/"));
            is_bearable(&cold.page("/"));
            house.front.admin("/ready").text().to_lowercase().contains("loading").then_some(())
        });
        while !restart.is_finished() {
            is_bearable(&warm.page("/"));
            is_bearable(&cold.page("/"));
            assert_eq!(house.front.visitor().page("/public").status, 200);
        }
        restart.join().expect("a Redis that was started again");
        works_again(&cold);
        works_again(&warm);
    });
}

#[test]
fn a_failover_of_redis_under_load_signs_nobody_out() {
    let mut watched = Watched::start();
    let backend = Backend::start();
    let setup = patient(&backend, "refuse").store(&watched.url());
    let front = Gateway::start(&setup);
    let beside = front.twin(&setup);
    let warm = front.visitor().signed_in_as("alice");
    let mut strangers: Vec<Client> =
        (0..20).map(|_| beside.visitor().signed_in_as("ada").moved_to(front.address())).collect();
    let late = strangers.pop().expect("somebody");
    eventually("replicas that have every session", || {
        let [first, one, two] = [0, 1, 2].map(|index| watched.servers[index].command(["DBSIZE"]));
        (first == one && first == two).then_some(())
    });
    let is_over = &AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(move || ask_until(is_over, &[warm]));
        scope.spawn(move || ask_until(is_over, &strangers));
        watched.servers[0].kill();
        front.advance(RECHECK * 2);
        let is_master = |redis: &Redis| redis.command(["ROLE"]).starts_with("master");
        time_until("a new master", || watched.servers[1..].iter().any(is_master));
        works_again(&late);
        is_over.store(true, Ordering::SeqCst);
    });
    assert_eq!(front.visitor().try_login("/", "alice", PASSWORD).status, 303);
}

#[test]
fn a_gateway_that_starts_while_redis_is_down_serves_what_is_public_and_recovers() {
    let redis = Redis::start();
    let relay = Relay::start(([127, 0, 0, 1], redis.port()).into());
    relay.set(Mode::Refuse);
    let backend = Backend::start();
    let gateway = Gateway::start(&patient(&backend, "refuse").store(&through(&relay)));
    let visitor = gateway.visitor();
    assert_eq!(visitor.page("/public").status, 200);
    assert!(visitor.page("/").asks_login());
    is_told_to_wait(&visitor.try_login("/", "alice", PASSWORD));
    assert_eq!((gateway.admin("/live").status, gateway.admin("/ready").status), (200, 503));
    relay.set(Mode::Pass);
    let time = time_until("a login", || gateway.visitor().try_login("/", "alice", PASSWORD).status == 303);
    assert!(time < RECOVERY, "{time:?}");
    assert_eq!(gateway.admin("/ready").status, 200);
}

#[test]
fn with_a_grace_sessions_that_were_verified_go_on_for_so_long_and_no_others() {
    let redis = Redis::start();
    let house = House::over_redis(&redis, "grace 5m");
    let (alice, left) = (house.front.visitor().signed_in_as("alice"), house.cold("ada"));
    let (revoked, cold) = (house.cold("ada"), house.cold("ada"));
    assert_eq!([&alice, &left, &revoked].map(|visitor| visitor.get("/").status), [200; 3]);
    let lines = [left.session_line(), revoked.session_line()];
    assert_eq!(left.sign_out().status, 303);
    assert_eq!(revoked.moved_to(house.beside.address()).sign_out().status, 303);
    eventually("the revocation", || (ask(&house.front, &lines[1]).status == 401).then_some(()));
    house.relay.set(Mode::Refuse);
    house.is_down();
    let ends = || lines.each_ref().map(|line| ask(&house.front, line).status);
    for step in [RECHECK * 2, GRACE - RECHECK * 2 - SECOND] {
        house.front.advance(step);
        assert_eq!(alice.page("/").status, 200);
        is_told_to_wait(&cold.page("/"));
        assert_eq!(ends(), [503; 2]);
    }
    house.front.advance(SECOND * 2);
    is_told_to_wait(&alice.page("/"));
    house.relay.set(Mode::Pass);
    works_again(&alice);
    works_again(&cold);
    assert_eq!(ends(), [401; 2]);
}

#[test]
fn what_stands_in_the_place_of_a_session_is_never_somebody() {
    let redis = Redis::start();
    let backend = Backend::start();
    let gateway = Gateway::start(&patient(&backend, "refuse").store(&redis.url()));
    let alice = gateway.visitor().signed_in_as("alice");
    let mine = redis.command(["KEYS", "*:s:*"]);
    let ada = gateway.visitor().signed_in_as("ada");
    let keys = redis.command(["KEYS", "*:s:*"]);
    let others = keys.lines().find(|key| **key != *mine).expect("the session of Ada");
    let [my_times, other_times] = [mine.as_str(), others].map(|key| key.replacen(":s:", ":t:", 1));
    let line = alice.session_line();
    redis.command(["COPY", &mine, "kept"]);
    redis.command(["COPY", &my_times, "kept-times"]);
    for (number, (what, script)) in LIES.into_iter().enumerate() {
        redis.command(["EVAL", script, "4", &mine, &my_times, others, &other_times]);
        eventually(what, || (ask(&gateway, &line).status == 401).then_some(()));
        let page = gateway.visitor().ask("GET", "/").as_page().header("cookie", &line).send();
        assert!(page.asks_login(), "{what}: {}", page.status);
        // Each of the two refusals is told.
        eventually(what, || (count_refused(&gateway) == 2 * (number + 1)).then_some(()));
        redis.command(["COPY", "kept-times", &my_times, "REPLACE"]);
        redis.command(["COPY", "kept", &mine, "REPLACE"]);
        assert_eq!(ask(&gateway, &line).status, 200, "{what}");
    }
    for request in backend.all_received() {
        assert_eq!(request.header("x-user-id"), "alice");
    }
    assert_eq!(ada.get("/").status, 200);
    assert_eq!(backend.received().header("x-user-id"), "ada");
}

#[test]
fn what_stands_in_the_row_of_a_session_is_never_somebody() {
    let postgres = Postgres::start();
    let backend = Backend::start();
    let setup = patient(&backend, "refuse").store(&postgres.url());
    let gateway = Gateway::start(&setup);
    let (alice, ada) = (gateway.visitor().signed_in_as("alice"), gateway.visitor().signed_in_as("ada"));
    let line = alice.session_line();
    postgres.query("CREATE TABLE kept AS SELECT * FROM vestibule_sessions");
    for lie in FALSE_ROWS {
        postgres.query(&format!("UPDATE vestibule_sessions AS s SET {lie} {OF_ALICE}"));
        // One that has nothing in memory.
        let fresh = gateway.twin(&setup);
        assert_eq!(ask(&fresh, &line).status, 401, "{lie}");
        assert!(alice.moved_to(fresh.address()).page("/").asks_login(), "{lie}");
        assert_eq!(fresh.audited(event::RECORD_REFUSED)["event"], event::RECORD_REFUSED);
        assert!(backend.saw_nothing(), "{lie}");
        assert_eq!(ada.moved_to(fresh.address()).get("/").status, 200);
        assert_eq!(backend.received().header("x-user-id"), "ada");
        postgres.query("DELETE FROM vestibule_sessions; INSERT INTO vestibule_sessions SELECT * FROM kept");
    }
    let fresh = gateway.twin(&setup);
    assert_eq!(ask(&fresh, &line).status, 200);
    assert_eq!(backend.received().header("x-user-id"), "alice");
}

/// A gateway whose store is behind a relay, and one of the same service that reaches it directly.
struct House {
    relay: Relay,
    front: Gateway,
    beside: Gateway,
    _backend: Backend,
}

impl House {
    #[track_caller]
    fn over_redis(redis: &Redis, store_down: &str) -> Self {
        let relay = Relay::start(([127, 0, 0, 1], redis.port()).into());
        let url = through(&relay);
        Self::over(relay, &url, &redis.url(), store_down)
    }

    #[track_caller]
    fn over_postgres(postgres: &Postgres) -> Self {
        let relay = Relay::start(([127, 0, 0, 1], postgres.port()).into());
        let url = postgres.url().replace(&postgres.port().to_string(), &relay.port().to_string());
        Self::over(relay, &url, &postgres.url(), "refuse")
    }

    #[track_caller]
    fn over(relay: Relay, through: &str, directly: &str, store_down: &str) -> Self {
        let backend = Backend::start();
        let front = Gateway::start(&patient(&backend, store_down).store(through));
        let beside = front.twin(&patient(&backend, store_down).store(directly));
        Self { relay, front, beside, _backend: backend }
    }

    /// Somebody with a session that only the store knows.
    #[track_caller]
    fn cold(&self, user: &str) -> Client {
        self.beside.visitor().signed_in_as(user).moved_to(self.front.address())
    }

    /// All that is promised of a day on which the store gives no answers.
    #[track_caller]
    fn outlives(&self, fault: impl FnOnce(), repair: impl FnOnce()) {
        let (warm, cold) = (self.front.visitor().signed_in_as("alice"), self.cold("ada"));
        assert_eq!(warm.page("/").status, 200);
        let before = [&warm, &cold].map(Client::session_line);
        fault();
        self.front.advance(RECHECK * 2);
        thread::scope(|scope| {
            scope.spawn(|| public_routes_do_not_notice(&self.front, &before[0]));
            while self.front.admin("/ready").status == 200 {
                is_told_to_wait(&cold.page("/"));
                is_bearable(&warm.page("/"));
            }
        });
        self.is_down();
        eventually("doubt about what is in memory", || (warm.get("/").status == 503).then_some(()));
        is_told_to_wait_at_once(&[&warm, &cold]);
        is_told_to_wait(&self.front.visitor().try_login("/", "alice", PASSWORD));
        public_routes_do_not_notice(&self.front, &before[0]);
        repair();
        works_again(&cold);
        works_again(&warm);
        assert_eq!([&warm, &cold].map(Client::session_line), before);
        assert_eq!(self.front.admin("/ready").status, 200);
    }

    #[track_caller]
    fn is_down(&self) {
        eventually("a gateway that is not ready", || {
            let ready = self.front.admin("/ready");
            (ready.status == 503 && ready.text().starts_with("session store: ")).then_some(())
        });
        assert_eq!(self.front.admin("/live").status, 200);
    }
}

/// With and without a cookie.
#[track_caller]
fn public_routes_do_not_notice(gateway: &Gateway, line: &str) {
    let visitor = gateway.visitor();
    is_mostly_at_once(|| {
        let with_cookie = visitor.ask("GET", "/public").as_page().header("cookie", line).send();
        assert_eq!((with_cookie.status, visitor.page("/public").status), (200, 200));
        assert!(with_cookie.values("set-cookie").is_empty());
    });
}

#[track_caller]
fn is_told_to_wait_at_once(visitors: &[&Client]) {
    for visitor in visitors {
        is_mostly_at_once(|| is_told_to_wait(&visitor.page("/")));
        is_mostly_at_once(|| is_told_to_wait(&visitor.get("/")));
    }
}

/// Each answer is to come within 50 ms. Other tests may hold the machine up now and then: so half of
/// them must, and each within as long as no wait for a store would take.
#[track_caller]
fn is_mostly_at_once(mut ask: impl FnMut()) {
    let mut times: Vec<Duration> = (0..20)
        .map(|_| {
            let watch = Stopwatch::start();
            ask();
            watch.elapsed()
        })
        .collect();
    times.sort();
    assert!(times[10] < AT_ONCE && times[19] < AT_ONCE * 10, "{times:?}");
}

/// 503 with a time to come back, and the cookie stays.
#[track_caller]
fn is_told_to_wait(answer: &Answer) {
    assert_eq!(answer.status, 503, "{} {}", answer.location(), answer.text());
    assert!(answer.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds > 0));
    assert!(keeps_the_session(answer), "{:?}", answer.headers);
}

/// What was asked for, or [`is_told_to_wait`].
#[track_caller]
fn is_bearable(answer: &Answer) {
    if answer.status != 200 {
        is_told_to_wait(answer);
    }
}

fn keeps_the_session(answer: &Answer) -> bool {
    answer.cookies().keys().all(|name| !is_of_session(name))
}

/// Without a restart and with the cookie of before; until then nobody is sent away.
#[track_caller]
fn works_again(visitor: &Client) {
    let time = time_until("the page", || {
        let answer = visitor.page("/");
        is_bearable(&answer);
        answer.status == 200
    });
    assert!(time < RECOVERY, "after {time:?}");
}

fn ask_until(is_over: &AtomicBool, visitors: &[Client]) {
    for visitor in visitors.iter().cycle() {
        if is_over.load(Ordering::SeqCst) {
            return;
        }
        is_bearable(&visitor.page("/"));
    }
}

/// As a script with this cookie line.
#[track_caller]
fn ask(gateway: &Gateway, line: &str) -> Answer {
    gateway.visitor().ask("GET", "/").header("cookie", line).send()
}

fn count_refused(gateway: &Gateway) -> usize {
    gateway.audit_trail().iter().filter(|line| line["event"] == event::RECORD_REFUSED).count()
}

/// Words of `redis-cli`, the first of which may be two.
#[track_caller]
fn say(redis: &Redis, [command, key, value]: [&str; 3]) {
    let told = match command.split_once(' ') {
        Some((command, word)) => redis.command([command, word, key, value]),
        None => redis.command([command, key, value]),
    };
    assert!(told.starts_with("OK"), "{command} {key} {value}: {told}");
}

fn patient(backend: &Backend, store_down: &str) -> Setup {
    Setup::in_front_of(&backend.url())
        .set("session.store_down", &format!("'{store_down}'"))
        .set("session.max_per_user", "0")
}

fn through(relay: &Relay) -> String {
    format!("redis://127.0.0.1:{}", relay.port())
}

/// What somebody who may write into Redis could put there. The keys: Alice's session and its times, then
/// Ada's. Each writes the first, so that it is told.
const LIES: [(&str, &str); 11] = [
    ("the session of another", "return redis.call('SET', KEYS[1], redis.call('GET', KEYS[3]))"),
    (
        "the session and the times of another",
        "redis.call('SET', KEYS[2], redis.call('GET', KEYS[4]))
         return redis.call('SET', KEYS[1], redis.call('GET', KEYS[3]))",
    ),
    (
        "the record of another under the right id",
        "local mine, other = redis.call('GET', KEYS[1]), redis.call('GET', KEYS[3])
         return redis.call('SET', KEYS[1], string.sub(mine, 1, 33) .. string.sub(other, 34))",
    ),
    (
        "the name of another before the own record",
        "local mine = redis.call('GET', KEYS[1])
         return redis.call('SET', KEYS[1], string.sub(mine, 1, 42) .. 'admin' .. string.sub(mine, 48))",
    ),
    ("no session at all", "return redis.call('SET', KEYS[1], 'junk')"),
    ("an empty text", "return redis.call('SET', KEYS[1], '')"),
    ("a list", "redis.call('DEL', KEYS[1]) return redis.call('LPUSH', KEYS[1], 'junk')"),
    (
        "a value of a newer version",
        "local mine = redis.call('GET', KEYS[1])
         return redis.call('SET', KEYS[1], string.char(2) .. string.sub(mine, 2))",
    ),
    ("half a record", "return redis.call('SET', KEYS[1], string.sub(redis.call('GET', KEYS[1]), 1, 80))"),
    (
        "a record with another last byte",
        "local mine = redis.call('GET', KEYS[1])
         local last = (string.byte(mine, -1) + 1) % 256
         return redis.call('SET', KEYS[1], string.sub(mine, 1, -2) .. string.char(last))",
    ),
    (
        "times that are none",
        "redis.call('SET', KEYS[2], 'junk')
         return redis.call('SET', KEYS[1], redis.call('GET', KEYS[1]))",
    ),
];

/// What somebody who may write into the database could do to the row of Alice, beside that of Ada.
const FALSE_ROWS: [&str; 6] = [
    "user_name = 'ada'",
    "record = (SELECT record FROM kept WHERE user_name = 'ada')",
    "(user_name, key_id, created, last_seen, expires_at, record) = (SELECT user_name, key_id, created,
     last_seen, expires_at, record FROM kept WHERE user_name = 'ada')",
    "record = 'junk'",
    "record = ''",
    "key_id = '0000'",
];
const OF_ALICE: &str = "WHERE s.id = (SELECT id FROM kept WHERE user_name = 'alice')";

/// About two seconds of loading.
const FILLER: &str = "for i = 1, 3000 do redis.call('SET', 'filler:' .. i, string.rep('x', 2000)) end";

const AT_ONCE: Duration = Duration::from_millis(50);
const RECOVERY: Duration = Duration::from_secs(5);
const SECOND: Duration = Duration::from_secs(1);
/// After so long in doubt a session in memory is asked for again.
const RECHECK: Duration = Duration::from_secs(5);
const GRACE: Duration = Duration::from_mins(5);
