//! Second factors as their users meet them: enrolment, login, confirmation, loss.

mod account;
mod confirm;
mod continuing;
mod continuing_elsewhere;
mod gateways;
mod login;
#[cfg(feature = "passkeys")]
mod passkeys;
mod reset;

use std::time::Duration;

use totp_rs::{Builder, Secret};
use vestibule::clock::ClockHand;

use crate::harness::{Answer, Backend, Client, Gateway, PASSWORD, Setup};

/// A gateway in front of a backend that says hello; `/mfa`, `/fresh` and `/both` demand what they say.
fn house() -> (Backend, Gateway) {
    let backend = Backend::start();
    let gateway = Gateway::start(&setup(&backend));
    (backend, gateway)
}

fn setup(backend: &Backend) -> Setup {
    Setup::in_front_of(&backend.url())
        .route("path = '/mfa'; upstream = 'app'; mfa = true")
        .route("path = '/fresh'; upstream = 'app'; fresh = '5m'")
        .route("path = '/both'; upstream = 'app'; mfa = true; fresh = '5m'")
}

/// What an authenticator app keeps.
struct Phone {
    letters: String,
    hand: ClockHand,
}

impl Phone {
    /// Types the key that the page shows into an app.
    #[track_caller]
    fn reading(page: &Answer, gateway: &Gateway) -> Self {
        let letters = between(&page.text(), "<code class=\"key\">", "</code>").replace(' ', "");
        Self { letters, hand: gateway.clock_hand() }
    }

    /// The code of this moment, or of so many seconds before or after it.
    fn code_at(&self, seconds: i64) -> String {
        let secret = Secret::try_from_base32(&self.letters).expect("a key");
        let totp = Builder::new().with_secret(secret).build().expect("one-time codes");
        let time = u64::try_from(self.hand.now().as_seconds() + seconds).expect("a time");
        totp.generate(time).to_string()
    }

    /// A code that was not used yet: waits for the next.
    fn next_code(&self) -> String {
        self.hand.advance(STEP);
        self.code_at(0)
    }
}

/// Sets up one-time codes on the way to `next`; the phone and the page that comes then.
#[track_caller]
fn enrol(gateway: &Gateway, user: &Client, next: &str) -> (Phone, Answer) {
    let place = format!("{TOTP}?next={next}");
    let page = user.page(&place);
    assert_eq!(page.status, 200, "{} {}", page.location(), page.text());
    let phone = Phone::reading(&page, gateway);
    let answer = user.submit(&page.form_to(TOTP).fill_name("code", &phone.code_at(0)), &place);
    assert_eq!(answer.status, 200, "{}", answer.text());
    (phone, answer)
}

/// Somebody with one-time codes, and their recovery codes.
#[track_caller]
fn with_factor(gateway: &Gateway, user: &str) -> (Client, Phone, Vec<String>) {
    let client = gateway.visitor().signed_in_as(user);
    let (phone, page) = enrol(gateway, &client, "/");
    (client, phone, codes(&page))
}

/// The recovery codes on a page.
fn codes(page: &Answer) -> Vec<String> {
    let text = page.text();
    text.split("<li><code>").skip(1).map(|rest| rest.split('<').next().unwrap_or("").to_owned()).collect()
}

/// The factor page behind the right password.
#[track_caller]
fn factor_page(gateway: &Gateway, user: &str) -> (Client, Answer) {
    let visitor = gateway.visitor();
    let page = visitor.try_login("/page?a=b", user, PASSWORD);
    assert_eq!(page.status, 200, "{}", page.text());
    assert!(visitor.session_cookie().is_none(), "a session before the factor");
    (visitor, page)
}

#[track_caller]
fn show_code(visitor: &Client, page: &Answer, code: &str) -> Answer {
    visitor.submit(&page.form_with("code").fill_name("code", code), FACTOR)
}

#[track_caller]
fn show_recovery(visitor: &Client, page: &Answer, code: &str) -> Answer {
    visitor.submit(&page.form_with("recovery").fill_name("recovery", code), FACTOR)
}

#[track_caller]
fn between(text: &str, before: &str, after: &str) -> String {
    let (_, rest) = text.split_once(before).unwrap_or_else(|| panic!("no {before} in {text}"));
    rest.split(after).next().expect("a rest").to_owned()
}

const TOTP: &str = "/.vestibule/account/factors/totp";
const FACTORS: &str = "/.vestibule/account/factors";
const FACTOR: &str = "/.vestibule/login/factor";
const CONFIRM: &str = "/.vestibule/confirm";
const STEP: Duration = Duration::from_secs(30);
const MINUTE: Duration = Duration::from_mins(1);
