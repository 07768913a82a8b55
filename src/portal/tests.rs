//! The pages as a browser meets them: a cookie jar, forms that are filled in, a memory store.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::time::Duration;

use http::header::{self, COOKIE, LOCATION, SET_COOKIE};
use tempfile::TempDir;

use super::*;
use crate::clock::ClockHand;
use crate::identity::{AuthMethod, Factor, UserId};
use crate::login::accounts::{Accounts, Profile};
use crate::login::factors::{AfterReset, Place as Beside, Reset, ResetToken, store_of};
use crate::login::password::{Hasher, HashingConfig};
use crate::login::{Rate, ThrottleConfig};
use crate::secret::Secret;
use crate::session::Proofs;
use crate::session::keyring::KeyRing;
use crate::session::lifetime::Remember;
use crate::session::{self, Beyond, Limit, Policy, StoreKind};
use crate::telemetry::audit::Lines;

const PASSWORD: &str = "correct horse & battery+1";
const HOST: &str = "wiki.example.com";
const HOUR: Duration = Duration::from_hours(1);
const CHEAP: HashingConfig = HashingConfig { threads: 1, queue: 8, memory: 64, passes: 1 };

fn words() -> &'static Strings {
    Language::English.words()
}

struct House {
    folder: TempDir,
    portal: Portal,
    accounts: Accounts,
    hand: ClockHand,
    lines: Lines,
}

impl House {
    async fn new() -> Self {
        Self::with(Hasher::start(CHEAP).unwrap(), Duration::from_hours(720)).await
    }

    async fn with(hasher: Hasher, remember: Duration) -> Self {
        let mut policy = Policy::plain();
        policy.lifetimes.remember = remember;
        Self::under(policy, hasher).await
    }

    /// Where nobody has more than this many sessions.
    async fn with_room_for(sessions: usize) -> Self {
        let limit = Limit { sessions: NonZeroUsize::new(sessions).unwrap(), beyond: Beyond::Refuse };
        let policy = Policy { limit: Some(limit), ..Policy::plain() };
        Self::under(policy, Hasher::start(CHEAP).unwrap()).await
    }

    async fn under(policy: Policy, hasher: Hasher) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let accounts = Accounts::open(&folder.path().join("users.db")).await.unwrap();
        let (clock, hand) = Clock::movable();
        let (audit, lines) = Audit::to_memory();
        let phc = Hasher::start(CHEAP).unwrap().hash(Secret::new(PASSWORD.to_owned())).await.unwrap();
        let profile = Profile { name: Some("<b>Alice</b>".to_owned()), ..Profile::default() };
        accounts.add(&alice(), phc, profile, clock.now()).await.unwrap();
        let rate = Rate { count: 3, period: Duration::from_mins(30) };
        let throttle = ThrottleConfig { per_account: rate, per_address: Rate { count: 100, ..rate } };
        let store = store_of(&accounts, &Beside::Sqlite("unused".into())).await.unwrap();
        let login = Login::new(accounts.clone(), store, hasher, throttle, clock.clone(), audit.clone());
        let config = session::Config { store: StoreKind::Memory, policy };
        let ring = Arc::new(KeyRing::generate(clock.now()));
        let engine = Engine::start(config, ring, clock.clone(), audit.clone()).await.unwrap();
        let look = Arc::new(Look::load(&Config::at("/.vestibule")).unwrap());
        let settings = Settings { look, methods: vec![AuthMethod::Password, AuthMethod::Passkey] };
        let vault = Arc::new(RingVault::new(engine.clone()));
        let factors = Factors::new(login.factor_store(), vault, login.hasher(), clock.clone(), audit.clone());
        let portal = Portal::new(engine, Arc::new(login), factors, clock, audit, settings);
        Self { folder, portal, accounts, hand, lines }
    }

    fn browser(&self) -> Browser<'_> {
        Browser { house: self, jar: BTreeMap::new(), headers: HeaderMap::new() }
    }
}

struct Browser<'a> {
    house: &'a House,
    jar: BTreeMap<String, String>,
    headers: HeaderMap,
}

impl Browser<'_> {
    async fn send(&mut self, method: Method, target: &str, body: &str) -> Result<Seen, PortalError> {
        let mut headers = self.headers.clone();
        for (name, value) in &self.jar {
            headers.append(COOKIE, HeaderValue::try_from(format!("{name}={value}")).unwrap());
        }
        let (path, query) =
            target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let request = Request {
            method: &method,
            path_below_portal: path,
            query,
            headers: &headers,
            body: Bytes::from(body.to_owned()),
            client: IpAddr::from([192, 0, 2, 1]),
            request_id: "r1",
            host: HOST,
        };
        let seen = Seen(self.house.portal.serve(request).await?);
        for cookie in seen.0.headers().get_all(SET_COOKIE) {
            let (name, rest) = cookie.to_str().unwrap().split_once('=').unwrap();
            match rest.split_once(';').unwrap().0 {
                "" => self.jar.remove(name),
                value => self.jar.insert(name.to_owned(), value.to_owned()),
            };
        }
        Ok(seen)
    }

    async fn get(&mut self, target: &str) -> Seen {
        self.send(Method::GET, target, "").await.unwrap()
    }

    async fn post(&mut self, target: &str, fields: &[(&str, &str)]) -> Seen {
        self.send(Method::POST, target, &encoded(fields)).await.unwrap()
    }

    async fn fill_in(&mut self, target: &str, user: &str, password: &str) -> Seen {
        let page = self.get(target).await;
        let (token, next) = (page.value("token"), page.value("next"));
        self.post("/login", &[("token", &token), ("next", &next), ("user", user), ("password", password)])
            .await
    }

    async fn sign_in(&mut self) {
        assert_eq!(self.fill_in("/login", "alice", PASSWORD).await.status(), 303);
    }

    async fn is_signed_in(&mut self) -> bool {
        self.get("/session").await.status() == 200
    }
}

struct Seen(Response<Bytes>);

impl Seen {
    fn status(&self) -> u16 {
        self.0.status().as_u16()
    }

    fn text(&self) -> &str {
        std::str::from_utf8(self.0.body()).unwrap()
    }

    fn header(&self, name: impl header::AsHeaderName) -> &str {
        self.0.headers().get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Every value of inputs and buttons of this name.
    fn values(&self, name: &str) -> Vec<String> {
        let mark = format!("name=\"{name}\" value=\"");
        let parts = self.text().split(&mark).skip(1);
        parts.map(|rest| rest.split_once('"').unwrap().0.to_owned()).collect()
    }

    /// The value of an input, unescaped as a browser does it.
    fn value(&self, name: &str) -> String {
        let (_, rest) = self.text().split_once(&format!("name=\"{name}\" value=\"")).unwrap();
        let value = rest.split_once('"').unwrap().0;
        value
            .replace("&#x2f;", "/")
            .replace("&quot;", "\"")
            .replace("&#x27;", "'")
            .replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&amp;", "&")
    }
}

fn encoded(fields: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

fn alice() -> UserId {
    UserId::try_from("alice").unwrap()
}

#[tokio::test]
async fn the_login_page_works_with_password_managers_and_screen_readers() {
    let house = House::new().await;
    let page = house.browser().get("/login?next=/wiki").await;
    assert_eq!(page.status(), 200);
    for part in [
        "autocomplete=\"username\"",
        "autocomplete=\"current-password\"",
        "type=\"password\"",
        "<label for=\"user\">",
        "<label for=\"password\">",
        "name=\"viewport\"",
        "name=\"remember\"",
        "wiki.example.com",
        "aria-hidden=\"true\"",
    ] {
        assert!(page.text().contains(part), "{part} is missing");
    }
    let text = without_passkeys(page.text());
    assert!(!text.contains("role=\"alert\"") && !text.contains("<script"));
    assert!(page.0.body().len() < 30 * 1024);
    let cookie = page.header(SET_COOKIE);
    for attribute in ["__Host-vestibule-form=", "HttpOnly", "Secure", "SameSite=Lax", "Path=/"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
}

#[tokio::test]
async fn the_right_password_leads_back_byte_for_byte() {
    let house = House::new().await;
    let mut browser = house.browser();
    let target = "/wiki/A%2fB?x=%20+&y=\"<'>&next=//evil";
    let page = format!("/login?next={}", ReturnTo::parse(target).to_query());
    let seen = browser.fill_in(&page, "alice", PASSWORD).await;
    assert_eq!((seen.status(), seen.header(LOCATION)), (303, target));
    assert_eq!(seen.header(header::CACHE_CONTROL), "no-store");
    assert!(seen.header(SET_COOKIE).starts_with("__Host-vestibule="));
    assert!(!seen.header(SET_COOKIE).contains("Max-Age"));
    assert!(browser.is_signed_in().await);
    assert_eq!(house.lines.count(EventKind::LoginSuccess), 1);
}

#[tokio::test]
async fn a_target_elsewhere_or_on_our_own_pages_becomes_the_root() {
    let house = House::new().await;
    for next in ["//evil.example", "https://evil.example/", "/\\evil.example", "/.vestibule/logout"] {
        let seen = house.browser().fill_in(&format!("/login?rd={next}"), "alice", PASSWORD).await;
        assert_eq!(seen.header(LOCATION), "/", "{next}");
    }
    let mut browser = house.browser();
    let token = browser.get("/login").await.value("token");
    let fields = [("token", &*token), ("next", "//evil.example"), ("user", "alice"), ("password", PASSWORD)];
    assert_eq!(browser.post("/login", &fields).await.header(LOCATION), "/");
}

#[tokio::test]
async fn every_failure_shows_the_same_page_and_opens_nothing() {
    let house = House::new().await;
    let dora = UserId::try_from("dora").unwrap();
    let phc = Hasher::start(CHEAP).unwrap().hash(Secret::new(PASSWORD.to_owned())).await.unwrap();
    house.accounts.add(&dora, phc, Profile::default(), house.portal.clock.now()).await.unwrap();
    house.accounts.disable(&dora).await.unwrap();
    let mut pages = Vec::new();
    for (user, password) in [("alice", "wrong"), ("dora", PASSWORD), ("nobdy", PASSWORD)] {
        let mut browser = house.browser();
        let page = browser.fill_in("/login?next=/wiki", user, password).await;
        assert_eq!(page.status(), 401);
        assert_eq!(page.value("next"), "/wiki");
        assert_eq!(page.header(header::WWW_AUTHENTICATE), CHALLENGE.to_str().unwrap());
        assert!(page.text().contains("role=\"alert\"") && !page.text().contains(password));
        assert!(!browser.jar.contains_key("__Host-vestibule"));
        let names: Vec<String> = page.0.headers().keys().map(ToString::to_string).collect();
        let text = without_passkeys(page.text());
        pages.push((text.replace(&page.value("token"), "TOKEN").replace(user, "USER"), names));
    }
    pages.dedup();
    assert_eq!(pages.len(), 1, "{pages:#?}");
}

#[tokio::test]
async fn a_hostile_name_is_written_back_as_text() {
    let house = House::new().await;
    let page = house.browser().fill_in("/login", "\"><script>alert(1)</script>", "x").await;
    assert!(!without_passkeys(page.text()).contains("<script"));
    assert_eq!(page.value("user"), "\"><script>alert(1)</script>");
    let page = house.browser().fill_in("/login", &"x".repeat(200), "x").await;
    assert_eq!(page.value("user"), "");
}

#[tokio::test]
async fn too_many_failures_get_429_and_a_time() {
    let house = House::new().await;
    for _ in 0..3 {
        assert_eq!(house.browser().fill_in("/login", "alice", "wrong").await.status(), 401);
    }
    let page = house.browser().fill_in("/login", "alice", PASSWORD).await;
    assert_eq!((page.status(), page.header(header::RETRY_AFTER)), (429, "1"));
    assert!(page.text().contains("Please try again"));
}

#[tokio::test]
async fn busy_hashing_threads_get_503_and_the_form_again() {
    let house = House::with(Hasher::always_busy(), Duration::ZERO).await;
    let page = house.browser().fill_in("/login?next=/a", "alice", PASSWORD).await;
    assert_eq!((page.status(), page.header(header::RETRY_AFTER)), (503, "2"));
    assert_eq!((page.value("user").as_str(), page.value("next").as_str()), ("alice", "/a"));
}

#[tokio::test]
async fn a_change_that_ends_halfway_leaves_its_user_signed_in() {
    let house = House::with(Hasher::always_busy(), Duration::ZERO).await;
    let database = rusqlite::Connection::open(house.folder.path().join("users.db")).unwrap();
    let insert = "INSERT INTO factors VALUES ('id', 'alice', 'totp', '', x'00', NULL, NULL, 0, 0, NULL)";
    assert_eq!(database.execute(insert, []), Ok(1));
    let now = house.portal.clock.now();
    let login = engine::Login {
        identity: house.portal.login.standing(&alice()).await.unwrap().unwrap().identity,
        method: AuthMethod::Password,
        proofs: Proofs::default().with(Factor::Password, now).with(Factor::Totp, now),
        remember: Remember::No,
        device: Device { user_agent: "", address: IpAddr::from([192, 0, 2, 1]) },
    };
    let mut browser = house.browser();
    let opened = house.portal.engine.open(login).await.unwrap();
    let cookie = opened.cookies[0].to_str().unwrap();
    let (name, value) = cookie.split(';').next().unwrap().split_once('=').unwrap();
    browser.jar.insert(name.to_owned(), value.to_owned());
    let token = browser.get("/account/factors").await.value("token");
    let seen = browser.post("/account/factors/codes", &[("token", &token)]).await;
    assert_eq!((seen.status(), seen.header(LOCATION)), (303, "/.vestibule/account/factors"));
    assert_ne!(browser.jar[name], value, "the new token came");
    assert!(browser.is_signed_in().await);
}

#[tokio::test]
async fn busy_hashing_threads_use_no_link_up() {
    let house = House::with(Hasher::always_busy(), Duration::ZERO).await;
    let reset =
        Reset { user: alice(), expires: house.portal.clock.now() + HOUR, factors: AfterReset::Removed };
    let link = ResetToken::issue(&*house.portal.login.factor_store(), reset).await.unwrap().to_text();
    let mut browser = house.browser();
    let page = browser.get(&format!("/reset?token={link}")).await;
    let fields = [
        ("token", &*page.value("token")),
        ("link", &link),
        ("password", "another horse"),
        ("again", "another horse"),
    ];
    let seen = browser.post("/reset", &fields).await;
    assert_eq!((seen.status(), seen.header(header::RETRY_AFTER)), (503, "2"));
    assert_eq!(seen.value("link"), link, "the form again");
    assert_eq!(browser.get(&format!("/reset?token={link}")).await.status(), 200);
}

#[tokio::test]
async fn accounts_that_cannot_be_read_are_an_error_that_takes_no_cookie() {
    let house = House::new().await;
    let mut browser = house.browser();
    let token = browser.get("/login").await.value("token");
    house.accounts.close().await;
    let fields = encoded(&[("token", &token), ("user", "alice"), ("password", PASSWORD)]);
    let answer = browser.send(Method::POST, "/login", &fields).await;
    assert!(matches!(answer, Err(PortalError::StoreUnavailable(_))));
}

#[tokio::test]
async fn a_form_without_its_cookie_or_token_opens_nothing() {
    let house = House::new().await;
    let mut browser = house.browser();
    let token = browser.get("/login").await.value("token");
    let fields = |token| [("token", token), ("user", "alice"), ("password", PASSWORD)];
    let foreign = house.browser().post("/login", &fields(&token)).await;
    assert_eq!(foreign.status(), 403);
    assert!(foreign.text().contains(&words().no_cookie));
    assert_eq!(browser.post("/login", &fields("x")).await.status(), 403);
    assert_eq!(house.lines.count(EventKind::Csrf), 2);
    house.hand.advance(Duration::from_hours(13));
    let late = browser.post("/login", &fields(&token)).await;
    assert!(late.status() == 403 && late.text().contains(&words().form_expired));
    assert_eq!(house.lines.count(EventKind::Csrf), 2);
    assert_eq!(house.lines.count(EventKind::LoginSuccess), 0);
}

#[tokio::test]
async fn a_form_from_another_site_is_an_error() {
    let house = House::new().await;
    for (name, value) in [("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")] {
        for page in ["/login", "/logout", "/session/extend"] {
            let mut browser = house.browser();
            browser.sign_in().await;
            browser.headers.insert(name, HeaderValue::from_static(value));
            let answer = browser.send(Method::POST, page, "").await;
            assert_eq!(answer.err(), Some(PortalError::Forged(Forged::Origin)), "{page}");
            browser.headers.clear();
            assert!(browser.is_signed_in().await);
        }
    }
}

#[tokio::test]
async fn a_second_login_ends_the_session_that_the_browser_had() {
    let house = House::new().await;
    let mut browser = house.browser();
    let token = browser.get("/login").await.value("token");
    browser.sign_in().await;
    let mut stale = house.browser();
    stale.jar.clone_from(&browser.jar);
    let fields = [("token", &*token), ("user", "alice"), ("password", PASSWORD)];
    assert_eq!(browser.post("/login", &fields).await.status(), 303);
    assert_ne!(stale.jar, browser.jar);
    assert!(browser.is_signed_in().await);
    assert!(!stale.is_signed_in().await);
}

#[tokio::test]
async fn who_is_signed_in_is_asked_whether_to_go_on_or_to_switch() {
    let house = House::new().await;
    let mut browser = house.browser();
    browser.sign_in().await;
    let page = browser.get("/login?next=/wiki?a").await;
    assert!(page.text().contains("alice") && page.text().contains("href=\"&#x2f;wiki?a\""));
    let fields = [("token", &*page.value("token")), ("next", &page.value("next"))];
    let out = browser.post("/logout", &fields).await;
    assert_eq!(out.header(LOCATION), "/.vestibule/login?reason=signed-out&next=/wiki%3Fa");
    assert!(!browser.is_signed_in().await);
}

#[tokio::test]
async fn signing_out_takes_a_form_and_clears_the_browser() {
    let house = House::new().await;
    let mut browser = house.browser();
    browser.sign_in().await;
    let question = browser.get("/logout").await;
    assert!(question.text().contains("alice") && browser.is_signed_in().await);
    assert_eq!(browser.post("/logout", &[("token", "x")]).await.status(), 403);
    assert!(browser.is_signed_in().await);
    let mut other_tab = house.browser();
    other_tab.jar.clone_from(&browser.jar);
    let out = browser.post("/logout", &[("token", &question.value("token"))]).await;
    assert_eq!((out.status(), out.header(LOCATION)), (303, "/.vestibule/login?reason=signed-out"));
    assert_eq!(out.header("clear-site-data"), "\"cache\",\"storage\"");
    assert!(out.header(SET_COOKIE).contains("Max-Age=0"));
    assert!(!browser.jar.contains_key("__Host-vestibule"));
    assert!(!other_tab.is_signed_in().await);
    assert!(browser.get("/login?reason=signed-out").await.text().contains(&words().signed_out));
    assert_eq!(browser.get("/logout").await.status(), 303);
}

#[tokio::test]
async fn the_token_of_one_session_ends_no_other() {
    let house = House::new().await;
    let (mut mine, mut theirs) = (house.browser(), house.browser());
    mine.sign_in().await;
    theirs.sign_in().await;
    let token = theirs.get("/logout").await.value("token");
    assert_eq!(mine.post("/logout", &[("token", &token)]).await.status(), 403);
    assert!(mine.is_signed_in().await && theirs.is_signed_in().await);
}

#[tokio::test]
async fn an_expired_session_says_so_on_the_login_page() {
    let house = House::new().await;
    let mut browser = house.browser();
    browser.sign_in().await;
    house.hand.advance(Duration::from_mins(31));
    assert!(browser.get("/login").await.text().contains(&words().session_expired));
    assert!(house.browser().get("/login?reason=expired").await.text().contains(&words().session_expired));
    assert!(!house.browser().get("/login?reason=<b>").await.text().contains("role=\"status\""));
}

#[tokio::test]
async fn asking_for_the_session_is_no_activity_but_extending_is() {
    let house = House::new().await;
    let mut browser = house.browser();
    browser.sign_in().await;
    house.hand.advance(Duration::from_mins(20));
    let left = browser.get("/session").await;
    assert_eq!(left.text(), r#"{"user":"alice","idle_seconds_left":600,"absolute_seconds_left":42000}"#);
    let extended = browser.post("/session/extend", &[]).await;
    assert!(extended.text().contains("\"idle_seconds_left\":1800,\"absolute_seconds_left\":42000"));
    house.hand.advance(Duration::from_mins(30));
    let gone = browser.get("/session").await;
    assert_eq!((gone.status(), gone.header(header::CONTENT_TYPE)), (401, "application/json; charset=utf-8"));
    assert!(gone.text().contains("\"login_url\":\"/.vestibule/login\""));
    assert!(gone.0.headers().contains_key(header::WWW_AUTHENTICATE));
    assert_eq!(browser.post("/session/extend", &[]).await.status(), 401);
}

#[tokio::test]
async fn to_be_remembered_takes_the_tick_and_the_offer() {
    for (remember, tick, remembered) in [(720, "yes", true), (720, "", false), (0, "yes", false)] {
        let house = House::with(Hasher::start(CHEAP).unwrap(), Duration::from_hours(remember)).await;
        let mut browser = house.browser();
        let page = browser.get("/login").await;
        assert_eq!(page.text().contains("name=\"remember\""), remember > 0);
        let token = page.value("token");
        let fields = [("token", &*token), ("user", "alice"), ("password", PASSWORD), ("remember", tick)];
        let seen = browser.post("/login", &fields).await;
        assert_eq!(seen.header(SET_COOKIE).contains("Max-Age=2592000"), remembered);
    }
}

#[tokio::test]
async fn the_account_page_shows_whose_session_it_is() {
    let house = House::new().await;
    let mut browser = house.browser();
    assert_eq!(browser.get("/account").await.header(LOCATION), "/.vestibule/login");
    browser.sign_in().await;
    let page = browser.get("/account").await;
    for part in ["alice", "&lt;b&gt;Alice", "password", " UTC", "Sign out"] {
        assert!(page.text().contains(part), "{part} is missing");
    }
    assert_eq!(browser.post("/logout", &[("token", &page.value("token"))]).await.status(), 303);
}

#[tokio::test]
async fn pages_and_methods_that_do_not_exist_are_errors() {
    let house = House::new().await;
    let mut browser = house.browser();
    assert_eq!(browser.get("/ping").await.text(), "ok\n");
    assert_eq!(browser.send(Method::HEAD, "/login", "").await.unwrap().status(), 200);
    for path in ["", "/", "/x", "/loginx", "/login/", "/assets/", "/assets/x.css", "/assets/../login"] {
        let answer = browser.send(Method::GET, path, "").await;
        assert_eq!(answer.err(), Some(PortalError::NotFound), "{path}");
    }
    let style = assets::STYLESHEET.path("");
    for (method, path, allowed) in [
        (Method::PUT, "/login", "GET, HEAD, POST"),
        (Method::DELETE, "/logout", "GET, HEAD, POST"),
        (Method::DELETE, "/login/sessions", "GET, HEAD, POST"),
        (Method::PUT, "/account/sessions", "GET, HEAD, POST"),
        (Method::POST, "/account", "GET, HEAD"),
        (Method::POST, "/session", "GET, HEAD"),
        (Method::GET, "/session/extend", "POST"),
        (Method::POST, "/ping", "GET, HEAD"),
        (Method::POST, &style, "GET, HEAD"),
    ] {
        let answer = browser.send(method, path, "").await;
        assert_eq!(answer.err(), Some(PortalError::MethodNotAllowed(allowed)), "{path}");
    }
    assert_eq!(browser.get(&style).await.status(), 200);
}

/// A browser of Alice's at the limit, and the page that it is shown.
async fn at_limit(house: &House) -> (Browser<'_>, Seen) {
    let mut browser = house.browser();
    let page = browser.fill_in("/login?next=/wiki?a=%2526", "alice", PASSWORD).await;
    assert_eq!(page.status(), 200);
    assert!(page.text().contains(&words().at_limit) && !browser.jar.contains_key("__Host-vestibule"));
    (browser, page)
}

fn going_on<'a>(proof: &'a [(&'static str, String)], more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    proof.iter().map(|(name, value)| (*name, value.as_str())).chain(more.iter().copied()).collect()
}

fn hidden(page: &Seen) -> Vec<(&'static str, String)> {
    ["token", "proof"].map(|name| (name, page.value(name))).into()
}

#[tokio::test]
async fn who_has_too_many_sessions_chooses_which_to_end_and_goes_on() {
    let house = House::with_room_for(2).await;
    let mut old = house.browser();
    old.headers.insert(USER_AGENT, HeaderValue::from_static("Mozilla/5.0 (Windows) <b> Firefox/145.0"));
    old.sign_in().await;
    house.hand.advance(Duration::from_mins(3));
    let mut young = house.browser();
    young.sign_in().await;
    let (mut browser, page) = at_limit(&house).await;
    let ids = page.values("end");
    assert_eq!(ids.len(), 2);
    for part in ["Firefox on Windows", "An unknown browser", "192.0.2.1", "3 minutes ago", "just now"] {
        assert!(page.text().contains(part), "{part} is missing in {}", page.text());
    }
    assert!(!page.text().contains("<b>") && !without_passkeys(page.text()).contains("<script"));
    assert!(page.text().find("just now") < page.text().find("3 minutes ago"), "the newest comes first");
    let seen = browser.post("/login/sessions", &going_on(&hidden(&page), &[("end", &ids[1])])).await;
    assert_eq!((seen.status(), seen.header(LOCATION)), (303, "/wiki?a=%26"));
    assert!(browser.is_signed_in().await && young.is_signed_in().await && !old.is_signed_in().await);
    assert_eq!(house.lines.count(EventKind::LoginSuccess), 3);
    assert_eq!(house.lines.count(EventKind::SessionCreated), 3);
    assert_eq!(house.lines.count(EventKind::SessionRevoked), 1);
}

#[tokio::test]
async fn who_chooses_nothing_is_asked_again_and_may_end_them_all() {
    let house = House::with_room_for(2).await;
    let mut others = [house.browser(), house.browser()];
    for other in &mut others {
        other.sign_in().await;
    }
    let (mut browser, page) = at_limit(&house).await;
    let again = browser.post("/login/sessions", &going_on(&hidden(&page), &[("end", "x")])).await;
    assert_eq!(again.status(), 409);
    assert!(again.text().contains(&words().still_at_limit) && again.values("end").len() == 2);
    let seen = browser.post("/login/sessions", &going_on(&hidden(&again), &[("all", "yes")])).await;
    assert_eq!(seen.header(LOCATION), "/wiki?a=%26");
    assert!(browser.is_signed_in().await);
    for other in &mut others {
        assert!(!other.is_signed_in().await);
    }
}

#[tokio::test]
async fn a_proof_is_worth_nothing_later_elsewhere_or_again() {
    let house = House::with_room_for(1).await;
    house.browser().sign_in().await;
    let (mut browser, page) = at_limit(&house).await;
    let fields = hidden(&page);
    let mut elsewhere = house.browser();
    let token = elsewhere.get("/login").await.value("token");
    let stolen = [("token", token.as_str()), ("proof", &fields[1].1), ("all", "yes")];
    let refused = elsewhere.post("/login/sessions", &stolen).await;
    assert_eq!(refused.status(), 403);
    assert!(refused.text().contains(&words().proof_expired) && refused.value("user").is_empty());
    house.hand.advance(Duration::from_secs(299));
    let again = browser.post("/login/sessions", &going_on(&fields, &[])).await;
    assert_eq!(again.status(), 409);
    house.hand.advance(Duration::from_secs(1));
    let late = browser.post("/login/sessions", &going_on(&hidden(&again), &[("all", "yes")])).await;
    assert_eq!(late.status(), 403);
    assert!(late.text().contains(&words().proof_expired));
    assert_eq!((late.value("user"), late.value("next")), ("alice".to_owned(), "/wiki?a=%26".to_owned()));
    assert_eq!(house.lines.count(EventKind::SessionRevoked), 0);

    let (mut browser, page) = at_limit(&house).await;
    let fields = hidden(&page);
    assert_eq!(browser.post("/login/sessions", &going_on(&fields, &[("all", "yes")])).await.status(), 303);
    browser.jar.remove("__Host-vestibule");
    let replayed = browser.post("/login/sessions", &going_on(&fields, &[("all", "yes")])).await;
    assert_eq!(replayed.status(), 403);
    assert!(!browser.is_signed_in().await);
}

#[tokio::test]
async fn the_choice_takes_a_form_of_ours_and_an_account_that_may_sign_in() {
    let house = House::with_room_for(1).await;
    let mut other = house.browser();
    other.sign_in().await;
    let (mut browser, page) = at_limit(&house).await;
    let fields = hidden(&page);
    let without_token = [("proof", fields[1].1.as_str()), ("all", "yes")];
    assert_eq!(browser.post("/login/sessions", &without_token).await.status(), 403);
    browser.headers.insert("sec-fetch-site", HeaderValue::from_static("cross-site"));
    let sent =
        browser.send(Method::POST, "/login/sessions", &encoded(&going_on(&fields, &[("all", "yes")]))).await;
    assert_eq!(sent.err(), Some(PortalError::Forged(Forged::Origin)));
    browser.headers.clear();
    assert!(other.is_signed_in().await);
    house.accounts.disable(&alice()).await.unwrap();
    let refused = browser.post("/login/sessions", &going_on(&fields, &[("all", "yes")])).await;
    assert_eq!(refused.status(), 401);
    assert!(refused.text().contains(&words().refused));
    assert_eq!(browser.get("/login/sessions").await.header(LOCATION), "/.vestibule/login");
}

#[tokio::test]
async fn the_account_page_lists_a_users_sessions_and_ends_others_of_them() {
    let house = House::new().await;
    let mut browsers = [house.browser(), house.browser(), house.browser()];
    for browser in &mut browsers {
        browser.sign_in().await;
    }
    let [mine, second, third] = &mut browsers;
    let page = mine.get("/account").await;
    assert_eq!(page.values("end").len(), 2, "none for the session that asks");
    assert!(page.text().contains(&words().this_session));
    let token = page.value("token");
    let own = mine.house.portal.engine.sessions_of(&alice()).await.unwrap();
    let own = own.iter().map(|session| session.id().to_hex()).find(|id| !page.values("end").contains(id));
    let kept = mine.post("/account/sessions", &[("token", &token), ("end", &own.unwrap())]).await;
    assert_eq!(kept.header(LOCATION), "/.vestibule/account?reason=ended");
    assert!(mine.is_signed_in().await);
    assert_eq!(mine.post("/account/sessions", &[("token", "x"), ("all", "yes")]).await.status(), 403);
    mine.post("/account/sessions", &[("token", &token), ("end", &page.values("end")[0])]).await;
    assert!(second.is_signed_in().await != third.is_signed_in().await);
    mine.post("/account/sessions", &[("token", &token), ("all", "yes")]).await;
    assert!(!second.is_signed_in().await && !third.is_signed_in().await && mine.is_signed_in().await);
    let page = mine.get("/account?reason=ended").await;
    assert!(page.text().contains(&words().sessions_ended) && page.values("end").is_empty());
    assert_eq!(
        third.post("/account/sessions", &[("all", "yes")]).await.header(LOCATION),
        "/.vestibule/login"
    );
}

#[tokio::test]
async fn a_store_that_cannot_list_now_takes_only_the_list_from_the_account_page() {
    let mut house = House::new().await;
    let store = StoreKind::Sqlite(house.folder.path().join("sessions.db"));
    let config = session::Config { store, policy: Policy::plain() };
    let (ring, clock) = (house.portal.engine.ring(), house.portal.clock.clone());
    house.portal.engine = Engine::start(config, ring, clock, house.portal.audit.clone()).await.unwrap();
    let mut browser = house.browser();
    browser.sign_in().await;
    assert!(browser.get("/account").await.text().contains(&words().this_session));
    house.portal.engine.stop().await;
    let page = browser.get("/account").await;
    assert_eq!(page.status(), 200);
    assert!(page.text().contains(&words().sessions_unknown), "{}", page.text());
    let fields = [("token", &*page.value("token")), ("all", "yes")];
    let ended = browser.send(Method::POST, "/account/sessions", &encoded(&fields)).await;
    assert!(matches!(ended, Err(PortalError::StoreUnavailable(_))));
}

/// A page without the script that keeps fragments, and without what it offers where passkeys are built in: another
/// one, and a form with a new challenge each time.
fn without_passkeys(text: &str) -> String {
    let form = "<form method=\"post\" action=\"&#x2f;.vestibule/login/passkey\"";
    let script = ("<script src=", "</script>");
    [script, script, (form, "</form>")].iter().fold(text.to_owned(), |text, (begin, end)| {
        match text.split_once(begin) {
            Some((before, rest)) => format!("{before}{}", rest.split_once(end).unwrap().1),
            None => text,
        }
    })
}
