//! Durations in order, and the tables that figures are told in.

use std::fmt;
use std::time::Duration;

/// Many durations of the same thing.
#[derive(Debug, Default)]
pub struct Durations(Vec<Duration>);

impl Durations {
    /// The one that as many of a thousand are below.
    pub fn permille(&self, part: usize) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let place = (sorted.len() * part / 1000).min(sorted.len().saturating_sub(1));
        sorted.get(place).copied().unwrap_or_default()
    }

    /// The longest.
    pub fn longest(&self) -> Duration {
        self.0.iter().max().copied().unwrap_or_default()
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    pub fn push(&mut self, one: Duration) {
        self.0.push(one);
    }

    pub fn append(&mut self, mut more: Self) {
        self.0.append(&mut more.0);
    }
}

/// Half are below, 99 of a hundred are below, and the longest.
impl fmt::Display for Durations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (half, most) = (millis(self.permille(500)), millis(self.permille(990)));
        write!(f, "p50 {half}, p99 {most}, longest {}", millis(self.longest()))
    }
}

/// As `1.25 ms`.
pub fn millis(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1e3)
}

/// As `9.8 s`.
pub fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

/// As `512.3 MiB`.
pub fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / 1024.0 / 1024.0)
}

/// Figures beside their marks.
#[derive(Debug)]
pub struct Table {
    title: String,
    lines: Vec<[String; 4]>,
}

impl Table {
    pub const fn new(title: String) -> Self {
        Self { title, lines: Vec::new() }
    }

    pub fn title(&self) -> &str {
        &self.title
    }

    /// A figure that nobody set a mark for.
    pub fn tell(&mut self, what: impl Into<String>, figure: impl fmt::Display) {
        self.line([what.into(), String::new(), figure.to_string(), String::new()]);
    }

    /// A figure, its mark, and whether it is met.
    pub fn judge(&mut self, what: impl Into<String>, mark: &str, figure: impl fmt::Display, met: bool) {
        let verdict = if met { "met" } else { "missed" };
        self.line([what.into(), mark.to_owned(), figure.to_string(), verdict.to_owned()]);
    }

    fn line(&mut self, line: [String; 4]) {
        eprintln!("{}", line.join(" | "));
        self.lines.push(line);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| what | mark | figure | |\n|---|--:|--:|---|")?;
        self.lines.iter().try_for_each(|line| writeln!(f, "| {} |", line.join(" | ")))
    }
}
