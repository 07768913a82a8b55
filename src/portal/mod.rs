//! The gateway's own pages: everything below the portal's path.
//!
//! Which requests come here, how errors look and the headers of every response are the gateway's
//! matter. Invariants: nothing is changed by GET or HEAD; every form proves where it comes from
//! before it has any effect; a store that cannot answer is an error, never "not signed in".

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{ACCEPT_LANGUAGE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use crate::clock::Clock;
use crate::identity::AuthMethod;
use crate::login::accounts::AccountsError;
use crate::login::factors::{EnrolError, Factors};
use crate::login::{Cause, Login};
use crate::session::binding::Device;
use crate::session::cookie::Found;
use crate::session::engine::{self, Activity, Engine, OpenError, Resumed};
use crate::session::record::Session;
use crate::session::store::StoreError;
use crate::storage::sqlite::StorageError;
use crate::telemetry::audit::{Audit, Event, EventKind};

mod account;
pub mod assets;
mod at_limit;
pub mod browser;
mod builtin;
mod confirm;
mod continuing;
pub mod csrf;
mod device;
mod enrolment;
mod explanation;
mod factor;
mod factors;
mod form;
mod kept;
mod kept_fields;
pub mod known_device;
pub mod languages;
mod login;
mod logout;
pub mod look;
mod notice;
pub mod page;
mod passkeys;
mod password;
mod placeholders;
mod proof;
mod proving;
mod reset;
pub mod return_to;
mod session_info;
mod sessions;
pub mod strings;
mod vault;

pub use builtin::{BuiltinPage, builtin};
pub use continuing::{Interrupted, Waiting};
pub use explanation::{ExplanationPage, explanation, no_explanation};
pub use kept::Forms;
pub use login::REASON_EXPIRED;
pub use page::{ErrorPage, Explained, Place, Reader};
pub use return_to::ReturnTo;
pub use session_info::CHALLENGE;
pub use vault::RingVault;

use csrf::Forged;
use kept::Unreachable;
use languages::Language;
use look::{Branding, Look};
use strings::Strings;

/// The names of every cookie of the gateway: no backend sees them, none sets them.
#[must_use]
pub const fn own_cookies(session: &str) -> [&str; 4] {
    [session, csrf::COOKIE, known_device::COOKIE, browser::COOKIE]
}

/// Settings of the gateway's own pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The path prefix, without a slash at its end; `/.vestibule` by default.
    pub path: String,
    /// What those read whose browsers ask for no language of ours.
    pub language: Language,
    /// What of the pages is the deployer's.
    pub branding: Branding,
    /// The folder of templates that take the place of ours.
    pub templates: Option<PathBuf>,
}

impl Config {
    /// The defaults, below `path`.
    #[must_use]
    pub fn at(path: &str) -> Self {
        let (language, branding) = (Language::default(), Branding::default());
        Self { path: path.to_owned(), language, branding, templates: None }
    }
}

/// What a reload changes.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What the pages look like.
    pub look: Arc<Look>,
    /// How people sign in, in the order in which it is offered.
    pub methods: Vec<AuthMethod>,
}

/// The gateway's own pages.
#[derive(Debug)]
pub struct Portal {
    engine: Engine,
    login: Arc<Login>,
    factors: Factors,
    forms: Forms,
    clock: Clock,
    audit: Audit,
    settings: ArcSwap<Settings>,
}

impl Portal {
    /// Puts the parts together.
    #[must_use]
    pub fn new(
        engine: Engine,
        login: Arc<Login>,
        factors: Factors,
        clock: Clock,
        audit: Audit,
        settings: Settings,
    ) -> Self {
        Self {
            engine,
            login,
            factors,
            forms: Forms::here(),
            clock,
            audit,
            settings: ArcSwap::from_pointee(settings),
        }
    }

    /// The same, keeping interrupted forms there.
    #[must_use]
    pub fn keeping(self, forms: Forms) -> Self {
        Self { forms, ..self }
    }

    /// Lets go of what it shares with other gateways.
    pub async fn stop(&self) {
        self.forms.close().await;
    }

    /// Other settings from the next request on.
    pub fn reload(&self, settings: Settings) {
        self.settings.store(Arc::new(settings));
    }

    /// Answers a request below the portal's path.
    pub async fn serve(&self, request: Request<'_>) -> Result<Response<Bytes>, PortalError> {
        let settings = self.settings.load_full();
        let request = Visit::of(request, &settings);
        match (request.path_below_portal, Verb::of(request.method)) {
            ("/login", Verb::Look) => self.show_login(&request).await,
            ("/login", Verb::Post) => self.submit_login(&request).await,
            ("/login/sessions", Verb::Look) => Ok(request.to_login("")),
            ("/login/sessions", Verb::Post) => self.end_sessions_and_go_on(&request).await,
            ("/logout", Verb::Look) => self.ask_logout(&request).await,
            ("/logout", Verb::Post) => self.submit_logout(&request).await,
            ("/account", Verb::Look) => self.show_account(&request).await,
            ("/account/sessions", Verb::Look) => Ok(request.to("/account")),
            ("/account/sessions", Verb::Post) => self.end_own_sessions(&request).await,
            ("/session", Verb::Look) => self.show_session(&request).await,
            ("/session/extend", Verb::Post) => self.extend_session(&request).await,
            ("/notice.js" | "/session/words" | "/login/done", verb) => {
                self.serve_notice(&request, verb).await
            }
            ("/ping", Verb::Look) => Ok(page::respond(StatusCode::OK, page::TEXT, "ok\n".to_owned())),
            ("/login" | "/login/sessions" | "/logout" | "/account/sessions", Verb::Other) => {
                Err(PortalError::MethodNotAllowed("GET, HEAD, POST"))
            }
            ("/account" | "/session" | "/ping", _) => Err(PortalError::MethodNotAllowed("GET, HEAD")),
            ("/session/extend", _) => Err(PortalError::MethodNotAllowed("POST")),
            (path, verb) => self.serve_proving(&request, path, verb).await,
        }
    }

    /// Who is asking. Only [`Activity::Counts`] keeps an idle session alive.
    ///
    /// A new token waits for an answer of the application's.
    async fn caller(&self, visit: &Visit<'_>, activity: Activity) -> Result<Caller, StoreError> {
        Ok(match self.resume(visit, activity).await? {
            Resumed::Live(live) => Caller::Known(live.session),
            Resumed::Expired(_) => Caller::Expired,
            Resumed::Gone => Caller::Nobody,
        })
    }

    async fn resume(&self, visit: &Visit<'_>, activity: Activity) -> Result<Resumed, StoreError> {
        let Found::Valid(ticket) = self.engine.present(visit.headers) else { return Ok(Resumed::Gone) };
        let seen = engine::Visit { device: visit.device(), activity, request_id: visit.request_id };
        self.engine.resume(&ticket, seen).await
    }

    /// Notes a form that is not taken. One that lay open for too long is nobody's attack.
    fn note_forgery(&self, visit: &Visit<'_>, forged: Forged) {
        let detail = match forged {
            Forged::Expired => return,
            Forged::Origin => "sent by another site",
            Forged::NoCookie => "without its cookie",
            Forged::Token => "token not valid",
        };
        self.audit.record(Event {
            address: Some(visit.client),
            request_id: Some(visit.request_id),
            detail: Some(detail),
            ..Event::new(EventKind::Csrf)
        });
    }
}

/// A request for one of our pages.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The method.
    pub method: &'a Method,
    /// The canonical path without the portal's: empty, or it begins with `/`.
    pub path_below_portal: &'a str,
    /// The query as it came.
    pub query: Option<&'a str>,
    /// The headers as they came.
    pub headers: &'a HeaderMap,
    /// The whole body; who calls bounds it.
    pub body: Bytes,
    /// The client's address.
    pub client: IpAddr,
    /// The request's id.
    pub request_id: &'a str,
    /// The canonical authority: host, and port where it is not the scheme's own.
    pub host: &'a str,
}

/// Why there is no answer of ours; the gateway makes one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortalError {
    /// Sessions or accounts cannot be read or written: 503, and cookies stay.
    #[error("sessions or accounts cannot be read: {0}")]
    StoreUnavailable(String),
    /// Sessions or accounts have too much to do: 503.
    #[error("too much to do at once: {0}")]
    Busy(String),
    /// What a login proved does not fit into cookies: 500.
    #[error("the session does not fit into cookies: the user is in too many groups")]
    TooLarge,
    /// There is no such page: 404.
    #[error("there is no such page")]
    NotFound,
    /// The page takes these methods: 405 with `Allow`.
    #[error("the page takes {0} only")]
    MethodNotAllowed(&'static str),
    /// Another site sent the form: 403.
    #[error(transparent)]
    Forged(#[from] Forged),
    /// The system has no random numbers: 500.
    #[error("the system gives no random numbers: {0}")]
    Random(String),
}

impl From<StoreError> for PortalError {
    fn from(error: StoreError) -> Self {
        Self::StoreUnavailable(error.to_string())
    }
}

impl From<Unreachable> for PortalError {
    fn from(error: Unreachable) -> Self {
        Self::StoreUnavailable(error.to_string())
    }
}

impl From<OpenError> for PortalError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Store(error) => error.into(),
            OpenError::AtLimit(_) => Self::Busy(error.to_string()),
            OpenError::TooLarge => Self::TooLarge,
        }
    }
}

impl From<AccountsError> for PortalError {
    fn from(error: AccountsError) -> Self {
        match error {
            AccountsError::Storage(StorageError::Busy { .. }) => Self::Busy(error.to_string()),
            _ => Self::StoreUnavailable(error.to_string()),
        }
    }
}

impl From<EnrolError> for PortalError {
    fn from(error: EnrolError) -> Self {
        match error {
            EnrolError::Accounts(error) => error.into(),
            EnrolError::Busy => Self::Busy(error.to_string()),
            EnrolError::Random(_) | EnrolError::Sealing | EnrolError::Passkey(_) => {
                Self::Random(error.to_string())
            }
        }
    }
}

impl From<getrandom::Error> for PortalError {
    fn from(error: getrandom::Error) -> Self {
        Self::Random(error.to_string())
    }
}

/// A request, and the settings of that moment.
#[derive(Debug)]
struct Visit<'a> {
    request: Request<'a>,
    look: &'a Look,
    methods: &'a [AuthMethod],
    portal: &'a str,
    language: Language,
}

impl<'a> Visit<'a> {
    fn of(request: Request<'a>, settings: &'a Settings) -> Self {
        let Settings { look, methods } = settings;
        let wish = request.headers.get(ACCEPT_LANGUAGE);
        let language = Language::wanted(wish, look.language());
        Self { request, look, methods, portal: look.portal(), language }
    }
}

impl Visit<'_> {
    const fn place(&self) -> Place<'_> {
        Place { look: self.look, host: self.request.host, language: self.language }
    }

    /// The words of the visitor's language.
    fn words(&self) -> &'static Strings {
        self.language.words()
    }

    /// Whether people sign in like that here.
    fn takes(&self, method: AuthMethod) -> Result<(), PortalError> {
        if self.methods.contains(&method) { Ok(()) } else { Err(PortalError::NotFound) }
    }

    fn device(&self) -> Device<'_> {
        let user_agent = self.headers.get(USER_AGENT).and_then(|value| value.to_str().ok());
        Device { user_agent: user_agent.unwrap_or_default(), address: self.client }
    }

    /// The host without its port.
    fn host_name(&self) -> &str {
        self.host.rsplit_once(':').map_or(self.host, |(name, _)| name)
    }

    const fn cause(&self) -> Cause<'_> {
        Cause { address: self.request.client, request_id: self.request.request_id }
    }

    /// The value of `name` in the query, if it is one that needs no decoding.
    fn query_value(&self, name: &str) -> Option<&str> {
        let pairs = self.query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
        pairs.into_iter().find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    fn field(&self, name: &str) -> Option<String> {
        form::field(&self.body, name)
    }

    /// Whether the form has `name=value`: a box that is ticked, or a button that was pressed.
    fn says(&self, name: &str, value: &str) -> bool {
        self.field(name).is_some_and(|said| said == value)
    }

    /// The login page, with what stands after its `?`.
    fn to_login(&self, query: &str) -> Response<Bytes> {
        self.to(&format!("/login{query}"))
    }

    /// Another page of ours.
    fn to(&self, page: &str) -> Response<Bytes> {
        let location = format!("{}{page}", self.portal);
        page::see_other(HeaderValue::try_from(location).unwrap_or_else(|_| HeaderValue::from_static("/")))
    }
}

impl<'a> std::ops::Deref for Visit<'a> {
    type Target = Request<'a>;

    fn deref(&self) -> &Request<'a> {
        &self.request
    }
}

#[derive(Debug)]
enum Caller {
    Nobody,
    Expired,
    Known(Arc<Session>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Look,
    Post,
    Other,
}

impl Verb {
    fn of(method: &Method) -> Self {
        match *method {
            Method::GET | Method::HEAD => Self::Look,
            Method::POST => Self::Post,
            _ => Self::Other,
        }
    }
}

fn asset(look: &Look, path: &str, verb: Verb) -> Result<Response<Bytes>, PortalError> {
    let name = path.strip_prefix(assets::FOLDER);
    let found = name.and_then(|name| look.asset(name)).ok_or(PortalError::NotFound)?;
    if verb == Verb::Look { Ok(found) } else { Err(PortalError::MethodNotAllowed("GET, HEAD")) }
}

#[cfg(test)]
mod tests;
