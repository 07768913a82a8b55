//! What sessions cost: time, memory, round trips, and how they behave when there are a million of them.
//!
//! Uses the library as a program does, on stores of its own: a temporary folder and a Redis on a free port. Prints
//! Markdown on standard output, progress on standard error. A figure that misses its mark is said to miss it.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "a measurement that cannot be taken ends the program; what it says is its purpose; nobody imports it"
)]
#![expect(clippy::cast_precision_loss, reason = "a figure has three digits that count")]

mod figures;
mod million;
#[path = "../../servers/mod.rs"]
mod servers;
mod stand;
mod sweep;
mod touches;
mod warm;

use clap::{Parser, ValueEnum};

use figures::Table;
use stand::{Keeper, Stand};

/// Measures sessions.
#[derive(Debug, Parser)]
struct Options {
    /// How many sessions are stored.
    #[arg(long, default_value_t = 1_000_000)]
    sessions: usize,
    /// What is measured.
    #[arg(long, value_delimiter = ',', default_values_t = Part::ALL)]
    parts: Vec<Part>,
    /// Cargo says it to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    Warm,
    Size,
    Touches,
    Sqlite,
    Redis,
}

impl Part {
    const ALL: [Self; 5] = [Self::Warm, Self::Size, Self::Touches, Self::Sqlite, Self::Redis];
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.to_possible_value().expect("no part is hidden").get_name())
    }
}

fn main() {
    let options = Options::parse();
    for part in &options.parts {
        let table = match part {
            Part::Warm => warm::resume_warm(),
            Part::Size => warm::size(),
            Part::Touches => touches::count(),
            Part::Sqlite => million(Keeper::sqlite(), options.sessions),
            Part::Redis => million(Keeper::redis(), options.sessions),
        };
        println!("**{}**\n\n{table}", table.title());
    }
}

/// The same sessions first alive, then all dead.
fn million(keeper: Keeper, sessions: usize) -> Table {
    let mut table = Table::new(format!("{}, {sessions} sessions stored", keeper.name()));
    let stand = Stand::new(keeper);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        million::measure(&stand, sessions, &mut table).await;
        sweep::measure(&stand, sessions, &mut table).await;
    });
    table
}
