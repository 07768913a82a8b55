//! Instructions of the processor that a request costs the gateway, without those of the kernel, beside the
//! last recorded ones: what a change adds to the request path is seen, however noisy the machine is.
//!
//! `RECORD=1 cargo nextest run --test it instructions::` writes the figures anew, with `--release` those of
//! the program that people run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::harness::counted::Counted;
use crate::harness::{Backend, Client, Setup};

#[test]
fn a_request_costs_what_it_cost_when_it_was_last_recorded() {
    let backend = Backend::start();
    let setup = Setup::in_front_of(&backend.url()).set("server.workers", "1").set("log.access", "true");
    let mut counted = Counted::spawn(&setup);
    let one = counted.gateway.visitor().signed_in_as("alice");
    let two = one.second_tab().over_h2();
    let mut figures = BTreeMap::new();
    for (name, client) in [("http1", &one), ("http2", &two)] {
        ask(client, WARM_UP);
        let few = counted.instructions(|| ask(client, FEW));
        let many = counted.instructions(|| ask(client, MANY));
        figures.insert(name.to_owned(), many.saturating_sub(few) / (MANY - FEW));
    }
    compare(&figures);
}

fn ask(client: &Client, times: u64) {
    for _ in 0..times {
        assert_eq!(client.get("/").status, 200);
    }
}

/// Records the figures when asked to; else refuses those that differ by more than [`TOLERANCE`].
fn compare(figures: &BTreeMap<String, u64>) {
    let path = record();
    if std::env::var_os("RECORD").is_some() {
        let lines = figures.iter().map(|(name, count)| format!("{name} = {count}\n"));
        return std::fs::write(&path, lines.collect::<String>()).expect("a place for the record");
    }
    let recorded = std::fs::read_to_string(&path).expect("the recorded figures");
    let recorded: BTreeMap<String, u64> = toml::from_str(&recorded).expect("numbers");
    for (name, count) in figures {
        let before = recorded[name];
        assert!(
            count.abs_diff(before) * 100 <= before * TOLERANCE,
            "{name}: {count} instructions a request, recorded are {before} in {}; if that is meant, record it",
            path.display()
        );
    }
}

fn record() -> PathBuf {
    let name = format!("instructions-{}.toml", profile());
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bench").join(name)
}

const fn profile() -> &'static str {
    if cfg!(debug_assertions) { "dev" } else { "release" }
}

/// Per cent by which a figure may differ from the recorded one.
const TOLERANCE: u64 = 3;
const WARM_UP: u64 = 30;
const FEW: u64 = 50;
const MANY: u64 = 250;
