//! `vestibule report`: what rules that only report would have refused.
//!
//! Only the running gateway knows: it counts in its memory.

use std::fmt::Write;
use std::time::Duration;

use clap::Args;

use super::place::{ConfigPath, wait};
use super::report::{Failure, to_json};
use crate::admin::Question;
use crate::admin::client;
use crate::admin::question::{RuleReport, RuleReportRow};

/// Say what rules that only report would have refused.
#[derive(Debug, Args)]
pub(super) struct Report {
    /// How far back, by the hour; a week at most
    #[arg(long, value_name = "TIME", default_value = "1d", value_parser = humantime::parse_duration)]
    since: Duration,
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Report {
    pub(super) fn run(self, config: &ConfigPath) -> Result<String, Failure> {
        let socket = config.load()?.admin.socket;
        let question = Question::RuleReport { since_seconds: self.since.as_secs() };
        let report: RuleReport =
            wait(async { client::ask(&socket, &question).await.map_err(Failure::failed) })?;
        if self.json { to_json(&report) } else { Ok(describe(&report)) }
    }
}

fn describe(report: &RuleReport) -> String {
    let mut text = String::new();
    if report.rows.is_empty() {
        text.push_str("no rule would have refused anything since ");
        text.push_str(&report.since);
        text.push('\n');
    } else {
        table(&mut text, &report.rows);
    }
    if report.forgotten > 0 {
        // Writing into a string cannot fail.
        let _infallible = writeln!(
            text,
            "{} rows had to make room for these since the gateway was started",
            report.forgotten
        );
    }
    text
}

/// Columns as wide as they need to be.
fn table(text: &mut String, rows: &[RuleReportRow]) {
    let user = |row: &RuleReportRow| row.user.clone().unwrap_or_else(|| "-".to_owned());
    let width = |cell: &dyn Fn(&RuleReportRow) -> usize, title: &str| {
        rows.iter().map(cell).max().unwrap_or_default().max(title.len())
    };
    let routes = width(&|row| row.route.chars().count(), "ROUTE");
    let users = width(&|row| user(row).chars().count(), "USER");
    let mut line = |cells: [&str; 5]| {
        let [route, rule, user, count, last] = cells;
        let _infallible = writeln!(text, "{route:routes$}  {rule:8}  {user:users$}  {count:>7}  {last}");
    };
    line(["ROUTE", "RULE", "USER", "COUNT", "LAST"]);
    for row in rows {
        line([&row.route, &row.rule, &user(row), &row.count.to_string(), &row.last]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(route: &str, user: Option<&str>, count: u64) -> RuleReportRow {
        RuleReportRow {
            route: route.to_owned(),
            rule: "mfa".to_owned(),
            user: user.map(str::to_owned),
            count,
            first: "2026-11-21T07:00:00.000Z".to_owned(),
            last: "2026-11-21T08:09:10.000Z".to_owned(),
        }
    }

    #[test]
    fn a_report_is_a_table_that_fits_its_words() {
        let rows = vec![row("wiki.example.com/admin", Some("alice"), 12), row("*/", None, 3)];
        let told = describe(&RuleReport { since: String::new(), rows, forgotten: 0 });
        assert_eq!(
            told,
            "ROUTE                   RULE      USER     COUNT  LAST\n\
             wiki.example.com/admin  mfa       alice       12  2026-11-21T08:09:10.000Z\n\
             */                      mfa       -            3  2026-11-21T08:09:10.000Z\n"
        );
    }

    #[test]
    fn nothing_to_report_is_said_and_so_are_rows_that_are_gone() {
        let report =
            RuleReport { since: "2026-11-20T08:00:00.000Z".to_owned(), rows: Vec::new(), forgotten: 2 };
        let told = describe(&report);
        assert!(
            told.starts_with("no rule would have refused anything since 2026-11-20T08:00:00.000Z\n"),
            "{told}"
        );
        assert!(
            told.ends_with("2 rows had to make room for these since the gateway was started\n"),
            "{told}"
        );
    }
}
