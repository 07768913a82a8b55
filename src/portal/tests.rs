//! The pages as a browser meets them: a cookie jar, forms that are filled in, a memory store.

mod limit;
mod login_page;
mod signed_in;

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
