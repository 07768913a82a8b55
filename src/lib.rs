//! Vestibule: the room that everybody passes before they enter the house.
//!
//! A TLS-terminating reverse proxy that knows who is asking. Backends stay as they are: a request
//! without a session is sent to a login page, a request with one reaches the backend with
//! `X-User-Id` set, and every response carries security headers.
//!
//! # The map
//!
//! | room | what it does |
//! |---|---|
//! | [`app`] | the composition root: configuration in, running gateway out; reload and stop |
//! | [`cli`] | one file a command |
//! | [`config`] | the only room that knows TOML |
//! | [`gateway`] | the request path: canonical form, route, caller, decision |
//! | [`portal`] | the gateway's own pages under `/.vestibule/` |
//! | [`session`] | tokens, cookies, key ring, lifetimes, the engine and its stores |
//! | [`login`] | what proves an identity: accounts, passwords, throttling |
//! | [`proxy`] | a request and an identity in, the backend's response out |
//! | [`server`] | listeners, workers, TLS, HTTP/1.1 and HTTP/2, graceful end |
//! | [`storage`] | connections to database engines; knows nothing of sessions or users |
//! | [`admin`] | live, ready, metrics, reload, questions about sessions: an own listener and a unix socket |
//! | [`telemetry`] | logs, access lines, audit trail, metrics |
//!
//! # The life of a request
//!
//! 1. A worker thread takes the connection, makes the TLS handshake and serves HTTP/1.1 or HTTP/2.
//! 2. [`gateway`] makes the one canonical form of host and path, finds the real client address and
//!    strips every identity header that a client may have forged.
//! 3. A portal page is answered here. Otherwise the route is found, then the caller.
//! 4. `gateway::decision` decides. Only it can make a `Permit`; only with one does
//!    [`proxy`] forward the canonical request with the caller's identity.
//! 5. Whatever comes back gets the security headers, an access line and its metrics.
//!
//! # Invariants
//!
//! * A connection, its requests and its upstream connections never leave their worker's thread.
//! * An authenticated request does no I/O but the forwarding itself.
//! * A store that cannot answer is an error (503), never "no session", never "allowed".
//! * No room reads the wall clock but [`clock`]; no room sees TOML but [`config`].
//!
//! # Glossary
//!
//! *Route*: host and path prefix with the rule that holds there. *Upstream*: a named group of
//! backend servers. *Caller*: who is asking. *Identity*: what a login proved. *Session*: an
//! identity over time. *Token*: the random secret in the session cookie. *Key ring*: the keys that
//! sign cookies and seal records. *Generation*: how often a session's token was renewed. *Mark*: what
//! ends a session that its browser keeps. *Stream*: an answer or tunnel that outlasts its request. *Permit*: the decision that a request may be forwarded.
//! *Reject*: any answer that is an error.

#![forbid(unsafe_code)]

pub mod admin;
pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod gateway;
pub mod identity;
pub mod ip_text;
pub mod login;
pub mod pace;
pub mod portal;
pub mod proxy;
pub mod secret;
pub mod server;
pub mod session;
pub mod storage;
pub mod telemetry;
