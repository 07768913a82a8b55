//! Two gateways over one store: what happens at one is so at the other.

use std::time::Duration;

use vestibule::clock::Stopwatch;

use crate::harness::assumptions::event;
use crate::harness::backend::HELLO;
use crate::harness::client::SESSION_COOKIE;
use crate::harness::websocket::{Message, WebSocket};
use crate::harness::{After, Answer, Backend, Client, Gateway, Pair, Setup, eventually, time_until};
use crate::servers::mariadb::MariaDb;
use crate::servers::memcached::Memcached;
use crate::servers::postgres::Postgres;
use crate::servers::redis::Redis;

#[test]
fn over_redis_an_end_at_one_gateway_bites_at_the_other_at_once() {
    let redis = Redis::start();
    ends_bite_at_once(&pair_over(&redis.url()));
}

#[test]
fn over_postgresql_an_end_at_one_gateway_bites_at_the_other_at_once() {
    let postgres = Postgres::start();
    ends_bite_at_once(&pair_over(&postgres.url()));
}

#[test]
fn over_mariadb_an_end_at_one_gateway_is_known_at_the_other_after_the_time_to_ask_again() {
    let mariadb = MariaDb::start();
    ends_are_known_when_it_asks_again(&pair_over(&mariadb.url()));
}

#[test]
fn over_memcached_an_end_at_one_gateway_is_known_at_the_other_after_the_time_to_ask_again() {
    let memcached = Memcached::start();
    ends_are_known_when_it_asks_again(&pair_over(&format!("memcached://{}", memcached.address())));
}

#[test]
fn a_thousand_requests_of_warm_sessions_read_nothing_from_redis() {
    let redis = Redis::start();
    let pair = pair_over(&redis.url());
    let visitors: Vec<Client> = (0..4).map(|_| pair.one.visitor().signed_in_as("alice")).collect();
    for visitor in &visitors {
        is_kept_without_asking(&redis, &pair.one, visitor);
    }
    // Long past the time after which a store that tells nothing would be asked again.
    pair.one.advance(RECHECK * 4);
    let (before, watch) = (Commands::of(&redis), Stopwatch::start());
    for number in 0..1_000 {
        assert_eq!(visitors[number % visitors.len()].get("/").status, 200);
    }
    let spent = Commands::of(&redis).since(&before);
    let flushes = watch.elapsed().as_secs() / FLUSH_EVERY.as_secs() + 1;
    assert_eq!(spent.loads(), 0, "{spent:?}");
    assert!(spent.touches() <= flushes * visitors.len() as u64, "{spent:?} in {flushes} rounds");
}

#[test]
fn a_cold_session_costs_one_round_trip_to_redis() {
    let redis = Redis::start();
    let pair = pair_over(&redis.url());
    // The first to come brings the script.
    let first = pair.elsewhere(&pair.one.visitor().signed_in_as("ada"));
    assert_eq!(first.get("/").status, 200);
    let alice = pair.elsewhere(&pair.one.visitor().signed_in_as("alice"));
    let before = Commands::of(&redis);
    assert_eq!(alice.get("/").status, 200);
    let cold = Commands::of(&redis).since(&before);
    assert_eq!(cold.loads(), 1, "{cold:?}");
    assert_eq!(alice.get("/").status, 200);
    assert_eq!(Commands::of(&redis).since(&before).loads(), 1);
}

#[test]
fn a_token_that_one_gateway_gave_is_good_at_the_other() {
    let redis = Redis::start();
    let pair = pair_over(&redis.url());
    let alice = pair.one.visitor().signed_in_as("alice");
    let (first, elsewhere) = (alice.session_cookie(), pair.elsewhere(&alice));
    assert_eq!(elsewhere.get("/").status, 200);
    pair.advance(RENEWAL);
    assert_eq!(alice.get("/").status, 200);
    assert_ne!(alice.session_cookie(), first);
    let renewed = pair.elsewhere(&alice);
    for _ in 0..3 {
        assert_eq!((renewed.get("/").status, alice.get("/").status), (200, 200));
        pair.advance(RENEWAL_GRACE / 2);
    }
    assert_eq!(renewed.session_cookie(), alice.session_cookie());
}

#[test]
fn a_token_that_was_replaced_at_one_gateway_ends_the_session_when_it_is_shown_at_the_other() {
    let redis = Redis::start();
    let pair = pair_over(&redis.url());
    let alice = pair.one.visitor().signed_in_as("alice");
    let stolen = alice.session_line();
    let thief = || pair.two.visitor().ask("GET", "/").header("cookie", &stolen).send().status;
    assert_eq!(thief(), 200);
    pair.advance(RENEWAL);
    assert_eq!(alice.get("/").status, 200);
    assert_ne!(alice.session_line(), stolen);
    assert_eq!(alice.get("/").status, 200);
    pair.advance(RENEWAL_GRACE + SECOND);
    // The gateway that saw the new token tells of it with its next flush.
    let time = time_until("the thief is found out", || thief() == 401);
    assert!(time < FLUSH_EVERY + SECOND, "{time:?}");
    assert_eq!(pair.two.audited(event::SESSION_DESTROYED)["detail"], "a replaced token was used");
    eventually("the end for everybody", || (alice.get("/").status == 401).then_some(()));
}

/// Two gateways over `store`, each with its own accounts.
#[track_caller]
fn pair_over(store: &str) -> Pair {
    let backend = web_and_sockets();
    let setup = Setup::in_front_of(&backend.url()).store(store).set("session.max_per_user", "0");
    Pair::start(&setup, backend)
}

/// Three times each; the machine may be busy for a moment, but not most of the time.
#[track_caller]
fn ends_bite_at_once(pair: &Pair) {
    for (what, end) in ENDS {
        let mut delays = [(); 3].map(|()| time_of_end(pair, end));
        delays.sort();
        assert!(delays[1] < AT_ONCE, "{what}: {delays:?}");
    }
}

/// How long the second gateway takes to know of an end at the first, on connections that are open.
#[track_caller]
fn time_of_end(pair: &Pair, end: End) -> Duration {
    let Stay { alice, http1, http2, mut socket } = Stay::begin(pair);
    end(pair, &alice);
    let watch = Stopwatch::start();
    let delay =
        time_until("the end elsewhere", || is_refused(&http1.get("/")) && is_refused(&http2.get("/")));
    assert!(http1.page("/").asks_login());
    is_closed(&mut socket, watch);
    assert!(is_refused(&http1.second_tab().get("/")));
    delay
}

#[track_caller]
fn ends_are_known_when_it_asks_again(pair: &Pair) {
    for (what, end) in ENDS {
        let Stay { alice, http1, http2, mut socket } = Stay::begin(pair);
        end(pair, &alice);
        pair.two.advance(RECHECK + Duration::from_millis(1));
        let watch = Stopwatch::start();
        assert!(is_refused(&http1.get("/")) && is_refused(&http2.get("/")), "{what}");
        is_closed(&mut socket, watch);
    }
}

/// Alice, signed in at the first gateway and busy at the second.
struct Stay {
    alice: Client,
    http1: Client,
    http2: Client,
    socket: WebSocket,
}

impl Stay {
    #[track_caller]
    fn begin(pair: &Pair) -> Self {
        pair.one.folder.run(&["users", "enable", "alice"]);
        let alice = pair.one.visitor().signed_in_as("alice");
        let (http1, http2) = (pair.elsewhere(&alice), pair.elsewhere(&alice).over_h2());
        let mut socket = WebSocket::open(&pair.two, &http1, "/ws");
        socket.say("hello");
        assert_eq!(socket.heard(), Message::Text("news".to_owned()));
        assert_eq!((http1.get("/").status, http2.get("/").status), (200, 200));
        assert!(pair.backend.received().head.contains("alice"));
        pair.advance(SECOND);
        Self { alice, http1, http2, socket }
    }
}

type End = fn(&Pair, &Client);

const ENDS: [(&str, End); 3] = [
    ("a logout", |_, alice| assert_eq!(alice.sign_out().status, 303)),
    ("a disabled account", |pair, _| users(&pair.one, &["disable", "alice"])),
    ("a revocation", |pair, _| users(&pair.one, &["edit", "alice", "--group", "staff"])),
];

#[track_caller]
fn users(gateway: &Gateway, arguments: &[&str]) {
    let finished = gateway.folder.run(&[&["users"], arguments].concat());
    assert_eq!(finished.code, 0, "{}", finished.stderr);
}

/// No cookie is taken away: the login does that by itself.
fn is_refused(answer: &Answer) -> bool {
    assert!(answer.status == 200 || answer.status == 401, "{} {}", answer.status, answer.text());
    assert!(answer.set_cookie(SESSION_COOKIE).is_none());
    answer.status == 401
}

#[track_caller]
fn is_closed(socket: &mut WebSocket, watch: Stopwatch) {
    assert_eq!(socket.heard(), Message::Close(4401));
    let elapsed = watch.elapsed();
    assert!(elapsed < SECOND, "after {elapsed:?}");
}

/// Waits until Redis tells of changes, so that this session is not asked for again.
#[track_caller]
fn is_kept_without_asking(redis: &Redis, gateway: &Gateway, visitor: &Client) {
    eventually("a session that is kept without asking", || {
        gateway.advance(RECHECK * 2);
        assert_eq!(visitor.get("/").status, 200);
        let before = Commands::of(redis);
        gateway.advance(RECHECK * 2);
        assert_eq!(visitor.get("/").status, 200);
        (Commands::of(redis).since(&before).loads() == 0).then_some(())
    });
}

/// How often Redis did what sessions need of it.
///
/// Each call is one script. One that loads reads two keys; one that touches reads two and writes one.
#[derive(Debug)]
struct Commands {
    scripts: u64,
    reads: u64,
    writes: u64,
}

impl Commands {
    fn of(redis: &Redis) -> Self {
        // All figures of one moment.
        let info = redis.command(["INFO", "commandstats"]);
        let figure = |command: &str, name: &str| -> u64 {
            let line = info.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:")));
            let mut figures = line.unwrap_or_default().split(',').filter_map(|pair| pair.split_once('='));
            figures
                .find(|(key, _)| *key == name)
                .map_or(0, |(_, value)| value.trim().parse().expect("a count"))
        };
        let calls = |command| figure(command, "calls");
        // A script that Redis does not know yet is sent in full after it was refused.
        let scripts = calls("evalsha") - figure("evalsha", "failed_calls") + calls("eval");
        Self { scripts, reads: calls("get"), writes: calls("set") }
    }

    fn since(&self, before: &Self) -> Self {
        let spent = Self {
            scripts: self.scripts - before.scripts,
            reads: self.reads - before.reads,
            writes: self.writes - before.writes,
        };
        assert_eq!(spent.reads, 2 * spent.scripts, "{spent:?}");
        spent
    }

    fn loads(&self) -> u64 {
        self.scripts - self.writes
    }

    fn touches(&self) -> u64 {
        self.writes
    }
}

/// Says hello, and `news` on a WebSocket whenever it hears something.
fn web_and_sockets() -> Backend {
    Backend::with_head(|peer| {
        if peer.request.values("upgrade").is_empty() {
            peer.write(HELLO);
            return After::KeepAlive;
        }
        peer.write(SWITCHING);
        while peer.read_some().is_some() {
            peer.write(NEWS);
        }
        After::Close
    })
}

const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
/// A text frame of a server.
const NEWS: &[u8] = b"\x81\x04news";

/// What an end elsewhere may take to be known.
const AT_ONCE: Duration = Duration::from_millis(100);
const SECOND: Duration = Duration::from_secs(1);
/// After so long a store that tells nothing is asked again.
const RECHECK: Duration = Duration::from_secs(5);
/// How often a gateway stores activity and new tokens.
const FLUSH_EVERY: Duration = Duration::from_secs(5);
const RENEWAL: Duration = Duration::from_mins(15);
/// How long a token that was replaced serves what is under way.
const RENEWAL_GRACE: Duration = Duration::from_secs(30);
