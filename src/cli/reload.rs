//! `vestibule reload`: the running gateway takes over its files and says what came of it.

use std::fmt::Write;

use super::place::{ConfigPath, wait};
use super::report::Failure;
use crate::admin::{ReloadReport, client};

pub(super) fn run(config: &ConfigPath) -> Result<String, Failure> {
    let socket = config.load()?.admin.socket;
    let report: ReloadReport = wait(async { client::reload(&socket).await.map_err(Failure::failed) })?;
    Ok(describe(&report))
}

fn describe(report: &ReloadReport) -> String {
    let mut text = String::from("reloaded");
    match report.changed.as_slice() {
        [] => text.push_str("; no setting changed\n"),
        changed => writeln_to(&mut text, &format!("; changed: {}", changed.join(", "))),
    }
    if report.sessions_ended > 0 {
        writeln_to(&mut text, &format!("sessions ended with their accounts: {}", report.sessions_ended));
    }
    for warning in &report.warnings {
        writeln_to(&mut text, warning);
    }
    for key in &report.restart_needed {
        writeln_to(&mut text, &format!("`{key}` changed, which needs a restart"));
    }
    text
}

fn writeln_to(text: &mut String, line: &str) {
    // Writing into a string cannot fail.
    let _infallible = writeln!(text, "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_names_what_changed_and_what_waits() {
        let report = ReloadReport {
            changed: vec!["routes".to_owned(), "keys".to_owned()],
            restart_needed: vec!["server.https".to_owned()],
            sessions_ended: 2,
            warnings: vec!["something is left".to_owned()],
        };
        assert_eq!(
            describe(&report),
            "reloaded; changed: routes, keys\nsessions ended with their accounts: 2\nsomething is left\n\
             `server.https` changed, which needs a restart\n"
        );
        assert_eq!(describe(&ReloadReport::default()), "reloaded; no setting changed\n");
    }
}
