//! The gateway as a visitor, a backend and an administrator see it: real sockets, real TLS, own folders.
//!
//! One binary for all integration tests. The harness reads like a sentence; a test is a plain function.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unchecked_time_subtraction,
    reason = "a test may fail wherever it stands, also in the functions that it is written with"
)]
#![expect(clippy::wrong_self_convention, reason = "`get(...).as_page()` reads as it is meant")]

mod accounts;
mod admin_sessions;
mod application;
mod bad_backends;
mod bad_days;
mod browser;
mod cli;
mod connections;
mod durability;
mod errors;
mod expiry_notice;
mod explanations;
mod factors;
mod flood;
mod gateways;
mod grpc;
mod harness;
mod headers;
mod hours;
mod http2_floods;
mod http2_shared;
mod http2_upstreams;
mod identity;
mod import_rules;
mod instructions;
mod legacy;
mod lifecycle;
mod login;
mod malformed;
mod old_backends;
mod pages;
mod paths;
mod proxy_protocol;
mod proxying;
mod quickstart;
mod readings;
mod reload;
mod report_only;
mod restart;
mod routes;
#[path = "../servers/mod.rs"]
mod servers;
mod session;
mod slow_clients;
mod stop;
mod stores;
mod streams;
mod telemetry;
mod throttling;
mod trusted_proxies;
mod upstreams;
mod webdav;
mod websocket;
mod websocket_over_http2;
