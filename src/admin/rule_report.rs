//! What rules that only report would have refused, in the words of the administrator's answers.
//!
//! Pure. Invariant: no more is told than was counted: routes, rules, users, numbers and times.

use super::question::{RuleReport, RuleReportRow};
use crate::clock::Timestamp;
use crate::telemetry::reports::{Reports, Row};

/// What was counted since `since`.
pub(super) fn describe(reports: &Reports, since: Timestamp) -> RuleReport {
    let rows = reports.since(since).into_iter().map(row).collect();
    RuleReport { since: since.to_string(), rows, forgotten: reports.forgotten() }
}

fn row(row: Row) -> RuleReportRow {
    RuleReportRow {
        route: format!("{}{}", row.host, row.path),
        rule: row.rule.to_string(),
        user: row.user,
        count: row.count,
        first: row.first.to_string(),
        last: row.last.to_string(),
    }
}
